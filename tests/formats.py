"""Hypothesis strategies: frames of every link type, with any tunnel in them, in fragments, spoiled, cut, and mere noise."""

from __future__ import annotations

import struct

import hypothesis.strategies as st

from tests import wire
from tests.exchanges import OPTIONS
from tests.reference.record import Record

UNKNOWN_LINKS = (147, 511, 512, 70000)
LINKS = [0, 1, 7, 9, 10, 12, 14, 50, 101, 104, 105, 108, 113, 127, 192, 228, 229, 239, 242, 276, *UNKNOWN_LINKS]
EXTENSIONS = [
    (0, bytes([0]) + bytes(6)),
    (43, bytes([1]) + bytes(14)),
    (44, bytes(7)),
    (44, bytes([0, 0, 1]) + bytes(4)),
    (51, bytes([2]) + bytes(14)),
    (60, bytes([255]) + bytes(6)),
]
SNAP = b"\xaa\xaa\x03\0\0\0"
MAC = b"\x02\0\0\0\0\x01"
ENDS = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00::1", "fd00::2")}
tags = st.tuples(st.sampled_from([0x8100, 0x88A8, 0x9100, 0x9200]), st.integers(0, 0xFFFF))
numbers = st.integers(0, 2**32 - 1)
octets = st.integers(0, 255)
seldom = st.integers(0, 9).map(lambda number: number == 0)


@st.composite
def segments(draw: st.DrawFn) -> bytes:
    options = b"".join(draw(st.lists(st.sampled_from([*OPTIONS.values(), wire.NOP, wire.END_OF_OPTIONS]), max_size=4)))
    if draw(st.booleans()):
        options = wire.sack([(draw(numbers), draw(numbers)) for _ in range(draw(st.integers(0, 4)))]) + options
    words = draw(st.none() | st.integers(0, 15))
    return wire.tcp(
        draw(st.integers(0, 65535)), 80, draw(numbers), draw(numbers), draw(st.sampled_from(["S", "S.", ".", "FPe"])),
        window=draw(st.integers(0, 65535)), options=options[:40], payload=draw(st.binary(max_size=8)), header=words,
    )  # fmt: skip


@st.composite
def datagrams(draw: st.DrawFn, quoting: bool = True) -> tuple[int, bytes]:
    """An EtherType and a datagram: TCP, UDP or an ICMP error, its header right or not."""
    version = draw(st.sampled_from([4, 6]))
    payload, protocol = draw(segments()), wire.TCP
    what = draw(st.sampled_from(["tcp"] * 6 + ["udp"] + ["icmp"] * 3))
    if what == "udp":
        payload, protocol = wire.udp(1, 2, payload), wire.UDP
    elif what == "icmp" and quoting:
        ethertype, quoted = draw(datagrams(quoting=draw(seldom)))
        if draw(seldom):  # of a packet in a tunnel
            ethertype, quoted = draw(tunnelled(ethertype, quoted))
            version = 4 if ethertype == wire.IPV4 else 6
        rest = draw(st.sampled_from([0, 0, 0, 1400, 7 << 16, 32 << 16, 5 << 24, 0xFFFFFFFF]))
        kind = draw(st.sampled_from([1, 2, 3, 3, 4, 5, 8, 11, 12]))
        quoted = quoted[: draw(st.integers(0, 200))] + draw(st.sampled_from([b"", bytes(60), b"\x20\0\xbe\xef"]))
        payload = wire.unreachable(quoted, kind, draw(st.integers(0, 5)), version=version, rest=rest)
        protocol = draw(st.sampled_from([wire.ICMP if version == 4 else wire.ICMPV6] * 4 + [wire.ICMP, wire.ICMPV6]))
    length = draw(st.sampled_from([None] * 20 + [0, 30, 60, 65535]))
    if version == 4:
        if draw(seldom):  # an authentication header
            payload, protocol = bytes([protocol, draw(st.sampled_from([1, 4, 9, 255]))]) + bytes(10) + payload, 51
        options = bytes(4 * draw(st.sampled_from([0, 0, 1, 3])))
        fragment = draw(st.sampled_from([0x4000] * 20 + [0x2000, 1]))
        words = draw(st.sampled_from([None] * 20 + [0, 4, 6, 15]))
        datagram = wire.ipv4(
            *ENDS[4], payload, protocol=protocol, options=options, length=length, fragment=fragment, header=words
        )
        return wire.IPV4, datagram
    extensions = draw(st.lists(st.sampled_from(EXTENSIONS), max_size=draw(st.sampled_from([0] * 8 + [2, 18]))))
    return wire.IPV6, wire.ipv6(*ENDS[6], payload, protocol=protocol, extensions=extensions, length=length)


# ---------------------------------------------------------------------------------------------------------- tunnels


