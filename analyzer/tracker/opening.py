"""The handshake: SYN, SYN-ACK and the segment that acknowledges it (RFC 9293, section 3.5).

Each part takes ``me``, the end that sent the segment, and ``you``, the end that it is sent to, and returns the step that the
segment is. What the sender does is proven, what becomes of the receiver is assumed.
"""

from __future__ import annotations

from typing import Any

from analyzer.decode.segment import AE, CWR, ECE, OPTION_FAST_OPEN
from analyzer.flows.connection import (
    KNOWN_ACK,
    KNOWN_REBASED,
    KNOWN_REPEATED,
    KNOWN_SYN,
    KNOWN_SYN_ACK,
    MARK_REFUSED,
    MARK_SIMULTANEOUS_OPEN,
)
from analyzer.kernel import part, seldom
from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.log import note
from analyzer.tracker.machine import ASSUMED, NO_ROW, PROVEN, is_assumed, move, prove, refute
from analyzer.tracker.marks import Step
from analyzer.tracker.states import (
    ESTABLISHED,
    LISTEN,
    SYN_RCVD,
    SYN_SENT,
    UNKNOWN,
    Event,
)

NO_STEP = -1
_OPEN_1, _OPEN_2, _OPEN_3 = int(Step.OPEN_1), int(Step.OPEN_2), int(Step.OPEN_3)
_SIMULTANEOUS_1, _SIMULTANEOUS_2 = int(Step.SIMULTANEOUS_OPEN_1), int(Step.SIMULTANEOUS_OPEN_2)
_SEND_SYN, _SEND_SYN_ACK, _SEND_DATA = int(Event.SEND_SYN), int(Event.SEND_SYN_ACK), int(Event.SEND_DATA)
_RCV_SYN, _RCV_SYN_ACK = int(Event.RCV_SYN), int(Event.RCV_SYN_ACK)
_RCV_ACK_OF_SYN, _RCV_DATA = int(Event.RCV_ACK_OF_SYN), int(Event.RCV_DATA)
_SYN_RETRANSMITTED, _SYNACK_RETRANSMITTED = int(Kind.SYN_RETRANSMITTED), int(Kind.SYNACK_RETRANSMITTED)
_ACK_IGNORED = int(Kind.HANDSHAKE_ACK_IGNORED)
_NO_DETAIL = int(Detail.NONE)


@seldom
def on_syn(segment: Any, flow: Any, number: int, me: Any, you: Any, log: Any) -> tuple[int, bool]:
    """SYN without ACK."""
    time_ns, frame = segment.time_ns, segment.frame
    repeated = me.known & KNOWN_SYN != 0
    if repeated or not you.known & KNOWN_SYN:  # one that crosses the other's is no further attempt
        flow.syn_attempts = min(flow.syn_attempts + 1, 65535)
    if flow.synack_ns == 0:
        flow.syn_ns = time_ns
    if repeated:
        # Sending it again shows that it never took the SYN-ACK, nor the RST, nor gave up.
        note(_SYN_RETRANSMITTED, _NO_DETAIL, me.endpoint, flow.open_1, segment, number, log)
        refute(me, me.established_row, frame, log)
        refute(me, me.syn_row, frame, log)
        goes_on(me, flow, frame, log)
        move(me, _SEND_SYN, PROVEN, time_ns, frame, number, log)
        step = _SIMULTANEOUS_1 if flow.marks & MARK_SIMULTANEOUS_OPEN and me.endpoint == 1 else _OPEN_1
    else:
        step = _OPEN_1
        if flow.open_1 == 0:
            flow.ecn |= _ecn_offer(segment)
        elif you.known & KNOWN_SYN:
            flow.marks |= MARK_SIMULTANEOUS_OPEN
            step = _SIMULTANEOUS_1
        refute(me, me.syn_row, frame, log)  # it opens itself: nobody was listening
        answered = you.known & KNOWN_SYN_ACK != 0 and you.acked >= 1
        if answered:  # the capture has it behind its answer
            refute(me, me.established_row, frame, log)
        move(me, _SEND_SYN, PROVEN, time_ns, frame, number, log)
        if you.state == SYN_SENT:  # its SYN is on the way to us: they cross
            me.syn_row = move(me, _RCV_SYN, ASSUMED, time_ns, frame, number, log)
        elif answered and me.state == SYN_SENT:
            me.established_row = move(me, _RCV_SYN_ACK, ASSUMED, time_ns, frame, number, log)
    me.known |= KNOWN_SYN
    if me.fin < 0:
        me.control_frame = frame
    if me.endpoint == 0 and flow.synack_ns == 0:
        flow.open_1 = frame  # the one that is answered, else the last
    elif me.endpoint == 0 and flow.open_1 == 0:
        flow.open_1 = frame  # captured behind its answer
    if you.state == UNKNOWN or (you.state == SYN_SENT and you.known & KNOWN_SYN):
        you.syn_row = move(you, _RCV_SYN, ASSUMED, time_ns, frame, number, log)
    return step, repeated


