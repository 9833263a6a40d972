"""IPv4 (RFC 791) and IPv6 (RFC 8200): addresses, the length that counts, and where the transport header is.

The length of everything above comes from the IP header, never from the frame: Ethernet pads short frames. A length of
zero is what a card's segmentation offload leaves behind (the frame was captured before the card cut it up): then, and
only then, the frame's own length counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.decode.bytes import u8, u16, u32
from analyzer.decode.segment import Skipped
from analyzer.kernel import part, seldom

_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION, _MOBILITY, _HIP, _SHIM6 = (
    0,
    43,
    44,
    51,
    60,
    135,
    139,
    140,
)
_MOST_EXTENSIONS = 16
_LOOSE_ROUTE, _STRICT_ROUTE = 131, 137  # RFC 791, section 3.1
_LONGEST = 1 << 24  # octets; a frame that claims more is lying, and 32 bits of length must hold it

FRAGMENTED = 256  #: instead of a protocol: the datagram is in pieces; the row says which piece this is

_IP_CUT = -1 - int(Skipped.IP_CUT)
_IP_MALFORMED = -1 - int(Skipped.IP_MALFORMED)
_UNKNOWN_EXTENSION = -1 - int(Skipped.UNKNOWN_EXTENSION)


@part
def ipv4(data: Any, start: int, end: int, wire_end: int, segment: Any) -> tuple[int, int, int]:
    """Read an IPv4 header at data[start:end].

    Returns (protocol, FRAGMENTED or -1 - Skipped.REASON; offset of what it carries; bytes of that by the header).
    """
    if end - start < 20:
        return _IP_CUT, start, 0
    header = (u8(data, start) & 15) * 4
    if data[start] >> 4 != 4 or header < 20:
        return _IP_MALFORMED, start, 0
    total = u16(data, start + 2)
    segment.unsummed = total == 0 or (header > 20 and _is_source_routed(data, start + 20, min(start + header, end)))
    if total == 0 or (segment.quoted and total < header):  # stacks spoil the length in what they quote
        total = min(wire_end - start, _LONGEST)
    if total < header:
        return _IP_MALFORMED, start, 0
    segment.version = 4
    segment.ip_id = u16(data, start + 4)
    segment.ttl = data[start + 8]
    segment.src_hi = 0
    segment.dst_hi = 0
    segment.src_lo = u32(data, start + 12)
    segment.dst_lo = u32(data, start + 16)
    segment.truncated = start + total > end
    segment.protocol = data[start + 9]
    place = u16(data, start + 6)
    if place & 0x3FFF:  # an offset, or more to come
        segment.fragment_id = u16(data, start + 4)
        segment.fragment_offset = (place & 0x1FFF) * 8
        segment.fragment_more = place & 0x2000 != 0
        return FRAGMENTED, start + header, total - header
    return u8(data, start + 9), start + header, total - header


@seldom
def _is_source_routed(data: Any, offset: int, end: int) -> bool:
    """Whether an IPv4 header's options have a source route: TCP's checksum then has the last destination, not this one."""
    while offset < end and data[offset] != 0:
        if data[offset] == _LOOSE_ROUTE or data[offset] == _STRICT_ROUTE:
            return True
        size = 1 if data[offset] == 1 else (u8(data, offset + 1) if offset + 1 < end else 0)
        if size == 0:
            break
        offset += size
    return False


@part
def _address_half(data: Any, offset: int) -> Any:
    return (np.uint64(u32(data, offset)) << np.uint64(32)) | np.uint64(u32(data, offset + 4))


@part
def ipv6(data: Any, start: int, end: int, wire_end: int, segment: Any) -> tuple[int, int, int]:
    """Read an IPv6 header and its extension headers at data[start:end]; returns as ``ipv4``."""
    if end - start < 40:
        return _IP_CUT, start, 0
    if data[start] >> 4 != 6:
        return _IP_MALFORMED, start, 0
    payload = u16(data, start + 4)
    segment.unsummed = payload == 0
    if payload == 0:  # offload, or a jumbogram (RFC 2675): the frame knows
        payload = min(max(wire_end - start - 40, 0), _LONGEST)
    segment.version = 6
    segment.ip_id = 0
    segment.ttl = data[start + 7]
    segment.src_hi = _address_half(data, start + 8)
    segment.src_lo = _address_half(data, start + 16)
    segment.dst_hi = _address_half(data, start + 24)
    segment.dst_lo = _address_half(data, start + 32)
    segment.truncated = start + 40 + payload > end
    return extensions(data, start + 40, end, u8(data, start + 6), payload, segment)


@part
def extensions(data: Any, start: int, end: int, protocol: int, payload: int, segment: Any) -> tuple[int, int, int]:
    """Step over IPv6 extension headers, from one called protocol at start; payload: bytes from there on."""
    offset = start
    for _ in range(_MOST_EXTENSIONS):
        known = (
            protocol == _HOP_BY_HOP
            or protocol == _ROUTING
            or protocol == _DESTINATION
            or protocol == _MOBILITY
            or protocol == _HIP
            or protocol == _SHIM6
        )
        if not known and protocol != _FRAGMENT and protocol != _AUTHENTICATION:
            return protocol, offset, payload - (offset - start)
        if end - offset < 8:
            return _IP_CUT, start, 0
        if protocol == _FRAGMENT:
            place = u16(data, offset + 2)
            if place & 0xFFF9:  # not an atomic fragment (RFC 6946)
                segment.protocol = data[offset]
                segment.fragment_id = u32(data, offset + 4)
                segment.fragment_offset = place & 0xFFF8
                segment.fragment_more = place & 1
                return FRAGMENTED, offset + 8, payload - (offset + 8 - start)
            step = 8
        elif protocol == _AUTHENTICATION:
            step = (u8(data, offset + 1) + 2) * 4
        else:
            step = (u8(data, offset + 1) + 1) * 8
            if protocol == _ROUTING and data[offset + 3] != 0:  # segments left: the last destination counts (8.1)
                segment.unsummed = 1
        protocol = u8(data, offset)
        offset += step
        if offset - start > payload:
            return _IP_MALFORMED, start, 0
    return _UNKNOWN_EXTENSION, start, 0
