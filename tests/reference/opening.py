"""The handshake: SYN, SYN-ACK and the segment that acknowledges it (RFC 9293 section 3.5)."""

from __future__ import annotations

from analyzer.tracker.anomalies import Kind
from analyzer.tracker.marks import Step
from analyzer.tracker.states import Event, State
from tests.reference.arrival import Arrival, Mark
from tests.reference.machine import prove, refute
from tests.reference.segment import CWR, ECE

MOST_ATTEMPTS = 65535


def syn(seen: Arrival) -> Mark:
    flow, me, you, frame = seen.flow, seen.me, seen.you, seen.frame
    flow.syn_attempts = min(flow.syn_attempts + 1, MOST_ATTEMPTS)
    if not flow.synack_ns:
        flow.syn_ns = seen.time_ns
    repeated = me.sent_syn
    mark = syn_again(seen) if repeated else first_syn(seen)
    me.sent_syn = True
    if me is flow.client and not flow.synack_ns:
        flow.open_1 = frame  # the one that is answered, else the last
    elif me is flow.client and not flow.open_1:
        flow.open_1 = frame  # captured behind its answer
    if you.state is State.UNKNOWN:  # a SYN presumes a listener
        you.listening = seen.assumed(you, Event.RCV_SYN)
    elif you.state is State.SYN_SENT and you.sent_syn:
        you.established = seen.assumed(you, Event.RCV_SYN)
    return mark


def first_syn(seen: Arrival) -> Mark:
    flow, me, you, frame = seen.flow, seen.me, seen.you, seen.frame
    step = Step.OPEN_1
    if not flow.open_1:
        flow.ecn_offered |= seen.segment.has(ECE) and seen.segment.has(CWR)
    elif you.sent_syn:
        flow.simultaneous_open = True
        step = Step.SIMULTANEOUS_OPEN_1
    refute(me, me.listening, frame)  # it opens itself: nobody was listening
    if me.state is State.UNKNOWN:
        me.state = State.CLOSED
    seen.proven(me, Event.SEND_SYN)
    if you.state is State.SYN_SENT:  # its SYN is on the way to us: they cross
        me.established = seen.assumed(me, Event.RCV_SYN)
    return step, False


def syn_again(seen: Arrival) -> Mark:
    """Sending it again shows that it never took the SYN-ACK, nor the RST, nor gave up."""
    flow, me = seen.flow, seen.me
    seen.note(Kind.SYN_RETRANSMITTED, related=flow.open_1)
    refute(me, me.established, seen.frame)
    goes_on(seen)
    crossing = flow.simultaneous_open and me is flow.server
    return (Step.SIMULTANEOUS_OPEN_1 if crossing else Step.OPEN_1), True


def syn_ack(seen: Arrival) -> Mark:
    flow, me, you = seen.flow, seen.me, seen.you
    flow.synack_attempts = min(flow.synack_attempts + 1, MOST_ATTEMPTS)
    repeated = me.sent_syn_ack
    if repeated:
        syn_ack_again(seen)
    else:
        first_syn_ack(seen)
    me.sent_syn_ack, me.rebased = True, False
    may_take_it = you.state in (State.SYN_SENT, State.UNKNOWN) or (you.state is State.SYN_RCVD and me.sent_syn)
    if may_take_it and 1 <= seen.ack <= max(you.next, 1):
        you.established = seen.assumed(you, Event.RCV_SYN_ACK)
        you.moved_ns = seen.time_ns
    return (Step.SIMULTANEOUS_OPEN_2 if me.sent_syn else Step.OPEN_2), repeated


def first_syn_ack(seen: Arrival) -> None:
    flow, me, frame = seen.flow, seen.me, seen.frame
    goes_on(seen)
    prove(me, me.listening, frame)
    if me.state is State.SYN_RCVD:
        prove(me, me.established, frame)  # simultaneous open: the SYN that it answers has arrived
    flow.open_2 = frame
    flow.synack_ns = seen.time_ns
    if flow.ecn_offered and seen.segment.has(ECE) and not seen.segment.has(CWR):
        flow.ecn_agreed = True
    if me.state in (State.CLOSED, State.UNKNOWN) and not me.sent_syn:
        me.state = State.LISTEN  # it answers: it was listening, and the listener is another socket
    seen.proven(me, Event.SEND_SYN_ACK)


