"""ICMP (RFC 792) and ICMPv6 (RFC 4443) errors: the segment that they quote.

Only the quoted addresses, ports and sequence number are read: eight bytes of the segment are all that must be there.
"""

from __future__ import annotations

from typing import Any

from analyzer.decode.bytes import u16, u32
from analyzer.decode.ip import ipv4, ipv6
from analyzer.kernel import seldom

_TCP = 6  # IP's protocol number


@seldom
def quoted_segment(data: Any, start: int, end: int, version_6: bool, segment: Any) -> bool:
    """Read the segment that an error at data[start:end] quotes into the row; False if it is no error or quotes no TCP."""
    if end - start < 8:
        return False
    kind, code = data[start], data[start + 1]
    inner = start + 8
    if not version_6:
        if kind != 3 and kind != 4 and kind != 5 and kind != 11 and kind != 12:
            return False
        upper, offset, _ = ipv4(data, inner, end, end, segment)
    else:
        if kind < 1 or kind > 4:
            return False
        upper, offset, _ = ipv6(data, inner, end, end, segment)
    if upper != _TCP or end - offset < 8:
        return False
    segment.sport = u16(data, offset)
    segment.dport = u16(data, offset + 2)
    segment.seq = u32(data, offset + 4)
    segment.ack = 0
    segment.flags = u16(data, offset + 12) & 0x0FFF if end - offset >= 14 else 0
    segment.length = 0
    segment.options = 0
    segment.icmp_type = kind
    segment.icmp_code = code
    segment.quoted = 1
    return True
