"""This host's sockets beside what netstat, lsof and ss print of the same sockets at the same time, line by line."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest

import analyzer
from analyzer.frames import schema
from analyzer.frames.vocabulary import STATES
from analyzer.host import sock_diag
from analyzer.host.sockets import limits
from analyzer.views.sockets import end_text, socket_lines
from tests.host import stage as stages
from tests.host import tools

ROOT = pathlib.Path(__file__).parents[2]
WHY_NOT = stages.usable()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-")]
TRIES = 6  # timers run while tools are asked: what may move between two of our answers is asked again


def needs(tool: str):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


@pytest.fixture(scope="module")
def stage():
    made = stages.Stage()
    try:
        made.ports = stages.play_all_states(made)
        yield made
    finally:
        made.remove()


def ask(stage, port: int | None = None) -> pd.DataFrame:
    with stage.inside():
        return analyzer.sockets(port)


def command(stage, *words: str, **how) -> subprocess.CompletedProcess[str]:
    """Our command, run in the namespace."""
    with stage.inside():
        return subprocess.run(
            [sys.executable, "-m", "analyzer", *words], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False, **how
        )  # fmt: skip


def by_ends(frame: pd.DataFrame) -> dict[tools.Ends, dict]:
    """Our rows under the two ends as ss writes them; CLOSED sockets are in no tool's list."""
    rows = {}
    for row in frame.to_dict("records"):
        if row["state"] != "CLOSED":
            local = end_text(row["address"], row["port"], row["interface"], row["only_ipv6"])
            any_peer = "*" if local.startswith("*") else "[::]" if local.startswith("[") else "0.0.0.0"
            peer = f"{any_peer}:*" if row["state"] == "LISTEN" else end_text(row["peer_address"], row["peer_port"])
            rows[local, peer] = row
    return rows


def queues(row: dict) -> tuple[int, int]:
    names = ("accept_queue", "accept_limit") if row["state"] == "LISTEN" else ("receive_queue", "send_queue")
    return int(row[names[0]]), int(row[names[1]])


def timer(row: dict) -> tuple[str, float, int] | None:
    return (row["timer"], row["timer_left"], int(row["retransmits"])) if isinstance(row["timer"], str) else None


def between(before: dict[tools.Ends, dict], told: tuple, after: dict[tools.Ends, dict], ends: tools.Ends) -> bool:
    """Whether a timer that a tool saw lies between what we saw before and after it."""
    first, last = timer(before[ends]), timer(after[ends])
    if first is None or last is None or told is None:
        return first == told == last
    same = first[0] == told[0] == last[0] and first[2] == told[2] == last[2]
    coarse = 60 if told[1] > 600 else 1 if told[1] > 9.9 else 0.011  # ss leaves seconds away behind many minutes
    return same and last[1] - coarse <= told[1] <= first[1] + 0.011


def sandwich(stage, tool, *words) -> tuple[dict, dict, dict]:
    """Ours, the tool's, ours; asked again where a timer fired meanwhile or a segment was retransmitted."""
    for _ in range(TRIES):
        before = by_ends(ask(stage))
        told = tool(stage.tool(*words))
        after = by_ends(ask(stage))
        fired = [
            ends for ends in before
            if (timer(before[ends]) or ("", 0, 0))[::2] != (timer(after[ends]) or ("", 0, 0))[::2]
            or (timer(before[ends]) or ("", 0))[1] + 0.002 < (timer(after[ends]) or ("", 0))[1]
        ]  # fmt: skip
        if not fired:
            break
    return before, told, after


# --------------------------------------------------------------------------------------------------------- the states


def test_all_eleven_states_are_seen(stage):
    here = ask(stage)
    schema.check("sockets", here)
    for state, port in stage.ports.items():
        on_port = here[(here["port"] == port) | (here["peer_port"] == port).fillna(value=False)]
        assert state in set(on_port["state"]), state
    assert set(here["state"]) == set(STATES) - {"UNKNOWN"}


