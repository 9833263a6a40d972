"""The close: FINs and their acknowledgements (RFC 9293, section 3.6), and the RST that makes an end of it.

A FIN takes effect at its place in the sequence, when all before it has arrived. The end that sent it has moved when it is
seen; the end that it is sent to is assumed to have, until it acknowledges the FIN or shows that it did not come.
"""

from __future__ import annotations

from typing import Any

from analyzer.decode.segment import ACK
from analyzer.flows.connection import (
    KNOWN_BASE,
    KNOWN_FIN_MISSED,
    KNOWN_PEER_FIN,
    KNOWN_REPEATED,
    MARK_REFUSED,
    MARK_RESET_EARLY,
    MARK_SIMULTANEOUS_CLOSE,
)
from analyzer.kernel import part, seldom
from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.log import note
from analyzer.tracker.machine import ASSUMED, NO_ROW, PROVEN, is_assumed, move, prove, refute
from analyzer.tracker.marks import Step
from analyzer.tracker.opening import NO_STEP, shows_established
from analyzer.tracker.states import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    LISTEN,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
    UNKNOWN,
    Event,
)

_CLOSE_1, _CLOSE_2, _CLOSE_3, _CLOSE_4 = int(Step.CLOSE_1), int(Step.CLOSE_2), int(Step.CLOSE_3), int(Step.CLOSE_4)
_CLOSE_2_3, _SIMULTANEOUS_3, _RESET_STEP = int(Step.CLOSE_2_3), int(Step.SIMULTANEOUS_CLOSE_3), int(Step.RESET)
_SEND_FIN, _RCV_FIN, _RCV_ACK_OF_FIN = int(Event.SEND_FIN), int(Event.RCV_FIN), int(Event.RCV_ACK_OF_FIN)
_SEND_RST, _SEND_REFUSAL, _RCV_RST = int(Event.SEND_RST), int(Event.SEND_REFUSAL), int(Event.RCV_RST)
_FIN_RETRANSMITTED, _FIN_ACK_LOST = int(Kind.FIN_RETRANSMITTED), int(Kind.FIN_ACK_LOST)
_REFUSED, _RESET, _UNACCEPTABLE = int(Kind.REFUSED), int(Kind.RESET), int(Kind.RESET_UNACCEPTABLE)
_NO_DETAIL, _BY_RST = int(Detail.NONE), int(Detail.BY_RST)
_NOT_AT_RCV_NXT, _ACK_NOT_OF_SYN = int(Detail.NOT_AT_RCV_NXT), int(Detail.ACK_NOT_OF_SYN)


@part
def on_acknowledgement(
    segment: Any, flow: Any, number: int, me: Any, you: Any, ack: int, log: Any, timers: Any
) -> tuple[int, bool]:
    """What a segment of me says of your FIN: acknowledged, or evidently not there yet."""
    if you.fin < 0 or ack < 0:
        return NO_STEP, False
    time_ns, frame = segment.time_ns, segment.frame
    if ack <= you.fin:
        # It was sent without having had the FIN: lost behind this point, or still on its way.
        if _fin_has_not_come(segment, number, me, log):
            me.known |= KNOWN_FIN_MISSED
        return NO_STEP, False
    step, repeated = NO_STEP, False
    first = flow.close_1 == you.control_frame
    if me.acked <= you.fin:  # the first segment to say so
        if first:
            step = _CLOSE_2
            flow.close_2 = frame
        else:
            step = _CLOSE_4
            flow.close_4 = frame
    elif you.known & KNOWN_REPEATED:
        step, repeated = _CLOSE_2 if first else _CLOSE_4, True
        you.known &= ~KNOWN_REPEATED & 255
        if me.state == TIME_WAIT:  # the FIN came again: 2 MSL begin anew (3.10.7.4)
            me.deadline_ns = time_ns + timers.time_wait_ns
    if not me.known & KNOWN_PEER_FIN:
        me.known |= KNOWN_PEER_FIN
        me.fin_row = move(me, _RCV_FIN, PROVEN, time_ns, frame, number, log)
    else:
        prove(me, me.fin_row, frame, log)
    if you.fin_acked_row == NO_ROW:
        row = move(you, _RCV_ACK_OF_FIN, ASSUMED, time_ns, frame, number, log)
        if row != NO_ROW:
            you.fin_acked_row = row
            you.moved_ns = time_ns
    return step, repeated


@seldom
def _fin_has_not_come(segment: Any, number: int, end: Any, log: Any) -> bool:
    """Take back that the other FIN took effect on an end, if that was assumed; that its own was acknowledged stands."""
    acknowledged = end.fin_acked_row > end.fin_row
    if not refute(end, end.fin_row, segment.frame, log):
        return False
    end.known &= ~KNOWN_PEER_FIN & 255
    if acknowledged:
        end.fin_acked_row = move(end, _RCV_ACK_OF_FIN, ASSUMED, segment.time_ns, segment.frame, number, log)
    return True


