"""A trial as it was recorded: the states that both kernels had, and when each segment left and came. Standard library only."""

from __future__ import annotations

import ipaddress
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from captures.recorder.stage import PORT
from tests.recordings import Endpoint, mirror, table

CAPTURES = ("client", "server", "wire")
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
SENT_WITH = {"SYN_SENT": SYN, "SYN_RCVD": SYN, "FIN_WAIT_1": FIN, "LAST_ACK": FIN, "CLOSED": RST}
"""What an end sends when it comes into a state by its own doing."""
ANSWERED = ("FIN_WAIT_1", "LAST_ACK", "CLOSE_WAIT", "CLOSING", "TIME_WAIT")
"""Of the close, what an end sends next may be a while in coming, and tells at its own host too: its FIN waits for a window or
for a retransmission to be acknowledged; and it delays the ACK of a FIN, which its peer may repeat meanwhile as if it was lost."""
BY_FIN = ("CLOSE_WAIT", "CLOSING", "TIME_WAIT")
"""What an end comes into by its peer's FIN: nothing tells of it but what acknowledges that FIN."""
NEAR_NS = 5_000_000
"""Between a state and the stamp of the segment that belongs to it: both are the same clock's and microseconds apart, but on
a busy machine a program may lose its processor in between, for a slice of some milliseconds."""
SPACE = 1 << 32
SAME_NS = 300_000
"""What is sent so shortly before a state belongs to it: some segments go out first."""


class State(NamedTuple):
    """An end came into it; not before the one time, at the latest at the other."""

    name: str
    since_ns: int
    time_ns: int


@dataclass
class Sent:
    """A segment, and when it came, if it did, and how often."""

    sender: Endpoint
    flags: int
    end: int  #: the sequence number behind it
    ack: int
    time_ns: int
    came_ns: list[int] = field(default_factory=list)


class Witnessed:
    """One folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: dict[Endpoint, list[State]] = defaultdict(list)
        for row in table(folder / "states.csv")[1]:
            end = row["local_addr"], int(row["local_port"]), row["remote_addr"], int(row["remote_port"])
            self.paths[end].append(State(row["new"], _ns(row["since"]), _ns(row["time"])))
        self.sent = _sent(folder)
        clients = {sent.sender for sent in self.sent if sent.sender[1] != PORT} | {
            mirror(sent.sender) for sent in self.sent if sent.sender[1] == PORT
        }
        self.ends: dict[str, Endpoint] = {}
        """client, server, and of a second connection client2, server2."""
        for number, client in zip(("", "2"), sorted(clients), strict=False):
            self.ends |= {f"client{number}": client, f"server{number}": mirror(client)}

    def bounds(self, end: str, state: State, capture: str) -> tuple[int, int]:
        """Between which times a capture may show that an end came into a state.

        At its own host at that time, or when the next segment tells (`ANSWERED`). Elsewhere what an end has sent is seen when
        it has come; and what it is sent is taken to have come at once, until something that it sends afterwards tells: so the
        last word may be as late as that.
        """
        earliest_ns, latest_ns = state.since_ns - NEAR_NS, state.time_ns + NEAR_NS
        me = self.ends[end]
        flags = SENT_WITH.get(state.name)
        after = [sent for sent in self.sent if sent.sender == me and sent.time_ns >= state.since_ns - SAME_NS]
        if flags is not None:
            new = SYN if state.name == "CLOSED" else 0  # the next connection's
            after = [
                sent for sent in after if sent.flags & flags or (sent.flags & new and sent.time_ns > state.since_ns)
            ]
        elif state.name in BY_FIN:
            fins = [
                sent
                for sent in self.sent
                if sent.sender == mirror(me) and sent.flags & FIN and sent.time_ns <= state.time_ns + NEAR_NS
            ]
            after = [
                sent for sent in after if sent.flags & ACK and fins and (sent.ack - fins[-1].end) % SPACE < SPACE // 2
            ]
        if end.startswith(capture):
            tells = [sent.time_ns for sent in after if state.name in ANSWERED]
            return earliest_ns, max([latest_ns, *(ns + NEAR_NS for ns in tells[:1])])
        brought = [
            sent.time_ns
            for sent in self.sent
            if sent.sender == mirror(me) and any(state.since_ns - NEAR_NS <= ns <= latest_ns for ns in sent.came_ns)
        ]
        tells = [min(sent.came_ns) for sent in after if sent.came_ns]
        return min([earliest_ns, *(ns - NEAR_NS for ns in brought)]), max(
            [latest_ns, *(ns + NEAR_NS for ns in tells[:1])]
        )


def _ns(text: str) -> int:
    seconds, fraction = text.split(".")
    return int(seconds) * 10**9 + int(fraction)


def _sent(folder: Path) -> list[Sent]:
    """What both hosts sent, in time order, each as its own host and as the other one saw it."""
    seen = [one for host in ("client", "server") for one in _packets((folder / f"{host}.pcap").read_bytes())]
    found: list[Sent] = []
    newest: dict[bytes, Sent] = {}
    for time_ns, outgoing, packet in sorted(seen, key=lambda one: (one[0], not one[1])):
        if outgoing:
            newest[packet] = Sent(*_segment(packet), time_ns)
            found.append(newest[packet])
        else:
            newest[packet].came_ns.append(time_ns)
    return found


def _packets(data: bytes) -> list[tuple[int, bool, bytes]]:
    """Of a capture in microseconds, LINUX_SLL2: time, whether it goes out (packet type 4), IP datagram."""
    magic, *_, link = struct.unpack_from("<IHHiIII", data)
    assert (magic, link) == (0xA1B2C3D4, 276)
    found, at = [], 24
    while at < len(data):
        seconds, microseconds, captured, _ = struct.unpack_from("<IIII", data, at)
        packet = data[at + 16 : at + 16 + captured]
        found.append((seconds * 10**9 + microseconds * 1000, packet[10] == 4, packet[20:]))
        at += 16 + captured
    return found


def _segment(packet: bytes) -> tuple[Endpoint, int, int, int]:
    """Who sent it, its flags, the sequence number behind it, and the one that it acknowledges."""
    ipv4 = packet[0] >> 4 == 4
    header, pair = (
        (4 * (packet[0] & 15), (packet[12:16], packet[16:20])) if ipv4 else (40, (packet[8:24], packet[24:40]))
    )
    source, target = (str(ipaddress.ip_address(address)) for address in pair)
    sport, dport, seq, ack, offset, flags = struct.unpack_from(">HHIIBB", packet, header)
    length = len(packet) - header - (offset >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
    return (source, sport, target, dport), flags, (seq + length) % SPACE, ack
