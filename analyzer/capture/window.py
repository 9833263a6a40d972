"""The reused buffer through which every capture flows.

Fresh memory costs more than the reading, so a file has one buffer: the bytes that no record has taken yet move to its
front, and ``readinto`` fills the rest. A plain file, a pipe and a decompressor all come in by this door.
"""

from __future__ import annotations

import io
import math
import select
import stat as modes
import time
from os import fstat
from typing import Protocol

import numpy as np
import numpy.typing as npt

_LOOK_S = 0.1  #: so often a pipe that gives nothing is asked whether it was stopped
_LAST_S = 1.0  #: so long a pipe that was stopped may go on: what tcpdump writes when it is ended too still comes


class Raw(Protocol):
    """The part of an unbuffered binary file that is used here."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read once; None from a non-blocking pipe that has nothing."""
        ...

    def fileno(self) -> int:
        """The descriptor."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move."""
        ...

    def close(self) -> None:
        """Close."""
        ...


class Stream(Protocol):
    """Where bytes come from."""

    damage: str | None  #: why the stream ended before its end, once it has
    waits: bool  #: whether it can have nothing to give for a while, as a pipe

    def readinto(self, view: memoryview) -> int:
        """Fill some of the view; 0 at the end. Waits only while there is nothing at all to give."""
        ...

    def ready(self) -> bool:
        """Whether another ``readinto`` would not wait for somebody else."""
        ...

    def position(self) -> int:
        """Bytes taken from the file itself, before decompression."""
        ...

    def skip(self, count: int) -> int:
        """Pass over up to ``count`` bytes without reading them where that is possible; returns how many were."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class PlainStream:
    """A file, a pipe or standard input as it is."""

    def __init__(self, raw: Raw, owned: bool = True) -> None:
        self.damage: str | None = None
        self.waits = False
        self.size: int | None = None
        self._raw = raw
        self._owned = owned
        self._position = 0  #: in bytes from where reading began
        self._until_s = math.inf
        try:
            status = fstat(raw.fileno())
        except OSError:  # an in-memory stand-in for standard input
            return
        if modes.S_ISREG(status.st_mode):
            self.size = status.st_size
        else:
            self.waits = True
            _widen(raw.fileno())

    def readinto(self, view: memoryview) -> int:
        """Read once; 0 also where a pipe was stopped and nothing more came."""
        try:
            count = None
            while count is None:  # a pipe that does not block has nothing yet
                if self.waits and not self._comes():
                    return 0
                count = self._raw.readinto(view)
        except OSError as error:
            self.damage = f"reading stopped: {error.strerror or error}"
            return 0
        self._position += count
        return count

    def ready(self) -> bool:
        """A file is always ready; a pipe is when something lies in it."""
        return not self.waits or (hasattr(select, "poll") and self._poll(0))  # Windows: take one read at a time

    def stop(self) -> None:
        """Let a pipe end with what comes within a second; from any thread or signal handler."""
        self._until_s = min(self._until_s, time.monotonic() + _LAST_S)

    def _comes(self) -> bool:
        """Wait until there is something to read, or the end; False where it was stopped before."""
        while (left := self._until_s - time.monotonic()) > 0:
            if not hasattr(select, "poll") or self._poll(min(_LOOK_S, left)):
                return True
        return False

    def _poll(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._raw.fileno(), select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def position(self) -> int:
        """Bytes read so far."""
        return self._position

    def skip(self, count: int) -> int:
        """Seek in a regular file, never beyond its end."""
        if self.size is None:
            return 0
        count = max(0, min(count, self.size - self._position))
        self._raw.seek(count, io.SEEK_CUR)
        self._position += count
        return count

    def close(self) -> None:
        """Close the file unless it is standard input."""
        if self._owned:
            self._raw.close()


def _widen(pipe: int) -> None:
    """Let a pipe hold 1 MiB where the system can: larger batches, and tcpdump waits less."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
    except (ImportError, AttributeError, OSError):  # another system, not a pipe, or the user's limit
        pass


class Window:
    """The unread bytes ``data[begin:end]`` of a stream; ``origin`` is the stream's offset of ``data[0]``."""

    def __init__(self, stream: Stream, data: npt.NDArray[np.uint8]) -> None:
        self.stream = stream
        self.data = data
        self.begin = 0
        self.end = 0
        self.origin = 0

    @property
    def offset(self) -> int:
        """The stream's offset of the first unread byte."""
        return self.origin + self.begin

    def fill(self, need: int) -> bool:
        """Read on so that ``need`` unread bytes may fit; returns False at the stream's end.

        It waits for the first byte only: what a pipe has to give right now is handed on. The buffer grows only for a
        record that is longer than it, and by doubling while the bytes really arrive, so that a lying length costs
        nothing.
        """
        kept = self.end - self.begin
        if kept + 1 > len(self.data) or need > len(self.data):
            grown = np.empty(min(need, max(2 * kept, len(self.data))) + 64, np.uint8)
            grown[:kept] = self.data[self.begin : self.end]
            self.data = grown
        elif self.begin:
            self.data[:kept] = self.data[self.begin : self.end]
        self.origin += self.begin
        self.begin, self.end = 0, kept
        view = memoryview(self.data)  # type: ignore[arg-type]
        while self.end < len(self.data):
            count = self.stream.readinto(view[self.end :])
            if count == 0:
                break
            self.end += count
            if not self.stream.ready():
                break
        return self.end > kept

    def skip(self, count: int) -> bool:
        """Pass over ``count`` bytes without keeping them; returns False if the stream ends before."""
        while True:
            taken = min(count, self.end - self.begin)
            self.begin += taken
            count -= taken
            if count == 0:
                return True
            passed = self.stream.skip(count)
            self.origin += passed
            count -= passed
            if count and not self.fill(1):
                return False
