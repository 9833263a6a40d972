"""The sockets of this host beside a session that goes on: the same verdicts as the join of frames, and their history."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pandas as pd
import pytest

import analyzer
from analyzer.frames import schema
from analyzer.frames.verdicts import CATALOGUE, Verdict
from analyzer.host.end_keys import mixed
from analyzer.host.joined import join
from analyzer.host.socket_log import SocketLog
from analyzer.host.watched import watch, watch_counting
from analyzer.settings import Settings
from tests.frames import made
from tests.host import stage as stages
from tests.host.test_joined import AS_PLAYED, overfill

WHY_NOT = stages.usable()
real = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-")
pytestmark = [pytest.mark.kernels]


NEWS = ("program-has-not-closed", "accept-queue-full", "window-closed", "third-ack-missing")


class Played:
    """A live session of a stage on which every state was played, and one more snapshot of its sockets."""

    def __init__(self, stage: stages.Stage) -> None:
        with stage.inside():
            stage.pair(port=5025)  # before the session begins
            self.session = analyzer.live("any", settings=Settings(snapshot_s=0.5))
        try:
            stages.play_all_states(stage)
            with stage.inside():
                waits = stage.listener(port=5022)
                stage.drop("--dport", "5022", "--tcp-flags", "ALL", "ACK")
                stage.client(waits.getsockname(), wait=False)
                lost = stage.pair(port=5026)
                stage.drop("--dport", "5026")
                lost[0].send(b"w" * 300)
                overfill(stage)
                time.sleep(1.5)
                self.sockets = analyzer.sockets()
            time.sleep(0.6)
            time_ns = int(self.sockets["time"].iloc[0].value)
            self.rows, _ = watch(
                self.session._tracking, self.session._lock, self.sockets, time_ns, ["127.0.0.1", "::1"]
            )
            self.flows = self.session.flows()
            self.told = self.session.verdicts()
            until = time.monotonic() + 20  # a slow machine asks less often, and what has not held is not told yet
            while not set(NEWS) <= set(self.told["verdict"]) and time.monotonic() < until:
                time.sleep(0.3)
                self.told = pd.concat([self.told, self.session.verdicts()])
        finally:
            self.session.stop()
        self.analysis = self.session.analysis()
        self.joined = join(self.analysis.frames, self.sockets, ["127.0.0.1", "::1"])


@pytest.fixture(scope="module")
def played():
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    stage = stages.Stage()
    try:
        yield Played(stage)
    finally:
        stage.remove()


SHARED = [
    "address", "port", "peer_address", "peer_port", "verdict", "severity", "flow", "endpoint", "kernel_state", "packet_state",
    "pid", "process", "user", "reason",
]  # fmt: skip


@pytest.mark.root
@real
def test_it_says_what_the_join_of_frames_says(played):
    rows = played.rows[played.rows["verdict"].notna() & (played.rows["kernel_state"] != "LISTEN")]
    schema.check("live_sockets", played.rows)
    found, expected = (
        frame[SHARED].astype("str").sort_values(SHARED[:4]).reset_index(drop=True) for frame in (rows, played.joined)
    )
    pd.testing.assert_frame_equal(found, expected)
    ends = ["address", "port", "peer_address", "peer_port"]
    both = rows.assign(peer_port=rows["peer_port"].astype("uint16")).astype(dict.fromkeys(ends, "str"))
    both = both.merge(played.joined.astype(dict.fromkeys(ends, "str")), on=ends, suffixes=("", "_joined"))
    both = both[both["verdict"] != "agrees"]
    assert (both["frame"].isna() == both["frame_joined"].isna()).all()
    assert (both["frame"].dropna() == both["frame_joined"].dropna()).all()
    np.testing.assert_allclose(both["ago"], both["ago_joined"], atol=1e-3)


@pytest.mark.root
@real
def test_every_verdict_that_was_played_is_in_the_analysis(played):
    sockets = played.analysis.sockets
    schema.check("live_sockets", sockets)
    gone = {5023}  # closed under repair, which this stage does not play
    for port, end, verdict in AS_PLAYED:
        if port in gone or verdict in ("agrees", "accept-queue-full", "just-changed"):
            continue
        rows = sockets[sockets["port" if end == "server" else "peer_port"] == port]
        assert verdict in set(rows["verdict"]), (port, end)
    full = sockets[(sockets["port"] == 5021) & (sockets["kernel_state"] == "SYN_RCVD")]
    assert "accept-queue-full" in set(full["verdict"])
    listeners = sockets[sockets["kernel_state"] == "LISTEN"]
    crowded = listeners["accept_queue"] > listeners["accept_limit"]
    assert listeners.loc[~crowded, "verdict"].isna().all()
    assert set(listeners.loc[crowded, "verdict"]) == {"not-accepted"}  # nobody's SYN is waiting
    assert (listeners["accept_queue"] == 3).any()


@pytest.mark.root
@real
def test_the_rows_that_hold_at_a_moment_are_its_snapshot(played):
    sockets = played.analysis.sockets
    last = sockets[sockets["until"] == sockets["until"].max()]
    ends = ["address", "port", "peer_address", "peer_port", "cookie"]
    assert not last.duplicated(ends).any()
    states = last["kernel_state"].value_counts()
    assert states["LISTEN"] == (played.sockets["state"] == "LISTEN").sum()
    assert states["CLOSE_WAIT"] == (played.sockets["state"] == "CLOSE_WAIT").sum()
    assert (sockets["time"] <= sockets["until"]).all()
    assert (sockets.loc[sockets["snapshots"] == 1, "time"] == sockets.loc[sockets["snapshots"] == 1, "until"]).all()
    idle = sockets[(sockets["port"] == 5025) & (sockets["kernel_state"] == "ESTABLISHED")]
    assert len(idle) == 1, idle.to_dict("records")  # nothing of it changed: one row, however many snapshots
    assert idle["snapshots"].iloc[0] == played.session.counts.snapshots


@pytest.mark.root
@real
def test_flows_tell_their_sockets(played):
    schema.check("current_flows", played.flows)
    row = played.flows[played.flows["server_port"] == 5003].iloc[0]
    assert (row["client_state"], row["server_state"]) == ("FIN_WAIT_2", "CLOSE_WAIT")
    assert (row["client_kernel_state"], row["server_kernel_state"]) == ("FIN_WAIT_2", "CLOSE_WAIT")
    assert row["server_verdict"] == "program-has-not-closed"
    assert row["server_pid"] > 0
    number = int(row.name)
    assert set(played.analysis.flow(number).sockets["endpoint"]) == {"client", "server"}


@pytest.mark.root
@real
def test_news_of_verdicts_are_what_is_wrong(played):
    assert set(NEWS) <= set(played.told["verdict"])
    assert not played.told.duplicated(["address", "port", "peer_address", "peer_port", "cookie", "verdict"]).any()
    assert 5025 not in set(played.told["port"])  # it was there before


@pytest.mark.root
@real
def test_a_saved_session_keeps_its_sockets(played, tmp_path):
    loaded = analyzer.load(played.analysis.save(tmp_path / "saved"))
    pd.testing.assert_frame_equal(loaded.sockets, played.analysis.sockets)
    chosen = played.analysis.select(port=5003).sockets
    assert set(chosen["port"]) | set(chosen["peer_port"].dropna()) >= {5003}
    assert (chosen["port"].eq(5003) | chosen["peer_port"].eq(5003).fillna(value=False)).all()


@pytest.mark.root
@real
def test_the_summary_names_them(played):
    text = played.analysis.summary(width=200)
    assert "Sockets of this host, beside the packets" in text
    assert "program-has-not-closed" in text
    verdicts = {found.verdict: found for found in played.analysis.answers().sockets}
    assert verdicts["program-has-not-closed"].count >= 1
    assert verdicts["program-has-not-closed"].still >= 1
    assert not verdicts["program-has-not-closed"].at_least  # its FIN was seen
    assert "agrees" not in verdicts


# ------------------------------------------------------------------------------------------------------------ the history


def shown(at_s: float, *rows: dict) -> tuple[pd.DataFrame, np.ndarray]:
    """A snapshot of some sockets at a time; a port is what tells them apart."""
    ago = float("nan")
    frame = made.frame(
        "live_sockets",
        [
            {
                "time": made.at(at_s),
                "until": made.at(at_s),
                "snapshots": 1,
                "verdict": "agrees",
                "ago": ago,
                "cookie": 1,
            }
            | row
            for row in rows
        ],
    )
    return frame, mixed(frame["port"].to_numpy())


def test_a_socket_that_does_not_change_is_one_row():
    log = SocketLog(100)
    for second in range(5):
        log.add(*shown(second, {"port": 80}, {"port": 81, "receive_queue": second // 3}))
    frame = log.frame()
    frame = frame.sort_values(["port", "time"])
    assert frame["port"].tolist() == [80, 81, 81]
    assert frame["snapshots"].tolist() == [5, 3, 2]
    assert frame["until"].tolist() == [made.at(4), made.at(2), made.at(4)]
    assert frame["receive_queue"].tolist()[1:] == [0, 1]


def test_a_verdict_is_told_once_when_it_has_held():
    log = SocketLog(100)
    verdicts = [
        "agrees",
        "syn-not-answered",
        "syn-not-answered",
        "syn-not-answered",
        "agrees",
        "agrees",
        "not-accepted",
    ]
    told = [
        log.add(*shown(at, {"port": 80, "verdict": verdict}))["verdict"].tolist() for at, verdict in enumerate(verdicts)
    ]
    assert told == [[], [], ["syn-not-answered"], [], [], ["agrees"], []]


def test_what_was_there_before_and_saw_no_packet_is_not_told():
    log = SocketLog(100)
    told = []
    for at in range(4):
        ports = [{"port": 80, "verdict": "not-captured"}, {"port": 81, "verdict": "not-captured"}]
        told += log.add(*shown(at, *ports[: 1 + (at > 0)]))["port"].tolist()
    assert told == [81]


def test_no_more_rows_than_allowed_and_the_newest():
    log = SocketLog(10)
    for at in range(30):
        log.add(*shown(at, {"port": 80, "receive_queue": at}))
    frame = log.frame()
    assert len(frame) == 11
    assert frame["receive_queue"].tolist() == list(range(19, 30))
    assert log.forgotten == 19


def test_the_join_meets_twenty_thousand_sockets_quickly():
    """20,000 ordinary connections, both ends: well below a second of processor time on any machine."""
    rows = 20_000
    from analyzer.frames.tracking import Tracking

    tracking = Tracking()
    ports = np.arange(rows, dtype=np.uint16) + 20_000
    frame = made.frame(
        "sockets",
        [{"state": "ESTABLISHED", "address": "10.0.0.1", "peer_address": "10.0.0.2", "peer_port": 80, "inode": 1}],
    )
    frame = frame.iloc[np.zeros(rows, int)].reset_index(drop=True)
    frame["port"] = ports
    begun = time.thread_time()
    found, keys, over = watch_counting(tracking, threading.Lock(), frame, 10**18, [])
    assert time.thread_time() - begun < 1
    assert (found["verdict"] == CATALOGUE[Verdict.NOT_CAPTURED].name).all()
    assert len(set(keys.tolist())) == rows
    assert over == 0


def test_without_the_kernels_list_the_session_goes_on(monkeypatch):
    from analyzer.errors import HostError
    from analyzer.frames.tracking import Tracking
    from analyzer.host import watcher

    def refused(_port: int | None) -> pd.DataFrame:
        raise HostError("the kernel does not list its sockets")

    monkeypatch.setattr(watcher, "sockets", refused)
    one = watcher.Watcher(Tracking(), threading.Lock(), 1.0, None, 100, lambda _: None)
    one.join(10)
    assert "does not list its sockets" in one.said
    assert one.frame().empty


def test_a_snapshot_waits_for_the_packets_of_its_moment():
    if not hasattr(socket, "AF_NETLINK"):
        pytest.skip("needs Linux")
    from analyzer.frames.tracking import Tracking
    from analyzer.host.watcher import Watcher

    tracking = Tracking()
    watcher = Watcher(tracking, threading.Lock(), 1.0, None, 100, lambda _: None, lambda: 10)
    time.sleep(1.0)
    assert watcher.log.snapshots == 0
    tracking.last_ns = time.time_ns()
    limit = time.monotonic() + 20
    while not watcher.log.snapshots and time.monotonic() < limit:
        time.sleep(0.05)
    watcher.stop()
    watcher.join(10)
    assert watcher.log.snapshots == 1


def test_a_port_that_is_asked_for_limits_the_snapshots():
    if not hasattr(socket, "AF_NETLINK"):
        pytest.skip("needs Linux")
    from analyzer.frames.tracking import Tracking
    from analyzer.host.watcher import Watcher

    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)):
        port = one.getsockname()[1]
        watcher = Watcher(Tracking(), threading.Lock(), 1.0, port, 100, lambda _: None)
        limit = time.monotonic() + 20
        while not watcher.log.snapshots and time.monotonic() < limit:
            time.sleep(0.05)
        watcher.stop()
        watcher.join(10)
        assert watcher.now()["port"].tolist() == [port]
