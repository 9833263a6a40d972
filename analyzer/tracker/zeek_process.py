"""What a segment does to a connection as Zeek follows it: TCPSessionAdapter::Process and the state machine under it.

The functions are Zeek's, in its order, under its names. Left out is what only raises events or "weirds".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.decode.segment import ACK, FIN, RST, SYN
from analyzer.flows.sequence import before, distance, on_wire
from analyzer.kernel import part
from analyzer.tracker.zeek_connection import (
    CLOSE_DEFERRED,
    CLOSED,
    COMPLETED,
    ESTABLISHED,
    FINISHED,
    INACTIVE,
    INTERACTIVE,
    IS_OVER,
    IS_PARTIAL,
    ORIG_SEEN,
    PARTIAL,
    RESET,
    RESP_SEEN,
    SYN_ACK_SENT,
    SYN_SENT,
)
from analyzer.tracker.zeek_history import add_flip, count_retransmission, count_zero_window, update_history
from analyzer.tracker.zeek_reassembly import ack_received, data_pending, data_sent, in_full
from analyzer.tracker.zeek_timers import CLOSE_DELAY_NS, RESET_DELAY_NS, SESSION_TIMER_NS, is_interactive

_TOO_LARGE_SEQ_DELTA = 1048576


@part
def process(segment: Any, connection: Any, me: Any, you: Any, mine: Any, yours: Any, words: Any) -> None:
    """TCPSessionAdapter::Process."""
    flags, length, seq, ack = segment.flags, np.int64(segment.length), segment.seq, segment.ack
    is_orig = segment.side == connection.orig_side
    _set_partial_status(flags, is_orig, connection)
    span = (flags & SYN != 0) + (flags & FIN != 0) + (0 if flags & RST else length)
    past = on_wire(np.int64(seq) + span)  # seq_one_past_segment
    _init_endpoint(flags, seq, past, me, mine)
    rel_seq, underflow = _relative(seq, mine.last, me.seq_wraps, me)
    update_history(segment, rel_seq, is_orig, connection, me, mine, words)
    if segment.window == 0 and not flags & RST and you.state != CLOSED and me.state != RESET:
        count_zero_window(is_orig, connection, me, words)
    if not (me.did_close and you.did_close):
        connection.last_ns = segment.time_ns
    if flags & FIN:
        me.has_fin = 1
        me.fin_seq = rel_seq + span
    rel_ack: Any = np.int64(0)
    if flags & ACK:
        rel_ack = _heard(flags, ack, you, yours)
    _update_last_seq(segment, past, is_orig, connection, me, mine, words)
    do_close = _update_state_machine(segment, connection, me, you, mine, yours, words)
    is_orig = segment.side == connection.orig_side  # it may have been flipped
    if flags & ACK and ack_received(rel_ack, not is_orig, connection, you, me, words):
        _check_eof(connection, you, me, yours)
    connection.bits |= ORIG_SEEN if is_orig else RESP_SEEN
    if length > 0 and not flags & RST and not underflow and not segment.truncated:
        data_sent(rel_seq + (flags & SYN != 0), length, me, you, mine, words)
    _check_eof(connection, me, you, mine)
    if do_close:
        _connection_closed(connection, me, you, mine)


@part
def close_pending(connection: Any) -> bool:
    """Whether the connection waits for text before it is closed."""
    return connection.bits & CLOSE_DEFERRED != 0


@part
def _set_partial_status(flags: int, is_orig: bool, connection: Any) -> None:
    if is_orig:
        if not connection.bits & ORIG_SEEN:
            connection.bits &= ~IS_PARTIAL
            if not flags & SYN or flags & ACK:
                connection.bits |= IS_PARTIAL
    elif not connection.bits & (RESP_SEEN | IS_PARTIAL) and not flags & SYN:
        connection.bits |= IS_PARTIAL


@part
def _init_endpoint(flags: int, seq: Any, past: Any, me: Any, mine: Any) -> None:
    state = me.state
    if state == INACTIVE:
        if flags & SYN:
            me.start = mine.ack = seq
            mine.last = past
        else:  # as though there had been a SYN
            me.start = mine.ack = before(seq)
            mine.last = seq
    elif not flags & SYN:
        return
    elif (
        ((state == SYN_SENT or state == SYN_ACK_SENT) and seq != me.start)
        or state == ESTABLISHED
        or state == PARTIAL
        or (state == RESET and me.before == INACTIVE)
    ):
        me.start = mine.ack = seq
        mine.last = past


@part
def _relative(number: Any, last: Any, wraps: Any, end: Any) -> tuple[int, bool]:
    """get_relative_seq: the number relative to the end's first, and whether it lies before that."""
    delta = distance(number, last)
    times = np.int64(wraps)
    if delta < 0:
        if times and number > last:
            times -= 1
    elif delta > 0 and number < last:
        times += 1
    if times == 0:
        delta = distance(number, end.start)
        return delta, delta < 0
    return in_full(number, times, end), False


