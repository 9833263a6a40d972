"""Numbers in a few characters."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.views import figures


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (7, "7"), (999, "999"), (1000, "1.0k"), (1234, "1.2k"), (9949, "9.9k"), (9960, "10k"), (999_499, "999k"),
     (999_600, "1.0M"), (12_345_678, "12M"), (3e12, "3.0T")],
)  # fmt: skip
def test_a_count_takes_four_characters(value, said):
    assert figures.count(value) == said


@given(st.integers(0, 10**15 - 10**12))
def test_no_count_takes_more(value):
    assert len(figures.count(value)) <= 4


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, ""),
        (13e-6, "13us"),
        (999e-6, "999us"),
        (999.7e-6, "1.0ms"),
        (0.9997, "1.0s"),
        (0.0012, "1.2ms"),
        (0.120, "120ms"),
        (2.5, "2.5s"),
        (63, "63s"),
    ],
)
def test_a_round_trip(value, said):
    assert figures.round_trip(value) == said


@given(st.floats(0, 9_999))
def test_no_round_trip_takes_more_than_its_column(value):
    assert len(figures.round_trip(value)) <= 5


@pytest.mark.parametrize(("value", "said"), [(0, "0s"), (119, "119s"), (180, "3m"), (8000, "2h"), (200_000, "2d")])
def test_an_age(value, said):
    assert figures.age(value) == said


def test_a_rate_below_one_is_none():
    assert (figures.rate(0.4), figures.rate(1500)) == ("", "1.5k")