@needs("netstat")
def test_states_are_counted_as_netstat_counts_them(stage):
    listed = stage.tool("netstat", "-nat").splitlines()
    counted = Counter(tools.STATES.get(line.split()[5], line.split()[5]) for line in listed if line.startswith("tcp"))
    versions = Counter(("ipv6" if line.startswith("tcp6") else "ipv4") for line in listed if line.startswith("tcp"))
    rows = json.loads(command(stage, "states", "--json").stdout)
    assert {row["state"]: row["sockets"] for row in rows} == counted
    assert {family: sum(row[family] for row in rows) for family in ("ipv4", "ipv6")} == versions
    assert len(counted) == 10  # CLOSED stands in no list of netstat
    one = json.loads(command(stage, "states", "--port", "5003", "--json").stdout)
    assert {row["state"]: row["sockets"] for row in one} == {"LISTEN": 1, "FIN_WAIT_2": 1, "CLOSE_WAIT": 1}


@needs("netstat")
def test_line_by_line_as_netstat(stage):
    before, told, after = sandwich(stage, tools.netstat, "netstat", "-natopeW")

    def as_netstat(ends: tools.Ends) -> tools.Ends:
        local, peer = (end.replace("[::ffff:127.0.0.1]", "127.0.0.1").replace("[", "").replace("]", "") for end in ends)
        if local.startswith("*"):
            local, peer = local.replace("*", "::", 1), ":::*"
        return local.replace("%lo", ""), ":::*" if peer == ":::*" else peer

    ours = {as_netstat(ends): ends for ends in before}
    assert set(ours) == set(told)
    for theirs, row in told.items():
        ends = ours[theirs]
        mine = before[ends]
        assert mine["state"] == row.state, ends
        received = queues(mine)
        assert row.queues == ((received[0], 0) if row.state == "LISTEN" else received), ends  # no limit in /proc
        shown = row.timer
        if (
            row.state == "SYN_RCVD"
        ):  # /proc/net/tcp counts timeouts, sock_diag SYN-ACKs sent again, also to repeated SYNs
            assert shown[2] <= timer(mine)[2]
            shown = (*shown[:2], timer(mine)[2])
        assert between(before, shown, after, ends), (ends, timer(mine), shown, timer(after[ends]))
        assert (0 if pd.isna(mine["inode"]) else mine["inode"]) == row.inode, ends
        assert row.pids is None if pd.isna(mine["pid"]) else row.pids <= set(mine["pids"]), ends  # it shows one


@needs("lsof")
def test_line_by_line_as_lsof(stage):
    told = tools.lsof(stage.tool("lsof", "-nP", "-iTCP", "-Tqs", "-FpfnT"))
    ours = by_ends(ask(stage))

    def as_lsof(ends: tools.Ends) -> str:
        local, peer = (end.replace("[::ffff:127.0.0.1]", "127.0.0.1") for end in ends)
        local = local.replace("0.0.0.0%lo", "*").replace("[::]", "*").replace("0.0.0.0", "*")
        return local if peer.endswith(":*") else f"{local}->{peer}"

    mine = {(as_lsof(ends), row["state"]): row for ends, row in ours.items() if not pd.isna(row["pid"])}
    assert {(held.ends, held.state) for held in told} == set(mine)
    for held in told:
        row = mine[held.ends, held.state]
        shown = {other.pid for other in told if (other.ends, other.state) == (held.ends, held.state)}
        assert shown == set(row["pids"])
        if held.pid == row["pid"]:
            assert held.fd == row["fd"]
        assert held.queues == ((queues(row)[0], 0) if held.state == "LISTEN" else queues(row)), held


@needs("lsof")
@pytest.mark.parametrize("port", [5001, 5003, 5014])
def test_a_port_as_lsof_shows_it(stage, port):
    told = tools.lsof(stage.tool("lsof", "-nP", f"-iTCP:{port}", "-Tqs", "-FpfnT"))
    rows = json.loads(command(stage, "sockets", f":{port}", "--json").stdout)
    assert Counter(held.state for held in told) == Counter(row["state"] for row in rows for _ in row["pids"] or ())
    assert {held.pid for held in told} == {pid for row in rows for pid in row["pids"] or ()}
    assert {port} <= {row["port"] for row in rows} | {row["peer_port"] for row in rows}


