"""Real sockets in every state: a network namespace of its own, in which packets are dropped so that states last.

One process plays all ends: a socket belongs to the namespace in which it was opened. What has to stay in a state for a
while stays there because iptables drops the packet that would end it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

CLONE_NEWNET = 0x40000000  # linux/sched.h
HOSTILE = b"a\x1b[31m\xff\nb"
"""What a program may call itself (prctl PR_SET_NAME): an escape sequence, no UTF-8, a line's end."""

_HOLDER = f"""
import ctypes, sys
ctypes.CDLL(None).prctl(15, {HOSTILE!r}, 0, 0, 0)
print("ready", flush=True)
sys.stdin.read()
"""
_libc = ctypes.CDLL(None, use_errno=True)


def usable() -> str:
    """Why namespaces cannot be made here; empty where they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    name = f"host-probe-{os.getpid()}"
    try:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    except FileNotFoundError:
        return "needs ip (iproute2)"
    return "" if made.returncode == 0 else "namespaces cannot be made here"


class Stage:
    """One namespace and the sockets in it."""

    def __init__(self) -> None:
        self.name = f"host-{os.getpid()}-{time.monotonic_ns() % 1_000_000}"
        self.opened: list[socket.socket] = []
        self.children: list[subprocess.Popen[bytes]] = []
        for name in self._run("ip", "netns", "list").split():  # what a killed test left behind
            if name.startswith("host-") and not os.path.exists(f"/proc/{name.split('-')[1]}"):
                subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        self._run("ip", "netns", "add", self.name)
        self._run("ip", "-n", self.name, "link", "set", "lo", "up")

    @staticmethod
    def _run(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def tool(self, *command: str, **environment: str) -> str:
        """What a tool prints, run in the namespace."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            capture_output=True, text=True, check=False, errors="backslashreplace",
            env={**os.environ, "LC_ALL": "C", **environment},
        )  # fmt: skip
        assert done.returncode == 0 or done.stdout, f"{command}: {done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Let the calling thread be in the namespace."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        here = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            assert _libc.setns(here, CLONE_NEWNET) == 0
            yield
        finally:
            assert _libc.setns(home, CLONE_NEWNET) == 0
            os.close(home)
            os.close(here)

    def drop(self, *match: str, version: int = 4) -> None:
        """Drop what comes in and matches."""
        tool = "iptables" if version == 4 else "ip6tables"
        self.tool(tool, "-w", "-A", "INPUT", "-p", "tcp", *match, "-j", "DROP")

    def keep(self, opened: socket.socket) -> socket.socket:
        self.opened.append(opened)
        return opened

    def listener(self, address: str = "127.0.0.1", port: int = 0, backlog: int = 16, **how: bool) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = self.keep(socket.socket(family, socket.SOCK_STREAM))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(how.get("only_ipv6", True)))
        if how.get("small"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # another window scale than the peer's
        opened.bind((address, port))
        opened.listen(backlog)
        return opened

    def client(self, address: tuple[str, int], *, wait: bool = True) -> socket.socket:
        opened = self.keep(socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET))
        opened.setblocking(wait)
        if wait:
            opened.settimeout(5)
            opened.connect(address)
        else:
            with contextlib.suppress(BlockingIOError):
                opened.connect(address)
        return opened

    def pair(self, address: str = "127.0.0.1", port: int = 0) -> tuple[socket.socket, socket.socket]:
        """A connection: the client's socket and the server's; the listener stays."""
        listener = self.listener(address, port)
        client = self.client(listener.getsockname()[:2])
        return client, self.keep(listener.accept()[0])

    def holder(self, *held: socket.socket) -> subprocess.Popen[bytes]:
        """Another process, of a hostile name, that holds these sockets too."""
        fds = tuple(opened.fileno() for opened in held)
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", _HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=fds
        )
        self.children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        return child

    def until(self, holds: Callable[[], bool], limit_s: float = 5.0) -> None:
        """Wait until something holds that the kernel does by itself."""
        end = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < end, "it did not come to that"
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until no state has changed for a while: delayed ACKs take 40 ms and more."""
        still = 0
        known: list[str] = []
        while still < 8:
            with open("/proc/thread-self/net/tcp", encoding="ascii") as table:
                seen = sorted(" ".join(line.split()[1:4]) for line in table)
            still, known = (still + 1, known) if seen == known else (0, seen)
            time.sleep(0.05)

    def remove(self) -> None:
        for child in self.children:
            child.kill()
            child.communicate()
        for opened in self.opened:
            opened.close()
        self._run("ip", "netns", "delete", self.name)


def play_all_states(stage: Stage) -> dict[str, int]:
    """Bring sockets into all eleven states and keep them there; which port shows which."""
    with stage.inside():
        plain = stage.pair(port=5001)  # ESTABLISHED at both ends
        plain[0].send(b"x" * 700)  # stays in the receive queue
        plain[0].setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stage.pair("::1", 5002)

        half = stage.pair(port=5003)
        half[0].shutdown(socket.SHUT_WR)  # FIN_WAIT_2, CLOSE_WAIT

        ended = stage.pair(port=5004)
        ended[0].close()
        ended[1].close()  # TIME_WAIT at the client

        stage.drop("--dport", "5005", "--syn")
        stage.client(("127.0.0.1", 5005), wait=False)  # SYN_SENT

        stage.listener(port=5006)
        stage.drop("--sport", "5006", "--tcp-flags", "SYN,ACK", "SYN,ACK")
        stage.client(("127.0.0.1", 5006), wait=False)  # SYN_SENT, SYN_RCVD

        going = stage.pair(port=5007)
        stage.drop("--dport", "5007")
        going[0].send(b"y" * 100)
        going[0].shutdown(socket.SHUT_WR)  # FIN_WAIT_1

        both = stage.pair(port=5008)
        stage.drop("--dport", "5008", "--tcp-flags", "FIN", "FIN")
        both[0].shutdown(socket.SHUT_WR)
        both[1].shutdown(socket.SHUT_WR)  # CLOSING at the client, whose FIN is lost; FIN_WAIT_2

        last = stage.pair(port=5009)
        stage.drop("--sport", "5009", "--tcp-flags", "FIN", "FIN")
        last[0].shutdown(socket.SHUT_WR)
        stage.until(lambda: last[1].recv(1) == b"")
        last[1].shutdown(socket.SHUT_WR)  # LAST_ACK at the server, whose FIN is lost

        bound = stage.keep(socket.socket())
        bound.bind(("127.0.0.1", 5010))  # CLOSED

        busy = stage.listener(port=5011, backlog=1)
        for _ in range(2):
            stage.client(busy.getsockname())  # wait in the accept queue: full

        dual = stage.listener("::", 5012, only_ipv6=False, small=True)
        stage.client(("127.0.0.1", 5012))
        stage.keep(dual.accept()[0])  # IPv4 at an IPv6 socket
        stage.listener("::", 5013)
        tied = stage.keep(socket.socket())
        tied.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        tied.bind(("0.0.0.0", 5014))
        tied.listen(3)

        full = stage.pair(port=5015)
        full[0].setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                full[0].send(b"z" * 65536)  # until the peer's window is closed: persist
        stage.holder(tied, plain[1])
        stage.settle()
    return {
        "LISTEN": 5001, "SYN_SENT": 5005, "SYN_RCVD": 5006, "ESTABLISHED": 5001, "FIN_WAIT_1": 5007, "FIN_WAIT_2": 5003,
        "CLOSE_WAIT": 5003, "CLOSING": 5008, "LAST_ACK": 5009, "TIME_WAIT": 5004, "CLOSED": 5010,
    }  # fmt: skip
