"""Counts over the last minutes, and their bars."""

from __future__ import annotations

import numpy as np

from analyzer.views.history import BARS, KEPT_S, History, bars

STATE = 5


def counted(value: int) -> np.ndarray:
    counts = np.zeros(12, np.int64)
    counts[STATE] = value
    return counts


def test_a_bar_for_each_value_the_highest_full_blank_where_nothing_was_counted():
    assert bars([None, 0, 1, 4, 8], 8) == " " + BARS[0] + BARS[1] + BARS[4] + BARS[7]
    assert bars([0, 0], 0) == BARS[0] * 2
    assert bars([1], 1000) == BARS[1], "something is never drawn as nothing"


def test_the_highest_of_each_step_is_kept():
    history = History()
    for second in range(60):
        history.add(1000.0 + second, counted(50 if second == 30 else second % 3), counted(7))
    packets, kernel = history.of(STATE, 6, 1059.0)
    assert max(packets) == 50
    assert packets.index(50) == 3
    assert kernel == [7] * 6


def test_what_the_kernel_was_not_asked_is_blank():
    history = History()
    history.add(1000.0, counted(3), None)
    packets, kernel = history.of(STATE, 4, 1000.0)
    assert packets == [None, None, None, 3]
    assert kernel == [None] * 4


def test_of_one_second_the_last_counts_stay():
    history = History()
    for tenth in range(10):
        history.add(1000.0 + tenth / 10, counted(tenth), None)
    assert history.of(STATE, 1, 1001.0)[0] == [9]


def test_minutes_are_kept_and_no_more():
    history = History()
    for second in range(3000):
        history.add(1000.0 + second, counted(second), None)
    assert history.span(3999.0) == KEPT_S
    packets, _ = history.of(STATE, 10, 3999.0)
    assert packets[0] is not None
    assert packets[0] >= 3000 - KEPT_S
    assert packets[-1] == 2999
    assert len(history._counts) == KEPT_S


def test_the_first_minute_does_not_run():
    history = History()
    history.add(1000.0, counted(1), None)
    assert history.span(1000.0) == 60.0
    assert History().span(5.0) == 60.0
