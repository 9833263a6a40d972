"""Each segment through its connection, in capture order; acknowledgement first, then text, then FIN (3.10.7.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from analyzer.decode.checksum import Checksum
from analyzer.decode.segment import Skipped
from analyzer.settings import Settings
from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.marks import Evidence, Step
from analyzer.tracker.quality import Measure
from analyzer.tracker.states import Event, State
from tests.reference import causes, closing, delivery, icmp, opening, timers, zeek
from tests.reference.arrival import Arrival, Mark
from tests.reference.connection import Conversation, End, Flow, Pair, before, relative
from tests.reference.copies import Sight, Sights
from tests.reference.decode import decode
from tests.reference.fragments import Fragments
from tests.reference.incarnation import client_side, find_incarnation, note_bases, opens_stream
from tests.reference.machine import Anomaly, Log
from tests.reference.outcome import conclude
from tests.reference.quality import Quality, is_super_segment
from tests.reference.record import Record
from tests.reference.reset import rst
from tests.reference.segment import ACK, FIN, RST, SYN, Options, Segment
from tests.reference.verdicts import Verdict, Wireshark


@dataclass
class PacketRow:
    """What the replay says of a segment."""

    segment: Segment
    flow: Flow
    stream: int
    from_client: bool
    seq: int
    ack: int | None
    window: int
    step: Step | None
    step_repeat: bool
    states: tuple[State, State]  #: client's, server's
    proven: tuple[bool, bool]
    verdict: Verdict | None = None  #: Wireshark's; a copy has none
    copy_of: int | None = None  #: the frame of the first sight


@dataclass
class OptionRow:
    segment: Segment
    sack: list[int] | None  #: relative to the ISN of the end whose text the blocks name


@dataclass
class Replay:
    """The tracker: ``feed`` takes records, ``conclude`` ends the capture."""

    settings: Settings = field(default_factory=Settings)
    pairs: dict[tuple, Pair] = field(default_factory=dict)
    conversations: dict[tuple, Conversation] = field(default_factory=dict)
    flows: list[Flow] = field(default_factory=list)
    packets: list[PacketRow] = field(default_factory=list)
    options: list[OptionRow] = field(default_factory=list)
    log: Log = field(default_factory=Log)
    fragments: Fragments = field(default_factory=Fragments)
    wireshark: Wireshark = field(default_factory=Wireshark)
    skipped: Counter = field(default_factory=Counter)
    quality: Quality = field(default_factory=Quality)
    local: dict[tuple[int, int], set[str]] = field(default_factory=dict)  #: address -> where it was seen to lie
    sights: Sights = field(default_factory=Sights)
    zeek_ns: int = -(2**63)  #: Zeek's clock: the latest time
    rows_by_frame: dict[int, PacketRow] = field(default_factory=dict)
    copies: int = 0
    streams: int = 0
    last_ns: int = 0

    def __post_init__(self) -> None:
        self.durations_ns = timers.durations_ns(self.settings)

    def feed(self, records: Iterable[Record]) -> None:
        """Take in a batch of records; where the clock was set back is said behind it."""
        steps: list[Anomaly] = []
        for record in records:
            self.last_ns = max(self.last_ns, record.time_ns)
            if self.quality.tick(record):
                steps.append(Anomaly(record.time_ns, record.frame, None, None, Kind.CLOCK_STEP))
            decoded = decode(record, self.fragments, checksums=self.settings.checksums)
            if decoded.skipped is not None:
                self.skipped[decoded.skipped] += 1
            if decoded.segment is not None:
                self.take(decoded.segment)
        self.log.anomalies += steps

    def conclude(self) -> None:
        self.quality.conclude(self.log)
        conclude(self.flows, self.last_ns, self.log, round(self.settings.rto_max_s * 1e9))
        causes.explain(self)
        icmp.find_quoted(self.log.anomalies, self.packets)
        self.wireshark.second_pass()

    def take(self, segment: Segment) -> None:
        """Take in one segment."""
        source, destination = (segment.source, segment.sport), (segment.destination, segment.dport)
        side = 0 if source <= destination else 1
        places = (source, destination) if side == 0 else (destination, source)
        addresses = (segment.version, *places)
        tags = stack_key(segment.tags) if self.settings.vlan_in_key else None
        tunnels = segment.path if self.settings.tunnel_in_key else ()
        pair = self.pairs.setdefault((*addresses, tags, tunnels), Pair(segment.version, places))
        conversation = self.conversations.setdefault(addresses, Conversation())
        before_it = conversation.stream
        stream = self.stream_of(segment, side, conversation)
        if segment.icmp is not None:
            self.sights.tell(addresses)
            self.icmp_error(segment, side, pair.root)
            return
        self.note_addresses(segment)
        if self.settings.copies != "keep":
            sight = self.sights.look(segment, side, addresses, pair)
            pair = pair.root
            if sight.is_copy:
                self.copy(segment, side, pair, stream, sight)
                return
        damaged = self.quality.is_damaged(segment)
        # Of a damaged segment nothing is believed but its addresses.
        known = pair.newest
        if not (known and damaged):
            split = self.settings.zeek_timeouts
            known = zeek.find_split(segment, pair, self.zeek_ns) if split else find_incarnation(segment, side, pair)
        if known is None and not self.settings.zeek_timeouts:
            known = crossed(segment, side, pair)
        flow = known or self.new_flow(segment, side, pair, stream)
        me, you = flow.end_on(side), flow.end_on(1 - side)
        for end in (me, you):
            timers.expire(end, segment.time_ns, flow.number, self.log)
        whole = not is_super_segment(segment, you)
        self.quality.counts[Measure.SUPER_SEGMENTS] += not whole
        damaged &= whole
        if segment.checksum is Checksum.WRONG:
            self.quality.note_wrong(segment, whole, damaged, me, flow.number, self.log)
        self.zeek_ns = max(self.zeek_ns, segment.time_ns)
        flow.zeek = zeek.followed(flow.zeek, segment, side, damaged and self.settings.zeek_checksums, self.zeek_ns)
        seq, ack = self.relative_numbers(segment, flow, me, you, damaged)
        window = scaled_window(segment, me, you)
        seen = Arrival(segment, flow, me, you, seq, ack, window, self.log, self.durations_ns)
        mark = None if damaged else happen(seen, self.quality.counts)
        for end in (me, you):
            timers.start(end, segment.time_ns, self.durations_ns)
        if not damaged:
            self.between_incarnations(segment, side, pair, flow)
        count_completeness(segment, flow)
        flow.end_ns = max(flow.end_ns, segment.time_ns)
        me.last_ns = segment.time_ns
        me.packets += 1
        if segment.overlapping:
            seen.note(Kind.OVERLAPPING_FRAGMENTS)
        if segment.options.worth_a_row:
            self.options.append(OptionRow(segment, relative_blocks(segment, you)))
        another = before_it is not None and before_it != stream
        verdict = self.wireshark.take(segment, side, stream, another)
        step, repeated = mark or (None, False)
        ends = [living_end(flow, which, pair) for which in (0, 1)]
        self.packets.append(
            PacketRow(
                segment, flow, stream, me is flow.client, seq, ack, window, step, repeated,
                (ends[0].state, ends[1].state), (ends[0].proven, ends[1].proven), verdict,
            )
        )  # fmt: skip
        self.rows_by_frame[segment.frame] = self.packets[-1]

    def copy(self, segment: Segment, side: int, pair: Pair, stream: int, sight: Sight) -> None:
        """Another sight of a packet: what was said of the first one is said again."""
        self.copies += 1
        if self.settings.copies == "mark":
            first = self.rows_by_frame[sight.first.frame]
            self.packets.append(replace(first, segment=segment, stream=stream, copy_of=sight.first.frame, verdict=None))
        flow = find_incarnation(segment, side, pair)
        if flow is None:
            return
        if not flow.copied:
            flow.copied = True
            self.log.note(segment, flow.number, Kind.COPIES, None, Detail.NONE, sight.first.frame)
        if segment.options.worth_a_row and self.settings.copies == "mark":
            self.options.append(OptionRow(segment, relative_blocks(segment, flow.end_on(1 - side))))

    # ------------------------------------------------------------------------------------------------- which flow

    def stream_of(self, segment: Segment, side: int, conversation: Conversation) -> int:
        """Wireshark's tcp.stream."""
        if opens_stream(segment, side, conversation):
            conversation.stream, conversation.bases = self.streams, {}
            self.streams += 1
        if segment.icmp is None:
            note_bases(segment, side, conversation)
        return conversation.stream

    def new_flow(self, segment: Segment, side: int, pair: Pair, stream: int) -> Flow:
        earlier = pair.newest
        client, role = client_side(segment, side)
        time_ns = segment.time_ns
        flow = Flow(len(self.flows), pair, stream, client, role, earlier, segment.frame, time_ns, time_ns)
        self.flows.append(flow)
        if earlier is not None and segment.has(SYN):
            self.reuse(segment, side, earlier, flow)
        elif not segment.has(SYN):
            self.log.note(segment, flow.number, Kind.MIDSTREAM, None)
        pair.newest = flow
        return flow

    def reuse(self, segment: Segment, side: int, earlier: Flow, flow: Flow) -> None:
        """A new SYN on a known pair: its sender is done with the earlier connection; the other's answer will show."""
        sender, receiver = earlier.end_on(side), earlier.end_on(1 - side)
        for end in (sender, receiver):
            timers.expire(end, segment.time_ns, earlier.number, self.log)
        detail = Detail.EARLIER_ALIVE
        if State.TIME_WAIT in (sender.state, receiver.state):
            detail = Detail.EARLIER_TIME_WAIT
        elif receiver.state is State.CLOSED:
            detail = Detail.AFTER_CLOSE
        self.log.note(segment, flow.number, Kind.PORT_REUSED, flow.client.endpoint, detail, earlier.first_frame)
        self.supersede(segment, sender, earlier, Evidence.ASSUMED)

    def supersede(self, segment: Segment, end: End, flow: Flow, evidence: Evidence) -> None:
        ended = self.log.move(end, Event.NEW_INCARNATION, evidence, flow.number, segment.time_ns, segment.frame)
        end.ended = ended or end.ended

    def between_incarnations(self, segment: Segment, side: int, pair: Pair, flow: Flow) -> None:
        """Two connections follow one another on the pair: what this segment of one says of the other."""
        newest = pair.newest
        if newest.earlier is None:
            return
        if flow is newest and segment.is_syn_ack:  # the answer: the earlier one is over at this end too
            self.supersede(segment, newest.earlier.end_on(side), newest.earlier, Evidence.PROVEN)
        elif flow is newest.earlier:
            self.in_old_numbers(segment, side, pair, flow)

    def in_old_numbers(self, segment: Segment, side: int, pair: Pair, flow: Flow) -> None:
        """A segment of the earlier connection behind a new SYN that nobody has answered in the new numbers."""
        newest = pair.newest
        if newest.client.state is not State.SYN_SENT or newest.server.state not in (State.LISTEN, State.UNKNOWN):
            return

        def note(kind: Kind, end: End) -> None:
            self.log.note(segment, flow.number, kind, end.endpoint, Detail.NONE, newest.first_frame)

        me, you = flow.end_on(side), flow.end_on(1 - side)
        if side != newest.client_side:  # the end that should answer knows nothing of the new one
            if segment.has(ACK) and not segment.has(RST) and not newest.challenged:
                newest.challenged = True
                note(Kind.CHALLENGE_ACK, me)
        elif segment.has(RST):
            note(Kind.HALF_OPEN, you)
        elif segment.has(ACK):  # it goes on as if it had sent no SYN: it has not
            note(Kind.FORGED_SEGMENT, me)
            self.withdraw(newest, segment.frame)
            pair.newest = flow
            me.packets += newest.client.packets
            you.packets += newest.server.packets

    def withdraw(self, forged: Flow, frame: int) -> None:
        """What a forged SYN was taken for did not happen."""
        forged.forged = True
        for change in self.log.changes:
            if change.flow == forged.number and forged.server.syn_taken is not None:
                change.evidence, change.proven_by, change.refuted_by = Evidence.REFUTED, None, frame

    # ---------------------------------------------------------------------------------------------------- numbers

    def relative_numbers(
        self, segment: Segment, flow: Flow, me: End, you: End, damaged: bool
    ) -> tuple[int, int | None]:
        """Where no SYN was seen the base is the first number seen, less one, as Wireshark counts."""
        if me.isn is None:
            me.isn = segment.seq if segment.has(SYN) else before(segment.seq)
        elif segment.is_syn_ack and me.isn != segment.seq and not damaged:
            if me.sent_syn_ack:
                self.log.note(segment, flow.number, Kind.SYNACK_ISN_CHANGED, me.endpoint, Detail.NONE, flow.open_2)
            gone_on = me.spoke or (you.spoke and you.acked >= 1)
            if not gone_on:  # nothing went on in the first one's numbers: the base moves
                me.rebased = True
                me.isn_before = me.isn
                rebase(me, you, segment.seq)
        elif segment.is_syn and me.isn != segment.seq and not damaged:
            if not me.opened and you.state is State.SYN_SENT:  # the base was a guess
                rebase(me, you, segment.seq)
        elif not segment.has(SYN) and segment.has(ACK) and not me.spoke and not damaged and you.isn_before is not None:
            if segment.ack == (you.isn_before + 1) % 2**32:  # of two SYN-ACKs it took the first
                rebase(you, me, you.isn_before)
                you.next = you.contiguous = 1
                flow.synack_ns = None
                if you.fin is None:
                    flow.open_2 = you.frame_before
            you.isn_before = None
        seq = relative(segment.seq, me.isn, max(me.next, you.acked))
        if not segment.has(ACK):
            return seq, None
        if you.isn is None:
            you.isn = before(segment.ack)
        return seq, relative(segment.ack, you.isn, max(you.next, me.acked))

    # ------------------------------------------------------------------------------------------------- ICMP, hosts

    def icmp_error(self, segment: Segment, side: int, pair: Pair) -> None:
        """An error about a connection that is not here is only counted."""
        flow = find_incarnation(segment, side, pair)
        if flow is None:
            self.skipped[Skipped.ICMP_ERROR] -= 1
            self.skipped[Skipped.STRAY_ICMP_ERROR] += 1
            return
        me, you = flow.end_on(side), flow.end_on(1 - side)
        for end in (me, you):
            timers.expire(end, segment.time_ns, flow.number, self.log)
        icmp.on_error(segment, me, you, flow, self.log)

    def note_addresses(self, segment: Segment) -> None:
        """On which side of the capturing host the packet's addresses lie, where the capture tells."""
        if segment.outgoing is None:
            return
        here = self.local.setdefault((segment.version, segment.source), set())
        there = self.local.setdefault((segment.version, segment.destination), set())
        here.add("loopback" if segment.loopback else "local" if segment.outgoing else "remote")
        there.add("loopback" if segment.loopback else "remote" if segment.outgoing else "local")


