"""Which connections the live screen lists, and in which order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.frames.vocabulary import ENDPOINTS, STATES
from analyzer.tracker.states import State
from analyzer.views import trouble

if TYPE_CHECKING:
    from analyzer.views.board import Board

Array = npt.NDArray[Any]


class Key(NamedTuple):
    """A way to sort: what is largest comes first, unless reversed."""

    name: str
    value: Callable[[Board, Array], Array]


def _addresses(board: Board, places: Array, end: str) -> Array:
    numbers = board.slots[end][places]
    different, codes = np.unique(numbers, return_inverse=True)
    order = np.argsort(np.array([board.address(int(number)) for number in different], object), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return -(rank[codes] << 16 | board.slots[f"{end}_port"][places])


def _processes(board: Board, places: Array) -> Array:
    """Each one's rank among the names, in the order of the alphabet; those without a name come last."""
    names, codes = board.of_sockets("process")
    order = np.argsort(np.array(names, object), kind="stable")
    rank = np.full(len(names) + 1, len(names))
    rank[order] = np.arange(len(names))
    best = np.full(len(places), len(names))
    for end in ENDPOINTS:
        row = board.slots[f"{end}_joined"][places]
        if len(codes):
            best = np.where(row >= 0, np.minimum(best, rank[codes[row]]), best)
    return -best


#: The life of a connection, most troublesome to leave in last: for sorting by state.
_STATE_ORDER = np.array([
    {State.UNKNOWN: 0, State.CLOSED: 1, State.LISTEN: 2, State.TIME_WAIT: 3, State.ESTABLISHED: 4, State.FIN_WAIT_2: 5,
     State.FIN_WAIT_1: 6, State.CLOSING: 7, State.LAST_ACK: 8, State.CLOSE_WAIT: 9, State.SYN_RCVD: 10,
     State.SYN_SENT: 11}[state]
    for state in State
])  # fmt: skip


def _states(board: Board, places: Array) -> Array:
    ranks = [_STATE_ORDER[board.slots[f"{end}_state"][places]] for end in ENDPOINTS]
    worst: Array = np.maximum(*ranks)
    return worst


def _round_trip(board: Board, places: Array) -> Array:
    latest, first = board.slots["rtt"][places], board.slots["irtt"][places]
    return np.nan_to_num(np.where(np.isnan(latest), first, latest), nan=-1.0)


def _both(name: str) -> Callable[[Board, Array], Array]:
    def value(board: Board, places: Array) -> Array:
        both: Array = board.slots[f"client_{name}"][places] + board.slots[f"server_{name}"][places]
        return both

    return value


KEYS: tuple[Key, ...] = (
    Key("trouble", lambda board, places: -board.slots["trouble"][places]),
    Key("start", lambda board, places: board.slots["start_ns"][places]),
    Key("latest", lambda board, places: board.slots["end_ns"][places]),
    Key("rate", _both("rate")),
    Key("octets", _both("bytes")),
    Key("rtt", _round_trip),
    Key("retransmitted", lambda board, places: board.slots["retransmitted"][places]),
    Key("state", _states),
    Key("client", lambda board, places: _addresses(board, places, "client")),
    Key("server", lambda board, places: _addresses(board, places, "server")),
    Key("process", _processes),
)
"""Newest, largest and worst first; names in the order of the alphabet."""


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for.

    Attributes
    ----------
    words : str
        A connection is listed if each word is in one of its addresses, the beginning of one of its states, in a process's
        name or in its trouble's, or is one of its ports or process numbers (a port also as ``:80``).
    key : str
        One of ``KEYS``.
    reverse : bool
        The other way round.
    ended : bool
        Whether to list those that are over, for a minute.
    """

    words: str = ""
    key: str = "trouble"
    reverse: bool = False
    ended: bool = True

    def of(self, board: Board) -> Array:
        """Return the slots of those listed, in their order."""
        slots, places = board.slots, board.slots.in_use()
        if not self.ended:
            places = places[slots["ended"][places] > board.now]
        for word in self.words.split():
            places = places[_matches(board, places, word.lower())]
        key = next(key for key in KEYS if key.name == self.key)
        value = key.value(board, places)
        # of the same value the newest first; the sockets without packets last
        order = np.lexsort((-slots["id"][places], -slots["end_ns"][places], value if self.reverse else -value))
        return places[order]


def _matches(board: Board, places: Array, word: str) -> Array:
    slots = board.slots
    found = np.zeros(len(places), np.bool_)
    number = word.removeprefix(":")
    state = word.upper().replace("-", "_")
    states = np.array([name.startswith(state) for name in STATES])
    troubles = np.array([word in row.name.lower() for row in trouble.ORDER] + [False])
    found |= troubles[slots["trouble"][places]]
    names, codes = board.of_sockets("process")
    named = np.array([*(word in name.lower() for name in names), False])
    pids = board.pids() if number.isdecimal() else None
    for end in ENDPOINTS:
        if number.isdecimal():
            found |= slots[f"{end}_port"][places] == int(number)
        else:
            found |= _in_addresses(board, slots[end][places], word)
        known = slots["flow"][places] >= 0
        found |= known & states[slots[f"{end}_state"][places]]
        kernel = slots[f"{end}_kernel"][places]
        found |= (kernel >= 0) & states[kernel]
        row = slots[f"{end}_joined"][places]
        if len(codes):
            found |= (row >= 0) & named[codes[row]]
            if pids is not None:
                found |= (row >= 0) & (pids[row] == int(number))
    return found


def _in_addresses(board: Board, numbers: Array, word: str) -> Array:
    different, codes = np.unique(numbers, return_inverse=True)
    there: Array = np.array([word in board.address(int(number)) for number in different], np.bool_)[codes]
    return there
