"""What the live screen shows, as a model that knows nothing of terminals.

``Board`` is given what is new of the packets (``frames.standing``) and the kernel's sockets as of the last snapshot, beside
the flows; it keeps a slot for each connection that is open or has just ended, notices which states changed, counts sockets
by state, and ranks each connection's trouble. All of it is done for all connections at once; a ``Row``, with texts, is made
only of those that are shown.

Times here are seconds since 1970, as the caller's clock has them. A connection that both ends have closed stays for
``ENDED_S``, then its slot is given back: hours of running take no more memory than there are connections at one time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.frames.vocabulary import ANOMALY_KINDS, ENDPOINTS, STATES
from analyzer.tracker.states import State
from analyzer.views import trouble
from analyzer.views.history import History
from analyzer.views.newest import NewestAnomalies
from analyzer.views.slots import NOBODY, Slots

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.frames.standing import Standing

Array = npt.NDArray[Any]

MARKED_S = 2.0
"""So long a change is marked, as TCPView does."""

ENDED_S = 60.0
"""So long a connection is shown after both ends have closed."""

RATE_S = 2.0
"""What a rate looks back upon: what was sent so long ago counts a third."""

_LOW = (1 << 31) - 1

_GONE = (State.UNKNOWN, State.CLOSED, State.LISTEN)
_UNCOUNTED = (State.UNKNOWN, State.CLOSED, State.LISTEN)  # LISTEN is counted by listener
# A SYN, SYN-ACK, FIN or data that came again.
_AGAIN = np.array([kind.endswith(("retransmitted", "retransmission")) for kind in ANOMALY_KINDS])
_UNANSWERED = trouble.RANK["anomaly", "syn-unanswered"]
_LASTING = [(State[row.name], rank) for rank, row in enumerate(trouble.ORDER) if row.of == "state"]


class _Alone(NamedTuple):
    """The sockets of which the capture saw nothing: addresses and ports in two numbers, and the slots that they have."""

    keys: Array
    places: Array


class Board:
    """What is known now.

    Parameters
    ----------
    own : collection of str
        This host's addresses; those that the capture tells are added.
    """

    def __init__(self, own: Collection[str] = ()) -> None:
        self.slots = Slots()
        self.history = History()
        self.now = 0.0
        self.segments = 0
        self.addresses: list[str] = []
        self._own_words = frozenset(own)
        self._own = np.zeros(0, np.bool_)
        self._numbers: dict[str, int] = {}  # of the addresses that only the kernel has, from -1 downwards
        self._others: list[str] = []
        self._flow_numbers = np.zeros(0, np.int32)  # of each place that the tracker has
        self._real = np.zeros(0, np.int64)  # the places that have one
        self._slot_of = np.zeros(0, np.int32)  # of each place
        self._listening: set[tuple[str, int]] = set()
        self.newest = NewestAnomalies()
        self._sockets: pd.DataFrame | None = None
        self._alone = _Alone(np.zeros((2, 0), np.int64), np.zeros(0, np.int64))

    # ------------------------------------------------------------------------------------------------- what comes in

    def update(self, standing: Standing, sockets: pd.DataFrame, now: float) -> None:
        """Take in what is new: of the packets, and the kernel's sockets beside them.

        sockets: rows of `live_sockets`, of the last snapshot: the same object again is none new, no rows are none at all.
        """
        elapsed, self.now = max(now - self.now, 1e-3) if self.now else 1.0, now
        self.segments = standing.segments
        if standing.anew:
            self._move(standing)
        self._learn(standing)
        self._take_flows(standing, elapsed)
        self._end_by_timers()
        self._take_anomalies(standing.anomalies)
        if sockets is not self._sockets and (len(sockets) or self._sockets is not None):
            self._take_sockets(sockets)
        self._notice_ends()
        self._rank()
        self.history.add(now, self.counts(), self.kernel_counts())

    def _move(self, standing: Standing) -> None:
        """Find the connections again at their new places; those that the session has let go of are gone."""
        slots, used = self.slots, self.slots.in_use()
        used = used[slots["flow"][used] >= 0]
        numbers = self._flow_numbers[slots["flow"][used]]
        real = np.flatnonzero(standing.numbers >= 0)
        at = np.searchsorted(standing.numbers[real], numbers)
        places = np.append(real, NOBODY)[at]
        found = (places >= 0) & (np.append(standing.numbers, NOBODY)[places] == numbers)
        self._slot_of = np.full(len(standing.numbers), NOBODY, np.int32)
        slots["flow"][used] = np.where(found, places, NOBODY)
        self._slot_of[places[found]] = used[found]
        slots.give_back(used[~found])
        self.addresses, self._own = [], np.zeros(0, np.bool_)

    def _learn(self, standing: Standing) -> None:
        """Learn the new addresses, and where the connections are."""
        self.addresses += standing.addresses
        said = [text in self._own_words for text in standing.addresses]
        own = np.concatenate([self._own, np.array(said, np.bool_)])
        self._own = own | standing.local[: len(own)]
        self._flow_numbers, self._real = standing.numbers, np.flatnonzero(standing.numbers >= 0)
        more = np.full(max(0, len(standing.numbers) - len(self._slot_of)), NOBODY, np.int32)
        self._slot_of = np.concatenate([self._slot_of, more])

    def _take_flows(self, standing: Standing, elapsed: float) -> None:
        slots, columns = self.slots, standing.flows
        real = standing.numbers[columns["flow"]] >= 0
        flows = columns["flow"][real]
        places = self._slot_of[flows].astype(np.int64)
        fresh = np.flatnonzero(places < 0)
        places[fresh] = taken = slots.new(len(fresh))
        self._slot_of[flows[fresh]] = taken
        slots["noticed"][taken] = self.now
        first = np.zeros(len(places), np.bool_)
        first[fresh] = True
        earlier = columns["start_ns"][real] < (self.now - elapsed - RATE_S) * 1e9  # its rate until now nobody saw
        keep = np.exp(-elapsed / RATE_S)
        for end in ENDPOINTS:
            rate = slots[f"{end}_rate"]
            rate *= keep
            octets = columns[f"{end}_bytes"][real]
            more = octets - np.where(first, np.where(earlier, octets, 0), slots[f"{end}_bytes"][places])
            rate[places] += more / elapsed * (1 - keep)
            older = first & (earlier | columns["midstream"][real])
            self._change(end, places, columns[f"{end}_state"][real].astype(np.int8), ~first, older)
        rtt = columns["rtt"][real]
        known = ~np.isnan(rtt)
        slots["rtt"][places[known]] = rtt[known]
        for name, values in columns.items():
            if name not in ("rtt", "client_state", "server_state", "answered"):
                slots[name][places] = values[real]
        known = slots["flow"] >= 0
        forged = known & (np.append(standing.numbers, 0)[slots["flow"]] < 0)  # it has turned out to be none
        self._let_go(np.flatnonzero(forged))
        answered = real & columns["answered"]
        servers = zip(columns["server"][answered].tolist(), columns["server_port"][answered].tolist(), strict=True)
        self._listening.update((self.addresses[address], port) for address, port in set(servers))

    def _change(self, end: str, places: Array, states: Array, mark: Array | bool, older: Array | bool = False) -> None:
        """Set the states of these slots' ends, and mark those that changed; older: nobody saw the state begin."""
        slots = self.slots
        old = slots[f"{end}_state"][places]
        moved = old != states
        changed = places[moved]
        slots[f"{end}_since"][changed] = self.now
        slots[f"{end}_older"][changed] = np.broadcast_to(older, places.shape)[moved]
        shown = np.broadcast_to(mark, places.shape)[moved]
        slots[f"{end}_before"][changed] = np.where(shown, old[moved], NOBODY)
        slots[f"{end}_state"][changed] = states[moved]

    def _end_by_timers(self) -> None:
        """What no packet ends: TIME_WAIT, and attempts that were given up (tracker/timers.py says when)."""
        now_ns = int(self.now * 1e9)
        for end in ENDPOINTS:
            deadline = self.slots[f"{end}_deadline_ns"]
            due = np.flatnonzero((deadline != 0) & (deadline <= now_ns))
            tried = due[self.slots[f"{end}_state"][due] == State.SYN_SENT]
            self.slots["stays"][tried] = np.minimum(self.slots["stays"][tried], _UNANSWERED)
            self._change(end, due, np.full(len(due), State.CLOSED, np.int8), True)
            deadline[due] = 0

    def _take_anomalies(self, frame: pd.DataFrame) -> None:
        slots = self.slots
        worth = self.newest.add(frame)
        worth = worth[worth["flow"].notna()]
        if not len(worth):
            return
        places = self._places(worth["flow"].to_numpy(np.int64))
        again = _AGAIN[worth["kind"].cat.codes.to_numpy()] & (places >= 0)
        again &= ~worth["frame"].where(again).duplicated().to_numpy()  # a FIN with data is one segment
        np.add.at(slots["retransmitted"], places[again], 1)
        ranks = np.array([trouble.RANK.get(("anomaly", kind), trouble.NONE) for kind in ANOMALY_KINDS], np.int16)
        found = ranks[worth["kind"].cat.codes.to_numpy()]
        here = (places >= 0) & (found < trouble.NONE)
        places, found = places[here], found[here]
        passes = np.array([row.passes for row in trouble.ORDER], np.bool_)[found]
        _lower(slots["stays"], places[~passes], found[~passes])
        places, found = places[passes], found[passes]
        old = slots["passing_at"][places] < self.now - trouble.PASSES_S
        slots["passing"][places[old]] = trouble.NONE
        _lower(slots["passing"], places, found)
        again = slots["passing"][places] == found  # the worst of the lately seen counts on
        slots["passing_at"][places[again]] = self.now

    def _take_sockets(self, frame: pd.DataFrame) -> None:
        """Lay the kernel's snapshot beside the flows; sockets of which the capture saw nothing get slots of their own."""
        slots = self.slots
        self._sockets = frame
        for end in ENDPOINTS:
            slots[f"{end}_joined"][:] = slots[f"{end}_kernel"][:] = NOBODY
        known = frame["flow"].notna().to_numpy()
        rows = np.flatnonzero(known)
        places = self._places(frame["flow"].to_numpy(np.int64, na_value=NOBODY)[rows])
        endpoint, kernel = (frame[name].cat.codes.to_numpy() for name in ("endpoint", "kernel_state"))
        for code, end in enumerate(ENDPOINTS):
            mine = (endpoint[rows] == code) & (places >= 0)
            slots[f"{end}_joined"][places[mine]] = rows[mine]
            slots[f"{end}_kernel"][places[mine]] = kernel[rows[mine]]
        connected = frame["peer_address"].notna().to_numpy()
        self._take_alone(frame, np.flatnonzero(~known & connected & (kernel >= 0)), kernel)

    def _take_alone(self, frame: pd.DataFrame, rows: Array, kernel: Array) -> None:
        """Give the connections of which the capture saw nothing slots of their own; each keeps the one it has.

        The end whose port somebody listens on is the server. Where both ends are on this host, two sockets are one row.
        """
        slots, before, some = self.slots, self._alone, frame.iloc[rows]
        here, there = (self._address_numbers(some[name]) for name in ("address", "peer_address"))
        port, peer = (some[name].to_numpy(np.int64) for name in ("port", "peer_port"))
        serves = np.isin(port, frame["port"].to_numpy()[kernel == State.LISTEN])
        client, server = np.where(serves, there, here), np.where(serves, here, there)
        client_port, server_port = np.where(serves, peer, port), np.where(serves, port, peer)
        keys = np.stack([client << 32 | server & _LOW, client_port << 16 | server_port])
        group = _groups(np.concatenate([before.keys, keys], axis=1))
        earlier, group = group[: len(before.places)], group[len(before.places) :]
        different, once, which = np.unique(group, return_index=True, return_inverse=True)
        known = np.full(len(earlier) + len(group) + 1, NOBODY)
        known[earlier] = before.places
        places = known[different]
        fresh = places < 0
        places[fresh] = slots.new(int(fresh.sum()))
        slots["noticed"][places[fresh]] = self.now
        self._let_go(before.places[~np.isin(earlier, different)])
        self._alone = _Alone(keys[:, once], places)
        slots["client"][places], slots["client_port"][places] = client[once], client_port[once]
        slots["server"][places], slots["server_port"][places] = server[once], server_port[once]
        for end, mine in (("client", ~serves), ("server", serves)):
            own, state = places[which[mine]], kernel[rows[mine]]
            slots[f"{end}_joined"][own], slots[f"{end}_kernel"][own] = rows[mine], state
            self._change(end, own, state, ~fresh[which[mine]], fresh[which[mine]])

    def _address_numbers(self, column: pd.Series[Any]) -> Array:
        """Return for each row the number of its address."""
        different, codes = np.unique(column.cat.codes.to_numpy(), return_inverse=True)
        numbers = [self._number(text) for text in column.cat.categories[different]]
        return np.array(numbers, np.int64)[codes]

    def _number(self, text: str) -> int:
        """A number for an address that the kernel has; its text is looked up by it."""
        number = self._numbers.get(text)
        if number is None:
            self._others.append(text)
            number = self._numbers[text] = -len(self._others)
        return number

    def _notice_ends(self) -> None:
        slots, used = self.slots, self.slots.in_use()
        over = np.isin(slots["client_state"][used], _GONE) & np.isin(slots["server_state"][used], _GONE)
        over &= slots["flow"][used] != NOBODY  # the kernel's sockets end by not being there
        ended = slots["ended"]
        now_over = used[over]
        ended[now_over] = np.minimum(ended[now_over], self.now)
        ended[used[~over]] = np.inf
        self._let_go(used[ended[used] < self.now - ENDED_S])

    def _let_go(self, places: Array) -> None:
        flows = self.slots["flow"][places]
        self._slot_of[flows[flows >= 0]] = NOBODY
        self.slots.give_back(places)

    # -------------------------------------------------------------------------------------------------- what it says

    def _rank(self) -> None:
        """Find the worst that is true of each connection now."""
        slots = self.slots
        worst = slots["stays"].copy()
        lately = slots["passing_at"] >= self.now - trouble.PASSES_S
        worst[lately] = np.minimum(worst, slots["passing"])[lately]
        for end in ENDPOINTS:
            lasts = slots[f"{end}_since"] < self.now - trouble.LASTING_S
            for state, rank in _LASTING:
                of = lasts & (slots[f"{end}_state"] == state)
                worst[of] = np.minimum(worst[of], rank)
            if self._sockets is not None and len(self._sockets):
                verdicts = self._sockets["verdict"].cat
                ranks = [trouble.RANK.get(("verdict", name), trouble.NONE) for name in verdicts.categories]
                row = slots[f"{end}_joined"]
                said = np.array([*ranks, trouble.NONE], np.int16)[verdicts.codes.to_numpy()[row]]  # code -1: NA
                worst = np.where(row >= 0, np.minimum(worst, said), worst)
        slots["trouble"][:] = worst

    def counts(self) -> Array:
        """Count sockets by state, from the packets: the ends on this host, or both where none is known to be."""
        slots, used = self.slots, self.slots.in_use()
        used = used[slots["flow"][used] != NOBODY]
        counts = np.zeros(len(STATES), np.int64)
        local = self.local_known
        for end in ENDPOINTS:
            mine = used[self._own[slots[end][used]]] if local else used
            counts += np.bincount(slots[f"{end}_state"][mine], minlength=len(STATES))
        counts[list(_UNCOUNTED)] = 0
        own = {self.addresses[number] for number in np.flatnonzero(self._own).tolist()} | self._own_words
        counts[State.LISTEN] = sum(not local or address in own for address, _ in self._listening)
        return counts

    @property
    def local_known(self) -> bool:
        """Whether any address of the capture is known to be this host's."""
        return bool(self._own.any())

    def kernel_counts(self) -> Array | None:
        """Count the kernel's sockets by state; None where it was not asked."""
        if self._sockets is None:
            return None
        codes = self._sockets["kernel_state"].cat.codes.to_numpy()
        counts = np.bincount(codes[codes >= 0], minlength=len(STATES))
        counts[[State.UNKNOWN, State.CLOSED]] = 0
        return counts

    # ------------------------------------------------------------------------------------------------ what is asked

    def number(self, flow: int) -> int:
        """Return the number that a connection has in the frames."""
        return int(self._flow_numbers[flow])

    def _places(self, numbers: Array) -> Array:
        """Return the slots of the flows that have these numbers in the frames; NOBODY where they have none."""
        at = np.searchsorted(self._flow_numbers[self._real], numbers)
        flows = np.append(self._real, NOBODY)[at]
        found = (flows >= 0) & (np.append(self._flow_numbers, NOBODY)[flows] == numbers)
        return np.where(found, np.append(self._slot_of, NOBODY)[flows], NOBODY).astype(np.int64)

    def between(self, one: tuple[str, int], other: tuple[str, int]) -> list[int]:
        """Return the slots of the connections between two ends, whichever is the client."""
        slots, used = self.slots, self.slots.in_use()
        ports = np.stack([slots["client_port"][used], slots["server_port"][used]])
        asked = np.array([[one[1]], [other[1]]])
        places = used[(ports == asked).all(axis=0) | (ports == asked[::-1]).all(axis=0)].tolist()
        return [
            place
            for place in places
            if {one, other}
            == {(self.address(int(slots[end][place])), int(slots[f"{end}_port"][place])) for end in ENDPOINTS}
        ]

    def address(self, number: int) -> str:
        """Return an address's text."""
        return self.addresses[number] if number >= 0 else self._others[-1 - number]

    def socket(self, row: int) -> dict[Any, Any]:
        """Return what the kernel's snapshot has in a row, NA as None; nothing for NOBODY."""
        if row < 0 or self._sockets is None:
            return {}
        said = self._sockets.iloc[row].to_dict()
        return {name: None if str(value) in ("<NA>", "nan", "NaT") else value for name, value in said.items()}

    def of_sockets(self, name: str) -> tuple[list[str], Array]:
        """Return the words of a column of the kernel's snapshot, and each row's code; -1 for none."""
        if self._sockets is None:
            return [], np.zeros(0, np.int8)
        column = self._sockets[name].cat
        return column.categories.tolist(), column.codes.to_numpy()

    def pids(self) -> Array:
        """Return the process numbers of the rows of the kernel's snapshot; -1 where nobody is known."""
        if self._sockets is None:
            return np.zeros(0, np.int64)
        found: Array = self._sockets["pid"].to_numpy(np.int64, na_value=NOBODY)
        return found


def _groups(keys: Array) -> Array:
    """Return a number for each column, the same for equal ones."""
    order = np.lexsort(keys)
    new = np.ones(len(order), np.bool_)
    new[1:] = (np.diff(keys[:, order], axis=1) != 0).any(axis=0)
    groups = np.empty(len(order), np.int64)
    groups[order] = np.cumsum(new) - 1
    return groups


def _lower(column: Array, places: Array, values: Array) -> None:
    """Set each place to the least of its value and these; a place may come several times."""
    np.minimum.at(column, places, values)
