"""From a record's bytes to the segment in it, or why there is none: layer by layer, down to TCP.

IPv4: RFC 791. IPv6: RFC 8200. ICMP: RFC 792, RFC 4443. Which number announces which format stands in the analyzer's table
(``analyzer.decode.layers``), which is data; what each format looks like, in ``links``, ``tunnels`` and here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from analyzer.decode.layers import MOST_LAYERS, Layer
from analyzer.decode.segment import Skipped
from tests.reference import checksum, links, tunnels
from tests.reference.fragments import Fragments, Piece
from tests.reference.record import Record
from tests.reference.segment import Segment, tcp
from tests.reference.way import BY_LINK, BY_PROTOCOL, BY_UDP_PORT, Header, IcmpError, Skip, Way

TCP = 6
ROUTING, FRAGMENT, AUTHENTICATION = 43, 44, 51
OTHER_EXTENSIONS = {0, 43, 60, 135, 139, 140}  #: hop by hop, routing, destination, mobility, HIP, Shim6
MOST_EXTENSIONS = 16
LONGEST = 1 << 24  #: octets; a frame of a card's offload that claims more is lying

STEPS: dict[Layer, Callable[[Way], Layer]] = {
    Layer.ETHERNET: links.ethernet,
    Layer.VLAN: links.vlan,
    Layer.LINUX_SLL2: links.linux_sll2,
    Layer.LINUX_SLL: links.linux_sll,
    Layer.IP: Way.by_version,
    Layer.NULL: links.null,
    Layer.LLC: links.llc,
    Layer.FDDI: links.fddi,
    Layer.IPOIB: links.ipoib,
    Layer.ARCNET: links.arcnet,
    Layer.PPP: links.ppp,
    Layer.CISCO_HDLC: links.cisco_hdlc,
    Layer.RADIOTAP: links.radiotap,
    Layer.PPI: links.ppi,
    Layer.WLAN: links.wlan,
    Layer.NFLOG: links.nflog,
    Layer.MPLS: tunnels.mpls,
    Layer.PPPOE: tunnels.pppoe,
    Layer.GRE: tunnels.gre,
    Layer.ERSPAN_2: tunnels.erspan_2,
    Layer.ERSPAN_3: tunnels.erspan_3,
    Layer.ETHERIP: tunnels.etherip,
    Layer.VXLAN: tunnels.vxlan,
    Layer.VXLAN_GPE: tunnels.vxlan_gpe,
    Layer.GENEVE: tunnels.geneve,
    Layer.GTP_U: tunnels.gtp_u,
    Layer.TEREDO: tunnels.teredo,
    Layer.L2TP: tunnels.l2tp,
}
#: Formats that an IP header may follow directly without being IP in IP: all but these.
TRANSPARENT = {Layer.ETHERNET, Layer.VLAN, Layer.LINUX_SLL2, Layer.IP, Layer.UDP, Layer.AH}


@dataclass
class Decoded:
    segment: Segment | None
    skipped: Skipped | None  #: why there is none; ICMP_ERROR with the segment that it quotes


def decode(record: Record, fragments: Fragments, *, checksums: bool = True) -> Decoded:
    """Decode one record; fragments: the datagrams of which not all pieces have come, kept from record to record."""
    way = Way(record, record.data, record.wire)
    try:
        segment = walk(way, fragments)
    except Skip as skip:
        return Decoded(None, skip.reason if way.icmp is None else Skipped.NOT_TCP)
    segment.tags, segment.tunnel, segment.path = way.tags, way.tunnel, way.path
    segment.outgoing, segment.loopback, segment.ifindex = way.outgoing, way.loopback, way.ifindex
    segment.overlapping = way.overlapping
    if segment.icmp is None and checksums:
        segment.ip_checksum_wrong = way.ip_checksum_wrong
        if len(way.data) >= way.length and not way.unsummed:
            segment.checksum = checksum.of_segment(way.ip, way.data)
    return Decoded(segment, None if segment.icmp is None else Skipped.ICMP_ERROR)


def walk(way: Way, fragments: Fragments) -> Segment:
    """Go from layer to layer."""
    if way.record.link not in BY_LINK:
        raise Skip(Skipped.UNKNOWN_LINK)
    layer = BY_LINK[way.record.link]
    for _ in range(MOST_LAYERS):
        match layer:
            case Layer.TCP:
                return whole_segment(way) if way.icmp is None else quoted_segment(way)
            case Layer.IPV4 | Layer.IPV6:
                layer = ip(way, layer, fragments)
            case Layer.UDP:
                layer = udp(way)
            case Layer.AH:
                layer = authentication(way)
            case Layer.ICMP | Layer.ICMPV6:
                layer = icmp_error(way, layer)
            case _:
                if layer not in TRANSPARENT:
                    way.under = layer
                layer = STEPS[layer](way)
    raise Skip(Skipped.TOO_DEEP)


def whole_segment(way: Way) -> Segment:
    header = tcp(way.data, way.length, way.wire)
    if header is None:
        raise Skip(Skipped.TCP_CUT)
    ip = way.ip
    return Segment(
        way.record,
        ip.version,
        ip.source,
        ip.destination,
        **vars(header),
        ip_id=ip.ip_id,
        ttl=ip.ttl,
        truncated=ip.truncated,
    )


def udp(way: Way) -> Layer:
    """RFC 768: a port may announce a tunnel, the receiver's rather than the sender's."""
    sport, dport = struct.unpack("!HH4x", way.take(8, Skipped.NOT_TCP))
    layer = BY_UDP_PORT.get(dport) or BY_UDP_PORT.get(sport)
    if layer is None:
        raise Skip(Skipped.NOT_TCP)
    return layer


def authentication(way: Way) -> Layer:
    """RFC 4302, behind IPv4."""
    header = way.head(8, Skipped.NOT_TCP)
    size = (header[1] + 2) * 4
    way.step(size)
    way.length -= size
    return by_protocol(header[0])


def by_protocol(number: int) -> Layer:
    if number not in BY_PROTOCOL:
        raise Skip(Skipped.NOT_TCP)
    return BY_PROTOCOL[number]


# ---------------------------------------------------------------------------------------------------------------- IP


@dataclass
class Carried:
    """What an IP header says of what it carries."""

    ip: Header
    protocol: int
    unsummed: bool  #: its checksum does not tell
    header: int  #: octets before it
    length: int  #: octets of it, by the header
    piece: Piece | None = None  #: of a datagram, it is only that


def ip(way: Way, layer: Layer, fragments: Fragments) -> Layer:
    if way.ip is not None:
        if way.under in (Layer.IPV4, Layer.IPV6):
            way.enter(layer)
        way.path += (tuple(sorted((way.ip.source, way.ip.destination))),)
    way.under = layer
    quoted = way.icmp is not None
    carried = ipv4(way.data, way.wire, spoiled=quoted) if layer is Layer.IPV4 else ipv6(way.data, way.wire)
    way.ip, way.length = carried.ip, carried.length
    way.unsummed = carried.unsummed
    if layer is Layer.IPV4 and carried.header <= len(way.data):
        way.ip_checksum_wrong |= checksum.ipv4_header_is_wrong(way.data[: carried.header])
    way.step(carried.header)
    if carried.piece is None:
        protocol = carried.protocol
    elif quoted:
        if carried.piece.offset:
            raise Skip(Skipped.NOT_TCP)
        protocol = carried.piece.protocol  # the first piece has the ports
    else:
        protocol = reassembled(way, carried.piece, fragments)
    if not quoted:
        way.data = way.data[: max(way.length, 0)]  # padding behind the datagram is never part of it
    return by_protocol(protocol)


def ipv4(data: bytes, wire: int, spoiled: bool = False) -> Carried:
    """spoiled: a length that cannot be is not asked: some stacks spoil it in what they quote."""
    fixed = cut(data, 20)
    first, _, total, ip_id, fragment, ttl, protocol, _, source, destination = struct.unpack("!BBHHHBBHII", fixed)
    header = (first & 15) * 4
    unsummed = total == 0 or checksum.is_source_routed(data[20:header])
    if total == 0 or (spoiled and total < header):  # the card cuts it up later: only the frame knows
        total = min(wire, LONGEST)
    if first >> 4 != 4 or header < 20 or total < header:
        raise Skip(Skipped.IP_MALFORMED)
    ip = Header(4, source, destination, ip_id, ttl, total > len(data))
    carried = Carried(ip, protocol, unsummed, header, total - header)
    if fragment & 0x3FFF:  # an offset, or more to come
        key = (4, source, destination, protocol, ip_id)
        place, more = (fragment & 0x1FFF) * 8, bool(fragment & 0x2000)
        carried.piece = Piece(key, protocol, place, carried.length, more, data[header:])
    return carried


def ipv6(data: bytes, wire: int) -> Carried:
    first, payload, protocol, ttl, source, destination = struct.unpack("!IHBB16s16s", cut(data, 40))
    if first >> 28 != 6:
        raise Skip(Skipped.IP_MALFORMED)
    unsummed = payload == 0
    if payload == 0:  # the same, or a jumbogram (RFC 2675)
        payload = min(max(wire - 40, 0), LONGEST)
    ip = Header(6, int.from_bytes(source), int.from_bytes(destination), None, ttl, 40 + payload > len(data))
    protocol, size, fragment, routed = after_extensions(protocol, data[40:], payload)
    carried = Carried(ip, protocol, unsummed or routed, 40 + size, payload - size)
    if fragment is not None:
        place, identification = fragment
        key = (6, ip.source, ip.destination, protocol, identification)
        carried.piece = Piece(key, protocol, place & 0xFFF8, carried.length, bool(place & 1), data[40 + size :])
    return carried


def after_extensions(protocol: int, data: bytes, payload: int) -> tuple[int, int, tuple[int, int] | None, bool]:
    """Step over extension headers.

    What is behind them, the octets that they take, a fragment's place and number, and whether there is a routing header
    with segments left: then the checksum has the last destination, and the header another (RFC 8200 section 8.1).
    """
    taken, routed = 0, False
    for _ in range(MOST_EXTENSIONS):
        if protocol not in OTHER_EXTENSIONS | {FRAGMENT, AUTHENTICATION}:
            return protocol, taken, None, routed
        header = cut(data[taken:], 8)
        if protocol == FRAGMENT:
            taken += 8
            place = int.from_bytes(header[2:4])
            if place & 0xFFF9:  # all but an atomic one (RFC 6946)
                return header[0], taken, (place, int.from_bytes(header[4:])), routed
        elif protocol == AUTHENTICATION:
            taken += (header[1] + 2) * 4
        else:
            routed |= protocol == ROUTING and header[3] != 0
            taken += (header[1] + 1) * 8
        protocol = header[0]
        if taken > payload:
            raise Skip(Skipped.IP_MALFORMED)
    raise Skip(Skipped.UNKNOWN_EXTENSION)


def cut(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise Skip(Skipped.IP_CUT)
    return data[:size]


def reassembled(way: Way, piece: Piece, fragments: Fragments) -> int:
    """Go on in the whole datagram, if this was its last piece to come: the protocol that it carries."""
    piece.key += (way.path,)
    whole = fragments.collect(piece)
    if whole is None:
        raise Skip(Skipped.FRAGMENT)
    way.data = bytes(whole.beginning[: min(whole.total, whole.captured)])
    way.wire = way.length = whole.total
    way.overlapping = whole.overlapping
    protocol = piece.protocol
    if way.ip.version == 6:
        protocol, size, fragment, routed = after_extensions(protocol, way.data, whole.total)
        way.unsummed |= routed
        if fragment is not None:  # a piece of a piece
            raise Skip(Skipped.NOT_TCP)
        way.step(size)
        way.length -= size
    return protocol


# -------------------------------------------------------------------------------------------------------------- ICMP

UNREACHABLE, QUENCH, REDIRECT, EXCEEDED, PARAMETER = 3, 4, 5, 11, 12  # RFC 792
UNREACHABLE_6, TOO_BIG_6, EXCEEDED_6, PARAMETER_6 = 1, 2, 3, 4  # RFC 4443
FRAGMENTATION_NEEDED = 4


def icmp_error(way: Way, layer: Layer) -> Layer:
    """An error quotes the datagram that it is about; the walk goes on in there."""
    if way.icmp is not None:
        raise Skip(Skipped.NOT_TCP)  # nobody reports an error about an error
    kind, code, third, fourth, mtu = struct.unpack("!BB2xBBH", way.take(8, Skipped.NOT_TCP))
    if layer is Layer.ICMP:
        words = {UNREACHABLE: fourth, QUENCH: 0, REDIRECT: 0, EXCEEDED: fourth, PARAMETER: fourth}
        size = 4 * words.get(kind, 0)
        told = mtu if (kind, code) == (UNREACHABLE, FRAGMENTATION_NEEDED) else 0
    else:
        words = {UNREACHABLE_6: third, TOO_BIG_6: 0, EXCEEDED_6: third, PARAMETER_6: 0}
        size = 8 * words.get(kind, 0)
        told = third << 24 | fourth << 16 | mtu if kind == TOO_BIG_6 else 0
    if kind not in words:
        raise Skip(Skipped.NOT_TCP)
    way.icmp = IcmpError(4 if layer is Layer.ICMP else 6, kind, code, told, (way.ip.version, way.ip.source))
    way.ip = None  # the quote is a packet of its own
    if size:
        way.data = way.data[:size]  # extensions follow it (RFC 4884)
    return Layer.IPV4 if layer is Layer.ICMP else Layer.IPV6


def quoted_segment(way: Way) -> Segment:
    """Of what is quoted of a segment only eight octets must be there: ports and sequence number."""
    if len(way.data) < 8:
        raise Skip(Skipped.NOT_TCP)
    sport, dport, seq = struct.unpack("!HHI", way.data[:8])
    ip = way.ip
    return Segment(way.record, ip.version, ip.source, ip.destination, sport, dport, seq, 0, 0, icmp=way.icmp)
