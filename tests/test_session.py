"""Live: real sockets on the loopback interface, sniffed, with the verdicts that a file gives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from typing import IO, Any

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
        schema.check(name, analysis.frames[name])
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


class Terminal:
    """The command on a terminal of 24 lines by 80 cells, as ssh gives one."""

    def __init__(self, *words: str, stderr: IO[bytes] | None = None, **environment: str) -> None:
        inner, outer = pty.openpty()[::-1]
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        command = [sys.executable, "-m", "analyzer", "live", *words]
        self.process = subprocess.Popen(
            command, stdin=inner, stdout=inner, stderr=stderr or inner, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )  # fmt: skip
        os.close(inner)
        self.outer, self.said = outer, b""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the terminal has gone
            while part := os.read(self.outer, 1 << 16):
                self.said += part

    def until(self, text: bytes) -> None:
        until(lambda: text in self.said, 120)

    def press(self, keys: bytes) -> None:
        os.write(self.outer, keys)

    def end(self) -> int:
        code = self.process.wait(30)
        time.sleep(0.3)  # what it said last is on its way
        return code


@pytest.fixture
def terminal():
    """Makes terminals; what still runs is ended."""
    made = []

    def make(*words: str, **how: Any) -> Terminal:
        made.append(Terminal(*words, **how))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()
        os.close(one.outer)


LEFT_FULL_SCREEN = b"\x1b[?1049l"


@needs_root
@pytest.mark.parametrize("key", [b"q", b"\x03"], ids=["q", "Ctrl-C"])
def test_on_a_terminal_the_screen_comes_and_quitting_prints_the_summary(server, terminal, key):
    pytest.importorskip("textual", reason="the live screen needs Textual")
    shown = terminal("-i", "lo", "--port", str(server))
    shown.until(b"dropped by the kernel")
    talk(server)
    shown.until(b"TIME_WAIT")
    shown.press(key)
    assert shown.end() == 0
    rest = shown.said[shown.said.rindex(LEFT_FULL_SCREEN) :].decode()
    assert "handshake completed by 1 of 1" in rest
    assert "packets received, 0 dropped by the kernel" in rest
    assert "Traceback" not in shown.said.decode(errors="replace")


@needs_root
@pytest.mark.parametrize("way", ["SIGTERM", "--duration", "-c"])
def test_the_screen_ends_with_the_session(server, terminal, way):
    """The terminal is left as it was, also after SIGTERM."""
    pytest.importorskip("textual", reason="the live screen needs Textual")
    more = {"SIGTERM": [], "--duration": ["--duration", "5"], "-c": ["-c", "3"]}[way]
    shown = terminal("-i", "lo", "--port", str(server), *more)
    shown.until(b"dropped by the kernel")
    talk(server)
    if way == "SIGTERM":
        shown.process.terminate()
    assert shown.end() == 0
    rest = shown.said[shown.said.rindex(LEFT_FULL_SCREEN) :].decode()
    assert "handshake completed by 1 of 1" in rest


@needs_root
def test_the_screen_ends_with_its_interface_and_says_so(terminal):
    pytest.importorskip("textual", reason="the live screen needs Textual")
    name = f"gone{os.getpid() % 10**8}"
    if subprocess.run(["ip", "link", "add", name, "type", "veth"], capture_output=True, check=False).returncode:
        pytest.skip("no interface can be made here")
    try:
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        shown = terminal("-i", name)
        shown.until(b"dropped by the kernel")
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)
    assert shown.end() == 1
    rest = shown.said[shown.said.rindex(LEFT_FULL_SCREEN) :].decode()
    assert f"{name}: the interface has gone away" in rest
    assert "Traceback" not in rest


@needs_root
@pytest.mark.parametrize("why", ["--plain", "no Textual", "dumb"])
def test_lines_where_there_can_be_no_screen(server, terminal, tmp_path, why):
    (tmp_path / "textual.py").write_text("raise ImportError('not installed')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    asked = {"--plain": ["--plain"]}.get(why, [])
    environment = {"no Textual": {"PYTHONPATH": path}, "dumb": {"TERM": "dumb"}}.get(why, {})
    shown = terminal("-i", "lo", "--port", str(server), "--color", "never", *asked, **environment)
    shown.until(b"listening on lo")
    talk(server)
    shown.until(b"close 4/4")
    shown.press(b"\x03")
    shown.process.send_signal(signal.SIGINT)  # a session of its own has no Ctrl-C of this terminal
    assert shown.end() == 0
    assert b"\x1b[?1049h" not in shown.said
    told = b"pip install 'tcp-handshake-analyzer[screen]'" in shown.said
    assert told == (why == "no Textual")


@needs_root
def test_lines_where_stderr_goes_to_a_file(server, terminal, tmp_path):
    """Textual draws on stderr: the terminal would stay blank, and the file be full of it."""
    with open(tmp_path / "err.log", "wb") as log:
        shown = terminal("-i", "lo", "--port", str(server), "-c", "5", "--color", "never", stderr=log)
    until(lambda: b"listening on lo" in (tmp_path / "err.log").read_bytes(), 120)
    talk(server)
    assert shown.end() == 0
    assert b"Flags [S.]" in shown.said
    assert b"\x1b" not in (tmp_path / "err.log").read_bytes()


@needs_root
@pytest.mark.parametrize("quiet", [False, True])
def test_a_count_ends_it_at_that_packet(server, tmp_path, quiet):
    """In lines, summary and file, though more came in the same batch; as ``tcpdump -c``."""
    path = tmp_path / "cut.pcapng"
    command = [sys.executable, "-m", "analyzer", "live", "-i", "lo", "--port", str(server), "-c", "12", "-w", str(path)]
    with subprocess.Popen([*command, *["-q"][: int(quiet)]], stdout=-1, stderr=-1, text=True) as process:
        told = iter(process.stderr.readline, "")
        assert any("listening" in line for line in told)
        for _ in range(10):
            talk(server)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.count("Flags [") == (0 if quiet else 12)
    assert " 12 TCP segments of 12 records" in out
    assert "12 packets received, 0 dropped by the kernel" in err
    assert list(analyzer.read(path).packets.index) == list(range(1, 13))


@needs_root
def test_a_count_is_of_packets_not_of_segments(server):
    """What is not TCP counts too, as with ``tcpdump -c``; the session ends by itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.connect(("127.0.0.1", 9))
        session = analyzer.live("lo", bpf=f"tcp port {server} or udp src port {other.getsockname()[1]}", count=8)
        other.send(b"one")
        talk(server)
        talk(server)
        assert session.wait(60)
    analysis = session.analysis()
    assert (session.records, len(analysis.packets), analysis.capture.records) == (8, 7, 8)
    assert list(analysis.packets.index) == [2, 3, 4, 5, 6, 7, 8]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may sniff")
