"""A segment's numbers relative to both ISNs, 64 bits wide, and its window scaled: what everything else here counts in.

The base of an end's numbers is its ISN, or where no SYN was seen the first number less one, as Wireshark counts. It moves
where a SYN-ACK has another ISN than the one before, as long as nothing went on in the first one's numbers; and back, if it
is the first that the other end acknowledges.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.decode.segment import ACK, SYN
from analyzer.flows.connection import KNOWN_ACK, KNOWN_BASE, KNOWN_REBASED, KNOWN_SYN, KNOWN_SYN_ACK
from analyzer.flows.sequence import before, relative
from analyzer.kernel import part, seldom
from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.log import note
from analyzer.tracker.states import SYN_SENT

_SYNACK_ISN_CHANGED, _NO_DETAIL = int(Kind.SYNACK_ISN_CHANGED), int(Detail.NONE)


@part
def relative_numbers(
    segment: Any, flow: Any, number: int, me: Any, you: Any, damaged: bool, connections: Any, log: Any
) -> tuple[int, int]:
    """The segment's numbers relative to both ISNs, 64 bits wide; an ack of -1 where the flag is not set.

    Where no SYN was seen the base is the first number seen, less one, as Wireshark counts.
    """
    flags = segment.flags
    if not me.known & KNOWN_BASE:
        me.known |= KNOWN_BASE
        me.isn = me.isn_before = segment.seq if flags & SYN else before(segment.seq)
    elif flags & SYN and me.isn != segment.seq and not damaged:
        _another_isn(segment, flow, number, me, you, connections, log)
    elif flags & (SYN | ACK) == ACK and not me.known & KNOWN_ACK and you.isn != you.isn_before and not damaged:
        _take_isn_back(segment, flow, me, you, connections)
    seq = relative(segment.seq, me.isn, max(me.next, you.acked))
    if not flags & ACK:
        return seq, -1
    if not you.known & KNOWN_BASE:
        you.known |= KNOWN_BASE
        you.isn = you.isn_before = before(segment.ack)
    return seq, relative(segment.ack, you.isn, max(you.next, me.acked))


@seldom
def _another_isn(segment: Any, flow: Any, number: int, me: Any, you: Any, connections: Any, log: Any) -> None:
    """A SYN whose number is not the base: that moves, as Wireshark's does, as long as nothing went on in the first numbers."""
    if segment.flags & ACK:
        if me.known & KNOWN_SYN_ACK:
            note(_SYNACK_ISN_CHANGED, _NO_DETAIL, me.endpoint, flow.open_2, segment, number, log)
        if me.known & KNOWN_ACK or (you.known & KNOWN_ACK and you.acked >= 1):
            return
        me.known |= KNOWN_REBASED
        me.isn_before = me.isn
    elif me.known & (KNOWN_SYN | KNOWN_SYN_ACK) or you.state != SYN_SENT:
        return
    _rebase(segment.seq, me, you, connections)
    if not segment.flags & ACK:
        me.isn_before = me.isn


@seldom
def _take_isn_back(segment: Any, flow: Any, me: Any, you: Any, connections: Any) -> None:
    """The first acknowledgement tells which of two SYN-ACKs with different ISNs was taken."""
    if before(segment.ack) == you.isn_before:
        _rebase(you.isn_before, you, me, connections)
        you.next = you.contiguous = 1
        flow.synack_ns = 0
        if you.fin < 0:
            flow.open_2 = you.control_frame
    you.isn_before = you.isn


@part
def _rebase(isn: Any, me: Any, you: Any, connections: Any) -> None:
    me.isn = isn
    me.next = me.contiguous = 0
    if me.gap != 0:
        gap = connections.gaps[me.gap - 1]
        gap.missing = gap.hole_left = gap.hole_right = gap.unseen_left = 0
        gap.unseen_size = 0
    you.acked = -1


@part
def scaled_window(segment: Any, me: Any, you: Any) -> int:
    """The window in bytes, by the sender's own scale: never in a SYN, not if one SYN lacks the option (RFC 7323, 2)."""
    if segment.flags & SYN or me.wscale < 0:
        return segment.window
    if you.known & (KNOWN_SYN | KNOWN_SYN_ACK) and you.wscale < 0:
        return segment.window
    return np.int64(segment.window) << min(me.wscale, 14)