def rebase(me: End, you: End, isn: int) -> None:
    """The numbers of an end count from another one on."""
    me.isn, me.next, me.contiguous, me.beyond_hole, you.acked = isn, 0, 0, None, -1
    me.missing, me.unseen = 0, None


def crossed(segment: Segment, side: int, pair: Pair) -> Flow | None:
    """The newest flow, where the SYN crosses the one that opened it; its sender has sent no SYN, but a bare acknowledgement."""
    newest = pair.newest
    if newest is None:
        return None
    me, you = newest.end_on(side), newest.end_on(1 - side)
    return newest if you.state is State.SYN_SENT and not me.opened else None


def stack_key(tags: tuple[int, ...]) -> int | None:
    """The stack of VLAN tags as part of a flow's key: twelve bits each, the last 31 bits of them."""
    key = 0
    for tag in tags:
        key = (key << 12 | tag) % 2**31
    return key if tags else None


def scaled_window(segment: Segment, me: End, you: End) -> int:
    """By the sender's own scale (RFC 7323 section 2), never in a SYN, not at all if one SYN lacks the option."""
    if segment.has(SYN) or me.wscale is None or (you.opened and you.wscale is None):
        return segment.window
    return segment.window << min(me.wscale, 14)


def relative_blocks(segment: Segment, you: End) -> list[int] | None:
    blocks = segment.options.sack
    return None if blocks is None else [relative(edge, you.isn or 0, you.next) for edge in blocks]