def test_without_the_right_it_says_so(capfd):
    assert cli.main(["live", "-i", "lo"]) == 1
    assert "may not sniff" in capfd.readouterr().err


@needs_root
def test_lines_that_come_too_fast_are_passed_over_and_counted(server):
    with analyzer.live("lo", port=server) as session:
        for _ in range(5):
            talk(server)
        until(lambda: session.counts.segments >= 45)
        session.finish()
        news = list(session.news(most=10))
    frames = [frame for packets, _ in news for frame in packets.index]
    assert len(frames) + session.passed_over == session.counts.segments
    assert frames[-10:] == list(session.analysis().packets.index[-10:])
    assert session.passed_over >= 35


@needs_root
def test_an_interface_that_goes_away_leaves_the_summary_and_what_was_saved(tmp_path):
    name = f"gone{os.getpid() % 10_000}"
    made = subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", name + "p"], check=False)
    if made.returncode:
        pytest.skip("no virtual cable can be made here")
    try:
        for end in (name, name + "p"):
            subprocess.run(["ip", "link", "set", end, "up"], check=True)
        command = [sys.executable, "-m", "analyzer", "live", "-i", name, "--plain", "--save", str(tmp_path / "kept")]
        with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
            assert any("listening" in line for line in iter(process.stderr.readline, ""))
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
                sender.bind((name + "p", 0))
                sender.send(bytes(12) + b"\x08\x06" + bytes(50))
            time.sleep(0.5)
            subprocess.run(["ip", "link", "del", name], check=True)
            out, err = process.communicate(timeout=60)
    finally:
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
    assert process.returncode == 1
    assert "No TCP connections" in out
    assert analyzer.load(tmp_path / "kept").capture.records == int(err.split(" packets received")[0].split()[-1]) > 0
    assert "packets received, 0 dropped by the kernel" in err
    assert err.splitlines()[-1].startswith(f"analyzer: {name}: the interface has gone away")


