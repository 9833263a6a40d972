"""The kernel's sockets beside the packets of the same connections: real sockets, captured by tcpdump meanwhile."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

import pandas as pd
import pytest

import analyzer
from analyzer.frames import schema
from analyzer.frames.verdicts import CATALOGUE, NAMES, as_markdown
from analyzer.host.joined import join
from tests.frames import made
from tests.host import stage as stages
from tests.host.test_sockstat import ROOT

WHY_NOT = stages.usable() or ("" if shutil.which("tcpdump") else "needs tcpdump")
real = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-")
TCP_REPAIR = 19  # linux/tcp.h; closing a socket under repair sends nothing


class Seen:
    """What tcpdump wrote, the snapshot, and both joined."""

    def __init__(self, path: str, sockets: pd.DataFrame) -> None:
        self.analysis, self.sockets = analyzer.read(path), sockets
        self.joined = join(self.analysis.frames, sockets, self.analysis.local_addresses)

    def at(self, port: int) -> dict[str, dict]:
        """The rows of a server's port, by end; of several connections the last."""
        rows = {}
        for row in self.joined.to_dict("records"):
            if port in (row["port"], row["peer_port"]):
                rows["server" if row["port"] == port else "client"] = row
        return rows

    def frame(self, number: int) -> pd.Series:
        return self.analysis.packets.loc[number]


@contextlib.contextmanager
def captured(stage: stages.Stage, path: str):
    """tcpdump in the namespace, listening from here to there."""
    with stage.inside():
        dump = subprocess.Popen(
            ["tcpdump", "-i", "any", "-U", "-s", "128", "-B", "16384", "-w", path], stderr=subprocess.PIPE, text=True
        )
    try:
        assert dump.stderr is not None
        while "listening" not in dump.stderr.readline():
            assert dump.poll() is None
        yield
        time.sleep(0.5)
    finally:
        dump.send_signal(signal.SIGINT)
        dump.communicate(timeout=20)


def overfill(stage: stages.Stage) -> None:
    """The queue takes three: two are in it; of two more the third ACKs are lost at first, and the last finds it full."""
    rule = ("--dport", "5021", "--tcp-flags", "ALL", "ACK")
    busy = stage.listener(port=5021, backlog=2)
    for _ in range(2):
        stage.client(busy.getsockname())
    stage.drop(*rule)
    for _ in range(2):
        stage.client(busy.getsockname(), wait=False)

    def state_count(state: str) -> int:
        return int(analyzer.socket_states(5021).set_index("state")["sockets"].get(state, 0))

    stage.until(lambda: state_count("SYN_RCVD") == 2)
    stage.tool("iptables", "-w", "-D", "INPUT", "-p", "tcp", *rule, "-j", "DROP")
    stage.until(lambda: state_count("SYN_RCVD") == 1, 8.0)  # the SYN-ACKs come again after 1 s


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    stage = stages.Stage()
    path = str(tmp_path_factory.mktemp("joined") / "any.pcap")
    try:
        with stage.inside():
            stage.pair(port=5025)  # before the capture begins
        with captured(stage, path):
            stages.play_all_states(stage)
            with stage.inside():
                waits = stage.listener(port=5022)
                stage.drop("--dport", "5022", "--tcp-flags", "ALL", "ACK")
                stage.client(waits.getsockname(), wait=False)
                gone = stage.pair(port=5023)
                for end in gone:
                    end.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, struct.pack("i", 1))
                    end.close()
                lost = stage.pair(port=5026)
                stage.drop("--dport", "5026")
                lost[0].send(b"w" * 300)
                overfill(stage)
                time.sleep(1.2)
                sockets = analyzer.sockets()
            with stage.inside():  # what comes later plays no part
                late = stage.pair(port=5027)
                late[0].shutdown(socket.SHUT_WR)
        yield Seen(path, sockets)
    finally:
        stage.remove()


@pytest.mark.root
@real
def test_every_socket_and_flow_has_one_row(seen):
    schema.check("joined", seen.joined)
    connected = seen.sockets[~seen.sockets["state"].isin(["LISTEN", "CLOSED"])]
    assert sorted(seen.joined["socket"].dropna()) == sorted(connected.index)
    for row in seen.joined.dropna(subset=["socket"]).itertuples():
        own = seen.sockets.loc[row.socket]
        assert (own["port"], own["peer_port"], own["state"]) == (row.port, row.peer_port, row.kernel_state)
        assert row.pid is pd.NA or row.pid == own["pid"]
    for row in seen.joined.dropna(subset=["flow"]).itertuples():
        flow = seen.analysis.flows.loc[row.flow]
        assert (flow[f"{row.endpoint}_port"], flow[row.endpoint]) == (row.port, row.address)
    assert not seen.joined.duplicated(["address", "port", "peer_address", "peer_port"]).any()
    assert not seen.at(5027)


