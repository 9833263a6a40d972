"""A batch of decoded segments, in arrays that are used again for the next batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analyzer.capture.clock import STEP, Clock
from analyzer.decode.fragments import Fragments, new_fragments
from analyzer.decode.records import decode
from analyzer.decode.segment import SEGMENT, Skipped

if TYPE_CHECKING:
    from analyzer.capture.records import Records


_CACHE_LINE = 64


def _rows(count: int) -> npt.NDArray[np.void]:
    """Rows of SEGMENT, each of which begins with a cache line."""
    octets = np.zeros(count * SEGMENT.itemsize + _CACHE_LINE, np.uint8)
    begin = -octets.ctypes.data % _CACHE_LINE
    return octets[begin : begin + count * SEGMENT.itemsize].view(SEGMENT)


class SegmentBatch:
    """The segments of one batch of records.

    Batches that follow one another share the table of datagrams that are still in pieces (``fragments``) and the clock.

    Attributes
    ----------
    segments : array of SEGMENT, sacks : uint32 array (n, 8)
        Rows 0 .. filled - 1 are the batch's.
    filled : int
        Segments, those quoted in ICMP errors included.
    records : int
        Records that they came from.
    pairs : int
        Pairs that the flow table knew once these segments had theirs.
    addresses : int
        Addresses that it knew then.
    first_row, streams : int
        The row of the packets' columns where the first of them went, and Wireshark's streams up to the last.
    last_ns : int
        Time of the latest of those records.
    steps : array of STEP
        Where the capture's clock was set back.
    skipped : int64 array, (len(Skipped),)
        Records that were no segment, by reason.
    """

    def __init__(
        self, fragments: Fragments | None = None, clock: Clock | None = None, *, checksums: bool = True
    ) -> None:
        self._clock = clock or Clock()
        self._checksums = checksums
        self._fragments = fragments or new_fragments()
        self.segments = np.zeros(0, SEGMENT)
        self.sacks = np.zeros((0, 8), np.uint32)
        self.steps = np.zeros(0, STEP)
        self.skipped = np.zeros(len(Skipped), np.int64)
        self.filled = self.records = self.pairs = self.addresses = self.first_row = self.streams = self.last_ns = 0

    def decode(self, records: Records) -> None:
        """Take in a batch of records; what was in the batch before is gone."""
        self.records = len(records.offset)
        if self.records > len(self.segments):
            self.segments = _rows(self.records)
            self.sacks = np.zeros((self.records, 8), np.uint32)
        self.skipped[:] = 0
        self.filled = decode(records, self.segments, self.sacks, self.skipped, self._fragments, self._checksums)
        self.steps = self._clock.take(records)
        self.last_ns = int(records.time_ns.max()) if self.records else 0
