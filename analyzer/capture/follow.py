"""Following a capture that is being written, as ``tail -F`` follows a log: it grows, and it is rotated.

A file that grows is read like a pipe: what is there is handed on, a record that is there in part waits for its rest. It
is left when a later file of its set has begun, when another one has taken its name, or when it was written anew from
its start; before that it is read to its end once more, for its writer has closed it by then.
"""

from __future__ import annotations

import contextlib
import os
import stat as modes
import time
from typing import TYPE_CHECKING

import numpy as np

from analyzer.capture.interfaces import InterfaceTable
from analyzer.capture.merged import MergedSource
from analyzer.capture.opened import OpenedFile, open_raw
from analyzer.capture.pipes import STDIN
from analyzer.capture.reader import Columns
from analyzer.capture.records import CaptureInfo, Damage, Records
from analyzer.capture.rotation import RotatedSet, is_capture, is_pattern, natural, unpacked
from analyzer.capture.window import PlainStream
from analyzer.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from analyzer.settings import Settings

#: How often a file is looked at while nothing comes, and how long until an empty batch.
_POLL_S, _IDLE_S = 0.02, 0.1
#: So many bytes tell a file from what is written over it: they hold the first record's time.
_HEAD = 64
#: A file with fewer bytes has not begun.
_BEGUN = 28


class GrowingStream(PlainStream):
    """A regular file that may yet grow; its end is reached once it is ``over``.

    Parameters
    ----------
    path
        The file.
    left
        Says whether nothing more is to be waited for.
    """

    def __init__(self, path: str, left: Callable[[], bool]) -> None:
        raw, owned = open_raw(path)
        super().__init__(raw, owned)
        self.size = None
        self.waits = True
        self.over = False
        self.limit: int | None = None  #: how far to read, once it has been decided
        self._left = left
        self._rewritten = False
        self._file = raw.fileno()
        status = os.fstat(self._file)
        self.identity = status.st_dev, status.st_ino
        self.head = os.pread(self._file, _HEAD, 0)

    def readinto(self, view: memoryview) -> int:
        """Read once; waits at the file's end for more."""
        while True:
            over = self.over
            count = super().readinto(view)
            # What is written over it must not be read as its continuation: the look comes after the reading.
            if self.rewritten():
                self.over = True
                return 0
            if count or over or self.damage:
                return count
            if self._left():
                self.over = True  # what came meanwhile is read first
            else:
                time.sleep(_POLL_S)

    def ready(self) -> bool:
        """Whether a read would not wait."""
        reached = self.reached() if self.limit is None else self.limit
        return self.over or reached > self.position()

    def reached(self) -> int:
        """Bytes that the file has now."""
        return os.fstat(self._file).st_size

    def rewritten(self) -> bool:
        """Whether somebody has begun to write it anew."""
        if not self._rewritten:
            now = os.pread(self._file, _HEAD, 0)
            self._rewritten = not now.startswith(self.head) or self.reached() < self.position()
            if not self._rewritten:
                self.head = now
        return self._rewritten


