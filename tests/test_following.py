"""Following a capture that is being written: what is told on the way and in the end is what reading it afterwards tells."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import analyzer
from analyzer import cli
from analyzer.frames import packet_frame, schema, store, tracking
from tests.recordings import capture

pytestmark = pytest.mark.kernels

needs_namespaces = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not all(map(shutil.which, ("tcpdump", "ip", "unshare"))),
    reason="needs root, tcpdump and iproute2's ip",
)


@pytest.fixture
def recorded() -> bytes:
    return capture("life-of-a-connection").read_bytes()


def until(condition, seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come to be"
        time.sleep(0.01)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Equal row by row; the categories of what came in parts are the parts' own."""
    as_text = {name: "str" for name in one.columns if one[name].dtype == "category"}
    pd.testing.assert_frame_equal(
        one.astype(as_text), other.astype(as_text), check_dtype=False, check_index_type=False, check_column_type=False
    )


def test_a_file_written_in_pieces(tmp_path, recorded):
    """Cut inside records, too. The frames in the end, and the news put together, are those of the whole file."""
    file = tmp_path / "in.pcap"
    file.write_bytes(recorded[:30])
    parts = []
    with analyzer.follow(file) as session:
        news = session.news(wait_s=0.01)
        with file.open("ab", buffering=0) as out:
            for at in range(30, len(recorded), 333):
                out.write(recorded[at : at + 333])
                if at % 2 == 0:
                    before = session.records
                    until(lambda: session.records > before or session.records >= 2)  # noqa: B023
        until(lambda: session.records == analyzer.read(file).capture.records)
        session.finish()
        parts = list(news)
        followed = session.analysis()
    read = analyzer.read(file)
    for name in store.STORED:
        schema.check(name, followed.frames[name])
        same(followed.frames[name], read.frames[name])
    assert followed.capture.damage == ()
    same(pd.concat([packets for packets, _ in parts]), read.packets)
    told = pd.concat([anomalies for _, anomalies in parts], ignore_index=True)
    at_once = read.anomalies[read.anomalies["frame"].notna()]
    assert set(told["kind"]) <= set(read.anomalies["kind"])
    assert len(told) <= len(at_once)


def test_news_makes_only_what_is_new(tmp_path, recorded, monkeypatch):
    """A second look at a session costs what came since the first."""
    made = []
    packets = packet_frame.packets
    monkeypatch.setattr(
        packet_frame, "packets", lambda columns, rows, *more: made.append(rows) or packets(columns, rows, *more)
    )
    half = 24 + (len(recorded) - 24) // 2
    file = tmp_path / "in.pcap"
    file.write_bytes(recorded[:half])
    with analyzer.follow(file) as session:
        news = session.news(wait_s=0.05)
        seen = 0
        packets_1, _ = next(news)
        seen += len(packets_1)
        with file.open("ab") as out:
            out.write(recorded[half:])
        session.finish()
        for rows, _ in news:
            seen += len(rows)
    assert sum(made) == seen == len(analyzer.read(file).packets)
    assert len(made) >= 2


def test_stop_does_not_wait_for_what_takes_long(tmp_path, recorded, monkeypatch):
    """The first batch may wait for the kernels to be compiled. What was read is not lost."""
    feed = tracking.Tracking.feed

    def slow(tracking, records):
        time.sleep(1.0)
        feed(tracking, records)

    monkeypatch.setattr(tracking.Tracking, "feed", slow)
    file = tmp_path / "in.pcap"
    file.write_bytes(recorded)
    session = analyzer.follow(file)
    until(lambda: session.records > 0)
    begun = time.monotonic()
    session.stop()
    assert time.monotonic() - begun < 0.5  # the promise is 0.2 s; a loaded machine may take longer
    assert len(session.analysis().packets) == len(analyzer.read(file).packets)
    assert not session.running


def test_a_port_keeps_its_connections(tmp_path, recorded):
    file = tmp_path / "in.pcap"
    file.write_bytes(recorded)
    port = int(analyzer.read(file).flows["server_port"].iloc[0])
    for wanted, expected in ((port, len(analyzer.read(file, port=port).packets)), (1, 0)):
        with analyzer.follow(file, port=wanted) as session:
            until(lambda: session.records > 0)
            session.finish()
            assert sum(len(packets) for packets, _ in session.news()) == expected
            assert len(session.analysis().packets) == expected


