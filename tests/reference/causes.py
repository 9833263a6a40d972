"""Why each segment came again: the second pass, connection by connection, with all that was sent in plain lists.

Whoever repeats himself has waited (RFC 6298, RFC 8985), has been told (RFC 5681, RFC 6675), or was asked. Whether there was a
need for it shows later (RFC 2883, RFC 3522).
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.causes import NEEDLESS, Cause, Evidence
from analyzer.tracker.icmp import Effect
from tests.reference.connection import Flow, distance
from tests.reference.machine import Anomaly
from tests.reference.segment import ACK, RST, SYN, Segment

if TYPE_CHECKING:
    from tests.reference.replay import PacketRow, Replay

MS = 1_000_000
LEAST_RTO_NS, FIRST_RTO_NS = 200 * MS, 1000 * MS
SOON_NS = 5 * MS
DOUBLINGS = 8
NOTHING = -(2**62)  #: a number before all others
LOOKED_AT = 64  #: of what was sent again of one piece; pieces that one DSACK covers

TEXT = {Kind.RETRANSMISSION, Kind.OUT_OF_ORDER}
AGAIN = TEXT | {Kind.SYN_RETRANSMITTED, Kind.SYNACK_RETRANSMITTED, Kind.FIN_RETRANSMITTED}
SOUGHT = AGAIN | {Kind.KEEP_ALIVE, Kind.WINDOW_PROBE}


@dataclass(eq=False)
class Why:
    """What is found out about one segment."""

    row: PacketRow
    cause: Cause = Cause.UNKNOWN
    evidence: Evidence = Evidence.NO_SIGN
    frame: int | None = None
    waited_ns: int | None = None
    rto_ns: int | None = None
    duplicate_acks: int = 0
    sacked: int = 0
    first_frame: int | None = None
    seen: bool | None = None  #: whether a sending of it had been seen before
    octets: int = 0  #: payload below the highest number sent
    needless: bool = False
    lone: bool = False  #: a probe of a single last segment: may be a time-out

    @property
    def seq(self) -> int:
        return self.row.seq

    @property
    def end(self) -> int:
        return self.row.seq + self.row.segment.span

    def covers(self, left: int, right: int) -> bool:
        return self.seq < right and left < self.end

    def say(self, cause: Cause, evidence: Evidence, frame: int | None = None) -> None:
        self.cause, self.evidence, self.frame = cause, evidence, frame

    def was_needless(self, evidence: Evidence, frame: int | None) -> None:
        if self.cause in NEEDLESS and not self.needless:
            self.needless, self.evidence, self.frame = True, evidence, frame

    @property
    def verdict(self) -> Cause:
        return NEEDLESS[self.cause] if self.needless else self.cause

    @property
    def told(self) -> bool:
        return self.cause in NEEDLESS


@dataclass(eq=False)
class Piece:
    """Numbers that were sent in one segment, or a hole that this segment jumped over."""

    seq: int
    row: PacketRow
    hole: bool
    again: list[Why] = field(default_factory=list)

    def latest(self, why: Why) -> Why | None:
        """What was sent of these numbers last, after the first time."""
        for one in self.again[: -LOOKED_AT - 1 : -1]:
            if one.covers(why.seq, why.end):
                return one
        return None


@dataclass
class Told:
    """What the acknowledgements say of losses."""

    una: int
    next: int
    duplicates: int
    octets: int
    time_ns: int
    frame: int | None


@dataclass
class Side:
    """One end, as a sender."""

    sack: bool  #: agreed, as far as is known
    pieces: list[Piece] = field(default_factory=list)
    next: int | None = None
    una: int = NOTHING
    last_ns: int = 0
    syn: Segment | None = None
    near_ns: int | None = None
    advanced: Segment | None = None
    duplicates: int = 0
    told: Segment | None = None
    blocks: list[tuple[int, int]] = field(default_factory=list)
    earlier: Told | None = None
    recovery: Why | None = None
    recover: int = 0
    timeouts: int = 0
    probed: bool = False
    srtt_ns: int = 0
    rttvar_ns: int = 0
    too_big: Anomaly | None = None
    closed: Segment | None = None  #: the first of the peer's windows that are closed
    shut: tuple[Segment, Segment] | None = None  #: the last time that it was: from, until
    window: int | None = None
    ip_id: int | None = None
    small_steps: int = 0
    other_steps: int = 0

    # ------------------------------------------------------------------------------------------- what is known of it

    @property
    def outstanding(self) -> bool:
        return self.next is not None and self.next > self.una

    @property
    def recovering(self) -> bool:
        return self.recovery is not None and self.una < self.recover

    @property
    def counts_ids(self) -> bool:
        return self.small_steps > self.other_steps

    @property
    def least_wait_ns(self) -> int:
        if self.srtt_ns == 0:
            return FIRST_RTO_NS if self.syn else LEAST_RTO_NS
        return self.srtt_ns + (self.near_ns or 0) + max(4 * self.rttvar_ns, LEAST_RTO_NS)

    def piece(self, number: int) -> Piece | None:
        if self.next is None or number >= self.next:
            return None
        at = bisect.bisect_right(self.pieces, number, key=lambda piece: piece.seq)
        return self.pieces[at - 1] if at else None

    def sacked_from(self, number: int) -> int:
        return sum(max(right - max(left, number), 0) for left, right in self.blocks)

    # ------------------------------------------------------------------------------------------------ what it is told

    def acknowledged(self, row: PacketRow, sack: list[int]) -> None:
        segment = row.segment
        ack = row.ack if self.next is None else min(row.ack, self.next)
        if ack > self.una:
            if self.next is not None:
                self.advance(segment, ack)
            self.una, self.advanced = ack, segment
            self.duplicates, self.blocks, self.told, self.timeouts, self.probed = 0, [], None, 0, False
            repeats = False
        else:
            repeats = ack == self.una and segment.span == 0 and self.outstanding
        if sack:
            self.selectively_acknowledged(row, list(zip(sack[::2], sack[1::2], strict=False)), repeats)
        elif repeats and segment.window == self.window:
            self.duplicates += 1
            self.told = segment

    def advance(self, segment: Segment, ack: int) -> None:
        head = self.piece(self.una) if self.una != NOTHING else None
        if head and segment.options.timestamps:  # Eifel
            for one in head.again[: -LOOKED_AT - 1 : -1]:
                stamped = one.row.segment.options.timestamps
                later = stamped and distance(stamped[0], segment.options.timestamps[1]) > 0
                if later and one.seq <= self.una < one.end:
                    one.was_needless(Evidence.ECHO, segment.frame)
        newest = self.piece(ack - 1)
        if self.una == NOTHING:
            head = newest
        told = self.duplicates > 0 or self.blocks
        if (
            not told
            and not self.recovering
            and head
            and newest
            and not head.again
            and not newest.again
            and not newest.hole
        ):
            self.measure(max(segment.time_ns - newest.row.segment.time_ns, 1))
        if told:
            octets, duplicates, since = self.sacked_from(self.una), self.duplicates, self.una
            if self.earlier and self.una <= self.earlier.next:  # still about the same loss
                since = self.earlier.una
                octets, duplicates = max(octets, self.earlier.octets), max(duplicates, self.earlier.duplicates)
            self.earlier = Told(since, self.next, duplicates, octets, self.told.time_ns, self.told.frame)

    def measure(self, round_trip_ns: int) -> None:
        if self.srtt_ns == 0:
            self.srtt_ns, self.rttvar_ns = round_trip_ns, round_trip_ns // 2
        else:
            self.rttvar_ns += (abs(self.srtt_ns - round_trip_ns) - self.rttvar_ns) // 4
            self.srtt_ns = max(self.srtt_ns + (round_trip_ns - self.srtt_ns) // 8, 1)

    def selectively_acknowledged(self, row: PacketRow, blocks: list[tuple[int, int]], repeats: bool) -> None:
        left, right = blocks[0]
        inside = len(blocks) > 1 and blocks[1][0] <= left and right <= blocks[1][1]
        if right <= row.ack or inside:
            self.came_twice(left, right, row.segment.frame)
            blocks = blocks[1:]
        news = [(a, b) for a, b in blocks if self.una < b and a < b and self.next is not None and b <= self.next]
        if news:
            self.blocks, self.told = news, row.segment
            self.duplicates += repeats

    def came_twice(self, left: int, right: int, frame: int) -> None:
        first = self.piece(left)
        if first is None:
            return
        begin = self.pieces.index(first)
        for number, piece in enumerate(self.pieces[begin : begin + LOOKED_AT]):
            if number and piece.seq >= right:
                return
            for one in piece.again[: -LOOKED_AT - 1 : -1]:
                if one.cause in NEEDLESS and not one.needless and one.covers(left, right):
                    one.was_needless(Evidence.DSACK, frame)
                    break

    # ------------------------------------------------------------------------------------------------- what it sends

    def send(self, row: PacketRow, you: Side) -> None:
        segment, end = row.segment, row.seq + row.segment.span
        answers = you.syn and (segment.has(SYN) or not self.syn or you.syn.time_ns >= self.syn.time_ns)
        if self.near_ns is None and answers and segment.has(ACK):
            self.near_ns = max(segment.time_ns - you.syn.time_ns, 0)
        if segment.span and (self.next is None or end > self.next):
            if self.next is not None and row.seq > self.next:
                self.pieces.append(Piece(self.next, row, hole=True))
            self.pieces.append(Piece(row.seq if self.next is None else max(row.seq, self.next), row, hole=False))
            self.next = end
        if segment.has(SYN):
            self.syn = segment
        if segment.window == 0:
            you.closed = you.closed or segment
        elif you.closed:
            you.shut, you.closed = (you.closed, segment), None
        you.window = segment.window
        if segment.ip_id is not None:
            if self.ip_id is not None and segment.ip_id != self.ip_id:
                small = (segment.ip_id - self.ip_id) % 2**16 <= 64
                self.small_steps += small
                self.other_steps += not small
            self.ip_id = segment.ip_id


def explain(replay: Replay) -> None:
    """Give each anomaly that is about something sent again its ``why``; correct what the replay could only guess."""
    by_flow: dict[int, list[Anomaly]] = {}
    for anomaly in replay.log.anomalies:
        if anomaly.kind is Kind.COPIES:
            anomaly.why = Why(replay.packets[0])
            anomaly.why.say(Cause.COPY, Evidence.IDENTICAL)
        elif anomaly.flow is not None:
            by_flow.setdefault(anomaly.flow, []).append(anomaly)
    sack = {id(row.segment): row.sack for row in replay.options if row.sack is not None}
    rows: dict[int, list[PacketRow]] = {}
    for row in replay.packets:
        if row.copy_of is None:
            rows.setdefault(row.flow.number, []).append(row)
    for number, anomalies in by_flow.items():
        if any(one.kind in SOUGHT for one in anomalies):
            explain_flow(replay.flows[number], rows.get(number, []), anomalies, sack)


def explain_flow(flow: Flow, rows: list[PacketRow], anomalies: list[Anomaly], sack: dict[int, list[int]]) -> None:
    agreed = not any(end.opened and not (end.options and end.options.sack_permitted) for end in flow.ends)
    sides = (Side(agreed), Side(agreed))
    errors = [one for one in anomalies if one.effect in (Effect.PATH_MTU, Effect.PATH_MTU_AGAIN)]
    for row in rows:
        here = [one for one in anomalies if one.frame == row.segment.frame]
        while errors and errors[0].frame < row.segment.frame:
            error = errors.pop(0)
            sides[error.endpoint].too_big = error
        if any(one.kind is Kind.BAD_CHECKSUM and one.detail is Detail.NONE for one in here):
            continue
        me, you = sides[not row.from_client], sides[row.from_client]
        if row.segment.has(ACK) and not row.segment.has(RST):
            edges = sack.get(id(row.segment), [])
            you.acknowledged(row, edges[: len(edges) // 2 * 2])
        asked = [one for one in here if one.kind in SOUGHT]
        if asked:
            why = found_out(me, you, row, {one.kind for one in asked})
            piece = me.piece(row.seq)
            if piece and {one.kind for one in asked} & AGAIN:
                undouble(me, piece, why)
                piece.again.append(why)
            for one in asked:
                one.why = why
        if not row.segment.has(RST):
            me.send(row, you)
        me.last_ns = row.segment.time_ns
    for one in anomalies:
        if one.why:
            correct(one, one.why, flow)


def undouble(me: Side, piece: Piece, why: Why) -> None:
    """A time-out doubles the wait: what was taken for a probe of a single segment was the first of them."""
    if piece.again and why.cause is Cause.RTO:
        before = piece.again[-1]
        if before.lone and before.cause is Cause.TAIL_LOSS_PROBE and why.waited_ns >= 1.5 * before.waited_ns:
            before.cause = Cause.RTO
            why.rto_ns = why.rto_ns and 2 * why.rto_ns
            me.timeouts = min(me.timeouts + 1, DOUBLINGS)


def found_out(me: Side, you: Side, row: PacketRow, kinds: set[Kind]) -> Why:
    why, segment = Why(row), row.segment
    if kinds & {Kind.KEEP_ALIVE, Kind.WINDOW_PROBE}:
        if me.last_ns:
            why.waited_ns = max(segment.time_ns - max(me.last_ns, you.last_ns), 0)
        if Kind.WINDOW_PROBE in kinds or me.closed:
            why.say(Cause.WINDOW_PROBE, Evidence.WINDOW_CLOSED, me.closed and me.closed.frame)
        else:
            why.say(Cause.KEEP_ALIVE, Evidence.IDLE)
        return why
    why.octets = min(segment.length, max((-1 if me.next is None else me.next) - row.seq, 0))
    if not me.pieces:
        why.evidence = Evidence.FIRST_NOT_SEEN
        if Kind.OUT_OF_ORDER not in kinds:
            judge(me, you, why, None, None)
        return why
    piece = me.piece(row.seq)
    before = piece.latest(why) if piece else None
    if piece is None or (piece.hole and before is None):
        why.seen = False
        overtaker = (piece or me.pieces[0]).row
        late = is_late(me, you, why, overtaker)
        if late:
            why.say(Cause.REORDERED, late)
            why.waited_ns = max(segment.time_ns - overtaker.segment.time_ns, 0)
            why.first_frame = overtaker.segment.frame
        else:
            judge(me, you, why, overtaker if piece else None, piece)
        return why
    why.seen = True
    last = before.row if before and before.cause is not Cause.REORDERED else piece.row
    first = piece.row
    if piece.hole:
        first = next(one for one in piece.again[-LOOKED_AT:] if one.covers(why.seq, why.end)).row
    why.first_frame = first.segment.frame
    if is_copy(me, you, row, last):
        why.say(Cause.COPY, Evidence.IDENTICAL)
        why.first_frame = last.segment.frame
        why.waited_ns = max(segment.time_ns - last.segment.time_ns, 0)
    elif was_sent_before(segment, last.segment):
        why.say(Cause.REORDERED, Evidence.OLDER_TIMESTAMP)
        why.first_frame = last.segment.frame
        why.waited_ns = max(segment.time_ns - last.segment.time_ns, 0)
    elif segment.has(SYN):
        judge_syn(me, you, why, last.segment)
    else:
        judge(me, you, why, last, piece)
    return why


def was_sent_before(segment: Segment, other: Segment) -> bool:
    stamps = segment.options.timestamps, other.options.timestamps
    return None not in stamps and distance(stamps[0][0], stamps[1][0]) < 0


def is_copy(me: Side, you: Side, row: PacketRow, last: PacketRow) -> bool:
    one, other = row.segment, last.segment
    names = ("length", "flags", "window", "ip_id")
    same = row.seq == last.seq and (row.ack or 0) == (last.ack or 0)
    same = same and all(getattr(one, name) == getattr(other, name) for name in names)
    same = same and (one.options.timestamps or (0, 0)) == (other.options.timestamps or (0, 0))
    if one.ip_id is not None and me.counts_ids:
        return same and one.time_ns - other.time_ns < 1000 * MS
    asked = max(you.last_ns, me.too_big.time_ns if me.too_big else 0) > other.time_ns
    return same and not asked and one.time_ns - other.time_ns < MS // 2


def is_late(me: Side, you: Side, why: Why, overtaker: PacketRow) -> Evidence | None:
    """What shows that it is the first sending, overtaken by that one."""
    one, other = why.row.segment, overtaker.segment
    if one.options.timestamps and other.options.timestamps:
        later = distance(one.options.timestamps[0], other.options.timestamps[0])
        if later:
            return Evidence.OLDER_TIMESTAMP if later < 0 else None
    if me.counts_ids and None not in (one.ip_id, other.ip_id) and one.ip_id != other.ip_id:
        return Evidence.LOWER_IP_ID if (one.ip_id - other.ip_id) % 2**16 >= 2**15 else None
    behind_ns = one.time_ns - other.time_ns
    known = me.near_ns is not None and you.near_ns is not None
    if behind_ns < (me.near_ns + you.near_ns if known else 3 * MS):
        return Evidence.TOO_SOON
    told = me.duplicates >= 3 or me.sacked_from(why.end) > 0 or me.una >= why.end
    timed = behind_ns * 10 >= me.least_wait_ns * 9
    return None if you.last_ns == 0 or told or timed else Evidence.NOTHING_TOLD


def judge_syn(me: Side, you: Side, why: Why, last: Segment) -> None:
    segment = why.row.segment
    why.waited_ns = max(segment.time_ns - last.time_ns, 0)
    why.rto_ns = FIRST_RTO_NS << me.timeouts
    long = why.waited_ns * 10 >= FIRST_RTO_NS * 9
    if segment.has(ACK):
        soon_ns = (me.near_ns or 0) + SOON_NS
        if you.syn and you.syn.time_ns > last.time_ns and segment.time_ns - you.syn.time_ns <= soon_ns:
            why.say(Cause.ANSWER, Evidence.ASKED, you.syn.frame)
            return
    elif you.last_ns > last.time_ns and not long:
        why.say(Cause.ANSWER, Evidence.ASKED)
        return
    why.say(Cause.RTO, Evidence.TIMER if long else Evidence.UNANSWERED)
    me.timeouts = min(me.timeouts + 1, DOUBLINGS)


def judge(me: Side, you: Side, why: Why, last: PacketRow | None, piece: Piece | None) -> None:
    """Data or FIN; last: the sending before, or what jumped over it."""
    segment, seq, end = why.row.segment, why.seq, why.end
    now_ns, last_ns = segment.time_ns, last.segment.time_ns if last else 0
    near_ns = me.near_ns or 0
    had = me.una >= end
    since_ns = last_ns
    if not had and me.advanced and me.advanced.time_ns > last_ns:
        since_ns = min(me.advanced.time_ns + near_ns, now_ns)
    if since_ns:
        why.waited_ns = max(now_ns - since_ns, 0)
    waited_ns = -1 if why.waited_ns is None else why.waited_ns
    if me.srtt_ns or me.syn:
        why.rto_ns = me.least_wait_ns << me.timeouts

    told_ns, told_frame = (me.told.time_ns, me.told.frame) if me.told else (0, None)
    why.duplicate_acks, why.sacked = me.duplicates, me.sacked_from(end)
    if had and me.earlier and me.earlier.una <= seq < me.earlier.next:
        why.duplicate_acks, why.sacked = me.earlier.duplicates, me.earlier.octets
        told_ns, told_frame = me.earlier.time_ns, me.earlier.frame
    told = told_ns > last_ns and (why.duplicate_acks >= 3 or why.sacked > 0)

    head = had or seq <= me.una or (me.una == NOTHING and piece is not None and piece is me.pieces[0])
    tail = me.next is None or end >= me.next
    quiet = not (told or me.duplicates or me.blocks or me.recovering or me.timeouts or me.probed)
    probing = me.sack and tail and quiet and waited_ns <= 1.5 * me.least_wait_ns and you.last_ns != 0
    long = waited_ns * 10 >= (me.least_wait_ns if you.last_ns else FIRST_RTO_NS) * 9
    trip_ns = me.srtt_ns + near_ns if me.srtt_ns else 0
    begun = me.recovery.row.segment if me.recovery else None
    outstanding = begun is not None and seq < me.recover and (me.recovering or last_ns < begun.time_ns)
    by_loss = Evidence.SACK if why.sacked else Evidence.DUPLICATE_ACKS

    def reason() -> tuple[Cause, Evidence, int | None]:
        if segment.length == 1 and segment.span == 1 and me.closed:
            return Cause.WINDOW_PROBE, Evidence.WINDOW_CLOSED, me.closed.frame
        if me.too_big and me.too_big.time_ns >= last_ns:
            return Cause.PATH_MTU, Evidence.TOO_BIG, me.too_big.frame
        if last and last.segment.has(SYN):
            return Cause.ANSWER, Evidence.ASKED, me.advanced and me.advanced.frame
        if last and last.segment.length == last.segment.span == 1 and me.shut and not me.closed:
            begun_ns, ended_ns = (one.time_ns for one in me.shut)
            if begun_ns <= last_ns <= ended_ns:
                return Cause.ANSWER, Evidence.WINDOW_OPENED, me.shut[1].frame
        if told and now_ns - told_ns <= near_ns + max(trip_ns // 4, SOON_NS):
            return Cause.FAST, by_loss, told_frame
        if long and probing:
            why.lone = head
            return Cause.TAIL_LOSS_PROBE, Evidence.TIMER, None
        if long and head:
            return Cause.RTO, Evidence.TIMER, None
        if told:
            return Cause.FAST, by_loss, told_frame
        if outstanding:
            fast = me.recovery.cause is Cause.FAST
            return Cause.FAST if fast else Cause.RTO_RECOVERY, Evidence.IN_RECOVERY, begun.frame
        if probing and trip_ns and waited_ns * 10 >= trip_ns * 18:
            return Cause.TAIL_LOSS_PROBE, Evidence.TIMER, None
        if long:
            return Cause.RTO, Evidence.TIMER, None
        if head and me.duplicates == 0 and trip_ns and waited_ns >= trip_ns + 4 * me.rttvar_ns:
            return Cause.RTO, Evidence.UNANSWERED if you.last_ns < last_ns else Evidence.TIMER, None
        return Cause.UNKNOWN, Evidence.NO_SIGN if last else Evidence.FIRST_NOT_SEEN, None

    why.say(*reason())
    if had:
        why.was_needless(Evidence.ACKNOWLEDGED, me.advanced.frame)
    elif any(left <= seq and end <= right for left, right in me.blocks):
        why.was_needless(Evidence.SACKED, me.told.frame)
    if why.cause is Cause.TAIL_LOSS_PROBE:
        me.probed = True
    elif why.cause is Cause.RTO or (why.cause is Cause.FAST and not me.recovering):
        # A copy: the pass may think better of the cause, but the recovery has begun.
        me.recovery, me.recover = Why(why.row, why.cause), me.next if me.next is not None else -1
    if why.cause is Cause.RTO:
        me.timeouts = min(me.timeouts + 1, DOUBLINGS)


def correct(anomaly: Anomaly, why: Why, flow: Flow) -> None:
    """What the replay had to guess by the time alone."""
    kind, was = anomaly.kind, anomaly.kind
    new = was is Kind.OUT_OF_ORDER or anomaly.detail is Detail.FILLS_HOLE
    if kind in TEXT:
        if why.seen is not None:
            kind = Kind.RETRANSMISSION
        if why.cause is Cause.REORDERED and not why.seen:
            kind = Kind.OUT_OF_ORDER
    if why.cause is Cause.WINDOW_PROBE and (was in TEXT or was is Kind.KEEP_ALIVE):
        kind = Kind.WINDOW_PROBE
    if kind is not was or (was in TEXT and new and why.seen):
        anomaly.detail = Detail.NONE
        if kind is Kind.RETRANSMISSION:
            had = why.needless and why.evidence is Evidence.ACKNOWLEDGED
            anomaly.detail = Detail.SPURIOUS if had else Detail.SEEN_BEFORE if why.seen else Detail.FILLS_HOLE
    anomaly.kind = kind
    anomaly.related_frame = anomaly.related_frame or why.first_frame
    if was in TEXT:
        end = flow.ends[anomaly.endpoint]
        more = (kind is Kind.RETRANSMISSION) - (was is Kind.RETRANSMISSION)
        end.retransmitted += more
        end.retransmitted_bytes += more * why.octets
        end.bytes -= why.octets if new and why.seen else 0
