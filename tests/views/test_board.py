"""The live screen's model: recorded captures played to it, kernel's sockets beside them."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analyzer
from analyzer.decode.text_source import open_source
from analyzer.frames import eviction, schema
from analyzer.frames.standing import Follower, standing
from analyzer.frames.tracking import Tracking
from analyzer.frames.vocabulary import STATES
from analyzer.tracker.states import State
from analyzer.views import trouble
from analyzer.views.board import ENDED_S, MARKED_S, Board
from analyzer.views.listed import Row, listed
from analyzer.views.played import Played
from analyzer.views.selection import KEYS, Selection
from tests.frames import made, rounds
from tests.segments import Rendering, parse
from tests.tracker.starts import talked

pytestmark = pytest.mark.kernels

CAPTURES = Path(__file__).parents[2] / "captures"


class Stage:
    """A capture, a board, and what the board shows after so many seconds."""

    def __init__(self, capture: str, kernel=None, own=()) -> None:
        self.played = Played([str(CAPTURES / capture)], kernel, own)
        self.board, self.seen = Board(own), Follower()

    def at(self, seconds: float) -> list[Row]:
        self.played.play(seconds)
        said = self.played.standing(self.seen)
        self.board.update(said, self.played.sockets(), self.played.now)
        return self.rows()

    def rows(self, **asked) -> list[Row]:
        return [listed(self.board, int(place)) for place in Selection(**asked).of(self.board)]


@pytest.fixture
def staged():
    """Makes stages, and closes their captures."""
    with contextlib.ExitStack() as captures:

        def make(*asked) -> Stage:
            stage = Stage(*asked)
            captures.callback(stage.played.close)
            return stage

        yield make


def states(row: Row) -> tuple[str, str]:
    return row.client.state, row.server.state


def socket_row(state: str, local: tuple[str, int], peer: tuple[str, int] | None = None, **more) -> dict:
    port = None if peer is None else peer[1]
    return {"state": state, "address": local[0], "port": local[1], "peer_address": peer and peer[0], "peer_port": port,
            "receive_queue": 0, "send_queue": 0, "inode": 7, "cookie": 8} | more  # fmt: skip


def test_a_connection_opens_talks_and_closes_before_the_eyes(staged):
    """life-of-a-connection: open at 0, FIN of the client at 0.6007, its acknowledgement 41 ms later, the server's at 0.8."""
    stage = staged("life-of-a-connection/any.pcap")
    (row,) = stage.at(0.0)
    assert states(row) == ("SYN_SENT", "LISTEN")
    assert (row.client.proven, row.server.proven, row.new, row.client.before) == (True, False, True, "")
    (row,) = stage.at(0.1)
    assert states(row) == ("ESTABLISHED", "ESTABLISHED")
    assert (row.client.before, row.server.before) == ("SYN_SENT", "LISTEN")
    (row,) = stage.at(0.61)
    assert states(row) == ("FIN_WAIT_1", "CLOSE_WAIT")
    assert (row.client.before, row.octets) == ("ESTABLISHED", (13, 28))
    assert row.rates[0] > 0
    (row,) = stage.at(0.7)
    assert (row.client.state, row.client.before) == ("FIN_WAIT_2", "FIN_WAIT_1")
    (row,) = stage.at(1.0)
    assert states(row) == ("TIME_WAIT", "CLOSED")
    assert not row.ended
    (row,) = stage.at(1.1 + MARKED_S)
    assert (row.client.before, row.server.before, row.new) == ("", "", False)


def test_what_no_packet_ends_ends_by_its_timer_and_is_let_go_of_later(staged):
    stage = staged("life-of-a-connection/any.pcap")
    stage.at(1.0)
    (row,) = stage.at(60.0)
    assert states(row) == ("TIME_WAIT", "CLOSED")
    (row,) = stage.at(61.0)
    assert states(row) == ("CLOSED", "CLOSED")
    assert (row.ended, row.client.before) == (True, "TIME_WAIT")
    assert stage.rows(ended=False) == []
    assert len(stage.at(60.5 + ENDED_S)) == 1
    assert stage.at(62.0 + ENDED_S) == []
    assert len(stage.board.slots) == 0


