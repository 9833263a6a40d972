"""A full accept queue: the kernel drops the SYNs of those who come then, and nothing but its listener tells why."""

from __future__ import annotations

import contextlib
import subprocess

import pandas as pd
import pytest

import analyzer
from analyzer.frames import schema
from analyzer.host.joined import join
from analyzer.settings import Settings
from analyzer.views.verdicts import verdict_lines
from tests.host import stage as stages
from tests.test_session import until

WHY_NOT = stages.usable()
pytestmark = [
    pytest.mark.kernels,
    pytest.mark.root,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-"),
]

SERVER, CLIENT, PORT, MORE = "10.99.7.1", "10.99.7.2", 5040, 5


@contextlib.contextmanager
def staged(count: int):
    made = []
    try:
        for _ in range(count):
            made.append(stages.Stage())  # noqa: PERF401  # those made before one that fails are removed too
        yield made
    finally:
        for stage in made:
            stage.remove()


class Filled:
    """A session on the server's side, of a listener that takes two and does not accept, and of those who came then."""

    def __init__(self, server: stages.Stage, client: stages.Stage, address: str, interface: str) -> None:
        with server.inside():
            listener = server.listener(address, PORT, backlog=1)
            self.session = analyzer.live(interface, settings=Settings(snapshot_s=0.3))
        self.told: list[pd.DataFrame] = []
        self.taken = 0
        try:
            self.session.ready.wait(120)
            with client.inside():
                for _ in range(2):
                    client.client((address, PORT))
            with server.inside():
                server.until(lambda: self._waiting() == 2)
            until(lambda: "not-accepted" in set(self.listener()["verdict"].dropna()))
            self.before = self.listener()
            with client.inside():
                for _ in range(MORE):
                    client.client((address, PORT), wait=False)
            until(self._is_told)
            with server.inside():
                self.sockets = analyzer.sockets()
            self.flows, self.rows, self.full = self.session.flows(), self.session.sockets(), self.listener()
            listener.setblocking(False)
            until(lambda: self._accepted(listener, server) > 2)  # they try again after 1, 3, 7 s
            until(lambda: self._accepted(listener, server) and self.listener()["verdict"].isna().all())
            self.last = self.session.sockets()
        finally:
            self.session.stop()
        self.analysis = self.session.analysis()

    def _waiting(self) -> int:
        shown = analyzer.sockets(PORT)
        return int(shown.loc[shown["state"] == "LISTEN", "accept_queue"].iloc[0])

    def listener(self) -> pd.DataFrame:
        rows = self.session.sockets()
        return rows[rows["kernel_state"] == "LISTEN"]

    def _is_told(self) -> bool:
        self.told.append(self.session.verdicts())
        rows = pd.concat(self.told)
        full = rows[rows["verdict"] == "accept-queue-full"]
        return len(full[full["endpoint"] == "server"]) == MORE and (full["kernel_state"] == "LISTEN").any()

    def _accepted(self, listener, server: stages.Stage) -> int:
        with contextlib.suppress(BlockingIOError):
            while True:
                server.keep(listener.accept()[0])
                self.taken += 1
        return self.taken


@pytest.fixture(scope="module")
def from_afar():
    with staged(2) as (server, client):
        wire = [f"q{client.name[-6:]}{end}" for end in "ab"]
        commands = [
            ["ip", "-n", server.name, "link", "add", wire[0], "type", "veth", "peer", wire[1], "netns", client.name]
        ]
        for stage, name, address in ((server, wire[0], SERVER), (client, wire[1], CLIENT)):
            commands += [
                ["ip", "-n", stage.name, "address", "add", f"{address}/24", "dev", name],
                ["ip", "-n", stage.name, "link", "set", name, "up"],
            ]
        for command in commands:
            if subprocess.run(command, check=False, capture_output=True).returncode:
                pytest.skip("no virtual cable can be made here")
        yield Filled(server, client, SERVER, wire[0])


@pytest.fixture(scope="module")
def at_home():
    with staged(1) as (stage,):
        yield Filled(stage, stage, "127.0.0.1", "lo")


@pytest.fixture(params=["from_afar", "at_home"])
def filled(request):
    return request.getfixturevalue(request.param)


def test_each_syn_that_is_dropped_says_why(filled):
    ignored = filled.flows[filled.flows["handshake"] == "syn only"]
    assert len(ignored) == MORE
    assert set(ignored["server_verdict"]) == {"accept-queue-full"}
    rows = filled.rows[(filled.rows["verdict"] == "accept-queue-full") & (filled.rows["endpoint"] == "server")]
    schema.check("live_sockets", filled.rows)
    assert rows["flow"].tolist() == ignored.index.tolist()
    assert (rows["severity"] == "error").all()
    assert rows["kernel_state"].isna().all()
    assert rows["reason"].str.contains("the kernel drops it; the accept queue is full: 2 wait, the limit is 1").all()
    others = filled.flows[filled.flows["handshake"] == "complete"]
    assert set(others["server_verdict"]) == {"not-accepted"}


def test_the_listener_is_flagged(filled):
    (before,) = filled.before.to_dict("records")
    assert (before["verdict"], before["severity"]) == ("not-accepted", "warning")
    assert before["reason"].endswith("whoever comes next is turned away")
    (full,) = filled.full.to_dict("records")
    assert (full["verdict"], full["severity"]) == ("accept-queue-full", "error")
    assert full["reason"].startswith("listens; the accept queue is full: 2 wait, the limit is 1; it listens for python")
    assert full["reason"].endswith(f"{MORE} SYNs are not answered")
    assert (full["accept_queue"], full["accept_limit"]) == (2, 1)


def test_it_is_told_and_summed_up(filled):
    told = pd.concat(filled.told)
    lines = [line for line in verdict_lines(told) if "error accept-queue-full" in line]
    (listener,) = [line for line in lines if "listens; the accept queue is full" in line]
    assert f".{PORT} error" in listener  # it has no peer
    assert not any("NA" in line or "nan" in line for line in lines)
    assert "accept-queue-full" in filled.analysis.summary(width=200)


def test_the_join_of_frames_says_the_same(filled):
    joined = join(filled.session.analysis().frames, filled.sockets)
    full = joined[(joined["verdict"] == "accept-queue-full") & (joined["endpoint"] == "server")]
    assert len(full) == MORE
    assert full["socket"].isna().all()


def test_when_there_is_room_again_nothing_is_full(filled):
    assert "accept-queue-full" not in set(filled.last["verdict"])
    assert len(filled.last[filled.last["kernel_state"] == "LISTEN"]) == 1


def test_a_client_on_this_host_learns_it_too(at_home):
    clients = at_home.rows[at_home.rows["kernel_state"] == "SYN_SENT"]
    assert len(clients) == MORE
    assert set(clients["verdict"]) == {"accept-queue-full"}
    assert clients["reason"].str.contains("nobody answered; the accept queue is full: 2 wait").all()


def test_a_client_of_another_host_is_not_told_of_a_listener_here(from_afar):
    """It listens on the same port, which has nothing to do with it."""
    assert "SYN_SENT" not in set(from_afar.rows["kernel_state"].dropna())
