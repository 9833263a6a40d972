"""Tunnels: each steps over its header, enters, and says what is inside.

The number that a tunnel is entered with tells apart networks that use the same addresses; there is none where the two
directions have different ones.
"""

from __future__ import annotations

import struct

from analyzer.decode.layers import Layer
from analyzer.decode.segment import Skipped
from tests.reference.way import Skip, Way

MOST_HEADERS = 16


def mpls(way: Way) -> Layer:
    """RFC 3032: a stack of labels. What is behind it has no number: its first nibble tells (RFC 4928)."""
    for _ in range(MOST_HEADERS):
        label = way.head(5)
        way.step(4)
        if label[2] & 1:  # the bottom
            nibble = way.data[0] >> 4
            if nibble in (4, 6):
                return way.by_version()
            way.step(4 if nibble == 0 else 0)  # a control word (RFC 4385)
            return Layer.ETHERNET
    raise Skip(Skipped.NOT_IP)


def pppoe(way: Way) -> Layer:
    """RFC 2516, the session stage."""
    version_and_type, code, session = struct.unpack("!BBH2x", way.take(6))
    if (version_and_type, code) != (0x11, 0):
        raise Skip(Skipped.NOT_IP)
    way.enter(Layer.PPPOE, session)
    return Layer.PPP


def gre(way: Way) -> Layer:
    """RFC 2784 and RFC 2890; version 1 is PPTP's (RFC 2637)."""
    flags, protocol = struct.unpack("!HH", way.take(4))
    version, key = flags & 7, 0
    if flags & 0x8000 or (flags & 0x4000 and version == 0):
        way.step(4)  # checksum and offset
    if flags & 0x2000:
        field = way.take(4)
        key = int.from_bytes(field) if version == 0 else 0  # the directions of PPTP have different ones
    if flags & 0x1000:
        way.step(4)  # sequence number
    if version == 1 and flags & 0x0080:
        way.step(4)  # acknowledgement number
    if version > 1:
        raise Skip(Skipped.NOT_IP)
    inside = way.by_ethertype(protocol)
    way.enter(Layer.GRE, key)
    if inside is Layer.ERSPAN_2 and not flags & 0x1000:
        return Layer.ETHERNET  # ERSPAN I has no header of its own
    return inside


def erspan_2(way: Way) -> Layer:
    way.step(8)
    way.enter(Layer.ERSPAN_2)
    return Layer.ETHERNET


def erspan_3(way: Way) -> Layer:
    way.step(20 if way.head(12)[11] & 1 else 12)
    way.enter(Layer.ERSPAN_3)
    return Layer.ETHERNET


def etherip(way: Way) -> Layer:
    """RFC 3378."""
    way.step(2)
    way.enter(Layer.ETHERIP)
    return Layer.ETHERNET


def vxlan(way: Way) -> Layer:
    """RFC 7348."""
    way.enter(Layer.VXLAN, int.from_bytes(way.take(8)[4:7]))
    return Layer.ETHERNET


def vxlan_gpe(way: Way) -> Layer:
    header = way.take(8)
    inside = {1: Layer.IPV4, 2: Layer.IPV6, 3: Layer.ETHERNET}.get(header[3])
    if inside is None:
        raise Skip(Skipped.NOT_IP)
    way.enter(Layer.VXLAN_GPE, int.from_bytes(header[4:7]))
    return inside


def geneve(way: Way) -> Layer:
    """RFC 8926."""
    header = way.take(8)
    if header[0] >> 6:
        raise Skip(Skipped.NOT_IP)
    way.step((header[0] & 0x3F) * 4)
    inside = way.by_ethertype(int.from_bytes(header[2:4]))
    way.enter(Layer.GENEVE, int.from_bytes(header[4:7]))
    return inside


def gtp_u(way: Way) -> Layer:
    """3GPP TS 29.281: a G-PDU, its extension headers stepped over."""
    flags, kind = way.take(8)[:2]
    if flags >> 5 != 1 or not flags & 0x10 or kind != 255:
        raise Skip(Skipped.NOT_IP)
    if flags & 7:
        optional = way.take(4)  # sequence number, N-PDU number, next extension header's type
        following = optional[3] if flags & 4 else 0
        for _ in range(MOST_HEADERS):
            if following == 0:
                break
            size = way.head(4)[0] * 4
            if size == 0:
                raise Skip(Skipped.LINK_CUT)
            following = way.take(size)[-1]
    inside = way.by_version()
    way.enter(Layer.GTP_U)
    return inside


def teredo(way: Way) -> Layer:
    """RFC 4380: authentication and origin indications, then IPv6."""
    if len(way.data) >= 4 and way.data[:2] == b"\0\1":
        way.step(13 + way.data[2] + way.data[3])
    if len(way.data) >= 8 and way.data[:2] == b"\0\0":
        way.step(8)
    if way.by_version() is not Layer.IPV6:
        raise Skip(Skipped.NOT_IP)
    way.enter(Layer.TEREDO)
    return Layer.IPV6


def l2tp(way: Way) -> Layer:
    """RFC 2661, data messages."""
    flags = int.from_bytes(way.take(6)[:2])
    if flags & 0x8000 or flags & 15 != 2:
        raise Skip(Skipped.NOT_IP)
    way.step(2 * bool(flags & 0x4000) + 4 * bool(flags & 0x0800))
    if flags & 0x0200:
        way.step(int.from_bytes(way.take(2)))
    way.enter(Layer.L2TP)
    return Layer.PPP
