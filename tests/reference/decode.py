"""From a record's bytes to the segment in it, or why there is none: link layers, IP, ICMP errors.

Link layers: https://www.tcpdump.org/linktypes.html. IPv4: RFC 791. IPv6: RFC 8200. ICMP: RFC 792, RFC 4443.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from analyzer.decode.segment import Skipped
from tests.reference.record import Record
from tests.reference.segment import Segment, tcp

ETHERNET, SLL, SLL2 = 1, 113, 276
WITH_FAMILY = {0, 108}  #: NULL, LOOP
BARE_IP = {12, 14, 101, 228, 229}  #: RAW and its older numbers, IPV4, IPV6
IPV4, IPV6 = 0x0800, 0x86DD
VLAN_TAGS = {0x8100, 0x88A8, 0x9100, 0x9200}
MOST_TAGS = 8
PACKET_OUTGOING = 4
ARPHRD_LOOPBACK = 772
TCP, ICMP, ICMPV6 = 6, 1, 58
FRAGMENT, AUTHENTICATION = 44, 51
OTHER_EXTENSIONS = {0, 43, 60, 135, 139, 140}  #: hop by hop, routing, destination, mobility, HIP, Shim6
MOST_EXTENSIONS = 16
LONGEST = 1 << 24  #: octets; a frame of a card's offload that claims more is lying


class Skip(Exception):
    """A record that is no segment."""

    def __init__(self, reason: Skipped) -> None:
        self.reason = reason


@dataclass
class Decoded:
    segment: Segment | None
    skipped: Skipped | None  #: why there is none; ICMP_ERROR with the segment that it quotes


@dataclass
class Packet:
    """A link layer's view: what is in it, and what cooked captures say of it."""

    ethertype: int
    data: bytes
    wire: int
    tags: tuple[int, ...] = ()
    outgoing: bool | None = None
    loopback: bool = False
    ifindex: int | None = None


@dataclass
class Datagram:
    version: int
    source: int
    destination: int
    ip_id: int | None
    ttl: int
    protocol: int
    header: int  #: octets before the transport's
    data: bytes  #: what was captured of the transport's octets, without the padding behind them
    length: int  #: how many there are, by the IP header
    truncated: bool


def decode(record: Record) -> Decoded:
    """Decode one record."""
    try:
        packet = link_layer(record)
        datagram = (ipv4 if packet.ethertype == IPV4 else ipv6)(packet.data, packet.wire)
        if datagram.protocol == TCP:
            segment = whole_segment(record, datagram)
            skipped = None
        else:
            segment = quoted_segment(record, datagram)
            skipped = Skipped.ICMP_ERROR
    except Skip as skip:
        return Decoded(None, skip.reason)
    segment.tags = packet.tags
    segment.outgoing, segment.loopback, segment.ifindex = packet.outgoing, packet.loopback, packet.ifindex
    return Decoded(segment, skipped)


