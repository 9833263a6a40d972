"""Two hosts on a slow wire, which is a thread: it loses, delays, doubles and reorders what it is told to.

netem is not in every kernel. Each host has a tun device; what the thread reads from one it writes to the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import select
import socket
import struct
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .network import Host, namespaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
IDLE_S = 0.02  # how often one looks around while nothing is carried


class Passing(NamedTuple):
    """A TCP segment on the wire."""

    to_server: bool
    kind: str  # SYN, SYN-ACK, RST, FIN, data, or ACK
    number: int  # of its kind in this direction, from 1, since the rule began
    again: bool  # the wire has carried, or dropped, a later one with payload of the connection before
    source: tuple[str, int]
    target: tuple[str, int]


class Observer(Protocol):
    """Somebody who stands beside the wire."""

    def taken(self, packet: bytes, segment: Passing) -> None:
        """A segment has come from its sender."""

    def delivering(self, packet: bytes, segment: Passing) -> contextlib.AbstractContextManager[None]:
        """It is handed to its receiver, whose kernel has dealt with it at the end."""

    def idle(self) -> None:
        """Nothing happens, for some milliseconds."""


class Wire:
    """What the wire does to segments; the rule may be exchanged while it carries.

    rule(segment) says when one arrives: so many seconds later than usual, once for each number in the tuple; an empty one
    drops it.
    """

    def __init__(self, observer: Observer | None = None) -> None:
        self.observer = observer
        self._highest: dict[bytes, int] = {}
        self.carry_all()

    def carry_all(self) -> None:
        self.obey(lambda _: (0.0,))

    def obey(self, rule: Callable[[Passing], tuple[float, ...]]) -> None:
        self._seen, self._rule = Counter[tuple[bool, str]](), rule

    def fate(self, segment: Passing) -> tuple[float, ...]:
        return self._rule(segment)

    def segment(self, to_server: bool, packet: bytes) -> Passing | None:
        """The packet as a TCP segment, counted; None where it is none."""
        if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
            family, header, length = socket.AF_INET, 4 * (packet[0] & 15), int.from_bytes(packet[2:4], "big")
            addresses = packet[12:16], packet[16:20]
        elif packet[0] >> 4 == 6 and packet[6] == socket.IPPROTO_TCP:
            family, header, length = socket.AF_INET6, 40, 40 + int.from_bytes(packet[4:6], "big")
            addresses = packet[8:24], packet[24:40]
        else:
            return None
        sport, dport, seq = struct.unpack_from("!HHI", packet, header)
        flags, payload = packet[header + 13], length - header - 4 * (packet[header + 12] >> 4)
        again = False
        if payload > 0:
            ends = b"".join((*addresses, packet[header : header + 4]))
            again = (seq - self._highest.get(ends, seq)) % 2**32 >= 2**31
            if not again:
                self._highest[ends] = (seq + payload) % 2**32
        kind = _kind(flags, payload)
        self._seen[to_server, kind] += 1
        source, target = (
            (socket.inet_ntop(family, address), port) for address, port in zip(addresses, (sport, dport), strict=True)
        )
        return Passing(to_server, kind, self._seen[to_server, kind], again, source, target)


def _kind(flags: int, payload: int) -> str:
    if flags & RST:
        return "RST"
    if flags & SYN:
        return "SYN-ACK" if flags & ACK else "SYN"
    if flags & FIN:
        return "FIN"
    return "data" if payload > 0 else "ACK"


@contextlib.contextmanager
def slow_wire(one_way_s: float = 0.02, wire: Wire | None = None) -> Iterator[list[Host]]:
    """Client and server, each on a tun device; a thread carries the packets and takes its time."""
    with namespaces(("client", "10.95.3.1", "fd95:3::1"), ("server", "10.95.3.2", "fd95:3::2")) as hosts:
        client, server = hosts
        ends = []
        for host, peer in ((client, server), (server, client)):
            with host.inside():
                end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            ends.append(end)
            fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
            host.ip("link", "set", "tun0", "addrgenmode", "none", "up")  # no link-local address, no questions about it
            host.ip("address", "add", host.ipv4, "peer", peer.ipv4, "dev", "tun0")
            host.ip("-6", "address", "add", host.ipv6, "peer", peer.ipv6, "dev", "tun0", "nodad")
        stop_read, stop_write = os.pipe()
        carrier = _Carrier(ends[0], ends[1], stop_read, one_way_s, wire or Wire())
        thread = threading.Thread(target=carrier.run)
        thread.start()
        try:
            yield hosts
        finally:
            os.close(stop_write)
            thread.join()
            for descriptor in (*ends, stop_read):
                os.close(descriptor)
        if carrier.error is not None:
            raise carrier.error


class _Carrier:
    """Carries packets between two tun devices, each after its time; in order and none lost, unless the wire says so."""

    def __init__(self, client: int, server: int, stop: int, one_way_s: float, wire: Wire) -> None:
        self.error: BaseException | None = None
        self._ends, self._stop, self._one_way_s, self._wire = (client, server), stop, one_way_s, wire
        self._on_the_way: list[tuple[float, int, int, bytes, Passing | None]] = []
        self._number = 0

    def run(self) -> None:
        try:
            while self._carry():
                pass
        except BaseException as error:  # noqa: BLE001  the thread that waits for it raises it
            self.error = error

    def _carry(self) -> bool:
        wait_s = max(0.0, self._on_the_way[0][0] - time.monotonic()) if self._on_the_way else IDLE_S
        readable = select.select([*self._ends, self._stop], [], [], min(wait_s, IDLE_S))[0]
        observer = self._wire.observer
        if self._stop in readable:
            return False
        for source, target in (self._ends, self._ends[::-1]):
            if source in readable:
                self._take(os.read(source, 65536), target)
        while self._on_the_way and self._on_the_way[0][0] <= time.monotonic():
            _, _, target, packet, segment = heapq.heappop(self._on_the_way)
            if observer is None or segment is None:
                os.write(target, packet)
            else:
                with observer.delivering(packet, segment):
                    os.write(target, packet)
        if observer is not None and not readable:
            observer.idle()
        return True

    def _take(self, packet: bytes, target: int) -> None:
        segment = self._wire.segment(target == self._ends[1], packet)
        if segment is not None and self._wire.observer is not None:
            self._wire.observer.taken(packet, segment)
        for later_s in self._wire.fate(segment) if segment is not None else (0.0,):
            self._number += 1
            due_s = time.monotonic() + self._one_way_s + later_s
            heapq.heappush(self._on_the_way, (due_s, self._number, target, packet, segment))
