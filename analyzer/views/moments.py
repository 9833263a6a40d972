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


def step(duration_s: float) -> str:
    """Return the width of a bin with which so long a time fits a screen."""
    import pandas as pd

    return next((step for step in STEPS if duration_s / pd.Timedelta(step).total_seconds() <= STEPS_SHOWN), STEPS[-1])
