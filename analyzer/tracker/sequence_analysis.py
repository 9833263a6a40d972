"""Wireshark's sequence number analysis: a segment against the last ones of both directions of its stream.

To be read next to ``tcp_analyze_sequence_number`` of Wireshark 4.0's packet-tcp.c, whose order of rules this keeps: some
hide others. All numbers are those on the wire. An acknowledgement is looked at even where the ACK flag is not set, as
there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.decode.segment import ACK, FIN, RST, SYN
from analyzer.flows.sequence import before, behind, is_after, offset
from analyzer.kernel import part, seldom
from analyzer.tracker.unacked import MOST_SEGMENTS, acknowledge, append

WAY = np.dtype(
    [
        ("lastack_ns", np.int64),  # the time of the last segment
        ("next_ns", np.int64),  # the time of the segment that reached ``next``
        ("base", np.uint32),  # relative numbers count from here
        ("next", np.uint32),  # nextseq: behind the highest number seen; 0 none
        ("lastack", np.uint32),
        ("most_to_acknowledge", np.uint32),  # maxseqtobeacked: behind the highest number without a gap; 0 none
        ("delivered", np.uint32),  # octets that the last segment's SACK blocks name
        ("first", np.uint32),  # what the unacknowledged segments span, relative to the base
        ("last", np.uint32),
        ("oldest", np.int32),  # of them, node + 1; 0 none
        ("newest", np.int32),
        ("window", np.uint32),  # the last one on the wire, plus one; see ``_window``
        ("count", np.uint16),
        ("marks", np.uint16),
        ("scale", np.uint8),  # 0 unknown, UNSCALED, or SCALED and the shift
        ("duplicate_acks", np.uint8),  # dupacknum; stays at 254
        ("operations", np.uint8),  # the stream's, at this direction's last segment
    ],
    align=True,
)
"""One direction of a stream."""

UNSCALED, SCALED = 1, 2
_UNSEEN_ACKED = 255  # duplicate_acks: Wireshark's -1, a number of which it takes to be very many

# WAY.marks; 1 and 2 are the list's
BASED = 4  # the base is set
NO_FLIGHT = (
    8  # a segment was lost: what is in flight is not known until the next acknowledgement of the other direction
)
FIRST_ACK = 16  # is_first_ack: a SYN was sent and no segment with ACK and no SYN since
AWAITS_RTT = 32  # the stream's first round trip is not known yet, and a SYN was seen
MULTIPATH = 64  # the stream is one of MPTCP's
KEEP_ALIVE_BEFORE = 128  # the last segment was marked so
PROBE_BEFORE = 256

# Bits of the verdict, in the order of Wireshark's fields that packets.analysis has
RETRANSMISSION, FAST_RETRANSMISSION, SPURIOUS_RETRANSMISSION, OUT_OF_ORDER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REUSED_PORTS, LOST_SEGMENT, ACK_LOST_SEGMENT = 1 << 4, 1 << 5, 1 << 6
WINDOW_UPDATE, WINDOW_FULL, KEEP_ALIVE, KEEP_ALIVE_ACK = 1 << 7, 1 << 8, 1 << 9, 1 << 10
ZERO_WINDOW_PROBE, ZERO_WINDOW, ZERO_WINDOW_PROBE_ACK, DUPLICATE_ACK = 1 << 11, 1 << 12, 1 << 13, 1 << 14
TFO_SYN, TFO_ACK, TFO_IGNORED = 1 << 15, 1 << 16, 1 << 17

_CLOSING = SYN | FIN | RST
_FAST_NS = 20_000_000  # so soon after a duplicate ACK a retransmission is a fast one
_REORDERED_NS = 3_000_000  # what comes so late is out of order, where the round trip is not known
_MOST_IN_FLIGHT = 2_000_000_000


@part
def analyse(
    segment: Any, fwd: Any, rev: Any, stream: Any, analysis: Any, nodes: Any, node_counts: Any
) -> tuple[Any, int, Any]:
    """Judge a segment; fwd is its direction, rev the other.

    Returns the verdict with what was known of it before, the node + 1 of the segment that it acknowledges (0 for none) and
    the octets in flight (0 for unknown).
    """
    flags, ack, length = segment.flags, segment.ack, segment.seglen
    if not fwd.marks & BASED:
        fwd.marks |= BASED
        fwd.base = segment.seq if flags & SYN else before(segment.seq)
    if flags & ACK:
        rev.marks &= ~NO_FLIGHT
        if not rev.marks & BASED:
            rev.marks |= BASED
            rev.base = before(ack)
    analysis |= _forward(segment, fwd, rev, stream)
    if ack != fwd.lastack:
        fwd.duplicate_acks = 0
    if rev.most_to_acknowledge != 0 and flags & ACK and is_after(ack, rev.most_to_acknowledge):
        analysis |= _unseen_acked(rev)
    takes = length > 0 or flags & (SYN | FIN) != 0
    if takes and not analysis & KEEP_ALIVE and (is_after(fwd.next, segment.seq) or _is_old(segment, rev)):
        analysis |= _repetition(segment, fwd, rev, stream)
    _note(segment, fwd, takes, analysis & ZERO_WINDOW_PROBE != 0, nodes, node_counts)
    repeated = ack == fwd.lastack
    fwd.lastack = ack
    fwd.lastack_ns = segment.time_ns
    fwd.window = segment.window + 1
    fwd.marks = fwd.marks & ~(KEEP_ALIVE_BEFORE | PROBE_BEFORE)
    if analysis & KEEP_ALIVE:
        fwd.marks |= KEEP_ALIVE_BEFORE
    if analysis & ZERO_WINDOW_PROBE:
        fwd.marks |= PROBE_BEFORE
    if fwd.marks & MULTIPATH:
        fwd.operations = stream.operations
    acked = acknowledge(rev, ack, repeated, nodes, node_counts)
    flying = np.int64(0)
    if length > 0 and fwd.oldest != 0 and not fwd.marks & NO_FLIGHT:
        flying = offset(fwd.last, np.int64(fwd.first) + rev.delivered)
        if flying >= _MOST_IN_FLIGHT:
            flying = np.int64(0)
        elif flying > 0 and flags & (SYN | FIN):
            flying -= 1  # they take a number and are no octet
    return analysis, acked, flying


@part
def _forward(segment: Any, fwd: Any, rev: Any, stream: Any) -> int:
    """What the segment says by itself, held against the last ones of its direction: all down to ``finished_fwd``."""
    seq, length, window = segment.seq, segment.seglen, segment.window
    if length == 1 and seq == fwd.next and _window(rev) == 0:
        return ZERO_WINDOW_PROBE
    analysis = 0
    plain = segment.flags & _CLOSING == 0
    if window == 0 and plain:
        analysis = ZERO_WINDOW
    if seq != fwd.next:
        if fwd.next != 0 and is_after(seq, fwd.next) and not segment.flags & RST:
            analysis |= LOST_SEGMENT
            fwd.marks |= NO_FLIGHT
        if length <= 1 and plain and seq == before(fwd.next):
            analysis |= KEEP_ALIVE
    if not plain:
        return analysis
    if length > 0:
        if rev.scale != 0:
            shift = 0 if rev.marks & FIRST_ACK or rev.scale == UNSCALED else rev.scale - SCALED
            if behind(seq, length) == behind(rev.lastack, _window(rev) << shift):
                analysis |= WINDOW_FULL
        return analysis
    if seq == fwd.next and segment.ack == fwd.lastack:
        analysis |= _repeated_ack(window, fwd, rev, stream)
    return analysis


@part
def _repeated_ack(window: Any, fwd: Any, rev: Any, stream: Any) -> int:
    """No text, and both numbers as before."""
    if window != _window(fwd):
        return WINDOW_UPDATE if window != 0 else 0
    if window == 0:
        return ZERO_WINDOW_PROBE_ACK if rev.marks & PROBE_BEFORE else 0
    if rev.marks & KEEP_ALIVE_BEFORE:
        return KEEP_ALIVE_ACK
    if fwd.marks & MULTIPATH and stream.operations != fwd.operations:
        return 0  # RFC 8684, section 4: an option is news enough
    if fwd.duplicate_acks == _UNSEEN_ACKED:
        fwd.duplicate_acks = 1
    elif fwd.duplicate_acks < _UNSEEN_ACKED - 1:
        fwd.duplicate_acks += 1
    return DUPLICATE_ACK


@part
def _window(way: Any) -> Any:
    """The last window; before the first one 2**32 - 1."""
    return offset(way.window, 1)


@seldom
def _unseen_acked(rev: Any) -> int:
    """What was not seen is acknowledged; said once for what is behind the same gap."""
    if is_after(rev.next, rev.most_to_acknowledge):
        rev.most_to_acknowledge = rev.next
        return ACK_LOST_SEGMENT
    again = rev.duplicate_acks != 0
    rev.duplicate_acks = _UNSEEN_ACKED
    return 0 if again else ACK_LOST_SEGMENT


@part
def _is_old(segment: Any, rev: Any) -> bool:
    """Text that the other direction has acknowledged already."""
    end = behind(segment.seq, segment.seglen)
    return segment.seglen > 0 and rev.lastack != 0 and (end == rev.lastack or is_after(rev.lastack, end))


@seldom
def _repetition(segment: Any, fwd: Any, rev: Any, stream: Any) -> int:
    """It does not advance the numbers: a retransmission, spurious or fast, or out of order."""
    seq, length = segment.seq, segment.seglen
    if _is_old(segment, rev):
        return RETRANSMISSION | SPURIOUS_RETRANSMISSION
    if fwd.next == 0 or (length > 1 and seq == before(fwd.next)):
        return 0  # behind a window probe: all but one octet is new
    # Times before the other one's are very late, as in Wireshark, which takes the difference as unsigned.
    late = segment.time_ns - rev.lastack_ns
    if rev.duplicate_acks >= 2 and rev.lastack == seq and 0 <= late < _FAST_NS:
        return RETRANSMISSION | FAST_RETRANSMISSION
    late = segment.time_ns - fwd.next_ns
    soon = stream.first_rtt_ns if stream.first_rtt_ns != 0 else _REORDERED_NS
    in_time = np.uint64(late) < np.uint64(soon)
    takes = length + (1 if segment.flags & (SYN | FIN) else 0)
    if in_time and behind(seq, takes) != fwd.next:
        return OUT_OF_ORDER
    return RETRANSMISSION


@part
def _note(segment: Any, fwd: Any, takes: bool, probe: bool, nodes: Any, node_counts: Any) -> None:
    """Keep what the segment sends, and how far the numbers have come."""
    after = behind(segment.seq, segment.seglen)
    if takes and fwd.count < MOST_SEGMENTS:
        if segment.flags & (SYN | FIN):
            after = behind(after, 1)
        append(fwd, segment.seq, after, segment.frame, segment.time_ns, nodes, node_counts)
    if probe:
        return  # a window probe does not advance them
    if fwd.next == 0 or is_after(after, fwd.next):
        fwd.next = after
        fwd.next_ns = segment.time_ns
    if fwd.most_to_acknowledge == 0 or fwd.most_to_acknowledge == segment.seq:
        fwd.most_to_acknowledge = fwd.next
