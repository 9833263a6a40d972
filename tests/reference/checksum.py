"""Checksums, octet by octet (RFC 1071): IPv4's own and TCP's over the pseudo-header and the segment (RFC 9293 section 3.1)."""

from __future__ import annotations

import struct

from analyzer.decode.checksum import Checksum
from tests.reference.way import Header


def ones_sum(data: bytes) -> int:
    """The one's complement sum of the 16-bit words; an odd octet is followed by a zero."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def same(a: int, b: int) -> bool:
    """In one's complement there are two zeros."""
    return {a, b} == {0, 0xFFFF} or a == b


def of_segment(ip: Header, segment: bytes) -> Checksum:
    """What the checksum of a whole segment is."""
    size = 4 if ip.version == 4 else 16
    addresses = ip.source.to_bytes(size) + ip.destination.to_bytes(size)
    protocol = struct.pack("!H", 6)
    pseudo = addresses + protocol + struct.pack("!I", len(segment))
    if ones_sum(pseudo + segment) == 0xFFFF:
        return Checksum.RIGHT
    field = int.from_bytes(segment[16:18])
    if field == 0:
        return Checksum.ABSENT
    left_by_the_system = (ones_sum(pseudo), ones_sum(addresses + protocol))
    return Checksum.PARTIAL if any(same(field, left) for left in left_by_the_system) else Checksum.WRONG


def ipv4_header_is_wrong(header: bytes) -> bool:
    """None at all was left to the card."""
    return header[10:12] != b"\0\0" and ones_sum(header) != 0xFFFF


def is_source_routed(options: bytes) -> bool:
    """Loose or strict (RFC 791 section 3.1): then the checksum has the last destination, and the header another."""
    while options and options[0] != 0:
        if options[0] in (131, 137):
            return True
        size = 1 if options[0] == 1 else options[1] if len(options) > 1 else 0
        if size == 0:
            return False
        options = options[size:]
    return False
