"""The recordings of ``captures/`` as the tests read them: packets, the kernel's state changes, the sockets at the end.

Standard library only: what is held against the analyzer must not have come through it.
"""

from __future__ import annotations

import csv
import socket
import struct
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
NAMES = (
    "close-wait",
    "closed-by-server",
    "closed-in-syn-rcvd",
    "deferred-accept",
    "half-close",
    "life-of-a-connection",
    "lost-by-the-capture",
    "many-connections",
    "midstream",
    "offload",
    "one-direction",
    "only-syn-fin-rst",
    "path-mtu",
    "refused",
    "rejected",
    "reset",
    "simultaneous-close",
    "syn-lost",
    "unanswered-syn",
    "unreachable",
    "unreachable-for-a-while",
    "wrong-checksum",
)
FILTERED = {"one-direction", "only-syn-fin-rst"}  #: of these much was left out: the states cannot all be seen in time
STATES = {
    "CLOSED", "LISTEN", "SYN_SENT", "SYN_RCVD", "ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING",
    "LAST_ACK", "TIME_WAIT",
}  # fmt: skip
STATE_COLUMNS = ["time", "local_addr", "local_port", "remote_addr", "remote_port", "old", "new"]
SOCKET_COLUMNS = ["local_addr", "local_port", "remote_addr", "remote_port", "state"]
LINK_TYPES = {"any": 276, "lo": 1, "eth": 1}  # LINUX_SLL2, Ethernet

# One end of a connection, seen from itself: local address and port, remote address and port.
Endpoint = tuple[str, int, str, int]


def mirror(endpoint: Endpoint) -> Endpoint:
    """The other end of the same connection."""
    return (*endpoint[2:], *endpoint[:2])


@dataclass(frozen=True)
class Change:
    """One row of ``states.csv``."""

    time_ns: int
    endpoint: Endpoint
    old: str
    new: str
    host: str  # client, server; empty where there is only one


@dataclass(frozen=True)
class Segment:
    """The little that these tests want to know of a packet."""

    time_ns: int
    sender: Endpoint
    flags: int


def capture(name: str) -> Path:
    """The one capture in a folder."""
    (found,) = (CAPTURES / name).glob("*.pcap")
    return found


def table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a CSV file."""
    with path.open(newline="", encoding="ascii") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    return list(reader.fieldnames or []), rows


def changes(name: str) -> list[Change]:
    """All rows of ``states.csv`` in their order, listeners included."""
    found = []
    for row in table(CAPTURES / name / "states.csv")[1]:
        seconds, nanoseconds = row["time"].split(".")
        time_ns = int(seconds) * 10**9 + int(nanoseconds)
        found.append(Change(time_ns, _endpoint(row), row["old"], row["new"], row.get("host", "")))
    return found


def lives(name: str) -> dict[Endpoint, list[Change]]:
    """The state changes of each end of each connection; listeners (remote port 0) are left out."""
    found: dict[Endpoint, list[Change]] = defaultdict(list)
    for change in changes(name):
        if change.endpoint[3]:
            found[change.endpoint].append(change)
    return dict(found)


def left(name: str) -> dict[Endpoint, str]:
    """The connections' ends that existed at the end, TIME_WAIT among them; listeners are left out."""
    rows = table(CAPTURES / name / "sockets.csv")[1]
    found = {_endpoint(row): row["state"] for row in rows if row["state"] != "LISTEN"}
    assert len(found) == sum(row["state"] != "LISTEN" for row in rows), "a socket stands there twice"
    return found


def _endpoint(row: dict[str, str]) -> Endpoint:
    return row["local_addr"], int(row["local_port"]), row["remote_addr"], int(row["remote_port"])


def path_of(life: list[Change]) -> str:
    """``CLOSED>SYN_SENT>...`` as the tracepoint shows it."""
    return ">".join([life[0].old, *(change.new for change in life)])


def paths(name: str) -> Counter[str]:
    return Counter(path_of(life) for life in lives(name).values())


def segments(name: str) -> list[Segment]:
    """The TCP segments of a capture: little-endian pcap in microseconds, no VLAN, IP without extension headers, ICMP left out."""
    path = capture(name)
    data = path.read_bytes()
    magic, _, _, _, _, snap_length, link_type = struct.unpack_from("<IHHiIII", data)
    assert (magic, snap_length, link_type) == (0xA1B2C3D4, 262144, LINK_TYPES[path.stem])
    found = []
    at = 24
    while at < len(data):
        seconds, microseconds, captured, length = struct.unpack_from("<IIII", data, at)
        packet = data[at + 16 : at + 16 + captured]
        assert captured == length == len(packet), "a packet that is not whole"
        at += 16 + captured
        ethertype_at, network_at = (0, 20) if link_type == 276 else (12, 14)
        (ethertype,) = struct.unpack_from(">H", packet, ethertype_at)
        ip = packet[network_at:]
        protocol = ip[9] if ethertype == 0x0800 else ip[6]
        if protocol in (1, 58):
            continue
        assert protocol == 6
        if ethertype == 0x0800:
            source, target = (socket.inet_ntop(socket.AF_INET, ip[i : i + 4]) for i in (12, 16))
            tcp = ip[4 * (ip[0] & 15) :]
        else:
            assert ethertype == 0x86DD
            source, target = (socket.inet_ntop(socket.AF_INET6, ip[i : i + 16]) for i in (8, 24))
            tcp = ip[40:]
        sport, dport = struct.unpack_from(">HH", tcp)
        found.append(Segment(seconds * 10**9 + microseconds * 1000, (source, sport, target, dport), tcp[13]))
    return found
