"""Exchanges that nobody would have: whatever comes, the frames fit each other and the table."""

from __future__ import annotations

import random

import pytest

from analyzer.tracker.states import TRANSITIONS
from tests.tracker.exchange import play

FLAGS = ["S", "S", "S.", "S.", ".", ".", "P.", "F.", "F.", "FP.", "R", "R."]
ARROWS = {(row.old.name, row.event.name, row.new.name) for row in TRANSITIONS}


def exchanges(seed: int, count: int) -> str:
    """Many short connections at once, each of segments whose numbers are mostly near where they should be."""
    dice = random.Random(seed)
    lines = []
    for _ in range(count * 12):
        port, life = 40000 + dice.randrange(count), "'" * dice.choice([0, 0, 0, 0, 1])
        source, target = dice.choice([("C", "S"), ("S", "C")])
        seq, ack = (dice.choice([0, 1, 1, 2, 3, 6, 7, dice.randrange(2**32)]) for _ in range(2))
        flags = dice.choice(FLAGS)
        line = f"+{dice.choice([0, 0.001, 0.01, 0.3])} {source}{life}>{target}{life} {flags} seq={seq} port={port}"
        if "." in flags:
            line += f" ack={ack}"
        if "P" in flags:
            line += f" len={dice.choice([1, 5, 1000])}"
        lines.append(line + dice.choice(["", "", "", " win=0", " mss=1460 wscale=7", " cap=60"]))
        if dice.random() < 0.02:
            lines.append("+70 timer")
        if dice.random() < 0.05:
            lines.append(f"+0 {source}>{target} icmp=3/3 seq=0 port={port}")
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(6))
def test_anything(seed):
    played = play(exchanges(seed, 100), numbers=False, chains=False)
    analysis, segments = played.analysis, sum(line.is_segment for line in played.lines)
    packets, transitions = analysis.packets, analysis.transitions
    assert len(packets) == segments
    assert analysis.flows[["client_packets", "server_packets"]].sum().sum() == segments
    assert set(zip(transitions["old"], transitions["event"], transitions["new"], strict=True)) <= ARROWS
    assert transitions["time"].is_monotonic_increasing
    proven = transitions["evidence"] == "proven"
    assert transitions.loc[proven, "proven_by"].notna().all()
    assert transitions.loc[transitions["evidence"] == "assumed", "proven_by"].isna().all()
    assert (transitions["refuted_by"].notna() == (transitions["evidence"] == "refuted")).all()
    shown = transitions[proven & transitions["frame"].notna()]
    assert (shown["proven_by"] >= shown["frame"]).all()
    assert analysis.anomalies["frame"].dropna().isin([line.number for line in played.lines]).all()
    counts = analysis.state_counts("10s")
    assert (counts.to_numpy() >= 0).all()
    assert analysis.summary()
    assert analysis._repr_html_()


def test_who_sent_it_proves_it():
    """A move is proven by a segment that its end sent, but for a SYN-ACK not seen: the client's acknowledgement shows it."""
    played = play(exchanges(99, 100), numbers=False, chains=False)
    packets, rows = played.analysis.packets, played.analysis.transitions
    rows = rows[(rows["evidence"] == "proven") & ~rows["event"].isin(["RCV_SYN", "SEND_SYN_ACK"])]
    shown = packets.loc[rows["proven_by"].astype("int64")]
    assert len(rows) > 100
    assert list(rows["address"].astype("str")) == list(shown["src"].astype("str"))
    assert list(rows["port"]) == list(shown["sport"])
