"""What the snapshots of a session showed: a row for as long as nothing of a socket changes.

Snapshots of a busy host, a second apart, are nearly the same. So a row stands for all the snapshots that showed a socket in
the same state, with the same queues, process and verdict: the snapshot of any moment is the rows that hold then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.frames import schema
from analyzer.frames.stacked import stacked
from analyzer.frames.verdicts import Verdict
from analyzer.host.end_keys import Numbers, mixed

if TYPE_CHECKING:
    import pandas as pd

TOLD_AFTER_S = 0.8
"""So long a verdict holds before it is told: a handshake that has only begun is no trouble."""

_CODES = ("kernel_state", "verdict", "timer", "endpoint")
_NUMBERS = (
    "flow",
    "frame",
    "receive_queue",
    "send_queue",
    "accept_queue",
    "accept_limit",
    "retransmits",
    "pid",
    "cookie",
)
_ABSENT = (1 << 64) - 1
_GOOD = np.array([verdict in (Verdict.AGREES, Verdict.JUST_CHANGED) for verdict in Verdict])


class SocketLog:
    """The rows of `live_sockets` so far.

    Parameters
    ----------
    most
        So many rows that hold no more are kept, the newest.

    Attributes
    ----------
    snapshots : int
        How many there were.
    forgotten : int
        Rows that were let go of.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._past: list[pd.DataFrame] = []
        self._past_rows = 0
        self.snapshots = self.forgotten = 0
        self.now: pd.DataFrame = schema.empty("live_sockets")  #: the rows of the last snapshot
        self._same: Numbers = np.zeros(0, np.uint64)
        self._ends: Numbers = np.zeros(0, np.uint64)
        self._told: npt.NDArray[np.int8] = np.zeros(0, np.int8)  #: of each row of `now`, the verdict told last; -1 none

    def add(self, frame: pd.DataFrame, keys: Numbers) -> pd.DataFrame:
        """Take in a snapshot; returns its rows whose verdict is news.

        frame: as ``watched.watch`` gives it, with the keys of its rows' addresses and ports.
        """
        same = _identity(frame, keys)
        ends = mixed(keys, _numbers(frame, "cookie"))
        before = _places(self._same, same)
        held = before >= 0
        if held.any():
            began, shown = _nanoseconds(frame["time"]).copy(), frame["snapshots"].to_numpy().copy()
            began[held] = _nanoseconds(self.now["time"])[before[held]]
            shown[held] += self.now["snapshots"].to_numpy()[before[held]]
            frame = frame.assign(time=_as_times(began), snapshots=shown)
        gone = np.ones(len(self._same), np.bool_)
        gone[before[held]] = False
        self._let_go(gone)
        news = self._news(frame, ends)
        self.now, self._same, self._ends = frame, same, ends
        self.snapshots += 1
        return news

    def frame(self) -> pd.DataFrame:
        """Return all rows, in order of their first snapshots."""
        everything = stacked("live_sockets", [*self._past, self.now])
        return everything.sort_values(["time", "until"], kind="stable", ignore_index=True)

    def take_past(self) -> pd.DataFrame:
        """Give up the rows that hold no more, and return them."""
        past, self._past, self._past_rows = stacked("live_sockets", self._past), [], 0
        return past

    @property
    def past_rows(self) -> int:
        """How many rows hold no more."""
        return self._past_rows

    def _let_go(self, gone: npt.NDArray[np.bool_]) -> None:
        """Keep the rows that the last snapshot showed and this one does not, and no more of them than may be."""
        if not gone.any():
            return
        self._past.append(self.now[gone].reset_index(drop=True))
        self._past_rows += int(gone.sum())
        while self._past_rows > self._most:
            first = self._past[0]
            over = min(self._past_rows - self._most, len(first))
            self._past[0] = first.iloc[over:].reset_index(drop=True)
            if not len(self._past[0]):
                self._past.pop(0)
            self._past_rows -= over
            self.forgotten += over

    def _news(self, frame: pd.DataFrame, ends: Numbers) -> pd.DataFrame:
        """Return the rows of which there is something new to tell.

        A verdict is told when it has held for a while, once; a good one only where another was told before. What was not
        captured before the session began is none of its business: those of the first snapshot are not told.
        """
        verdict = frame["verdict"].cat.codes.to_numpy()
        earlier = _places(self._ends, ends)
        told = np.where(earlier >= 0, self._told[earlier] if len(self._told) else -1, -1).astype(np.int8)
        if self.snapshots == 0:
            told[verdict == Verdict.NOT_CAPTURED] = Verdict.NOT_CAPTURED
        held_s = (_nanoseconds(frame["until"]) - _nanoseconds(frame["time"])) * 1e-9
        lasting = np.fmax(held_s, frame["ago"].to_numpy()) >= TOLD_AFTER_S
        fresh = (verdict >= 0) & (verdict != told) & (verdict != Verdict.JUST_CHANGED) & lasting
        fresh &= (told >= 0) | ~_GOOD[verdict]
        self._told = np.where(fresh, verdict, told).astype(np.int8)
        news: pd.DataFrame = frame[fresh].reset_index(drop=True)
        return news


def _identity(frame: pd.DataFrame, keys: Numbers) -> Numbers:
    codes = [frame[name].cat.codes.to_numpy() for name in _CODES]
    return mixed(keys, *codes, *(_numbers(frame, name) for name in _NUMBERS))


def _numbers(frame: pd.DataFrame, name: str) -> Numbers:
    column: Any = frame[name].array
    values = column._data.astype(np.uint64)
    values[column._mask] = _ABSENT
    numbers: Numbers = values
    return numbers


def _places(known: Numbers, wanted: Numbers) -> npt.NDArray[np.int64]:
    """Return where each of the wanted stands among those known, -1 for none."""
    if not len(known):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(known, kind="stable")
    at = np.minimum(np.searchsorted(known[order], wanted), len(known) - 1)
    place = order[at]
    return np.where(known[place] == wanted, place, -1)


def _nanoseconds(times: pd.Series[Any]) -> npt.NDArray[np.int64]:
    nanoseconds: npt.NDArray[np.int64] = times.dt.tz_localize(None).to_numpy("datetime64[ns]").astype(np.int64)
    return nanoseconds


def _as_times(nanoseconds: npt.NDArray[np.int64]) -> Any:
    import pandas as pd

    return pd.DatetimeIndex(nanoseconds.astype("datetime64[ns]")).tz_localize("UTC")
