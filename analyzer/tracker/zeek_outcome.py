"""Zeek's word for what became of a connection (conn/main.zeek: function conn_state), and its history spelled out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.kernel import kernel, part
from analyzer.tracker.zeek import FEWEST_ROWS, forget
from analyzer.tracker.zeek_connection import (
    CLOSED,
    ESTABLISHED,
    FINISHED,
    INACTIVE,
    LONG,
    PARTIAL,
    RESET,
    SHORT,
    STARTED,
    SYN_ACK_SENT,
    SYN_SENT,
    TOLD,
)
from analyzer.tracker.zeek_history import BITS, LETTERS, RESPONDER, spelled
from analyzer.tracker.zeek_reassembly import size_of

if TYPE_CHECKING:
    from analyzer.tracker.zeek import Words

CONN_STATES = (
    *("S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR"),
    *("RSTOS0", "RSTRH", "SH", "SHR", "OTH"),
)
"""In the order of Zeek's manual."""

_S0, _S1, _SF, _REJ, _S2, _S3, _RSTO, _RSTR, _RSTOS0, _RSTRH, _SH, _SHR, _OTH = range(len(CONN_STATES))
_SYN, _ABORT, _FLIP = (LETTERS.index(letter) + 1 for letter in "SR^")
_ANSWERED = sum(1 << LETTERS.index(letter) + 1 for letter in "HAFGIQ")  # by code


def spare(words: Words) -> None:
    """Give back the rows of connections that Zeek has forgotten, if a quarter more are in use than were after the last time."""
    if words.counts[3] - words.counts[4] >= words.clock[1]:
        forget_closed(words)
        words.clock[1] = max(FEWEST_ROWS, 5 * (words.counts[3] - words.counts[4]) // 4)


@kernel
def forget_closed(words: Any) -> None:
    """Keep the words of each connection that Zeek has forgotten by now, and give back its row."""
    for row in range(words.counts[3]):
        connection = words.connections[row]
        if connection.bits & STARTED and connection.delete_ns != 0 and words.clock[0] >= connection.delete_ns:
            _tell(row, connection, words.told[connection.flow], words)
            words.rows[connection.flow] = 0
            _give_back(row, words)


@kernel
def give_back(rows: Any, words: Any) -> None:
    """Give back rows of flows that are no more; their words go too."""
    for i in range(len(rows)):
        _give_back(rows[i], words)


@part
def _give_back(row: Any, words: Any) -> None:
    forget(row, words)
    words.connections[row].long = 0
    words.free[words.counts[4]] = row
    words.counts[4] += 1


@kernel
def conclude_words(words: Any, told: Any) -> None:
    """Fill in the words of all connections that are not forgotten; told: those of the others, by flow."""
    for number in range(len(told)):
        row = words.rows[number] - 1
        if row >= 0 and words.connections[row].bits & STARTED:
            _tell(row, words.connections[row], told[number], words)


@part
def _tell(row: int, connection: Any, told: Any, words: Any) -> None:
    told.first, told.second, told.long, told.length = (
        connection.first,
        connection.second,
        connection.long,
        connection.length,
    )
    told.conn_state = _conn_state(row, connection, words) + 1
    told.orig_side = connection.orig_side
    told.finished = connection.bits & FINISHED != 0


@part
def _conn_state(row: int, connection: Any, words: Any) -> int:
    at_orig, at_resp = 2 * row + connection.orig_side, 2 * row + 1 - connection.orig_side
    orig, resp = words.ends[at_orig], words.ends[at_resp]
    os, rs = orig.state, resp.state
    o_inactive = os == INACTIVE or os == PARTIAL
    r_inactive = rs == INACTIVE or rs == PARTIAL
    if rs == RESET:
        sizes = size_of(orig, resp, words.lines[at_orig]) + size_of(resp, orig, words.lines[at_resp])
        if os == SYN_SENT or os == SYN_ACK_SENT or (os == RESET and sizes == 0):
            return _REJ
        return _RSTRH if o_inactive else _RSTR
    if os == RESET:
        if not r_inactive:
            return _RSTO
        return _RSTOS0 if _is_aborted_attempt(connection, words) else _OTH
    if rs == CLOSED and os == CLOSED:
        return _SF
    if os == CLOSED:
        return _SH if r_inactive else _S2
    if rs == CLOSED:
        return _SHR if o_inactive else _S3
    if os == SYN_SENT and rs == INACTIVE:
        return _S0
    if os == ESTABLISHED and rs == ESTABLISHED:
        return _S1
    return _OTH


@part
def _is_aborted_attempt(connection: Any, words: Any) -> bool:
    r"""Whether the history is like /\^?S[^HAFGIQ]*R.*/."""
    at = 0
    if _code(0, connection, words) == _FLIP:
        at = 1
    if _code(at, connection, words) != _SYN:
        return False
    for place in range(at + 1, connection.length):
        code = _code(place, connection, words)
        if code == _ABORT:
            return True
        if code < RESPONDER and (1 << code) & _ANSWERED:
            return False
    return False


@part
def _code(place: int, connection: Any, words: Any) -> Any:
    """The letter's code; 0 after the end."""
    half = SHORT // 2
    if place < half:
        return np.int64((connection.first >> np.uint64(BITS * place)) & np.uint64(31))
    if place < SHORT:
        return np.int64((connection.second >> np.uint64(BITS * (place - half))) & np.uint64(31))
    return np.int64(words.letters[connection.long - 1, place - SHORT]) if place < connection.length else 0


class Said(NamedTuple):
    """Zeek's words, an element a flow."""

    told: npt.NDArray[np.void]  #: TOLD
    letters: npt.NDArray[np.uint8]

    @property
    def conn_state(self) -> npt.NDArray[np.int8]:
        """Places in CONN_STATES, -1 none."""
        places: npt.NDArray[np.int8] = self.told["conn_state"] - np.int8(1)
        return places

    @property
    def orig_side(self) -> npt.NDArray[np.uint8]:
        """Sides of the pair that Zeek calls the originator."""
        sides: npt.NDArray[np.uint8] = self.told["orig_side"]
        return sides

    def of(self, kept: npt.NDArray[np.bool_]) -> Said:
        """Those of some flows only."""
        return Said(self.told[kept], self.letters)

    def spelled(self, number: int) -> str:
        """The history of one flow."""
        row = self.told[number]
        more = self.letters[row["long"] - 1].tobytes() if row["long"] else b""
        return spelled(int(row["first"]), int(row["second"]), more)


def nothing_said() -> Said:
    """Of no flows."""
    return Said(np.zeros(0, TOLD), np.zeros((0, LONG), np.uint8))


def said(words: Words, count: int) -> Said:
    """What Zeek would say of each flow, as far as it has come."""
    told = words.told[:count].copy()
    conclude_words(words, told)
    return Said(told, words.letters)