AS_PLAYED = [
    (5001, "client", "agrees"), (5001, "server", "program-has-not-read"), (5002, "server", "agrees"),
    (5003, "client", "peer-has-not-closed"), (5003, "server", "program-has-not-closed"), (5004, "client", "agrees"),
    (5005, "client", "syn-not-answered"), (5006, "client", "syn-ack-ignored"), (5006, "server", "third-ack-missing"),
    (5007, "client", "fin-not-acknowledged"), (5007, "server", "states-differ"),
    (5008, "client", "fin-not-acknowledged"), (5008, "server", "states-differ"),
    (5009, "client", "states-differ"), (5009, "server", "fin-not-acknowledged"),
    (5011, "client", "agrees"), (5011, "server", "not-accepted"), (5012, "server", "agrees"),
    (5015, "client", "window-closed"), (5021, "server", "accept-queue-full"), (5022, "server", "third-ack-ignored"),
    (5023, "client", "no-socket"), (5023, "server", "no-socket"), (5025, "client", "not-captured"),
    (5025, "server", "not-captured"), (5026, "client", "data-not-acknowledged"), (5026, "server", "agrees"),
]  # fmt: skip


@pytest.mark.root
@real
@pytest.mark.parametrize(("port", "end", "verdict"), AS_PLAYED, ids=[f"{p}-{e}-{v}" for p, e, v in AS_PLAYED])
def test_the_verdict_is_what_was_played(seen, port, end, verdict):
    rows = seen.joined[seen.joined["port" if end == "server" else "peer_port"] == port]
    said = set(rows["verdict"])
    if verdict == "accept-queue-full":  # three are in the queue, one is not
        assert said == {"accept-queue-full", "not-accepted"}, rows["reason"].tolist()
    else:
        # retransmissions come when they come: one of them may fall on the moment of asking
        assert verdict in said, rows["reason"].tolist()
        assert said <= {verdict, "just-changed"}
    assert set(rows["severity"]) <= {entry.severity for entry in CATALOGUE.values() if entry.name in said}


def test_every_verdict_but_the_race_is_played():
    assert {verdict for _, _, verdict in AS_PLAYED} == set(NAMES) - {"just-changed"}


@pytest.mark.root
@real
def test_close_wait_names_the_fin_its_acknowledgement_and_the_program(seen):
    row = seen.at(5003)["server"]
    fin = seen.frame(row["frame"])
    assert "F" in fin["flags"]
    assert fin["dport"] == 5003
    asked = seen.sockets["time"].iloc[0]
    assert row["ago"] == pytest.approx((asked - fin["time"]).total_seconds(), abs=1e-3)
    acknowledged = re.search(
        r"acknowledged in frame (\d+), ([\d.]+) s ago; the program (\S+) \(pid (\d+)\)", row["reason"]
    )
    assert acknowledged, row["reason"]
    ack = seen.frame(int(acknowledged[1]))
    assert (ack["sport"], ack["ack"]) == (5003, fin["seq"] + fin["length"] + 1)
    assert int(acknowledged[4]) == row["pid"]


@pytest.mark.root
@real
def test_a_full_accept_queue_names_the_third_ack_and_the_queue(seen):
    rows = seen.joined[(seen.joined["port"] == 5021) & (seen.joined["kernel_state"] == "SYN_RCVD")]
    for row in rows.to_dict("records"):
        ack = seen.frame(row["frame"])
        assert (ack["flags"], ack["dport"]) == (".", 5021)
        assert "the accept queue is full: 3 wait, the limit is 2" in row["reason"]
    assert len(rows) == 1


@pytest.mark.root
@real
def test_frames_are_those_of_the_state(seen):
    going = seen.at(5007)["client"]
    assert "F" in seen.frame(going["frame"])["flags"]
    assert re.search(r"sent again \d+ times?, not acknowledged", going["reason"])
    refused = seen.at(5006)["client"]
    assert seen.frame(refused["frame"])["flags"] == "S."
    unread = seen.at(5001)["server"]
    assert seen.frame(unread["frame"])["length"] == 700
    assert "700 bytes wait for the program" in unread["reason"]


@pytest.mark.root
@real
def test_the_snapshot_alone_and_the_packets_alone(seen):
    nothing = {name: seen.analysis.frames[name].iloc[:0] for name in ("packets", "flows", "transitions")}
    alone = join(nothing, seen.sockets)
    assert set(alone.loc[alone["kernel_state"].isin(["TIME_WAIT", "SYN_SENT"]), "verdict"]) == {"not-captured"}
    assert set(alone.loc[alone["kernel_state"] == "CLOSE_WAIT", "verdict"]) == {"program-has-not-closed"}
    schema.check("joined", alone)
    none = seen.sockets.iloc[:0]
    packets_only = join(seen.analysis.frames, none, seen.analysis.local_addresses)
    assert set(packets_only["verdict"]) <= {"no-socket", "just-changed"}
    assert packets_only["socket"].isna().all()
    assert join(seen.analysis.frames, none, ["192.0.2.1"]).empty  # nobody here has these addresses: forwarded
    assert join(nothing, none).empty


# ------------------------------------------------------------------------------------------------- at the moment of it