def test_slots_are_used_again_and_rows_keep_their_ids(staged):
    stage = staged("refused/any.pcap")
    first = {row.number: row.id for row in stage.at(3.0)}
    assert len(first) == 3
    assert {row.number: row.id for row in stage.at(4.0)} == first
    assert stage.at(100.0) == []
    slots = stage.board.slots
    assert len(slots.new(2)) == 2
    assert slots.used == 3, "no more room than before"
    assert not set(slots["id"].tolist()) & set(first.values())


@pytest.mark.parametrize("capture", ["many-connections/eth.pcap", "close-wait/any.pcap", "closed-by-server/any.pcap"])
def test_the_counts_are_those_of_the_capture_at_any_moment(staged, capture):
    """As long as nothing is refuted later: then the capture's say what was, and ours said what was known."""
    analysis = analyzer.read(CAPTURES / capture)
    stage = staged(capture, None, analysis.local_addresses)
    for part in (0.2, 0.5, 0.9):
        seconds = part * analysis.capture.duration_s
        stage.at(seconds)
        moment = pd.Timestamp(int(stage.played.now * 1e9), tz="UTC")
        expected = analysis.states_at(moment)
        found = dict(zip(STATES, stage.board.counts().tolist(), strict=True))
        assert {name: found[name] for name in expected.index} == expected.to_dict()


def test_a_refused_attempt_is_worse_than_one_left_open_and_says_why(staged):
    stage = staged("many-connections/eth.pcap")
    stage.at(2.5)
    rows = stage.at(4.0)
    ranks = [trouble.NONE if row.trouble is None else trouble.ORDER.index(row.trouble) for row in rows]
    assert ranks == sorted(ranks)
    assert rows[0].trouble.name == "refused"
    assert "answered with RST (frame " in rows[0].reason
    assert rows[-1].trouble is None
    kinds = {row.trouble.name for row in rows if row.trouble}
    assert {"refused", "reset", "CLOSE_WAIT"} <= kinds


def test_what_was_sent_again_is_counted(staged):
    stage = staged("copies-and-losses/any.pcap")
    analysis = analyzer.read(CAPTURES / "copies-and-losses/any.pcap")
    flows = analysis.flows
    expected = flows["client_retransmitted"] + flows["server_retransmitted"]
    expected += flows[["n_syn_retransmitted", "n_synack_retransmitted", "n_fin_retransmitted"]].sum(axis=1)
    assert (flows["n_syn_retransmitted"] > 0).any()
    stage.at(0.5)
    rows = stage.at(analysis.capture.duration_s + 0.1)
    assert sum(row.retransmitted for row in rows) > 5
    assert {row.number: row.retransmitted for row in rows} == {row.number: expected[row.number] for row in rows}


def test_a_fin_with_data_that_comes_again_is_one_segment(tmp_path):
    path = tmp_path / "fin.pcap"
    path.write_bytes(
        Rendering().capture(
            parse(
                f"""{talked()}
                10.0 C>S FP. seq=6 ack=8 len=5
                10.4 C>S FP. seq=6 ack=8 len=5
                11.2 C>S FP. seq=6 ack=8 len=5
                """
            )
        )
    )
    played = Played([str(path)])
    board = Board()
    played.play(20.0)
    board.update(played.standing(Follower()), played.sockets(), played.now)
    played.close()
    assert {"fin-retransmitted", "retransmission"} <= set(analyzer.read(path).anomalies["kind"])
    assert [listed(board, int(place)).retransmitted for place in board.slots.in_use()] == [2]


def test_what_passes_is_forgotten_what_stays_is_not(staged):
    stage = staged("copies-and-losses/any.pcap")
    duration = analyzer.read(CAPTURES / "copies-and-losses/any.pcap").capture.duration_s
    during = [row.trouble.name for row in stage.at(duration + 0.1) if row.trouble]
    assert any("retransm" in name for name in during)
    after = [row.trouble.name for row in stage.at(duration + trouble.PASSES_S + 1) if row.trouble]
    assert not any("retransm" in name for name in after)


def test_an_attempt_that_was_given_up_was_unanswered(staged):
    stage = staged("unanswered-syn/any.pcap")
    (row, *_) = stage.at(0.0)
    assert row.trouble is None
    (row, *_) = stage.at(2.0)
    assert (row.trouble.of, row.trouble.name) == ("state", "SYN_SENT")
    assert row.reason.startswith("nobody answers the SYN (the client, for ")
    gave_up = analyzer.Settings().syn_sent_s + 5
    row = next(row for row in stage.at(gave_up) if row.ended)
    assert (row.trouble.name, row.client.state) == ("syn-unanswered", "CLOSED")


