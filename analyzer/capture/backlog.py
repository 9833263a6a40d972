"""What came and was not looked at yet: a thread of its own takes packets out of the kernel's hands, whatever else goes on.

The kernel holds as much as was asked of it beforehand, and drops what comes then. So packets are copied as they come, into
slabs, and whoever looks at them may fall behind for a while: while a screen is drawn, rows are let go of, a disk is busy, or
packets come faster than they can be followed. Two slabs do while nobody falls behind; more are made as they are needed, and
given back. Only when the backlog has its full size are packets left to the kernel, which counts what it drops.
"""

from __future__ import annotations

import collections
import contextlib
import mmap
import threading
import time
from typing import TYPE_CHECKING, Protocol

import numpy as np

from analyzer.capture.reader import Columns

if TYPE_CHECKING:
    from collections.abc import Callable

SLAB_BYTES = 4 << 20
SLAB_RECORDS = 1 << 15
SLAB_COST = SLAB_BYTES + 36 * SLAB_RECORDS  #: with the columns

_SPARE = 2  #: slabs that are kept for the next packets
_LOOK_S = 0.05  #: how long until it is seen that somebody has called ``stop``


class Slab:
    """Packets one after the other, in memory that goes back to the system with the slab."""

    def __init__(self) -> None:
        self.memory = memoryview(mmap.mmap(-1, SLAB_BYTES))
        self.data = np.frombuffer(self.memory, np.uint8)
        self.columns = Columns(SLAB_RECORDS)
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.used = 0  #: bytes
        self.count = 0  #: packets, which may be read by other threads
        self.full = False  #: whether the next packet goes elsewhere


class Packets(Protocol):
    """The kernel's hands: ``PacketRing`` or ``RawReads``."""

    retire_s: float  #: how long the last packets may be under way

    def take(self, slab: Slab) -> None:
        """Add the packets that are there to a slab, up to its being full."""

    def wait(self, seconds: float) -> None:
        """Wait for a packet, at most so long."""

    def refuse(self) -> None:
        """Let no more packets come than have come."""

    def drops(self) -> int:
        """How many packets the kernel had no room for since the last time."""

    def close(self) -> None:
        """Let go of the socket."""


class Backlog:
    """Reads packets from its making until ``stop``; closes them then.

    Parameters
    ----------
    packets
        Open; from now on this thread's.
    most_bytes
        The most memory to use.
    until_s
        Stop then, by the monotonic clock.
    failed
        Told of an error in reading; what it raises ends the reading, and ``take`` raises it in the end.

    Attributes
    ----------
    drops : int
        Packets that the kernel had no room for.
    ended_ns : int, optional
        When it stopped: what came later is not there.
    """

    def __init__(
        self, packets: Packets, most_bytes: int, until_s: float | None, failed: Callable[[OSError], None]
    ) -> None:
        self._packets, self._until_s, self._failed = packets, until_s, failed
        self._most = max(2, most_bytes // SLAB_COST)
        self._slabs = collections.deque([Slab()])
        self._spare = [Slab()]
        self._taken = 0  #: packets of the first slab that were handed out
        self._changed = threading.Condition()
        self._stopped = self._ended = False
        self._error: BaseException | None = None
        self.drops = 0
        self.ended_ns: int | None = None
        self._thread = threading.Thread(target=self._run, name="analyzer-capture", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many packets were read and not handed out."""
        with self._changed:
            return sum(slab.count for slab in self._slabs) - self._taken

    def take(self, most: int, seconds: float) -> tuple[Slab, int, int] | None:
        """Hand out packets, up to so many: their slab, the first, and how many; theirs until the next call.

        seconds: how long to wait for one; then there are none. None once there will be no more.

        Raises
        ------
        AnalyzerError
            What ended the reading; what came before was handed out.
        """
        with self._changed:
            self._changed.wait_for(self._has_news, seconds)
            first = self._slabs[0]
            begin, end = self._taken, min(first.count, self._taken + most)
            if begin == end and self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._taken = end
            return first, begin, end - begin

    def stop(self) -> None:
        """Read what is there, and no more; returns at once."""
        self._stopped = True

    def close(self) -> None:
        """Stop, wait until the socket is closed, and forget what was not handed out."""
        self._stopped = True
        with self._changed:
            self._most = 0
            self._changed.notify_all()
        self._thread.join()

    def _has_news(self) -> bool:
        """Whether there is something to hand out, or never will be; what was handed out is used again first."""
        first = self._slabs[0]
        if len(self._slabs) > 1 and self._taken == first.count:
            self._slabs.popleft()
            self._taken = 0
            if len(self._spare) < _SPARE:
                first.clear()
                self._spare.append(first)
            self._changed.notify_all()
        return self._taken < self._slabs[0].count or self._ended

    # The other thread's.

    def _run(self) -> None:
        try:
            while not self._over():
                if not self._read():
                    self._packets.wait(_LOOK_S)
            self._packets.refuse()
            self.ended_ns = time.time_ns()
            last_s = time.monotonic() + self._packets.retire_s
            while self._read() or time.monotonic() < last_s:
                self._packets.wait(self._packets.retire_s / 4)
        except BaseException as error:  # noqa: BLE001  # it is raised where the packets are asked for
            self._error = error
        finally:
            self._count_drops()
            self._packets.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _over(self) -> bool:
        return self._stopped or (self._until_s is not None and time.monotonic() >= self._until_s)

    def _read(self) -> bool:
        """Read what is there; returns whether there was something."""
        slab = self._slabs[-1]
        before = slab.count
        try:
            self._packets.take(slab)
        except OSError as error:
            self._failed(error)
        self._count_drops()
        with self._changed:
            if slab.full:
                while len(self._slabs) >= self._most > 0:
                    self._changed.wait(_LOOK_S)
                    self._count_drops()
                if self._most == 0:
                    return False
                self._slabs.append(self._spare.pop() if self._spare else Slab())
            if slab.count != before:
                self._changed.notify_all()
        return slab.full or slab.count != before

    def _count_drops(self) -> None:
        with contextlib.suppress(OSError):
            self.drops += self._packets.drops()
