"""The state machine of RFC 9293, section 3.3.2 (figure 5) and 3.10, as an observer sees it: one table.

An endpoint has one of the eleven states of the RFC, or ``UNKNOWN``: nothing is known of it yet. What the observer sees is
segments, so the events are what a segment shows of the end that *sent* it and what it means for the end that *is sent* it.
The conditions under which a segment is such an event (which numbers it must carry) are the classification's business
(``replay.py``); everything that changes a state stands here, and the replay has no transition of its own.

Three rows differ from the textbook's figure, because they describe sockets as an operating system has them:

* SYN_RCVD that is reset goes to CLOSED, not back to LISTEN: the listener is another socket, which never left.
* A FIN that also acknowledges our FIN takes FIN_WAIT_1 to FIN_WAIT_2 and at once to TIME_WAIT: two events of one segment,
  acknowledgement first (3.10.7.4), and two rows. The figure's direct arrow is the same thing drawn once.
* From UNKNOWN (a capture that begins midstream) an event leads to the state in which it must have left the end.

A pair that is not in the table does not move the end; ``STAY`` is the explicit answer of the dense array for it.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np


class State(enum.IntEnum):
    """RFC 9293 section 3.3.2; UNKNOWN is the observer's own."""

    UNKNOWN = 0
    CLOSED = 1
    LISTEN = 2
    SYN_SENT = 3
    SYN_RCVD = 4
    ESTABLISHED = 5
    FIN_WAIT_1 = 6
    FIN_WAIT_2 = 7
    CLOSE_WAIT = 8
    CLOSING = 9
    LAST_ACK = 10
    TIME_WAIT = 11


class Event(enum.IntEnum):
    """What happens to one endpoint. ``SEND_``: it sent such a segment; ``RCV_``: it was sent one that it must obey."""

    NONE = 0
    SEND_SYN = 1
    SEND_SYN_ACK = 2
    SEND_DATA = 3  #: anything with an ACK and without SYN, FIN, RST: shows an end of which nothing is known
    SEND_FIN = 4
    SEND_RST = 5
    RCV_SYN = 6
    RCV_SYN_ACK = 7  #: acknowledges its SYN
    RCV_ACK_OF_SYN = 8  #: the third segment, or anything else that acknowledges its SYN-ACK
    RCV_DATA = 9  #: the counterpart of SEND_DATA
    RCV_FIN = 10  #: in order: a FIN takes effect at its place in the sequence
    RCV_ACK_OF_FIN = 11
    RCV_RST = 12  #: acceptable (3.10.7, RFC 5961)
    TIMEOUT_2MSL = 13
    GIVE_UP = 14  #: retransmissions, or an orphan's time, have come to their end
    NEW_INCARNATION = 15  #: a new SYN was taken on the same addresses and ports: the old connection is over
    RCV_ICMP_ERROR = 16  #: an ICMP error that ends an attempt, or drops a request (icmp.py)


class Transition(NamedTuple):
    """One arrow of the figure."""

    old: State
    event: Event
    new: State
    source: str  #: where it stands
    note: str = ""


_S, _E = State, Event

