"""The state table is whole, says nothing twice and is what the kernels look up; and the arithmetic of sequence numbers."""

from __future__ import annotations

import re

import hypothesis.strategies as st
import numba
import numpy as np
import pytest
from hypothesis import example, given, settings

from analyzer.flows import sequence
from analyzer.tracker import states
from analyzer.tracker.states import LEFT_STATE, NEXT_STATE, STAY, TRANSITIONS, Event, State, dense_tables
from tests.reference import connection as twin

ROWS = {(row.old, row.event): row.new for row in TRANSITIONS}
RFC_STATES = set(State) - {State.UNKNOWN}

# RFC 9293, figure 5, arrow by arrow: the state before, what happens, the state after. LISTEN's answer to a SYN is an event
# of what is sent; a close is seen by its FIN. What no segment shows is left out (the passive open, the close of LISTEN and
# SYN_SENT), and what sockets do otherwise: see the module's text.
FIGURE_5 = [
    ("CLOSED", "SEND_SYN", "SYN_SENT"),
    ("LISTEN", "SEND_SYN_ACK", "SYN_RCVD"),
    ("SYN_SENT", "RCV_SYN", "SYN_RCVD"),
    ("SYN_SENT", "RCV_SYN_ACK", "ESTABLISHED"),
    ("SYN_RCVD", "RCV_ACK_OF_SYN", "ESTABLISHED"),
    ("SYN_RCVD", "SEND_FIN", "FIN_WAIT_1"),
    ("ESTABLISHED", "SEND_FIN", "FIN_WAIT_1"),
    ("ESTABLISHED", "RCV_FIN", "CLOSE_WAIT"),
    ("FIN_WAIT_1", "RCV_ACK_OF_FIN", "FIN_WAIT_2"),
    ("FIN_WAIT_1", "RCV_FIN", "CLOSING"),
    ("FIN_WAIT_2", "RCV_FIN", "TIME_WAIT"),
    ("CLOSING", "RCV_ACK_OF_FIN", "TIME_WAIT"),
    ("CLOSE_WAIT", "SEND_FIN", "LAST_ACK"),
    ("LAST_ACK", "RCV_ACK_OF_FIN", "CLOSED"),
    ("TIME_WAIT", "TIMEOUT_2MSL", "CLOSED"),
]


# ------------------------------------------------------------------------------------------------------------ table


def test_every_pair_stands_once_or_stays():
    assert len(ROWS) == len(TRANSITIONS), "a state and an event stand in two rows"
    assert NEXT_STATE.shape == (len(State), len(Event))
    for state in State:
        for event in Event:
            assert NEXT_STATE[state, event] == ROWS.get((state, event), STAY), (state, event)
            assert (LEFT_STATE[state, event] == STAY) == (NEXT_STATE[state, event] == STAY)


def test_the_dense_tables_are_made_of_the_literal():
    assert NEXT_STATE.dtype == LEFT_STATE.dtype == np.uint8
    assert np.array_equal((NEXT_STATE, LEFT_STATE), dense_tables())
    assert STAY not in list(State)
    for row in TRANSITIONS:
        assert LEFT_STATE[row.old, row.event] == row.left


def test_a_move_that_begins_elsewhere_is_a_row_of_its_own_there():
    """What ``was`` says is no other way through the figure; that nobody listens moves nothing."""
    for row in TRANSITIONS:
        if row.was is not None and row.event is not Event.SEND_REFUSAL:
            assert ROWS[row.was, row.event] is row.new


def test_no_row_stays_where_it_is_and_nothing_happens_without_an_event():
    assert [row for row in TRANSITIONS if row.old is row.new] == []
    assert [row for row in TRANSITIONS if row.event is Event.NONE] == []
    assert {row.event for row in TRANSITIONS} == set(Event) - {Event.NONE}, "an event that never matters"


def test_every_row_cites_its_source():
    sections = re.compile(r"3\.\d+(\.\d+)*(, RFC \d+( \d+(\.\d+)*)?)*")
    assert [row for row in TRANSITIONS if not sections.fullmatch(row.source)] == []


@pytest.mark.parametrize(("old", "event", "new"), FIGURE_5)
def test_the_figure_of_the_rfc(old, event, new):
    assert ROWS[State[old], Event[event]] is State[new]


def reachable(start: State) -> set[State]:
    found, fresh = {start}, {start}
    while fresh:
        fresh = {new for (old, _), new in ROWS.items() if old in fresh} - found
        found |= fresh
    return found


def test_all_eleven_states_can_be_reached_and_left():
    assert len(RFC_STATES) == 11
    assert reachable(State.UNKNOWN) == set(State)
    assert RFC_STATES - reachable(State.CLOSED) == {State.LISTEN}, "a passive open shows in no segment"
    for state in State:
        assert State.CLOSED in reachable(state)


def test_nothing_leads_back_to_unknown():
    assert State.UNKNOWN not in ROWS.values()


def test_the_constants_of_the_kernels_are_the_states():
    for state in State:
        assert getattr(states, state.name) == state.value


# -------------------------------------------------------------------------------------------------- sequence numbers

numbers = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1]))
positions = st.one_of(st.integers(-(2**33), 2**45), st.sampled_from([-1, 0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1]))


@numba.njit
def distance(number: np.uint32, reference: np.uint32) -> int:
    return sequence.distance(number, reference)


@numba.njit
def relative(number: np.uint32, base: np.uint32, near: int) -> int:
    return sequence.relative(number, base, near)


@numba.njit
def before(number: np.uint32) -> np.uint32:
    return sequence.before(number)


ARITHMETIC = settings(deadline=None, max_examples=300)


@ARITHMETIC
@given(numbers, numbers)
@example(2**31, 0)
def test_distance_is_the_shorter_way_round(number, reference):
    away = distance(np.uint32(number), np.uint32(reference))
    assert (reference + away) % 2**32 == number
    assert -(2**31) <= away < 2**31
    assert away == twin.distance(number, reference)


@ARITHMETIC
@given(numbers, positions, st.integers(-(2**31) + 1, 2**31 - 1))
@example(2**32 - 1, 2**32, 1)
def test_a_number_is_unwrapped_to_where_it_is(base, near, away):
    """Whatever the base, what was sent within 2 GiB of a known place is found again, beyond 4 GiB as below."""
    place = near + away
    on_the_wire = np.uint32((base + place) % 2**32)
    assert relative(on_the_wire, np.uint32(base), near) == place
    assert twin.relative(int(on_the_wire), base, near) == place


@pytest.mark.parametrize("base", [0, 1, 2**31, 2**32 - 1])
def test_a_transfer_goes_on_counting_beyond_four_gibibytes(base):
    """10 GiB in steps of a large window, each number unwrapped next to the one before."""
    place = 0
    for _ in range(160):
        place += 1 << 26
        wire = np.uint32((base + place) % 2**32)
        assert relative(wire, np.uint32(base), place - (1 << 26)) == place


@ARITHMETIC
@given(numbers)
@example(0)
def test_before_wraps(number):
    earlier = before(np.uint32(number))
    assert earlier == (number - 1) % 2**32 == twin.before(number)
    assert distance(np.uint32(number), np.uint32(earlier)) == 1
