"""A pcapng file that is written while packets come, one after another if it is to be rotated.

pcapng (draft-ietf-opsawg-pcapng): times in nanoseconds, the interface's name and, at the end, how many packets were lost
stay with the packets, so that a capture read again says the same as it did live.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.capture.records import OWN_NAME, Records
from analyzer.errors import CaptureError
from analyzer.kernel import kernel, part

if TYPE_CHECKING:
    from typing import BinaryIO

    from analyzer.capture.records import Interface

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_APPLICATION, _NAME, _RESOLUTION, _BEGAN, _ENDED, _RECEIVED, _DROPPED = 4, 2, 9, 2, 3, 4, 7
_NANOSECONDS = 9
_HEAD = 28  #: an enhanced packet block's words before the packet; 4 more bytes behind it


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where a capture is written."""

    path: str  #: with ``rotate_s`` it may hold ``strftime``'s letters, as tcpdump's ``-G`` has it
    rotate_bytes: int | None = None  #: begin another file when this one has so many bytes: PATH1, PATH2, ...
    rotate_s: float | None = None  #: begin another when it is so old
    files: int | None = None  #: keep so many, the newest


class CaptureWriter:
    """Writes batches of records of one interface.

    Parameters
    ----------
    target
        The file, and when to begin another.
    interface
        Theirs.
    began_ns
        When capturing began; of a file that is begun later that is then.

    Raises
    ------
    CaptureError
        The file cannot be written.
    """

    def __init__(self, target: Target, interface: Interface, began_ns: int) -> None:
        self._target, self._interface = target, interface
        self.paths: list[pathlib.Path] = []  #: those that are there, the oldest first
        self._begun = 0
        self._buffer = np.zeros(1 << 16, np.uint8)
        self._file = self._next(began_ns)

    def write(self, records: Records) -> None:
        """Append the records.

        Raises
        ------
        CaptureError
            The disk is full, or so.
        """
        begin, count = 0, len(records.offset)
        while begin < count:
            if (self._target.rotate_bytes and self._bytes >= self._target.rotate_bytes) or (
                self._target.rotate_s and time.monotonic() - self._since_s >= self._target.rotate_s
            ):
                self._finish()
                self._file = self._next(time.time_ns())
            end = self._fitting(records, begin)
            self._write(Records._make([records.data, *(column[begin:end] for column in records[1:-1]), records.links]))
            begin = end

    def _fitting(self, records: Records, begin: int) -> int:
        """Return up to which record the file takes them: the one that reaches the size is its last, as tcpdump has it."""
        if not self._target.rotate_bytes:
            return len(records.offset)
        sizes = (records.captured[begin:].astype(np.int64) + 3 & ~3) + (_HEAD + 4)
        return begin + 1 + int(np.searchsorted(np.cumsum(sizes), self._target.rotate_bytes - self._bytes))

    def _write(self, records: Records) -> None:
        most = int(records.captured.sum(dtype=np.int64)) + (_HEAD + 8) * len(records.offset)
        if most > len(self._buffer):
            self._buffer = np.zeros(2 * most, np.uint8)
        filled = pack_records(
            records.data, records.offset, records.captured, records.wire, records.time_ns, self._buffer
        )
        self._put(memoryview(self._buffer)[:filled])  # type: ignore[arg-type]
        self._packets += len(records.offset)

    def close(self, ended_ns: int | None = None, dropped: int | None = None) -> None:
        """End the file with when the capture has ended and what was lost on the way."""
        self._finish(ended_ns, dropped)

    def _next(self, began_ns: int) -> BinaryIO:
        name = time.strftime(self._target.path) if self._target.rotate_s else self._target.path
        if self._begun and (name == self._target.path or pathlib.Path(name) in self.paths):
            name = f"{name}{self._begun}"
        self._begun += 1
        path = pathlib.Path(name)
        self._bytes = self._packets = 0
        self._since_s, self._began_ns = time.monotonic(), began_ns
        try:
            file = path.open("wb", buffering=0)
        except OSError as error:
            raise CaptureError(f"{path}: cannot be written ({error.strerror}).") from error
        self.paths.append(path)
        if self._target.files and len(self.paths) > self._target.files:
            self.paths.pop(0).unlink(missing_ok=True)
        self._file = file
        section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _option(_APPLICATION, OWN_NAME) + bytes(4)
        interface = struct.pack("<HHI", self._interface.link, 0, self._interface.snap_length)
        name_option = _option(_NAME, os.fsencode(self._interface.name or ""))
        resolution = _option(_RESOLUTION, bytes([_NANOSECONDS]))
        self._put(_block(_SECTION, section) + _block(_INTERFACE, interface + name_option + resolution + bytes(4)))
        return file

    def _finish(self, ended_ns: int | None = None, dropped: int | None = None) -> None:
        ended = b"" if ended_ns is None else _option(_ENDED, _timestamp(ended_ns))
        counts = _option(_RECEIVED, struct.pack("<Q", self._packets))
        if dropped is not None:
            counts += _option(_DROPPED, struct.pack("<Q", dropped))
        began = _option(_BEGAN, _timestamp(self._began_ns))
        self._put(_block(_STATISTICS, bytes(4) + _timestamp(time.time_ns()) + began + ended + counts + bytes(4)))
        self._file.close()

    def _put(self, octets: bytes | memoryview) -> None:
        view = memoryview(octets)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise CaptureError(f"{self.paths[-1]}: cannot be written ({error.strerror}).") from error
        self._bytes += len(octets)


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _timestamp(time_ns: int) -> bytes:
    """The upper half first, whatever the byte order."""
    low, high = struct.unpack("<II", struct.pack("<Q", time_ns))
    return struct.pack("<II", high, low)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


@part
def _put_word(out: Any, at: int, word: int) -> None:
    out[at] = word & 0xFF
    out[at + 1] = (word >> 8) & 0xFF
    out[at + 2] = (word >> 16) & 0xFF
    out[at + 3] = (word >> 24) & 0xFF


@kernel
def pack_records(data: Any, offset: Any, captured: Any, wire: Any, time_ns: Any, out: Any) -> int:
    """Write an enhanced packet block (little-endian) for each record; returns the bytes written."""
    at = 0
    for i in range(len(offset)):
        length = captured[i]
        padded = (length + 3) & ~3
        whole = padded + _HEAD + 4
        _put_word(out, at, _PACKET)
        _put_word(out, at + 4, whole)
        _put_word(out, at + 8, 0)
        _put_word(out, at + 12, time_ns[i] >> 32)
        _put_word(out, at + 16, time_ns[i])
        _put_word(out, at + 20, length)
        _put_word(out, at + 24, wire[i])
        begin = at + _HEAD
        for k in range(length):
            out[begin + k] = data[offset[i] + k]
        for k in range(length, padded):
            out[begin + k] = 0
        _put_word(out, begin + padded, whole)
        at = begin + padded + 4
    return at
