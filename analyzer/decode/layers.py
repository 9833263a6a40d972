"""The formats that may lie around a TCP segment, once: how each is reached, and where it is defined.

A record is decoded layer by layer: each step is told which format begins where, and says which one begins next. The table
below is all that the steps know of one another; what the kernels look numbers up in is made from it.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.kernel import part

MOST_LAYERS = 24
"""Formats nested deeper than this are given up (and counted): far more than any network uses."""


class Layer(enum.IntEnum):
    """Codes of the formats; NONE: not one that carries TCP."""

    NONE = 0
    IPV4 = 1
    IPV6 = 2
    TCP = 3
    ETHERNET = 4
    LINUX_SLL2 = 5
    LINUX_SLL = 6
    VLAN = 7
    IP = 8  #: IPv4 or IPv6, by the version nibble
    NULL = 9
    UDP = 10
    ICMP = 11
    ICMPV6 = 12
    AH = 13
    MPLS = 14
    PPPOE = 15
    PPP = 16
    CISCO_HDLC = 17
    LLC = 18
    FDDI = 19
    IPOIB = 20
    NFLOG = 21
    RADIOTAP = 22
    PPI = 23
    WLAN = 24
    GRE = 25
    ERSPAN_2 = 26
    ERSPAN_3 = 27
    ETHERIP = 28
    VXLAN = 29
    VXLAN_GPE = 30
    GENEVE = 31
    GTP_U = 32
    TEREDO = 33
    L2TP = 34
    ARCNET = 35


class Format(NamedTuple):
    """One format and the numbers that announce it."""

    layer: Layer
    source: str  #: where it is defined
    links: tuple[int, ...] = ()  #: LINKTYPE_, https://www.tcpdump.org/linktypes.html
    ethertypes: tuple[int, ...] = ()
    protocols: tuple[int, ...] = ()  #: IP protocol numbers
    udp_ports: tuple[int, ...] = ()
    ppp: tuple[int, ...] = ()  #: PPP protocol numbers
    tunnel: bool = False  #: what is inside is another network's: it counts in the flow's key


FORMATS: tuple[Format, ...] = (
    Format(Layer.IPV4, "RFC 791", links=(228,), ethertypes=(0x0800,), protocols=(4,), ppp=(0x0021,)),
    Format(Layer.IPV6, "RFC 8200", links=(229,), ethertypes=(0x86DD,), protocols=(41,), ppp=(0x0057,)),
    Format(Layer.TCP, "RFC 9293", protocols=(6,)),
    Format(Layer.ETHERNET, "IEEE 802.3", links=(1,), ethertypes=(0x6558,)),
    Format(Layer.LINUX_SLL2, "tcpdump.org LINKTYPE_LINUX_SLL2", links=(276,)),
    Format(Layer.LINUX_SLL, "tcpdump.org LINKTYPE_LINUX_SLL", links=(113,)),
    Format(Layer.VLAN, "IEEE 802.1Q, 802.1ad", ethertypes=(0x8100, 0x88A8, 0x9100, 0x9200)),
    Format(Layer.IP, "tcpdump.org LINKTYPE_RAW", links=(12, 14, 101)),
    Format(Layer.NULL, "tcpdump.org LINKTYPE_NULL, LINKTYPE_LOOP", links=(0, 108)),
    Format(Layer.UDP, "RFC 768", protocols=(17,)),
    Format(Layer.ICMP, "RFC 792", protocols=(1,)),
    Format(Layer.ICMPV6, "RFC 4443", protocols=(58,)),
    Format(Layer.AH, "RFC 4302", protocols=(51,)),
    Format(
        Layer.MPLS, "RFC 3032, RFC 4023, RFC 7510",
        ethertypes=(0x8847, 0x8848), protocols=(137,), udp_ports=(6635,), ppp=(0x0281,),
    ),
    Format(Layer.PPPOE, "RFC 2516", ethertypes=(0x8864,), tunnel=True),
    Format(Layer.PPP, "RFC 1661, RFC 1662", links=(9, 50), ethertypes=(0x880B,)),
    Format(Layer.CISCO_HDLC, "tcpdump.org LINKTYPE_C_HDLC", links=(104,)),
    Format(Layer.LLC, "IEEE 802.2, RFC 1042"),
    Format(Layer.FDDI, "RFC 1390", links=(10,)),
    Format(Layer.IPOIB, "RFC 4391", links=(242,)),
    Format(Layer.NFLOG, "tcpdump.org LINKTYPE_NFLOG", links=(239,)),
    Format(Layer.RADIOTAP, "radiotap.org", links=(127,)),
    Format(Layer.PPI, "tcpdump.org LINKTYPE_PPI", links=(192,)),
    Format(Layer.WLAN, "IEEE 802.11", links=(105,)),
    Format(Layer.GRE, "RFC 2784, RFC 2890, RFC 2637, RFC 8086", protocols=(47,), udp_ports=(4754,), tunnel=True),
    Format(Layer.ERSPAN_2, "draft-foschiano-erspan", ethertypes=(0x88BE,), tunnel=True),
    Format(Layer.ERSPAN_3, "draft-foschiano-erspan", ethertypes=(0x22EB,), tunnel=True),
    Format(Layer.ETHERIP, "RFC 3378", protocols=(97,), tunnel=True),
    Format(Layer.VXLAN, "RFC 7348", udp_ports=(4789, 8472), tunnel=True),
    Format(Layer.VXLAN_GPE, "draft-ietf-nvo3-vxlan-gpe", udp_ports=(4790,), tunnel=True),
    Format(Layer.GENEVE, "RFC 8926", udp_ports=(6081,), tunnel=True),
    Format(Layer.GTP_U, "3GPP TS 29.281", udp_ports=(2152,), tunnel=True),
    Format(Layer.TEREDO, "RFC 4380", udp_ports=(3544,), tunnel=True),
    Format(Layer.L2TP, "RFC 2661", udp_ports=(1701,), tunnel=True),
    Format(Layer.ARCNET, "RFC 1201", links=(7,)),
)  # fmt: skip


def _announced(numbers: str) -> npt.NDArray[np.int64]:
    """The table by one kind of number: rows of (number, layer), few enough to be looked through."""
    return np.array([(number, row.layer) for row in FORMATS for number in getattr(row, numbers)], np.int64)


TUNNEL_WORDS: dict[Layer, str] = {
    Layer.IPV4: "IPv4 in IP",
    Layer.IPV6: "IPv6 in IP",
    **{row.layer: row.layer.name.replace("_", "-") for row in FORMATS if row.tunnel},
}
"""What the frames call each tunnel."""

BY_LINK = _announced("links")
BY_ETHERTYPE = _announced("ethertypes")
BY_PROTOCOL = _announced("protocols")
BY_UDP_PORT = _announced("udp_ports")
BY_PPP = _announced("ppp")


@part
def announced(table: Any, number: Any) -> Any:
    """The layer that a number announces, 0 (``Layer.NONE``) if none does."""
    for i in range(len(table)):
        if table[i, 0] == number:
            return table[i, 1]
    return 0
