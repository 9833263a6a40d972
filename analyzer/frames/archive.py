"""A saved analysis that is written while its session runs: what is let go of goes to Parquet, part by part.

A thread of its own makes the frames and writes them, beside the reading of packets. When the session has ended the rest is
written, and the folder is what ``Analysis.save`` would have written of the whole.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from typing import TYPE_CHECKING, Any

from analyzer.frames import schema, store
from analyzer.frames.build import frames_of
from analyzer.frames.capture import Capture, describe

if TYPE_CHECKING:
    import os
    import pathlib

    import pandas as pd

    from analyzer.capture.records import CaptureInfo
    from analyzer.frames.build import Frames
    from analyzer.frames.tracking import Tracking

_WAITING = 2  #: so much that is to be written may wait; then the session waits
_SUMMED = ("segments", "truncated", "checksums_wrong", "one_direction")
"""Fields of ``Capture`` that count rows: those of the whole are those of its parts together."""


class Archive:
    """A folder that takes what a session lets go of.

    Parameters
    ----------
    folder
        A new one, or an empty one.

    Raises
    ------
    StoreError
        If something is in the folder, or it cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder: pathlib.Path = store.begin(folder)
        self._parts = 0
        self._sums = dict.fromkeys(_SUMMED, 0)
        self._first: Any = None
        self._error: BaseException | None = None
        self._queue: queue.Queue[tuple[Tracking, CaptureInfo, pd.DataFrame] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="analyzer-archive", daemon=True)
        self._thread.start()

    def add(self, gone: Tracking, info: CaptureInfo, sockets: pd.DataFrame) -> None:
        """Let it write what went, some time soon.

        Raises
        ------
        StoreError
            What went before could not be written.
        """
        if self._error is not None:
            raise self._error
        self._queue.put((gone, dataclasses.replace(info), sockets))

    def finish(self, rest: Frames, sockets: pd.DataFrame) -> pathlib.Path:
        """Write the rest, and say that the folder is whole; returns it. Once.

        Raises
        ------
        StoreError
            If it could not be written.
        """
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        capture = self._add(rest, set(), sockets)
        whole: dict[str, Any] = {name: self._sums[name] for name in _SUMMED}
        first = self._first if capture.first is None else min(capture.first, self._first)
        capture = dataclasses.replace(capture, first=first, let_go={}, **whole)
        store.finish(self.folder, self._parts, capture, rest.local_addresses, self._settings)
        return self.folder

    def _run(self) -> None:
        while (waiting := self._queue.get()) is not None:
            if self._error is not None:
                continue
            try:
                gone, info, sockets = waiting
                numbers = gone.flow_numbers.of_first(len(gone.guests))[gone.guests]
                self._add(frames_of(gone, info), set(numbers.tolist()), sockets)
            except BaseException as error:  # noqa: BLE001  # it is raised where the session goes on
                self._error = error

    def _add(self, frames: Frames, guests: set[int], sockets: pd.DataFrame) -> Capture:
        capture = describe(frames.info, frames.skipped, frames.copies, frames.packets, frames.quality)
        if guests:
            frames.flows = frames.flows[~frames.flows.index.isin(guests)]
        named = {name: getattr(frames, name) for name in ("packets", "options", "flows", "transitions", "anomalies")}
        named |= {"findings": schema.empty("findings"), "live_sockets": sockets}
        store.add_part(self.folder, named, self._parts)
        self._parts += 1
        self._settings = frames.settings
        for name in _SUMMED:
            self._sums[name] += getattr(capture, name)
        if capture.first is not None:
            self._first = capture.first if self._first is None else min(self._first, capture.first)
        return capture
