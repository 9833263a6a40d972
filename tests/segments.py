"""Packet exchanges as text: one line a segment, rendered to a capture, and what is expected behind each.

::

    0.000 C>S S  seq=0 mss=1460 wscale=7 | SYN_SENT LISTEN~ open 1/3
    0.010 S>C S. seq=0 ack=1             | ESTABLISHED~ SYN_RCVD open 2/3
    +0.01 C>S .  seq=1 ack=1             | ESTABLISHED ESTABLISHED~ open 3/3
    60.00 timer                          | ESTABLISHED ESTABLISHED

*Time* is in seconds; ``+`` counts from the line before. *Ends* are C and S. Each has one sequence space, ``C'`` is another
one of the same end (the next incarnation, after a restart): ``C'>S . seq=1 ack=8`` has its own number in the new space and
acknowledges in S's old one. *Flags* are tcpdump's letters. ``seq``, ``ack`` and ``sack`` are relative and may be of any size.

``timer`` is a datagram of others: time passes. ``S>C icmp=3/3 seq=0`` is an ICMP error that quotes C's segment of that number,
sent by S, or ``by=router``, ``by=itself``; ``mtu=1400`` is what it tells, ``quote=8`` how many octets of TCP it quotes.

Other words: ``len`` ``win``; ``mss`` ``wscale`` ``sackok`` ``sack=1:5,9:12`` ``ts=VALUE/ECHO`` ``tfo`` ``mptcp`` ``md5``;
``vlan=7``; ``port`` (C's other port: another connection); ``iplen`` (what the IP header says instead); ``cap`` (octets
captured). Frames are padded to 60 octets with what is no payload.

Behind ``|`` stands what the tracker must say after the segment: both ends' states, client first, ``~`` for assumed, the
step, in brackets when it is a repetition, and after ``!`` the anomalies of this frame, all of them. ``#1`` before them is the
flow's number. A ``?`` behind a state leaves open whether it is assumed, ``?`` alone leaves the state or the step open, ``!?``
the anomalies. Without a ``|`` nothing is expected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests import wire

ADDRESSES = {4: {"C": "10.0.0.1", "S": "10.0.0.2"}, 6: {"C": "fd00::1", "S": "fd00::2"}}
ROUTERS = {4: "10.0.0.254", 6: "fd00::fe"}
PORTS = {"C": 40000, "S": 80}
ISNS = {"C": 1_000_000_000, "S": 3_000_000_000}
NEXT_ISN = 7_000_000  # how far the next incarnation's ISN is from the one before: as a clock would have it
START_NS = 1_700_000_000 * 10**9

_LINE = re.compile(r"(?P<time>\+?\d+(?:\.\d+)?)\s+(?P<rest>.*)")
_ENDS = re.compile(r"(?P<source>[CS])(?P<source_life>'*)>(?P<target>[CS])(?P<target_life>'*)")


@dataclass(frozen=True)
class Line:
    """One line of an exchange, read."""

    number: int  #: the frame
    time_ns: int  #: since the beginning
    text: str
    source: tuple[str, int] = ("", 0)  #: end, incarnation
    target: tuple[str, int] = ("", 0)
    flags: str = ""  #: empty: no segment
    words: dict[str, str] = field(default_factory=dict)
    expected: str | None = None

    @property
    def is_segment(self) -> bool:
        return bool(self.flags)

    def whole(self, name: str, default: int = 0) -> int:
        return int(self.words.get(name, default))


def parse(text: str) -> list[Line]:
    """Read an exchange."""
    lines: list[Line] = []
    now = 0
    for raw in text.splitlines():
        if not raw.strip() or raw.strip().startswith("#"):
            continue
        sent, bar, expected = raw.partition("|")
        match = _LINE.fullmatch(sent.strip())
        assert match, f"no time: {raw}"
        offset = round(float(match["time"]) * 1e9)
        now = now + offset if match["time"].startswith("+") else offset
        lines.append(_line(len(lines) + 1, now, match["rest"], " ".join(expected.split()) if bar else None))
    return lines


def _line(number: int, time_ns: int, sent: str, expected: str | None) -> Line:
    first, *rest = sent.split()
    if first == "timer":
        assert not rest, f"a timer has no words: {sent}"
        return Line(number, time_ns, sent, expected=expected)
    ends = _ENDS.fullmatch(first)
    assert ends, f"no ends: {sent}"
    flags = "" if rest[0].startswith("icmp=") else rest.pop(0)
    words = dict(word.partition("=")[::2] for word in rest)
    unknown = words.keys() - _WORDS
    assert not unknown, f"{sorted(unknown)} in: {sent}"
    source, target = (ends["source"], len(ends["source_life"])), (ends["target"], len(ends["target_life"]))
    return Line(number, time_ns, sent, source, target, flags, words, expected)


_WORDS = {
    *("seq", "ack", "len", "win", "mss", "wscale", "sackok", "sack", "ts", "tfo", "mptcp", "md5"),
    *("vlan", "port", "iplen", "cap", "icmp", "by", "mtu", "quote"),
}


@dataclass(frozen=True)
class Rendering:
    """How an exchange becomes a capture."""

    link: int = 1
    version: int = 4
    isns: dict[str, int] = field(default_factory=lambda: dict(ISNS))

    def capture(self, lines: list[Line]) -> bytes:
        """The exchange as a pcap file."""
        return wire.pcap((self.record(line) for line in lines), self.link)

    def record(self, line: Line) -> wire.Record:
        tags = [(0x8100, line.whole("vlan"))] if "vlan" in line.words else []
        ethertype, datagram = self._datagram(line)
        if self.link == 1:
            data = wire.ethernet(ethertype, datagram, tags)
        else:
            assert not tags
            data = wire.link_layer(self.link, ethertype, datagram)
        return wire.record(START_NS + line.time_ns, data, line.whole("cap") if "cap" in line.words else None)

    def isn(self, end: tuple[str, int]) -> int:
        """The ISN of an end's incarnation."""
        return self.isns[end[0]] + end[1] * NEXT_ISN

    def _datagram(self, line: Line) -> tuple[int, bytes]:
        addresses = ADDRESSES[self.version]
        if not line.source[0]:
            return wire.ip(addresses["S"], addresses["C"], wire.udp(53, 5353), protocol=wire.UDP)
        source, target = addresses[line.source[0]], addresses[line.target[0]]
        if "icmp" in line.words:
            kind, code = map(int, line.words["icmp"].split("/"))
            quoted = wire.tcp(*self._ports(line)[::-1], self.isn(line.target) + line.whole("seq"), 0, "S")
            _, inner = wire.ip(target, source, quoted)
            inner = inner[: len(inner) - len(quoted) + line.whole("quote", len(quoted))]
            message = wire.unreachable(inner, kind, code, version=self.version, rest=line.whole("mtu"))
            reporter = {"router": ROUTERS[self.version], "itself": target}.get(line.words.get("by", ""), source)
            return wire.ip(reporter, target, message, protocol=wire.ICMP if self.version == 4 else wire.ICMPV6)
        more = {"length": line.whole("iplen")} if "iplen" in line.words else {}
        return wire.ip(source, target, self._segment(line, source, target), **more)

    def _ports(self, line: Line) -> tuple[int, int]:
        ports = PORTS | ({"C": line.whole("port")} if "port" in line.words else {})
        return ports[line.source[0]], ports[line.target[0]]

    def _segment(self, line: Line, source: str, target: str) -> bytes:
        seq, length = line.whole("seq"), line.whole("len")
        return wire.tcp(
            *self._ports(line),
            self.isn(line.source) + seq,
            self.isn(line.target) + line.whole("ack") if "ack" in line.words else 0,
            line.flags,
            window=line.whole("win", 65535),
            options=self._options(line),
            payload=bytes((seq + i) & 0xFF for i in range(length)),  # the same octet whenever it is sent again
            ends=(source, target),
        )

    def _options(self, line: Line) -> bytes:
        words, options = line.words, b""
        if "mss" in words:
            options += wire.mss(line.whole("mss"))
        if "sackok" in words:
            options += wire.SACK_PERMITTED
        if "ts" in words:
            options += wire.timestamps(*map(int, words["ts"].split("/")))
        if "wscale" in words:
            options += wire.NOP + wire.wscale(line.whole("wscale"))
        if "sack" in words:
            base = self.isn(line.target)
            edges = [tuple(base + int(edge) for edge in block.split(":")) for block in words["sack"].split(",")]
            options += wire.NOP * 2 + wire.sack(edges)
        if "tfo" in words:
            options += wire.fast_open(bytes.fromhex(words["tfo"]))
        if "mptcp" in words:
            options += wire.mptcp(int(words["mptcp"] or 0))
        if "md5" in words:
            options += wire.MD5
        return options
