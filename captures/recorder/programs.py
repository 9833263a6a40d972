"""What both programs do, as words: ``client connects; server accepts; client says 7; client closes; server is CLOSE_WAIT``.

A step says who does what, or what has to have come about before one goes on: nothing waits for a time to pass where a
state will do. The programs are "client" and "server", with the same at each end of a second connection: "client2", "server2".
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from .network import Host, RecordingError
from .stage import PATIENCE_S, PORT, TCP_REPAIR, Stage
from .witness import Ends, SockDiag

if TYPE_CHECKING:
    from collections.abc import Callable

    from .wire import Wire

CLIENT_OF = {"server": "client", "server2": "client2"}


class Programs:
    """Both programs of a trial, played by one thread."""

    def __init__(self, stage: Stage, wire: Wire, version: int, rule: Callable[..., tuple[float, ...]]) -> None:
        self._stage, self._wire, self._version, self._rule = stage, wire, version, rule
        # The clients' ports: an end is known before it exists, and the tracepoint, which knows no namespaces, tells it from
        # those of another recording at the same time.
        port = 32768 + 2 * (os.getpid() % 14000)
        self._ports = {"client": port, "client2": port + 1}
        self._sockets: dict[str, socket.socket] = {}
        self._asking = [SockDiag(host) for host in stage.hosts]

    def close(self) -> None:
        for asking in self._asking:
            asking.close()

    def play(self, steps: str) -> None:
        for step in steps.split("; "):
            who, verb, *how = step.split()
            try:
                getattr(self, f"_{verb}")(who, *how)
            except (RecordingError, OSError) as error:
                raise RecordingError(f"{step}: {error}") from error

    def _host(self, who: str) -> Host:
        return self._stage.server if who.startswith("server") else self._stage.client

    def _ends(self, who: str) -> Ends:
        client = self._stage.client.address(self._version), self._ports[CLIENT_OF.get(who, who)]
        server = self._stage.server.address(self._version), PORT
        return (server, client) if who in CLIENT_OF else (client, server)

    # ------------------------------------------------------------------------------------------ what has come about

    def _is(self, who: str, state: str) -> None:
        """Wait until the kernel says so."""
        deadline = time.monotonic() + PATIENCE_S
        asking = self._asking[who in CLIENT_OF]
        while (found := asking.look(self._ends(who)).state) != state:
            if time.monotonic() > deadline:
                raise RecordingError(f"it is {found}")
            time.sleep(0.002)

    def _passes(self, _time: str, seconds: str) -> None:
        time.sleep(float(seconds))

    def _cut(self, _wire: str) -> None:
        self._wire.obey(lambda _: ())

    def _mended(self, _wire: str) -> None:
        self._wire.obey(self._rule)

    def _sets(self, who: str, name: str, value: str) -> None:
        for host in self._stage.hosts if who == "both" else [self._host(who)]:
            host.sysctl(name, int(value))

    # --------------------------------------------------------------------------------------------------- beginning

    def _listens(self, who: str, *how: str) -> None:
        """Words: ``deferred``, ``fast`` (fast open), ``small`` (a small receive buffer)."""
        listener = self._stage.endpoint(self._host(who), self._version)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if "small" in how:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        if "deferred" in how:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        if "fast" in how:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        listener.bind((self._host(who).address(self._version), PORT))
        listener.listen(16)
        self._sockets["listener"] = listener

    def _narrows(self, _server: str) -> None:
        """From now on one connection may wait to be accepted."""
        self._sockets["listener"].listen(0)

    def _connects(self, who: str, *how: str) -> None:
        """Begin to; again and again while the port is in TIME_WAIT. Words: ``lazily``, ``saying`` so much with fast open."""
        here, there = self._ends(who)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            made = self._stage.endpoint(self._host(who), self._version)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setblocking(False)
            if "lazily" in how:  # the third segment waits for data to go with
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            made.bind(here)
            try:
                if "saying" in how:
                    made.sendto(bytes(int(how[-1])), socket.MSG_FASTOPEN, there)
                else:
                    made.connect(there)
            except BlockingIOError:
                break
            except OSError:
                made.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                break
        made.settimeout(PATIENCE_S)
        self._sockets[who] = made

    def _accepts(self, who: str) -> None:
        accepted = self._stage.accept(self._sockets["listener"])
        if accepted.getpeername()[1] != self._ends(who)[1][1]:
            raise RecordingError("another connection came first")
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[who] = accepted

    # ---------------------------------------------------------------------------------------------------- between

    def _says(self, who: str, octets: str) -> None:
        self._sockets[who].sendall(bytes(int(octets)))

    def _hears(self, who: str, octets: str) -> None:
        """So many octets, or ``end``: all that comes up to the end."""
        left = int(octets) if octets != "end" else 2**32
        while left:
            got = len(self._sockets[who].recv(min(left, 65536)))
            if not got and octets != "end":
                raise RecordingError("the connection ended too early")
            if not got:
                return
            left -= got

    def _corks(self, who: str) -> None:
        """What it says waits for what follows, be it the FIN."""
        self._sockets[who].setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)

    def _probes(self, who: str, *how: str) -> None:
        """Keep-alive after a second; ``once``: without an answer it gives up after one."""
        self._sockets[who].setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, *[socket.TCP_KEEPCNT] * ("once" in how)):
            self._sockets[who].setsockopt(socket.IPPROTO_TCP, option, 1)

    def _endures(self, who: str, milliseconds: str) -> None:
        """It gives up when nothing was acknowledged for so long."""
        self._sockets[who].setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(milliseconds))

    # ------------------------------------------------------------------------------------------------------- ending

    def _shuts(self, who: str) -> None:
        """shutdown(SHUT_WR): half of a close."""
        self._sockets[who].shutdown(socket.SHUT_WR)

    def _closes(self, who: str) -> None:
        self._sockets[who].close()

    def _aborts(self, who: str) -> None:
        self._stage.abort(self._sockets[who])

    def _forgets(self, who: str) -> None:
        """The socket is gone without a word, as after a crash."""
        self._sockets[who].setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        self._sockets[who].close()