def over_udp(draw: st.DrawFn, port: int, payload: bytes) -> tuple[int, bytes]:
    ports = draw(st.sampled_from([(50000, port), (port, 50000), (port, port)]))
    return over_ip(draw, wire.UDP, wire.udp(*ports, payload))


def over_ip(draw: st.DrawFn, protocol: int, payload: bytes) -> tuple[int, bytes]:
    ends = draw(st.sampled_from([("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1"), ENDS[6]]))
    return wire.ip(*ends, payload, protocol=protocol)


def ppp(draw: st.DrawFn, ethertype: int, datagram: bytes) -> bytes:
    number = 0x21 if ethertype == wire.IPV4 else 0x57
    start = draw(st.sampled_from([b"", b"\xff\x03", b"\x0f\0"] * 4 + [b"\xff"]))
    if start == b"\x0f\0":
        return start + ethertype.to_bytes(2) + datagram
    return (
        start
        + draw(st.sampled_from([number.to_bytes(2), number.to_bytes(1)] * 4 + [b"\x02\x81", b"\xc0\x21"]))
        + datagram
    )


@st.composite
def tunnelled(draw: st.DrawFn, ethertype: int, datagram: bytes) -> tuple[int, bytes]:
    """The datagram in one more tunnel."""
    frame = wire.ethernet(ethertype, datagram, draw(st.lists(tags, max_size=1)), pad_to=draw(st.sampled_from([0, 60])))
    vni = draw(st.sampled_from([0, 7, 0xFFFFFF])) << 8
    kind = draw(st.sampled_from(sorted(TUNNELS)))
    return TUNNELS[kind](draw, ethertype, datagram, frame, vni)


def _gre(draw: st.DrawFn, ethertype: int, datagram: bytes, frame: bytes, vni: int) -> tuple[int, bytes]:
    flags = draw(st.sampled_from([0, 0x2000, 0x3000, 0xB000, 0x4000, 0x2001, 0x3081, 2, 0x1000]))
    optional = 4 * sum(bool(flags & bit) for bit in (0xC000, 0x2000, 0x1000, 0x0080)) or draw(
        st.sampled_from([0, 0, 4])
    )
    fields = struct.pack(">IIII", vni, vni, 1, 2)[:optional]
    protocol, payload = draw(st.sampled_from([(ethertype, datagram), (0x6558, frame), (0x88BE, frame)]))
    if protocol == 0x88BE and draw(st.booleans()):
        protocol, payload = draw(st.sampled_from([(0x88BE, bytes(8) + frame), (0x22EB, bytes(12) + frame)]))
    gre = struct.pack(">HH", flags, protocol) + fields + payload
    return over_ip(draw, 47, gre) if draw(st.booleans()) else over_udp(draw, 4754, gre)


def _mpls(draw: st.DrawFn, ethertype: int, datagram: bytes, frame: bytes, vni: int) -> tuple[int, bytes]:
    labels = bytes([0, 1, 0, 64]) * draw(st.sampled_from([0, 1, 17])) + bytes([0, 1, 1, 64])
    inside = labels + draw(st.sampled_from([datagram, bytes(4) + frame, frame]))
    where = draw(st.sampled_from(["ethertype", "ip", "udp"]))
    if where == "ethertype":
        return 0x8847, inside
    return over_ip(draw, 137, inside) if where == "ip" else over_udp(draw, 6635, inside)


def _gtp(draw: st.DrawFn, ethertype: int, datagram: bytes, frame: bytes, vni: int) -> tuple[int, bytes]:
    flags = draw(st.sampled_from([0x30, 0x32, 0x34, 0x36, 0x50, 0x20]))
    extensions = (
        b""
        if flags in (0x30, 0x50, 0x20)
        else draw(
            st.sampled_from([b"", b"\0\0\0\0", b"\0\0\0\x85\x01\0\0\0", b"\0\0\0\x85\0\0\0\0", b"\0\0\0\x85\xff\0\0\0"])
        )
    )
    kind = draw(st.sampled_from([255, 255, 255, 1]))
    return over_udp(draw, 2152, struct.pack(">BBHI", flags, kind, 0, 9) + extensions + datagram)


def _teredo(draw: st.DrawFn, ethertype: int, datagram: bytes, frame: bytes, vni: int) -> tuple[int, bytes]:
    indications = draw(st.sampled_from([b"", b"\0\1\2\3" + bytes(14), b"\0\1\0\0" + bytes(9), b"\0\0" + bytes(6)]))
    return over_udp(draw, 3544, indications + draw(st.sampled_from([b"", b"\0\0" + bytes(6)])) + datagram)