class FollowedSource:
    """A ``Source`` over a capture that is being written; it ends with ``stop``.

    Of several files, a folder's or a pattern's, those that are there come first, as one capture in time order; the one
    changed last is followed. Of a single file named ``in`` the ones that tcpdump writes after it are ``in1``, ``in2``
    and so on, or with ``-W`` ``in0`` again after the last; for names by time (``-G``) give a pattern or the folder.

    Parameters
    ----------
    paths
        As for ``open_capture``.
    settings
        Limits and sizes.

    Raises
    ------
    CaptureError
        It is missing or a pipe, which needs no following. With the first batch: it is not a capture.
    """

    def __init__(self, paths: Sequence[str], settings: Settings) -> None:
        self.info = CaptureInfo()
        self._settings = settings
        self._table = InterfaceTable(self.info)
        self._single = len(paths) == 1 and not is_pattern(paths[0]) and not os.path.isdir(paths[0])
        for path in paths:
            _check(path)
        self._paths = paths
        self._set = RotatedSet(paths)
        self._stopped = False  # a mere flag: a signal handler may stop us wherever we are
        self._opened: OpenedFile | None = None
        self._stream: GrowingStream | None = None
        self._backlog: MergedSource | None = None
        self._heads: dict[tuple[int, int], bytes] = {}  #: of the files that are behind us, by device and inode
        self._seen: dict[str, tuple[int, ...]] = {}  #: what a file looked like when it was no next one
        self._there: dict[tuple[int, int], int] | None = None  #: once stopped: how far the files then there are read

    @property
    def size_hint(self) -> int | None:
        """Nobody can tell."""
        return None

    @property
    def progress(self) -> float | None:
        """Nobody can tell."""
        return None

    def stop(self) -> None:
        """Let ``batches`` end after what is there, in later files too; from any thread, also from a signal handler."""
        self._stopped = True

    def close(self) -> None:
        """Close what is open; may be called again."""
        if self._backlog:
            self._backlog.close()
        if self._opened:
            self._opened.close()
            self._opened = self._stream = None

    def batches(self) -> Iterator[Records]:
        """Yield what is there, then what comes; an empty batch every 100 ms while nothing does."""
        path = self._start()
        if self._backlog:
            with contextlib.suppress(CaptureError):  # each of them stands in the damage
                yield from self._backlog.batches()
            self._backlog.close()
        while path is not None or not self._stopped:
            if path is None:
                self._wait(None)
                yield self._records(None, 0)
            elif self._open(path):
                yield from self._follow(path)
            path = self._next()

    def _start(self) -> str | None:
        """The file to follow first; those before it become the backlog."""
        present = [path for path in self._set.files() if _size(path) >= _BEGUN]
        if self._single:
            first = self._paths[0]
            # What was written before the file that was named is not asked for.
            for path in present:
                # Clocks of file systems are coarse: of two changed at once the names tell.
                if path != first and (_changed(path), natural(path)) <= (_changed(first), natural(first)):
                    self._pass(path)
            return first if first in present else None
        captures = [path for path in present if is_capture(path)]
        captures.sort(key=lambda path: (_changed(path), natural(path)))
        if captures[:-1]:
            for path in captures[:-1]:
                self._pass(path)
            self._backlog = MergedSource(sorted(captures[:-1], key=natural), self._settings, self._table)
        return captures[-1] if captures else None

    def _pass(self, path: str) -> None:
        """Count a file among those behind us."""
        with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            self._heads[status.st_dev, status.st_ino] = file.read(_HEAD)

    def _next(self) -> str | None:
        """The file that has begun after the one at hand: of several the one changed first."""
        candidates = []
        present = self._set.files()
        for path in present:
            if path != unpacked(path) and (unpacked(path) in self.info.files or unpacked(path) in present):
                continue
            try:
                status = os.stat(path)
            except OSError:
                continue
            identity = status.st_dev, status.st_ino
            looks = _looks(status)
            here = self._stream is not None and identity == self._stream.identity
            if here or status.st_size < _BEGUN or self._seen.get(path) == looks:
                continue
            if self._stopped and identity not in self._at_stop():
                continue
            if self._is_behind(path, identity) or not is_capture(path):
                self._seen[path] = looks
            else:
                candidates.append((status.st_mtime_ns, natural(path), path))
        return min(candidates)[2] if candidates else None

    def _at_stop(self) -> dict[tuple[int, int], int]:
        """The files that were there when the stop was noticed and are to be read yet, and how far: their size then."""
        if self._there is None:
            self._there = {}
            for path in self._set.files():
                with contextlib.suppress(OSError):
                    status = os.stat(path)
                    self._there[status.st_dev, status.st_ino] = status.st_size
        return self._there

    def _is_behind(self, path: str, identity: tuple[int, int]) -> bool:
        """Whether it is a file that has been read, perhaps under another name, and not one written over it."""
        head = self._heads.get(identity)
        if head is None:
            return False
        with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
            return file.read(_HEAD).startswith(head)
        return True

    def _is_left(self) -> bool:
        """Whether to wait for the file at hand no longer."""
        stream = self._stream
        return self._stopped or stream is None or stream.rewritten() or self._next() is not None

    def _open(self, path: str) -> bool:
        """Open a file; one that cannot be read is damage, unless it is all that there is."""
        settings = self._settings
        buffer = np.empty(max(64, settings.buffer_bytes), np.uint8)
        stream = None
        try:
            stream = self._stream = GrowingStream(path, self._is_left)
            self._opened = OpenedFile(
                path, self._table, settings.batch_records, settings.record_limit_bytes, buffer, stream
            )
        except CaptureError as error:
            if stream:
                self._heads[stream.identity] = stream.head
                stream.close()
            with contextlib.suppress(OSError):
                self._seen[path] = _looks(os.stat(path))  # it is not tried again as it is
            self._stream = None
            if not self.info.files and not self._stopped:
                raise
            self.info.damage.append(Damage(path, 0, str(error).removeprefix(f"{path}: ")))
            return False
        if self._opened.compressed:
            stream.over = True  # nobody adds to such a file packet by packet
        self._opened.reader.patient = not self._opened.compressed
        self.info.files.append(path)
        self.info.formats.append(self._opened.format)
        return True

    def _follow(self, path: str) -> Iterator[Records]:
        """Yield one file's records until it is over, or ``stop``."""
        opened, stream = self._opened, self._stream
        if opened is None or stream is None:
            return
        reader, last = opened.reader, False
        while not reader.done:
            count = reader.read()
            if count:
                reader.notes.hand_to(self.info, path)
                yield self._records(opened, count)
            if self._stopped:
                if stream.limit is None:
                    stream.limit = self._at_stop().pop(stream.identity, stream.reached())
                last = self._next() is None
                if not count and last:
                    break
                stream.over |= not count
            elif not count and not reader.done:
                # In this order: what was written before the next file began is there now.
                if self._is_left():
                    stream.over = True
                else:
                    self._wait(stream)
                    if not stream.ready():
                        yield self._records(None, 0)
        reader.notes.hand_to(self.info, path)
        # Who stops in the middle of the last file's last record has not met a damaged file.
        if reader.damage and not (last and reader.cut):
            self.info.damage.append(Damage(path, *reader.damage))
        self._heads[stream.identity] = stream.head
        opened.close()
        self._opened = self._stream = None

    def _wait(self, stream: GrowingStream | None) -> None:
        """Wait until there is more to read, for a while."""
        deadline = time.monotonic() + _IDLE_S
        while not self._stopped and not (stream and stream.ready()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _records(self, opened: OpenedFile | None, count: int) -> Records:
        """The batch just read, or an empty one."""
        columns = opened.reader.columns if opened else Columns(1)
        begin = self.info.records
        self.info.records += count
        self.info.bytes += int(columns.captured[:count].sum(dtype=np.int64))
        taken = opened.reader.taken if opened else 0
        return columns.records(
            count,
            opened.window.data if opened else np.zeros(0, np.uint8),
            np.arange(begin + 1, begin + count + 1),
            np.full(count, len(self.info.files) - 1, np.int32),
            np.arange(taken - count + 1, taken + 1),
            self._table.links,
        )


def _check(path: str) -> None:
    """Refuse what cannot be followed."""
    if path == STDIN:
        raise CaptureError("-: a pipe is read as it comes anyway. Do not ask to follow it.")
    if is_pattern(path):
        return
    try:
        mode = os.stat(path).st_mode
    except OSError:
        open_raw(path)[0].close()  # it says what is wrong
        return
    if not (modes.S_ISREG(mode) or modes.S_ISDIR(mode)):
        raise CaptureError(f"{path}: a pipe is read as it comes anyway. Do not ask to follow it.")
    if modes.S_ISREG(mode):
        open_raw(path)[0].close()


def _looks(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is replaced or written to."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
