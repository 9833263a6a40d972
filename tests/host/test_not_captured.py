"""Sockets of which the capture saw no packet: what the kernel's word alone is trouble for is said, and all else is a note."""

from __future__ import annotations

import socket
from pathlib import Path

import pandas as pd
import pytest

import analyzer
from analyzer.frames import schema
from analyzer.frames.verdicts import CATALOGUE
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

UNACCEPTED = 5031
AS_PLAYED = [
    (5001, "client", "not-captured"), (5001, "server", "program-has-not-read"), (5002, "server", "not-captured"),
    (5003, "client", "peer-has-not-closed"), (5003, "server", "program-has-not-closed"), (5004, "client", "not-captured"),
    (5005, "client", "not-captured"), (5006, "client", "not-captured"), (5006, "server", "third-ack-missing"),
    (5007, "client", "fin-not-acknowledged"), (5008, "client", "fin-not-acknowledged"),
    (5009, "client", "peer-has-not-closed"), (5009, "server", "fin-not-acknowledged"), (5011, "client", "not-captured"),
    (5011, "server", "not-accepted"), (5015, "client", "window-closed"), (5015, "server", "program-has-not-read"),
    (UNACCEPTED, "client", "peer-has-not-closed"), (UNACCEPTED, "server", "not-accepted"),
]  # fmt: skip


class Unseen:
    """Every state, and a session on an interface on which nothing passes; no other one than the sockets' own tells."""

    def __init__(self, stage: stages.Stage) -> None:
        stages.play_all_states(stage)
        with stage.inside():
            left = stage.listener(port=UNACCEPTED)
            stage.client(left.getsockname()).shutdown(socket.SHUT_WR)
            stage.until(lambda: "CLOSE_WAIT" in analyzer.socket_states(UNACCEPTED)["state"].tolist())
            self.session = analyzer.live("quiet0", settings=Settings(snapshot_s=0.3))
        told: list[pd.DataFrame] = []

        def all_told() -> bool:
            told.append(self.session.verdicts())
            return {verdict for _, _, verdict in AS_PLAYED} - {"not-captured"} <= set(pd.concat(told)["verdict"])

        try:
            until(all_told)
            with stage.inside():
                self.sockets = analyzer.sockets()
            self.rows = self.session.sockets()
        finally:
            self.session.stop()
        self.told = pd.concat(told)
        self.analysis = self.session.analysis()
        self.joined = join(self.analysis.frames, self.sockets)


@pytest.fixture(scope="module")
def unseen():
    stage = stages.Stage()
    try:
        for command in (
            "ip link add quiet0 type veth peer name quiet1",
            "ip link set quiet0 up",
            "ip link set quiet1 up",
        ):
            if stage.tool("sh", "-c", f"{command} >&2 || echo no"):
                pytest.skip("no interface can be made here")
        yield Unseen(stage)
    finally:
        stage.remove()


def of(frame: pd.DataFrame, port: int, end: str) -> pd.DataFrame:
    """The rows of a server's port at one end; those that listen are not ends."""
    connected = frame[frame["peer_port"].notna()]
    return connected[connected["port" if end == "server" else "peer_port"] == port]


@pytest.mark.parametrize(("port", "end", "verdict"), AS_PLAYED, ids=[f"{p}-{e}-{v}" for p, e, v in AS_PLAYED])
def test_what_the_kernels_word_is_enough_for(unseen, port, end, verdict):
    for frame in (unseen.rows, unseen.joined):
        rows = of(frame, port, end)
        assert set(rows["verdict"]) == {verdict}, rows["reason"].tolist()
        assert set(rows["severity"]) == {next(entry.severity for entry in CATALOGUE.values() if entry.name == verdict)}
        assert rows["flow"].isna().all()
        assert rows["frame"].isna().all()


def test_the_reason_says_that_nothing_was_seen(unseen):
    schema.check("live_sockets", unseen.rows)
    schema.check("joined", unseen.joined)
    pile = of(unseen.rows, 5003, "server")["reason"].iloc[0]
    assert "the peer's FIN was not captured (before the capture began, or not past it); the program python" in pile
    left = of(unseen.rows, UNACCEPTED, "server")["reason"].iloc[0]
    assert left.startswith(
        "kernel says CLOSE_WAIT, no packet of it was captured (before the capture began, or not past"
    )
    assert "), the program has not accepted it: 1 wait, the limit is 16" in left
    assert not unseen.rows["reason"].str.contains("None|nan|unknown time", regex=True).any()
    assert "700 bytes wait for the program" in of(unseen.rows, 5001, "server")["reason"].iloc[0]


def test_they_are_told_and_summed_up(unseen):
    assert "not-captured" not in set(unseen.told["verdict"])
    lines = list(verdict_lines(unseen.told))
    assert any(".5003 " in line and "warning program-has-not-closed" in line for line in lines)
    behind_a_filter = list(verdict_lines(unseen.told, not_captured=False))
    assert all("listens" in line for line in behind_a_filter)
    found = {said.verdict: said for said in unseen.analysis.answers().sockets}
    assert found["program-has-not-closed"].severity == "warning"
    assert found["program-has-not-closed"].at_least  # its age is that of the session
    (line,) = [line for line in unseen.analysis.summary(width=200).split("\n") if "program-has-not-closed" in line]
    assert "  at least " in line


def test_the_screen_counts_them_among_its_warnings(unseen):
    from analyzer.frames.standing import Follower, standing
    from analyzer.views.board import Board
    from analyzer.views.listed import listed

    board = Board()
    said = standing(unseen.session._tracking, unseen.session._source.info, Follower())
    board.update(said, unseen.rows, 1000.0)
    rows = [listed(board, int(place)) for place in board.slots.in_use()]
    troubles = {row.server.port: row.trouble.name for row in rows if row.trouble is not None}
    assert troubles[5003] == "program-has-not-closed"
    assert troubles[UNACCEPTED] == "not-accepted"


def test_the_age_of_what_was_there_before_is_a_least(unseen):
    """Of a state that begins while the screen looks on it is known."""
    from analyzer.frames.standing import Follower, standing
    from analyzer.views.board import Board
    from analyzer.views.listed import listed

    board, seen = Board(), Follower()
    later = unseen.rows.copy()
    moved = later["port"].eq(5003) & later["kernel_state"].eq("CLOSE_WAIT")
    assert moved.sum() == 1
    later.loc[moved, "kernel_state"] = "LAST_ACK"
    later.loc[moved, "verdict"] = "fin-not-acknowledged"

    def reason(rows: pd.DataFrame, now: float) -> str:
        board.update(standing(unseen.session._tracking, unseen.session._source.info, seen), rows, now)
        shown = [listed(board, int(place)) for place in board.slots.in_use()]
        return next(row.reason for row in shown if row.server.port == 5003)

    reason(unseen.rows, 1000.0)
    assert reason(unseen.rows, 1009.7).startswith("for at least 9.7 s kernel says CLOSE_WAIT")
    reason(later, 1010.0)
    assert reason(later, 1013.0).startswith("for 3.0 s kernel says")


def test_the_rule_is_the_catalogues():
    page = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text(encoding="utf-8")
    (rule,) = [line for line in page.splitlines() if line.startswith("| program-has-not-closed")]
    assert "packets" not in rule
