"""What is worse than what, on the live screen: one table, worst first.

A connection's trouble is the first row of ``ORDER`` that is true of it. A row is about a verdict on kernel and packets
together (docs/verdicts.md), a kind of anomaly (docs/anomalies.md), or a state that lasts: what is said of it without the
kernel. The order asks first whether somebody is turned away, then whether a connection hangs, then whether something is
left lying about, then whether it is merely slow, and last whether it is only the capture that is in doubt.
"""

from __future__ import annotations

from typing import NamedTuple

from analyzer.frames.verdicts import CATALOGUE as VERDICTS
from analyzer.tracker.anomalies import CATALOGUE as ANOMALIES

LASTING_S = 1.0
"""A state that lasts longer than this is worth a word: the first retransmission time-out has passed (RFC 6298)."""

PASSES_S = 30.0
"""What passes is forgotten after so long."""


class Trouble(NamedTuple):
    """One row of the order."""

    of: str  #: verdict, anomaly, state
    name: str
    why: str  #: why it stands where it stands
    passes: bool = False  #: an event that a connection gets over, no state of affairs


ORDER: tuple[Trouble, ...] = (
    # --- somebody is turned away
    Trouble("verdict", "accept-queue-full", "clients are turned away now, and some of them think that they are in"),
    Trouble("verdict", "syn-ack-ignored", "nothing gets through to this host's TCP, though the peer answers"),
    Trouble("anomaly", "handshake-ack-ignored", "the client thinks that it is in, the server does not", True),
    Trouble("anomaly", "refused", "nobody serves there"),
    Trouble("anomaly", "syn-unanswered", "nobody is there, or a firewall"),
    Trouble("verdict", "syn-not-answered", "the same, while it still tries"),
    Trouble("state", "SYN_SENT", "the same, where the kernel does not say"),
    Trouble("verdict", "third-ack-ignored", "the client waits; a deferred accept looks like this as well"),
    Trouble("verdict", "third-ack-missing", "a client that began and left, or a SYN flood"),
    Trouble("state", "SYN_RCVD", "the same, where the kernel does not say"),
    # --- a connection that hangs, or was torn down
    Trouble("anomaly", "half-open", "one end talks to a connection that the other has lost"),
    Trouble("anomaly", "forged-segment", "somebody else speaks in its name"),
    Trouble("anomaly", "keep-alive-unanswered", "the peer is gone and nobody has noticed"),
    Trouble("verdict", "data-not-acknowledged", "nothing arrives any more"),
    Trouble("verdict", "window-closed", "the peer's program does not read"),
    Trouble("anomaly", "reset", "over, and what was under way is lost"),
    Trouble("verdict", "not-accepted", "the client waits for this host's program"),
    Trouble("verdict", "program-has-not-read", "the peer waits for this host's program"),
    # --- left lying about: each costs a socket, thousands cost the service
    Trouble("verdict", "program-has-not-closed", "a descriptor that leaks, until there are no more"),
    Trouble("state", "CLOSE_WAIT", "the same, where the kernel does not say"),
    Trouble("verdict", "no-socket", "the kernel has forgotten what the peer still counts upon"),
    Trouble("verdict", "fin-not-acknowledged", "the peer is gone; the kernel gives up by itself"),
    Trouble("state", "LAST_ACK", "the same, where the kernel does not say"),
    Trouble("state", "CLOSING", "the same"),
    Trouble("state", "FIN_WAIT_1", "the same"),
    # --- slow
    Trouble("anomaly", "icmp-error", "the network objects", True),
    Trouble("anomaly", "zero-window", "the receiver has no room", True),
    Trouble("anomaly", "syn-retransmitted", "costs a second each", True),
    Trouble("anomaly", "synack-retransmitted", "costs a second each", True),
    Trouble("anomaly", "synack-isn-changed", "two answer as one", True),
    Trouble("anomaly", "bad-checksum", "lost, and repeated", True),
    Trouble("anomaly", "retransmission", "lost on the way", True),
    Trouble("anomaly", "fin-ack-lost", "lost on the way, at the end", True),
    Trouble("anomaly", "fin-retransmitted", "the same", True),
    Trouble("anomaly", "overlapping-fragments", "odd, or an attack on what puts them together", True),
    # --- in doubt
    Trouble("verdict", "states-differ", "one of both has not heard all"),
    Trouble("anomaly", "segment-not-captured", "the capture lost something, the connection did not", True),
    Trouble("anomaly", "ack-of-unseen", "the same", True),
)
"""Worst first. What is a note in its catalogue is no trouble; a clock that is set back is no connection's."""

NONE = len(ORDER)
"""The rank of a connection without trouble."""

RANK: dict[tuple[str, str], int] = {(trouble.of, trouble.name): rank for rank, trouble in enumerate(ORDER)}

_SEVERITIES = {("anomaly", entry.name): entry.severity for entry in ANOMALIES.values()} | {
    ("verdict", entry.name): entry.severity for entry in VERDICTS.values()
}
_MEANINGS = {("anomaly", entry.name): entry.meaning for entry in ANOMALIES.values()} | {
    ("verdict", entry.name): entry.meaning for entry in VERDICTS.values()
}
_OF_STATES: dict[str, str] = {
    "SYN_SENT": "nobody answers the SYN",
    "SYN_RCVD": "the client does not answer the SYN-ACK",
    "CLOSE_WAIT": "the peer has closed, this end has not",
    "LAST_ACK": "the FIN is sent, and not acknowledged",
    "CLOSING": "both have sent a FIN, and this one is not acknowledged",
    "FIN_WAIT_1": "the FIN is sent, and not acknowledged",
}
"""What a state that lasts means; whose program it is nobody says here, the end may be anywhere."""


def severity(trouble: Trouble) -> str:
    """Return its catalogue's word; a state that lasts is a warning."""
    return "warning" if trouble.of == "state" else _SEVERITIES[trouble.of, trouble.name]


def meaning(trouble: Trouble) -> str:
    """Return what its catalogue says of it, or what such a state means."""
    if trouble.of == "state":
        return _OF_STATES[trouble.name]
    return _MEANINGS[trouble.of, trouble.name]


def as_markdown() -> str:
    """Write the order as docs/screen.md has it."""
    lines = ["| | trouble | of | why it stands there |", "| ---: | --- | --- | --- |"]
    lines += [
        f"| {rank} | `{row.name}` | {row.of}{', passes' if row.passes else ''} | {row.why} |"
        for rank, row in enumerate(ORDER, 1)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())  # noqa: T201
