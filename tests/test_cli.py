"""The command as a user has it: what goes to stdout and stderr, and every exit code."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys

import pandas as pd
import pytest

import analyzer
from analyzer import cli
from analyzer.command_words import split
from analyzer.errors import CaptureError
from analyzer.frames.vocabulary import STATES

ROOT = pathlib.Path(__file__).parents[1]
LIFE = ROOT / "captures" / "life-of-a-connection" / "any.pcap"
REFUSED = ROOT / "captures" / "refused" / "any.pcap"
COMMANDS = ("read", "packets", "flows", "states", "anomalies")

pytestmark = pytest.mark.kernels


def run(*words: object, **how) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "analyzer", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False, **how)


@pytest.fixture
def main(capfd):
    """The command in this process: (exit code, stdout, stderr)."""

    def called(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        return code, *capfd.readouterr()

    return called


@pytest.fixture
def cut(tmp_path):
    """A capture cut in the middle of its last record."""
    path = tmp_path / "cut.pcap"
    path.write_bytes(LIFE.read_bytes()[:-7])
    return path


# ------------------------------------------------------------------------------------------------------- what it says


def test_read_answers_on_one_screen(main):
    code, out, err = main("read", LIFE)
    assert (code, err) == (0, "")
    assert "handshake completed by 1 of 1" in out
    assert "TIME_WAIT" in out
    assert len(out.splitlines()) < 40
    assert "\x1b" not in out


def test_packets_prints_a_line_a_segment_with_both_states(main):
    code, out, _ = main("packets", LIFE)
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == len(analyzer.read(LIFE).packets)
    assert "Flags [S]" in lines[0]
    assert lines[0].split()[-4:] == ["SYN_SENT", "LISTEN~", "open", "1/3"]
    first_three = main("packets", LIFE, "-c", 3)[1].splitlines()
    assert [line.split() for line in first_three] == [line.split() for line in lines[:3]]


def test_flows_of_a_port_and_of_a_number(main):
    many = ROOT / "captures" / "many-connections" / "eth.pcap"
    rows = [json.loads(line) for line in main("flows", many, "--format", "ndjson")[1].splitlines()]
    on_port = [json.loads(line) for line in main("flows", many, "--port", 9503, "--format", "ndjson")[1].splitlines()]
    assert on_port == [row for row in rows if 9503 in (row["client_port"], row["server_port"])]
    assert 0 < len(on_port) < len(rows)
    one = [json.loads(line) for line in main("packets", many, "--flow", 2, "--format", "ndjson")[1].splitlines()]
    assert {row["flow"] for row in one} == {2}
    assert len(one) == rows[2]["client_packets"] + rows[2]["server_packets"]


def test_states_at_a_time_and_over_time(main):
    analysis = analyzer.read(LIFE)
    table = list(csv.DictReader(main("states", LIFE, "--every", "100ms", "--format", "csv")[1].splitlines()))
    assert len(table) == len(analysis.state_counts("100ms"))
    last = {state: int(count) for state, count in table[-1].items() if state != "time"}
    end = {
        row["state"]: row["sockets"] for row in json.loads(main("states", LIFE, "--at", "+60", "--format", "json")[1])
    }
    assert end == {state: count for state, count in last.items() if count}
    assert set(end) <= set(STATES)


def test_hosts_that_have_no_sockets_are_said(main):
    """Neither bare times nor a head alone."""
    for more in ([], ["--at", "+0.1"]):
        code, out, err = main("states", LIFE, "--host", "1.2.3.4", *more)
        assert (code, out) == (0, "")
        assert err.startswith("analyzer: 1.2.3.4: this address has no sockets in the capture")
        code, out, err = main("states", LIFE, "--host", "foo", *more)
        assert (code, out) == (2, "")
        assert "host='foo': it is an address" in err
        code, out, err = main("states", LIFE, "--port", "1", *more)
        assert (code, out, err.startswith("analyzer: no socket is in any state here")) == (0, "", True)
    code, out, err = main("states", LIFE, "--host", "1.2.3.4", "--host", "127.0.0.1")
    assert (code, out) == main("states", LIFE, "--host", "127.0.0.1")[:2]
    assert "1.2.3.4: this address" in err
    code, out, err = main("states", LIFE, "--host", "1.2.3.4", "--format", "csv")
    assert (code, out.splitlines()[0][:5]) == (0, "time,")
    assert "1.2.3.4: this address" in err


def test_a_time_without_a_zone_is_local(main, monkeypatch):
    first = analyzer.read(LIFE).capture.first
    when = (first + pd.Timedelta(seconds=30)).tz_convert("Asia/Kolkata")
    local = when.strftime("%Y-%m-%dT%H:%M:%S")
    done = run("states", LIFE, "--at", local, "--format", "json", env={**os.environ, "TZ": "Asia/Kolkata"})
    assert json.loads(done.stdout) == json.loads(main("states", LIFE, "--at", "+30", "--format", "json")[1])
    zoned = run("states", LIFE, "--at", first.isoformat(timespec="microseconds"), "--format", "json")
    assert {row["state"] for row in json.loads(zoned.stdout)} <= {"SYN_SENT", "LISTEN"}


def test_a_time_outside_of_the_capture_is_said(main):
    assert main("states", LIFE, "--at", "+0.1")[2] == ""
    code, out, err = main("states", LIFE, "--at", "+3600")
    assert code == 0
    assert "after the end" in err
    assert out == main("states", LIFE, "--at", "+60")[1]
    code, out, err = main("states", LIFE, "--at", "2001-01-01T00:00:00Z", "--format", "ndjson")
    assert (code, out) == (0, "")
    assert "before the first segment" in err


def test_copies_are_marked_dropped_or_kept(main):
    bridge = ROOT / "captures" / "copies-on-a-bridge" / "any.pcap"
    marked, dropped, kept = (
        main("packets", bridge, *words)[1] for words in ((), ("--copies", "drop"), ("--copies", "keep"))
    )
    assert marked.count("copy of") == 34
    assert len(dropped.splitlines()) == len(marked.splitlines()) - 34
    assert "copy of" not in dropped + kept
    assert len(kept.splitlines()) == len(marked.splitlines())


def test_anomalies(main):
    code, out, _ = main("anomalies", REFUSED, "--format", "json")
    assert code == 0
    assert {row["kind"] for row in json.loads(out)} == {"refused"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_format_of_every_command_carries_the_same(main, tmp_path, command):
    array = json.loads(main(command, LIFE, "--format", "json")[1])
    if command == "read":
        assert (array["connections"], array["completed"], array["capture"]["records"]) == (1, 1, array["segments"])
        array = [json.loads(line) for line in main("read", LIFE, "--format", "ndjson")[1].splitlines()]
    assert [json.loads(line) for line in main(command, LIFE, "--format", "ndjson")[1].splitlines()] == array
    table = list(csv.DictReader(main(command, LIFE, "--format", "csv")[1].splitlines()))
    assert len(table) == len(array)
    target = tmp_path / "rows.parquet"  # the suffix names the format
    assert main(command, LIFE, "-o", target) == (0, "", "")
    assert len(pd.read_parquet(target)) == len(array)


def test_read_as_json_says_what_was_read(main, tmp_path):
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(LIFE.read_bytes()[:-10])
    said = json.loads(main("read", cut, "--json")[1])["capture"]
    capture = analyzer.read(cut).capture
    assert (said["files"], said["records"]) == ([str(cut)], 13)
    assert [pd.Timestamp(said[name]) for name in ("first", "last")] == [capture.first, capture.last]
    assert [damage["file"] for damage in said["damage"]] == [str(cut)]
    assert "the file ends inside a record" in said["damage"][0]["what"]


def test_save_keeps_all_frames(main, tmp_path):
    assert main("read", LIFE, "--save", tmp_path / "kept")[0] == 0
    assert analyzer.load(tmp_path / "kept").summary() == analyzer.read(LIFE).summary()


@pytest.mark.parametrize("command", COMMANDS)
def test_saved_frames_are_a_capture_too(main, tmp_path, command):
    """They say what the capture said, without being analysed again."""
    assert main("read", LIFE, "--save", tmp_path / "kept")[0] == 0
    assert main(command, tmp_path / "kept", "--format", "json") == main(command, LIFE, "--format", "json")
    code, _, err = main(command, tmp_path / "kept", "tcp port 80")
    assert (code, "saved frames are not analysed again" in err) == (2, True)


def test_saved_frames_have_no_packets(main, tmp_path):
    assert main("read", LIFE, "--save", tmp_path / "kept")[0] == 0
    for words in (["packets", "--format", "tcpdump"], ["verify"], ["read", LIFE]):
        code, _, err = main(*words, tmp_path / "kept")
        assert (code, "saved frames, and no packets to read: analyzer.load() opens them" in err) == (1, True)


def test_a_pipe_from_tcpdump(main):
    with LIFE.open("rb") as stream:
        done = run("flows", "-", "--format", "csv", stdin=stream)
    assert done.returncode == 0
    assert done.stdout == main("flows", LIFE, "--format", "csv")[1]


def test_color_by_wish_and_never_off_a_terminal(main, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in main("packets", LIFE)[1]
    assert "\x1b[" in main("packets", LIFE, "--color", "always")[1]


# ------------------------------------------------------------------------------------------------- captures and filter


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("a.pcap", "b.pcap", "tcp"):
        (tmp_path / name).write_bytes(LIFE.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "after", "captures", "bpf"),
    [
        (["a.pcap"], None, ("a.pcap",), None),
        (["a.pcap", "port", "80"], None, ("a.pcap",), "port 80"),
        (["a.pcap", "port 80 and tcp[13] & 2 != 0"], None, ("a.pcap",), "port 80 and tcp[13] & 2 != 0"),
        (["a.pcap", "b.pcap", "host", "10.0.0.1"], None, ("a.pcap", "b.pcap"), "host 10.0.0.1"),
        (["*.pcap", "udp"], None, ("a.pcap", "b.pcap"), "udp"),
        (["-", "udp"], None, ("-",), "udp"),
        (["."], None, (".",), None),
        (["a.pcap", "tcp", "port", "80"], None, ("a.pcap", "tcp"), "port 80"),  # a file is called tcp
        (["a.pcap"], ["tcp", "port", "80"], ("a.pcap",), "tcp port 80"),
        (["a.pcap", "missing"], [], ("a.pcap", "missing"), None),
        (["missing", "port", "80"], None, ("missing",), "port 80"),
    ],
)
def test_captures_are_the_leading_words_that_exist(folder, words, after, captures, bpf):
    assert split(words, after) == (captures, bpf)


def test_a_missing_capture_is_no_filter(folder):
    with pytest.raises(CaptureError, match=r"c\.pcap: no such file"):
        split(["a.pcap", "c.pcap"])
    with pytest.raises(CaptureError, match=r"c\.xz: no such file"):
        split(["a.pcap", "c.xz"])


def test_the_filter_is_applied(main):
    everything = json.loads(main("packets", LIFE, "--format", "json")[1])
    syns = json.loads(main("packets", LIFE, "--format", "json", "--", "tcp[tcpflags] & tcp-syn != 0")[1])
    assert [row["frame"] for row in syns] == [row["frame"] for row in everything if "S" in row["flags"]]
    assert main("packets", LIFE, "--format", "json", "port", "1")[1].strip() == "[\n]"


# ---------------------------------------------------------------------------------------------------------- exit codes


@pytest.mark.parametrize("command", COMMANDS)
def test_2_usage(main, command):
    nothing = ("--at", "+1") if command == "states" else ()  # without anything, states asks this host
    for words in (
        nothing,
        (LIFE, "--port", "seventy"),
        (LIFE, "--format", "xml"),
        (LIFE, "--no-such"),
        (LIFE, "prot 80"),
    ):
        code, out, err = main(command, *words)
        assert (code, out) == (2, ""), words
        assert err
        assert "Traceback" not in err


def test_2_for_what_cannot_be_asked(main, tmp_path):
    assert main("packets", LIFE, "--flow", 99)[0] == 2
    assert main("states", LIFE, "--at", "tomorrow")[0] == 2
    assert main("states", LIFE, "--every", "0s")[0] == 2
    assert main("read", LIFE, "--fail-on", "bad-luck")[0] == 2
    assert main("packets", LIFE, "--format", "tcpdump", "--fail-on", "reset")[0] == 2  # nobody looks for anomalies
    assert main("packets", "-", "--format", "tcpdump", "--flow", 0)[0] == 2  # that reads twice
    assert main("flows", LIFE, "-o", tmp_path / "flows.xlsx")[0] == 2
    assert not (tmp_path / "flows.xlsx").exists()
    assert main("nonsense")[0] == 2


def test_1_what_cannot_be_read(main, tmp_path):
    (tmp_path / "empty.pcap").touch()
    (tmp_path / "text").write_text("not a capture, but longer than a header of one")
    (tmp_path / "folder").mkdir()
    for name in ("missing.pcap", "empty.pcap", "text", "folder"):
        code, out, err = main("read", tmp_path / name)
        assert (code, out) == (1, ""), name
        assert err.startswith("analyzer: ")
        assert len(err.splitlines()) == 1
        assert name in err
    assert main("flows", LIFE, "-o", tmp_path / "no" / "folder.csv")[0] == 1


def test_3_fail_on(main):
    assert main("read", REFUSED, "--fail-on", "reset,refused")[0] == 3
    assert main("anomalies", REFUSED, "--fail-on", "zero-window")[0] == 0
    assert main("read", LIFE, "--fail-on", "refused")[0] == 0


def test_4_strict_and_damaged(main, cut):
    code, out, err = main("read", cut)
    assert code == 0
    assert "connection" in out
    assert str(cut) in err
    code, out, _ = main("packets", cut, "--strict")
    assert code == 4
    assert len(out.splitlines()) == len(analyzer.read(LIFE).packets) - 1
    assert main("read", LIFE, "--strict")[0] == 0
    code, out, _ = main("packets", cut, "--strict", "--format", "tcpdump")
    assert code == 4
    assert len(out.splitlines()) == len(analyzer.read(LIFE).packets) - 1
    assert main("packets", LIFE, "--strict", "--format", "tcpdump")[0] == 0


def test_3_comes_before_4(main, tmp_path):
    path = tmp_path / "cut.pcap"
    path.write_bytes(REFUSED.read_bytes()[:-7])
    assert main("read", path, "--strict", "--fail-on", "refused")[0] == 3


def test_hostile_file_names_are_shown_not_obeyed(main, tmp_path):
    code, _, err = main("read", tmp_path / "\x1b[2Jx")
    assert code == 1
    assert "\x1b" not in err
    assert "\\x1b[2Jx" in err


def test_a_fault_of_our_own_is_one_line_too(main, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(analyzer.Analysis, "summary", broken)
    code, _, err = main("read", LIFE)
    assert code == 1
    assert err.startswith("analyzer: internal error: ZeroDivisionError: division by zero (test_cli.py:")


# --------------------------------------------------------------------------------------------------- as a good citizen


def test_a_reader_that_leaves_early_is_no_error():
    many = ROOT / "captures" / "many-connections" / "eth.pcap"  # more lines than a pipe has room for
    command = f"{sys.executable} -m analyzer packets {many}; echo $? >&2"
    with subprocess.Popen(
        ["bash", "-c", f"({command}) | head -1"], stdout=-1, stderr=-1, cwd=ROOT, text=True
    ) as process:
        out, err = process.communicate(timeout=300)
    assert len(out.splitlines()) == 1
    assert err.strip() == "0"


def interrupted_pipe(tmp_path, came: bytes, *words: str) -> tuple[int, str, str]:
    """What a command says of a pipe whose writer has written this much, and goes on holding it, when Ctrl-C comes."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "analyzer", *words, str(pipe)]
    with subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True) as process, pipe.open("wb") as writer:
        writer.write(came)  # the pipe is open at both ends from here on: the command is reading
        writer.flush()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_ctrl_c_ends_a_pipe_with_what_came(tmp_path, main):
    """As it ends the tcpdump in front of it: nothing is lost."""
    code, out, err = interrupted_pipe(tmp_path, LIFE.read_bytes(), "flows", "--format", "csv")
    assert (code, out) == main("flows", LIFE, "--format", "csv")[:2], err
    assert "Traceback" not in err


