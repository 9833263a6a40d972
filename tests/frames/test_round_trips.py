"""The least, the middle and the longest round trip of each flow, against the plain ones of Python."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.frames.round_trips import round_trips

LONG_S = 2000.0  # longer than the short way of sorting takes


@given(st.lists(st.tuples(st.integers(0, 4), st.none() | st.integers(0, 10**9), st.booleans()), max_size=40))
def test_against_statistics(rows: list[tuple[int, int | None, bool]]) -> None:
    flow = np.array([row[0] for row in rows], np.int32)
    times_ns = [None if ns is None else ns + (int(LONG_S * 1e9) if long else 0) for _, ns, long in rows]
    rtt = np.array([np.nan if ns is None else ns / 1e9 for ns in times_ns], np.float64)
    kept = rtt.copy()
    found = round_trips(rtt, flow, 5)
    assert np.array_equal(rtt, kept, equal_nan=True)
    for number in range(5):
        mine = [ns for ns, of in zip(times_ns, flow.tolist(), strict=True) if of == number and ns is not None]
        got = tuple(float(found[name][number]) for name in ("rtt_min", "rtt_median", "rtt_max"))
        if mine:
            assert got == pytest.approx((min(mine) / 1e9, statistics.median(mine) / 1e9, max(mine) / 1e9), abs=1e-12)
        else:
            assert all(np.isnan(value) for value in got)
