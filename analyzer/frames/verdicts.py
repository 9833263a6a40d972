"""What may be said when the kernel's sockets are laid beside the packets: one catalogue.

Each verdict is of one end of a connection on this host. ``rule`` says what both sides must show for it; the code that
applies it is ``host/rules.py``.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Verdict(enum.IntEnum):
    """A verdict's number: the code of the categorical column."""

    AGREES = 0
    JUST_CHANGED = 1
    PROGRAM_HAS_NOT_CLOSED = 2
    PROGRAM_HAS_NOT_READ = 3
    NOT_ACCEPTED = 4
    ACCEPT_QUEUE_FULL = 5
    THIRD_ACK_IGNORED = 6
    THIRD_ACK_MISSING = 7
    SYN_NOT_ANSWERED = 8
    SYN_ACK_IGNORED = 9
    FIN_NOT_ACKNOWLEDGED = 10
    PEER_HAS_NOT_CLOSED = 11
    DATA_NOT_ACKNOWLEDGED = 12
    WINDOW_CLOSED = 13
    STATES_DIFFER = 14
    NOT_CAPTURED = 15
    NO_SOCKET = 16


class Entry(NamedTuple):
    """A verdict's row in the documentation."""

    name: str
    severity: str
    meaning: str
    rule: str
    fooled_by: str


CATALOGUE: dict[Verdict, Entry] = {
    Verdict.AGREES: Entry("agrees", "note", "nothing that the packets say contradicts the kernel, and there is no trouble", "the same state, or segments that tell none", ""),
    Verdict.JUST_CHANGED: Entry("just-changed", "note", "they differ, but a packet passed at the moment of asking", "other states, and a packet within 50 ms of the snapshot; TIME_WAIT after 59 s", ""),
    Verdict.PROGRAM_HAS_NOT_CLOSED: Entry("program-has-not-closed", "warning", "the peer has closed, the program here has not", "kernel: CLOSE_WAIT", "a program that goes on sending on purpose (half-close)"),
    Verdict.PROGRAM_HAS_NOT_READ: Entry("program-has-not-read", "warning", "data has arrived and waits for the program", "kernel: ESTABLISHED, receive queue above 0, last data more than 1 s ago", "a program that is slow for a good reason"),
    Verdict.NOT_ACCEPTED: Entry("not-accepted", "warning", "the connection is complete and waits in the accept queue; of LISTEN: the queue is full", "kernel: ESTABLISHED or CLOSE_WAIT, no file (inode); or LISTEN, its queue above its limit, and no SYN unanswered", ""),
    Verdict.ACCEPT_QUEUE_FULL: Entry("accept-queue-full", "error", "a SYN or the third ACK came and found the accept queue full", "kernel: a listener on this host, its queue above its limit; and SYN_RCVD, packets: third ACK; or packets: a SYN to it, no SYN-ACK; of LISTEN itself: while such SYNs wait", "a queue that was full for a moment only; a firewall that drops the SYN as well"),
    Verdict.THIRD_ACK_IGNORED: Entry("third-ack-ignored", "warning", "the third ACK came and the kernel did not take it, though there is room", "kernel: SYN_RCVD, room in the queue; packets: third ACK", "TCP_DEFER_ACCEPT waits for data; a firewall behind the capture point"),
    Verdict.THIRD_ACK_MISSING: Entry("third-ack-missing", "warning", "the client does not answer the SYN-ACK", "kernel: SYN_RCVD; packets: no third ACK, or none at all", "a handshake that has only begun; a capture that does not see it"),
    Verdict.SYN_NOT_ANSWERED: Entry("syn-not-answered", "warning", "nobody answers the SYN", "kernel: SYN_SENT; packets: SYN, no SYN-ACK", "a handshake that has only begun"),
    Verdict.SYN_ACK_IGNORED: Entry("syn-ack-ignored", "error", "a SYN-ACK came and the kernel did not take it", "kernel: SYN_SENT; packets: SYN-ACK", "a SYN-ACK of other numbers"),
    Verdict.FIN_NOT_ACKNOWLEDGED: Entry("fin-not-acknowledged", "warning", "our FIN is sent, and not acknowledged", "kernel: FIN_WAIT_1, CLOSING or LAST_ACK", "data before the FIN that waits for the peer's window"),
    Verdict.PEER_HAS_NOT_CLOSED: Entry("peer-has-not-closed", "note", "our FIN is acknowledged, the peer's does not come", "kernel: FIN_WAIT_2", "a peer that goes on sending on purpose (half-close)"),
    Verdict.DATA_NOT_ACKNOWLEDGED: Entry("data-not-acknowledged", "warning", "what was sent is sent again and again, unacknowledged", "kernel: retransmission timer, at least one retransmission without an answer", ""),
    Verdict.WINDOW_CLOSED: Entry("window-closed", "warning", "data waits here for the peer's window to open", "kernel: persist timer", ""),
    Verdict.STATES_DIFFER: Entry("states-differ", "warning", "kernel and packets say different states", "none of the others", "packets that the capture lost"),
    Verdict.NOT_CAPTURED: Entry("not-captured", "note", "the kernel has the socket, the capture saw no packet of it", "no flow of these addresses and ports, and none of the others that the kernel's word is enough for", "a capture filter; a connection that is idle; another interface"),
    Verdict.NO_SOCKET: Entry("no-socket", "warning", "the flow is there, the kernel has no socket", "packets: open or TIME_WAIT at a local end; kernel: none", "another network namespace (container); a forwarded connection"),
}  # fmt: skip

NAMES: tuple[str, ...] = tuple(CATALOGUE[verdict].name for verdict in Verdict)


def as_markdown() -> str:
    """Write the catalogue as docs/verdicts.md has it."""
    lines = [
        "# What the kernel and the packets say together",
        "",
        "Generated from `analyzer/frames/verdicts.py`. A verdict is of one end of a connection on this host.",
        "",
        "| verdict | severity | meaning | rule | what may fool it |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in CATALOGUE.values()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())  # noqa: T201
