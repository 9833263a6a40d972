"""Several files as one capture in time order, as mergecap does it.

Always the file whose next record is the earliest gives its record; among equals the file named last, as in mergecap,
but of a rotated set the one that was written first. So the order inside each file is kept, also where its clock went
back. That is the same as a stable sort by the latest time seen so far in the file, which whole batches can be cut and
sorted by; files that follow one another are handed through without copying.

A file is opened when its first record's time has come, so that a thousand rotated files need neither a thousand open
files nor a thousand buffers.
"""

from __future__ import annotations

import heapq
import os
import stat as modes
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analyzer.capture.interfaces import InterfaceTable
from analyzer.capture.opened import OpenedFile
from analyzer.capture.pipes import STDIN
from analyzer.capture.records import CaptureInfo, Damage, Records
from analyzer.capture.rotation import is_rotated
from analyzer.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from analyzer.settings import Settings

#: The buffer for a first look at a file, and the smallest one when very many are open.
_SMALL_BUFFER = 64 * 1024


class _Part:
    """One file of the merge: the batch at hand, of which the records from ``begin`` on are pending."""

    def __init__(self, number: int, path: str) -> None:
        self.number = number
        self.rank = -number  #: among equal times
        self.first = 0  #: key of the first record
        self.path = path
        self.opened: OpenedFile | None = None
        self.size: int | None = None
        self.begin = 0
        self.end = 0
        self.keys: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.taken = 0  #: records handed on

    @property
    def file(self) -> OpenedFile:
        """The opened file."""
        if self.opened is None:
            raise RuntimeError(f"{self.path} is not open")
        return self.opened

    def read(self) -> bool:
        """Have pending records; False at the file's end."""
        if self.begin < self.end:
            return True
        latest = self.keys[-1] if len(self.keys) else None
        self.begin, self.end = 0, self.file.reader.read()
        self.keys = np.maximum.accumulate(self.file.reader.columns.time_ns[: self.end])
        if latest is not None:
            np.maximum(self.keys, latest, out=self.keys)
        return self.end > 0

    def upto(self, key: int, rank: int) -> int:
        """Where the pending records end that come no later than the one with this key of the file with this rank."""
        side = "right" if self.rank <= rank else "left"
        return int(np.searchsorted(self.keys, key, side=side))  # type: ignore[call-overload]


