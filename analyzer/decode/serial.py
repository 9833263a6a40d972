"""Serial lines and what descends from them: PPP, PPPoE, Cisco's HDLC."""

from __future__ import annotations

from typing import Any

from analyzer.decode.bytes import u8, u16
from analyzer.decode.layers import BY_PPP, Layer, announced
from analyzer.decode.link import LINK_CUT, NOT_IP, by_ethertype
from analyzer.kernel import part

_PPP = int(Layer.PPP)


@part
def ppp(data: Any, offset: int, end: int) -> tuple[int, int]:
    """PPP, with or without address and control, the protocol in one byte or two (RFC 1661, sections 2, 6.5, 6.6).

    A frame whose address is Cisco's is its HDLC: captures of serial lines mix the two.
    """
    if end - offset < 2:
        return LINK_CUT, offset
    if (data[offset] == 0x0F or data[offset] == 0x8F) and data[offset + 1] == 0:
        return cisco_hdlc(data, offset, end)
    if data[offset] == 0xFF and data[offset + 1] == 3:
        offset += 2
    if end - offset < 2:
        return LINK_CUT, offset
    if data[offset] & 1:
        protocol, offset = u8(data, offset), offset + 1
    else:
        protocol, offset = u16(data, offset), offset + 2
    layer = announced(BY_PPP, protocol)
    return layer or NOT_IP, offset


@part
def cisco_hdlc(data: Any, offset: int, end: int) -> tuple[int, int]:
    """Address, control, EtherType."""
    if end - offset < 4:
        return LINK_CUT, offset
    return by_ethertype(u16(data, offset + 2), offset + 4)


@part
def pppoe(data: Any, offset: int, end: int) -> tuple[int, int, int]:
    """PPPoE's session stage: (next layer, its offset, session)."""
    if end - offset < 6:
        return LINK_CUT, offset, 0
    if data[offset] != 0x11 or data[offset + 1] != 0:
        return NOT_IP, offset, 0
    return _PPP, offset + 6, u16(data, offset + 2)