@part
def _heard(flags: int, ack: Any, you: Any, yours: Any) -> Any:
    """What the segment acknowledges, relative; and note it."""
    if you.state == INACTIVE:  # init_peer: as though it had sent a SYN
        you.start = yours.ack = yours.last = before(ack)
        return 1
    rel_ack, underflow = _relative(ack, yours.ack, you.ack_wraps, you)
    if underflow:
        return 0
    if not flags & RST:  # update_ack_seq
        delta = distance(ack, yours.ack)
        if delta > 0 and not (ack == 0 and delta > _TOO_LARGE_SEQ_DELTA):
            if ack < yours.ack:
                you.ack_wraps += 1
            yours.ack = ack
    return rel_ack


@part
def _update_last_seq(segment: Any, past: Any, is_orig: bool, connection: Any, me: Any, mine: Any, words: Any) -> None:
    flags = segment.flags
    delta = distance(past, mine.last)
    if flags & (SYN | RST) and (delta > _TOO_LARGE_SEQ_DELTA or delta < -_TOO_LARGE_SEQ_DELTA):
        return
    only_syn = mine.last == on_wire(np.int64(me.start) + 1)
    if flags & FIN and only_syn:
        pass
    elif me.state == RESET:
        return
    elif delta <= 0:
        if segment.length > 0:
            count_retransmission(is_orig, connection, me, words)
        return
    if past < mine.last:
        me.seq_wraps += 1
    mine.last = past


@part
def _set_state(end: Any, state: int, peer: Any, connection: Any) -> None:
    if state == end.state:
        return
    if end.state <= SYN_ACK_SENT and peer.state <= SYN_ACK_SENT and state > SYN_ACK_SENT:
        connection.bits |= COMPLETED
    if PARTIAL <= state <= CLOSED:
        connection.bits |= FINISHED
    end.before = end.state
    end.state = state


@part
def _update_state_machine(segment: Any, connection: Any, me: Any, you: Any, mine: Any, yours: Any, words: Any) -> bool:
    """TCPSessionAdapter::UpdateStateMachine; whether the end closes."""
    flags, state = segment.flags, me.state
    if state == INACTIVE:
        return _update_inactive(segment, connection, me, you, mine, yours, words)
    if state == SYN_SENT or state == SYN_ACK_SENT:
        if flags & FIN:
            _set_state(me, CLOSED, you, connection)
        if flags & RST:
            _set_state(me, RESET, you, connection)
            connection.bits |= IS_OVER
        return flags & (FIN | RST) != 0
    if state == ESTABLISHED or state == PARTIAL:
        return _update_established(flags, connection, me, you)
    if state == CLOSED and flags & RST and you.state != CLOSED:
        _set_state(me, RESET, you, connection)
        if connection.reset_ns == 0:
            connection.reset_ns = segment.time_ns + RESET_DELAY_NS
        return not me.did_close
    return False