def test_the_newest_anomalies_come_first_and_once(staged):
    stage = staged("copies-and-losses/any.pcap")
    stage.at(100.0)
    newest = stage.board.newest.first(50)
    analysis = analyzer.read(CAPTURES / "copies-and-losses/any.pcap")
    worth = analysis.anomalies[analysis.anomalies["severity"] != "note"]
    worth = worth[~worth["kind"].isin({"syn-unanswered", "one-direction"})]
    assert sum(it.times for it in newest) == len(worth)
    assert [it.at for it in newest] == sorted((it.at for it in newest), reverse=True)
    assert all((a.kind, a.number) != (b.kind, b.number) for a, b in itertools.pairwise(newest))
    assert len(stage.board.newest.first(3)) == 3


# -------------------------------------------------------------------------------------------------- the kernel's side

SERVER = ("127.0.0.1", 9502)


def close_wait_sockets(now: float) -> pd.DataFrame:
    """As close-wait/sockets.csv has them, with names; and a socket of which the capture saw nothing."""
    clients = [("127.0.0.1", port) for port in (41784, 41790, 41798)]
    holder = {"pid": 123, "process": "a\x1b[31m\nb", "user": "root"}
    rows = [socket_row("LISTEN", SERVER, accept_queue=0, accept_limit=5, **holder)]
    rows += [socket_row("CLOSE_WAIT", SERVER, client, **holder) for client in clients]
    rows += [socket_row("FIN_WAIT_2", client, SERVER, inode=None) for client in clients]
    rows.append(socket_row("ESTABLISHED", SERVER, ("127.0.0.1", 5), pid=123, process="other", rtt=0.05))
    frame = made.frame("sockets", rows)
    return frame.assign(time=pd.Series(pd.to_datetime([int(now * 1e9)] * len(rows), utc=True)).dt.as_unit("ns"))


@pytest.fixture
def beside(staged) -> Stage:
    stage = staged("close-wait/any.pcap", close_wait_sockets, ("127.0.0.1",))
    stage.at(0.3)
    stage.at(2.0)
    return stage


def test_the_kernels_word_stands_beside_the_packets(beside):
    schema.check("live_sockets", beside.played.sockets())
    row = next(row for row in beside.rows() if row.number == 0)
    assert states(row) == ("FIN_WAIT_2", "CLOSE_WAIT")
    assert (row.client.kernel, row.server.kernel) == ("FIN_WAIT_2", "CLOSE_WAIT")
    assert (row.server.process, row.server.pid, row.client.process) == ("a\x1b[31m\nb", 123, "")
    assert (row.trouble.of, row.trouble.name) == ("verdict", "program-has-not-closed")
    assert "the peer's FIN is frame 8" in row.reason
    packets, kernel = beside.board.counts(), beside.board.kernel_counts()
    assert packets[State.CLOSE_WAIT] == kernel[State.CLOSE_WAIT] == 3
    assert packets[State.FIN_WAIT_2] == kernel[State.FIN_WAIT_2] == 3
    assert (packets[State.LISTEN], kernel[State.LISTEN]) == (1, 1)


def test_a_socket_without_packets_has_a_row_of_its_own(beside):
    row = next(row for row in beside.rows() if row.number is None)
    assert (row.server.address, row.server.port, row.client.port) == ("127.0.0.1", 9502, 5)
    assert (row.server.state, row.server.kernel, row.client.state) == ("ESTABLISHED", "ESTABLISHED", "")
    assert (row.server.process, row.rtt_s, row.trouble) == ("other", 0.05, None)
    assert "the capture saw no packet of it" in row.reason
    before = row.id
    beside.at(2.5)
    assert next(row for row in beside.rows() if row.number is None).id == before
    beside.played._kernel = lambda now: close_wait_sockets(now).iloc[:-1]
    assert all(row.number is not None for row in beside.at(3.0))


