"""The stage on which a scenario plays: hosts, sockets, tcpdump, and afterwards the folder that keeps it."""

from __future__ import annotations

import contextlib
import csv
import re
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections import defaultdict
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .network import Host, RecordingError
from .tracepoint import Change, StateTrace, sockets

if TYPE_CHECKING:
    from collections.abc import Callable

PORT = 9502
RING_KIB = 32 * 1024
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21  # linux/tcp.h
TCP_SEND_QUEUE, TCP_REPAIR_OFF_NO_WP = 2, -1
PATIENCE_S = 10.0  # for things that take milliseconds


@dataclass(frozen=True)
class Scenario:
    """A row of the table in ``scenarios.py``.

    ``client`` and ``server`` are the paths that the tracepoint must show of a connection's two ends, or None where the
    connections of one recording have different ones.
    """

    act: Callable[[Stage], None]
    network: Callable[[], AbstractContextManager[list[Host]]]
    client: str | None
    server: str | None

    @property
    def name(self) -> str:
        return self.act.__name__.replace("_", "-")

    @property
    def readme(self) -> str:
        """The docstring of the scenario: three lines."""
        return "".join(f"{line.strip()}\n" for line in (self.act.__doc__ or "").strip().splitlines())


class Tcpdump:
    """One running tcpdump. Made when it listens, stopped when it has written everything."""

    def __init__(self, host: Host, interface: str, expression: str, path: Path) -> None:
        self.path = path
        # In immediate mode each slot of the ring holds a whole snap length: the default 2 MiB are only eight packets.
        # fmt: off
        command = ["ip", "netns", "exec", host.namespace, "tcpdump", "-i", interface, "--immediate-mode", "-U",
                   "-B", str(RING_KIB), "-Z", "root", "-w", str(path), expression]
        # fmt: on
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE)
        self._said = ""
        try:
            self._wait_until_listening()
        except BaseException:
            self.kill()
            raise

    def _wait_until_listening(self) -> None:
        assert self._process.stderr is not None
        deadline = time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stderr, selectors.EVENT_READ)
            while "listening on" not in self._said or not self.path.exists():
                if not selector.select(max(0.0, min(0.05, deadline - time.monotonic()))):
                    if time.monotonic() > deadline:
                        raise RecordingError(f"tcpdump does not begin: {self._said.strip()}")
                    continue
                text = self._process.stderr.read1(4096).decode()  # type: ignore[attr-defined]
                if not text:
                    raise RecordingError(f"tcpdump ended: {self._said.strip()}")
                self._said += text

    def stop(self, *, empty: bool = False) -> int:
        """Stop when the file has not grown for a while; the number of packets in it, none only if it may be empty."""
        size, since = -1, time.monotonic()
        while time.monotonic() - since < 0.3:
            if (now := self.path.stat().st_size) != size:
                size, since = now, time.monotonic()
            time.sleep(0.02)
        self._process.send_signal(signal.SIGINT)
        said = self._said + self._process.communicate(timeout=PATIENCE_S)[1].decode()
        captured = re.search(r"(\d+) packets? captured", said)
        dropped = re.search(r"(\d+) packets? dropped by kernel", said)
        if captured is None or dropped is None or int(dropped[1]) or not (empty or int(captured[1])):
            raise RecordingError(f"tcpdump did not see everything: {said.strip()}")
        return int(captured[1])

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