def whole_segment(record: Record, datagram: Datagram) -> Segment:
    header = tcp(datagram.data, datagram.length)
    if header is None:
        raise Skip(Skipped.TCP_CUT)
    return Segment(
        record, datagram.version, datagram.source, datagram.destination, **vars(header),
        ip_id=datagram.ip_id, ttl=datagram.ttl, truncated=datagram.truncated,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- link layers


def link_layer(record: Record) -> Packet:
    data, wire = record.data, record.wire
    match record.link:
        case 1:
            header = cut(data, 14, Skipped.LINK_CUT)
            return after_tags(Packet(int.from_bytes(header[12:14]), data[14:], wire - 14))
        case 113:
            packet_type, hardware, _, _, protocol = struct.unpack("!HHH8sH", cut(data, 16, Skipped.LINK_CUT))
            cooked = Packet(protocol, data[16:], wire - 16)
            cooked.outgoing, cooked.loopback = packet_type == PACKET_OUTGOING, hardware == ARPHRD_LOOPBACK
            return after_tags(cooked)
        case 276:
            header = cut(data, 20, Skipped.LINK_CUT)
            protocol, _, ifindex, hardware, packet_type = struct.unpack("!HHIHB", header[:11])
            cooked = Packet(protocol, data[20:], wire - 20)
            cooked.outgoing, cooked.loopback = packet_type == PACKET_OUTGOING, hardware == ARPHRD_LOOPBACK
            cooked.ifindex = min(ifindex & 0x7FFFFFFF, 0x7FFFFFFE)  # a positive int in every kernel
            return after_tags(cooked)
        case link if link in BARE_IP:
            return by_version(data, wire)
        case link if link in WITH_FAMILY:
            # The family's number for IPv6 differs from system to system: the version nibble decides.
            cut(data, 4, Skipped.LINK_CUT)
            return by_version(data[4:], wire - 4)
    raise Skip(Skipped.UNKNOWN_LINK)


def cut(data: bytes, size: int, reason: Skipped) -> bytes:
    """The first octets, which must be there."""
    if len(data) < size:
        raise Skip(reason)
    return data[:size]


def by_version(data: bytes, wire: int) -> Packet:
    version = cut(data, 1, Skipped.LINK_CUT)[0] >> 4
    if version not in (4, 6):
        raise Skip(Skipped.NOT_IP)
    return Packet(IPV4 if version == 4 else IPV6, data, wire)


def after_tags(packet: Packet) -> Packet:
    """Step over VLAN tags, then over an LLC/SNAP header: what has a length where the EtherType should be is 802.3."""
    while packet.ethertype in VLAN_TAGS and len(packet.tags) < MOST_TAGS:
        tag, ethertype = struct.unpack("!HH", cut(packet.data, 4, Skipped.LINK_CUT))
        packet.tags = (*packet.tags, tag & 0x0FFF)
        packet.ethertype, packet.data, packet.wire = ethertype, packet.data[4:], packet.wire - 4
    if packet.ethertype < 0x0600:
        if cut(packet.data, 8, Skipped.NOT_IP)[:3] != b"\xaa\xaa\x03":
            raise Skip(Skipped.NOT_IP)
        ethertype = int.from_bytes(packet.data[6:8])
        packet.ethertype, packet.data, packet.wire = ethertype, packet.data[8:], packet.wire - 8
    if packet.ethertype not in (IPV4, IPV6):
        raise Skip(Skipped.NOT_IP)
    return packet


# ---------------------------------------------------------------------------------------------------------------- IP


def ipv4(data: bytes, wire: int) -> Datagram:
    fixed = cut(data, 20, Skipped.IP_CUT)
    first, _, total, ip_id, fragment, ttl, protocol, _, source, destination = struct.unpack("!BBHHHBBHII", fixed)
    header = (first & 15) * 4
    if total == 0:  # the card cuts it up later: only the frame knows
        total = min(wire, LONGEST)
    if first >> 4 != 4 or header < 20 or total < header:
        raise Skip(Skipped.IP_MALFORMED)
    if fragment & 0x3FFF:  # an offset, or more to come
        raise Skip(Skipped.FRAGMENT)
    text = data[header:total]
    return Datagram(4, source, destination, ip_id, ttl, protocol, header, text, total - header, total > len(data))


def ipv6(data: bytes, wire: int) -> Datagram:
    fixed = cut(data, 40, Skipped.IP_CUT)
    first, payload, protocol, ttl, source, destination = struct.unpack("!IHBB16s16s", fixed)
    if first >> 28 != 6:
        raise Skip(Skipped.IP_MALFORMED)
    if payload == 0:  # the same, or a jumbogram (RFC 2675)
        payload = min(max(wire - 40, 0), LONGEST)
    protocol, extensions = after_extensions(protocol, data[40:], payload)
    text = data[40 + extensions : 40 + payload]
    return Datagram(
        6, int.from_bytes(source), int.from_bytes(destination), None, ttl, protocol,
        40 + extensions, text, payload - extensions, 40 + payload > len(data),
    )  # fmt: skip


def after_extensions(protocol: int, data: bytes, payload: int) -> tuple[int, int]:
    """Step over extension headers: the transport's protocol, and the octets that they take."""
    taken = 0
    for _ in range(MOST_EXTENSIONS):
        if protocol not in OTHER_EXTENSIONS | {FRAGMENT, AUTHENTICATION}:
            return protocol, taken
        header = cut(data[taken:], 8, Skipped.IP_CUT)
        if protocol == FRAGMENT:
            if int.from_bytes(header[2:4]) & 0xFFF9:  # all but an atomic one (RFC 6946)
                raise Skip(Skipped.FRAGMENT)
            taken += 8
        elif protocol == AUTHENTICATION:
            taken += (header[1] + 2) * 4
        else:
            taken += (header[1] + 1) * 8
        protocol = header[0]
        if taken > payload:
            raise Skip(Skipped.IP_MALFORMED)
    raise Skip(Skipped.UNKNOWN_EXTENSION)


# -------------------------------------------------------------------------------------------------------------- ICMP

#: Errors quote the datagram that they are about: unreachable, source quench, redirect, time exceeded, parameter problem.
ERRORS = {ICMP: {3, 4, 5, 11, 12}, ICMPV6: {1, 2, 3, 4}}


def quoted_segment(record: Record, datagram: Datagram) -> Segment:
    """The segment that an ICMP error quotes, of which eight octets must be there: ports and sequence number."""
    message = datagram.data
    if len(message) < 8 or message[0] not in ERRORS.get(datagram.protocol, ()):
        raise Skip(Skipped.NOT_TCP)
    try:
        quoted = (ipv4 if datagram.protocol == ICMP else ipv6)(message[8:], len(message) - 8)
    except Skip:
        raise Skip(Skipped.NOT_TCP) from None
    text = message[8 + quoted.header :]  # some stacks spoil the length in what they quote: it is not asked
    if quoted.protocol != TCP or len(text) < 8:
        raise Skip(Skipped.NOT_TCP)
    sport, dport, seq = struct.unpack("!HHI", text[:8])
    flags = int.from_bytes(text[12:14]) & 0x0FFF if len(text) >= 14 else 0
    return Segment(
        record, quoted.version, quoted.source, quoted.destination, sport, dport, seq, 0, flags,
        icmp=(message[0], message[1]),
    )  # fmt: skip
