"""What one end has sent, in order of its numbers, with what was sent again of it: for those connections that repeat themselves.

A ring of entries for each direction, without gaps: what was never seen is an entry too, a *hole*, which names the segment that
jumped over it. So each number has one entry, found by halving. The ring keeps what was acknowledged until it needs the
room: a DSACK comes late. What is too far back is not found, and its cause is unknown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.flows.sequence import distance
from analyzer.kernel import part, seldom
from analyzer.tracker.causes import NEEDLESS, Cause

ENTRY = np.dtype(
    [
        ("seq", np.int64),  # it ends where the next one begins
        ("row", np.int64),  # of its first sending; -1 - row of the segment behind it, of a hole
        ("again", np.int64),  # the newest record + 1 of its having been sent again; 0 none
    ],
    align=True,
)

RECORD = np.dtype(
    [
        ("row", np.int64),
        ("seq", np.int64),
        ("end", np.int64),
        ("previous", np.int64),  # the record + 1 before it of the same entry
        ("waited_ns", np.int64),  # -1: not known
        ("rto_ns", np.int64),
        ("sacked", np.int64),  # octets behind it
        ("octets", np.int64),  # payload that lies below the highest number sent
        ("duplicate_acks", np.uint32),
        ("frame", np.uint32),  # of the evidence
        ("first_frame", np.uint32),  # of the first sending, or of what overtook it
        ("cause", np.uint8),
        ("evidence", np.uint8),
        ("needless", np.uint8),  # bool: the receiver had it
        ("tail", np.uint8),  # bool: a single last segment, whose probe and time-out look the same
        ("seen", np.uint8),  # of what came again: UNKNOWN, UNSEEN before, SEEN before
    ],
    align=True,
)
"""One for each segment whose cause is sought."""

_REPEATS = np.array([cause in NEEDLESS for cause in Cause])

UNKNOWN, UNSEEN, SEEN = range(3)

MOST_ENTRIES = 8192  #: of one direction: a window of 11 MB in ordinary segments
MOST_STEPS = 64  #: looked through of what was sent again of one entry, or covered by one DSACK


class Sent(NamedTuple):
    """The packets' columns that the pass reads."""

    time_ns: npt.NDArray[np.int64]
    flow: npt.NDArray[np.int32]
    from_client: npt.NDArray[np.bool_]
    flag_bits: npt.NDArray[np.uint16]
    seq: npt.NDArray[np.int64]
    ack: npt.NDArray[np.int64]
    length: npt.NDArray[np.int32]
    raw_window: npt.NDArray[np.uint16]
    ip_id: npt.NDArray[np.uint16]
    tsval: npt.NDArray[np.uint32]
    tsecr: npt.NDArray[np.uint32]
    no_timestamps: npt.NDArray[np.bool_]
    no_ip_id: npt.NDArray[np.bool_]
    frame_ahead: npt.NDArray[np.int64]
    copy_of: npt.NDArray[np.int64]


@part
def push(me: Any, seq: int, row: int, entries: Any) -> None:
    """Add what begins at seq, which is behind all there is."""
    entry = entries[me.place + me.count % me.room]
    entry.seq, entry.row, entry.again = seq, row, 0
    me.count += 1


@seldom
def find(me: Any, seq: int, entries: Any) -> Any:
    """The place of the entry that has this number; -1 if it is behind all, or too far back."""
    low, high = max(me.count - me.room, 0), np.int64(me.count)
    if seq >= me.next or low == high or seq < entries[me.place + low % me.room].seq:
        return -1
    while high - low > 1:
        middle = (low + high) // 2
        if entries[me.place + middle % me.room].seq <= seq:
            low = middle
        else:
            high = middle
    return me.place + low % me.room


@part
def overlapping(entry: Any, seq: int, end: int, records: Any) -> Any:
    """The newest record + 1 of the entry that has some of these numbers; 0 if none of those looked at does."""
    at = np.int64(entry.again)
    for _ in range(MOST_STEPS):
        if at == 0:
            return 0
        record = records[at - 1]
        if record.seq < end and seq < record.end:
            return at
        at = np.int64(record.previous)
    return 0


@part
def is_first(me: Any, place: int) -> bool:
    """Whether this is the oldest entry that is kept."""
    return place == me.place + max(me.count - me.room, 0) % me.room


@part
def may_be_needless(record: Any) -> bool:
    """Whether it was sent again, and nothing shows yet that the receiver had it."""
    return not record.needless and _REPEATS[record.cause]


@seldom
def mark_needless(me: Any, left: int, right: int, evidence: int, frame: int, entries: Any, records: Any) -> None:
    """The receiver had these numbers twice: the newest sending of each entry that is not marked yet was needless."""
    place = find(me, left, entries)
    for _ in range(MOST_STEPS):
        if place < 0:
            return
        at = np.int64(entries[place].again)
        for _ in range(MOST_STEPS):
            if at == 0:
                break
            record = records[at - 1]
            if may_be_needless(record) and record.seq < right and left < record.end:
                record.needless, record.evidence, record.frame = True, evidence, frame
                break
            at = np.int64(record.previous)
        place = place + 1 if place + 1 < me.place + me.room else np.int64(me.place)
        if place == me.place + me.count % me.room or entries[place].seq >= right:
            return


@seldom
def mark_echoed(me: Any, tsecr: int, evidence: int, frame: int, sent: Any, entries: Any, records: Any) -> None:
    """An acknowledgement moves SND.UNA on and echoes this: what was sent again later than that did not bring it (RFC 3522)."""
    place = find(me, me.una, entries)
    if place < 0:
        return
    at = np.int64(entries[place].again)
    for _ in range(MOST_STEPS):
        if at == 0:
            return
        record = records[at - 1]
        timed = not sent.no_timestamps[record.row] and record.seq <= me.una < record.end
        if timed and may_be_needless(record) and distance(sent.tsval[record.row], tsecr) > 0:
            record.needless, record.evidence, record.frame = True, evidence, frame
        at = np.int64(record.previous)
