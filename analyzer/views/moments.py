"""Moments as people write them, and the steps of time that fit a screen."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

STEPS = ("1ms", "10ms", "100ms", "1s", "5s", "10s", "30s", "1min", "5min", "15min", "1h", "6h", "24h")
STEPS_SHOWN = 24


def parsed(text: str) -> float | dt.datetime:
    """Return seconds from the start, or a time with its zone; ValueError says what is to be written."""
    try:
        if text.startswith("+"):
            return float(text)
        return dt.datetime.fromisoformat(text).astimezone()  # without a zone: local, as tcpdump prints
    except (ValueError, OverflowError) as error:
        raise ValueError("neither +SECONDS nor ISO 8601 (2025-01-31T12:00:00)") from error


def when(moment: float | dt.datetime, first: pd.Timestamp | None) -> pd.Timestamp:
    """Return the moment in a capture whose first segment is of this time."""
    import pandas as pd

    if not isinstance(moment, float):
        return pd.Timestamp(moment)
    return (first if first is not None else pd.Timestamp(0, tz="UTC")) + pd.Timedelta(seconds=moment)


def outside(moment: pd.Timestamp, first: pd.Timestamp | None, end: pd.Timestamp | None) -> str | None:
    """Say so where a capture tells nothing of a moment: before its first segment, or after its end."""
    if first is None or end is None or first <= moment <= end:
        return None
    side = "before the first segment" if moment < first else "after the end: this is how it ended"
    return (
        f"{moment.tz_convert('UTC'):%Y-%m-%d %H:%M:%S} UTC is {side} ({first:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC)"
    )


def step(first: pd.Timestamp | None, end: pd.Timestamp | None) -> str:
    """Return the width of a bin with which that time fits a screen."""
    import pandas as pd

    duration_s = 0.0 if first is None or end is None else (end - first).total_seconds()
    return next((step for step in STEPS if duration_s / pd.Timedelta(step).total_seconds() <= STEPS_SHOWN), STEPS[-1])
