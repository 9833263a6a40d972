"""Two network namespaces with one wire between them, and tcpdump on it.

All traffic of the benchmark stays in here: a client and a server namespace, joined by a veth pair whose offloads are
off (so that checksums and segment sizes are those of a wire), with a little loss. The namespaces are gone when the
``with`` block ends.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import IO, Self

CLIENT_LINK, SERVER_LINK = "vc", "vs"
SERVER_IPV4, SERVER_IPV6 = "10.9.0.1", "fd00:9::1"
CLIENTS_IPV4 = [f"10.9.1.{host}" for host in range(1, 251)]
CLIENTS_IPV6 = [f"fd00:9::1:{host:x}" for host in range(1, 51)]
SILENT_PORT, REFUSED_PORT = 81, 82
"""The server's firewall drops what comes to the one; nobody listens on the other."""

_OFFLOADS = ("tx", "rx", "sg", "tso", "gso", "gro")


class Wire:
    """A client namespace and a server namespace with a veth pair between them.

    Parameters
    ----------
    loss
        The share of packets that each end loses after the capture point (its firewall drops them on the way in).
    rate_mbit
        The link's rate by a token bucket, or None for as fast as the processor goes.
    """

    def __init__(self, *, loss: float, rate_mbit: int | None = None) -> None:
        self.client = f"bench-client-{os.getpid()}"
        self.server = f"bench-server-{os.getpid()}"
        self._loss, self._rate_mbit = loss, rate_mbit

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.client, self.server):
            subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)

    def run(self, namespace: str, *command: str) -> None:
        """Run one command in a namespace; it has to succeed."""
        subprocess.run(["ip", "netns", "exec", namespace, *command], check=True, stdout=subprocess.DEVNULL)

    def start(self, namespace: str, *command: str, stderr: int | None = None) -> subprocess.Popen[str]:
        """Start a process in a namespace; its stdout is a pipe."""
        line = ["ip", "netns", "exec", namespace, *command]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=stderr, text=True)

    def traffic(self, server: list[str], client: list[str]) -> str:
        """Run the server and the client half of ``traffic.py``; returns what the client printed."""
        program = [sys.executable, str(pathlib.Path(__file__).with_name("traffic.py"))]
        serving = self.start(self.server, *program, *server)
        try:
            assert serving.stdout is not None
            if serving.stdout.readline().strip() != "ready":
                raise RuntimeError("the server half of traffic.py did not start")
            asking = self.start(self.client, *program, *client)
            try:
                said, _ = asking.communicate()
            finally:
                asking.kill()
            if asking.returncode:
                raise RuntimeError(f"the client half of traffic.py ended with {asking.returncode}")
            time.sleep(3)  # the last retransmissions and FINs
        finally:
            serving.terminate()
            serving.communicate()
        return said.strip()

    def _make(self) -> None:
        for name in (self.client, self.server):
            subprocess.run(["ip", "netns", "add", name], check=True)
            self.run(name, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        peer = ["type", "veth", "peer", "name", SERVER_LINK, "netns", self.server]
        subprocess.run(["ip", "-n", self.client, "link", "add", "name", CLIENT_LINK, *peer], check=True)
        ends = (
            (self.client, CLIENT_LINK, CLIENTS_IPV4 + CLIENTS_IPV6),
            (self.server, SERVER_LINK, [SERVER_IPV4, SERVER_IPV6]),
        )
        for name, link, addresses in ends:
            lines = [
                f"address add {a}/64 dev {link} nodad" if ":" in a else f"address add {a}/16 dev {link}"
                for a in addresses
            ]
            lines += ["link set dev lo up", f"link set dev {link} txqueuelen 10000 up"]
            subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(lines), text=True, check=True)
            self.run(name, "ethtool", "-K", link, *(word for offload in _OFFLOADS for word in (offload, "off")))
            self.run(name, "sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=262144", "net.ipv4.tcp_max_syn_backlog=8192")
            if self._rate_mbit:
                shape = ["tbf", "rate", f"{self._rate_mbit}mbit", "burst", "64kb", "limit", "1mb"]
                self.run(name, "tc", "qdisc", "replace", "dev", link, "root", *shape)
            # Few enough ports that some are used again; more than enough for TIME_WAIT.
            self.run(name, "sysctl", "-qw", "net.ipv4.ip_local_port_range=32768 49151")
            for tables in ("iptables", "ip6tables"):
                chance = ["-m", "statistic", "--mode", "random", "--probability", str(self._loss)]
                self.run(name, tables, "-w", "-A", "INPUT", "-i", link, "-p", "tcp", *chance, "-j", "DROP")
        for tables in ("iptables", "ip6tables"):
            self.run(self.server, tables, "-w", "-A", "INPUT", "-p", "tcp", "--dport", str(SILENT_PORT), "-j", "DROP")


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What tcpdump says at its end: packets written, packets that the kernel dropped."""

    packets: int
    dropped: int


class Recorder:
    """tcpdump on the client's side of a wire, writing the TCP packets to a file while the ``with`` block runs."""

    def __init__(self, wire: Wire, interface: str, path: pathlib.Path, *options: str) -> None:
        self._wire, self._path = wire, path
        self._command = [
            "tcpdump",
            "-n",
            "-i",
            interface,
            *options,
            "-B",
            "262144",
            "-Z",
            "root",
            "-w",
            str(path),
            "tcp",
        ]
        self.recorded = Recorded(0, 0)

    def __enter__(self) -> Self:
        self._process = self._wire.start(self._wire.client, *self._command, stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        self._talk: IO[str] = self._process.stderr
        for line in self._talk:
            if "listening on" in line:
                return self
        raise RuntimeError(f"tcpdump did not start: {' '.join(self._command)}")

    def __exit__(self, *_: object) -> None:
        time.sleep(1.5)  # the ring's block time-out
        self._process.send_signal(signal.SIGINT)
        talk = self._talk.read()
        self._process.wait()
        found = {what: int(number) for number, what in re.findall(r"(\d+) packets (captured|dropped by kernel)", talk)}
        self.recorded = Recorded(found["captured"], found["dropped by kernel"])
