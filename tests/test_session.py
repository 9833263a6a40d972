"""Live: real sockets on the loopback interface, sniffed, with the verdicts that a file gives."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import analyzer
from analyzer import cli
from analyzer.frames import schema, store

pytestmark = [pytest.mark.kernels, pytest.mark.root]
needs_root = pytest.mark.skipif(
    not hasattr(socket, "AF_PACKET") or os.geteuid() != 0, reason="sniffing needs Linux and root"
)


@pytest.fixture
def server():
    """A listener on a free port that answers one line a connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(connection.recv(100).upper())
                connection.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def talk(port: int) -> None:
    """One connection: a line each way, closed by the client; returns when the server has closed too."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"HELLO"
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def until(condition, seconds: float = 60.0) -> None:
    """Wait until it holds: what was sent is sniffed some milliseconds later, on a busy machine some more."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come to be"
        time.sleep(0.02)


@needs_root
def test_a_connection_seen_live_has_the_verdicts_of_a_file(server):
    with analyzer.live("lo", port=server) as session:
        talk(server)
        until(lambda: len(session.analysis().packets) and session.analysis().flows["close"].iloc[0] == "orderly")
        analysis = session.analysis()
    for name in store.STORED:
        schema.check(name, getattr(analysis, name))
    row = analysis.flows.loc[0]
    assert (row["server_port"], row["handshake"], row["closed_by"]) == (server, "complete", "client")
    assert (row["client_bytes"], row["server_bytes"]) == (5, 5)
    assert (row["client_state"], row["server_state"]) == ("TIME_WAIT", "CLOSED")
    assert session.drops == 0


@needs_root
def test_the_session_goes_on_after_it_was_asked(server):
    with analyzer.live("lo", port=server) as session:
        talk(server)
        until(lambda: len(session.analysis().flows) == 1)
        earlier = session.analysis()
        before = earlier.packets.copy(deep=True)
        talk(server)
        until(lambda: len(session.analysis().flows) == 2)
        assert earlier.packets.equals(before)


@needs_root
def test_news_comes_once_and_in_order(server):
    frames: list[int] = []
    with analyzer.live("lo", port=server) as session:
        talk(server)
        talk(server)
        for packets, _ in session.news():
            frames += list(packets.index)
            if len(frames) >= 18:
                session.stop()
        assert frames == list(session.analysis().packets.index)
    assert len(frames) == len(set(frames))


@needs_root
def test_stop_is_quick_and_may_be_said_twice(server):
    session = analyzer.live("lo", port=server)
    begun = time.monotonic()
    session.stop()
    assert time.monotonic() - begun < 2  # the promise is 0.2 s; a loaded machine may take longer
    session.stop()
    assert not session.running
    assert len(session.analysis().packets) == 0


@needs_root
def test_what_cannot_be_sniffed():
    with pytest.raises(analyzer.InterfaceError, match="no such interface"):
        analyzer.live("no-such-if0")
    with pytest.raises(analyzer.FilterError, match="prot 80"):
        analyzer.live("lo", bpf="prot 80")


@needs_root
def test_the_command_prints_lines_and_ends_with_the_summary(server):
    command = [sys.executable, "-m", "analyzer", "live", "-i", "lo", "--port", str(server), "--plain"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, bufsize=1) as process:
        told = iter(process.stderr.readline, "")
        assert any("listening on lo" in line for line in told)
        talk(server)
        lines = []
        while not any("close 4/4" in line for line in lines):
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert lines[0].split()[-4:] == ["SYN_SENT", "LISTEN~", "open", "1/3"]
    assert "handshake completed by 1 of 1" in rest
    assert "Traceback" not in err


@needs_root
def test_a_count_ends_it(server):
    command = [sys.executable, "-m", "analyzer", "live", "-i", "lo", "--port", str(server), "-c", "3"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert any("listening" in line for line in iter(process.stderr.readline, ""))
        talk(server)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.split("\n\n")[0].count("Flags [") == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may sniff")
def test_without_the_right_it_says_so(capfd):
    assert cli.main(["live", "-i", "lo"]) == 1
    assert "may not sniff" in capfd.readouterr().err
