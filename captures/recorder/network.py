"""Hosts as network namespaces: one alone with its loopback, two on a cable, two with a router between.

The recorder is one process: a socket belongs to the namespace in which it was opened, whoever uses it later. So one
thread plays all hosts, step by step, and nothing has to be synchronised.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000  # linux/sched.h
PREFIX = "record-"  # of the names of namespaces and tracing instances; the recorder's pid follows
_libc = ctypes.CDLL(None, use_errno=True)


class RecordingError(Exception):
    """A recording that did not become what it should be."""


def run(*command: str) -> str:
    """Run a tool; its output, or an error that says what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RecordingError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Host:
    """One network namespace."""

    def __init__(self, label: str, ipv4: str, ipv6: str) -> None:
        self.label, self.ipv4, self.ipv6 = label, ipv4, ipv6
        self.namespace = f"{PREFIX}{os.getpid()}-{label}"
        run("ip", "netns", "add", self.namespace)
        self.ip("link", "set", "lo", "up")

    def address(self, version: int) -> str:
        return self.ipv4 if version == 4 else self.ipv6

    def ip(self, *arguments: str) -> None:
        """``ip`` in this namespace."""
        run("ip", "-n", self.namespace, *arguments)

    def iptables(self, *arguments: str) -> str:
        """``iptables`` in this namespace; ``-w`` waits for the lock that all namespaces share."""
        return run("ip", "netns", "exec", self.namespace, "iptables", "-w", *arguments)

    def ip6tables(self, *arguments: str) -> str:
        return run("ip", "netns", "exec", self.namespace, "ip6tables", "-w", *arguments)

    def sysctl(self, name: str, value: int, family: str = "ipv4") -> None:
        """Set ``net.<family>.<name>`` of this namespace, where this kernel has it."""
        with self.inside(), contextlib.suppress(FileNotFoundError):
            Path("/proc/sys/net", family, name).write_text(str(value), encoding="ascii")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Let the calling thread be in this namespace: sockets that it opens belong to this host."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        here = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        try:
            _setns(here)
            yield
        finally:
            _setns(home)
            os.close(here)
            os.close(home)

    def remove(self) -> None:
        run("ip", "netns", "delete", self.namespace)


def _setns(namespace: int) -> None:
    """``os.setns`` is of Python 3.12; this is for 3.11."""
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


@contextlib.contextmanager
def alone() -> Iterator[list[Host]]:
    """One host that talks to itself over its loopback."""
    with namespaces(("host", "127.0.0.1", "::1")) as hosts:
        yield hosts


@contextlib.contextmanager
def cable() -> Iterator[list[Host]]:
    """Client and server, eth0 to eth0 (veth). Neighbours are known: no ARP before the first SYN."""
    with namespaces(("client", "10.95.2.1", "fd95:2::1"), ("server", "10.95.2.2", "fd95:2::2")) as hosts:
        client, server = hosts
        ends = [(client, "02:95:02:00:00:01"), (server, "02:95:02:00:00:02")]
        # fmt: off
        run("ip", "link", "add", "eth0", "netns", client.namespace, "address", ends[0][1], "type", "veth",
            "peer", "name", "eth0", "netns", server.namespace, "address", ends[1][1])
        # fmt: on
        for (host, _), (peer, peer_mac) in zip(ends, reversed(ends), strict=True):
            host.ip("address", "add", f"{host.ipv4}/24", "dev", "eth0")
            host.ip("-6", "address", "add", f"{host.ipv6}/64", "dev", "eth0", "nodad")
            host.ip("link", "set", "eth0", "up")
            for address in (peer.ipv4, peer.ipv6):
                host.ip("neighbour", "replace", address, "lladdr", peer_mac, "dev", "eth0", "nud", "permanent")
        yield hosts


@contextlib.contextmanager
def routed() -> Iterator[list[Host]]:
    """Client and server on two networks, a router between them; no offload, no limit to ICMP errors."""
    with namespaces(
        ("client", "10.95.4.1", "fd95:4::1"),
        ("router", "10.95.4.254", "fd95:4::fe"),
        ("server", "10.95.5.1", "fd95:5::1"),
    ) as hosts:
        client, router, server = hosts
        for number, host in ((4, client), (5, server)):
            device, gateways = f"eth{number - 4}", (f"10.95.{number}.254", f"fd95:{number}::fe")
            macs = (f"02:95:0{number}:00:00:01", f"02:95:0{number}:00:00:fe")
            # fmt: off
            run("ip", "link", "add", "eth0", "netns", host.namespace, "address", macs[0], "type", "veth",
                "peer", "name", device, "netns", router.namespace, "address", macs[1])
            # fmt: on
            sides = ((host, "eth0", (host.ipv4, host.ipv6)), (router, device, gateways))
            for it, own, (ipv4, ipv6) in sides:
                it.ip("address", "add", f"{ipv4}/24", "dev", own)
                it.ip("-6", "address", "add", f"{ipv6}/64", "dev", own, "nodad")
                it.ip("link", "set", own, "gso_max_segs", "1", "up")
            for (it, own, _), (_, _, others), mac in zip(sides, reversed(sides), reversed(macs), strict=True):
                for address in others:
                    it.ip("neighbour", "replace", address, "lladdr", mac, "dev", own, "nud", "permanent")
            for version, gateway in zip(("-4", "-6"), gateways, strict=True):
                host.ip(version, "route", "add", "default", "via", gateway)
        router.sysctl("ip_forward", 1)
        router.sysctl("conf/all/forwarding", 1, "ipv6")
        for host in hosts:
            host.sysctl("icmp_ratelimit", 0)
            host.sysctl("icmp/ratelimit", 0, "ipv6")
        yield hosts


@contextlib.contextmanager
def namespaces(*described: tuple[str, str, str]) -> Iterator[list[Host]]:
    """Make the namespaces and take them away again; what a killed recorder left behind goes too."""
    for name in run("ip", "netns", "list").split():
        pid = name.removeprefix(PREFIX).split("-")[0]
        if name.startswith(PREFIX) and not Path("/proc", pid).exists():
            for left in run("ip", "netns", "pids", name).split():  # its tcpdump
                os.kill(int(left), signal.SIGTERM)
            run("ip", "netns", "delete", name)
    with contextlib.ExitStack() as cleaning:
        made = []
        for label, ipv4, ipv6 in described:
            host = Host(label, ipv4, ipv6)
            cleaning.callback(host.remove)
            made.append(host)
        yield made
