"""Recorded retransmissions: the causes held against what the sender's own kernel counted, and seen from the receiver's side."""

from __future__ import annotations

from collections import Counter

import pytest

import analyzer
from analyzer.tracker.causes import CATALOGUE, NEEDLESS, Cause
from captures.recorder.recoveries import RECOVERIES
from tests import recordings
from tests.recordings import CAPTURES
from tests.twins import differences

NAMES = [one.name for one in RECOVERIES]

#: The sender's counters, and the causes that they count.
COUNTERS = {
    "TCPTimeouts": ("rto",),
    "TCPLossProbes": ("tail-loss-probe", "spurious-tail-loss-probe"),
    "TCPFastRetrans": ("fast", "spurious-fast"),
    "TCPSlowStartRetrans": ("rto-recovery",),
    "TCPKeepAlive": ("keep-alive",),
    "TCPWinProbe": ("window-probe",),
}
FOR_NOTHING = {"spurious-rto": "TCPTimeouts"}  # none of these recordings has a needless segment of such a recovery

#: At the receiver: kind and cause of each row that has one.
BEHIND = {
    "again-after-an-outage": [],  # all first sendings were lost: nothing came twice
    "again-without-sack": [("retransmission", "fast")],
    "again-fast": [("retransmission", "fast")] * 2,
    "again-as-a-probe": [],
    "again-for-nothing": [("retransmission", "spurious-tail-loss-probe"), ("retransmission", "spurious-rto")],
    "again-though-only-late": [("out-of-order", "reordered"), ("retransmission", "spurious-fast")],
    "overtaken-by-its-own-repetition": [
        *[("out-of-order", "reordered")] * 5,
        ("retransmission", "reordered"),
        ("retransmission", "spurious-fast"),
    ],
    "overtaken": [("out-of-order", "reordered")] * 2,
    "doubled-by-the-network": [("copies", "copy")],
    "kept-alive": [("keep-alive", "keep-alive")] * 3,
    "window-closed": [("window-probe", "window-probe")] * 2,
    "lost-twice": [("retransmission", "fast")],
}


def counted(name: str) -> dict[str, int]:
    _, rows = recordings.table(CAPTURES / name / "counted.csv")
    return {row["counter"]: int(row["value"]) for row in rows if row["host"] == "client"}


def explained(name: str, host: str, **options):
    rows = analyzer.read(CAPTURES / name / f"{host}.pcap", **options).anomalies
    return rows[rows["cause"].notna()]


@pytest.mark.parametrize("name", NAMES)
def test_the_causes_are_what_the_senders_kernel_counted(name):
    kernel, rows = counted(name), explained(name, "client")
    causes = Counter(rows["cause"])
    for needless, counter in FOR_NOTHING.items():
        assert counter in COUNTERS
        causes["rto"] += causes.pop(needless, 0)
    found = {counter: sum(causes.pop(cause, 0) for cause in names) for counter, names in COUNTERS.items()}
    assert found == {counter: kernel[counter] for counter in COUNTERS}
    assert causes == Counter(), "a cause that the kernel does not count"
    again = rows[rows["kind"].isin(["retransmission", "fin-retransmitted"])]
    assert len(again) == kernel["RetransSegs"]


@pytest.mark.parametrize("name", NAMES)
def test_the_needless_ones_are_those_that_the_receiver_had(name):
    """Linux counts the DSACKs that it gets; without one nothing was sent for nothing here."""
    rows = explained(name, "client")
    needless = rows["cause"].isin([CATALOGUE[cause].name for cause in NEEDLESS.values()])
    came_twice = counted(name)["TCPDSACKRecv"] if name != "doubled-by-the-network" else 0
    assert needless.sum() == came_twice
    assert rows.loc[needless, "evidence_frame"].notna().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_receivers_side(name):
    rows = explained(name, "server")
    assert list(zip(rows["kind"], rows["cause"], strict=True)) == BEHIND[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("host", ["client", "server"])
def test_the_twin_says_the_same(name, host):
    assert differences(CAPTURES / name / f"{host}.pcap") == []


def test_the_wait_fits_the_timer():
    """RFC 6298: each time-out doubles the next; what was waited is the time-out, to a tick or two of 4 ms and a delay."""
    rows = explained("again-without-sack", "client")
    rows = rows[rows["cause"] == "rto"]
    assert rows["rto"].tolist() == pytest.approx([0.24, 0.48, 0.96], rel=0.05)
    assert (rows["waited"] - rows["rto"]).between(0, 0.06).all()


def test_a_copy_that_is_kept_is_no_retransmission_by_its_cause():
    rows = explained("doubled-by-the-network", "server", copies="keep")
    assert list(zip(rows["kind"], rows["cause"], strict=True)) == [("retransmission", "copy")] * 2
    assert (rows["related_frame"] == rows["frame"] - 2).all()


def test_losses_with_all_copies_kept_are_told_from_copies():
    """In the middle, each packet twice: by the cause one sees which of the repetitions the ends sent."""
    name = "copies-and-losses"
    _, kernel = recordings.table(CAPTURES / name / "retransmitted.csv")
    for host in ("client", "server"):
        analysis = analyzer.read(CAPTURES / name / f"{host}.pcap")
        rows = analysis.anomalies
        again = rows[rows["kind"].str.contains("retransmi") & (rows["endpoint"] == host)]
        sent = next(int(row["segments"]) for row in kernel if row["host"] == host)
        assert again["cause"].notna().all()
        assert again["frame"].nunique() == sent
        assert not again["cause"].isin([CATALOGUE[Cause.COPY].name, CATALOGUE[Cause.UNKNOWN].name]).any()