@pytest.fixture
def cable():
    """The names of a virtual cable's two ends."""
    name = f"cut{os.getpid() % 10_000}"
    ends = (name, name + "p")
    command = ["ip", "link", "add", name, "up", "type", "veth", "peer", "name", name + "p"]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no virtual cable can be made here")
    for end in ends:
        subprocess.run(["ip", "link", "set", end, "up"], check=True)
    yield ends
    subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


@needs_root
@pytest.mark.parametrize("more", [[], ["--strict"]], ids=["", "strict"])
def test_one_of_several_interfaces_that_goes_away_is_said_at_once_and_the_others_go_on(server, cable, more):
    command = [sys.executable, "-m", "analyzer", "live", "-i", cable[0], "-i", "lo", "--plain", *more]
    with subprocess.Popen([*command, "tcp", "port", str(server)], stdout=-1, stderr=-1, text=True) as process:
        assert any("listening" in line for line in iter(process.stderr.readline, ""))
        subprocess.run(["ip", "link", "del", cable[0]], check=True)
        line = process.stderr.readline()
        assert line.startswith(f"analyzer: {cable[0]}: the interface has gone away, ")
        assert line.endswith("; the others go on\n")
        talk(server)
        while "close 4/4" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        process.send_signal(signal.SIGINT)
        out = process.stdout.read()
        assert process.wait(60) == (4 if more else 0)
    about = out[out.index("About the capture") :]
    assert f"error  {cable[0]}: the interface has gone away, " in about


@needs_root
def test_all_of_several_interfaces_that_go_away_end_it(cable):
    told: list[str] = []
    with analyzer.live(cable, tell=told.append) as session:
        session.ready.wait(120)
        subprocess.run(["ip", "link", "del", cable[0]], check=True)
        with pytest.raises(analyzer.InterfaceError, match=f"{cable[0]}, {cable[1]}: the interfaces have gone away"):
            session.wait(60)
    assert [line.partition(":")[0] for line in told] == list(cable)
    assert [damage.file for damage in session.analysis().capture.damage] == list(cable)
    assert not session.analysis().capture.whole


@needs_root
def test_an_interface_that_goes_away_stands_on_the_screen(cable, terminal):
    pytest.importorskip("textual", reason="the live screen needs Textual")
    shown = terminal("-i", cable[0], "-i", "lo", "--strict")
    shown.until(b"dropped by the kernel")
    subprocess.run(["ip", "link", "del", cable[0]], check=True)
    shown.until(f"{cable[0]}: the interface has gone away".encode())
    shown.press(b"q")
    assert shown.end() == 4


@needs_root
@pytest.mark.parametrize("saved", ["--save", "-w"])
def test_a_hang_up_ends_it_in_order(server, tmp_path, saved):
    """As SIGTERM does; it comes twice where a terminal is lost, from the shell and from the kernel."""
    kept = tmp_path / "kept"
    command = [sys.executable, "-m", "analyzer", "live", "-i", "lo", "--port", str(server), "--plain", saved, str(kept)]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert any("listening" in line for line in iter(process.stderr.readline, ""))
        talk(server)
        while "close 4/4" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "\n", "the summary begins"
        process.send_signal(signal.SIGHUP)
        out = process.stdout.read()
        assert process.wait(60) == 0
    assert "handshake completed by 1 of 1" in out
    analysis = analyzer.load(kept) if saved == "--save" else analyzer.read(kept)
    assert analysis.flows["close"].tolist() == ["orderly"]


