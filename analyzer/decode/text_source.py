"""tcpdump's printed text as a source of packets, and the door by which all captures come in, text or not."""

from __future__ import annotations

import io
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.capture.bpf import filtered
from analyzer.capture.files import Path, open_capture
from analyzer.capture.opened import NotACapture
from analyzer.capture.records import CaptureInfo, Damage, Interface, OuterSource, Records
from analyzer.capture.rotation import is_capture
from analyzer.decode.printed_packets import Names, Packet, packets, timed
from analyzer.decode.tcpdump_text import Line, parse
from analyzer.errors import CaptureError
from analyzer.settings import Settings

if TYPE_CHECKING:
    from typing import IO

    from analyzer.capture.records import Source

_STDIN = "-"
_RAW, _SLL2 = 101, 276
_LOOK = 4096
_LONGEST_LINE = 1 << 16
_MOST_BYTES = 1 << 30
_DEFAULTS = Settings()


def open_source(
    paths: Path | Sequence[Path], *, bpf: str | None = None, follow: bool = False, settings: Settings = _DEFAULTS
) -> Source:
    """Open what ``open_capture`` opens, and tcpdump's printed text.

    Parameters
    ----------
    paths, bpf, follow, settings
        As for ``open_capture``. A single file or ``-`` may hold text; it is told by its content, and cannot be followed.

    Raises
    ------
    CaptureError, FilterError, MissingDependency
        As ``open_capture``; it also speaks for text in which there is no segment.
    """
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    path = os.fsdecode(named[0]) if len(named) == 1 else None
    if follow:
        if path is not None and _holds_text(path):
            raise CaptureError(f"{path}: this is text. Only captures can be followed (tcpdump -w); read it as it is.")
        return open_capture(named, bpf=bpf, follow=True, settings=settings)
    if path == _STDIN:
        return filtered(PipedSource(settings), bpf)
    try:
        return open_capture(named, bpf=bpf, settings=settings)
    except NotACapture as error:
        if path is None or not _is_text(error.begun):
            raise
        text = TextSource(path, settings)
        if not text.load():
            raise
    return filtered(text, bpf)


def _is_text(begun: bytes) -> bool:
    return bool(begun) and b"\0" not in begun[:_LOOK]


def _holds_text(path: str) -> bool:
    if not os.path.isfile(path) or is_capture(path):
        return False
    with open(path, "rb") as file:
        return _is_text(file.read(_LOOK))


class PipedSource(OuterSource):
    """Standard input: a capture, or text. What it is shows when the first batch is asked for.

    Parameters
    ----------
    settings
        Limits and sizes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__(open_capture(_STDIN, settings=settings))

    def batches(self) -> Iterator[Records]:
        """Yield the records."""
        try:
            yield from self._source.batches()
        except NotACapture as error:
            if not _is_text(error.begun):
                raise
            text = TextSource(_STDIN, self._settings, self.info, error.begun)
            if not text.load():
                raise
            self._source = text
            yield from text.batches()


class TextSource:
    """A ``Source`` over tcpdump's printed text.

    Parameters
    ----------
    path
        The file, or ``-`` for standard input.
    settings
        Limits and sizes.
    info
        What is known of the capture so far; by default nothing.
    begun
        What was read of standard input before.

    Notes
    -----
    The text is read as a whole before the first batch: only all of it tells whether its times are times of day or
    distances, and which lines repeat others. A text of more than 1 GiB is damage: what stands before is read.
    """

    def __init__(self, path: str, settings: Settings, info: CaptureInfo | None = None, begun: bytes = b"") -> None:
        self.info = info or CaptureInfo(files=[path])
        self.info.printed = True
        self._path = path
        self._room = settings.batch_records
        self._begun = begun
        self._lines: list[tuple[Line, int]] = []
        self._stopped = False

    def load(self) -> bool:
        """Read the text; returns whether there is a segment in it."""
        self._lines = timed(parse(self._text()))
        if self._lines:
            self.info.formats.append(f"tcpdump's printed text ({_clock(self._lines)})")
        return bool(self._lines)

    def _text(self) -> Iterator[str]:
        """Yield the lines; a longer one than anybody prints comes in parts."""
        with self._open() as file:
            left = _MOST_BYTES
            while left > 0 and (line := file.readline(_LONGEST_LINE)):
                left -= len(line)
                yield line.decode("utf-8", "replace")
            if left <= 0 and file.read(1):
                self.info.damage.append(
                    Damage(self._path, _MOST_BYTES, "a text of more than 1 GiB is not read further")
                )

    def _open(self) -> IO[bytes]:
        if self._path != _STDIN:
            return open(self._path, "rb")
        return io.BufferedReader(_Rest(self._begun))

    @property
    def size_hint(self) -> int | None:
        """How many segments the text holds."""
        return len(self._lines)

    @property
    def progress(self) -> float | None:
        """The part of the segments handed on so far."""
        return self.info.records / len(self._lines) if self._lines else None

    def batches(self) -> Iterator[Records]:
        """Yield the text's segments as packets."""
        names = Names()
        cooked = any(line.direction for line, _ in self._lines)
        made = packets(self._lines, names)
        while not self._stopped and (batch := list(itertools.islice(made, self._room))):
            for name in names.interfaces[len(self.info.interfaces) :]:
                self.info.interfaces.append(Interface(_SLL2, None if name == "any" else name))
            if not cooked and not self.info.interfaces:
                self.info.interfaces.append(Interface(_RAW))
            records = self._records(batch)
            self.info.records += len(batch)
            self.info.bytes += int(records.captured.sum(dtype=np.int64))
            self.info.names.update(names.known)
            yield records

    def _records(self, batch: list[Packet]) -> Records:
        count, first = len(batch), self.info.records + 1
        captured = np.array([len(packet.data) for packet in batch], np.int32)
        offset = np.zeros(count, np.int64)
        np.cumsum(captured[:-1], out=offset[1:])
        frame = np.arange(first, first + count, dtype=np.int64)
        return Records(
            data=np.frombuffer(b"".join(packet.data for packet in batch), np.uint8).copy(),
            offset=offset,
            captured=captured,
            wire=np.array([packet.wire for packet in batch], np.int64),
            time_ns=np.array([packet.time_ns for packet in batch], np.int64),
            interface=np.array([packet.interface for packet in batch], np.int32),
            frame=frame,
            file=np.zeros(count, np.int32),
            file_frame=frame,
            process=np.full(count, -1, np.int32),
            links=np.array([interface.link for interface in self.info.interfaces], np.int32),
        )

    def stop(self) -> None:
        """Let the batches end."""
        self._stopped = True

    def close(self) -> None:
        """Nothing is open."""


class _Rest(io.RawIOBase):
    """Standard input, from the bytes on that somebody has read already."""

    def __init__(self, begun: bytes) -> None:
        self._begun = begun
        stream = sys.stdin.buffer
        try:
            self._stream: IO[bytes] | io.FileIO = io.FileIO(stream.fileno(), "rb", closefd=False)
        except OSError:  # a stand-in without a descriptor
            self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        if self._begun:
            part, self._begun = self._begun[: len(view)], self._begun[len(view) :]
        else:
            part = self._stream.read(len(view)) or b""
        view[: len(part)] = part
        return len(part)


def _clock(lines: list[tuple[Line, int]]) -> str:
    kinds = {line.clock for line, _ in lines}
    if not kinds - {""}:
        return "without times"
    return "times without a date" if "day" in kinds else "local times" if "date" in kinds else "times since 1970"
