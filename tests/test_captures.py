"""The recordings of ``captures/`` are whole, legal, and what the recorder's table says. Standard library only."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from captures.recorder.passages import PASSAGES
from captures.recorder.recoveries import RECOVERIES
from captures.recorder.scenarios import SCENARIOS
from tests import recordings
from tests.recordings import CAPTURES, NAMES, SOCKET_COLUMNS, STATE_COLUMNS, STATES

TWO_HOSTS = {
    *("closed-in-syn-rcvd", "deferred-accept"),
    *("many-connections", "simultaneous-close", "syn-lost", "unanswered-syn"),
    *("offload", "wrong-checksum"),
    *("path-mtu", "rejected", "unreachable", "unreachable-for-a-while"),
}
SLOW_WIRE = {"simultaneous-close", "closed-in-syn-rcvd"}
SYN, RST, ACK, FIN = 0x02, 0x04, 0x10, 0x01
SCENARIO = {scenario.name: scenario for scenario in SCENARIOS}
# RFC 9293 figure 5, as far as these recordings go, as the tracepoint shows it: no TIME_WAIT, minisockets CLOSED.
STEPS = {
    "CLOSED": {"SYN_SENT", "LISTEN"},
    "LISTEN": {"SYN_RCVD"},
    "SYN_SENT": {"ESTABLISHED", "CLOSED"},
    "SYN_RCVD": {"ESTABLISHED", "FIN_WAIT_1"},
    "ESTABLISHED": {"FIN_WAIT_1", "CLOSE_WAIT", "CLOSED"},
    "FIN_WAIT_1": {"FIN_WAIT_2", "CLOSING"},
    "FIN_WAIT_2": {"CLOSED"},
    "CLOSING": {"CLOSED"},
    "CLOSE_WAIT": {"LAST_ACK", "CLOSED"},
    "LAST_ACK": {"CLOSED"},
}
each = pytest.mark.parametrize("name", NAMES)


def test_there_is_a_folder_for_each_scenario_and_no_other():
    folders = {path.parent.name for path in CAPTURES.glob("*/*.pcap")}
    others = {one.name for one in (*PASSAGES, *RECOVERIES)}
    assert folders - others == set(NAMES) == set(SCENARIO)


@each
def test_readme_is_the_scenarios_three_lines(name):
    readme = (CAPTURES / name / "README").read_text(encoding="ascii")
    assert readme == SCENARIO[name].readme
    assert readme.count("\n") == 3
    assert all(20 < len(line) <= 120 for line in readme.splitlines())


@each
def test_capture_is_whole_and_small(name):
    path = recordings.capture(name)
    assert path.stat().st_size < (150_000 if name == "many-connections" else 50_000)
    assert re.search(rf"tcpdump -i {path.stem}(0| |:|,)", (CAPTURES / name / "README").read_text(encoding="ascii"))
    assert recordings.segments(name)  # asserts on the way that each packet is whole


@each
def test_state_changes_are_legal_and_in_order(name):
    header, rows = recordings.table(CAPTURES / name / "states.csv")
    assert header == STATE_COLUMNS + ["host"] * (name in TWO_HOSTS)
    assert all(re.fullmatch(r"\d{10}\.\d{9}", row["time"]) for row in rows)
    found = recordings.changes(name)
    assert [change.time_ns for change in found] == sorted(change.time_ns for change in found)
    for change in found:
        assert {change.old, change.new} <= STATES
        assert change.new in STEPS[change.old]
        assert change.host in ({"client", "server"} if name in TWO_HOSTS else {""})


@each
def test_each_life_is_one_chain(name):
    lives = recordings.lives(name)
    assert lives
    for endpoint, life in lives.items():
        client = life[0].old == "CLOSED"
        assert (life[0].old, life[0].new) == (("CLOSED", "SYN_SENT") if client else ("LISTEN", "SYN_RCVD"))
        assert [change.old for change in life[1:]] == [change.new for change in life[:-1]]
        assert not client or endpoint[3] in (9502, 9503)
        assert client or endpoint[1] == 9502
        assert client or recordings.mirror(endpoint) in lives
        assert len({change.host for change in life}) == 1
        assert life[0].host == (("client" if client else "server") if name in TWO_HOSTS else "")


@each
def test_states_and_packets_are_of_the_same_connections(name):
    lives = recordings.lives(name)
    segments = recordings.segments(name)
    seen = {endpoint for segment in segments for endpoint in (segment.sender, recordings.mirror(segment.sender))}
    assert seen == {end for endpoint in lives for end in (endpoint, recordings.mirror(endpoint))}


@each
def test_a_first_fin_is_seen_where_the_kernel_says_it_was_sent(name):
    """One clock for both: on the capturing host a FIN goes out within 5 ms of the state that sends it."""
    sent = {"SYN_RCVD": "FIN_WAIT_1", "ESTABLISHED": "FIN_WAIT_1", "CLOSE_WAIT": "LAST_ACK"}
    first_fin = {}
    for segment in recordings.segments(name):
        if segment.flags & FIN:
            first_fin.setdefault(segment.sender, segment.time_ns)
    states = {
        endpoint: change.time_ns
        for endpoint, life in recordings.lives(name).items()
        for change in life
        if sent.get(change.old) == change.new
    }
    assert set(states) == set(first_fin) or name == "one-direction"
    for endpoint, time_ns in ((endpoint, states[endpoint]) for endpoint in first_fin):
        slow = name in SLOW_WIRE and recordings.lives(name)[endpoint][0].host == "server"
        assert 0 <= first_fin[endpoint] - time_ns + 1000 < (25_000_000 if slow else 5_000_000)


@each
def test_sockets_left_agree_with_the_last_state(name):
    header, rows = recordings.table(CAPTURES / name / "sockets.csv")
    assert header == SOCKET_COLUMNS + ["host"] * (name in TWO_HOSTS)
    assert {row["state"] for row in rows} <= STATES
    left = recordings.left(name)
    lives = recordings.lives(name)
    assert set(left) <= set(lives)
    for endpoint, life in lives.items():
        minisocket = (life[-1].old, life[-1].new) in (("FIN_WAIT_2", "CLOSED"), ("CLOSING", "CLOSED"))
        if minisocket and endpoint in left:
            assert left[endpoint] in ("TIME_WAIT", "FIN_WAIT_2")
        else:
            assert left.get(endpoint, "CLOSED") == life[-1].new


@each
def test_paths_are_the_scenarios(name):
    scenario = SCENARIO[name]
    for life in recordings.lives(name).values():
        meant = scenario.client if life[0].old == "CLOSED" else scenario.server
        if name != "many-connections":
            assert recordings.path_of(life) == meant


def test_only_the_unanswered_syn_ends_after_the_last_packet():
    late = set()
    for name in NAMES:
        last_ns = recordings.segments(name)[-1].time_ns
        late |= {name for change in recordings.changes(name) if change.time_ns > last_ns + 5_000_000}
    assert late == {"unanswered-syn"}


def test_packets_show_the_phenomena():
    flags = {name: [segment.flags for segment in recordings.segments(name)] for name in NAMES}
    assert flags["refused"] == [SYN, RST | ACK] * 3
    assert flags["unanswered-syn"] == [SYN] * 3
    assert flags["syn-lost"][:4] == [SYN, SYN, SYN | ACK, ACK]
    assert not any(bits & SYN for bits in flags["midstream"])
    assert flags["reset"][-1] & RST
    assert not any(bits & FIN for bits in flags["reset"])
    assert [bits for bits in flags["simultaneous-close"] if bits & FIN] == [FIN | ACK] * 2
    fins = [segment for segment in recordings.segments("close-wait") if segment.flags & FIN]
    assert len({segment.sender for segment in fins}) == 3
    assert all(segment.sender[3] == 9502 for segment in fins)


def test_many_connections_end_in_many_ways():
    lives = recordings.lives("many-connections")
    clients = [endpoint for endpoint, life in lives.items() if life[0].old == "CLOSED"]
    assert Counter(":" in endpoint[0] for endpoint in clients) == {True: 30, False: 30}
    left = recordings.left("many-connections")
    ends: Counter[tuple[str, str, str]] = Counter()
    for client in clients:
        server = lives.get(recordings.mirror(client))
        server_end = recordings.path_of(server).partition("SYN_RCVD>")[2] if server else ""
        client_end = recordings.path_of(lives[client]).partition("SYN_SENT>")[2]
        ends[client_end, server_end, left.get(client, "CLOSED")] += 1
    first, last = "ESTABLISHED>FIN_WAIT_1>FIN_WAIT_2>CLOSED", "ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSED"
    assert ends == {
        (first, last, "TIME_WAIT"): 18,  # by the client, half-closed, in three segments
        (last, first, "CLOSED"): 6,  # by the server
        ("ESTABLISHED>CLOSED", "ESTABLISHED>CLOSED", "CLOSED"): 12,  # reset by either
        ("CLOSED", "", "CLOSED"): 6,  # refused
        (first, "ESTABLISHED>CLOSE_WAIT>CLOSED", "CLOSED"): 6,  # data after the client's close()
        (first, "ESTABLISHED>CLOSE_WAIT", "FIN_WAIT_2"): 6,
        ("ESTABLISHED", "ESTABLISHED", "ESTABLISHED"): 6,
    }
