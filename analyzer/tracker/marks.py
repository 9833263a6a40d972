"""The words that the tracker marks packets and flows with, as codes; the frames print them."""

from __future__ import annotations

import enum


class Step(enum.IntEnum):
    """A packet's part in the handshake or the close; -1 is none."""

    OPEN_1 = 0  #: SYN
    OPEN_2 = 1  #: SYN-ACK
    OPEN_3 = 2  #: its acknowledgement
    CLOSE_1 = 3  #: the first FIN
    CLOSE_2 = 4  #: its acknowledgement
    CLOSE_3 = 5  #: the other FIN
    CLOSE_4 = 6  #: its acknowledgement
    CLOSE_2_3 = 7  #: one segment that is both
    SIMULTANEOUS_OPEN_1 = 8
    SIMULTANEOUS_OPEN_2 = 9
    SIMULTANEOUS_CLOSE_3 = 10
    RESET = 11  #: the RST that ended it


STEP_WORDS: tuple[str, ...] = (
    "open 1/3", "open 2/3", "open 3/3", "close 1/4", "close 2/4", "close 3/4", "close 4/4", "close 2+3/4",
    "simultaneous open 1/3", "simultaneous open 2/3", "simultaneous close 3/4", "reset",
)  # fmt: skip


class Handshake(enum.IntEnum):
    """How far the opening came."""

    COMPLETE = 0
    SYN_ONLY = 1
    SYN_ACK_ONLY = 2  #: the third segment is missing
    REFUSED = 3
    RESET = 4  #: reset between SYN-ACK and its acknowledgement
    SIMULTANEOUS = 5
    NOT_CAPTURED = 6


HANDSHAKE_WORDS: tuple[str, ...] = (
    "complete", "syn only", "syn-ack only", "refused", "reset", "simultaneous", "not captured",
)  # fmt: skip


class Close(enum.IntEnum):
    """How the connection ended."""

    ORDERLY = 0  #: both FINs, both acknowledged
    SIMULTANEOUS = 1  #: orderly, the FINs crossed
    HALF_CLOSED = 2  #: at least one FIN, but the close was not completed
    RESET = 3
    TIMED_OUT = 4  #: an end gave up
    STILL_OPEN = 5


CLOSE_WORDS: tuple[str, ...] = ("orderly", "simultaneous", "half-closed", "reset", "timed out", "still open")


class Role(enum.IntEnum):
    """What told which end is the client."""

    SYN = 0
    SYN_ACK = 1
    PORT = 2
    FIRST_SEEN = 3


ROLE_WORDS: tuple[str, ...] = ("syn", "syn-ack", "port", "first-seen")
ENDPOINT_WORDS: tuple[str, ...] = ("client", "server")


class Evidence(enum.IntEnum):
    """What is known of a state change at the end of the capture."""

    PROVEN = 0
    ASSUMED = 1
    REFUTED = 2


EVIDENCE_WORDS: tuple[str, ...] = ("proven", "assumed", "refuted")
