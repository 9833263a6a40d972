"""The order of troubles: complete, each once, each with its reason."""

from __future__ import annotations

from analyzer.frames.verdicts import CATALOGUE as VERDICTS
from analyzer.frames.vocabulary import STATES
from analyzer.tracker.anomalies import CATALOGUE as ANOMALIES
from analyzer.views import trouble

OF_NO_CONNECTION = {"clock-step"}


def test_all_that_is_no_note_has_its_place_and_nothing_else_has():
    wanted = {("verdict", entry.name) for entry in VERDICTS.values() if entry.severity != "note"}
    wanted |= {("anomaly", entry.name) for entry in ANOMALIES.values() if entry.severity != "note"}
    wanted -= {("anomaly", name) for name in OF_NO_CONNECTION}
    placed = [(row.of, row.name) for row in trouble.ORDER]
    assert len(placed) == len(set(placed)) == len(trouble.RANK) == trouble.NONE
    assert {row for row in placed if row[0] != "state"} == wanted
    assert {name for of, name in placed if of == "state"} < set(STATES)


def test_each_says_why_it_stands_there_and_what_it_is():
    for row in trouble.ORDER:
        assert len(row.why) > 7
        assert len(trouble.meaning(row)) > 10
        assert trouble.severity(row) in ("warning", "error")


def test_a_state_of_affairs_does_not_pass():
    assert not any(row.passes for row in trouble.ORDER if row.of != "anomaly")
    assert not trouble.ORDER[trouble.RANK["anomaly", "refused"]].passes
    assert trouble.ORDER[trouble.RANK["anomaly", "retransmission"]].passes


def test_who_is_turned_away_comes_before_what_is_slow():
    rank = trouble.RANK
    assert rank["anomaly", "refused"] < rank["verdict", "program-has-not-closed"] < rank["anomaly", "retransmission"]
    assert rank["anomaly", "retransmission"] < rank["anomaly", "segment-not-captured"] == trouble.NONE - 2