def _l2tp(draw: st.DrawFn, ethertype: int, datagram: bytes, frame: bytes, vni: int) -> tuple[int, bytes]:
    flags = draw(st.sampled_from([0x0002, 0x4002, 0x4A02, 0x0202, 0x8002, 0x0003]))
    optional = bytes(2 * bool(flags & 0x4000)) + bytes(4)
    if flags & 0x0800:
        optional += bytes(4)
    if flags & 0x0200:
        optional += draw(st.sampled_from([b"\0\0", b"\0\2ab", b"\xff\xff"]))
    return over_udp(draw, 1701, struct.pack(">H", flags) + optional + ppp(draw, ethertype, datagram))


def _vxlan_gpe(draw: st.DrawFn, ethertype: int, datagram: bytes, frame: bytes, vni: int) -> tuple[int, bytes]:
    number, payload = draw(st.sampled_from([(1 if ethertype == wire.IPV4 else 2, datagram), (3, frame), (4, frame)]))
    return over_udp(draw, 4790, struct.pack(">BBBBI", 12, 0, 0, number, vni) + payload)


def _geneve(draw: st.DrawFn, ethertype: int, datagram: bytes, frame: bytes, vni: int) -> tuple[int, bytes]:
    words = draw(st.sampled_from([0, 0, 2, 0x3F, 0x40]))
    protocol, payload = draw(st.sampled_from([(ethertype, datagram), (0x6558, frame)]))
    return over_udp(draw, 6081, struct.pack(">BBHI", words, 0, protocol, vni) + bytes(8 if words == 2 else 0) + payload)


