"""The newest anomalies of a session, as far as they are warnings or errors."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.frames.vocabulary import SEVERITIES

if TYPE_CHECKING:
    import pandas as pd

KEPT = 1000
"""So many are kept."""


class Newest(NamedTuple):
    """An anomaly, with how often it came in a row."""

    at: pd.Timestamp
    number: int | None
    kind: str
    severity: str
    endpoint: str
    detail: str
    times: int


class NewestAnomalies:
    """What came last; rows of `anomalies`."""

    def __init__(self) -> None:
        self._rows: collections.deque[dict[Any, Any]] = collections.deque(maxlen=KEPT)

    def add(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Take in new rows; returns those that are worth a word."""
        severity = frame["severity"].cat.codes.to_numpy()
        worth = frame[severity >= SEVERITIES.index("warning")]
        self._rows += worth.iloc[-KEPT:].to_dict("records")
        return worth

    def first(self, count: int) -> list[Newest]:
        """Return so many, the newest first; the same of one connection in a row are one."""
        found: list[Newest] = []
        for row in reversed(self._rows):
            flow = None if str(row["flow"]) == "<NA>" else int(row["flow"])
            if found and (found[-1].number, found[-1].kind) == (flow, row["kind"]):
                found[-1] = found[-1]._replace(times=found[-1].times + 1)
                continue
            if len(found) == count:
                break
            endpoint, detail = (word if isinstance(word, str) else "" for word in (row["endpoint"], row["detail"]))
            found.append(Newest(row["time"], flow, row["kind"], row["severity"], endpoint, detail, 1))
        return found

    def last_of(self, number: int, kind: str) -> dict[Any, Any] | None:
        """Return the newest of this kind of a connection, if it is among those kept."""
        return next(
            (row for row in reversed(self._rows) if row["kind"] == kind and str(row["flow"]) == str(number)), None
        )
