"""Datagrams in pieces, put together (RFC 791, section 3.2; RFC 8200, section 4.5).

A bounded table: as many datagrams at once as there are slots, the oldest gives way. Of each, only the beginning is kept, for
headers are all that is wanted; of the rest only which bytes have come.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.kernel import part, seldom

SLOTS = 256
SLOT_BYTES = 2048  #: of each datagram's beginning; headers nested deeper are not found
_MOST_PIECES = 128
_INCOMPLETE = -1

SLOT = np.dtype(
    [
        ("src_hi", np.uint64),
        ("src_lo", np.uint64),
        ("dst_hi", np.uint64),
        ("dst_lo", np.uint64),
        ("tunnel_key", np.uint64),
        ("age", np.int64),  # the frame of its first piece; 0: the slot is free
        ("identification", np.uint32),
        ("total", np.int32),  # its length, -1 before the last piece has come
        ("pieces", np.int32),
        ("captured", np.int32),  # of its beginning: less than SLOT_BYTES where the snap length cut a piece
        ("protocol", np.uint8),
        ("version", np.uint8),
        ("overlapping", np.uint8),
    ],
    align=True,
)


class Fragments(NamedTuple):
    """The table: slots, the pieces that have come (start, end), the datagrams' beginnings, one after the other."""

    slots: npt.NDArray[np.void]
    pieces: npt.NDArray[np.int32]
    data: npt.NDArray[np.uint8]


def new_fragments() -> Fragments:
    """Make an empty table."""
    return Fragments(
        np.zeros(SLOTS, SLOT), np.zeros((SLOTS, _MOST_PIECES, 2), np.int32), np.zeros(SLOTS * SLOT_BYTES, np.uint8)
    )


@seldom
def collect(data: Any, offset: int, end: int, length: int, segment: Any, frame: int, fragments: Any) -> int:
    """Take in the piece at data[offset:end] that has length bytes by its header; returns the slot once all have come, or -1."""
    slot = _find(segment, frame, fragments)
    held = fragments.slots[slot]
    start = segment.fragment_offset
    stop = start + length
    if length <= 0 or stop > 65535 or held.pieces == _MOST_PIECES:
        return _INCOMPLETE
    for i in range(held.pieces):
        if start < fragments.pieces[slot, i, 1] and fragments.pieces[slot, i, 0] < stop:
            if start == fragments.pieces[slot, i, 0] and stop == fragments.pieces[slot, i, 1]:
                return _INCOMPLETE  # the same piece again: a copy
            held.overlapping = 1
    fragments.pieces[slot, held.pieces, 0] = start
    fragments.pieces[slot, held.pieces, 1] = stop
    held.pieces += 1
    for i in range(start, min(stop, SLOT_BYTES, start + end - offset)):
        fragments.data[slot * SLOT_BYTES + i] = data[offset + i - start]
    if end - offset < length:
        held.captured = min(held.captured, max(start + end - offset, start))
    if not segment.fragment_more:
        held.total = stop
    if held.total < 0 or _contiguous(slot, held, fragments) < held.total:
        return _INCOMPLETE
    held.age = 0
    return slot


@part
def _find(segment: Any, frame: int, fragments: Any) -> int:
    oldest = 0
    for i in range(SLOTS):
        held = fragments.slots[i]
        if (
            held.age != 0
            and held.identification == segment.fragment_id
            and held.protocol == segment.protocol
            and held.version == segment.version
            and held.src_lo == segment.src_lo
            and held.dst_lo == segment.dst_lo
            and held.src_hi == segment.src_hi
            and held.dst_hi == segment.dst_hi
            and held.tunnel_key == segment.tunnel_key
        ):
            return i
        if held.age < fragments.slots[oldest].age:
            oldest = i
    held = fragments.slots[oldest]
    held.src_hi, held.src_lo, held.dst_hi, held.dst_lo = segment.src_hi, segment.src_lo, segment.dst_hi, segment.dst_lo
    held.tunnel_key = segment.tunnel_key
    held.identification = segment.fragment_id
    held.protocol, held.version = segment.protocol, segment.version
    held.age = frame
    held.total = -1
    held.pieces = 0
    held.captured = SLOT_BYTES
    held.overlapping = 0
    return oldest


@part
def _contiguous(slot: int, held: Any, fragments: Any) -> int:
    """The end of what has come without a hole from the beginning."""
    reached = 0
    for _ in range(held.pieces):
        before = reached
        for i in range(held.pieces):
            if fragments.pieces[slot, i, 0] <= reached:
                reached = max(reached, fragments.pieces[slot, i, 1])
        if reached == before:
            break
    return reached