@seldom
def on_fin(
    segment: Any, flow: Any, number: int, me: Any, you: Any, seq: int, ack: int, connections: Any, log: Any
) -> tuple[int, bool]:
    """The FIN that a segment of me carries."""
    time_ns, frame = segment.time_ns, segment.frame
    place = seq + segment.length
    if place < 1:
        return NO_STEP, False  # before its first octet: not of this connection
    if me.fin >= 0:
        if place != me.fin:
            return NO_STEP, False
        note(_FIN_RETRANSMITTED, _NO_DETAIL, me.endpoint, me.control_frame, segment, number, log)
        me.known |= KNOWN_REPEATED
        _repeated_fin(segment, flow, number, me, you, log)
        step = _CLOSE_1
        if flow.close_1 != me.control_frame:
            step = _SIMULTANEOUS_3 if flow.marks & MARK_SIMULTANEOUS_CLOSE else _CLOSE_3
        return step, True
    me.fin = place
    me.control_frame = frame
    if 0 <= ack <= you.fin < me.acked and me.fin_row != NO_ROW and log.transitions[me.fin_row].new == CLOSE_WAIT:
        # Its acknowledgement of the other FIN overtook it: when that FIN came, its own was sent.
        log.transitions[me.fin_row].evidence = ASSUMED
        refute(me, me.fin_row, frame, log)
        me.known &= ~KNOWN_PEER_FIN & 255
    # Where the other end's FIN may have come before, unseen, it is FIN_WAIT_1 or LAST_ACK.
    if you.packets == 0:
        move(me, _SEND_FIN, ASSUMED, time_ns, frame, number, log)
    elif is_assumed(me.established_row, log) and not shows_established(me, you):
        me.established_row = move(me, _SEND_FIN, ASSUMED, time_ns, frame, number, log)
    else:
        move(me, _SEND_FIN, PROVEN, time_ns, frame, number, log)
    if you.acked > place:
        _acknowledged_before(segment, flow, number, me, you, connections, log)
    if flow.close_1 == 0:
        flow.close_1 = frame
        flow.closed_by = me.endpoint
        return _CLOSE_1, False
    flow.close_3 = frame
    if ack <= you.fin:  # they crossed
        flow.marks |= MARK_SIMULTANEOUS_CLOSE
        if not me.known & KNOWN_PEER_FIN and you.contiguous >= you.fin:
            me.known |= KNOWN_PEER_FIN
            me.fin_row = move(me, _RCV_FIN, ASSUMED, time_ns, frame, number, log)
        return _SIMULTANEOUS_3, False
    if flow.close_2 == frame:
        return _CLOSE_2_3, False
    return _CLOSE_3, False


@seldom
def _acknowledged_before(segment: Any, flow: Any, number: int, me: Any, you: Any, connections: Any, log: Any) -> None:
    """A FIN whose acknowledgement was seen before: captured behind it, or the capture lost its first sending."""
    acknowledged = segment.frame
    if me.gap != 0:
        gap = connections.gaps[me.gap - 1]
        if 0 <= me.fin + 1 - gap.unseen_left <= gap.unseen_size:
            acknowledged = log.anomalies[gap.unseen_row].frame
    if flow.close_1 == 0:
        flow.close_2 = acknowledged
    else:
        flow.close_4 = acknowledged
    if not you.known & KNOWN_PEER_FIN:
        you.known |= KNOWN_PEER_FIN
        you.fin_row = move(you, _RCV_FIN, ASSUMED, segment.time_ns, segment.frame, number, log)
    row = move(me, _RCV_ACK_OF_FIN, ASSUMED, segment.time_ns, segment.frame, number, log)
    if row != NO_ROW:
        me.fin_acked_row = row
        me.moved_ns = segment.time_ns


@seldom
def _repeated_fin(segment: Any, flow: Any, number: int, me: Any, you: Any, log: Any) -> None:
    """A FIN that comes again has not been acknowledged, as far as its sender knows."""
    frame = segment.frame
    round_trip = max(flow.ack_ns - flow.syn_ns, 0) if flow.syn_ns and flow.ack_ns else 0
    if is_assumed(me.fin_acked_row, log) and segment.time_ns - me.moved_ns >= round_trip:
        built_on = me.fin_row > me.fin_acked_row
        if refute(me, me.fin_acked_row, frame, log):
            note(_FIN_ACK_LOST, _NO_DETAIL, me.endpoint, me.control_frame, segment, number, log)
            if built_on:  # it had the other FIN too: then it is CLOSING, not TIME_WAIT
                me.fin_row = move(me, _RCV_FIN, PROVEN, segment.time_ns, frame, number, log)
    refute(me, me.ended_row, frame, log)
    you.known &= ~KNOWN_FIN_MISSED & 255
    if you.acked <= me.fin:
        _fin_has_not_come(segment, number, you, log)


