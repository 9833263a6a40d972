"""tcpdump's printed text as a source of packets, and the door by which all captures come in, text or not."""

from __future__ import annotations

import codecs
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.capture.bpf import filtered
from analyzer.capture.files import Path, open_capture
from analyzer.capture.opened import NotACapture, opened_stream
from analyzer.capture.pipes import STDIN
from analyzer.capture.records import CaptureInfo, Damage, Interface, OuterSource, Records
from analyzer.capture.rotation import is_capture
from analyzer.decode.printed_packets import Names, Packet, packets, timed
from analyzer.decode.tcpdump_text import Line, parse
from analyzer.errors import CaptureError
from analyzer.settings import Settings

if TYPE_CHECKING:
    from analyzer.capture.records import Source
    from analyzer.capture.window import Stream

_RAW, _SLL2 = 101, 276
_LOOK = 4096
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  #: what PowerShell's > begins with
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
    if path == STDIN:
        return filtered(PipedSource(settings), bpf)
    try:
        return open_capture(named, bpf=bpf, settings=settings)
    except NotACapture as error:
        if path is None or not _is_text(error.begun):
            raise
        text = TextSource(path, settings)
        if not text.load():
            raise _no_segments(path, error) from None
    return filtered(text, bpf)


def _is_text(begun: bytes) -> bool:
    return begun.startswith(_UTF16) or (bool(begun) and b"\0" not in begun[:_LOOK])


def _no_segments(path: str, error: NotACapture) -> CaptureError:
    begins = error.begun[:8].hex(" ")
    return CaptureError(
        f"{path}: neither pcap nor pcapng nor snoop (it begins with {begins}), nor text with TCP segments as tcpdump prints "
        "them (-q leaves out too much). Name a file written by tcpdump -w."
    )


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
        super().__init__(open_capture(STDIN, settings=settings))

    def batches(self) -> Iterator[Records]:
        """Yield the records."""
        try:
            yield from self._source.batches()
        except NotACapture as error:
            if not _is_text(error.begun):
                raise
            text = TextSource(STDIN, self._settings, self.info, (error.begun, error.stream))
            if not text.load():
                raise _no_segments(STDIN, error) from None
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
    opened
        Of standard input: what was read of it before, and where the rest comes from.

    Notes
    -----
    The text is read as a whole before the first batch: only all of it tells whether its times are times of day or
    distances, and which lines repeat others. A text of more than 1 GiB is damage: what stands before is read.
    """

    def __init__(
        self,
        path: str,
        settings: Settings,
        info: CaptureInfo | None = None,
        opened: tuple[bytes, Stream] | None = None,
    ) -> None:
        self.info = info or CaptureInfo(files=[path])
        self.info.printed = True
        self._path = path
        self._room = settings.batch_records
        self._opened = opened
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
        begun, stream = self._opened or opened_stream(self._path)
        encoding = "utf-16" if begun.startswith(_UTF16) else "utf-8-sig"
        octets = _Octets(begun, stream)
        with io.TextIOWrapper(io.BufferedReader(octets), encoding, "replace", newline="\n") as file:
            while octets.read_so_far < _MOST_BYTES and (line := file.readline(_LONGEST_LINE)):
                yield line
            if octets.read_so_far >= _MOST_BYTES and file.read(1):
                self.info.damage.append(
                    Damage(self._path, _MOST_BYTES, "a text of more than 1 GiB is not read further")
                )
        if stream.damage:
            self.info.damage.append(Damage(self._path, octets.read_so_far, stream.damage))

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


class _Octets(io.RawIOBase):
    """A stream as a file, from the bytes on that somebody has read already."""

    def __init__(self, begun: bytes, stream: Stream) -> None:
        self._begun, self._stream = begun, stream
        self.read_so_far = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        if self._begun:
            part, self._begun = self._begun[: len(view)], self._begun[len(view) :]
            view[: len(part)] = part
            count = len(part)
        else:
            count = self._stream.readinto(view)
        self.read_so_far += count
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


def _clock(lines: list[tuple[Line, int]]) -> str:
    kinds = {line.clock for line, _ in lines}
    if not kinds - {""}:
        return "without times"
    return "times without a date" if "day" in kinds else "local times" if "date" in kinds else "times since 1970"
