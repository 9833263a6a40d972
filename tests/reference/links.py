"""Link layers: each steps over its header and says what is next. https://www.tcpdump.org/linktypes.html"""

from __future__ import annotations

import struct

from analyzer.decode.layers import Layer
from analyzer.decode.segment import Skipped
from tests.reference.way import BY_LINK, BY_PPP, Skip, Way

PACKET_OUTGOING = 4
ARPHRD_LOOPBACK = 772
NFULA_PAYLOAD = 9
MOST_ATTRIBUTES = 64


def ethernet(way: Way) -> Layer:
    return way.by_ethertype(int.from_bytes(way.take(14)[12:]))


def vlan(way: Way) -> Layer:
    tag, ethertype = struct.unpack("!HH", way.take(4))
    way.tags += (tag & 0x0FFF,)
    return way.by_ethertype(ethertype)


def linux_sll2(way: Way) -> Layer:
    protocol, _, ifindex, hardware, packet_type = struct.unpack("!HHIHB", way.take(20)[:11])
    way.outgoing, way.loopback = packet_type == PACKET_OUTGOING, hardware == ARPHRD_LOOPBACK
    way.ifindex = min(ifindex & 0x7FFFFFFF, 0x7FFFFFFE)  # a positive int in every kernel
    return way.by_ethertype(protocol)


def linux_sll(way: Way) -> Layer:
    packet_type, hardware, _, _, protocol = struct.unpack("!HHH8sH", way.take(16))
    way.outgoing, way.loopback = packet_type == PACKET_OUTGOING, hardware == ARPHRD_LOOPBACK
    return way.by_ethertype(protocol)


def null(way: Way) -> Layer:
    """The family's number for IPv6 differs from system to system: the version nibble decides."""
    way.take(4)
    return way.by_version()


def llc(way: Way) -> Layer:
    """SNAP (RFC 1042) carries an EtherType on; SAP 6 is IPv4."""
    saps = way.head(3)
    if saps == b"\x06\x06\x03":
        way.step(3)
        return Layer.IPV4
    if saps != b"\xaa\xaa\x03":
        raise Skip(Skipped.NOT_IP)
    return way.by_ethertype(int.from_bytes(way.take(8)[6:]))


def fddi(way: Way) -> Layer:
    way.take(13)
    return Layer.LLC


def ipoib(way: Way) -> Layer:
    return way.by_ethertype(int.from_bytes(way.take(44)[40:42]))


def arcnet(way: Way) -> Layer:
    header = way.head(6)
    if header[2] == 240:  # IPv4, RFC 1051
        way.step(3)
        return Layer.IPV4
    if header[2] != 212:  # IPv4, RFC 1201
        raise Skip(Skipped.NOT_IP)
    size = 10 if header[3] == 0xFF else 6  # an exception packet has padding before the real header
    way.head(size + 1)
    way.step(size)
    return Layer.IPV4


# ----------------------------------------------------------------------------------------------------- serial lines


def ppp(way: Way) -> Layer:
    """RFC 1661, RFC 1662: with or without address and control, the protocol in one octet or two."""
    start = way.head(2)
    if start in (b"\x0f\x00", b"\x8f\x00"):  # captures of serial lines mix it with Cisco's
        return cisco_hdlc(way)
    if start == b"\xff\x03":
        way.step(2)
    number = int.from_bytes(way.take(1 if way.head(2)[0] & 1 else 2))
    if number not in BY_PPP:
        raise Skip(Skipped.NOT_IP)
    return BY_PPP[number]


def cisco_hdlc(way: Way) -> Layer:
    return way.by_ethertype(int.from_bytes(way.take(4)[2:]))


# ------------------------------------------------------------------------------------------- 802.11, and Linux's NFLOG


def radiotap(way: Way) -> Layer:
    """radiotap.org: words of presence bits, then the fields; the flags say whether the 802.11 header is padded."""
    length = int.from_bytes(way.head(8)[2:4], "little")
    if not 8 <= length <= len(way.data):
        raise Skip(Skipped.LINK_CUT)
    header = way.take(length)
    field, word = 8, 4
    while header[word + 3] & 0x80 and field + 4 <= length:
        word, field = field, field + 4
    if header[4] & 1:  # a time stamp: eight octets, aligned
        field = (field + 7) // 8 * 8 + 8
    way.padded = bool(header[4] & 2) and field < length and bool(header[field] & 0x20)
    return Layer.WLAN


def ppi(way: Way) -> Layer:
    length, link = struct.unpack("<2xHH2x", way.head(8))
    if not 8 <= length <= len(way.data):
        raise Skip(Skipped.LINK_CUT)
    if link not in BY_LINK:
        raise Skip(Skipped.NOT_IP)
    way.padded = False
    way.step(length)
    return BY_LINK[link]


def wlan(way: Way) -> Layer:
    """IEEE 802.11: a data frame that is not encrypted, to its LLC header, or that of an A-MSDU's first part."""
    control, flags = way.head(24)[:2]
    is_data, is_empty, is_protected = control & 0x0C == 0x08, control & 0x40, flags & 0x40
    if not is_data or is_empty or is_protected:
        raise Skip(Skipped.NOT_IP)
    size = 30 if flags & 3 == 3 else 24  # a fourth address
    aggregated = False
    if control & 0x80:  # quality of service
        aggregated = bool(way.head(size + 2)[size] & 0x80)
        size += 6 if flags & 0x80 else 2
    if way.padded:
        size = (size + 3) // 4 * 4
    way.step(size + 14 * aggregated)
    return Layer.LLC


def nflog(way: Way) -> Layer:
    """Attributes in the capturing host's byte order, one of which is the packet."""
    way.step(4)
    for _ in range(MOST_ATTRIBUTES):
        size, kind = struct.unpack("<HH", way.head(4))
        if size < 4 or kind > 255:
            size, kind = struct.unpack(">HH", way.head(4))
        if size < 4:
            break
        if kind & 0x7FFF == NFULA_PAYLOAD:
            way.step(4)
            return way.by_version()
        way.step((size + 3) // 4 * 4)
    raise Skip(Skipped.NOT_IP)