def snapshot(at_s: float, state: str, **more) -> pd.DataFrame:
    """One socket of this host, 10.0.0.2:80, as the kernel would have told it at a time."""
    row = {
        "time": made.at(at_s), "family": "ipv4", "state": state, "address": "10.0.0.2", "port": 80,
        "peer_address": "10.0.0.1", "peer_port": 40000, "inode": 7, "cookie": 9, "receive_queue": 0, "send_queue": 0,
    }  # fmt: skip
    return made.frame("sockets", [row | more])


def life_frames() -> dict[str, pd.DataFrame]:
    """An ordinary connection: SYN_RCVD at 0.1 s, ESTABLISHED at 0.2 s, closed by the client after 3 s."""
    flow = made.flow(
        client="10.0.0.1", client_port=40000, server="10.0.0.2", server_port=80, start=made.START, open_3=None
    )
    return {
        "packets": schema.empty("packets"),
        "flows": made.frame("flows", [flow]),
        "transitions": made.frame("transitions", made.life(0.0)),
    }


def test_a_packet_at_the_moment_of_asking_is_no_contradiction():
    frames = life_frames()
    arrived = frames["transitions"].query("endpoint == 'server' and new == 'CLOSE_WAIT'")["time"].iloc[0]
    closed = (arrived - made.START).total_seconds()

    def verdict(at_s: float) -> str:
        return str(join(frames, snapshot(at_s, "ESTABLISHED"), ["10.0.0.2"])["verdict"].iloc[0])

    assert verdict(closed - 1) == "agrees"
    assert verdict(closed + 0.01) == "just-changed"  # the kernel had not seen it yet
    early = join(frames, snapshot(closed - 0.01, "TIME_WAIT"), ["10.0.0.2"])
    assert early["verdict"].iloc[0] == "just-changed"  # the kernel was asked, and the segment came


def test_of_a_port_used_again_the_last_flow_counts():
    frames = life_frames()
    again = made.flow(
        client="10.0.0.1", client_port=40000, server="10.0.0.2", server_port=80, start=made.at(30), open_3=None
    )
    frames["flows"] = made.frame("flows", [made.flow(**{**again, "start": made.START}), again])
    later = [row | {"flow": 1, "port": 40000 if row["endpoint"] == "client" else 80} for row in made.life(30.0, 1)]
    frames["transitions"] = made.frame("transitions", [*made.life(0.0), *later])
    first = join(frames, snapshot(2.0, "ESTABLISHED"), ["10.0.0.2"])
    second = join(frames, snapshot(32.0, "ESTABLISHED"), ["10.0.0.2"])
    assert (first["flow"].tolist(), second["flow"].tolist()) == ([0], [1])
    assert set(first["verdict"]) == set(second["verdict"]) == {"agrees"}


def test_ipv4_at_an_ipv6_socket_is_the_same_connection():
    mapped = snapshot(2.0, "ESTABLISHED", family="ipv6", address="::ffff:10.0.0.2", peer_address="::ffff:10.0.0.1")
    rows = join(life_frames(), mapped, ["10.0.0.2"])
    assert rows[["verdict", "address", "flow"]].to_numpy().tolist() == [["agrees", "10.0.0.2", 0]]


def test_segments_that_tell_no_state_contradict_nothing():
    frames = life_frames()
    frames["transitions"] = frames["transitions"].iloc[:0]
    rows = join(frames, snapshot(2.0, "ESTABLISHED"), ["10.0.0.2"])
    assert rows[["verdict", "packet_state"]].to_numpy().tolist() == [["agrees", "UNKNOWN"]]


@pytest.mark.parametrize(
    ("at_s", "client", "server"),
    [
        (2.0, "ended it without", "nothing proves that it took the third ACK"), (30.0, "ended it without", None),
        (63.5, "packets say TIME_WAIT", None), (70.0, None, None),
    ],
)  # fmt: skip
def test_a_flow_without_a_socket(at_s, client, server):
    """Another socket of this host was in the snapshot, not the flow's."""
    other = snapshot(at_s, "ESTABLISHED", address="10.0.0.9", peer_address="10.0.0.8")
    rows = join(life_frames(), other, ["10.0.0.1", "10.0.0.2"]).dropna(subset=["flow"])
    said = dict(zip(rows["endpoint"], rows["reason"], strict=True))
    assert {end for end, part in (("client", client), ("server", server)) if part} == set(said)
    assert all(part in said[end] for end, part in (("client", client), ("server", server)) if part)
    assert set(rows["verdict"]) <= {"just-changed" if at_s == 63.5 else "no-socket"}


def test_a_syn_ack_with_a_cookie_keeps_no_socket():
    frames = life_frames()
    frames["transitions"] = frames["transitions"].iloc[:3]
    other = snapshot(2.0, "ESTABLISHED", address="10.0.0.9", peer_address="10.0.0.8")
    rows = join(frames, other, ["10.0.0.2"]).dropna(subset=["flow"])
    assert rows[["verdict", "packet_state"]].to_numpy().tolist() == [["no-socket", "SYN_RCVD"]]
    assert "cookie" in rows["reason"].iloc[0]


def test_the_catalogue_is_documented():
    assert (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8") == as_markdown() + "\n"