@needs_root
def test_a_hang_up_that_was_ignored_stays_so(server):
    """Who says nohup means it."""
    words = f"trap '' HUP; exec {sys.executable} -m analyzer live -i lo --port {server} --plain"
    with subprocess.Popen(["/bin/sh", "-c", words], stdout=-1, stderr=-1, text=True) as process:
        assert any("listening" in line for line in iter(process.stderr.readline, ""))
        process.send_signal(signal.SIGHUP)
        talk(server)
        while "close 4/4" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


@needs_root
@pytest.mark.parametrize("more", [["--plain"], []], ids=["lines", "screen"])
def test_a_terminal_that_is_lost_leaves_what_was_saved(server, tmp_path, more):
    """What is drawn before the hang-up is told fails, and Textual's writer must not die of it."""
    if not more:
        pytest.importorskip("textual", reason="the live screen needs Textual")
    inner, outer = pty.openpty()[::-1]
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    kept = tmp_path / "kept"
    command = [sys.executable, "-m", "analyzer", "live", "-i", "lo", "--port", str(server), "--save", str(kept), *more]
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(
        command, stdin=inner, stdout=inner, stderr=inner, start_new_session=True, env=environment
    )
    os.close(inner)
    try:
        said, sought = b"", b"listening" if more else b"dropped by the kernel"
        while sought not in said:
            said += os.read(outer, 1 << 16)
        talk(server)
        said, sought = b"", b"close 4/4" if more else b"TIME_WAIT"
        while sought not in said:
            said += os.read(outer, 1 << 16)
    finally:
        os.close(outer)
    if not more:
        time.sleep(2)  # it draws meanwhile; no matter how often
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert analyzer.load(kept).flows["close"].tolist() == ["orderly"]


@needs_root
def test_an_earlier_session_is_not_replaced(server, tmp_path, capfd):
    """Refused before a packet comes, and before the file of -w is written over."""
    with analyzer.live("lo", port=server, save=tmp_path / "kept") as session:
        talk(server)
        until(lambda: session.counts.segments >= 9)
    kept = len(analyzer.load(session.save()).packets)
    (tmp_path / "written.pcapng").write_text("an earlier capture")
    with pytest.raises(analyzer.StoreError, match="holds a saved analysis already"):
        analyzer.live("lo", save=tmp_path / "kept", write=tmp_path / "written.pcapng")
    assert (tmp_path / "written.pcapng").read_text() == "an earlier capture"
    assert cli.main(["live", "-i", "lo", "--duration", "0", "--plain", "--save", str(tmp_path / "kept")]) == 1
    err = capfd.readouterr().err
    assert f"analyzer: {tmp_path / 'kept'}: holds a saved analysis already" in err
    assert "listening" not in err
    assert len(analyzer.load(tmp_path / "kept").packets) == kept


@needs_root
def test_a_session_that_saves_while_it_runs(server, tmp_path):
    settings = analyzer.Settings(live_flows=40, snapshot_s=0)
    with analyzer.live("lo", port=server, save=tmp_path / "kept", settings=settings) as session:
        for count in range(100):
            talk(server)
            if count % 25 == 24:
                until(lambda: session.counts.flows > count)  # noqa: B023
    left = session.analysis()
    assert left.capture.let_go["flows"] + len(left.flows) == session.counts.flows == 100
    assert len(left.flows) <= 40
    saved = analyzer.load(session.save())
    assert len(saved.flows) == 100
    assert saved.capture.let_go == {}
    assert saved.capture.records == saved.capture.segments == len(saved.packets) == session.records
    assert (saved.flows["close"] == "orderly").all()
    with pytest.raises(ValueError, match="saves to no folder"):
        session.save()