def happen(seen: Arrival, counts: Counter) -> Mark:
    """Let the segment happen to both ends."""
    segment, me = seen.segment, seen.me
    if segment.has(SYN) and me.options in (None, Options()):
        me.options = segment.options if seen.heard is not None or not segment.has(ACK) else Options()
    if segment.has(RST):
        mark = rst(seen)
        delivery.window(seen)
        return mark
    if segment.has(ACK) and not segment.has(SYN):
        opening.goes_on(seen)  # it was not over
    if segment.is_syn_ack:
        mark = opening.syn_ack(seen)
        if segment.seq != me.isn:  # of another connection: its numbers say nothing of this one
            return mark
    elif segment.has(SYN):
        mark = opening.syn(seen)
    elif segment.has(ACK):
        mark = opening.opened(seen)
    else:
        mark = None  # 3.10.7.4, fifth: if the ACK bit is off, drop the segment
    mark = closing.acknowledgement_of_fin(seen) or mark
    if seen.heard is not None:
        delivery.acknowledgement(seen, counts)
    delivery.text(seen, counts)
    if segment.has(FIN) and segment.has(ACK) and not segment.has(SYN):
        mark = closing.fin(seen) or mark
    closing.fins_take_effect(seen)
    delivery.window(seen)
    return mark