@needs("ss")
def test_line_by_line_as_ss(stage):
    before, told, after = sandwich(stage, tools.ss, "ss", "-HOtanpoie")
    assert set(before) == set(told) == set(after)
    for ends, row in told.items():
        mine = before[ends]
        assert (mine["state"], queues(mine)) == (row.state, row.queues), ends
        assert between(before, row.timer, after, ends), (ends, timer(mine), row.timer, timer(after[ends]))
        assert (0 if pd.isna(mine["inode"]) else mine["inode"]) == row.inode, ends
        assert mine["cookie"] == row.cookie, ends
        assert (set() if pd.isna(mine["pid"]) else set(mine["pids"])) == row.pids, ends


MILLI, BITS = 1e-3, 1 / 8
SS_INFO = {
    "rto": ("rto", MILLI), "ato": ("ato", MILLI), "mss": ("send_mss", 1), "pmtu": ("path_mtu", 1),
    "rcvmss": ("receive_mss", 1), "advmss": ("advertised_mss", 1), "cwnd": ("cwnd", 1), "ssthresh": ("ssthresh", 1),
    "bytes_sent": ("bytes_sent", 1), "bytes_retrans": ("bytes_retransmitted", 1), "bytes_acked": ("bytes_acked", 1),
    "bytes_received": ("bytes_received", 1), "segs_out": ("segments_out", 1), "segs_in": ("segments_in", 1),
    "data_segs_out": ("data_segments_out", 1), "data_segs_in": ("data_segments_in", 1), "delivered": ("delivered", 1),
    "unacked": ("unacked", 1), "lost": ("lost", 1), "sacked": ("sacked", 1), "rcv_space": ("receive_space", 1),
    "rcv_ssthresh": ("receive_ssthresh", 1), "notsent": ("bytes_not_sent", 1), "minrtt": ("rtt_min", MILLI),
    "snd_wnd": ("send_window", 1), "pacing_rate": ("pacing_rate", BITS), "delivery_rate": ("delivery_rate", BITS),
    "dsack_dups": ("duplicates_reported", 1), "backoff": ("backoff", 1), "rcv_rtt": ("receive_rtt", MILLI),
}  # fmt: skip
"""ss's words, our columns, and what one of ss's units is worth."""
SS_CLOCKS = {"lastsnd": "last_data_sent", "lastrcv": "last_data_received", "lastack": "last_ack_received"}


@needs("ss")
def test_round_trips_windows_and_the_rest_as_ss(stage):
    seen = set()
    before, told, after = sandwich(stage, tools.ss, "ss", "-HOtanpoie")
    for ends, row in told.items():
        mine, later = before[ends], after[ends]
        if row.state == "LISTEN":
            assert pd.isna(mine["rto"])
            continue
        for word, (column, unit) in SS_INFO.items():
            if word in row.info and "/" not in row.info[word]:
                value = float(row.info[word]) * unit
                assert value in (
                    pytest.approx(mine[column], abs=0.6 * unit),
                    pytest.approx(later[column], abs=0.6 * unit),
                ), (ends, word)
                seen.add(word)
            elif row.info.get("rto") and word != "retrans":
                assert pd.isna(mine[column]) or mine[column] == 0 or word in ("snd_wnd", "ato", "ssthresh"), (
                    ends,
                    word,
                )
        for word, column in SS_CLOCKS.items():
            if word in row.info:
                assert mine[column] - 0.01 <= float(row.info[word]) * MILLI <= later[column] + 0.01
        if "rtt" in row.info:
            smoothed, variation = (float(part) * MILLI for part in row.info["rtt"].split("/"))
            assert (smoothed, variation) == pytest.approx((mine["rtt"], mine["rtt_variation"]), abs=1e-6)
        if "wscale" in row.info:
            assert [int(part) for part in row.info["wscale"].split(",")] == [
                mine["send_wscale"],
                mine["receive_wscale"],
            ]
        if "retrans" in row.info:
            assert [int(part) for part in row.info["retrans"].split("/")] == [
                mine["retransmitting"],
                mine["retransmitted"],
            ]
        if row.info["words"] and "rto" in row.info:
            assert ("ts" in row.info["words"], "sack" in row.info["words"]) == (mine["timestamps"], mine["sack"])
            assert ("app_limited" in row.info["words"]) == mine["app_limited"]
            assert mine["congestion_control"] in row.info["words"]
    assert {"rto", "mss", "cwnd", "bytes_acked", "segs_out", "minrtt", "snd_wnd", "notsent", "pacing_rate"} <= seen
    scales = {(row["send_wscale"], row["receive_wscale"]) for row in before.values() if not pd.isna(row["send_wscale"])}
    assert any(sent != received for sent, received in scales)  # one listener has a small buffer