@part
def _update_inactive(segment: Any, connection: Any, me: Any, you: Any, mine: Any, yours: Any, words: Any) -> bool:
    """TCPSessionAdapter::UpdateInactiveState."""
    flags = segment.flags
    is_orig = segment.side == connection.orig_side
    closes = False
    if flags & SYN and is_orig:
        _set_state(me, SYN_ACK_SENT if flags & ACK else SYN_SENT, you, connection)
        connection.attempt_ns = segment.time_ns + CLOSE_DELAY_NS
    elif flags & SYN:
        if not flags & ACK and you.state == SYN_ACK_SENT and segment.seq == me.start:
            # SYN and SYN-ACK in reverse order
            connection.bits &= ~IS_PARTIAL
            connection.orig_side = 1 - connection.orig_side
            seen = connection.bits & (ORIG_SEEN | RESP_SEEN)
            connection.bits &= ~(ORIG_SEEN | RESP_SEEN)
            if seen & ORIG_SEEN:
                connection.bits |= RESP_SEEN
            if seen & RESP_SEEN:
                connection.bits |= ORIG_SEEN
            mine.seen, yours.seen = yours.seen, mine.seen  # what was seen stays with the role
            add_flip(connection, words)
            _set_state(you, ESTABLISHED, me, connection)
            connection.bits |= ORIG_SEEN
            is_orig = True
        if you.state == SYN_SENT:
            _set_state(you, ESTABLISHED, me, connection)
        _set_state(me, ESTABLISHED, you, connection)
        if you.state != PARTIAL:
            _on_established(segment, connection, you, words)
    if flags & FIN:
        _set_state(me, CLOSED, you, connection)
        closes = True
    if flags & RST:
        _set_state(me, RESET, you, connection)
        closes = True
    if me.state != INACTIVE:
        return closes
    if not is_orig and segment.length == 0 and you.state == SYN_SENT:
        return closes  # an ACK of the SYN ahead of the SYN-ACK
    if flags & ACK and you.state == ESTABLISHED:  # the SYN was missed, the SYN-ACK was not
        _set_state(me, ESTABLISHED, you, connection)
        connection.bits &= ~IS_PARTIAL
        connection.bits |= ORIG_SEEN if is_orig else RESP_SEEN
    else:
        _set_state(me, PARTIAL, you, connection)
    return closes


@part
def _on_established(segment: Any, connection: Any, orig: Any, words: Any) -> None:
    """What the script conn/inactivity.zeek does at the event connection_established."""
    service = segment.sport
    if orig.state == INACTIVE and not words.server_ports[service] and words.server_ports[segment.dport]:
        service = segment.dport
    if is_interactive(service):
        connection.bits |= INTERACTIVE


@part
def _update_established(flags: int, connection: Any, me: Any, you: Any) -> bool:
    """TCPSessionAdapter::UpdateEstablishedState."""
    if flags & (SYN | ACK) == SYN and me.state == PARTIAL and you.state == INACTIVE:
        _set_state(me, SYN_SENT, you, connection)
    if flags & FIN and not flags & RST:
        _set_state(me, CLOSED, you, connection)
        if you.state == RESET and you.before == CLOSED:
            _set_state(you, CLOSED, me, connection)  # FIN, then RST: it was a normal end
    if flags & RST:
        _set_state(me, RESET, you, connection)
        if you.state != RESET or you.before != ESTABLISHED:
            connection.bits |= IS_OVER
    return flags & (FIN | RST) != 0


@part
def _check_eof(connection: Any, end: Any, peer: Any, line: Any) -> None:
    """TCP_Reassembler::CheckEOF and TCPSessionAdapter::EndpointEOF."""
    if end.did_eof or not (end.has_fin or end.state == CLOSED or end.state == RESET):
        return
    if data_pending(end, peer, line):
        return
    end.did_eof = 1
    if connection.bits & CLOSE_DEFERRED:
        _connection_closed(connection, end, peer, line)
        connection.bits &= ~CLOSE_DEFERRED


@part
def _connection_closed(connection: Any, end: Any, peer: Any, line: Any) -> None:
    """TCPSessionAdapter::ConnectionClosed: the connection is forgotten after a while, or waits for the other half."""
    if data_pending(end, peer, line):
        connection.bits |= CLOSE_DEFERRED
        return
    connection.bits &= ~CLOSE_DEFERRED
    if end.did_close:
        return
    end.did_close = 1
    if end.state == RESET or peer.did_close or peer.state == INACTIVE:
        connection.attempt_ns = connection.expire_ns = connection.expire_again_ns = connection.reset_ns = 0
        connection.delete_ns = connection.last_ns + CLOSE_DELAY_NS
        if end.state != RESET and (end.before != INACTIVE or peer.state != INACTIVE):
            connection.bits |= IS_OVER
    elif end.before != INACTIVE:
        connection.expire_again_ns = connection.last_ns + SESSION_TIMER_NS
