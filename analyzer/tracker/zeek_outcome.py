"""Zeek's word for what became of a connection (conn/main.zeek: function conn_state), and its history spelled out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.kernel import kernel, part
from analyzer.tracker.zeek_connection import (
    CLOSED,
    ESTABLISHED,
    INACTIVE,
    PARTIAL,
    RESET,
    SHORT,
    STARTED,
    SYN_ACK_SENT,
    SYN_SENT,
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


@kernel
def conclude_words(words: Any, count: int, conn_state: Any, orig_side: Any) -> None:
    """Fill in each connection's conn_state (a place in CONN_STATES, -1 none) and the side of its originator."""
    for number in range(count):
        connection = words.connections[number]
        orig_side[number] = connection.orig_side
        conn_state[number] = -1
        if connection.bits & STARTED:
            conn_state[number] = _conn_state(number, connection, words)


@part
def _conn_state(number: int, connection: Any, words: Any) -> int:
    at_orig, at_resp = 2 * number + connection.orig_side, 2 * number + 1 - connection.orig_side
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

    conn_state: npt.NDArray[np.int8]  #: place in CONN_STATES, -1 none
    orig_side: npt.NDArray[np.uint8]  #: side of the pair that Zeek calls the originator
    connections: npt.NDArray[np.void]
    letters: npt.NDArray[np.uint8]

    def of(self, kept: npt.NDArray[np.bool_]) -> Said:
        """Those of some flows only."""
        return Said(self.conn_state[kept], self.orig_side[kept], self.connections[kept], self.letters)

    def spelled(self, number: int) -> str:
        """The history of one flow."""
        row = self.connections[number]
        more = self.letters[row["long"] - 1].tobytes() if row["long"] else b""
        return spelled(int(row["first"]), int(row["second"]), more)


def said(words: Words, count: int) -> Said:
    """What Zeek would say of each flow, as far as it has come."""
    conn_state, orig_side = np.empty(count, np.int8), np.empty(count, np.uint8)
    conclude_words(words, count, conn_state, orig_side)
    return Said(conn_state, orig_side, words.connections[:count], words.letters)
