"""Link layers: from the record's first byte to the network header.

Each part below returns ``(offset of the network header, EtherType)`` and leaves direction, VLAN tags and the kernel's
interface index in the segment's row. A negative offset says why there is none: ``-1 - Skipped.REASON``.
Numbers: https://www.tcpdump.org/linktypes.html
"""

from __future__ import annotations

from typing import Any

from analyzer.decode.bytes import u16, u32
from analyzer.decode.segment import Skipped
from analyzer.kernel import part

NULL, ETHERNET, RAW_OLD, RAW_BSD, RAW, LOOP, SLL, IPV4, IPV6, SLL2 = 0, 1, 12, 14, 101, 108, 113, 228, 229, 276
LINK_TYPES = {
    "NULL": NULL, "ETHERNET": ETHERNET, "RAW": RAW, "LOOP": LOOP, "LINUX_SLL": SLL, "IPV4": IPV4, "IPV6": IPV6,
    "LINUX_SLL2": SLL2,
}  # fmt: skip

ETHERTYPE_IPV4, ETHERTYPE_IPV6 = 0x0800, 0x86DD
PACKET_OUTGOING = 4  # packet(7): sent by this host; the other types were received
ARPHRD_LOOPBACK = 772  # if_arp.h

_LINK_CUT = -1 - int(Skipped.LINK_CUT)
_NOT_IP = -1 - int(Skipped.NOT_IP)
_UNKNOWN_LINK = -1 - int(Skipped.UNKNOWN_LINK)
_MOST_TAGS = 8


@part
def network_header(link: int, data: Any, start: int, end: int, segment: Any) -> tuple[int, int]:
    """Find the network header of a record that lies in data[start:end]."""
    segment.vlan = -1
    segment.vlan_key = -1
    segment.outgoing = -1
    segment.ifindex = -1
    if link == ETHERNET:
        if end - start < 14:
            return _LINK_CUT, 0
        return _after_tags(data, start + 14, end, u16(data, start + 12), segment)
    if link == SLL2:
        if end - start < 20:
            return _LINK_CUT, 0
        segment.ifindex = min(u32(data, start + 4) & 0x7FFFFFFF, 0x7FFFFFFE)  # a positive int in every kernel
        segment.outgoing = 1 if data[start + 10] == PACKET_OUTGOING else 0
        segment.loopback = u16(data, start + 8) == ARPHRD_LOOPBACK
        return _after_tags(data, start + 20, end, u16(data, start), segment)
    if link == SLL:
        if end - start < 16:
            return _LINK_CUT, 0
        segment.outgoing = 1 if u16(data, start) == PACKET_OUTGOING else 0
        segment.loopback = u16(data, start + 2) == ARPHRD_LOOPBACK
        return _after_tags(data, start + 16, end, u16(data, start + 14), segment)
    if link == RAW or link == RAW_OLD or link == RAW_BSD or link == IPV4 or link == IPV6:
        return _by_version(data, start, end)
    if link == NULL or link == LOOP:
        # Four bytes of address family in the capturing host's byte order; its values for IPv6 differ by system, so
        # the version nibble decides, as it does in the kernels that write it.
        if end - start < 4:
            return _LINK_CUT, 0
        return _by_version(data, start + 4, end)
    return _UNKNOWN_LINK, 0


@part
def _by_version(data: Any, start: int, end: int) -> tuple[int, int]:
    if end <= start:
        return _LINK_CUT, 0
    version = data[start] >> 4
    if version == 4:
        return start, ETHERTYPE_IPV4
    if version == 6:
        return start, ETHERTYPE_IPV6
    return _NOT_IP, 0


@part
def _after_tags(data: Any, offset: int, end: int, ethertype: int, segment: Any) -> tuple[int, int]:
    """Step over VLAN tags (802.1Q, 802.1ad and its forerunners) and an LLC/SNAP header."""
    for _ in range(_MOST_TAGS):
        if ethertype != 0x8100 and ethertype != 0x88A8 and ethertype != 0x9100 and ethertype != 0x9200:
            break
        if end - offset < 4:
            return _LINK_CUT, 0
        tag = u16(data, offset) & 0x0FFF
        segment.vlan_key = tag if segment.vlan_key < 0 else ((segment.vlan_key << 12) | tag) & 0x7FFFFFFF
        segment.vlan = tag
        ethertype = u16(data, offset + 2)
        offset += 4
    if ethertype < 0x0600:  # a length: 802.3; only SNAP carries an EtherType on
        if end - offset < 8 or data[offset] != 0xAA or data[offset + 1] != 0xAA or data[offset + 2] != 3:
            return _NOT_IP, 0
        ethertype = u16(data, offset + 6)
        offset += 8
    if ethertype != ETHERTYPE_IPV4 and ethertype != ETHERTYPE_IPV6:
        return _NOT_IP, 0
    return offset, ethertype
