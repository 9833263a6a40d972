"""Link layers of local networks: from one header to the next.

Each part returns ``(next layer, its offset)`` and leaves direction, VLAN tags and the kernel's interface index in the
segment's row. A negative layer says why there is none: ``-1 - Skipped.REASON``.
"""

from __future__ import annotations

from typing import Any

from analyzer.decode.bytes import u16, u32
from analyzer.decode.layers import BY_ETHERTYPE, Layer, announced
from analyzer.decode.segment import Skipped
from analyzer.kernel import part

PACKET_OUTGOING = 4  # packet(7): sent by this host; the other types were received
ARPHRD_LOOPBACK = 772  # if_arp.h

LINK_CUT = -1 - int(Skipped.LINK_CUT)
NOT_IP = -1 - int(Skipped.NOT_IP)
_IPV4, _IPV6, _LLC = int(Layer.IPV4), int(Layer.IPV6), int(Layer.LLC)


@part
def by_ethertype(ethertype: int, offset: int) -> tuple[int, int]:
    """The layer that an EtherType announces; a length below 1536 announces LLC (IEEE 802.3)."""
    if ethertype < 0x0600:
        return _LLC, offset
    layer = announced(BY_ETHERTYPE, ethertype)
    return layer or NOT_IP, offset


@part
def by_version(data: Any, offset: int, end: int) -> tuple[int, int]:
    """IPv4 or IPv6, by the first nibble."""
    if end <= offset:
        return LINK_CUT, offset
    version = data[offset] >> 4
    if version == 4:
        return _IPV4, offset
    return _IPV6 if version == 6 else NOT_IP, offset


@part
def ethernet(data: Any, offset: int, end: int) -> tuple[int, int]:
    """Ethernet II and IEEE 802.3."""
    if end - offset < 14:
        return LINK_CUT, offset
    return by_ethertype(u16(data, offset + 12), offset + 14)


@part
def vlan(data: Any, offset: int, end: int, segment: Any) -> tuple[int, int]:
    """One tag of a stack."""
    if end - offset < 4:
        return LINK_CUT, offset
    tag = u16(data, offset) & 0x0FFF
    segment.vlan_key = tag if segment.vlan_key < 0 else ((segment.vlan_key << 12) | tag) & 0x7FFFFFFF
    segment.vlan = tag
    return by_ethertype(u16(data, offset + 2), offset + 4)


@part
def linux_sll2(data: Any, offset: int, end: int, segment: Any) -> tuple[int, int]:
    """Linux's cooked capture, version 2: what ``tcpdump -i any`` writes now."""
    if end - offset < 20:
        return LINK_CUT, offset
    segment.ifindex = min(u32(data, offset + 4) & 0x7FFFFFFF, 0x7FFFFFFE)  # a positive int in every kernel
    segment.loopback = u16(data, offset + 8) == ARPHRD_LOOPBACK
    segment.outgoing = 1 if data[offset + 10] == PACKET_OUTGOING else 0
    return by_ethertype(u16(data, offset), offset + 20)


@part
def linux_sll(data: Any, offset: int, end: int, segment: Any) -> tuple[int, int]:
    """Linux's cooked capture, version 1."""
    if end - offset < 16:
        return LINK_CUT, offset
    segment.outgoing = 1 if u16(data, offset) == PACKET_OUTGOING else 0
    segment.loopback = u16(data, offset + 2) == ARPHRD_LOOPBACK
    return by_ethertype(u16(data, offset + 14), offset + 16)


@part
def null(data: Any, offset: int, end: int) -> tuple[int, int]:
    """BSD loopback: four bytes of address family in somebody's byte order.

    The values for IPv6 differ by system, so the version nibble decides, as it does in the kernels that write it.
    """
    if end - offset < 4:
        return LINK_CUT, offset
    return by_version(data, offset + 4, end)


@part
def llc(data: Any, offset: int, end: int) -> tuple[int, int]:
    """IEEE 802.2: SNAP (RFC 1042) carries an EtherType on; SAP 6 is IPv4."""
    if end - offset < 3:
        return LINK_CUT, offset
    if data[offset] == 6 and data[offset + 1] == 6 and data[offset + 2] == 3:
        return _IPV4, offset + 3
    if data[offset] != 0xAA or data[offset + 1] != 0xAA or data[offset + 2] != 3:
        return NOT_IP, offset
    if end - offset < 8:
        return LINK_CUT, offset
    return by_ethertype(u16(data, offset + 6), offset + 8)


@part
def fddi(end: int, offset: int) -> tuple[int, int]:
    """FDDI: frame control and two addresses, then LLC."""
    return (_LLC, offset + 13) if end - offset >= 13 else (LINK_CUT, offset)


@part
def ipoib(data: Any, offset: int, end: int) -> tuple[int, int]:
    """IP over InfiniBand: the global routing header, then an EtherType and two bytes of nothing."""
    if end - offset < 44:
        return LINK_CUT, offset
    return by_ethertype(u16(data, offset + 40), offset + 44)


@part
def arcnet(data: Any, offset: int, end: int) -> tuple[int, int]:
    """ARCNET as BSD writes it: two addresses, a protocol, and with the newer ones a sequence number (RFC 1201, RFC 1051)."""
    if end - offset < 6:
        return LINK_CUT, offset
    if data[offset + 2] == 212:  # IPv4, RFC 1201; flag 0xff: an exception packet with padding before the real header
        at = offset + 6 if data[offset + 3] != 0xFF else offset + 10
        return (_IPV4, at) if end - at >= 1 else (LINK_CUT, offset)
    if data[offset + 2] == 240:  # IPv4, RFC 1051
        return _IPV4, offset + 3
    return NOT_IP, offset