def test_ctrl_c_ends_a_pipe_in_tcpdumps_words(tmp_path, main):
    code, out, err = interrupted_pipe(tmp_path, LIFE.read_bytes(), "packets", "--format", "tcpdump")
    assert (code, out) == main("packets", LIFE, "--format", "tcpdump")[:2], err


def test_ctrl_c_before_anything_came(tmp_path):
    code, out, err = interrupted_pipe(tmp_path, b"", "read")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "analyzer: interrupted"
    assert "Traceback" not in err


def test_an_interrupt_in_python_does_not_wait_for_a_pipe(tmp_path):
    """The reading thread would wait for ever, and the interpreter's end for it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = "import analyzer, sys; analyzer.read(sys.argv[1])"
    command = [sys.executable, "-c", script, str(pipe)]
    with subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1) as process, pipe.open("wb") as writer:
        writer.write(LIFE.read_bytes())
        writer.flush()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in err


def test_help_names_every_command_and_exit_code(main):
    code, out, _ = main("--help")
    assert code == 0
    assert all(command in out for command in (*COMMANDS, "live"))
    assert "3 --fail-on" in out
    assert main("-h")[1] == out
    assert main("--version")[1].strip().endswith(analyzer.__version__)


def test_python_m_and_main_are_the_same(main):
    done = run("flows", LIFE, "--format", "csv")
    assert (done.returncode, done.stdout) == main("flows", LIFE, "--format", "csv")[:2]
