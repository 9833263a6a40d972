"""Opening captures: one file, several, a folder, or a pipe."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from analyzer.capture.bpf import filtered
from analyzer.capture.follow import FollowedSource
from analyzer.capture.interfaces import InterfaceTable
from analyzer.capture.merged import MergedSource
from analyzer.capture.opened import OpenedFile, open_raw
from analyzer.capture.pipes import STDIN
from analyzer.capture.records import CaptureInfo, Damage, Records, Source
from analyzer.capture.rotation import expand
from analyzer.capture.window import PlainStream
from analyzer.errors import CaptureError
from analyzer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Path = str | os.PathLike[str]

#: A fair lower bound of a record's length in a file: with it, a hint is rather too large than too small.
_RECORD_BYTES = 90

_DEFAULTS = Settings()


def open_capture(
    paths: Path | Sequence[Path], *, bpf: str | None = None, follow: bool = False, settings: Settings = _DEFAULTS
) -> Source:
    """Open one capture file, several, a folder of them, or a pipe.

    Parameters
    ----------
    paths
        A file, a folder (all captures in it, told by their content), a pattern such as ``rot*.pcap*``, ``-`` for
        standard input, or several of these, which are read as one capture in time order. pcap, pcapng and snoop, plain
        or in gzip, xz, zstd or lz4.
    bpf
        A capture filter in tcpdump's language; records that it refuses are left out, and counted in
        ``info.filtered_out``.
    follow
        Go on as the capture grows or is rotated, as ``tail -F`` does, until ``stop``; while nothing comes the source
        yields an empty batch every 100 ms. See ``FollowedSource``.
    settings
        Limits and sizes.

    Raises
    ------
    CaptureError
        There is nothing to read: missing, unreadable, empty, not a capture, a folder without captures. For a pipe, and
        where none of several files can be read, it comes with the first batch. A pipe cannot be followed.
    FilterError
        libpcap does not compile the filter; raised with the first batch, when the link type is known.
    MissingDependency
        libpcap, zstandard or lz4 is missing.
    """
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not named:
        raise CaptureError("no capture named. Name a file, a folder, or - for a pipe.")
    texts = [os.fsdecode(path) for path in named]
    files = [file for path in texts for file in expand(path)]
    if files.count(STDIN) > 1:
        raise CaptureError("-: standard input can be read once only. Name it once.")
    source: Source
    if follow:
        source = FollowedSource(texts, settings)
    else:
        source = FileSource(files[0], settings) if len(files) == 1 else MergedSource(files, settings)
    return filtered(source, bpf)


class FileSource:
    """A ``Source`` over one file or pipe."""

    def __init__(self, path: str, settings: Settings) -> None:
        self.info = CaptureInfo(files=[path])
        self._path = path
        self._settings = settings
        self._table = InterfaceTable(self.info)
        self._stream: PlainStream | None = None
        self._opened: OpenedFile | None = None
        self._stopped = False
        if path != STDIN and (not os.path.exists(path) or os.path.isfile(path)):
            self._open()  # what waits for nobody is looked at now

    def _open(self) -> OpenedFile:
        if self._opened is None:
            settings = self._settings
            buffer = np.empty(max(64, settings.buffer_bytes), np.uint8)
            self._stream = PlainStream(*open_raw(self._path))
            if self._stopped:
                self._stream.stop()
            self._opened = OpenedFile(
                self._path, self._table, settings.batch_records, settings.record_limit_bytes, buffer, self._stream
            )
            self.info.formats.append(self._opened.format)
        return self._opened

    @property
    def size_hint(self) -> int | None:
        """About how many records there will be."""
        opened = self._opened
        if opened is None or opened.size is None or opened.compressed:
            return None
        if self.info.records:
            return opened.size * self.info.records // opened.consumed + 1
        return opened.size // _RECORD_BYTES + 1

    @property
    def progress(self) -> float | None:
        """The part of the file's bytes read so far."""
        opened = self._opened
        return min(1.0, opened.consumed / opened.size) if opened and opened.size else None

    def batches(self) -> Iterator[Records]:
        """Yield the file's records."""
        reader, info = self._open().reader, self.info
        room = self._settings.batch_records
        numbers = np.arange(1, room + 1)
        frame = np.empty(room, np.int64)
        file = np.zeros(room, np.int32)
        columns = reader.columns
        while count := reader.read():
            np.add(numbers[:count], info.records, out=frame[:count])
            info.records += count
            info.bytes += int(columns.captured[:count].sum(dtype=np.int64))
            reader.notes.hand_to(info, self._path)
            yield columns.records(count, reader.window.data, frame, file, frame, self._table.links)
            if self._stopped and not reader.window.stream.waits:
                return
        reader.notes.hand_to(info, self._path)
        if reader.damage:
            info.damage.append(Damage(self._path, *reader.damage))

    def stop(self) -> None:
        """Let ``batches`` end after the batch at hand; of a pipe after what comes within a second."""
        self._stopped = True
        if self._stream is not None:
            self._stream.stop()

    def close(self) -> None:
        """Close the file."""
        if self._opened:
            self._opened.close()
