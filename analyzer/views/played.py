"""A recorded capture, played to the live screen as if it happened now: for the documentation's picture, and for tests."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from analyzer.frames import schema
from analyzer.frames.standing import one_flow, standing
from analyzer.host.watched import watch
from analyzer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import pandas as pd

    from analyzer.frames.standing import Follower, OneFlow, Standing


class Played:
    """What the screen asks of a session, answered from a capture; ``play`` takes in what came up to a time.

    Parameters
    ----------
    paths : sequence of str
        The capture.
    kernel : callable, optional
        This host's sockets at that time, as ``analyzer.sockets()`` gives them; they are laid beside the flows. None: not
        asked then.
    own : collection of str
        This host's addresses.
    """

    def __init__(
        self,
        paths: Sequence[str],
        kernel: Callable[[float], pd.DataFrame | None] | None = None,
        own: Collection[str] = (),
    ) -> None:
        from analyzer.decode.text_source import open_source
        from analyzer.frames.tracking import Tracking

        settings = dataclasses.replace(Settings(), batch_records=1)
        self._source = open_source(list(paths), settings=settings)
        self._batches = self._source.batches()
        self._tracking = Tracking(settings)
        self._kernel, self._own = kernel, own
        self.now = 0.0
        self.running = True
        self.records = 0
        self.remark = ""
        self.damage: list[str] = []
        self.drops: int | None = 0
        self._next = next(self._batches, None)
        self.start = self._time()

    def play(self, seconds: float) -> None:
        """Take in what came up to so long after the start."""
        self.now = self.start + seconds
        while self._next is not None and self._time() <= self.now:
            self._tracking.feed(self._next)
            self.records += len(self._next.offset)
            self._next = next(self._batches, None)

    def _time(self) -> float:
        if self._next is None or not len(self._next.time_ns):
            return self.now
        return float(self._next.time_ns[0]) * 1e-9

    def standing(self, follower: Follower) -> Standing:
        """As a session."""
        return standing(self._tracking, self._source.info, follower)

    def one_flow(self, number: int, last: int = 1000) -> OneFlow:
        """As a session."""
        return one_flow(self._tracking, self._source.info, number, last)

    def sockets(self) -> pd.DataFrame:
        """As a session."""
        shown = None if self._kernel is None else self._kernel(self.now)
        if shown is None:
            return schema.empty("live_sockets")
        frame, _ = watch(self._tracking, contextlib.nullcontext(), shown, int(self.now * 1e9), self._own)
        return frame

    def close(self) -> None:
        """Close the capture."""
        self._source.close()