TUNNELS = {
    "gre": _gre,
    "mpls": _mpls,
    "gtp": _gtp,
    "teredo": _teredo,
    "l2tp": _l2tp,
    "vxlan gpe": _vxlan_gpe,
    "geneve": _geneve,
    "vxlan": lambda draw, _, __, frame, vni: over_udp(draw, draw(st.sampled_from([4789, 8472])), struct.pack(">II", 8 << 24, vni) + frame),
    "etherip": lambda draw, _, __, frame, ___: over_ip(draw, 97, b"\x30\0" + frame),
    "ip": lambda draw, ethertype, datagram, *_: over_ip(draw, 4 if ethertype == wire.IPV4 else 41, datagram),
    "pppoe": lambda draw, ethertype, datagram, *_: (
        0x8864, draw(st.sampled_from([b"\x11\0", b"\x11\0", b"\x12\0"])) + b"\0\x07\0\0" + ppp(draw, ethertype, datagram)
    ),
    "ppp": lambda draw, ethertype, datagram, *_: (0x880B, ppp(draw, ethertype, datagram)),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------- link layers


@st.composite
def link_layers(draw: st.DrawFn, link: int, ethertype: int, datagram: bytes) -> bytes:
    """The datagram in a frame of this link type."""
    snap = SNAP + ethertype.to_bytes(2) + datagram
    if link == 1:
        if draw(seldom):
            return (
                MAC
                + MAC
                + draw(st.integers(0, 0x0600)).to_bytes(2)
                + draw(st.sampled_from([snap, b"\6\6\3" + datagram]))
            )
        return wire.ethernet(ethertype, datagram, draw(st.lists(tags, max_size=3)), pad_to=draw(st.integers(0, 90)))
    if link in (113, 276):
        cook = wire.sll if link == 113 else wire.sll2
        more = {"index": draw(numbers)} if link == 276 else {}
        hardware = draw(st.sampled_from([1, 772]))
        return cook(ethertype, datagram, packet_type=draw(st.integers(0, 5)), hardware=hardware, **more)
    if link in (9, 50):
        return ppp(draw, ethertype, datagram)
    if link == 104:
        return b"\x0f\0" + ethertype.to_bytes(2) + datagram
    if link == 7:
        kind = draw(st.sampled_from([b"\xd4\0", b"\xd4\xff", b"\xf0", b"\xd5\0"]))
        return b"\1\2" + kind + bytes(6 if kind[-1] == 255 else 2 * (len(kind) - 1)) + datagram
    if link == 10:
        return b"\x50" + MAC + MAC + snap
    if link == 242:
        return bytes(40) + ethertype.to_bytes(2) + b"\0\0" + datagram
    if link == 239:
        order = draw(st.sampled_from("<>"))
        before = struct.pack(order + "HH", draw(st.sampled_from([8] * 6 + [5, 3, 0])), 10) + bytes(4)
        return b"\2\0\0\0" + before + struct.pack(order + "HH", 4 + len(datagram), 9) + datagram
    if link == 127:
        return radiotap(draw) + wlan(draw) + snap
    if link == 105:
        return wlan(draw) + snap
    if link == 192:
        inner = draw(st.sampled_from([105, 127, 1] * 4 + [0, 147, 600]))
        payload = wlan(draw) + snap if inner in (105, 127) else wire.ethernet(ethertype, datagram)
        return struct.pack("<BBHI", 0, 0, draw(st.sampled_from([8] * 9 + [12, 7, 900])), inner) + payload
    if link in UNKNOWN_LINKS:
        return datagram
    return wire.link_layer(link, ethertype, datagram)


def wlan(draw: st.DrawFn) -> bytes:
    control = draw(st.sampled_from([0x08, 0x88] * 5 + [0x48, 0x80]))
    flags = draw(st.sampled_from([0, 1, 2, 3, 0x80] * 3 + [0x40]))
    header = bytes([control, flags]) + bytes(22) + bytes(6 if flags & 3 == 3 else 0)
    if control & 0x80:
        header += bytes([0x80 if draw(seldom) else 0, 0]) + bytes(4 if flags & 0x80 else 0)
    if draw(seldom):
        header += bytes(14)
    return header + bytes(-len(header) % 4 if draw(seldom) else 0)


def radiotap(draw: st.DrawFn) -> bytes:
    words = draw(st.sampled_from([1, 1, 2, 3]))
    present = draw(st.sampled_from([0, 2, 3])) | (0x80000000 if words > 1 else 0)
    further = [0x80000000] * (words - 2) + [0] if words > 1 else []
    fields = bytes(draw(st.lists(st.sampled_from([0, 0, 0, 0x20]), max_size=24)))
    length = 4 + 4 * words + len(fields)
    return (
        struct.pack(f"<BBH{words}I", 0, 0, draw(st.sampled_from([length] * 9 + [4, 999])), present, *further) + fields
    )


# ------------------------------------------------------------------------------------------------- frames, fragments


@st.composite
def fragments(draw: st.DrawFn, payload: bytes, protocol: int) -> list[tuple[int, bytes]]:
    """A datagram in pieces: in any order, some twice, some overlapping, some missing."""
    size = draw(st.sampled_from([8, 16, 24, 64]))
    version, identification = draw(st.sampled_from([4, 6])), draw(st.integers(1, 3))
    pieces = []
    for start in range(0, max(len(payload), 1), size):
        piece = payload[start : start + size + draw(st.sampled_from([0] * 9 + [8]))]
        more = start + size < len(payload)
        if version == 4:
            place = start // 8 | (0x2000 if more else 0)
            datagram = wire.ipv4(*ENDS[4], piece, protocol=protocol, ident=identification, fragment=place)
        else:
            header = (44, bytes([0]) + struct.pack(">HI", start | more, identification))
            datagram = wire.ipv6(*ENDS[6], piece, protocol=protocol, extensions=[header])
        pieces.append((wire.IPV4 if version == 4 else wire.IPV6, datagram))
    if draw(st.booleans()):
        pieces = draw(st.permutations(pieces))
    if draw(seldom):
        pieces.remove(draw(st.sampled_from(pieces)))
    if draw(seldom) and pieces:
        pieces.append(draw(st.sampled_from(pieces)))
    return pieces


@st.composite
def frames(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """One frame, or those of a datagram in fragments; each with its link type."""
    link = draw(st.sampled_from([*LINKS, *[1, 276, 113, 101, 127, 192, 9] * 6]))
    if draw(seldom):
        return [(link, draw(st.binary(max_size=120)))]
    wrapped = [draw(datagrams())]
    depth = draw(st.sampled_from([0, 0, 0, 0, 1, 1, 2, 8]))
    for _ in range(depth):
        wrapped = [draw(tunnelled(*wrapped[0]))]
    if draw(seldom):
        ethertype, datagram = wrapped[0]
        inside = (datagram, 4 if ethertype == wire.IPV4 else 41) if depth else (draw(segments()), wire.TCP)
        wrapped = draw(fragments(*inside))
        if draw(st.booleans()):
            wrapped = [draw(tunnelled(*piece)) for piece in wrapped]
    return [(link, draw(spoiled(draw(link_layers(link, *one))))) for one in wrapped]


@st.composite
def spoiled(draw: st.DrawFn, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw(st.sampled_from([0] * 9 + [1, 3]))):
        if changed:
            changed[draw(st.integers(0, len(changed) - 1))] = draw(octets)
    return bytes(changed[: draw(st.integers(0, len(changed)))] if draw(seldom) else changed)


@st.composite
def batches(draw: st.DrawFn) -> list[Record]:
    """Records; their interfaces are the link types' places in LINKS."""
    records: list[Record] = []
    for group in draw(st.lists(frames(), min_size=1, max_size=8)):
        for link, data in group:
            length = draw(st.one_of(st.just(len(data)), st.just(len(data)), st.integers(0, 200), st.just(2**32 - 1)))
            number = len(records) + 1
            records.append(Record(data, length, number, link, number, interface=LINKS.index(link)))
    return records
