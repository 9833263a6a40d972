"""Tunnels: a network inside another. Each part returns ``(next layer, its offset, the tunnel's number)``.

The number (VNI, session, key, ...) tells apart networks that use the same addresses; it is 0 where there is none, or where
the two directions have different ones (GTP-U, L2TP).
"""

from __future__ import annotations

from typing import Any

from analyzer.decode.bytes import u8, u16, u32
from analyzer.decode.layers import Layer
from analyzer.decode.link import LINK_CUT, NOT_IP, by_ethertype, by_version
from analyzer.kernel import part

_IPV4, _IPV6, _ETHERNET, _PPP = int(Layer.IPV4), int(Layer.IPV6), int(Layer.ETHERNET), int(Layer.PPP)
_ERSPAN_2 = int(Layer.ERSPAN_2)
_MOST_HEADERS = 16


@part
def mpls(data: Any, offset: int, end: int) -> tuple[int, int]:
    """A stack of labels; what is behind it has no number: the first nibble tells (RFC 4928)."""
    for _ in range(_MOST_HEADERS):
        if end - offset < 5:
            return LINK_CUT, offset
        bottom = data[offset + 2] & 1
        offset += 4
        if bottom:
            nibble = data[offset] >> 4
            if nibble == 4 or nibble == 6:
                return by_version(data, offset, end)
            return (_ETHERNET, offset + 4) if nibble == 0 else (_ETHERNET, offset)  # a control word (RFC 4385)
    return NOT_IP, offset


@part
def gre(data: Any, offset: int, end: int) -> tuple[int, int, int]:
    """GRE with its optional fields, and PPTP's version 1."""
    if end - offset < 4:
        return LINK_CUT, offset, 0
    flags, protocol = u16(data, offset), u16(data, offset + 2)
    version = flags & 7
    at, key = offset + 4, 0
    if flags & 0x8000 or (flags & 0x4000 and version == 0):
        at += 4  # checksum and offset
    if flags & 0x2000:
        if end - at < 4:
            return LINK_CUT, offset, 0
        key = u32(data, at) if version == 0 else 0
        at += 4
    if flags & 0x1000:
        at += 4  # sequence number
    if version == 1 and flags & 0x0080:
        at += 4  # acknowledgement number
    if version > 1:
        return NOT_IP, offset, 0
    layer, at = by_ethertype(protocol, at)
    if layer == _ERSPAN_2 and not flags & 0x1000:
        layer = _ETHERNET  # ERSPAN I has no header of its own
    return layer, at, key


@part
def erspan(offset: int, end: int, three: bool, data: Any) -> tuple[int, int, int]:
    """ERSPAN II and III: a mirrored Ethernet frame."""
    size = 8
    if three:
        if end - offset < 12:
            return LINK_CUT, offset, 0
        size = 20 if data[offset + 11] & 1 else 12
    return _ETHERNET, offset + size, 0


@part
def vxlan(data: Any, offset: int, end: int, extended: bool) -> tuple[int, int, int]:
    """VXLAN, and its generic protocol extension."""
    if end - offset < 8:
        return LINK_CUT, offset, 0
    vni = u32(data, offset + 4) >> 8
    layer = _ETHERNET
    if extended:
        protocol = data[offset + 3]
        layer = _IPV4 if protocol == 1 else (_IPV6 if protocol == 2 else (_ETHERNET if protocol == 3 else NOT_IP))
    return layer, offset + 8, vni


@part
def geneve(data: Any, offset: int, end: int) -> tuple[int, int, int]:
    """GENEVE, its options stepped over."""
    if end - offset < 8:
        return LINK_CUT, offset, 0
    if data[offset] >> 6:
        return NOT_IP, offset, 0
    layer, at = by_ethertype(u16(data, offset + 2), offset + 8 + (u8(data, offset) & 0x3F) * 4)
    return layer, at, u32(data, offset + 4) >> 8


@part
def gtp_u(data: Any, offset: int, end: int) -> tuple[int, int, int]:
    """GTP-U: a G-PDU's extension headers stepped over."""
    if end - offset < 8:
        return LINK_CUT, offset, 0
    flags = data[offset]
    if flags >> 5 != 1 or not flags & 0x10 or data[offset + 1] != 255:
        return NOT_IP, offset, 0
    at = offset + 8
    if flags & 7:
        at += 4
        if end < at:
            return LINK_CUT, offset, 0
        following = data[at - 1] if flags & 4 else 0
        for _ in range(_MOST_HEADERS):
            if following == 0:
                break
            if end - at < 4 or data[at] == 0 or end - at < u8(data, at) * 4:
                return LINK_CUT, offset, 0
            at += u8(data, at) * 4
            following = data[at - 1]
    layer, at = by_version(data, at, end)
    return layer, at, 0


@part
def teredo(data: Any, offset: int, end: int) -> tuple[int, int, int]:
    """Teredo: authentication and origin indications stepped over, then IPv6."""
    if end - offset >= 4 and u16(data, offset) == 1:
        offset += 13 + u8(data, offset + 2) + u8(data, offset + 3)
    if end - offset >= 8 and u16(data, offset) == 0:
        offset += 8
    layer, offset = by_version(data, offset, end)
    return layer if layer == _IPV6 or layer == LINK_CUT else NOT_IP, offset, 0


@part
def l2tp(data: Any, offset: int, end: int) -> tuple[int, int, int]:
    """L2TP version 2, data messages: PPP."""
    if end - offset < 6:
        return LINK_CUT, offset, 0
    flags = u16(data, offset)
    if flags & 0x8000 or flags & 15 != 2:
        return NOT_IP, offset, 0
    at = offset + 6
    if flags & 0x4000:
        at += 2
    if flags & 0x0800:
        at += 4
    if flags & 0x0200:
        if end - at < 2:
            return LINK_CUT, offset, 0
        at += 2 + u16(data, at)
    return _PPP, at, 0