def test_what_cannot_be_followed(tmp_path, capfd):
    text = tmp_path / "ticket.txt"
    text.write_text("14:12:45.104687 IP a.1 > b.2: Flags [S], seq 1, win 32792, length 0\n")
    with pytest.raises(analyzer.CaptureError, match=r"this is text.*tcpdump -w"):
        analyzer.follow(text)
    with pytest.raises(analyzer.CaptureError, match="a pipe is read as it comes anyway"):
        analyzer.follow("-")
    odd = tmp_path / "odd.pcap"
    odd.write_bytes(bytes(100))
    with analyzer.follow(odd) as session, pytest.raises(analyzer.CaptureError, match="neither pcap"):
        session.wait(20)
    assert cli.main(["read", str(odd), "--follow"]) == 1
    assert cli.main(["read", str(odd), "--follow", "-Y", "tcp"]) == 2
    assert cli.main(["packets", str(odd), "--follow", "--format", "tcpdump", "--flow", "0"]) == 2
    assert "tshark, which reads whole captures" in capfd.readouterr().err


def followed(words: list[str]) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-m", "analyzer", *words, "--follow"], stdout=-1, stderr=-1, text=True)
    if words[-1] != "tcpdump":
        assert any("following" in line for line in iter(process.stderr.readline, ""))
    return process


def ended(process: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_reads_until_it_is_interrupted(tmp_path, recorded, number):
    file = tmp_path / "in.pcap"
    file.write_bytes(recorded)
    process = followed(["read", str(file)])
    time.sleep(1)
    out = ended(process, number)
    assert out.splitlines()[2:] == analyzer.read(file).summary(width=160).splitlines()[2:]


def test_lines_come_as_the_segments_do(tmp_path, recorded):
    """The line of a segment is there while the file is still written."""
    file = tmp_path / "in.pcap"
    file.write_bytes(recorded[:600])
    for words in (["packets", str(file)], ["packets", str(file), "--format", "tcpdump"]):
        process = followed(words)
        first = process.stdout.readline()
        assert "Flags [S]" in first
        out = first + ended(process)
        assert ("handshake" in out) == (words[-1] != "tcpdump")
    process = followed(["packets", str(file), "--format", "ndjson"])
    assert json.loads(process.stdout.readline())["flags"] == "S"
    assert all(json.loads(line)["flow"] >= 0 for line in ended(process).splitlines())
    process = followed(["packets", str(file), "-c", "2"])
    out, _ = process.communicate(timeout=60)
    assert out.split("\n\n")[0].count("Flags [") == 2


@needs_namespaces
@pytest.mark.root
@pytest.mark.parametrize(
    ("arguments", "name", "target"),
    [
        (["-U"], "cap.pcap", "cap.pcap"),
        (["-U", "-C", "1"], "cap", "cap"),
        (["-U", "-C", "1", "-W", "5"], "cap", "cap*"),
        (["-U", "-G", "1", "-W", "4"], "cap-%Y%m%d%H%M%S.pcap", "cap-*.pcap"),
    ],
    ids=["grows", "C", "ring", "G"],
)
def test_a_real_tcpdump(tmp_path: pathlib.Path, arguments: list[str], name: str, target: str) -> None:
    """It writes on a loopback of its own while the command follows; all connections are there, whole."""
    tmp_path.chmod(0o777)
    talk = (
        "import socket, threading, time\n"
        "s = socket.create_server(('127.0.0.1', 9502))\n"
        "def serve():\n"
        "    while True:\n"
        "        c, _ = s.accept()\n"
        "        while c.recv(65536): pass\n"
        "        c.sendall(b'done'); c.close()\n"
        "threading.Thread(target=serve, daemon=True).start()\n"
        "for i in range(40):\n"
        "    c = socket.create_connection(('127.0.0.1', 9502)); c.sendall(bytes(60_000)); c.shutdown(socket.SHUT_WR)\n"
        "    assert c.recv(10) == b'done'; assert c.recv(1) == b''; c.close(); time.sleep(0.05)\n"
    )
    script = (
        'ip link set lo up; cd "$1"; shift; tcpdump -Z root -i lo -n "$@" tcp 2>err & '
        f'until grep -q listening err; do sleep 0.02; done; {sys.executable} -c "$TALK"; '
        "sleep 0.3; kill -INT $! 2>/dev/null; wait $!"
    )
    writer = subprocess.Popen(
        ["timeout", "30", "unshare", "-n", "sh", "-c", script, "sh", tmp_path, *arguments, "-w", name],
        env={**os.environ, "TALK": talk},
    )
    until(lambda: list(tmp_path.glob("cap*")), 10)
    process = followed(["packets", str(tmp_path / target)])
    writer.wait(40)
    time.sleep(0.5)
    out = ended(process)
    lines, summary = out.split("\n\n", 1)
    afterwards = analyzer.read(str(tmp_path / "cap*"))  # no ring is so small that it would have been written over
    whole = len(afterwards.flows)
    assert whole >= 35  # tcpdump says that it listens a moment before it does
    assert lines.count("Flags [") == len(afterwards.packets)
    assert lines.count("close 4/4") == (afterwards.packets["step"] == "close 4/4").sum() > 0
    assert f"handshake completed by {whole} of {whole}" in summary
    about = summary.partition("About the capture")[2]
    assert about
    assert not any(word in about for word in ("error", "warning", "skipped", "cut by"))
