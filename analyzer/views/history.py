"""How many sockets were in each state over the last minutes, and a row of bars for it."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple

import numpy.typing as npt

Array = npt.NDArray[Any]

BARS = "▁▂▃▄▅▆▇█"

STEP_S = 1.0
"""A count is kept so often."""

KEPT_S = 300.0
"""For so long."""


class Counted(NamedTuple):
    """The counts of one moment, by state; kernel is None where it was not asked."""

    at: float
    packets: Array
    kernel: Array | None


class History:
    """The counts of the last minutes."""

    def __init__(self) -> None:
        self._counts: collections.deque[Counted] = collections.deque(maxlen=int(KEPT_S / STEP_S))

    def add(self, now: float, packets: Array, kernel: Array | None) -> None:
        """Keep these counts, unless there are some of this second; then they replace those."""
        counts = self._counts
        if counts and now - counts[-1].at < STEP_S and int(now / STEP_S) == int(counts[-1].at / STEP_S):
            counts.pop()
        counts.append(Counted(now, packets, kernel))

    def of(self, state: int, width: int, now: float) -> tuple[list[int | None], list[int | None]]:
        """Return the counts of a state in so many steps up to now, of packets and of kernel: the highest of each step.

        None where nothing was counted. The steps together are the time since the first count, at most ``KEPT_S``.
        """
        packets: list[int | None] = [None] * width
        kernel: list[int | None] = [None] * width
        span = self.span(now)
        for counted in self._counts:
            place = width - 1 - int((now - counted.at) / span * width)
            if not 0 <= place < width:
                continue
            packets[place] = max(packets[place] or 0, int(counted.packets[state]))
            if counted.kernel is not None:
                kernel[place] = max(kernel[place] or 0, int(counted.kernel[state]))
        return packets, kernel

    def span(self, now: float) -> float:
        """Return how many seconds the bars stand for: a minute at least, so that they do not run at the beginning."""
        first = self._counts[0].at if self._counts else now
        return min(KEPT_S, max(60.0, now - first + STEP_S))


def bars(values: list[int | None], highest: int) -> str:
    """Draw a bar for each value, the highest one full; blank where there is none."""
    top = len(BARS) - 1
    return "".join(
        " " if value is None else BARS[0 if not value else max(1, round(top * value / max(highest, 1)))]
        for value in values
    )
