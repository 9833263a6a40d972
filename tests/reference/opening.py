"""The handshake: SYN, SYN-ACK and the segment that acknowledges it (RFC 9293 section 3.5)."""

from __future__ import annotations

from analyzer.tracker.anomalies import Kind
from analyzer.tracker.marks import Step
from analyzer.tracker.states import Event, State
from tests.reference.arrival import Arrival, Mark
from tests.reference.machine import prove, refute
from tests.reference.segment import AE, CWR, ECE

MOST_ATTEMPTS = 65535


def syn(seen: Arrival) -> Mark:
    flow, me, you, frame = seen.flow, seen.me, seen.you, seen.frame
    if me.sent_syn or not you.sent_syn:  # its SYN may cross the other's
        flow.syn_attempts = min(flow.syn_attempts + 1, MOST_ATTEMPTS)
    if not flow.synack_ns:
        flow.syn_ns = seen.time_ns
    repeated = me.sent_syn
    mark = syn_again(seen) if repeated else first_syn(seen)
    me.sent_syn, me.syn_frame = True, frame
    if me is flow.client and not flow.synack_ns:
        flow.open_1 = frame  # the one that is answered, else the last
    elif me is flow.client and not flow.open_1:
        flow.open_1 = frame  # captured behind its answer
    if you.state is State.UNKNOWN or (you.state is State.SYN_SENT and you.sent_syn):
        you.syn_taken = seen.assumed(you, Event.RCV_SYN)  # by a listener, or by an end whose own SYN it crosses
    return mark


def first_syn(seen: Arrival) -> Mark:
    flow, me, you, frame = seen.flow, seen.me, seen.you, seen.frame
    step = Step.OPEN_1
    if not flow.open_1:
        flow.ecn_offered = seen.segment.has(ECE) and seen.segment.has(CWR)
        flow.accurate_ecn_offered = flow.ecn_offered and seen.segment.has(AE)
    elif you.sent_syn:
        flow.simultaneous_open = True
        step = Step.SIMULTANEOUS_OPEN_1
    refute(me, me.syn_taken, frame)  # it opens itself: nobody was listening
    behind_its_answer = you.sent_syn_ack and you.acked >= 1
    if behind_its_answer:
        refute(me, me.established, frame)
    seen.proven(me, Event.SEND_SYN)
    if you.state is State.SYN_SENT:  # its SYN is on the way to us: they cross
        me.syn_taken = seen.assumed(me, Event.RCV_SYN)
    elif behind_its_answer and me.state is State.SYN_SENT:
        me.established = seen.assumed(me, Event.RCV_SYN_ACK)
    return step, False


def syn_again(seen: Arrival) -> Mark:
    """Sending it again shows that it never took the SYN-ACK, nor the RST, nor gave up."""
    flow, me = seen.flow, seen.me
    seen.note(Kind.SYN_RETRANSMITTED, related=flow.open_1)
    refute(me, me.established, seen.frame)
    refute(me, me.syn_taken, seen.frame)
    goes_on(seen)
    seen.proven(me, Event.SEND_SYN)
    crossing = flow.simultaneous_open and me is flow.server
    return (Step.SIMULTANEOUS_OPEN_1 if crossing else Step.OPEN_1), True


def syn_ack(seen: Arrival) -> Mark:
    flow, me, you = seen.flow, seen.me, seen.you
    if me.sent_syn_ack or not you.sent_syn_ack:
        flow.synack_attempts = min(flow.synack_attempts + 1, MOST_ATTEMPTS)
    again, foreign, rebased = me.sent_syn_ack, seen.segment.seq != me.isn, me.rebased
    if again and not foreign:
        syn_ack_again(seen)
    elif not again:
        goes_on(seen)
    if foreign:
        return None
    prove(me, me.syn_taken, seen.frame)
    seen.proven(me, Event.SEND_SYN_ACK)
    me.sent_syn_ack, me.rebased = True, False
    if not 1 <= seen.ack <= max(you.next, 1):
        return None  # it answers no SYN of this connection
    again = again and flow.open_2 is not None
    takes_it = you.state in (State.SYN_SENT, State.UNKNOWN) or (you.state is State.SYN_RCVD and me.sent_syn)
    if takes_it:
        you.established = seen.assumed(you, Event.RCV_SYN_ACK)
        you.moved_ns = seen.time_ns
    if rebased:
        me.frame_before = flow.open_2
    if takes_it or rebased or flow.open_2 is None:
        opens(seen)
    return (Step.SIMULTANEOUS_OPEN_2 if me.sent_syn else Step.OPEN_2), again


