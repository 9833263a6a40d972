"""Every state of both ends: the tracepoint, and beside it what each kernel says of its sockets around each delivery.

The tracepoint does not show requests (SYN_RCVD before the third segment), TIME_WAIT, and FIN_WAIT_2 after close(): these
are minisockets (see ``tracepoint.py``). sock_diag finds them, by four-tuple. A kernel has dealt with a packet when the wire
has handed it over, so it is asked before and after; a timer's doing is found by asking now and then.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from .network import Host, RecordingError
from .tracepoint import STATES, Change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .wire import Passing

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20  # linux/netlink.h, linux/sock_diag.h
NLM_F_REQUEST, NLMSG_ERROR, NO_COOKIE = 1, 2, 2**32 - 1
LINUX_SLL2, ARPHRD_NONE, PACKET_HOST, PACKET_OUTGOING = 276, 0xFFFE, 0, 4

Name = tuple[str, int]  # address and port
Ends = tuple[Name, Name]  # of one end of a connection: its own, its peer's


class Look(NamedTuple):
    """What a kernel said when it was asked between two times; a listener, or no socket, is CLOSED."""

    begun_ns: int
    ended_ns: int
    state: str


@dataclass(frozen=True)
class Step:
    """One end went from one state to another: not before since_ns, at the latest at time_ns."""

    since_ns: int
    time_ns: int
    ends: Ends
    old: str
    new: str
    source: str


class SockDiag:
    """Asks the kernel for one socket of a host (sock_diag(7))."""

    def __init__(self, host: Host) -> None:
        with host.inside():
            self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
        self._lock = threading.Lock()

    def close(self) -> None:
        self._netlink.close()

    def look(self, ends: Ends) -> Look:
        (here, port), (there, its_port) = ends
        family = socket.AF_INET6 if ":" in here else socket.AF_INET
        addresses = (socket.inet_pton(family, address).ljust(16, b"\0") for address in (here, there))
        # fmt: off
        request = struct.pack("=IHHII BBBBI", 72, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0,
                              family, socket.IPPROTO_TCP, 0, 0, 2**32 - 1)
        # fmt: on
        request += struct.pack("!HH16s16s", port, its_port, *addresses) + struct.pack("=III", 0, NO_COOKIE, NO_COOKIE)
        with self._lock:
            begun_ns = time.time_ns()
            self._netlink.send(request)
            answer = self._netlink.recv(4096)
            ended_ns = time.time_ns()
        state = "CLOSED"
        if struct.unpack_from("=H", answer, 4)[0] != NLMSG_ERROR:
            state = STATES[answer[17]]
        return Look(begun_ns, ended_ns, "CLOSED" if state == "LISTEN" else state)


class Witness:
    """Stands beside the wire (``wire.Observer``): writes down what it carries, and asks both kernels."""

    def __init__(self, file: BinaryIO) -> None:
        self._kernels: list[SockDiag] = []
        self._looks: dict[Ends, list[Look]] = defaultdict(list)
        self._host_of: dict[Ends, SockDiag] = {}
        self._file = file
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, LINUX_SLL2))

    def attend(self, hosts: list[Host]) -> None:
        self._kernels = [SockDiag(host) for host in hosts]

    def leave(self) -> None:
        for kernel in self._kernels:
            kernel.close()

    def finish(self) -> dict[Ends, list[Look]]:
        """A last look; all of them."""
        self._file.flush()
        self.idle()
        return {ends: list(looks) for ends, looks in self._looks.items()}

    def taken(self, packet: bytes, segment: Passing) -> None:
        self._write(packet, 1 if segment.to_server else 2, PACKET_HOST)
        ends = segment.source, segment.target
        self._host_of[ends] = self._kernels[not segment.to_server]
        self._host_of[ends[::-1]] = self._kernels[segment.to_server]
        self._look(ends)

    @contextlib.contextmanager
    def delivering(self, packet: bytes, segment: Passing) -> Iterator[None]:
        ends = segment.target, segment.source
        self._look(ends)
        self._write(packet, 2 if segment.to_server else 1, PACKET_OUTGOING)
        yield
        self._look(ends)

    def idle(self) -> None:
        for ends in list(self._host_of):
            self._look(ends)

    def _look(self, ends: Ends) -> None:
        self._looks[ends].append(self._host_of[ends].look(ends))

    def _write(self, packet: bytes, interface: int, kind: int) -> None:
        """As ``tcpdump -i any`` would show it in the middle: what comes in, and what goes out."""
        header = struct.pack(
            "!HHIHBB8s", 0x0800 if packet[0] >> 4 == 4 else 0x86DD, 0, interface, ARPHRD_NONE, kind, 0, bytes(8)
        )
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        size = len(header) + len(packet)
        self._file.write(struct.pack("<IIII", seconds, nanoseconds, size, size) + header + packet)


def steps(changes: list[Change], looks: dict[Ends, list[Look]]) -> list[Step]:
    """The tracepoint's changes and, where there is no full socket, what sock_diag found."""
    rows: dict[Ends, list[Change]] = defaultdict(list)
    for change in changes:
        if change.remote_port:
            rows[change.here, change.there].append(change)
    found = [step for ends in {**rows, **looks} for step in _Life(ends, rows[ends], looks.get(ends, [])).steps()]
    return sorted(found, key=lambda step: step.time_ns)


class _Life:
    """One end."""

    def __init__(self, ends: Ends, changes: list[Change], looks: list[Look]) -> None:
        self._ends, self._changes, self._looks = ends, changes, looks
        self._state, self._full = "CLOSED", False
        self._steps: list[Step] = []

    def steps(self) -> list[Step]:
        events: list[Change | Look] = [*self._changes, *self._looks]
        last_begun_ns = 0
        for event in sorted(events, key=lambda event: event.time_ns if isinstance(event, Change) else event.ended_ns):
            if isinstance(event, Change):
                self._change(event)
            elif not any(event.begun_ns <= change.time_ns <= event.ended_ns for change in self._changes):
                if not self._full:
                    self._go(max(last_begun_ns, self._last_ns()), event.ended_ns, event.state, "sock_diag")
                elif event.state != self._state:
                    raise RecordingError(f"{self._ends}: sock_diag says {event.state}, the tracepoint {self._state}")
                last_begun_ns = event.begun_ns
        return self._steps

    def _change(self, change: Change) -> None:
        new = change.new
        if change.old in ("CLOSED", "LISTEN"):
            if self._state != change.new:  # else the request was seen: its child takes over
                self._go(change.time_ns, change.time_ns, "CLOSED", "tracepoint")
            self._full = True
        elif change.new == "CLOSED":  # or a minisocket takes over
            self._full = False
            new = next((look.state for look in self._looks if look.begun_ns >= change.time_ns), "CLOSED")
        self._go(change.time_ns, change.time_ns, new, "tracepoint")

    def _go(self, since_ns: int, time_ns: int, new: str, source: str) -> None:
        if new == self._state:
            return
        if new in ("SYN_SENT", "SYN_RCVD") and self._state not in ("CLOSED", "SYN_SENT"):  # a new incarnation
            self._go(since_ns, time_ns, "CLOSED", source)
        self._steps.append(Step(since_ns, time_ns, self._ends, self._state, new, source))
        self._state = new

    def _last_ns(self) -> int:
        return self._steps[-1].time_ns if self._steps else 0