class MergedSource:
    """A ``Source`` over several files."""

    def __init__(self, paths: Sequence[str], settings: Settings, table: InterfaceTable | None = None) -> None:
        self._table = table or InterfaceTable(CaptureInfo())
        self.info = self._table.info
        self._paths = paths
        self._settings = settings
        self._waiting: list[tuple[int, int, _Part]] = []
        self._active: list[_Part] = []
        self._spare: npt.NDArray[np.uint8] | None = None
        self._total: int | None = 0  #: bytes of all files
        self._finished = 0  #: bytes of those that are done
        self._countable = True  #: whether bytes tell the number of records
        self._begun = False
        self._stopped = False

    @property
    def size_hint(self) -> int | None:
        """About how many records there will be."""
        if self._total is None or not self._countable or not self._begun:
            return None
        behind = self._behind()
        if self.info.records and behind:
            return self._total * self.info.records // behind + 1
        return self._total // 90 + 1

    @property
    def progress(self) -> float | None:
        """The part of all files' bytes read so far."""
        if not self._total or not self._begun:
            return None
        return min(1.0, self._behind() / self._total)

    def _behind(self) -> int:
        return self._finished + sum(part.opened.consumed for part in self._active if part.opened)

    def batches(self) -> Iterator[Records]:
        """Yield the records of all files in time order."""
        self._look()
        while (self._waiting or self._active) and not self._stopped:
            self._advance()
            if self._active:
                yield from self._round()

    def stop(self) -> None:
        """Let ``batches`` end after the batches at hand; nobody waits for a pipe among them any more."""
        self._stopped = True
        for part in list(self._active):
            if part.opened:
                part.opened.stop()

    def close(self) -> None:
        """Close all files."""
        for part in self._active + [part for *_, part in self._waiting]:
            if part.opened:
                part.opened.close()
        self._active, self._waiting = [], []

    def _look(self) -> None:
        """Take a first look at each file: whether it is a capture, and when it begins."""
        first_error: CaptureError | None = None
        looked: list[_Part] = []
        for path in self._paths:
            part = _Part(len(self.info.files), path)
            # What is not a regular file cannot be opened twice.
            again = path != STDIN and _is_regular(path)
            try:
                self._open(part, first_look=again)
            except CaptureError as error:
                first_error = first_error or error
                self.info.damage.append(Damage(path, 0, str(error).removeprefix(f"{path}: ")))
                continue
            self.info.files.append(path)
            self.info.formats.append(part.file.format)
            part.size = part.file.size
            self._countable &= not part.file.compressed and part.size is not None
            self._total = None if self._total is None or part.size is None else self._total + part.size
            if part.read():
                part.first = int(part.keys[0])
                looked.append(part)
                if again:
                    part.file.close()
                    part.opened, part.begin, part.end, part.keys = None, 0, 0, part.keys[:0]
            else:
                self._finish(part)
        if is_rotated(self._paths):
            looked.sort(key=lambda one: (one.first, one.number))
            for rank, part in enumerate(looked):
                part.rank = rank
        self._waiting = [(part.first, part.rank, part) for part in looked]
        heapq.heapify(self._waiting)
        self._begun = True
        if first_error and not self.info.files:
            raise CaptureError(f"none of {len(self._paths)} files can be read; the first: {first_error}")

    def _open(self, part: _Part, first_look: bool = False) -> None:
        settings = self._settings
        room = settings.batch_records
        # All open files share a budget, so that ever more of them get ever smaller buffers.
        whole = max(64, settings.buffer_bytes)
        share = min(whole, max(_SMALL_BUFFER, 4 * whole // (len(self._active) + 1)))
        if first_look:
            room, buffer = 1, np.empty(_SMALL_BUFFER, np.uint8)
        elif self._spare is not None and len(self._spare) == share:
            buffer, self._spare = self._spare, None
        else:
            buffer = np.empty(share, np.uint8)
        room = max(min(room, 256), room * share // whole)
        part.opened = OpenedFile(part.path, self._table, room, settings.record_limit_bytes, buffer)

    def _finish(self, part: _Part) -> None:
        part.file.reader.notes.hand_to(self.info, part.path)
        if part.file.reader.damage:
            self.info.damage.append(Damage(part.path, *part.file.reader.damage))
        self._finished += part.size or 0
        self._spare = part.file.window.data
        part.file.close()
        part.opened = None

    def _advance(self) -> None:
        """Have pending records in each open file, and every file open that the next round may need."""
        for part in self._active[:]:
            if not part.read():
                self._active.remove(part)
                self._finish(part)
        while self._waiting and (not self._active or self._waiting[0][:2] <= self._horizon()):
            _, _, part = heapq.heappop(self._waiting)
            if part.opened is None:
                try:
                    self._open(part)
                except CaptureError as error:  # gone since the first look
                    self.info.damage.append(Damage(part.path, 0, str(error).removeprefix(f"{part.path}: ")))
                    continue
            if part.read():
                self._active.append(part)
                self._active.sort(key=lambda one: one.rank)
            else:
                self._finish(part)

    def _horizon(self) -> tuple[int, int]:
        """Up to where, in key and rank, the pending records are all that there is."""
        return min((int(part.keys[-1]), part.rank) for part in self._active)

    def _round(self) -> Iterator[Records]:
        """Hand on all pending records up to the horizon."""
        horizon = self._horizon()
        giving = [(part, upto) for part in self._active if (upto := part.upto(*horizon)) > part.begin]
        batch = self._run(*giving[0]) if len(giving) == 1 else self._interleave(giving)
        for begin in range(0, len(batch.frame), self._settings.batch_records):
            end = begin + self._settings.batch_records
            piece = Records._make([batch.data, *(column[begin:end] for column in batch[1:-1]), batch.links])
            count = len(piece.frame)
            piece.frame[:] = np.arange(self.info.records + 1, self.info.records + 1 + count)
            self.info.records += count
            self.info.bytes += int(piece.captured.sum(dtype=np.int64))
            yield piece

    def _run(self, part: _Part, upto: int) -> Records:
        """A run of one file's pending records, in the file's own buffer."""
        columns = part.file.reader.columns
        span = slice(part.begin, upto)
        count = upto - part.begin
        file_frame = np.arange(part.taken + 1, part.taken + 1 + count)
        part.begin = upto
        part.taken += count
        return Records(
            part.file.window.data,
            columns.offset[span],
            columns.captured[span],
            columns.wire[span],
            columns.time_ns[span],
            columns.interface[span],
            np.empty(count, np.int64),
            np.full(count, part.number, np.int32),
            file_frame,
            columns.process[span],
            self._table.links,
        )

    def _interleave(self, giving: list[tuple[_Part, int]]) -> Records:
        """The runs of several files, sorted; their bytes are copied side by side, a run at a time."""
        keys = np.concatenate([part.keys[part.begin : upto] for part, upto in giving])
        runs = [self._run(part, upto) for part, upto in giving]
        spans = [(int(run.offset[0]), int(run.offset[-1]) + int(run.captured[-1])) for run in runs]
        data = np.empty(sum(end - begin for begin, end in spans), np.uint8)
        at = 0
        offsets = []
        for run, (begin, end) in zip(runs, spans, strict=True):
            data[at : at + end - begin] = run.data[begin:end]
            offsets.append(run.offset + (at - begin))
            at += end - begin
        order = np.argsort(keys, kind="stable")
        columns = [offsets, *zip(*(run[2:-1] for run in runs), strict=True)]
        return Records._make([data, *(np.concatenate(column)[order] for column in columns), self._table.links])


def _is_regular(path: str) -> bool:
    try:
        return modes.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True  # opening it will say what is wrong