class Stage:
    """What a scenario may do. ``client`` and ``server`` are the same host where there is only one."""

    def __init__(self, hosts: list[Host], folder: Path, cleaning: contextlib.ExitStack) -> None:
        self.hosts, self.client, self.server = hosts, hosts[0], hosts[-1]
        self._folder, self._cleaning = folder, cleaning
        self.tcpdump: Tcpdump | None = None

    def capture(self, interface: str = "any", expression: str = f"tcp port {PORT}") -> None:
        """Start tcpdump on the client's host and return when it listens."""
        self.tcpdump = Tcpdump(self.client, interface, expression, self._folder / f"{interface.removesuffix('0')}.pcap")
        self._cleaning.callback(self.tcpdump.kill)

    def endpoint(self, host: Host, version: int = 4) -> socket.socket:
        with host.inside():
            made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        self._cleaning.callback(made.close)
        made.settimeout(PATIENCE_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def listen(self, version: int = 4, port: int = PORT, host: Host | None = None) -> socket.socket:
        host = host or self.server
        listener = self.endpoint(host, version)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.address(version), port))
        listener.listen(16)
        return listener

    def connect(self, version: int = 4, port: int = PORT) -> socket.socket:
        made = self.endpoint(self.client, version)
        made.connect((self.server.address(version), port))
        return made

    def accept(self, listener: socket.socket) -> socket.socket:
        accepted = listener.accept()[0]
        self._cleaning.callback(accepted.close)
        accepted.settimeout(PATIENCE_S)
        return accepted

    def open(self, listener: socket.socket | None = None, version: int = 4) -> tuple[socket.socket, socket.socket]:
        """A connection: its client's and its server's socket."""
        listener = listener or self.listen(version)
        client = self.connect(version)
        return client, self.accept(listener)

    @staticmethod
    def type(source: socket.socket, text: bytes, target: socket.socket) -> None:
        """Send a line and have it read on the other side."""
        source.sendall(text)
        got = b""
        while len(got) < len(text):
            more = target.recv(len(text) - len(got))
            if not more:
                raise RecordingError("the connection ended too early")
            got += more

    @staticmethod
    def forge_reset(client: socket.socket, host: Host, checksum: int) -> None:
        """Send an RST in the client's name, at its very next number, with this for a checksum."""
        client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE)
        seq = client.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) % 2**32
        client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)
        (_, here), (there, port) = client.getsockname(), client.getpeername()
        with host.inside():
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        with raw:
            raw.sendto(struct.pack("!HHIIBBHHH", here, port, seq, 0, 0x50, 0x04, 0, checksum, 0), (there, 0))

    @staticmethod
    def see_end(reader: socket.socket) -> None:
        """Read the end of the peer's data."""
        if reader.recv(1):
            raise RecordingError("data where the end was expected")

    @staticmethod
    def abort(aborter: socket.socket) -> None:
        """close() with SO_LINGER 0: an RST and no FIN."""
        aborter.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        aborter.close()

    @staticmethod
    def pause(seconds: float = 0.2) -> None:
        """People type slowly; and a delayed ACK gets its 40 ms."""
        time.sleep(seconds)

    def wait_for_state(self, which: socket.socket, state: int) -> None:
        """Wait until the kernel has this socket in a state (number of ``tcp_states.h``, first byte of ``TCP_INFO``)."""
        deadline = time.monotonic() + PATIENCE_S
        while which.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != state:
            if time.monotonic() > deadline:
                raise RecordingError(f"a socket did not come into state {state}")
            time.sleep(0.001)


def record(scenario: Scenario, into: Path) -> str:
    """Play one scenario and put its folder in place; one line that says what was recorded."""
    begun = time.monotonic()
    with contextlib.ExitStack() as cleaning:
        folder = Path(cleaning.enter_context(tempfile.TemporaryDirectory(prefix="record-")))
        hosts = cleaning.enter_context(scenario.network())
        trace = cleaning.enter_context(StateTrace())
        stage = Stage(hosts, folder, cleaning)
        scenario.act(stage)
        if stage.tcpdump is None:
            raise RecordingError("the scenario started no capture")
        packets = stage.tcpdump.stop()
        changes = trace.changes()
        _write_states(folder / "states.csv", changes, hosts)
        _write_sockets(folder / "sockets.csv", hosts)
        (folder / "README").write_text(scenario.readme, encoding="utf-8")
        endpoints = _check(scenario, changes)
        target = into / scenario.name
        target.mkdir(parents=True, exist_ok=True)
        for new in folder.iterdir():
            shutil.copyfile(new, target / new.name)
    seconds = time.monotonic() - begun
    return f"{packets:4} packets, {len(changes):4} state changes of {endpoints:3} endpoints, {seconds:4.1f} s"


def _write_states(path: Path, changes: list[Change], hosts: list[Host]) -> None:
    host_of = {address: host.label for host in hosts for address in (host.ipv4, host.ipv6)}
    columns = ["time", "local_addr", "local_port", "remote_addr", "remote_port", "old", "new"]
    with path.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns + ["host"] * (len(hosts) > 1))
        for change in changes:
            seconds, nanoseconds = divmod(change.time_ns, 10**9)
            row = [f"{seconds}.{nanoseconds:09}", *change.here, *change.there, change.old, change.new]
            writer.writerow(row + [host_of[change.local_addr]] * (len(hosts) > 1))


def _write_sockets(path: Path, hosts: list[Host]) -> None:
    columns = ["local_addr", "local_port", "remote_addr", "remote_port", "state"]
    with path.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns + ["host"] * (len(hosts) > 1))
        for host in hosts:
            writer.writerows([*row, *[host.label] * (len(hosts) > 1)] for row in sockets(host))


def _check(scenario: Scenario, changes: list[Change]) -> int:
    """Hold the recording against what the scenario meant; the number of endpoints, listeners not counted."""
    paths: dict[tuple[tuple[str, int], tuple[str, int]], list[str]] = defaultdict(list)
    for change in changes:
        if change.remote_port:
            path = paths[change.here, change.there]
            path += [change.old, change.new] if not path else [change.new]
    if not paths:
        raise RecordingError("no state change was recorded")
    for (here, there), path in paths.items():
        meant = scenario.server if path[0] == "LISTEN" or path[0] == path[1] else scenario.client
        if meant is not None and ">".join(path) != meant:
            raise RecordingError(f"{here} to {there} went {'>'.join(path)} instead of {meant}")
    return len(paths)
