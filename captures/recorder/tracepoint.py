"""The kernel's own record of its TCP states: tracepoint ``sock:inet_sock_set_state`` and ``/proc/net/tcp``.

What the tracepoint does not show (Linux 6.x):

* TIME_WAIT. When a full socket becomes a minisocket the tracepoint says FIN_WAIT_2>CLOSED or CLOSING>CLOSED. After
  close() that happens on entering FIN_WAIT_2, in which the minisocket then stays until the peer's FIN; the step to
  TIME_WAIT is not shown, nor the end of TIME_WAIT. `sockets` tells what the minisocket was at the end.
* The request: SYN_RCVD is written when the third segment arrives, together with ESTABLISHED, as LISTEN>SYN_RCVD of the
  new socket; a request that dies leaves no row.
* Ports: connect() without bind() enters SYN_SENT with local port 0, the new socket enters SYN_RCVD with remote port 0.
  They are filled in here from the later rows of the same socket.

The raw ring buffer is read, for the text has no socket address and only microseconds. Its clock is CLOCK_TAI, which the
kernel adjusts together with the wall clock that stamps the packets: the two differ by whole seconds.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .network import PREFIX, Host, RecordingError, run

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACEFS = Path("/sys/kernel/tracing")
EVENT = "events/sock/inet_sock_set_state"
IPPROTO_TCP = 6
# The numbers of include/net/tcp_states.h in the RFC's spelling.
STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RCVD",
    4: "FIN_WAIT_1",
    5: "FIN_WAIT_2",
    6: "TIME_WAIT",
    7: "CLOSED",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "SYN_RCVD",  # NEW_SYN_RECV: a request
}
# linux/ring_buffer.h: what the five bits of type_len mean
PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31


@dataclass
class Change:
    """One row: a socket goes from one state to another."""

    time_ns: int
    pid: int
    socket: int
    local_addr: str
    local_port: int
    remote_addr: str
    remote_port: int
    old: str
    new: str

    @property
    def here(self) -> tuple[str, int]:
        return self.local_addr, self.local_port

    @property
    def there(self) -> tuple[str, int]:
        return self.remote_addr, self.remote_port


class StateTrace:
    """Record state changes in a tracing instance of its own, from entering to leaving."""

    def __init__(self) -> None:
        self._instance = TRACEFS / "instances" / f"{PREFIX}{os.getpid()}"
        self._pid = 0

    def __enter__(self) -> Self:
        if not (TRACEFS / "instances").exists():
            run("mount", "-t", "tracefs", "tracefs", str(TRACEFS))
        for left in self._instance.parent.glob(f"{PREFIX}*"):  # by a recorder that was killed
            if not Path("/proc", left.name.removeprefix(PREFIX)).exists():
                left.rmdir()
        self._instance.mkdir()
        try:
            self._write("trace_clock", "tai")
            self._write(f"{EVENT}/filter", f"protocol == {IPPROTO_TCP}")
            self._write(f"{EVENT}/enable", "1")
            self._pid = self._own_pid()
        except BaseException:
            self._instance.rmdir()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._write(f"{EVENT}/enable", "0")
        self._instance.rmdir()

    def _write(self, name: str, value: str) -> None:
        (self._instance / name).write_text(value, encoding="ascii")

    def _own_pid(self) -> int:
        """This process's number as the tracer counts: in a container it is another than getpid()."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            probe.listen()
            here = probe.getsockname()
            found = [change.pid for change in self._read() if change.here == here and change.new == "LISTEN"]
        if len(found) != 1:
            raise RecordingError("the tracepoint sock:inet_sock_set_state does not show a listening socket")
        return found[0]

    def changes(self) -> list[Change]:
        """The state changes of this process's sockets since the last call, in time order, ports filled in.

        The tracepoint shows all sockets of the machine. Ours are those that this process made listen or connect, and
        the sockets of a listener that are the other end of such a connection.
        """
        lives: list[list[Change]] = []
        current: dict[int, list[Change]] = {}
        for change in self._read():
            if change.old in ("CLOSED", "LISTEN") or change.socket not in current:
                current[change.socket] = []
                lives.append(current[change.socket])
            current[change.socket].append(change)
        for life in lives:
            last = life[-1]
            for change in life:
                if not change.local_port or (not change.remote_port and change.new == "SYN_RCVD"):
                    change.local_addr, change.local_port = last.here
                    change.remote_addr, change.remote_port = last.there
        mine = [life for life in lives if life[0].pid == self._pid and life[0].new in ("SYN_SENT", "LISTEN")]
        connections = {(life[0].there, life[0].here) for life in mine if life[0].new == "SYN_SENT"}
        accepted = [life for life in lives if life not in mine and (life[-1].here, life[-1].there) in connections]
        return sorted((change for life in mine + accepted for change in life), key=lambda change: change.time_ns)

    def _read(self) -> list[Change]:
        """All new records of all processors, in time order."""
        fields = _fields((TRACEFS / EVENT / "format").read_text(encoding="ascii"))
        tai_ahead_ns = time.clock_gettime_ns(time.CLOCK_TAI) - time.clock_gettime_ns(time.CLOCK_REALTIME)
        tai_ahead_ns = round(tai_ahead_ns, -9)
        found: list[Change] = []
        for cpu in sorted((self._instance / "per_cpu").iterdir()):
            if "\noverrun: 0\n" not in (cpu / "stats").read_text(encoding="ascii"):
                raise RecordingError("the tracing buffer ran over")
            with os.fdopen(os.open(cpu / "trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
                while page := pipe.read(1 << 16):
                    found.extend(_change(t - tai_ahead_ns, record, fields) for t, record in _records(page))
        return sorted(found, key=lambda change: change.time_ns)


def _fields(description: str) -> dict[str, slice]:
    """Where each field of the event lies, from its ``format`` file."""
    found = re.findall(r"field:.*?(\w+)(?:\[\d+\])?;\s*offset:(\d+);\s*size:(\d+);", description)
    return {name: slice(int(offset), int(offset) + int(size)) for name, offset, size in found}


def _records(page: bytes) -> Iterator[tuple[int, bytes]]:
    """Time (ns) and bytes of each record of one ring buffer page (``events/header_page``, ``header_event``)."""
    time_ns, commit = struct.unpack_from("=QQ", page)
    at, end = 16, 16 + (commit & 0xFFFFF)
    while at < end:
        (header,) = struct.unpack_from("=I", page, at)
        kind, delta = header & 31, header >> 5
        at += 4
        if kind == PADDING and delta == 0:
            return
        if 0 < kind < PADDING:
            length = 4 * kind
        else:
            (extra,) = struct.unpack_from("=I", page, at)
            at += 4
            length = 0
            if kind in (0, PADDING):
                length = extra - 4
            elif kind == TIME_EXTEND:
                delta += extra << 27
            elif kind == TIME_STAMP:  # absolute, without the five highest bits
                delta += (extra << 27) + (time_ns >> 59 << 59) - time_ns
        time_ns += delta
        if kind < PADDING:
            yield time_ns, page[at : at + length]
        at += (length + 3) & ~3


def _change(time_ns: int, record: bytes, fields: dict[str, slice]) -> Change:
    def number(name: str) -> int:
        return int.from_bytes(record[fields[name]], "little")

    family = socket.AF_INET6 if number("family") == socket.AF_INET6 else socket.AF_INET
    local, remote = ("saddr_v6", "daddr_v6") if family == socket.AF_INET6 else ("saddr", "daddr")
    return Change(
        time_ns=time_ns,
        pid=number("common_pid"),
        socket=number("skaddr"),
        local_addr=socket.inet_ntop(family, record[fields[local]]),
        local_port=number("sport"),
        remote_addr=socket.inet_ntop(family, record[fields[remote]]),
        remote_port=number("dport"),
        old=STATES[number("oldstate")],
        new=STATES[number("newstate")],
    )


def sockets(host: Host) -> list[tuple[str, int, str, int, str]]:
    """The host's sockets now, with their minisockets: what ``netstat -nat`` prints."""
    found = []
    for table in ("tcp", "tcp6"):
        with host.inside():
            lines = Path("/proc/thread-self/net", table).read_text(encoding="ascii").splitlines()[1:]
        for line in lines:
            _, local, remote, state, *_ = line.split()
            found.append((*_address(local), *_address(remote), STATES[int(state, 16)]))
    return sorted(found)


def _address(text: str) -> tuple[str, int]:
    """``0100007F:251E`` is 127.0.0.1 port 9502: 32-bit words in this machine's byte order."""
    words, port = text.split(":")
    packed = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed), int(port, 16)
