"""What is learned of the capture itself: checksums, super-segments, what it lost, what it has out of order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from analyzer.decode.checksum import Checksum
from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.quality import Measure
from tests.reference.arrival import Arrival
from tests.reference.connection import End
from tests.reference.machine import Anomaly, Log
from tests.reference.record import Record
from tests.reference.segment import Segment

LARGEST_MSS = 9176  #: of jumbo frames (9216 octets on Ethernet)
MOST_NAMED = 1000
REORDERING_NS = 3_000_000
STEP_NS = 100_000_000


@dataclass
class Sender:
    """The checksums of one address."""

    right: int = 0
    wrong: int = 0


@dataclass
class Quality:
    counts: Counter = field(default_factory=Counter)
    senders: dict[tuple[int, int], Sender] = field(default_factory=dict)
    doubtful: list[tuple[Anomaly, Sender]] = field(default_factory=list)
    clocks: dict[tuple[int, int], int] = field(default_factory=dict)  #: file, interface -> the last time
    steps: int = 0
    disordered: int = 0

    def sender(self, segment: Segment) -> Sender:
        return self.senders.setdefault((segment.version, segment.source), Sender())

    def is_damaged(self, segment: Segment) -> bool:
        """Wrong, and of an address that has shown more right ones."""
        sender = self.sender(segment)
        self.counts[Measure.IP_WRONG] += segment.ip_checksum_wrong
        if segment.checksum in (Checksum.RIGHT, Checksum.PARTIAL):
            sender.right += 1
        if segment.checksum in (Checksum.PARTIAL, Checksum.ABSENT):
            self.counts[Measure.LEFT_TO_CARD] += 1
        return segment.checksum is Checksum.WRONG and sender.right > sender.wrong

    def note_wrong(self, segment: Segment, whole: bool, damaged: bool, end: End, flow: int, log: Log) -> None:
        if not whole:
            self.counts[Measure.LEFT_TO_CARD] += 1
            return
        sender = self.sender(segment)
        sender.wrong += 1
        if damaged:
            log.note(segment, flow, Kind.BAD_CHECKSUM, end.endpoint)
        elif sender.wrong <= MOST_NAMED:
            log.note(segment, flow, Kind.BAD_CHECKSUM, end.endpoint, Detail.NO_RIGHT_ONE)
            self.doubtful.append((log.anomalies[-1], sender))
        else:
            self.counts[Measure.LEFT_TO_CARD] += 1

    def conclude(self, log: Log) -> None:
        """Of whom most are wrong, they are not his fault."""
        for anomaly, sender in self.doubtful:
            if sender.wrong >= sender.right:
                log.withdraw(anomaly)
                self.counts[Measure.LEFT_TO_CARD] += 1

    def tick(self, record: Record) -> bool:
        """Whether the clock was set back before this record."""
        place = record.file, record.interface
        back_ns = self.clocks.get(place, record.time_ns) - record.time_ns
        self.clocks[place] = record.time_ns
        stepped = back_ns > STEP_NS
        self.steps += stepped
        self.disordered += back_ns > 0 and not stepped
        return stepped


def is_super_segment(segment: Segment, you: End) -> bool:
    """Larger than its receiver takes."""
    offered = you.options.mss if you.options else None
    return segment.length > (LARGEST_MSS if offered is None else offered)


@dataclass
class Unseen:
    """What an end is known to have sent although nobody saw it: [left, right)."""

    left: int
    right: int
    anomaly: Anomaly


def acknowledges_unseen(seen: Arrival) -> bool:
    you, ack = seen.you, seen.heard
    return (ack > you.next and you.packets > 0) or (you.missing > 0 and ack > you.contiguous)


def unseen(seen: Arrival, counts: Counter) -> None:
    """The capture lost it, or has it behind its acknowledgement."""
    you, ack = seen.you, seen.heard
    if ack > you.next:
        left, right = you.next, ack
        lost, you.missing = right - left + you.missing, 0
    else:
        left, right = you.contiguous, ack if you.beyond_hole is None else min(ack, you.beyond_hole[0])
        lost = min(right - left, you.missing)
        you.missing -= lost
    seen.note(Kind.ACK_OF_UNSEEN)
    you.unseen = Unseen(left, right, seen.log.anomalies[-1])
    counts[Measure.LOST_GAPS] += 1
    counts[Measure.LOST_BYTES] += lost


def comes_behind_its_acknowledgement(seen: Arrival, counts: Counter) -> bool:
    """Whether the segment is what was acknowledged before it was seen, within a round trip."""
    unseen, seq = seen.me.unseen, seen.seq
    if unseen is None or seen.segment.span == 0 or not unseen.left <= seq < unseen.right:
        return False
    if seen.time_ns - unseen.anomaly.time_ns > max(seen.flow.round_trip_ns or 0, REORDERING_NS):
        return False
    end = min(seq + seen.segment.span, unseen.right)
    counts[Measure.SWAPPED] += 1
    counts[Measure.LOST_BYTES] -= end - seq
    if seq == unseen.left:
        unseen.left = end
    elif end == unseen.right:
        unseen.right = seq
    if unseen.left == unseen.right:
        seen.log.withdraw(unseen.anomaly)
        counts[Measure.LOST_GAPS] -= 1
    return True
