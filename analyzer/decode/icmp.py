"""ICMP (RFC 792) and ICMPv6 (RFC 4443) errors: what they say of themselves, and the segment that they quote.

A quote is a packet within a packet: an IP header with whatever lies between it and TCP, tunnels among it. So the walk of
``records`` goes on into it as it went into the packet around it, and ends here again, at the first eight octets of the TCP
header: ports and sequence number, which is all that RFC 792 has an error quote. What stands behind them is not asked, nor
are the quote's own lengths and checksums: stacks spoil them, and the extensions of RFC 4884 follow.
"""

from __future__ import annotations

from typing import Any

from analyzer.decode.bytes import u8, u16, u32
from analyzer.decode.layers import Layer
from analyzer.kernel import seldom

_IPV4, _IPV6 = int(Layer.IPV4), int(Layer.IPV6)
_HEADER = 8


@seldom
def error(data: Any, start: int, end: int, version: int, segment: Any) -> tuple[int, int, int]:
    """Read an error at data[start:end] into the row; version: 4 for ICMP, 6 for ICMPv6.

    Returns (the format of what it quotes, 0 if it is no error; where the quote begins; where it ends).
    """
    if end - start < _HEADER:
        return 0, start, end
    kind = u8(data, start)
    length = 0  # of the quote, where extensions follow it (RFC 4884)
    segment.mtu = 0
    if version == 4:
        if kind != 3 and kind != 4 and kind != 5 and kind != 11 and kind != 12:
            return 0, start, end
        if kind == 3 or kind == 11 or kind == 12:
            length = u8(data, start + 5) * 4
        if kind == 3 and data[start + 1] == 4:
            segment.mtu = u16(data, start + 6)  # RFC 1191; 0 from a router that does not know it
    else:
        if kind < 1 or kind > 4:
            return 0, start, end
        if kind == 1 or kind == 3:
            length = u8(data, start + 4) * 8
        if kind == 2:
            segment.mtu = u32(data, start + 4)
    segment.quoted = 1
    segment.icmp_version = version
    segment.icmp_type = kind
    segment.icmp_code = data[start + 1]
    segment.reporter_hi, segment.reporter_lo = segment.src_hi, segment.src_lo
    segment.reporter_version = segment.version
    begin = start + _HEADER
    if length != 0 and begin + length < end:
        end = begin + length
    return _IPV4 if version == 4 else _IPV6, begin, end


@seldom
def quoted_segment(data: Any, offset: int, end: int, segment: Any) -> bool:
    """Read the beginning of the quoted segment into the row; False if not even its numbers are there."""
    if end - offset < 8:
        return False
    segment.sport = u16(data, offset)
    segment.dport = u16(data, offset + 2)
    segment.seq = u32(data, offset + 4)
    segment.ack = 0
    segment.flags = 0
    segment.length = 0
    segment.seglen = -1
    segment.header_trouble = 0
    segment.options = 0
    return True