@seldom
def on_syn_ack(segment: Any, flow: Any, number: int, me: Any, you: Any, ack: int, log: Any) -> tuple[int, bool]:
    """SYN and ACK."""
    time_ns, frame = segment.time_ns, segment.frame
    repeated = me.known & KNOWN_SYN_ACK != 0
    another = me.known & KNOWN_REBASED != 0
    if repeated or not you.known & KNOWN_SYN_ACK:
        flow.synack_attempts = min(flow.synack_attempts + 1, 65535)
    foreign = segment.seq != me.isn
    if foreign and repeated:
        return NO_STEP, False
    if repeated and not another:
        note(_SYNACK_RETRANSMITTED, _NO_DETAIL, me.endpoint, flow.open_2, segment, number, log)
    me.known &= ~KNOWN_REBASED & 255
    if repeated:
        me.known |= KNOWN_REPEATED
        server_round_trip = flow.synack_ns - flow.syn_ns if flow.syn_ns and flow.synack_ns else 0
        ignored = is_assumed(me.established_row, log) and time_ns - me.moved_ns >= server_round_trip
        if ignored and refute(me, me.established_row, frame, log):
            note(_ACK_IGNORED, _NO_DETAIL, me.endpoint, flow.open_3, segment, number, log)
        if not another:
            goes_on(me, flow, frame, log)  # the request lives; under another ISN it is another request
    else:
        goes_on(me, flow, frame, log)
    if foreign:
        return NO_STEP, False
    prove(me, me.syn_row, frame, log)  # it answers the SYN: that has arrived
    move(me, _SEND_SYN_ACK, PROVEN, time_ns, frame, number, log)
    me.known |= KNOWN_SYN_ACK
    if not 1 <= ack <= max(you.next, 1):
        return NO_STEP, False  # it does not answer the SYN
    repeated = flow.open_2 != 0 and repeated
    taken = you.state == SYN_SENT or you.state == UNKNOWN or (you.state == SYN_RCVD and me.known & KNOWN_SYN)
    if taken:
        you.established_row = move(you, _RCV_SYN_ACK, ASSUMED, time_ns, frame, number, log)
        you.moved_ns = time_ns
    if taken or another or flow.open_2 == 0:
        if another:
            me.control_frame = flow.open_2
        _offer(segment, flow, you)
    return _SIMULTANEOUS_2 if me.known & KNOWN_SYN else _OPEN_2, repeated


@part
def _offer(segment: Any, flow: Any, you: Any) -> None:
    """Take it for the SYN-ACK that opens: none was before it, that one was not taken, or had another ISN."""
    flow.open_2 = segment.frame
    flow.synack_ns = segment.time_ns
    flow.ecn = (flow.ecn & 5) | _ecn_answer(segment, flow)
    if (
        you.endpoint == 0
        and you.known & (KNOWN_SYN | KNOWN_SYN_ACK) == KNOWN_SYN
        and you.fin < 0
        and you.control_frame > flow.open_1
        and flow.open_3 == 0
    ):
        flow.open_1, flow.syn_ns = you.control_frame, you.last_ns  # the SYN was repeated meanwhile


@part
def _ecn_offer(segment: Any) -> int:
    """Bit 0: the SYN offers ECN (RFC 3168, 6.1.1); bit 2: accurate ECN (RFC 9768, 3.1.1)."""
    offered = segment.flags & (AE | CWR | ECE)
    if offered == AE | CWR | ECE:
        return 1 | 4
    return 1 if offered & (CWR | ECE) == CWR | ECE else 0


@part
def _ecn_answer(segment: Any, flow: Any) -> int:
    """Bit 1: the SYN-ACK agrees to ECN; bit 3: to accurate ECN, saying how the SYN arrived (RFC 9768, table 2)."""
    answer = segment.flags & (AE | CWR | ECE)
    if flow.ecn & 4 and answer in (CWR, CWR | ECE, AE, AE | CWR):
        return 2 | 8
    return 2 if flow.ecn & 1 and answer & (CWR | ECE) == ECE else 0


@seldom
def goes_on(me: Any, flow: Any, frame: int, log: Any) -> None:
    """It sends on: what was taken for its end was none, and an attempt that was taken for refused is not."""
    if me.ended_row == NO_ROW:
        return
    was_attempt = log.transitions[me.ended_row].old == SYN_SENT
    if refute(me, me.ended_row, frame, log) and was_attempt and flow.marks & MARK_REFUSED:
        flow.marks &= ~MARK_REFUSED & 255
        flow.reset_frame = 0
        if flow.close_1 == 0:
            flow.closed_by = -1


