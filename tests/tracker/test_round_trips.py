"""The least, the middle and the longest round trip of each flow, against the plain ones of Python."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.tracker.packets import MOST_RTT_NS
from analyzer.tracker.round_trips import round_trips

MANY = 70  # more than are sorted one by one


@settings(deadline=None)  # the first one compiles
@given(st.lists(st.tuples(st.integers(0, 4), st.none() | st.integers(1, 10**13)), max_size=40), st.integers(0, 10**6))
def test_against_statistics(rows: list[tuple[int, int | None]], step_ns: int) -> None:
    rows = [*rows, *((4, (number * 37 % MANY) * step_ns + 1) for number in range(MANY))]
    flow = np.array([row[0] for row in rows], np.int32)
    times_ns = [ns for _, ns in rows]
    rtt = np.array([min(ns or 0, MOST_RTT_NS) for ns in times_ns], np.uint32)
    long_rtt = np.array([(ns or 0) / 1e9 for ns in times_ns], np.float64)
    kept = rtt.copy()
    found = round_trips(rtt, long_rtt, flow, 5)
    assert np.array_equal(rtt, kept)
    for number in range(5):
        mine = [ns for ns, of in zip(times_ns, flow.tolist(), strict=True) if of == number and ns is not None]
        got = tuple(float(found[name][number]) for name in ("rtt_min", "rtt_median", "rtt_max"))
        if mine:
            assert got == pytest.approx((min(mine) / 1e9, statistics.median(mine) / 1e9, max(mine) / 1e9), abs=1e-12)
        else:
            assert all(np.isnan(value) for value in got)
