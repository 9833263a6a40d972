"""One capture file, opened: told by its content what it is, and given its reader."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, cast

import numpy as np

from analyzer.capture import pcap, pcapng, snoop
from analyzer.capture.compressed import CompressedStream, decompressed
from analyzer.capture.pipes import STDIN, waits
from analyzer.capture.window import PlainStream, Raw, Stream, Window
from analyzer.errors import CaptureError

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzer.capture.interfaces import InterfaceTable
    from analyzer.capture.reader import Reader

#: Enough for every magic number that is looked for, and for pcap's whole header.
_PREFIX = pcap.FILE_HEADER

#: What people hand over by mistake: first bytes, what it is, what to do.
_STRANGERS = (
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"BZh", "bzip2-compressed", "bzip2 -dc {0} | analyzer read - reads it"),
    (b"\x02\x21\x4c\x18", "compressed by an lz4 of before 2013", "lz4 -dc {0} | analyzer read - reads it"),
    (b"\x1f\x9d", "compressed by compress(1)", "zcat {0} | analyzer read - reads it"),
    (b"TRSNIFF data", "a Sniffer capture", "editcap -F pcap {0} OUT converts it"),
    (b"GMBU", "a Network Monitor capture", "editcap -F pcap {0} OUT converts it"),
    (b"RTSS", "a Network Monitor capture", "editcap -F pcap {0} OUT converts it"),
)


class NotACapture(CaptureError):  # noqa: N818  # named for what it is, as its parent tree is
    """What was opened is nothing that is known here.

    Attributes
    ----------
    begun : bytes
        What has been read of it, decompressed, for whoever knows more formats: a pipe cannot be read twice.
    stream : Stream
        Where the rest of standard input comes from; that of a file is closed.
    """

    def __init__(self, message: str, begun: bytes, stream: Stream) -> None:
        super().__init__(message)
        self.begun, self.stream = begun, stream


class OpenedFile:
    """A capture file with its stream, window and reader.

    Parameters
    ----------
    path
        The file, or ``-`` for standard input.
    table
        Where its interfaces are entered.
    room
        Records in a batch.
    limit
        ``Settings.record_limit_bytes``.
    buffer
        The buffer to read through; it is kept until ``close``.
    plain
        The file as a stream, where it is no plain one.

    Raises
    ------
    CaptureError
        It cannot be opened or is not a capture.
    """

    def __init__(
        self,
        path: str,
        table: InterfaceTable,
        room: int,
        limit: int,
        buffer: npt.NDArray[np.uint8],
        plain: PlainStream | None = None,
    ) -> None:
        self.path = path
        self._plain = plain or PlainStream(*open_raw(path))
        try:
            self.window, compression = _window(path, self._plain, buffer)
            self.reader = _reader(path, self.window, table, room, limit)
        except BaseException:
            self._plain.close()
            raise
        self.compressed = compression is not None
        self.format = self.reader.format + (f" in {compression}" if compression else "")

    @property
    def size(self) -> int | None:
        """Bytes on disk; None for a pipe."""
        return self._plain.size

    @property
    def consumed(self) -> int:
        """Bytes of ``size`` that are behind us."""
        return self._plain.position() if self.compressed else self.window.offset

    def stop(self) -> None:
        """Let a pipe end with what comes within a second."""
        self._plain.stop()

    def close(self) -> None:
        """Close the file."""
        self._plain.close()


def opened_stream(path: str) -> tuple[bytes, Stream]:
    """Open a file of whatever content: its first bytes, decompressed, and where the rest comes from.

    Raises
    ------
    CaptureError
        It cannot be opened, or is empty.
    """
    plain = PlainStream(*open_raw(path))
    try:
        window, _ = _window(path, plain, np.empty(4096, np.uint8))
    except BaseException:
        plain.close()
        raise
    return window.data[: window.end].tobytes(), window.stream


def open_raw(path: str) -> tuple[Raw, bool]:
    """Open for unbuffered reading; the flag tells whether it is ours to close."""
    if path == STDIN:
        return _standard_input(), False
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return open(path, "rb", buffering=0, opener=_without_waiting), True
    except FileNotFoundError as error:
        raise CaptureError(f"{path}: no such file. Check the name and the folder ({os.getcwd()}).") from error
    except PermissionError as error:
        raise CaptureError(
            f"{path}: you may not read this file. Try sudo, or have its owner give you a copy."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CaptureError(f"{path}: cannot be opened ({reason}). Name a capture file.") from error


def _without_waiting(path: str, flags: int) -> int:
    """Open a named pipe before somebody writes to it: who waits in ``open`` cannot be stopped."""
    return os.open(path, flags | os.O_NONBLOCK if sys.platform == "linux" and waits(path) else flags)


def _standard_input() -> Raw:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or stream.closed:
        raise CaptureError("-: standard input is closed. Pipe a capture in: tcpdump -i any -w - | analyzer read -")
    if stream.isatty():
        raise CaptureError("-: standard input is a terminal. Pipe a capture in: tcpdump -i any -w - | analyzer read -")
    try:
        return io.FileIO(stream.fileno(), "rb", closefd=False)
    except OSError:  # a stand-in without a descriptor
        return cast("Raw", stream)


def _window(path: str, plain: PlainStream, buffer: npt.NDArray[np.uint8]) -> tuple[Window, str | None]:
    """Look at the first bytes and set up the window over the plain or the decompressed bytes."""
    window = Window(plain, buffer)
    prefix = _prefix(window)
    if not prefix and not plain.damage:
        what = "nothing came through the pipe" if plain.waits else "the file is empty"
        raise CaptureError(f"{path}: {what}. Capture again, or look at why tcpdump stopped.")
    packed: Stream | None = decompressed(plain, window.data[: window.end].tobytes()) if prefix else None
    if not isinstance(packed, CompressedStream):
        return window, None
    window = Window(packed, window.data)
    if not _prefix(window):
        reason = packed.damage or "there is nothing in it"
        raise CaptureError(f"{path}: {reason}. Compress or copy the capture again.")
    return window, packed.name


def _prefix(window: Window) -> bytes:
    while window.end < _PREFIX and window.fill(_PREFIX):
        pass
    return window.data[: min(window.end, _PREFIX)].tobytes()


def _reader(path: str, window: Window, table: InterfaceTable, room: int, limit: int) -> Reader:
    prefix = window.data[: min(window.end, _PREFIX)].tobytes()
    if window.stream.damage and len(prefix) < _PREFIX:
        raise CaptureError(f"{path}: {window.stream.damage} before the first packet. Copy or capture it again.")
    if prefix[:4] in pcap.MAGICS:
        if len(prefix) < pcap.FILE_HEADER:
            raise CaptureError(
                f"{path}: the file ends inside its header ({len(prefix)} of {pcap.FILE_HEADER} bytes). Capture again."
            )
        return pcap.PcapReader(window, table, room, limit)
    if prefix.startswith(snoop.MAGIC):
        if len(prefix) < snoop.FILE_HEADER:
            raise CaptureError(
                f"{path}: the file ends inside its header ({len(prefix)} of {snoop.FILE_HEADER} bytes). Capture again."
            )
        try:
            return snoop.SnoopReader(window, table, room, limit)
        except CaptureError as error:
            raise CaptureError(f"{path}: this is {error}") from None
    if prefix[:4] == pcapng.MAGIC:
        reader = pcapng.PcapngReader(window, table, room, limit)
        if reader.damage:
            offset, what = reader.damage
            raise CaptureError(f"{path}: its pcapng header cannot be read: {what} (byte {offset}). Capture again.")
        return reader
    for magic, what, advice in _STRANGERS:
        if prefix.startswith(magic):
            raise CaptureError(f"{path}: this is {what}, not pcap, pcapng or snoop; {advice.format(path)}.")
    raise NotACapture(
        f"{path}: neither pcap nor pcapng nor snoop (it begins with {prefix[:8].hex(' ')}). "
        "Name a file written by tcpdump -w.",
        window.data[: window.end].tobytes(),
        window.stream,
    )
