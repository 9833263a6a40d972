"""802.11 and the headers that captures put before it; NFLOG, which comes from another corner and looks alike."""

from __future__ import annotations

from typing import Any

from analyzer.decode.bytes import u8, u16
from analyzer.decode.layers import BY_LINK, Layer, announced
from analyzer.decode.link import LINK_CUT, NOT_IP, by_version
from analyzer.kernel import part

_WLAN, _LLC = int(Layer.WLAN), int(Layer.LLC)
_PAYLOAD = 9  # NFULA_PAYLOAD
_MOST_TLVS = 64


@part
def _little_16(data: Any, offset: int) -> int:
    return u8(data, offset) | (u8(data, offset + 1) << 8)


@part
def radiotap(data: Any, offset: int, end: int, segment: Any) -> tuple[int, int]:
    """radiotap: its length, and whether the 802.11 header behind it is padded to four bytes (flags, bit 5)."""
    if end - offset < 8:
        return LINK_CUT, offset
    length = _little_16(data, offset + 2)
    if length < 8 or length > end - offset:
        return LINK_CUT, offset
    field = offset + 8
    word = offset + 4
    while data[word + 3] & 0x80 and field + 4 <= offset + length:  # further words of presence bits
        word = field
        field += 4
    if data[offset + 4] & 1:  # time stamp: eight bytes, aligned
        field = offset + ((field - offset + 7) // 8) * 8 + 8
    segment.padded = data[offset + 4] & 2 != 0 and field < offset + length and data[field] & 0x20 != 0
    return _WLAN, offset + length


@part
def ppi(data: Any, offset: int, end: int) -> tuple[int, int]:
    """Per-packet information: its length and the link type behind it."""
    if end - offset < 8:
        return LINK_CUT, offset
    length, link = _little_16(data, offset + 2), _little_16(data, offset + 4)
    if length < 8 or length > end - offset:
        return LINK_CUT, offset
    layer = announced(BY_LINK, link)
    return layer or NOT_IP, offset + length


@part
def wlan(data: Any, offset: int, end: int, segment: Any) -> tuple[int, int]:
    """A data frame that is not encrypted: to its LLC header, or that of an A-MSDU's first part."""
    if end - offset < 24:
        return LINK_CUT, offset
    control, flags = data[offset], data[offset + 1]
    if control & 0x0C != 0x08 or control & 0x40 or flags & 0x40:  # not data, without data, protected
        return NOT_IP, offset
    at = offset + 24
    if flags & 3 == 3:
        at += 6  # a fourth address
    aggregated = False
    if control & 0x80:  # QoS
        if end - at < 2:
            return LINK_CUT, offset
        aggregated = data[at] & 0x80 != 0
        at += 2
        if flags & 0x80:
            at += 4  # HT control
    if segment.padded:
        at = offset + ((at - offset + 3) // 4) * 4
    if aggregated:
        at += 14
    return _LLC, at


@part
def nflog(data: Any, offset: int, end: int) -> tuple[int, int]:
    """Netfilter's log: attributes in the capturing host's byte order, one of which is the packet."""
    at = offset + 4
    for _ in range(_MOST_TLVS):
        if end - at < 4:
            return LINK_CUT, offset
        size, kind = _little_16(data, at), _little_16(data, at + 2)
        if size < 4 or kind > 255:
            size, kind = u16(data, at), u16(data, at + 2)
        if size < 4:
            return NOT_IP, offset
        if kind & 0x7FFF == _PAYLOAD:
            return by_version(data, at + 4, end)
        at += (size + 3) // 4 * 4
    return NOT_IP, offset
