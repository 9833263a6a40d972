"""The numbers that flows have outside, while their rows inside are given back and used again.

A session that runs for hours lets go of connections that are over. Those that stay move together in the tracker's arrays; the
numbers that frames show (`flow`, `stream`) run on: the first connection of a session is 0 for ever.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Numbering:
    """The numbers of the first rows, which stayed when others went, and the number of the first row behind them."""

    kept: Numbers = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    following: int = 0

    @property
    def as_they_are(self) -> bool:
        """Whether every row's number is its place: nothing has been let go of yet."""
        return not len(self.kept) and self.following == 0

    def of_first(self, rows: int, left_out: Mask | None = None) -> Numbers:
        """Return the numbers of so many rows from the first on; those behind the kept ones that are left out take none."""
        kept = len(self.kept)
        counted = np.ones(max(0, rows - kept), np.bool_) if left_out is None else ~left_out[kept:rows]
        new = self.following + np.cumsum(counted, dtype=np.int32) - np.int32(1)
        return np.concatenate([self.kept[:rows], new.astype(np.int32)])

    def next_after(self, rows: int, left_out: Mask | None = None) -> int:
        """Return the number that follows those of so many rows."""
        kept = len(self.kept)
        return self.following + (rows - kept if left_out is None else int((~left_out[kept:rows]).sum()))
