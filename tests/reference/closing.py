"""The close: FINs and their acknowledgements (RFC 9293 section 3.6).

A FIN takes effect at its place in the sequence, when all before it has arrived.
"""

from __future__ import annotations

from analyzer.tracker.anomalies import Kind
from analyzer.tracker.marks import Evidence, Step
from analyzer.tracker.states import Event, State
from tests.reference.arrival import Arrival, Mark
from tests.reference.connection import End
from tests.reference.machine import is_assumed, prove, refute
from tests.reference.opening import shows_established


def acknowledgement_of_fin(seen: Arrival) -> Mark:
    """What the segment says of the other end's FIN: acknowledged, or evidently not there yet."""
    me, you = seen.me, seen.you
    if you.fin is None or seen.heard is None:
        return None
    if seen.heard <= you.fin:  # lost behind this point, or still on its way
        me.missed_fin |= fin_has_not_come(seen, me)
        return None
    mark = step_of_acknowledgement(seen)
    if me.took_fin:
        prove(me, me.fin_taken, seen.frame)
    else:
        me.took_fin = True
        me.fin_taken = seen.proven(me, Event.RCV_FIN)
    if you.fin_acked is None:
        you.fin_acked = seen.assumed(you, Event.RCV_ACK_OF_FIN)
        if you.fin_acked is not None:
            you.moved_ns = seen.time_ns
    return mark


def step_of_acknowledgement(seen: Arrival) -> Mark:
    flow, me, you = seen.flow, seen.me, seen.you
    of_first_fin = flow.close_1 == you.fin_frame
    step = Step.CLOSE_2 if of_first_fin else Step.CLOSE_4
    if me.acked <= you.fin:  # the first segment to say so
        if of_first_fin:
            flow.close_2 = seen.frame
        else:
            flow.close_4 = seen.frame
        return step, False
    if you.repeated:
        you.repeated = False
        if me.state is State.TIME_WAIT:  # the FIN came again: 2 MSL begin anew (3.10.7.4)
            me.deadline_ns = seen.time_ns + seen.durations_ns[State.TIME_WAIT]
        return step, True
    return None


def fin_has_not_come(seen: Arrival, end: End) -> bool:
    """Take back that the peer's FIN took effect, if that was assumed; that its own was acknowledged stands."""
    acknowledged = (
        end.fin_taken is not None and end.fin_acked is not None and end.fin_acked.number > end.fin_taken.number
    )
    if not refute(end, end.fin_taken, seen.frame):
        return False
    end.took_fin = False
    if acknowledged:
        end.fin_acked = seen.assumed(end, Event.RCV_ACK_OF_FIN)
    return True


def fin(seen: Arrival) -> Mark:
    """The FIN that the segment carries."""
    flow, me, you = seen.flow, seen.me, seen.you
    place = seen.seq + seen.segment.length
    if place < 1:  # before its first octet: not of this connection
        return None
    if me.fin is not None:
        return fin_again(seen) if place == me.fin else None
    me.fin, me.fin_frame = place, seen.frame
    if was_overtaken(seen):
        me.fin_taken.evidence = Evidence.ASSUMED
        fin_has_not_come(seen, me)
    if not you.packets:  # FIN_WAIT_1, or LAST_ACK: nothing of the other end was seen
        seen.assumed(me, Event.SEND_FIN)
    elif is_assumed(me.established) and not shows_established(seen):  # the same
        me.established = seen.assumed(me, Event.SEND_FIN)
    else:
        seen.proven(me, Event.SEND_FIN)
    if you.acked > place:
        acknowledged_before(seen)
    if not flow.close_1:
        flow.close_1, flow.closed_by = seen.frame, me.endpoint
        return Step.CLOSE_1, False
    flow.close_3 = seen.frame
    if seen.heard is None or (you.fin is not None and seen.heard <= you.fin):  # they crossed
        flow.simultaneous_close = True
        if not me.took_fin and you.contiguous >= you.fin:
            me.took_fin = True
            me.fin_taken = seen.assumed(me, Event.RCV_FIN)
        return Step.SIMULTANEOUS_CLOSE_3, False
    return (Step.CLOSE_2_3 if flow.close_2 == seen.frame else Step.CLOSE_3), False


def was_overtaken(seen: Arrival) -> bool:
    """Whether it was sent before the other FIN came, of which its sender's acknowledgement was seen first."""
    me, you = seen.me, seen.you
    crossed = you.fin is not None and seen.heard is not None and seen.heard <= you.fin < me.acked
    return crossed and me.fin_taken is not None and me.fin_taken.new is State.CLOSE_WAIT


def acknowledged_before(seen: Arrival) -> None:
    """The FIN's acknowledgement was seen before it."""
    flow, me, you = seen.flow, seen.me, seen.you
    frame = seen.frame
    if me.unseen is not None and me.unseen.left <= me.fin + 1 <= me.unseen.right:
        frame = me.unseen.anomaly.frame
    if flow.close_1:
        flow.close_4 = frame
    else:
        flow.close_2 = frame
    if not you.took_fin:
        you.took_fin, you.fin_taken = True, seen.assumed(you, Event.RCV_FIN)
    acknowledged = seen.assumed(me, Event.RCV_ACK_OF_FIN)
    if acknowledged is not None:
        me.fin_acked, me.moved_ns = acknowledged, seen.time_ns


def fin_again(seen: Arrival) -> Mark:
    """It has not been acknowledged, as far as its sender knows."""
    flow, me, you, frame = seen.flow, seen.me, seen.you, seen.frame
    seen.note(Kind.FIN_RETRANSMITTED, related=me.fin_frame)
    me.repeated = True
    round_trip_ns = max(flow.round_trip_ns or 0, 0)
    if is_assumed(me.fin_acked) and seen.time_ns - me.moved_ns >= round_trip_ns:
        built_on = me.fin_taken is not None and me.fin_taken.number > me.fin_acked.number
        refute(me, me.fin_acked, frame)
        seen.note(Kind.FIN_ACK_LOST, related=me.fin_frame)
        if built_on:  # it had the other FIN too: then it is CLOSING, not TIME_WAIT
            me.fin_taken = seen.proven(me, Event.RCV_FIN)
    refute(me, me.ended, frame)
    you.missed_fin = False
    if you.acked <= me.fin:
        fin_has_not_come(seen, you)
    if flow.close_1 == me.fin_frame:
        return Step.CLOSE_1, True
    return (Step.SIMULTANEOUS_CLOSE_3 if flow.simultaneous_close else Step.CLOSE_3), True


def fins_take_effect(seen: Arrival) -> None:
    for sender, receiver in ((seen.me, seen.you), (seen.you, seen.me)):
        expected = not receiver.took_fin and not receiver.missed_fin
        if expected and sender.fin is not None and sender.contiguous >= sender.fin:
            taken = seen.assumed(receiver, Event.RCV_FIN)
            if taken is not None:
                receiver.took_fin, receiver.fin_taken = True, taken
