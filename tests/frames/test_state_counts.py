"""State counts against a plain count: for each moment, replay the rows and look who is where."""

from __future__ import annotations

import collections
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.frames import schema
from analyzer.frames.state_counts import BINS_LIMIT, counts_at, duration, state_counts
from tests.frames import made


def reference(rows: list[dict], moment: pd.Timestamp) -> dict[str, int]:
    """Who is in which state at this moment, one socket after the other."""
    sockets: dict[tuple, str] = {}
    answered = {(row["address"], row["port"]) for row in rows if _answers(row)}
    listening = set()
    for row in rows:
        if row["time"] > moment or row["evidence"] == "refuted":
            continue
        sockets[row["flow"], row["endpoint"]] = row["new"]
        if row["new"] == "LISTEN" or _answers(row):
            listening.add((row["address"], row["port"]))
    counts = collections.Counter(state for state in sockets.values() if state not in ("UNKNOWN", "CLOSED", "LISTEN"))
    counts["LISTEN"] = len(listening & answered)
    return {state: counts[state] for state in schema.COUNTED_STATES}


def _answers(row: dict) -> bool:
    return (
        row["evidence"] != "refuted"
        and row["event"] == "SEND_SYN_ACK"
        and row["old"] in ("UNKNOWN", "CLOSED", "LISTEN")
    )


def count(rows: list[dict], freq: str = "1s", last: float = 70.0, **more) -> pd.DataFrame:
    counts = state_counts(made.frame("transitions", rows), made.START, made.at(last), freq=freq, **more)
    schema.check("state_counts", counts)
    return counts


def test_the_life_of_a_connection():
    counts = count(made.life(0.5))
    at = {second: counts.loc[made.at(second)] for second in (0, 1, 4, 5, 64, 65)}
    assert at[0].sum() == 0
    assert at[1].to_dict() | {"ESTABLISHED": 2, "LISTEN": 1} == at[1].to_dict()
    assert (at[4]["FIN_WAIT_2"], at[4]["CLOSE_WAIT"]) == (1, 1)
    assert (at[5]["TIME_WAIT"], at[5].sum()) == (1, 2)
    assert at[64]["TIME_WAIT"] == 1
    assert at[65].to_dict() == {state: int(state == "LISTEN") for state in schema.COUNTED_STATES}


def test_a_change_at_the_very_start_of_a_bin_counts_in_it():
    counts = count([made.transition(2.0, "CLOSED", "SYN_SENT")])
    assert counts["SYN_SENT"].to_list()[:4] == [0, 0, 1, 1]


def test_the_last_bin_shows_the_end_of_a_capture_shorter_than_a_bin():
    counts = count([made.transition(0.2, "CLOSED", "SYN_SENT")], last=0.3)
    assert counts["SYN_SENT"].to_list() == [0, 1]


def test_refuted_changes_never_happened():
    rows = [
        made.transition(0, "CLOSED", "SYN_SENT"),
        made.transition(1, "SYN_SENT", "ESTABLISHED", evidence="refuted"),
        made.transition(2, "SYN_SENT", "CLOSED"),
    ]
    counts = count(rows, last=3)
    assert counts["ESTABLISHED"].sum() == 0
    assert counts["SYN_SENT"].to_list() == [1, 1, 0, 0]


def test_one_listener_for_many_connections_and_none_where_nobody_answered():
    rows = [row for flow in range(3) for row in made.life(flow, flow)]
    rows.append(made.transition(5, "UNKNOWN", "LISTEN", flow=9, end="server", port=81))
    counts = count(sorted(rows, key=lambda row: row["time"]))
    assert counts["LISTEN"].iloc[0] == 1
    assert set(counts["LISTEN"]) == {1}


def test_hosts_and_flows_narrow_it():
    rows = made.life(0, 0) + made.life(0, 1)
    local = count(rows, hosts=["10.0.0.1"])
    assert local.loc[made.at(1), "ESTABLISHED"] == 2
    assert local["LISTEN"].sum() == 0
    assert count(rows, flows=[1]).loc[made.at(1), "ESTABLISHED"] == 2
    assert count(rows, hosts=["192.0.2.1"]).to_numpy().sum() == 0


def test_an_empty_capture_has_no_bins():
    counts = state_counts(schema.empty("transitions"), None, None)
    schema.check("state_counts", counts)
    assert len(counts) == 0


@pytest.mark.parametrize("freq", ["0s", "-1s", "nonsense", "NaT"])
def test_a_frequency_is_a_positive_duration(freq):
    with pytest.raises(ValueError, match="duration"):
        duration(freq)


def test_frequencies_with_and_without_a_number():
    assert duration("s") == duration("1s") == duration(pd.Timedelta(seconds=1)) == 10**9


def test_a_clock_that_jumps_fifty_years_does_not_fill_the_memory():
    with pytest.raises(ValueError, match="choose a longer frequency"):
        state_counts(schema.empty("transitions"), pd.Timestamp(0, tz="UTC"), made.START, freq="1s")
    assert pd.Timedelta(days=365 * 50).total_seconds() > BINS_LIMIT


STATE = st.sampled_from((*schema.COUNTED_STATES, "CLOSED"))
ROW = st.tuples(
    st.integers(0, 3), st.sampled_from(["client", "server"]), st.integers(0, 8), STATE, st.booleans(), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=30))
def test_agrees_with_the_plain_count(drawn):
    rows, state = [], collections.defaultdict(lambda: "CLOSED")
    for flow, end, when, new, refuted, answer in sorted(drawn, key=lambda row: row[2]):
        old = state[flow, end]
        evidence = "refuted" if refuted else "assumed"
        event = "SEND_SYN_ACK" if answer else "NONE"
        rows.append(made.transition(when / 2, old, new, flow=flow, end=end, evidence=evidence, event=event))
        if not refuted:
            state[flow, end] = new
    moments = pd.DatetimeIndex([made.at(quarter / 4) for quarter in range(20)])
    counts = counts_at(made.frame("transitions", rows), moments)
    assert [row.to_dict() for _, row in counts.iterrows()] == [reference(rows, moment) for moment in moments]


def test_a_million_changes_are_a_matter_of_a_second():
    # the figure that matters is the growth: no row may cost Python. A loop over rows would take minutes here.
    rows = made.frame("transitions", made.life(0) * 10)
    many = rows.take(np.resize(np.arange(len(rows)), 1_000_000)).reset_index(drop=True)
    begun = time.process_time()
    counts = state_counts(many, made.START, made.at(70))
    assert time.process_time() - begun < 10
    assert counts.loc[made.at(1), "ESTABLISHED"] == int((many["new"] == "ESTABLISHED").sum())
