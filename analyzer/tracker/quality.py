"""What the replay learns of the capture itself.

Checksums that were left to a network card, segments larger than the wire carries, octets that the capture lost, segments
that it has behind their acknowledgement.

A checksum that is wrong may be damage, or a card's work not yet done: a host whose segments are mostly wrong as captured
has a card that puts the checksums in later. So a wrong one is believed only of a host that has shown more good ones: right,
or a partial sum.
"""

from __future__ import annotations

import enum
from typing import Any

from analyzer.decode.checksum import IP_WRONG, WHICH, Checksum
from analyzer.decode.segment import OPTION_MSS
from analyzer.kernel import part, seldom
from analyzer.tracker.anomalies import WITHDRAWN, Detail, Kind
from analyzer.tracker.log import note


class Measure(enum.IntEnum):
    """Places in ``Connections.quality``."""

    LEFT_TO_CARD = 0  #: segments whose checksum the card was left to put in
    IP_WRONG = 1  #: segments in an IPv4 header with a wrong checksum
    SUPER_SEGMENTS = 2
    LOST_GAPS = 3  #: times that octets were acknowledged which were never seen
    LOST_BYTES = 4
    SWAPPED = 5  #: segments captured behind their acknowledgement


_RIGHT, _PARTIAL, _ABSENT, _WRONG = (int(Checksum[name]) for name in ("RIGHT", "PARTIAL", "ABSENT", "WRONG"))
_LEFT_TO_CARD, _IP_WRONG, _SUPER = int(Measure.LEFT_TO_CARD), int(Measure.IP_WRONG), int(Measure.SUPER_SEGMENTS)
_LOST_GAPS, _LOST_BYTES, _SWAPPED = int(Measure.LOST_GAPS), int(Measure.LOST_BYTES), int(Measure.SWAPPED)
_BAD_CHECKSUM, _ACK_OF_UNSEEN = int(Kind.BAD_CHECKSUM), int(Kind.ACK_OF_UNSEEN)
_NO_DETAIL, _TAKEN = int(Detail.NONE), int(Detail.NO_RIGHT_ONE)
_LARGEST_MSS = 9176  # of 9216-octet Ethernet frames, where the receiver's own is not known
_MOST_NAMED = 1000  # wrong checksums of one host that are noted before it is known to be damage
_REORDERING_NS = 3_000_000  # Wireshark's
_MOST = 1 << 31


@part
def is_damaged(segment: Any, connections: Any) -> bool:
    """Whether the segment's checksum is wrong, and its sender has shown that it sends right ones."""
    if segment.checksum == _RIGHT:
        connections.senders[segment.source].right += 1
        return False
    return segment.checksum != 0 and _is_damaged(segment, connections)


@seldom
def _is_damaged(segment: Any, connections: Any) -> bool:
    which = segment.checksum & WHICH
    sender = connections.senders[segment.source]
    if segment.checksum & IP_WRONG:
        connections.quality[_IP_WRONG] += 1
    if which == _RIGHT or which == _PARTIAL:
        sender.right += 1
    if which == _PARTIAL or which == _ABSENT:
        connections.quality[_LEFT_TO_CARD] += 1
    return which == _WRONG and sender.right > sender.wrong


@part
def is_super_segment(segment: Any, you: Any) -> bool:
    """Whether it is larger than the receiver takes in one: the card cuts it up later, or has put it together (TSO, GRO)."""
    return segment.length > (you.mss if you.options & OPTION_MSS else _LARGEST_MSS)


@seldom
def note_checksum(
    segment: Any, whole: bool, damaged: bool, endpoint: int, number: int, connections: Any, log: Any
) -> None:
    """Count and note a wrong checksum; whole: the segment is not one that a card cuts up or has put together."""
    if not whole:
        connections.quality[_LEFT_TO_CARD] += 1
        return
    sender = connections.senders[segment.source]
    sender.wrong += 1
    if damaged:
        note(_BAD_CHECKSUM, _NO_DETAIL, endpoint, 0, segment, number, log)
    elif sender.wrong <= _MOST_NAMED:
        # It says whose it is until the end, when it is known whether that one's are mostly wrong.
        note(_BAD_CHECKSUM, _TAKEN, endpoint, segment.source, segment, number, log)
    else:
        connections.quality[_LEFT_TO_CARD] += 1


@seldom
def judge_checksums(senders: Any, quality: Any, log: Any) -> None:
    """At the end: withdraw what was noted of hosts whose checksums are mostly wrong."""
    for i in range(log.counts[1]):
        row = log.anomalies[i]
        if row.kind == _BAD_CHECKSUM and row.detail == _TAKEN:
            sender = senders[row.related_frame]
            row.related_frame = 0
            if sender.wrong >= sender.right:
                row.kind = WITHDRAWN
                quality[_LEFT_TO_CARD] += 1


@seldom
def gap_of(end: Any, connections: Any) -> Any:
    """The row of what is missing of an end; a new one if nothing was missing yet."""
    if end.gap == 0:
        connections.counts[3] += 1
        end.gap = connections.counts[3]
    return connections.gaps[end.gap - 1]


@seldom
def on_unseen(segment: Any, number: int, me: Any, you: Any, ack: int, connections: Any, log: Any) -> None:
    """A segment of me acknowledges what was never seen of you: the capture lost it, or has it behind."""
    gap, quality = gap_of(you, connections), connections.quality
    beyond = max(ack - you.next, 0)
    if beyond > 0:
        left, right = you.next, ack
        lost = beyond + gap.missing
        gap.missing = 0
    else:
        left, right = you.contiguous, min(ack, gap.hole_left) if gap.hole_right != 0 else ack
        lost = min(right - left, gap.missing)
        gap.missing -= lost
    gap.unseen_row = log.counts[1]
    gap.unseen_left = left
    gap.unseen_size = min(right - left, _MOST)
    quality[_LOST_GAPS] += 1
    quality[_LOST_BYTES] += lost
    note(_ACK_OF_UNSEEN, _NO_DETAIL, me.endpoint, 0, segment, number, log)


@part
def is_swapped(gap: Any, seq: int) -> bool:
    """Whether it begins with what was acknowledged before it was seen."""
    return gap.unseen_size != 0 and 0 <= seq - gap.unseen_left < gap.unseen_size


@seldom
def on_swapped(segment: Any, flow: Any, gap: Any, seq: int, span: int, quality: Any, log: Any) -> bool:
    """Take the loss back if the segment comes right behind its acknowledgement; else it is a retransmission."""
    row = log.anomalies[gap.unseen_row]
    round_trip = flow.ack_ns - flow.syn_ns if flow.syn_ns and flow.ack_ns else 0
    if segment.time_ns - row.time_ns > max(round_trip, _REORDERING_NS):
        return False
    right = gap.unseen_left + gap.unseen_size
    found = min(seq + span, right) - seq
    quality[_SWAPPED] += 1
    quality[_LOST_BYTES] -= found
    if seq == gap.unseen_left:
        gap.unseen_left += found
        gap.unseen_size -= found
    elif seq + found == right:
        gap.unseen_size -= found
    if gap.unseen_size == 0:
        row.kind = WITHDRAWN
        quality[_LOST_GAPS] -= 1
    return True
