"""Text and acknowledgements: what of a stream was seen, what is missing, what came again (RFC 9293, section 3.4).

Kept for each direction: the highest number sent, the highest below which nothing is missing, and the first block behind the
first hole. Further holes close when the peer acknowledges them: memory does not grow with the number of losses.
"""

from __future__ import annotations

from typing import Any

from analyzer.decode.segment import SYN
from analyzer.kernel import part, seldom
from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.log import note
from analyzer.tracker.quality import gap_of, is_swapped, on_swapped, on_unseen

_RETRANSMISSION, _OUT_OF_ORDER = int(Kind.RETRANSMISSION), int(Kind.OUT_OF_ORDER)
_NOT_CAPTURED = int(Kind.SEGMENT_NOT_CAPTURED)
_DUPLICATE_ACK, _ZERO_WINDOW, _KEEP_ALIVE = int(Kind.DUPLICATE_ACK), int(Kind.ZERO_WINDOW), int(Kind.KEEP_ALIVE)
_WINDOW_PROBE = int(Kind.WINDOW_PROBE)
_NO_DETAIL, _SPURIOUS = int(Detail.NONE), int(Detail.SPURIOUS)
_FILLS_HOLE, _SEEN_BEFORE = int(Detail.FILLS_HOLE), int(Detail.SEEN_BEFORE)
_REORDERING_NS = 3_000_000  # Wireshark's, where the round trip is unknown


@part
def on_text(
    segment: Any,
    flow: Any,
    number: int,
    me: Any,
    you: Any,
    seq: int,
    span: int,
    control: bool,
    connections: Any,
    log: Any,
) -> None:
    """Take in span numbers (payload, SYN, FIN) from seq on; control: the segment has a SYN or FIN."""
    length, end = segment.length, seq + span
    if me.next == 0 and not segment.flags & SYN:  # midstream: what was before is not known
        me.next = me.contiguous = max(seq, 1)
    if span > 0 and me.gap != 0:
        gap = connections.gaps[me.gap - 1]
        if is_swapped(gap, seq) and on_swapped(segment, flow, gap, seq, span, connections.quality, log):
            me.bytes += length
            me.next = max(me.next, end)
            return
    if length <= 1 and not control and seq == me.next - 1 and me.next > 1 and you.acked >= me.next:
        note(_KEEP_ALIVE, _NO_DETAIL, me.endpoint, 0, segment, number, log)
        return
    if span == 0:
        return
    if seq > me.next and me.packets > 0:
        note(_NOT_CAPTURED, _NO_DETAIL, me.endpoint, 0, segment, number, log)
        _open_hole(me, seq, end, connections)
        me.bytes += length
    elif seq >= me.next:
        if length == 1 and you.window == 0 and you.packets > 0 and not control:
            note(_WINDOW_PROBE, _NO_DETAIL, me.endpoint, 0, segment, number, log)
        if me.gap != 0:
            _widen_hole(connections.gaps[me.gap - 1], seq, end)
        me.bytes += length
    elif length > 0:
        _sent_before(segment, flow, number, me, you, seq, seq + length, connections, log)
    me.next = max(me.next, end)
    if seq <= me.contiguous:
        me.contiguous = max(me.contiguous, end)
    if me.gap != 0:
        close_hole(me, connections.gaps[me.gap - 1])


@seldom
def _open_hole(me: Any, seq: int, end: int, connections: Any) -> None:
    """It jumps over what is missing: the first hole, or one more behind it."""
    gap = gap_of(me, connections)
    gap.missing += seq - me.next
    if gap.hole_right == 0:
        gap.hole_left, gap.hole_right = seq, end
    else:
        _widen_hole(gap, seq, end)


@seldom
def _widen_hole(gap: Any, seq: int, end: int) -> None:
    """It may continue the block behind the hole."""
    if gap.hole_right == seq:
        gap.hole_right = end


@seldom
def _sent_before(
    segment: Any, flow: Any, number: int, me: Any, you: Any, seq: int, end: int, connections: Any, log: Any
) -> None:
    """Payload below the highest number sent: again, or late."""
    gap = gap_of(me, connections)
    fresh = max(end - me.next, 0)  # repacketised: a tail of it is new
    seen = seq < me.contiguous or (gap.hole_left <= seq < gap.hole_right)
    if not seen:
        gap.missing = max(gap.missing - (end - seq - fresh), 0)
        round_trip = flow.ack_ns - flow.syn_ns if flow.syn_ns and flow.ack_ns else _REORDERING_NS
        me.bytes += end - seq
        if segment.time_ns - me.last_ns <= round_trip:
            note(_OUT_OF_ORDER, _NO_DETAIL, me.endpoint, 0, segment, number, log)
            return
        detail = _FILLS_HOLE
    else:
        me.bytes += fresh
        detail = _SPURIOUS if you.acked >= end else _SEEN_BEFORE
    me.retransmitted = me.retransmitted + 1
    me.retransmitted_bytes += end - seq - fresh
    note(_RETRANSMISSION, detail, me.endpoint, 0, segment, number, log)


@seldom
def close_hole(end: Any, gap: Any) -> None:
    """Step over the block behind the hole, once the hole is filled."""
    if gap.missing != 0 and end.contiguous >= end.next:
        gap.missing = 0
    if gap.hole_right != 0 and end.contiguous >= gap.hole_left:
        end.contiguous = max(end.contiguous, gap.hole_right)
        gap.hole_left, gap.hole_right = 0, 0


@part
def is_acceptable_ack(me: Any, you: Any, ack: int) -> bool:
    """Whether you may have sent all that this acknowledges: seen, or missed by the capture but within my window."""
    return ack <= max(you.next, 1) or you.packets == 0 or me.window_right == 0 or ack <= me.window_right + 1


@part
def on_ack(
    segment: Any, number: int, me: Any, you: Any, seq: int, ack: int, pure: bool, connections: Any, log: Any
) -> None:
    """Take in an acknowledgement; pure: no payload, no SYN, FIN or RST."""
    misses = you.gap != 0 and connections.gaps[you.gap - 1].missing != 0
    if (ack > you.next and you.packets > 0) or (misses and ack > you.contiguous):
        on_unseen(segment, number, me, you, ack, connections, log)
    elif (
        pure
        and you.next > ack
        and ack == me.acked
        and segment.window == me.window
        and seq == me.next
        and me.packets > 0
    ):
        note(_DUPLICATE_ACK, _NO_DETAIL, me.endpoint, 0, segment, number, log)
    you.next = max(you.next, ack)
    if ack > you.contiguous:
        you.contiguous = ack
        if you.gap != 0:
            close_hole(you, connections.gaps[you.gap - 1])
    me.acked = max(me.acked, ack)


@part
def on_window(segment: Any, number: int, me: Any, ack: int, window: int, control: bool, log: Any) -> None:
    """Take in the advertised window; control: the segment has SYN, FIN or RST."""
    if segment.window == 0 and not control:
        note(_ZERO_WINDOW, _NO_DETAIL, me.endpoint, 0, segment, number, log)
    me.window = segment.window
    if ack >= 0:
        me.window_right = max(me.window_right, ack + window)
