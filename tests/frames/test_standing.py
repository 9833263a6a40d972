"""What is new of a session, asked for again and again, says what its frames say in the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analyzer
from analyzer.decode.text_source import open_source
from analyzer.frames import schema
from analyzer.frames.standing import Follower, Standing, one_flow, standing
from analyzer.frames.tracking import Tracking
from analyzer.frames.vocabulary import STATES
from tests.segments import Rendering, parse
from tests.tracker.starts import talked

pytestmark = pytest.mark.kernels

CAPTURES = sorted((Path(__file__).parents[2] / "captures").glob("*/*.pcap"))
SUMS = ("bytes", "packets")


def fed(path: Path | str, batch_records: int):
    """The tracking after each batch of a capture, with what was read."""
    settings = analyzer.Settings(batch_records=batch_records)
    source, tracking = open_source([str(path)], settings=settings), Tracking(settings)
    try:
        for records in source.batches():
            tracking.feed(records)
            yield tracking, source.info
    finally:
        source.close()


class Kept:
    """All answers put together, as somebody who shows them does."""

    def __init__(self) -> None:
        self.seen = Follower()
        self.rows: dict[int, dict] = {}
        self.addresses: list[str] = []
        self.anomalies: list[pd.DataFrame] = []
        self.last: Standing | None = None

    def ask(self, tracking: Tracking, info) -> Standing:
        said = self.last = standing(tracking, info, self.seen)
        self.addresses += said.addresses
        self.anomalies.append(said.anomalies)
        columns = {name: values.tolist() for name, values in said.flows.items()}
        for row, flow in enumerate(columns["flow"]):
            rtt = self.rows.get(flow, {}).get("rtt", np.nan)
            self.rows[flow] = {name: values[row] for name, values in columns.items()}
            if np.isnan(self.rows[flow]["rtt"]):
                self.rows[flow]["rtt"] = rtt
        return said


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_was_new_put_together_is_what_the_frames_say(path):
    kept = Kept()
    for tracking, info in fed(path, 7):
        kept.ask(tracking, info)
    analysis = analyzer.read(path)
    flows = analysis.flows
    assert kept.last.numbers[sorted(kept.rows)].tolist() == flows.index.tolist()
    last_ns = int(analysis.capture.last.value)
    for (_, expected), (_, row) in zip(flows.iterrows(), sorted(kept.rows.items()), strict=True):
        for end in ("client", "server"):
            assert kept.addresses[row[end]] == expected[end]
            assert row[f"{end}_port"] == expected[f"{end}_port"]
            assert [row[f"{end}_{name}"] for name in SUMS] == [expected[f"{end}_{name}"] for name in SUMS]
            due = 0 < row[f"{end}_deadline_ns"] <= last_ns
            assert ("CLOSED" if due else STATES[row[f"{end}_state"]]) == expected[f"{end}_state"]
        assert (row["start_ns"], row["end_ns"]) == (expected["start"].value, expected["end"].value)
        assert row["irtt"] == pytest.approx(expected["irtt"], nan_ok=True)
        mine = analysis.packets[analysis.packets["flow"] == expected.name]
        assert row["rtt"] == pytest.approx(
            mine["rtt"].dropna().iloc[-1] if mine["rtt"].notna().any() else np.nan, nan_ok=True
        )
        assert row["answered"] == pd.notna(expected["open_2"])


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_one_connection_is_what_the_frames_have_of_it(path):
    for tracking, info in fed(path, 8192):  # noqa: B007  # the last one counts
        pass
    analysis = analyzer.read(path)
    for number in analysis.flows.index:
        flow = one_flow(tracking, info, number, 5)
        whole = analysis.flow(number)
        assert flow.segments == len(whole.packets)
        assert flow.packets.astype(object).equals(whole.packets.tail(5)[flow.packets.columns].astype(object))
        due = whole.transitions["frame"].notna()  # timers end with the capture
        expected = whole.transitions[due].reset_index(drop=True)
        assert flow.transitions.astype(object).equals(expected.astype(object))
        late = {"syn-unanswered", "one-direction"}  # only the end shows them, and which segments ICMP errors quote
        expected = whole.anomalies[~whole.anomalies["kind"].isin(late)].reset_index(drop=True)
        columns = [name for name in expected.columns if name != "related_frame"]
        assert flow.anomalies[columns].astype(object).equals(expected[columns].astype(object))
        for name in ("packets", "transitions", "anomalies"):
            schema.check(name, getattr(flow, name))


def test_nothing_new_is_nothing(tmp_path):
    path = next(path for path in CAPTURES if path.parent.name == "close-wait")
    kept = Kept()
    for tracking, info in fed(path, 8192):
        kept.ask(tracking, info)
        again = kept.ask(tracking, info)
    assert len(again.flows["flow"]) == len(again.anomalies) == len(again.addresses) == 0
    assert not again.anew


def test_what_a_forged_syn_opened_is_no_connection_of_its_own(tmp_path):
    """It has a number inside until the sender goes on in the old ones; whoever comes behind it moves up then."""
    path = tmp_path / "forged.pcap"
    path.write_bytes(
        Rendering().capture(
            parse(
                f"""{talked()}
                10.00 C'>S S  seq=0
                10.01 S>C .  seq=8 ack=6
                10.10 C>S S  seq=0 port=41000
                10.50 C>S P. seq=6 ack=8 len=5
                10.51 S>C .  seq=8 ack=11
                """
            )
        )
    )
    kept = Kept()
    for tracking, info in fed(path, 1):
        said = kept.ask(tracking, info)
    analysis = analyzer.read(path)
    assert sorted(kept.rows) == [0, 1, 2]
    assert said.numbers.tolist() == [0, -1, 1]
    assert analysis.flows.index.tolist() == [0, 1]
    for number in (0, 1):
        flow, whole = one_flow(tracking, info, number, 100), analysis.flow(number)
        assert flow.packets.astype(object).equals(whole.packets.astype(object))
        assert flow.transitions["endpoint"].tolist() == whole.transitions["endpoint"].tolist()
