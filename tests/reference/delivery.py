"""Text and acknowledgements: what of a stream was seen, what is missing, what came again (RFC 9293 section 3.4)."""

from __future__ import annotations

from collections import Counter

from analyzer.tracker.anomalies import Detail, Kind
from tests.reference.arrival import Arrival
from tests.reference.connection import End
from tests.reference.quality import acknowledges_unseen, comes_behind_its_acknowledgement, unseen
from tests.reference.segment import FIN, RST, SYN

REORDERING_NS = 3_000_000  #: Wireshark's, where the round trip is unknown


def text(seen: Arrival, counts: Counter) -> None:
    """Take in the sequence numbers of a segment: payload, SYN, FIN."""
    segment, me, seq = seen.segment, seen.me, seen.seq
    control = segment.has(SYN) or segment.has(FIN)
    end = seq + segment.span
    if me.next == 0 and not segment.has(SYN):  # midstream: what was before is not known
        me.next = me.contiguous = max(seq, 1)
    if comes_behind_its_acknowledgement(seen, counts):
        me.bytes += segment.length
        me.next = max(me.next, end)
        return
    if not control and is_keep_alive(seen):
        seen.note(Kind.KEEP_ALIVE)
        return
    if segment.span == 0:
        return
    if seq > me.next and me.packets > 0:
        beyond_a_hole(seen, end)
    elif seq >= me.next:
        next_text(seen, end)
    elif segment.length > 0:
        sent_before(seen, seq + segment.length)
    me.next = max(me.next, end)
    if seq <= me.contiguous:
        me.contiguous = max(me.contiguous, end)
    step_over_hole(me)


def is_keep_alive(seen: Arrival) -> bool:
    """One octet or none, just below SND.NXT, when all before it is acknowledged (3.8.4)."""
    me = seen.me
    return seen.segment.length <= 1 and seen.seq == me.next - 1 and me.next > 1 and seen.you.acked >= me.next


def beyond_a_hole(seen: Arrival, end: int) -> None:
    me = seen.me
    seen.note(Kind.SEGMENT_NOT_CAPTURED)
    me.missing += seen.seq - me.next
    if me.beyond_hole is None:
        me.beyond_hole = seen.seq, end
    else:
        lengthen_beyond_hole(me, seen.seq, end)
    me.bytes += seen.segment.length


def next_text(seen: Arrival, end: int) -> None:
    segment, me, you = seen.segment, seen.me, seen.you
    if segment.length == 1 and segment.span == 1 and you.window == 0:
        seen.note(Kind.WINDOW_PROBE)
    lengthen_beyond_hole(me, seen.seq, end)
    me.bytes += segment.length


def lengthen_beyond_hole(me: End, seq: int, end: int) -> None:
    if me.beyond_hole is not None and me.beyond_hole[1] == seq:
        me.beyond_hole = me.beyond_hole[0], end


def sent_before(seen: Arrival, end: int) -> None:
    """Payload below the highest number sent: again, or late."""
    me, seq = seen.me, seen.seq
    fresh = max(end - me.next, 0)  # repacketised: a tail of it is new
    in_block = me.beyond_hole is not None and me.beyond_hole[0] <= seq < me.beyond_hole[1]
    if seq < me.contiguous or in_block:
        me.bytes += fresh
        detail = Detail.SPURIOUS if seen.you.acked >= end else Detail.SEEN_BEFORE
    else:
        me.bytes += end - seq
        me.missing = max(me.missing - (end - seq - fresh), 0)
        round_trip_ns = seen.flow.round_trip_ns
        if seen.time_ns - me.last_ns <= (REORDERING_NS if round_trip_ns is None else round_trip_ns):
            seen.note(Kind.OUT_OF_ORDER)
            return
        detail = Detail.FILLS_HOLE
    me.retransmitted += 1
    me.retransmitted_bytes += end - seq - fresh
    seen.note(Kind.RETRANSMISSION, detail)


def step_over_hole(end: End) -> None:
    """A hole that is filled is stepped over."""
    if end.contiguous >= end.next:
        end.missing = 0
    if end.beyond_hole is not None and end.contiguous >= end.beyond_hole[0]:
        end.contiguous = max(end.contiguous, end.beyond_hole[1])
        end.beyond_hole = None


def acknowledgement(seen: Arrival, counts: Counter) -> None:
    """Take in an acknowledgement that counts."""
    me, you, ack = seen.me, seen.you, seen.heard
    if acknowledges_unseen(seen):
        unseen(seen, counts)
    elif is_duplicate(seen):
        seen.note(Kind.DUPLICATE_ACK)
    you.next = max(you.next, ack)
    if ack > you.contiguous:
        you.contiguous = ack
        step_over_hole(you)
    me.acked = max(me.acked, ack)


def is_duplicate(seen: Arrival) -> bool:
    """RFC 5681 section 2: nothing but the greatest acknowledgement again, same window, while something is outstanding."""
    segment, me, you = seen.segment, seen.me, seen.you
    same = seen.ack == me.acked and segment.window == me.window
    return segment.span == 0 and same and seen.seq == me.next and you.next > seen.ack


def window(seen: Arrival) -> None:
    """Take in the advertised window."""
    segment, me = seen.segment, seen.me
    if segment.window == 0 and not segment.flags & (SYN | FIN | RST):
        seen.note(Kind.ZERO_WINDOW)
    me.window = segment.window
    if seen.ack is not None and seen.ack >= 0:
        me.window_right = max(me.window_right, seen.ack + seen.window)
