"""RST: whether its receiver must obey it, and what it shows of its sender (RFC 9293 section 3.10.7, RFC 5961)."""

from __future__ import annotations

from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.marks import Step
from analyzer.tracker.states import Event, State
from tests.reference.arrival import Arrival, Mark
from tests.reference.closing import fin_has_not_come
from tests.reference.machine import is_assumed, prove, refute
from tests.reference.segment import ACK

AT_FIN = {State.CLOSE_WAIT, State.LAST_ACK, State.CLOSING}
"""Linux takes the FIN's own number too (tcp_reset_check)."""
WINDOW_SUFFICES = {State.SYN_RCVD, State.FIN_WAIT_2, State.TIME_WAIT}


def rst(seen: Arrival) -> Mark:
    flow, me, you = seen.flow, seen.me, seen.you
    reason = refusal(seen)
    if seen.segment.has(ACK):
        sent_rst_ack(seen)
    else:
        sent_bare_rst(seen)
    if reason is not Detail.NONE:
        seen.note(Kind.RESET_UNACCEPTABLE, reason)
        return None
    was, again = you.state, flow.reset_frame is not None
    if was is State.CLOSED or (was is State.UNKNOWN and me.packets > 0 and again):
        return (Step.RESET, True) if again else None
    you.ended = seen.assumed(you, Event.RCV_RST)
    you.moved_ns = seen.time_ns
    if was is State.SYN_SENT:
        flow.refused = True
        seen.note(Kind.REFUSED, Detail.BY_RST, related=flow.open_1, end=you)
    else:
        flow.reset_early |= flow.open_2 is not None and flow.open_3 is None
        seen.note(Kind.RESET)
    if not again:
        flow.reset_frame = seen.frame
        if flow.closed_by is None:
            flow.closed_by = me.endpoint
    return Step.RESET, again


def refusal(seen: Arrival) -> Detail:
    """Why the receiver must not obey, if so."""
    you, seq = seen.you, seen.seq
    if you.state is State.SYN_SENT:
        acknowledges_syn = seen.ack is not None and 1 <= seen.ack <= you.next
        return Detail.NONE if acknowledges_syn else Detail.ACK_NOT_OF_SYN
    if you.state in (State.UNKNOWN, State.CLOSED, State.LISTEN):
        return Detail.NONE
    # RCV.NXT is at least what it acknowledged, at most what was seen on the way to it.
    lowest = max(you.acked, 0)
    highest = max(seen.me.contiguous, lowest)
    at_rcv_nxt = lowest <= seq <= highest
    at_fin = you.state in AT_FIN and you.took_fin and seq == lowest - 1
    in_window = you.state in WINDOW_SUFFICES and lowest <= seq < max(you.window_right, lowest + 1)
    return Detail.NONE if at_rcv_nxt or at_fin or in_window else Detail.NOT_AT_RCV_NXT


def at_snd_nxt(seen: Arrival) -> bool:
    """Whether it is at its sender's own next number, or that number is not known."""
    return seen.me.next == 0 or seen.seq == seen.me.next


def sent_rst_ack(seen: Arrival) -> None:
    me = seen.me
    presumed = me.state is State.LISTEN and refute(me, me.syn_taken, seen.frame)
    if presumed or (me.state is State.UNKNOWN and seen.you.state is State.SYN_SENT):
        seen.proven(me, Event.SEND_REFUSAL)
    elif me.state in (State.UNKNOWN, State.SYN_SENT) or at_snd_nxt(seen):
        if seen.you.fin is not None and seen.ack <= seen.you.fin:
            me.missed_fin |= fin_has_not_come(seen, me)
        seen.proven(me, Event.SEND_RST)
    # else forged, or a reply for a connection that it does not have


def sent_bare_rst(seen: Arrival) -> None:
    """It answers for a connection that the sender does not have: what was assumed of it did not happen."""
    me = seen.me
    if me.state is State.CLOSED:  # it has no connection: so it is
        prove(me, me.fin_acked, seen.frame)
        prove(me, me.ended, seen.frame)
    if me.state in (State.SYN_SENT, State.CLOSED, State.LISTEN):
        return  # a reply to something that does not belong to its connection
    if me.state is State.ESTABLISHED and is_assumed(me.established):
        if not at_snd_nxt(seen) and seen.seq != seen.you.acked:
            return  # the peer never named that number: a reply to somebody else
        refute(me, me.established, seen.frame)
    elif me.state is State.TIME_WAIT and is_assumed(me.fin_taken):
        refute(me, me.fin_taken, seen.frame)
    elif me.state not in (State.UNKNOWN, State.FIN_WAIT_1) and not at_snd_nxt(seen) and seen.seq != seen.you.acked:
        return
    seen.proven(me, Event.SEND_RST)