def count_completeness(segment: Segment, flow: Flow) -> None:
    """Wireshark's tcp.completeness: 1 SYN, 2 SYN-ACK, 4 ACK, 8 data, 16 FIN, 32 RST, of both directions together."""
    bits = 2 * segment.is_syn_ack + 32 * segment.has(RST) + 16 * (segment.has(FIN) and segment.has(ACK))
    if segment.length > 0:
        bits |= 8
    elif segment.has(ACK) and not segment.has(SYN):
        bits |= 4
    if flow.first_frame != segment.frame:
        flow.completeness |= bits
    elif segment.is_syn:
        flow.completeness |= bits | 1
    else:
        flow.first_bits = bits  # Wireshark counts it when it reads the packet a second time


def living_end(flow: Flow, which: int, pair: Pair) -> End:
    """An end has one socket: where two connections overlap on a pair, the living one's state shows."""
    newest = pair.newest
    earlier = newest.earlier
    if earlier is None or flow not in (newest, earlier):
        return flow.ends[which]
    side = flow.client_side if which == 0 else 1 - flow.client_side
    in_newest, in_earlier = newest.end_on(side), earlier.end_on(side)
    if in_newest.state not in (State.UNKNOWN, State.LISTEN):
        return in_newest
    if in_earlier.state not in (State.UNKNOWN, State.CLOSED):
        return in_earlier
    return flow.ends[which]
