"""The state machine of RFC 9293, section 3.3.2 (figure 5) and 3.10, as an observer sees it: one table.

An endpoint has one of the eleven states of the RFC, or ``UNKNOWN``: nothing is known of it yet. What the observer sees is
segments, so the events are what a segment shows of the end that *sent* it and what it means for the end that *is sent* it.
The conditions under which a segment is such an event (which numbers it must carry) are the classification's business
(``opening``, ``closing``); everything that changes a state stands here, and the replay has no transition of its own.

Some rows differ from the textbook's figure, because they describe sockets as an operating system has them:

* SYN_RCVD that is reset goes to CLOSED, not back to LISTEN: the listener is another socket, which never left.
* An end that sends a SYN was not listening: no program can make a listening socket open actively, so the figure's arrow
  from LISTEN to SYN_SENT is not here. That it was presumed to listen is refuted, and it was CLOSED.
* A FIN reaches no end in SYN_RCVD: the segment that carries it acknowledges the SYN-ACK first, or is dropped (3.10.7.4).
* A FIN that also acknowledges our FIN takes FIN_WAIT_1 to FIN_WAIT_2 and at once to TIME_WAIT: two events of one segment,
  acknowledgement first (3.10.7.4), and two rows. The figure's direct arrow is the same thing drawn once.
* From UNKNOWN (a capture that begins midstream) an event leads to the state in which it must have left the end.

Where an event tells in which state the end must have been, other than the one that was known, the row says so (``was``):
the move that is written begins there. A pair that is not in the table does not move the end; ``STAY`` is the explicit
answer of the dense array for it.
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
    SEND_REFUSAL = 17  #: its answer to a SYN is that nobody listens: an RST, or an ICMP error of its own


class Transition(NamedTuple):
    """One arrow of the figure."""

    old: State
    event: Event
    new: State
    source: str  #: where it stands
    note: str = ""
    was: State | None = None  #: the state that the event shows the end to have been in; None: old

    @property
    def left(self) -> State:
        """The state that the move leaves, as it is written."""
        return self.old if self.was is None else self.was


_S, _E = State, Event
_MAY_ABORT = (_S.SYN_RCVD, _S.ESTABLISHED, _S.FIN_WAIT_1, _S.FIN_WAIT_2, _S.CLOSE_WAIT)  # these send a reset for ABORT

TRANSITIONS: tuple[Transition, ...] = (
    # --- opening: CLOSED, LISTEN, SYN_SENT, SYN_RCVD
    Transition(_S.UNKNOWN, _E.SEND_SYN, _S.SYN_SENT, "3.10.1", "active open: connect()", was=_S.CLOSED),
    Transition(_S.CLOSED, _E.SEND_SYN, _S.SYN_SENT, "3.10.1", "active open once more, in the same numbers"),
    Transition(_S.UNKNOWN, _E.RCV_SYN, _S.LISTEN, "3.10.7.2", "a SYN presumes a listener, until its answer shows"),
    Transition(_S.LISTEN, _E.SEND_SYN_ACK, _S.SYN_RCVD, "3.10.7.2", "passive open"),
    Transition(_S.UNKNOWN, _E.SEND_SYN_ACK, _S.SYN_RCVD, "3.10.7.2", "it was listening", was=_S.LISTEN),
    Transition(
        _S.CLOSED,
        _E.SEND_SYN_ACK,
        _S.SYN_RCVD,
        "3.10.7.2",
        "the listener is another socket, which stays",
        was=_S.LISTEN,
    ),
    Transition(_S.SYN_SENT, _E.RCV_SYN, _S.SYN_RCVD, "3.10.7.3", "simultaneous open: both ends pass here"),
    Transition(_S.SYN_SENT, _E.SEND_SYN_ACK, _S.SYN_RCVD, "3.10.7.3", "simultaneous open, the other SYN was not seen"),
    Transition(_S.SYN_SENT, _E.RCV_SYN_ACK, _S.ESTABLISHED, "3.10.7.3"),
    Transition(_S.SYN_RCVD, _E.RCV_SYN_ACK, _S.ESTABLISHED, "3.10.7.4", "simultaneous open: it acknowledges the SYN"),
    Transition(_S.SYN_RCVD, _E.RCV_ACK_OF_SYN, _S.ESTABLISHED, "3.10.7.4"),
    Transition(_S.UNKNOWN, _E.SEND_REFUSAL, _S.CLOSED, "3.10.7.1", "nobody listens: it stays CLOSED", was=_S.CLOSED),
    # --- midstream: what an end of which nothing is known must be, having sent or been sent such a segment
    Transition(_S.UNKNOWN, _E.RCV_SYN_ACK, _S.ESTABLISHED, "3.10.7.3", "its SYN was not captured"),
    Transition(
        _S.UNKNOWN, _E.SEND_DATA, _S.ESTABLISHED, "3.10.7.4", "may send: ESTABLISHED, or CLOSE_WAIT after a FIN"
    ),
    Transition(_S.UNKNOWN, _E.RCV_DATA, _S.ESTABLISHED, "3.10.7.4", "what such a segment is sent to"),
    Transition(_S.LISTEN, _E.SEND_DATA, _S.ESTABLISHED, "3.10.7.4", "its SYN-ACK was not captured"),
    # --- closing, the end that begins
    Transition(_S.SYN_RCVD, _E.SEND_FIN, _S.FIN_WAIT_1, "3.10.4", "without passing ESTABLISHED"),
    Transition(_S.ESTABLISHED, _E.SEND_FIN, _S.FIN_WAIT_1, "3.10.4", "active close: close(), shutdown(SHUT_WR)"),
    Transition(_S.FIN_WAIT_1, _E.RCV_ACK_OF_FIN, _S.FIN_WAIT_2, "3.10.7.4"),
    Transition(_S.FIN_WAIT_1, _E.RCV_FIN, _S.CLOSING, "3.10.7.4", "simultaneous close: its own FIN not acknowledged"),
    Transition(_S.FIN_WAIT_2, _E.RCV_FIN, _S.TIME_WAIT, "3.10.7.4"),
    Transition(_S.CLOSING, _E.RCV_ACK_OF_FIN, _S.TIME_WAIT, "3.10.7.4"),
    Transition(_S.TIME_WAIT, _E.TIMEOUT_2MSL, _S.CLOSED, "3.10.8"),
    # --- closing, the end that follows
    Transition(_S.ESTABLISHED, _E.RCV_FIN, _S.CLOSE_WAIT, "3.10.7.4"),
    Transition(_S.CLOSE_WAIT, _E.SEND_FIN, _S.LAST_ACK, "3.10.4"),
    Transition(_S.LAST_ACK, _E.RCV_ACK_OF_FIN, _S.CLOSED, "3.10.7.4"),
    # --- reset, by sending one and by being sent one; a listener ignores it (3.10.7.2)
    *(
        Transition(old, _E.SEND_RST, _S.CLOSED, "3.10.5" if old in _MAY_ABORT else "3.5.2")
        for old in State
        if old not in (_S.CLOSED, _S.LISTEN)
    ),
    Transition(_S.UNKNOWN, _E.RCV_RST, _S.CLOSED, "3.10.7.4", "what such a segment is sent to"),
    Transition(_S.SYN_SENT, _E.RCV_RST, _S.CLOSED, "3.10.7.3", "it acknowledges the SYN: refused"),
    *(
        Transition(old, _E.RCV_RST, _S.CLOSED, "3.10.7.4, RFC 1337" if old is _S.TIME_WAIT else "3.10.7.4, RFC 5961")
        for old in State
        if old not in (_S.UNKNOWN, _S.CLOSED, _S.LISTEN, _S.SYN_SENT)
    ),
    # --- ICMP errors, before anything is established
    Transition(_S.SYN_SENT, _E.RCV_ICMP_ERROR, _S.CLOSED, "3.9.2.2, RFC 5461", "the attempt ends"),
    Transition(
        _S.SYN_RCVD, _E.RCV_ICMP_ERROR, _S.CLOSED, "3.9.2.2, RFC 5461", "a request is dropped; crossing SYNs end"
    ),
    # --- timers
    *(
        Transition(old, _E.GIVE_UP, _S.CLOSED, "3.8.3, RFC 1122 4.2.3.5", "nobody acknowledges what it repeats")
        for old in State
        if old not in (_S.UNKNOWN, _S.CLOSED, _S.LISTEN, _S.FIN_WAIT_2, _S.TIME_WAIT)
    ),
    Transition(_S.FIN_WAIT_2, _E.GIVE_UP, _S.CLOSED, "3.6.1, RFC 1122 4.2.2.13", "an orphan's time is over"),
    # --- another connection in its place
    Transition(_S.TIME_WAIT, _E.NEW_INCARNATION, _S.CLOSED, "3.10.7.4, RFC 6191", "port reuse"),
    *(
        Transition(old, _E.NEW_INCARNATION, _S.CLOSED, "3.5.1", "the end had lost the connection")
        for old in State
        if old not in (_S.UNKNOWN, _S.CLOSED, _S.LISTEN, _S.TIME_WAIT)
    ),
)

STAY = 255
"""The dense table's answer for a pair that stands in no row: the end does not move."""


Table = np.ndarray[tuple[int, int], np.dtype[np.uint8]]


def dense_tables() -> tuple[Table, Table]:
    """Return TRANSITIONS as uint8[states, events]: the state after, and the one that is left.

    STAY stands where no row says otherwise.
    """
    after = np.full((len(State), len(Event)), STAY, np.uint8)
    left = np.full((len(State), len(Event)), STAY, np.uint8)
    for row in TRANSITIONS:
        after[row.old, row.event] = row.new
        left[row.old, row.event] = row.left
    return after, left


NEXT_STATE, LEFT_STATE = dense_tables()

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
        "![The states, and what leads from one to another, laid out as figure 5 of the RFC](states.svg)",
        "",
        "*Was*: the state that the event shows the end to have been in, where that is not the one that was known; `transitions`",
        "has it in `old`.",
        "",
        "| from | event | to | was | source | note |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.old.name} | {row.event.name} | {row.new.name} | {row.was.name if row.was is not None else ''} | "
        f"{row.source} | {row.note} |"
        for row in TRANSITIONS
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())  # noqa: T201