TRANSITIONS: tuple[Transition, ...] = (
    # --- opening: CLOSED, LISTEN, SYN_SENT, SYN_RCVD
    Transition(_S.UNKNOWN, _E.SEND_SYN, _S.SYN_SENT, "3.10.1", "active open; before it there was nothing: CLOSED"),
    Transition(_S.CLOSED, _E.SEND_SYN, _S.SYN_SENT, "3.10.1", "active open: connect()"),
    Transition(_S.LISTEN, _E.SEND_SYN, _S.SYN_SENT, "3.10.1", "a listener that opens actively"),
    Transition(_S.UNKNOWN, _E.RCV_SYN, _S.LISTEN, "3.10.7.2", "a SYN presumes a listener, until its answer shows"),
    Transition(_S.UNKNOWN, _E.SEND_SYN_ACK, _S.SYN_RCVD, "3.10.7.2", "it was listening"),
    Transition(_S.CLOSED, _E.SEND_SYN_ACK, _S.SYN_RCVD, "3.10.7.2", "it was listening"),
    Transition(_S.LISTEN, _E.SEND_SYN_ACK, _S.SYN_RCVD, "3.10.7.2"),
    Transition(_S.SYN_SENT, _E.RCV_SYN, _S.SYN_RCVD, "3.10.7.3", "simultaneous open: both ends pass here"),
    Transition(_S.SYN_SENT, _E.SEND_SYN_ACK, _S.SYN_RCVD, "3.10.7.3", "simultaneous open, the other SYN was not seen"),
    Transition(_S.SYN_SENT, _E.RCV_SYN_ACK, _S.ESTABLISHED, "3.10.7.3"),
    Transition(_S.SYN_RCVD, _E.RCV_SYN_ACK, _S.ESTABLISHED, "3.10.7.4", "simultaneous open: it acknowledges the SYN"),
    Transition(_S.SYN_RCVD, _E.RCV_ACK_OF_SYN, _S.ESTABLISHED, "3.10.7.4"),
    Transition(_S.UNKNOWN, _E.RCV_SYN_ACK, _S.ESTABLISHED, "3.10.7.3", "its SYN was not captured"),
    # --- midstream: what an end of which nothing is known must be, having sent or been sent such a segment
    Transition(
        _S.UNKNOWN, _E.SEND_DATA, _S.ESTABLISHED, "3.10.7.4", "may send: ESTABLISHED, or CLOSE_WAIT after a FIN"
    ),
    Transition(_S.UNKNOWN, _E.RCV_DATA, _S.ESTABLISHED, "3.10.7.4", "what such a segment is sent to"),
    Transition(_S.LISTEN, _E.SEND_DATA, _S.ESTABLISHED, "3.10.7.4", "its SYN-ACK was not captured"),
    Transition(_S.UNKNOWN, _E.SEND_FIN, _S.FIN_WAIT_1, "3.10.4"),
    Transition(_S.UNKNOWN, _E.RCV_FIN, _S.CLOSE_WAIT, "3.10.7.4"),
    # --- closing, the end that begins
    Transition(_S.SYN_RCVD, _E.SEND_FIN, _S.FIN_WAIT_1, "3.10.4", "without passing ESTABLISHED"),
    Transition(_S.ESTABLISHED, _E.SEND_FIN, _S.FIN_WAIT_1, "3.10.4", "active close: close(), shutdown(SHUT_WR)"),
    Transition(_S.FIN_WAIT_1, _E.RCV_ACK_OF_FIN, _S.FIN_WAIT_2, "3.10.7.4"),
    Transition(_S.FIN_WAIT_1, _E.RCV_FIN, _S.CLOSING, "3.10.7.4", "simultaneous close: its own FIN not acknowledged"),
    Transition(_S.FIN_WAIT_2, _E.RCV_FIN, _S.TIME_WAIT, "3.10.7.4"),
    Transition(_S.CLOSING, _E.RCV_ACK_OF_FIN, _S.TIME_WAIT, "3.10.7.4"),
    Transition(_S.TIME_WAIT, _E.TIMEOUT_2MSL, _S.CLOSED, "3.10.8"),
    Transition(_S.TIME_WAIT, _E.NEW_INCARNATION, _S.CLOSED, "3.10.7.4, RFC 6191", "port reuse"),
    # --- closing, the end that follows
    Transition(_S.SYN_RCVD, _E.RCV_FIN, _S.CLOSE_WAIT, "3.10.7.4"),
    Transition(_S.ESTABLISHED, _E.RCV_FIN, _S.CLOSE_WAIT, "3.10.7.4"),
    Transition(_S.CLOSE_WAIT, _E.SEND_FIN, _S.LAST_ACK, "3.10.4"),
    Transition(_S.LAST_ACK, _E.RCV_ACK_OF_FIN, _S.CLOSED, "3.10.7.4"),
    # --- reset, by sending and by being sent one
    *(
        Transition(old, event, _S.CLOSED, "3.10.5" if event is _E.SEND_RST else "3.10.7.4, RFC 5961")
        for event in (_E.SEND_RST, _E.RCV_RST)
        for old in State
        if old is not _S.CLOSED
    ),
    # --- ICMP errors, before anything is established
    Transition(_S.SYN_SENT, _E.RCV_ICMP_ERROR, _S.CLOSED, "3.9.2.2, RFC 5461", "the attempt ends"),
    Transition(
        _S.SYN_RCVD, _E.RCV_ICMP_ERROR, _S.CLOSED, "3.9.2.2, RFC 5461", "a request is dropped; crossing SYNs end"
    ),
    # --- timers, and another connection in its place
    *(
        Transition(old, _E.GIVE_UP, _S.CLOSED, "3.8.3, RFC 1122 4.2.3.5")
        for old in State
        if old not in (_S.UNKNOWN, _S.CLOSED, _S.LISTEN, _S.TIME_WAIT)
    ),
    *(
        Transition(old, _E.NEW_INCARNATION, _S.CLOSED, "3.6.1", "the end had lost the connection")
        for old in State
        if old not in (_S.UNKNOWN, _S.CLOSED, _S.LISTEN, _S.TIME_WAIT)
    ),
)

STAY = 255
"""The dense table's answer for a pair that stands in no row: the end does not move."""


def dense_table() -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return TRANSITIONS as uint8[states, events]; STAY where no row says otherwise."""
    table = np.full((len(State), len(Event)), STAY, np.uint8)
    for row in TRANSITIONS:
        table[row.old, row.event] = row.new
    return table


NEXT_STATE = dense_table()

# The names again as plain integers: kernels take module constants, not enumerations.
UNKNOWN, CLOSED, LISTEN, SYN_SENT, SYN_RCVD, ESTABLISHED = (int(s) for s in list(State)[:6])
FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT = (int(s) for s in list(State)[6:])


def as_markdown() -> str:
    """Write the table as docs/states.md has it."""
    lines = [
        "# The state table",
        "",
        "Generated from `analyzer/tracker/states.py`. Sections are those of RFC 9293. A pair that is in no row moves nothing.",
        "",
        "| from | event | to | source | note |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.old.name} | {row.event.name} | {row.new.name} | {row.source} | {row.note} |" for row in TRANSITIONS
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())  # noqa: T201
