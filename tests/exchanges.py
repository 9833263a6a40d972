"""Hypothesis strategies: packet exchanges that a network, a broken host or an attacker may bring, as records.

They begin as scripts of a connection's life (open, talk, close, reset, ...) on one or two pairs of ends, in order or not.
Then things happen to them: numbers shift, segments are lost, repeated, swapped and cut, time stands still, jumps or goes
back, ICMP errors quote what was sent.
"""

from __future__ import annotations

import dataclasses

import hypothesis.strategies as st

from tests import wire

START_NS = 1_700_000_000 * 10**9
LINKS = [1, 276, 113, 0, 101]
ISNS = st.sampled_from([0, 1, 2**32 - 1, 2**32 - 12, 2**31, 1_000_000_000, 1_007_000_000])
SCRIPTS = {
    "open": "0S 1S. 0.",
    "syn": "0S",
    "open simultaneously": "0S 1S 0S. 1S.",
    "fast open": "0Sd 1S. 0. 1P.d",
    "ask": "0P.d 1. 1P.d 0.",
    "send": "0P.d 0P.d 0P.d 1. 0P.d 1. 1.",
    "close": "0F. 1. 1F. 0.",
    "close in three": "0F. 1F. 0.",
    "close simultaneously": "0F. 1F. 0. 1.",
    "half-close": "0F. 1. 1P.d 0.",
    "last words": "0FP.d 1.",
    "reset": "0R.",
    "bare reset": "0R",
    "acknowledge": "0.",
    "keep alive": "0.k 1.",
    "nonsense": "0none 1SF. 0SR 1FR. 0F",
}
SHIFTS = [-1, 1, -10, 10, -1000, 1000, 70_000, 2**30, -(2**30), 2**31 - 1, -(2**31), 2**32 - 1]
GAPS_NS = [
    0,
    1000,
    10**6,
    5 * 10**6,
    250 * 10**6,
    1_500 * 10**6,
    61 * 10**9,
    130 * 10**9,
    2 * 3600 * 10**9,
    -(10**6),
    -(10**11),
]
OPTIONS = {
    "mss": wire.mss(1460),
    "wscale": wire.wscale(7),
    "wide": wire.wscale(200),
    "sackok": wire.SACK_PERMITTED,
    "timestamps": wire.timestamps(7, 2**32 - 7),
    "fast open": wire.fast_open(b"cookie"),
    "mptcp": wire.mptcp(1),
    "md5": wire.MD5,
    "user timeout": wire.option(28, b"\x80\x05"),
    "broken": b"\x08\x0a\x00",
}


@dataclasses.dataclass
class Direction:
    """What one end has sent so far."""

    isn: int
    next: int


@dataclasses.dataclass
class Network:
    """The ends of one pair, and how their segments are wrapped."""

    version: int
    ports: tuple[int, int]
    link: int
    tags: tuple[tuple[int, int], ...]
    itself: bool  #: both ends have the same address and port
    directions: list[Direction]
    vni: int | None = None  #: inside a VXLAN
    sent: list[tuple[int, bytes]] = dataclasses.field(default_factory=list)  #: EtherType, datagram

    def addresses(self, sender: int) -> tuple[str, str]:
        ends = ("10.0.0.2", "10.0.0.1") if self.version == 4 else ("fd00::2", "fd00::1")
        if self.itself:
            ends = (ends[0], ends[0])
        return ends[sender], ends[1 - sender]

    def frame(self, ethertype: int, datagram: bytes, outgoing: bool) -> bytes:
        if self.vni is not None:
            ends = ("192.0.2.1", "192.0.2.2") if outgoing else ("192.0.2.2", "192.0.2.1")
            vxlan = (8 << 56 | self.vni << 8).to_bytes(8) + wire.ethernet(ethertype, datagram)
            ethertype, datagram = wire.ip(*ends, wire.udp(50000, 4789, vxlan), protocol=wire.UDP)
        if self.link == 1:
            return wire.ethernet(ethertype, datagram, self.tags)
        if self.link in (113, 276):
            cook = wire.sll if self.link == 113 else wire.sll2
            return cook(ethertype, datagram, packet_type=4 if outgoing else 0)
        return wire.link_layer(self.link, ethertype, datagram)


def seldom(usual: object, *others: object) -> st.SearchStrategy:
    """Mostly the usual value."""
    return st.sampled_from([usual] * (6 * max(len(others), 4)) + list(others))


@st.composite
def networks(draw: st.DrawFn, link: int) -> Network:
    ports = draw(st.sampled_from([(40000, 80), (80, 40000), (5000, 5000), (50000, 50001)]))
    tags = draw(st.sampled_from([(), (), ((0x8100, 7),), ((0x88A8, 3), (0x8100, 7)), ((0x8100, 0),)]))
    directions = [Direction(isn, isn) for isn in (draw(ISNS), draw(ISNS))]
    version, itself = draw(st.sampled_from([4, 4, 6])), draw(seldom(False, True))
    return Network(version, ports, link, tags, itself, directions, draw(seldom(None, 7, 8)))