def opens(seen: Arrival) -> None:
    """It is the SYN-ACK that opens, as far as is known; the SYN that it answers is the last one."""
    flow, you = seen.flow, seen.you
    flow.open_2, flow.synack_ns = seen.frame, seen.time_ns
    said = tuple(seen.segment.has(flag) for flag in (AE, CWR, ECE))
    # RFC 9768 table 2: how the SYN arrived, as Not-ECT, ECT(1), ECT(0) or CE
    accurate = said in ((False, True, False), (False, True, True), (True, False, False), (True, True, False))
    flow.accurate_ecn_agreed = flow.accurate_ecn_offered and accurate
    flow.ecn_agreed = flow.accurate_ecn_agreed or (flow.ecn_offered and said[1:] == (False, True))
    opened = you is flow.client and you.sent_syn and not you.sent_syn_ack and you.fin is None
    again = opened and you.syn_frame > (flow.open_1 or 0)
    if again and not flow.open_3:
        flow.open_1, flow.syn_ns = you.syn_frame, you.last_ns


def syn_ack_again(seen: Arrival) -> None:
    """At least one round trip after its acknowledgement: that one was lost, or ignored."""
    flow, me = seen.flow, seen.me
    if not me.rebased:
        seen.note(Kind.SYNACK_RETRANSMITTED, related=flow.open_2)
    me.repeated = True
    round_trip_ns = flow.synack_ns - flow.syn_ns if flow.syn_ns and flow.synack_ns else 0
    if seen.time_ns - me.moved_ns >= round_trip_ns and refute(me, me.established, seen.frame):
        seen.note(Kind.HANDSHAKE_ACK_IGNORED, related=flow.open_3)
    if not me.rebased:  # under another ISN it would be another request
        goes_on(seen)


def goes_on(seen: Arrival) -> None:
    """What was taken for the sender's end was none; if it was its attempt's, that is not refused either."""
    flow, me, ended = seen.flow, seen.me, seen.me.ended
    if refute(me, ended, seen.frame) and ended.old is State.SYN_SENT and flow.refused:
        flow.refused, flow.reset_frame = False, None
        if flow.close_1 is None:
            flow.closed_by = None


def opened(seen: Arrival) -> Mark:
    """Any other segment: what it says of the handshake."""
    me, you, heard = seen.me, seen.you, seen.heard
    answers = heard is not None and heard >= 1 and you.sent_syn_ack and not me.sent_syn_ack
    if seen.flow.simultaneous_open and answers:
        refute(me, me.syn_taken, seen.frame)  # had the other SYN come, it would have sent a SYN-ACK too
    show_sender(seen)
    mark = third_segment(seen)
    if you.state is State.UNKNOWN:
        you.established = seen.assumed(you, Event.RCV_DATA)
    elif you.state is State.LISTEN and heard is not None and heard >= 1:
        prove(you, you.syn_taken, seen.frame)  # it acknowledges a SYN-ACK that this capture did not see
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
    opener = (
        not flow.simultaneous_open
        and me is flow.client
        and (me.sent_syn or you.sent_syn_ack)
        and seen.seq <= max(me.next, 1)
    )
    if flow.simultaneous_open or opener:
        if not flow.open_3:
            flow.open_3, flow.ack_ns = seen.frame, seen.time_ns
            if opener:
                you.repeated = False
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
            presumed = me.syn_taken
            me.established = seen.assumed(me, Event.SEND_DATA)
            me.syn_taken = presumed
        case State.SYN_SENT:
            if acknowledges:
                seen.proven(me, Event.RCV_SYN_ACK)
        case State.SYN_RCVD:
            # A request socket may acknowledge, and fast open may send data, before the third segment.
            if takes_more(seen) or (seen.segment.length > 0 and not may_speak_first(seen)):
                seen.proven(me, Event.RCV_ACK_OF_SYN)
        case State.ESTABLISHED:
            if acknowledges and shows_established(seen):
                if under_way(seen):
                    refute(me, me.established, seen.frame)
                else:
                    was_established(seen)
        case _ if shows_established(seen):
            was_established(seen)
    me.spoke = True


def was_established(seen: Arrival) -> None:
    if seen.me.established is not None:
        prove(seen.me, seen.me.syn_taken, seen.frame)
        prove(seen.me, seen.me.established, seen.frame)
        seen.me.established = None


def takes_more(seen: Arrival) -> bool:
    """Whether it acknowledges more than its SYN-ACK did."""
    return seen.heard is not None and seen.heard > max(seen.me.acked, 1)


def may_speak_first(seen: Arrival) -> bool:
    """RFC 7413: the program gets the connection with the SYN's text; with the option, or where it is not asked for."""
    return seen.me.fast_open or seen.you.fast_open or seen.me.acked > 1


def under_way(seen: Arrival) -> bool:
    """Sent before the third segment came: a round trip between here and there has not passed."""
    flow, me = seen.flow, seen.me
    more = seen.heard is not None and seen.heard > me.acked
    if me.established is None or not me.sent_syn_ack or more or not may_speak_first(seen):
        return False
    if not flow.open_1 or not flow.open_2 or flow.open_2 < flow.open_1:  # of these the times are known
        return False
    return seen.time_ns - me.moved_ns < (flow.synack_ns or 0) - (flow.syn_ns or 0)


def shows_established(seen: Arrival) -> bool:
    """Midstream an end that sends may be in CLOSE_WAIT, unless the other one still had something to say."""
    you = seen.you
    return seen.me.opened or you.opened or you.bytes > 0 or you.fin is not None