@part
def on_opened(
    segment: Any, flow: Any, number: int, me: Any, you: Any, seq: int, ack: int, log: Any
) -> tuple[int, bool]:
    """Any other segment with an ACK: what it says of the handshake. ack is -1 where the flag is not set."""
    time_ns, frame = segment.time_ns, segment.frame
    step, repeated = NO_STEP, False
    if flow.marks & MARK_SIMULTANEOUS_OPEN and ack >= 1 and you.known & KNOWN_SYN_ACK and not me.known & KNOWN_SYN_ACK:
        refute(me, me.syn_row, frame, log)  # it answers the SYN-ACK, and sent none: the other SYN had not come
    _show_sender(segment, flow, number, me, you, ack, log)
    opener = me.endpoint == 0 and (me.known & KNOWN_SYN or you.known & KNOWN_SYN_ACK)
    if ack >= 1 and opener and not flow.marks & MARK_SIMULTANEOUS_OPEN and seq <= max(me.next, 1):
        if flow.open_3 == 0:
            flow.open_3 = frame
            flow.ack_ns = time_ns
            you.known &= ~KNOWN_REPEATED & 255
            step = _OPEN_3
        elif you.known & KNOWN_REPEATED and you.fin < 0 and ack == 1:
            step, repeated = _OPEN_3, True
            you.known &= ~KNOWN_REPEATED & 255
    elif ack >= 1 and flow.marks & MARK_SIMULTANEOUS_OPEN and flow.open_3 == 0:
        flow.open_3 = frame
        flow.ack_ns = time_ns
        step = _OPEN_3
    if you.state == UNKNOWN:
        you.established_row = move(you, _RCV_DATA, ASSUMED, time_ns, frame, number, log)
    elif you.state == LISTEN and ack >= 1:
        # It acknowledges a SYN-ACK that this capture did not see.
        prove(you, you.syn_row, frame, log)
        move(you, _SEND_SYN_ACK, PROVEN, time_ns, frame, number, log)
    if you.state == SYN_RCVD and 1 <= ack <= max(you.next, 1):
        you.established_row = move(you, _RCV_ACK_OF_SYN, ASSUMED, time_ns, frame, number, log)
        you.moved_ns = time_ns
    return step, repeated


@part
def _show_sender(segment: Any, flow: Any, number: int, me: Any, you: Any, ack: int, log: Any) -> None:
    """What the segment shows of its sender's part in the handshake."""
    time_ns, frame = segment.time_ns, segment.frame
    if me.state == UNKNOWN:
        me.established_row = move(me, _SEND_DATA, ASSUMED, time_ns, frame, number, log)
    elif me.state == LISTEN:
        listened = me.syn_row
        me.established_row = move(me, _SEND_DATA, ASSUMED, time_ns, frame, number, log)
        me.syn_row = listened
    elif me.state == SYN_SENT:
        if ack >= 1:
            move(me, _RCV_SYN_ACK, PROVEN, time_ns, frame, number, log)
    elif me.state == SYN_RCVD:
        # A request socket may acknowledge, and fast open may send data, before the third segment.
        if ack > max(me.acked, 1) or (segment.length > 0 and not _may_speak_first(me, you)):
            move(me, _RCV_ACK_OF_SYN, PROVEN, time_ns, frame, number, log)
    elif me.established_row != NO_ROW and (ack >= 1 or me.state != ESTABLISHED) and shows_established(me, you):
        if _is_under_way(segment, flow, me, you, ack):
            refute(me, me.established_row, frame, log)
        else:
            prove(me, me.syn_row, frame, log)
            prove(me, me.established_row, frame, log)
            me.established_row = NO_ROW
    me.known |= KNOWN_ACK


@part
def _may_speak_first(me: Any, you: Any) -> bool:
    """Fast open: the program has the connection before the third segment. It needs no option, but text in the SYN (RFC 7413)."""
    return (me.options | you.options) & OPTION_FAST_OPEN != 0 or me.acked > 1


@part
def _is_under_way(segment: Any, flow: Any, me: Any, you: Any, ack: int) -> bool:
    """Whether a segment was sent before the third one could arrive: less than a round trip after that, nothing more taken."""
    if me.state != ESTABLISHED or not me.known & KNOWN_SYN_ACK or not _may_speak_first(me, you) or ack > me.acked:
        return False
    seen = flow.open_1 != 0 and flow.open_2 > flow.open_1  # times may be 0 where they are printed since the first line
    return seen and segment.time_ns - me.moved_ns < flow.synack_ns - flow.syn_ns


@part
def shows_established(me: Any, you: Any) -> bool:
    """Whether an end that sends cannot be in CLOSE_WAIT: a handshake was seen, or the other end still had something to say."""
    return (me.known | you.known) & (KNOWN_SYN | KNOWN_SYN_ACK) != 0 or you.bytes > 0 or you.fin >= 0
