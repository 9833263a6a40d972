"""Which connection of a pair a segment belongs to, and which end of a new one is the client.

Connections follow one another on the same addresses and ports. A SYN with a new ISN opens the next one; everything else
belongs to the newest, unless its numbers fit the one before and not the newest: late segments stay with their flow. Roles
are decided once, by the first evidence there is, and never flipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.decode.segment import ACK, SYN
from analyzer.flows.connection import KNOWN_BASE
from analyzer.flows.sequence import before, distance
from analyzer.kernel import part, seldom

ROLE_SYN, ROLE_SYN_ACK, ROLE_PORT, ROLE_FIRST_SEEN = 0, 1, 2, 3
_EPHEMERAL = 32768  # the first of Linux's ephemeral ports
_NEAR = 1 << 30  # no window is larger (RFC 7323)
_FOREIGN = 1 << 40


@part
def find_incarnation(segment: Any, pair: Any, connections: Any) -> int:
    """Return the flow that the segment belongs to, or -1 if it opens a new one."""
    newest = pair.flow - 1
    if newest < 0:
        return -1
    flags = segment.flags
    side = end_of_source(segment, connections.flows[newest])
    sender = connections.ends[2 * newest + side]
    if flags & SYN and not flags & ACK:
        if not sender.known & KNOWN_BASE or sender.isn == segment.seq:
            return newest  # the same SYN again, its SYN-ACK was seen first, or the other half of a simultaneous open
        earlier = connections.flows[newest].earlier
        if earlier < 0:
            return -1
        sent_before = connections.ends[2 * earlier + end_of_source(segment, connections.flows[earlier])]
        again = sent_before.known & KNOWN_BASE and sent_before.isn == segment.seq
        return earlier if again else -1  # an old duplicate, or new
    earlier = connections.flows[newest].earlier
    if earlier >= 0 and _misfit(segment, earlier, connections) < _misfit(segment, newest, connections):
        return earlier
    return newest


@part
def end_of_source(segment: Any, flow: Any) -> int:
    """0 if the source is the flow's client, 1 if it is the server."""
    return 0 if segment.side == flow.client_side else 1


@seldom
def _misfit(segment: Any, flow: int, connections: Any) -> int:
    """How far the segment's numbers lie from where this connection is; _FOREIGN if they cannot belong to it.

    Linux takes ISNs from a clock: those of two connections on one pair may be near each other, so the nearer one has it.
    """
    side = end_of_source(segment, connections.flows[flow])
    sender, receiver = connections.ends[2 * flow + side], connections.ends[2 * flow + 1 - side]
    flags = segment.flags
    if sender.known & KNOWN_BASE and not flags & SYN:
        away = abs(distance(segment.seq, np.int64(sender.isn) + sender.next))
        return away if away < _NEAR else _FOREIGN
    if flags & ACK and receiver.known & KNOWN_BASE:  # nothing to go by but what it acknowledges
        acknowledged = distance(segment.ack, receiver.isn)
        return 0 if 0 < acknowledged <= max(receiver.next, 1) else _FOREIGN
    return _FOREIGN - 1


@part
def client_side(segment: Any) -> tuple[int, int]:
    """Decide which side of the pair is the client of a flow that begins with this segment: (side, role evidence)."""
    flags = segment.flags
    if flags & SYN:
        if flags & ACK:
            return 1 - segment.side, ROLE_SYN_ACK
        return segment.side, ROLE_SYN
    if segment.sport == segment.dport:
        return segment.side, ROLE_FIRST_SEEN
    source_high, destination_high = segment.sport >= _EPHEMERAL, segment.dport >= _EPHEMERAL
    source_is_client = source_high if source_high != destination_high else segment.sport > segment.dport
    return segment.side if source_is_client else 1 - segment.side, ROLE_PORT


@part
def stream_of(segment: Any, pair: Any, counts: Any) -> int:
    """Wireshark's tcp.stream: a SYN whose number is not its direction's base opens a new one.

    The bases are set as packet-tcp.c does: by the direction's first segment (less one if it is no SYN), the other way's by
    the first acknowledgement. counts[1] is the number of streams so far.
    """
    flags = segment.flags
    mine = 1 << segment.side
    base = pair.a_base if segment.side == 0 else pair.b_base
    opens = flags & SYN and not flags & ACK and pair.bases & mine and base != segment.seq
    segment.another_stream = 0
    if pair.stream == 0 or (opens and not segment.quoted):
        segment.another_stream = pair.stream != 0
        counts[1] += 1
        pair.stream = counts[1]
        pair.bases = 0
    if segment.quoted:
        return pair.stream - 1
    if not pair.bases & mine or flags & (SYN | ACK) == SYN | ACK:
        _set_base(pair, segment.side, segment.seq if flags & SYN else before(segment.seq))
    if flags & ACK and not pair.bases & (3 - mine):
        _set_base(pair, 1 - segment.side, before(segment.ack))
    return pair.stream - 1


@part
def _set_base(pair: Any, side: int, base: Any) -> None:
    pair.bases |= 1 << side
    if side == 0:
        pair.a_base = base
    else:
        pair.b_base = base