@st.composite
def segments(draw: st.DrawFn, network: Network, word: str, swapped: int) -> tuple[bytes, int]:
    """One segment of a script: its frame and its length on the wire."""
    sender = int(word[0]) ^ swapped
    letters = word[1:].rstrip("dk")
    mine, yours = network.directions[sender], network.directions[1 - sender]
    payload = b"x" * draw(seldom(10, 1, 1000, 3)) if word.endswith("d") else b""
    if "S" in letters:
        if draw(st.booleans()):
            mine.isn = draw(ISNS)
        mine.next = mine.isn
    seq = mine.next - word.endswith("k") + draw(seldom(0, *SHIFTS))
    ack = yours.next + draw(seldom(0, *SHIFTS)) if "." in letters or draw(seldom(False, True)) else 0
    default = ["mss", "wscale"] if "S" in letters else []
    names = draw(st.one_of(st.just(default), st.lists(st.sampled_from(sorted(OPTIONS)), max_size=3)))
    options = b"".join(OPTIONS[name] for name in names)
    if draw(seldom(False, True)):
        left = yours.next + draw(st.sampled_from(SHIFTS))
        options += wire.sack([(left, left + 10), (left + 50, left + 60)])
    header = draw(seldom(None, 3, 5, 15))
    window = draw(st.sampled_from([65535, 65535, 1000, 0]))
    tcp = wire.tcp(
        network.ports[sender], network.ports[1 - sender], seq, ack, letters,
        window=window, options=options[:40], payload=payload, header=header, ends=network.addresses(sender),
        sum_is=draw(seldom("right", "left", "partial", "wrong", "wrong")),
    )  # fmt: skip
    length = draw(seldom(None, 0, 21, 45, 60, 9000))
    ethertype, datagram = wire.ip(*network.addresses(sender), tcp, **({} if length is None else {"length": length}))
    network.sent.append((ethertype, datagram))
    if draw(seldom(True, False)):  # else it is not what this end goes on from
        mine.next = (seq + len(payload) + ("S" in letters) + ("F" in letters)) % 2**32
    frame = network.frame(ethertype, datagram, outgoing=sender == 0)
    return frame[: draw(seldom(None, 14, 40, 60, 70))], len(frame)


#: Type and code, of ICMP and of ICMPv6; some mean something in both, some in none.
ERRORS = [
    *[(3, 3), (3, 2), (3, 1), (3, 0), (3, 4), (3, 4), (3, 4), (3, 13), (3, 77), (4, 0), (5, 1), (11, 0), (11, 1)],
    *[(1, 4), (1, 0), (1, 1), (1, 99), (2, 0), (2, 0), (2, 0), (4, 1), (12, 0), (8, 0)],
]


@st.composite
def icmp_errors(draw: st.DrawFn, network: Network) -> tuple[bytes, int]:
    """An error that quotes something sent before."""
    ethertype, quoted = draw(st.sampled_from(network.sent))
    version = 4 if ethertype == wire.IPV4 else 6
    kind, code = draw(st.sampled_from(ERRORS))
    rest = draw(st.sampled_from([0, 0, 576, 1280, 1400, 1 << 16]))
    quoted = quoted[: draw(st.sampled_from([27, 28, 40, 48, 60, 200]))]
    message = wire.unreachable(quoted, kind, code, version=version, rest=rest)
    protocol = wire.ICMP if version == 4 else wire.ICMPV6
    source, target = network.addresses(draw(st.integers(0, 1)))
    router = "10.0.0.254" if version == 4 else "fd00::fe"
    about = wire.ip(draw(st.sampled_from([source, router])), target, message, protocol=protocol)
    frame = network.frame(*about, outgoing=draw(st.booleans()))
    return frame, len(frame)


@st.composite
def exchanges(draw: st.DrawFn, most: int = 8) -> tuple[int, list[wire.Record]]:
    """A link type, and the records of a capture."""
    link = draw(st.sampled_from(LINKS))
    pairs = draw(st.lists(networks(link), min_size=1, max_size=2))
    frames: list[tuple[bytes, int]] = []
    script = st.tuples(st.sampled_from(sorted(SCRIPTS)), st.integers(0, len(pairs) - 1), st.integers(0, 1))
    opened = draw(st.lists(st.tuples(st.just("open"), st.integers(0, len(pairs) - 1), st.just(0)), max_size=2))
    for name, pair, swapped in opened + draw(st.lists(script, min_size=1, max_size=most)):
        network = pairs[pair]
        for word in SCRIPTS[name].split():
            fate = draw(seldom("sent", "lost", "lost", "again", "swapped", "repeated", "refused"))
            if fate == "refused" and network.sent:
                frames.append(draw(icmp_errors(network)))
                continue
            frame = draw(segments(network, word, swapped))
            if fate == "lost":
                continue
            frames.append(frame)
            if fate == "again":
                frames.append(frame)
            elif fate == "swapped":
                frames[-2:] = frames[-2:][::-1]
            elif fate == "repeated":
                frames.append(draw(st.sampled_from(frames)))
    now, records = draw(seldom(START_NS, 0)), []
    for data, length in frames:
        records.append(wire.Record(now, data, length))
        now = max(now + draw(st.one_of(st.just(10**6), st.sampled_from(GAPS_NS))), 0)
    return link, records
