"""Packets that are seen more than once; and connections that are, on both sides of an address translation."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import dataclass, field

from tests.reference.connection import Flow, Pair
from tests.reference.segment import ACK, FIN, SYN, Segment

WINDOW, SIGHTS, NEAR = 8192, 16, 64
SECOND_NS, MILLISECOND_NS = 10**9, 10**6


@dataclass(eq=False)
class Sight:
    """A packet, seen at one place."""

    segment: Segment
    side: int
    ends: tuple  #: version, addresses and ports
    place: int
    pair: Pair  #: that it was found in
    identity: tuple
    vantage: tuple
    first: Sight = None  # type: ignore[assignment]  #: of the same packet; itself

    @property
    def frame(self) -> int:
        return self.segment.frame

    @property
    def is_copy(self) -> bool:
        return self.first is not self


@dataclass
class Sights:
    """All that were seen, and those with the same identity, in order."""

    all: list[Sight] = field(default_factory=list)
    alike: dict[tuple, list[Sight]] = field(default_factory=lambda: defaultdict(list))

    def look(self, segment: Segment, side: int, ends: tuple, pair: Pair) -> Sight:
        """Enter a segment; ``first`` of what is returned says of which packet it is a sight."""
        it = Sight(segment, side, ends, len(self.all), pair, (ends, side, *identity(segment)), vantage(segment))
        known = self.alike[it.identity]
        recent = [sight for sight in known[-SIGHTS:] if it.place - sight.place < WINDOW]
        again = self.same_packet(it, recent)
        it.first = it if again is None else again.first
        if again is not None and it.pair.root is not it.first.pair.root:
            it.pair.root.joined = it.first.pair.root
        self.all.append(it)
        known.append(it)
        return it

    def tell(self, ends: tuple) -> None:
        """An ICMP error came about a segment of these ends: whoever is told may send again."""
        self.all.append(Sight(None, None, ends, len(self.all), None, (), ()))  # type: ignore[arg-type]

    def same_packet(self, it: Sight, alike: list[Sight]) -> Sight | None:
        """Another place first, the oldest packet that may be it; else the same place, the newest."""
        seen_here = {sight.first for sight in alike if sight.vantage == it.vantage}
        for sight in alike:
            elsewhere = sight.vantage != it.vantage and sight.first not in seen_here
            if elsewhere and self.soon(it, sight) and checksums_agree(it.segment, sight.segment):
                return sight
        for sight in reversed(alike):
            if sight.vantage == it.vantage and self.twice(it, sight):
                return sight
        return None

    def soon(self, it: Sight, sight: Sight) -> bool:
        apart = apart_ns(it, sight)
        usual = 20 if it.segment.options.timestamps is None else 200
        return apart <= usual * MILLISECOND_NS or (apart <= SECOND_NS and self.has_own_id(it))

    def twice(self, it: Sight, sight: Sight) -> bool:
        """At the same place: at once, and with something that tells."""
        segment, apart = it.segment, apart_ns(it, sight)
        if segment.raw_checksum != sight.segment.raw_checksum:
            return False
        if segment.length or segment.has(SYN) or segment.has(FIN):
            between = self.all[sight.place + 1 :]
            heard = any(other.ends == it.ends and other.side != it.side for other in between)
            soon = apart <= MILLISECOND_NS // 2 and segment.time_ns >= SECOND_NS and len(between) <= NEAR
            if soon and not heard and not (segment.has(SYN) and segment.has(ACK) and not self.asked_twice(sight)):
                return True
        return apart <= 10 * MILLISECOND_NS and self.has_own_id(it)

    def asked_twice(self, sight: Sight) -> bool:
        """A SYN-ACK may answer a SYN that came again, and come by its timer at once: was that SYN seen twice too?"""
        before = self.all[max(0, sight.place - NEAR) : sight.place]
        heard = [other for other in before if other.ends == sight.ends and other.side == 1 - sight.side]
        return bool(heard) and heard[-1].first is not heard[-1]

    def has_own_id(self, it: Sight) -> bool:
        """Whether the sender's other segments have other IP IDs."""
        if not it.segment.ip_id:
            return False
        near = [other for other in self.all[-NEAR:] if (other.ends, other.side) == (it.ends, it.side)]
        others = [other.segment.ip_id for other in near if other.identity != it.identity]
        return bool(others) and it.segment.ip_id not in others


def identity(segment: Segment) -> tuple:
    """What copies have in common, the ends apart."""
    options = segment.options
    there = (
        *(value is not None for value in (options.mss, options.wscale, options.sack, options.user_timeout_s)),
        *(options.sack_permitted, options.fast_open, bool(options.mptcp), options.md5, options.ao, options.malformed),
    )
    header = (segment.seq, segment.ack, segment.flags, segment.window, segment.length, segment.ip_id)
    return *header, options.timestamps, there


def vantage(segment: Segment) -> tuple:
    """Where it was seen."""
    record = segment.record
    key = 0
    for tag in segment.tags:
        key = (key << 12 | tag) % 2**31
    place = (record.interface, record.file, segment.ifindex, segment.outgoing, segment.ttl)
    return *place, bool(segment.tags), key, segment.path


def apart_ns(one: Sight, other: Sight) -> int:
    return abs(one.segment.time_ns - other.segment.time_ns)


def checksums_agree(one: Segment, other: Segment) -> bool:
    """The same, or left to the card; a SYN's changes with the MSS that routers clamp."""
    return (
        one.has(SYN)
        or one.raw_checksum == other.raw_checksum
        or not {0, pseudo_header_sum(one)}.isdisjoint((one.raw_checksum, other.raw_checksum))
    )


def pseudo_header_sum(segment: Segment) -> int:
    """RFC 9293 section 3.1: in one's complement, not complemented."""
    address = ipaddress.IPv4Address if segment.version == 4 else ipaddress.IPv6Address
    octets = b"".join(address(number).packed for number in (segment.source, segment.destination))
    words = [int.from_bytes(octets[at : at + 2]) for at in range(0, len(octets), 2)]
    total = sum(words) + 6 + segment.length + segment.header
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def translated(flows: list[Flow]) -> dict[int, Flow]:
    """Of each flow that is the same as one before behind an address translation: that one, by the flow's number."""
    found: dict[int, Flow] = {}
    first: dict[tuple, Flow] = {}
    for flow in flows:
        client, server = flow.ends
        if not (client.sent_syn and server.sent_syn_ack):
            continue
        isns = (client.isn, server.isn)
        one = first.get(isns)
        if one is None or abs((one.syn_ns or 0) - (flow.syn_ns or 0)) > SECOND_NS:
            first[isns] = flow
        elif one.pair.places != flow.pair.places and offers(one) == offers(flow):
            found[flow.number] = one
    return found


def offers(flow: Flow) -> list[tuple]:
    """The options of both SYNs."""
    return [(identity_of_options(end), end.wscale) for end in flow.ends]


def identity_of_options(end: object) -> tuple:
    options = end.options  # type: ignore[attr-defined]
    return (
        *(value is not None for value in (options.mss, options.wscale, options.sack, options.user_timeout_s)),
        *(options.timestamps is not None, options.sack_permitted, options.fast_open, bool(options.mptcp)),
        *(options.md5, options.ao, options.malformed),
    )