def syn_ack_again(seen: Arrival) -> None:
    """At least one round trip after its acknowledgement: that one was lost, or ignored."""
    flow, me = seen.flow, seen.me
    if not me.rebased:
        seen.note(Kind.SYNACK_RETRANSMITTED, related=flow.open_2)
    me.repeated = True
    round_trip_ns = flow.synack_ns - flow.syn_ns if flow.syn_ns else 0
    if seen.time_ns - me.moved_ns >= round_trip_ns and refute(me, me.established, seen.frame):
        seen.note(Kind.HANDSHAKE_ACK_IGNORED, related=flow.open_3)


def goes_on(seen: Arrival) -> None:
    """What was taken for the sender's end was none; if it was its attempt's, that is not refused either."""
    flow, me, ended = seen.flow, seen.me, seen.me.ended
    if refute(me, ended, seen.frame) and ended.old is State.SYN_SENT and flow.refused:
        flow.refused, flow.reset_frame = False, None
        if flow.close_1 is None:
            flow.closed_by = None


def opened(seen: Arrival) -> Mark:
    """Any other segment: what it says of the handshake."""
    you, heard = seen.you, seen.heard
    show_sender(seen)
    mark = third_segment(seen)
    if you.state is State.UNKNOWN:
        you.established = seen.assumed(you, Event.RCV_DATA)
    elif you.state is State.LISTEN and heard is not None and heard >= 1:
        prove(you, you.listening, seen.frame)  # it acknowledges a SYN-ACK that this capture did not see
        seen.proven(you, Event.SEND_SYN_ACK)
    if you.state is State.SYN_RCVD and heard is not None and 1 <= heard <= max(you.next, 1):
        you.established = seen.assumed(you, Event.RCV_ACK_OF_SYN)
        you.moved_ns = seen.time_ns
    return mark


def third_segment(seen: Arrival) -> Mark:
    """Whether this is the segment that ends the handshake."""
    flow, me, you = seen.flow, seen.me, seen.you
    if seen.heard is None or seen.heard < 1:
        return None
    opener = me is flow.client and (me.sent_syn or you.sent_syn_ack) and seen.seq <= max(me.next, 1)
    if flow.simultaneous_open or opener:
        if not flow.open_3:
            flow.open_3, flow.ack_ns = seen.frame, seen.time_ns
            return Step.OPEN_3, False
        if not flow.simultaneous_open and you.repeated and you.fin is None and seen.heard == 1:
            you.repeated = False
            return Step.OPEN_3, True
    return None


def show_sender(seen: Arrival) -> None:
    """What the segment shows of its sender's part in the handshake."""
    me, acknowledges = seen.me, seen.heard is not None and seen.heard >= 1
    match me.state:
        case State.UNKNOWN:
            me.established = seen.assumed(me, Event.SEND_DATA)
        case State.LISTEN:
            me.listening = None
            seen.proven(me, Event.SEND_DATA)
        case State.SYN_SENT:
            if acknowledges:
                seen.proven(me, Event.RCV_SYN_ACK)
        case State.SYN_RCVD:
            # A request socket may acknowledge, and fast open may send data, before the third segment.
            text = seen.segment.length > 0 or (
                seen.heard is not None and seen.heard > 1
            )  # sends it, or acknowledges it
            if text and not me.fast_open and not seen.you.fast_open:
                seen.proven(me, Event.RCV_ACK_OF_SYN)
        case State.ESTABLISHED:
            if acknowledges:
                prove(me, me.established, seen.frame)
        case _:
            prove(me, me.established, seen.frame)
    me.spoke = True
