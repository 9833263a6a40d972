"""Checksums (RFC 1071): IPv4's own, and TCP's over the pseudo-header and the whole segment (RFC 9293, section 3.1).

A sum of 16-bit words with the carries added in is the sum modulo 65535. So eight octets can be taken at a time, in either
order: exchanging the octets of every word multiplies by 256 (RFC 1071, section 2). A checksum is right if the sum of all,
itself included, is 0 modulo 65535.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from analyzer.decode.bytes import u16
from analyzer.kernel import part


class Checksum(enum.IntEnum):
    """What a segment's checksum is."""

    UNKNOWN = 0  #: not all of the segment is there, or nobody asked
    RIGHT = 1
    PARTIAL = 2  #: the pseudo-header's sum: the network card was left to go on from it
    ABSENT = 3  #: nothing: the card was left to do it all
    WRONG = 4


WHICH = 7  #: the bits of SEGMENT.checksum that hold a Checksum
IP_WRONG = 8  #: and the one that says that the checksum of an IPv4 header around the segment is wrong

_RIGHT, _PARTIAL, _ABSENT, _WRONG = (int(Checksum[name]) for name in ("RIGHT", "PARTIAL", "ABSENT", "WRONG"))
_TCP = np.uint64(6)  # IP's protocol number
_WORD, _ONES, _EXCHANGED = np.uint64(0xFFFFFFFF), np.uint64(65535), np.uint64(256)
_SHORT = 256  # octets from which on the processor's wide registers pay


@part
def _octet(data: Any, at: Any, place: int) -> Any:
    # An index without a sign cannot count from the end: so the compiler takes all eight in one go.
    return np.uint64(data[at + np.uint64(place)]) << np.uint64(8 * place)


@part
def _four(data: Any, at: Any) -> Any:
    return _octet(data, at, 0) | _octet(data, at, 1) | _octet(data, at, 2) | _octet(data, at, 3)


@part
def _eight(data: Any, at: Any) -> Any:
    upper = _octet(data, at, 4) | _octet(data, at, 5) | _octet(data, at, 6) | _octet(data, at, 7)
    return _four(data, at) | upper


@part
def _exchanged_sum(data: Any, start: int, size: int) -> Any:
    """256 times the sum of data[start:start + size], modulo 65535; an odd octet at the end is a word's upper half."""
    total = np.uint64(0)
    at = np.uint64(start)
    if size < _SHORT:
        for _ in range(size >> 3):
            word = _eight(data, at)
            total += word
            total += np.uint64(total < word)  # 2**64 is 1
            at += np.uint64(8)
        total = (total & _WORD) + (total >> np.uint64(32))
    else:
        for _ in range(size >> 3):
            word = _eight(data, at)
            total += (word & _WORD) + (word >> np.uint64(32))
            at += np.uint64(8)
    if size & 4:
        total += _four(data, at)
        at += np.uint64(4)
    if size & 2:
        total += _octet(data, at, 0) | _octet(data, at, 1)
        at += np.uint64(2)
    if size & 1:
        total += _octet(data, at, 0)
    return total


@part
def _halves(address: Any) -> Any:
    return (address & _WORD) + (address >> np.uint64(32))


@part
def tcp_checksum(data: Any, start: int, length: int, segment: Any) -> int:
    """Hold the checksum of a segment that is all there, data[start:start + length], against its sum."""
    addresses = _TCP + _halves(segment.src_lo) + _halves(segment.dst_lo)
    if segment.version == 6:
        addresses += _halves(segment.src_hi) + _halves(segment.dst_hi)
    pseudo = addresses + np.uint64(length)
    if (pseudo * _EXCHANGED + _exchanged_sum(data, start, length)) % _ONES == 0:
        return _RIGHT
    # Linux leaves the pseudo-header's sum for the card to go on from; for segments that the card also cuts up it may be
    # without the length, as Windows' drivers have it; some drivers leave nothing.
    field = np.uint64(u16(data, start + 16))
    if field == 0:
        return _ABSENT
    if (pseudo + _ONES - field) % _ONES == 0 or (addresses + _ONES - field) % _ONES == 0:
        return _PARTIAL
    return _WRONG


@part
def ip_checksum_is_wrong(data: Any, start: int, header: int) -> bool:
    """Whether the checksum of the IPv4 header at data[start:] is wrong; none at all was left to the card."""
    return _exchanged_sum(data, start, header) % _ONES != 0 and u16(data, start + 10) != 0