# ------------------------------------------------------------------------------------------------------ what they say


def test_queues_of_listeners_and_connections(stage):
    here = ask(stage)
    busy = here[(here["port"] == 5011) & (here["state"] == "LISTEN")].iloc[0]
    assert (busy["accept_queue"], busy["accept_limit"]) == (2, 1)
    waiting = here[(here["port"] == 5011) & (here["state"] == "ESTABLISHED")]
    assert len(waiting) == 2
    assert waiting[["inode", "pid", "uid"]].isna().all(axis=None)  # no program has them yet
    assert here.loc[here["receive_queue"] == 700, "port"].tolist() == [5001]
    assert here.loc[here["timer"] == "persist", "send_queue"].min() > 0
    assert here.loc[here["state"] == "LISTEN", ["receive_queue", "peer_address", "rtt"]].isna().all(axis=None)


def test_shutdown_families_interfaces(stage):
    here = ask(stage)
    assert set(here.loc[here["state"].isin(["FIN_WAIT_2", "FIN_WAIT_1"]), "shutdown"]) <= {"send", "both"}
    mapped = here[here["address"] == "::ffff:127.0.0.1"]
    assert set(mapped["family"]) == {"ipv6"}
    assert len(mapped) == 1
    listening = here[here["state"] == "LISTEN"].set_index("port")
    assert listening.loc[5014, "interface"] == "lo"
    assert (listening.loc[5012, "only_ipv6"], listening.loc[5013, "only_ipv6"]) == (False, True)
    assert pd.isna(listening.loc[5001, "only_ipv6"])


def test_only_this_namespace(stage):
    others = stages.Stage()
    try:
        with others.inside():
            assert analyzer.sockets().empty
            schema.check("sockets", analyzer.sockets())
            assert analyzer.socket_states().empty
            lone = others.listener(port=5001)
            assert analyzer.sockets()["port"].tolist() == [5001]
            assert lone.fileno() == analyzer.sockets()["fd"].iloc[0]
    finally:
        others.remove()
    assert len(ask(stage)) > 1


def test_what_a_program_calls_itself_moves_no_cursor(stage, tmp_path):
    child = stage.children[0].pid
    here = ask(stage)
    held = here[[pids is not pd.NA and pids is not None and child in list(pids) for pids in here["pids"]]]
    assert len(held) == 2
    assert all(os.getpid() in list(pids) for pids in held["pids"])
    here["process"] = pd.Categorical(["a\x1b[31m\\xff\nb"] * len(here))
    text = "\n".join(socket_lines(here))
    assert "\x1b" not in text
    assert text.count("\n") == len(here)
    opened = stage.opened[0]
    own = subprocess.Popen(
        [sys.executable, "-S", "-c", stages._HOLDER], stdin=-1, stdout=-1, pass_fds=[opened.fileno()]
    )
    try:
        own.stdout.readline()
        from analyzer.host.processes import holders

        inode = os.fstat(opened.fileno()).st_ino
        names = {holder.pid: holder.name for holder in holders([inode])[inode]}
        assert names[own.pid] == "a\x1b[31m\\xff\nb"
    finally:
        own.kill()
        own.communicate()
    target = tmp_path / "sockets.parquet"
    assert command(stage, "sockets", "-o", str(target)).returncode == 0
    assert len(pd.read_parquet(target)) == len(here)


