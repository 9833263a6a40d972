"""What netstat, lsof and ss print, as rows that can be held against ours."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

STATES = {
    "ESTAB": "ESTABLISHED", "SYN-SENT": "SYN_SENT", "SYN-RECV": "SYN_RCVD", "FIN-WAIT-1": "FIN_WAIT_1",
    "FIN-WAIT-2": "FIN_WAIT_2", "TIME-WAIT": "TIME_WAIT", "CLOSE-WAIT": "CLOSE_WAIT", "LAST-ACK": "LAST_ACK",
    "UNCONN": "CLOSED", "SYN_RECV": "SYN_RCVD", "FIN_WAIT1": "FIN_WAIT_1", "FIN_WAIT2": "FIN_WAIT_2",
}  # fmt: skip
"""ss's, netstat's and lsof's words; the others are as ours."""

Ends = tuple[str, str]
"""Local and peer, as the tool writes them."""


class Row(NamedTuple):
    """One socket as a tool shows it; what it does not show is None."""

    state: str
    queues: tuple[int, int]
    pids: set[int] | None = None
    timer: tuple[str, float, int] | None = None  # word, seconds left, retransmits
    inode: int | None = None
    cookie: int | None = None
    info: dict[str, Any] = {}  # noqa: RUF012  # never written


def ss(text: str) -> dict[Ends, Row]:
    """Of ``ss -HOtanpoie``."""
    found = {}
    text = text.replace('\nb"', 'b"')  # a program's name may end a line
    for line in text.splitlines():
        if not line.strip():
            continue
        state, received, sent, local, peer, rest = (line + " ").split(maxsplit=5)
        timer = re.search(r"timer:\((\w+),([^,]*),(\d+)\)", rest)
        info: dict[str, Any] = dict(re.findall(r"(\w+):([\w./,]+)", rest))
        info |= dict(re.findall(r"(pacing_rate|delivery_rate) (\d+)bps", rest))
        after = rest.split(" cgroup:")[-1].split()
        info["words"] = {word for word in after if ":" not in word}
        found[local, peer] = Row(
            STATES.get(state, state),
            (int(received), int(sent)),
            {int(pid) for pid in re.findall(r"pid=(\d+)", rest)},
            None if timer is None else (timer[1], ss_seconds(timer[2]), int(timer[3])),
            int(info["ino"]),
            int(info["sk"], 16),
            info,
        )
    return found


def ss_seconds(text: str) -> float:
    """ss writes ``160ms``, ``1.204ms`` (that is 1 s and 204 ms), ``59sec``, ``119min59sec``."""
    parts = re.fullmatch(r"(?:(\d+)min)?(?:(\d+)(?:\.|sec))?(?:(\d+)ms)?", text)
    assert parts, text
    minutes, seconds, milliseconds = (int(part or 0) for part in parts.groups())
    return minutes * 60 + seconds + milliseconds / 1000


def netstat(text: str) -> dict[Ends, Row]:
    """Of ``netstat -natopeW``; an IPv4 peer of an IPv6 socket stands there as IPv4."""
    pattern = re.compile(
        r"^tcp6? +(\d+) +(\d+) (\S+) +(\S+) +([A-Z_0-9]+) +\d+ +(\d+) +(?:-|(\d+)/.*?) +(\w+) \(([\d.]+)/(\d+)/(\d+)\)"
    )
    found = {}
    for line in text.splitlines():
        if not line.startswith("tcp"):
            continue
        parts = pattern.match(line)
        assert parts, line
        received, sent, local, peer, state, inode, pid, timer, left, retransmits, probes = parts.groups()
        word = {"off": None, "probe": "persist"}.get(timer, timer)
        found[local, peer] = Row(
            STATES.get(state, state),
            (int(received), int(sent)),
            None if pid is None else {int(pid)},
            None if word is None else (word, float(left), int(retransmits if word == "on" else probes)),
            int(inode),
        )
    return found


class Held(NamedTuple):
    """One line of lsof: a process's file."""

    pid: int
    fd: int
    ends: str
    state: str
    queues: tuple[int, int]


def lsof(text: str) -> set[Held]:
    """Of ``lsof -nP -iTCP -Tqs -F pfnT``."""
    found = set()
    pid, fields = 0, {}

    def flush() -> None:
        if fields:
            queues = int(fields["QR"]), int(fields["QS"])
            found.add(Held(pid, int(fields["f"]), fields["n"], STATES.get(fields["ST"], fields["ST"]), queues))
            fields.clear()

    for line in text.splitlines():
        kind, value = line[:1], line[1:]
        if kind in "pf":
            flush()
        if kind == "p":
            pid = int(value)
        elif kind == "T":
            word, _, said = value.partition("=")
            fields[word] = said
        elif kind in "fn":
            fields[kind] = value
    flush()
    return found