def test_both_sockets_of_a_connection_within_this_host_are_one_row(staged):
    ends = ("127.0.0.1", 40000), ("127.0.0.1", 9502)

    def kernel(now: float) -> pd.DataFrame:
        rows = [socket_row("LISTEN", SERVER), socket_row("ESTABLISHED", *ends, process="curl"),
                socket_row("CLOSE_WAIT", *ends[::-1], process="nginx")]  # fmt: skip
        return made.frame("sockets", rows).assign(time=pd.Timestamp(int(now * 1e9), tz="UTC").as_unit("ns"))

    stage = staged("unanswered-syn/any.pcap", kernel, ("127.0.0.1",))
    stage.at(0.1)
    (row,) = (row for row in stage.at(2.0) if row.number is None)
    assert states(row) == ("ESTABLISHED", "CLOSE_WAIT")
    assert (row.client.process, row.server.process, row.client.port) == ("curl", "nginx", 40000)


def test_no_kernel_is_no_zero(staged):
    stage = staged("close-wait/any.pcap")
    stage.at(1.0)
    assert stage.board.kernel_counts() is None


# ------------------------------------------------------------------------------------------------ choosing, sorting


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("", 4), ("9502", 4), (":9502", 4), ("41784", 1), ("127.0.0", 4), ("127.0.0 41784", 1), ("10.", 0),
        ("close_wait", 3), ("CLOSE-WAIT", 3), ("fin", 3), ("other", 1), ("123", 4), (":123", 4), ("not-closed", 3),
        ("listen", 0), ("nothing", 0), ("other close_wait", 0),
    ],
)  # fmt: skip
def test_each_word_has_to_fit(beside, words, count):
    assert len(beside.rows(words=words)) == count


@pytest.mark.parametrize("key", [key.name for key in KEYS])
def test_every_key_sorts_and_turns_round(staged, key):
    stage = staged("many-connections/eth.pcap")
    stage.at(3.0)
    places = Selection(key=key).of(stage.board)
    turned = Selection(key=key, reverse=True).of(stage.board)
    assert sorted(places) == sorted(turned) == stage.board.slots.in_use().tolist()
    value = next(it for it in KEYS if it.name == key).value
    assert (np.diff(value(stage.board, places)) <= 0).all()
    assert (np.diff(value(stage.board, turned)) >= 0).all()


def test_sorted_by_what_is_seen(staged):
    stage = staged("many-connections/eth.pcap")
    stage.at(3.0)
    octets = [sum(row.octets) for row in stage.rows(key="octets")]
    assert octets == sorted(octets, reverse=True)
    starts = [row.age_s for row in stage.rows(key="start")]
    assert starts == sorted(starts)
    clients = [(row.client.address, row.client.port) for row in stage.rows(key="client")]
    assert clients == sorted(clients)


def test_what_the_session_lets_go_of_goes_and_the_rest_keeps_its_row(tmp_path):
    """The tracker has other places for all that stays; rows keep their ids, numbers and states."""
    path = tmp_path / "long.pcap"
    path.write_bytes(rounds.capture(4, 100.0))
    settings = analyzer.Settings(batch_records=64, live_flows=60)
    source, tracking = open_source([str(path)], settings=settings), Tracking(settings)
    board, follower, ids, times = Board(), Follower(), {}, 0
    whole = analyzer.read(path)
    final = {
        number: (row.client_state, row.server_state)
        for number, row in zip(whole.flows.index, whole.flows.itertuples(), strict=True)
    }
    try:
        for records in source.batches():
            tracking.feed(records)
            if eviction.is_due(tracking):
                times += eviction.let_go(tracking) is not None
            said = standing(tracking, source.info, follower)
            board.update(said, schema.empty("live_sockets"), tracking.last_ns * 1e-9)
            shown = [listed(board, int(place)) for place in Selection().of(board)]
            numbers = [row.number for row in shown]
            assert len(numbers) == len(set(numbers)) <= int(tracking.connections.counts[0])
            assert all(ids.setdefault(row.number, row.id) == row.id for row in shown if row.number in ids)
            ids = {row.number: row.id for row in shown}
    finally:
        source.close()
    assert times >= 2
    assert len(whole.flows) > 60
    ends = {row.number: (row.client.state, row.server.state) for row in shown}
    names = {row.number: (row.client.address, row.client.port, row.server.address) for row in shown}
    assert len(ends) > 5
    for number, found in ends.items():
        expected = whole.flows.loc[number]
        assert names[number] == (expected["client"], expected["client_port"], expected["server"])
        assert found == final[number]