def test_the_oldest_of_those_that_hold_a_socket_is_named_though_pids_begin_anew(stage):
    last_pid = pathlib.Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last_pid, os.W_OK):
        pytest.skip("needs a writable ns_last_pid")
    from analyzer.host.processes import holders

    opened = stage.opened[0]
    inode = os.fstat(opened.fileno()).st_ino
    time.sleep(0.02)  # beginnings are told in hundredths of a second
    for _ in range(20):  # others take numbers too
        last_pid.write_text(str(os.getpid() // 2), encoding="ascii")
        child = subprocess.Popen(["sleep", "60"], pass_fds=[opened.fileno()])
        try:
            if child.pid < os.getpid():
                assert holders([inode])[inode][0].pid == os.getpid()
                return
        finally:
            child.kill()
            child.wait()
    pytest.fail("no process got a number below this one's")


def ends_of(rows: list[dict]) -> list[tuple[str, ...]]:
    """Which sockets these are, as text: CSV knows no numbers."""
    return sorted(tuple(str(row[name]) for name in ("address", "port", "peer_address", "peer_port")) for row in rows)


def test_in_every_format_and_only_some_states(stage):
    def as_ndjson() -> list[dict]:
        return [json.loads(line) for line in command(stage, "sockets", "--format", "ndjson").stdout.splitlines()]

    for _ in range(TRIES):  # embryonic sockets end by their timer and come again with the next SYN
        before = as_ndjson()
        as_csv = list(csv.DictReader(io.StringIO(command(stage, "sockets", "--format", "csv").stdout)))
        after = as_ndjson()
        if ends_of(before) == ends_of(after):
            break
    for row in before:
        row["peer_port"] = "" if row["peer_port"] is None else row["peer_port"]
        row["peer_address"] = "" if row["peer_address"] is None else row["peer_address"]
    assert ends_of(as_csv) == ends_of(before)
    columns = {column.name for column in schema.SCHEMAS["sockets"].columns}
    assert [set(row) for row in [*before, *as_csv]] == [columns] * (len(before) + len(as_csv))
    table = command(stage, "sockets", "--state", "close-wait", "--state", "LISTEN", ":5003").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["state", "LISTEN", "CLOSE_WAIT"]
    other_words = [
        command(stage, "sockets", "--state", word).stdout for word in ("fin-wait-2", "FIN_WAIT2", "FIN_WAIT_2")
    ]
    assert other_words == [other_words[0]] * 3
    assert "FIN_WAIT_2" in other_words[0]
    none = command(stage, "sockets", ":1")
    assert (none.returncode, none.stderr, len(none.stdout.splitlines())) == (0, "", 1)


@pytest.mark.parametrize(
    "words", [["sockets", ":nosuchservice"], ["sockets", ":99999"], ["sockets", "--state", "OPEN"]]
)
def test_usage(stage, words):
    done = command(stage, *words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) <= 4


NOBODY = """
import ctypes, os, socket
import analyzer
from analyzer.host.sockets import limits
mine = socket.socket(); mine.bind(("127.0.0.1", 5999)); mine.listen()
limits(analyzer.sockets())  # all that is imported late is imported, for nobody may not read root's folders
os.setgroups([]); os.setgid(65534); os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: as a process that this user has started
here = analyzer.sockets()
own = here[here["port"] == 5999].iloc[0]
assert (own["pid"], own["fd"]) == (os.getpid(), mine.fileno())
assert here.loc[here["port"] != 5999, "pid"].isna().all()
assert here["rtt"].notna().any()
print(len(here), int(here["inode"].notna().sum()), *limits(here))
"""


def test_without_root_the_own_processes_are_seen_and_the_rest_is_said(stage):
    with stage.inside():
        done = subprocess.run([sys.executable, "-c", NOBODY], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    rows, held, said = done.stdout.split(maxsplit=2)
    assert int(rows) == len(ask(stage)) + 1
    assert said.startswith(
        f"of {int(held) - 1} sockets the process is not visible: another user's (root sees it: sudo), or"
    )
    assert len(said.splitlines()) == 1


def test_root_is_not_told_to_become_root(stage):
    """In a container root sees the host's sockets where it shares its network, and not its processes."""
    asked = "import analyzer; from analyzer.host.sockets import limits; print(*limits(analyzer.sockets()))"
    apart = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespace of processes can be made here")
    with stage.inside():
        done = subprocess.run(
            [*apart, sys.executable, "-c", asked], capture_output=True, text=True, cwd=ROOT, check=False
        )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"of \d+ sockets the process is not visible: in another container\n", done.stdout)


def test_where_a_loop_runs(stage):
    async def cell() -> int:
        return len(analyzer.sockets())

    with stage.inside():
        assert asyncio.run(cell()) == len(analyzer.sockets())


def test_many_sockets_at_once(stage):
    """More than one answer of the kernel's; each socket once."""
    many = stages.Stage()
    try:
        with many.inside():
            listener = many.listener(port=6000, backlog=1024)
            for _ in range(300):
                many.client(listener.getsockname())
            here = analyzer.sockets()
        assert len(here) == 601
        assert here["cookie"].is_unique
        assert here["bytes_acked"].notna().sum() == 600
    finally:
        many.remove()


# ------------------------------------------------------------------------------------------------------ other systems


PORTABLE = """
import analyzer, json, socket
from analyzer.host import sock_diag
del socket.AF_NETLINK
here = analyzer.sockets()
from analyzer.frames import schema
from analyzer.host.sockets import limits
schema.check("sockets", here)
print(json.dumps({"states": here.groupby("state", observed=True).size().to_dict(), "limits": limits(here),
    "pids": int(here["pid"].notna().sum()), "port": len(analyzer.sockets(port=5003))}))
"""


def test_the_portable_part_where_there_is_no_netlink(stage):
    with stage.inside():
        done = subprocess.run([sys.executable, "-c", PORTABLE], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    here = ask(stage)
    counted = here.groupby("state", observed=True).size().to_dict()
    assert {state: count for state, count in said["states"].items() if state != "CLOSED"} == {
        state: count for state, count in counted.items() if state != "CLOSED"
    }
    assert said["pids"] == int((here["pid"].notna() & (here["state"] != "CLOSED")).sum())
    assert said["port"] == 3
    assert said["limits"] == ["queues, timers and round trips are not told here: they take Linux's netlink sock_diag"]


def test_a_system_that_tells_only_root(monkeypatch):
    import psutil

    def refuse(**_):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    monkeypatch.delattr(sock_diag.socket, "AF_NETLINK")
    with pytest.raises(analyzer.HostError, match="for root only: sudo"):
        analyzer.sockets()


def test_an_older_kernels_shorter_tcp_info(stage, monkeypatch):
    """Fields that the kernel does not know yet are NA, not 0."""
    with stage.inside():
        answer = sock_diag.ask()
    old = answer.info_length.copy()
    old[old > 0] = 104  # up to tcpi_total_retrans, as in Linux 3.x
    monkeypatch.setattr(sock_diag, "ask", lambda: sock_diag.dataclasses.replace(answer, info_length=old))
    here = analyzer.sockets()
    schema.check("sockets", here)
    assert here["pacing_rate"].isna().all()
    assert here["send_window"].isna().all()
    assert (
        here["retransmitted"].notna().sum()
        == np.count_nonzero(old) - (here["state"].isin(["LISTEN", "CLOSED"]) & (old > 0)).sum()
    )
    assert limits(here[here["state"] == "TIME_WAIT"]) == ()