@part
def take_fin(segment: Any, number: int, me: Any, you: Any, log: Any) -> None:
    """Let my FIN take effect on you, once all before it was seen or acknowledged."""
    if me.fin < 0 or you.known & (KNOWN_PEER_FIN | KNOWN_FIN_MISSED) or me.contiguous < me.fin:
        return
    row = move(you, _RCV_FIN, ASSUMED, segment.time_ns, segment.frame, number, log)
    if row != NO_ROW:
        you.known |= KNOWN_PEER_FIN
        you.fin_row = row


@seldom
def on_reset(segment: Any, flow: Any, number: int, me: Any, you: Any, seq: int, ack: int, log: Any) -> tuple[int, bool]:
    """RST."""
    time_ns, frame = segment.time_ns, segment.frame
    detail = _reset_refusal(me, you, seq, ack)
    _reset_sender(segment, number, me, you, seq, ack, log)
    if detail != _NO_DETAIL:
        note(_UNACCEPTABLE, detail, me.endpoint, 0, segment, number, log)
        return NO_STEP, False
    before = you.state
    if before == CLOSED or (before == UNKNOWN and me.packets > 0 and flow.reset_frame != 0):
        return _RESET_STEP if flow.reset_frame != 0 else NO_STEP, flow.reset_frame != 0
    row = move(you, _RCV_RST, ASSUMED, time_ns, frame, number, log)
    you.ended_row = row
    you.moved_ns = time_ns
    if before == SYN_SENT:
        flow.marks |= MARK_REFUSED
        note(_REFUSED, _BY_RST, you.endpoint, flow.open_1, segment, number, log)
    else:
        if flow.open_3 == 0 and flow.open_2 != 0:
            flow.marks |= MARK_RESET_EARLY
        note(_RESET, _NO_DETAIL, me.endpoint, 0, segment, number, log)
    repeated = flow.reset_frame != 0
    if not repeated:
        flow.reset_frame = frame
        if flow.closed_by < 0:
            flow.closed_by = me.endpoint
    return _RESET_STEP, repeated


@part
def _reset_refusal(me: Any, you: Any, seq: int, ack: int) -> int:
    """Why the receiver must not obey an RST (3.10.7, RFC 5961), or no detail if it must."""
    state = you.state
    if state == SYN_SENT:
        return _NO_DETAIL if 1 <= ack <= you.next else _ACK_NOT_OF_SYN
    if state == UNKNOWN or state == CLOSED or state == LISTEN or not me.known & KNOWN_BASE:
        return _NO_DETAIL
    lowest = max(you.acked, 0)
    highest = max(me.contiguous, lowest)
    if lowest <= seq <= highest:
        return _NO_DETAIL
    if (
        you.known & KNOWN_PEER_FIN
        and seq == lowest - 1
        and (state == CLOSE_WAIT or state == LAST_ACK or state == CLOSING)
    ):
        return _NO_DETAIL  # Linux takes the FIN's own number too (tcp_reset_check)
    if (state == SYN_RCVD or state == FIN_WAIT_2 or state == TIME_WAIT) and lowest <= seq < max(
        you.window_right, lowest + 1
    ):
        return _NO_DETAIL
    return _NOT_AT_RCV_NXT


@part
def _reset_sender(segment: Any, number: int, me: Any, you: Any, seq: int, ack: int, log: Any) -> None:
    """What an RST shows of the end that sent it."""
    time_ns, frame = segment.time_ns, segment.frame
    if segment.flags & ACK:
        presumed = me.state == LISTEN and refute(me, me.syn_row, frame, log)
        if presumed or (me.state == UNKNOWN and you.state == SYN_SENT):  # it answers for a port that nobody listens on
            move(me, _SEND_REFUSAL, PROVEN, time_ns, frame, number, log)
            return
        if me.state != UNKNOWN and me.state != SYN_SENT and me.next != 0 and seq != me.next:
            return  # not its own next number: forged, or a reply for a connection that it does not have
        if ack <= you.fin and _fin_has_not_come(segment, number, me, log):
            me.known |= KNOWN_FIN_MISSED
        move(me, _SEND_RST, PROVEN, time_ns, frame, number, log)
        return
    if me.state == SYN_SENT:
        return  # a reply to something that does not belong to its connection
    if me.state == CLOSED:
        prove(me, me.fin_acked_row, frame, log)  # it has no connection
        prove(me, me.ended_row, frame, log)
        return
    if me.state == LISTEN:
        return
    # A bare RST answers for a connection that the sender does not have: what was assumed of it did not happen. It is at
    # the number that the peer acknowledged; another number answers something that is not of this connection.
    if me.state == ESTABLISHED and is_assumed(me.established_row, log):
        if me.next != 0 and seq != me.next and seq != you.acked:
            return
        refute(me, me.established_row, frame, log)
    elif me.state == TIME_WAIT and is_assumed(me.fin_row, log):
        refute(me, me.fin_row, frame, log)
    elif me.state != UNKNOWN and me.state != FIN_WAIT_1 and me.next != 0 and seq != me.next and seq != you.acked:
        return
    move(me, _SEND_RST, PROVEN, time_ns, frame, number, log)
