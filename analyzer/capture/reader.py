"""What the readers of all formats share: one file's records, a batch at a time."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import numpy as np

from analyzer.capture.notes import Notes
from analyzer.capture.records import Records

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzer.capture.interfaces import InterfaceTable
    from analyzer.capture.window import Window

    Bytes = npt.NDArray[np.uint8]
    Numbers = npt.NDArray[np.int64]
    Indices = npt.NDArray[np.int32]

#: What a record walk stopped at.
MORE, FULL, DAMAGE, SKIP, DESCRIPTION = range(5)


class Columns:
    """The arrays of one batch, reused; meanings as in ``Records``."""

    def __init__(self, room: int) -> None:
        room = max(1, room)
        self.offset = np.zeros(room, np.int64)
        self.captured = np.zeros(room, np.int32)
        self.wire = np.zeros(room, np.int64)
        self.time_ns = np.zeros(room, np.int64)
        self.interface = np.zeros(room, np.int32)
        self.process = np.full(room, -1, np.int32)

    def records(
        self,
        count: int,
        data: Bytes,
        frame: Numbers,
        file: Indices,
        file_frame: Numbers,
        links: Indices,
        begin: int = 0,
    ) -> Records:
        """Hand on ``count`` records from ``begin`` on, which lie in ``data``; the numbers are theirs from their first on."""
        end = begin + count
        return Records(
            data,
            self.offset[begin:end],
            self.captured[begin:end],
            self.wire[begin:end],
            self.time_ns[begin:end],
            self.interface[begin:end],
            frame[:count],
            file[:count],
            file_frame[:count],
            self.process[begin:end],
            links,
        )


class Reader(abc.ABC):
    """One file's records.

    ``read`` walks what the window holds and asks it for more only when not one whole record is left, so a pipe's
    packets are handed on as they come.
    """

    format: str

    def __init__(self, window: Window, table: InterfaceTable, room: int, limit: int) -> None:
        self.window = window
        self.columns = Columns(room)
        self.notes = Notes()
        self.damage: tuple[int, str] | None = None  #: offset and sentence, once reading has stopped early
        self.cut = False  #: the file ended inside a record
        self.patient = False  #: the file may grow: nothing there is not yet its end
        self.taken = 0  #: records read
        self._table = table
        self._limit = min(limit, 2**31 - 2**17)
        self._done = False

    @property
    def done(self) -> bool:
        """Whether there are no more records, nor will be."""
        return self._done

    def read(self) -> int:
        """Fill ``columns`` with the next records and return how many; 0 at the end.

        A patient reader also returns 0 where nothing whole is there yet; ``done`` tells.
        """
        while not self._done:
            count, status, amount = self._walk()
            if count:
                self.taken += count
                return count
            if status == MORE:
                if self.patient and not self.window.stream.ready():
                    break
                if not self.window.fill(amount):
                    self._end(amount)
            else:
                self._stop_at(status, amount)
        return 0

    @abc.abstractmethod
    def _walk(self) -> tuple[int, int, int]:
        """Walk the window's whole records; returns their count, what it stopped at, and that thing's bytes."""

    @abc.abstractmethod
    def _stop_at(self, status: int, amount: int) -> None:
        """Deal with what the walk stopped at."""

    def _spoil(self, what: str) -> None:
        """Note the damage at the window's first unread byte and end."""
        self.damage = (self.window.offset, what)
        self._done = True

    def _end(self, need: int) -> None:
        self._done = True
        left = self.window.end - self.window.begin
        if self.window.stream.damage:
            self.damage = (self.window.origin + self.window.end, self.window.stream.damage)
        elif left:
            self.cut = True
            self.damage = (self.window.offset, f"the file ends inside a record: {left:,} of {need:,} bytes are there")
