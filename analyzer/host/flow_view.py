"""The flows of a session that goes on, as a snapshot of the sockets needs them: both ends of the newest flow of each pair.

Taken from the tracker's arrays while it stands still. What is needed of every flow is copied as arrays; how an end came to its
state is looked up only for those of which there is something to say.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.frames.addresses import address_words
from analyzer.frames.vocabulary import ENDPOINTS, STATES
from analyzer.host.end_keys import Numbers, mixed
from analyzer.host.ends import RACE_S, FlowEnd, Key, Step
from analyzer.tracker.timers import deadlines, timers

if TYPE_CHECKING:
    from analyzer.frames.tracking import Tracking
    from analyzer.tracker.packets import PacketColumns

CLOSED = STATES.index("CLOSED")
_CHUNK = 1 << 16
_SECOND = 1e-9


class FlowView(NamedTuple):
    """Row i is one end of a flow; sorted by key, and of ends with the same key the one that began last comes last."""

    keys: Numbers
    place: npt.NDArray[np.int64]  #: twice the flow's row in the tracker, plus one for the server's end
    state: npt.NDArray[np.int8]
    moving: npt.NDArray[np.bool_]  #: it changed its state at about the moment of the snapshot, or later


def flow_view(tracking: Tracking, at_ns: int) -> FlowView:
    """Return the ends of the flows that had begun by then. The tracking must stand still meanwhile."""
    connections, table = tracking.connections, tracking.table
    flows, ends = connections.flows, connections.ends
    count = int(table.counts[0])
    known = connections.pairs["flow"][:count]
    pair = np.flatnonzero(known)
    number = known[pair] - 1
    late = flows["start_ns"][number] > at_ns
    number = np.where(late, flows["earlier"][number], number)
    pair, number = pair[number >= 0], number[number >= 0]
    a_is_client = flows["client_side"][number] == 0
    keys = _keys(table.pairs[pair], a_is_client)
    place = np.concatenate([2 * number, 2 * number + 1]).astype(np.int64)
    state, deadline = ends["state"][place].astype(np.int8), deadlines(ends, place, timers(tracking.settings))
    state[(deadline != 0) & (deadline <= at_ns)] = CLOSED  # nothing ticks: the tracker sees it at the next segment
    moved = np.zeros(int(connections.counts[0]), np.bool_)
    moved[_moved_since(tracking, at_ns - int(RACE_S * 1e9))] = True
    order = np.lexsort((np.tile(flows["start_ns"][number], 2), keys))
    return FlowView(keys[order], place[order], state[order], moved[place[order] >> 1])


def _keys(pairs: npt.NDArray[np.void], a_is_client: npt.NDArray[np.bool_]) -> Numbers:
    """Return the keys of all clients' ends, then those of the servers'."""
    a, b = ((pairs[f"{side}_hi"], pairs[f"{side}_lo"], pairs[f"{side}_port"]) for side in "ab")
    from_a, from_b = mixed(*a, *b, pairs["version"]), mixed(*b, *a, pairs["version"])
    return np.concatenate([np.where(a_is_client, from_a, from_b), np.where(a_is_client, from_b, from_a)])


def _moved_since(tracking: Tracking, time_ns: int) -> npt.NDArray[np.int32]:
    """Return the flows that changed a state from then on; the log is in order of time but for some rows next to another."""
    end = int(tracking.log.counts[0])
    found = [np.zeros(0, np.int32)]
    while end > 0:
        rows = tracking.log.transitions[max(0, end - _CHUNK) : end]
        late = rows["time_ns"] >= time_ns
        if not late.any():
            break
        found.append(rows["flow"][late])
        end -= len(rows)
    return np.concatenate(found)


def find(view: FlowView, keys: Numbers) -> npt.NDArray[np.int64]:
    """Return the row of the view for each key, -1 where there is none."""
    at = np.searchsorted(view.keys, keys, side="right") - 1
    found = (at >= 0) & (len(view.keys) > 0)
    found[found] = view.keys[at[found]] == keys[found]
    return np.where(found, at, -1)


class Histories:
    """How some of the ends came to their states: what ``ends.flow_ends`` finds in frames, from the tracker's arrays.

    Parameters
    ----------
    tracking
        It must stand still while this is made; afterwards it may go on.
    places
        The ends that are asked for, as ``FlowView.place`` has them.
    at_ns
        The moment of the snapshot.
    """

    def __init__(self, tracking: Tracking, places: npt.NDArray[np.int64], at_ns: int) -> None:
        self._at_ns = at_ns
        self._columns: PacketColumns = tracking.columns
        self._rows = tracking.rows
        numbers = np.unique(places >> 1)
        wanted = np.zeros(int(tracking.connections.counts[0]), np.bool_)
        wanted[numbers] = True
        log = tracking.log.transitions[: int(tracking.log.counts[0])]
        self._log = log[wanted[log["flow"]]] if len(numbers) else log[:0].copy()
        self._flows = dict(zip(numbers.tolist(), tracking.connections.flows[numbers], strict=True))
        pairs = tracking.table.pairs[tracking.connections.flows["pair"][numbers]]
        self._pairs = dict(zip(numbers.tolist(), pairs, strict=True))
        self._texts = _texts(pairs, tracking)
        self._places = places
        self._numbers = tracking.flow_numbers.of_first(int(tracking.connections.counts[0]), tracking.forged())

    def ends(self) -> dict[int, FlowEnd]:
        """Return each end by its place."""
        found: dict[int, FlowEnd] = {}
        for place in self._places.tolist():
            third = self._early(int(self._flows[place >> 1]["open_3"]))
            number = int(self._numbers[place >> 1])
            found[place] = FlowEnd(number, ENDPOINTS[place & 1], None if third is None else third[0])
        names = ("flow", "endpoint", "time_ns", "frame", "old", "new", "proven_by", "refuted_by")
        for flow, endpoint, time_ns, frame, old, new, proof, refuted in zip(
            *(self._log[name].tolist() for name in names), strict=True
        ):
            end = found.get(2 * flow + endpoint)
            if end is None:
                continue
            if time_ns > self._at_ns:
                end.changing |= time_ns <= self._at_ns + int(RACE_S * 1e9)
                continue
            proven, proven_at = self._early(proof) or (None, None)
            end.steps[STATES[new]] = Step(frame or None, time_ns * _SECOND, proven, proven_at)
            end.state = STATES[new if self._early(refuted) is None else old]
        return found

    def key(self, place: int) -> Key:
        """Return the addresses and ports of an end."""
        flow, pair = self._flows[place >> 1], self._pairs[place >> 1]
        here, there = ("a", "b") if (place & 1 == 0) == (flow["client_side"] == 0) else ("b", "a")
        return (
            self._texts[int(pair[f"{here}_address"])],
            int(pair[f"{here}_port"]),
            self._texts[int(pair[f"{there}_address"])],
            int(pair[f"{there}_port"]),
        )

    def add_last_data(self, ends: dict[int, FlowEnd]) -> None:
        """Fill in the last segment with data that each of these ends received, looking back from the newest."""
        missing = set(ends)
        end = self._rows
        while missing and end > 0:
            begin = max(0, end - _CHUNK)
            flow, length = self._columns.flow[begin:end], self._columns.length[begin:end]
            mine = np.isin(flow, np.unique(np.fromiter(missing, np.int64) >> 1))
            mine &= (length > 0) & (self._columns.time_ns[begin:end] <= self._at_ns)
            for row in (begin + np.flatnonzero(mine)[::-1]).tolist():
                place = 2 * int(self._columns.flow[row]) + int(self._columns.from_client[row])
                if place in missing:
                    missing.discard(place)
                    ends[place].last_data = self._frame(row), float(self._columns.time_ns[row]) * _SECOND
            end = begin

    def _early(self, frame: int) -> tuple[int, float] | None:
        """Return a frame and its time, if it had passed when the kernel was asked; 0 is no frame."""
        if frame == 0:
            return None
        row = bisect.bisect_left(range(self._rows), frame, key=self._frame)
        if row == self._rows or self._frame(row) != frame or int(self._columns.time_ns[row]) > self._at_ns:
            return None
        return frame, float(self._columns.time_ns[row]) * _SECOND

    def _frame(self, row: int) -> int:
        return int(self._columns.frame_ahead[row]) + row + 1


def _texts(pairs: npt.NDArray[np.void], tracking: Tracking) -> dict[int, str]:
    numbers = np.unique(np.concatenate([pairs["a_address"], pairs["b_address"]]))
    return dict(zip(numbers.tolist(), address_words(tracking.table.addresses[numbers]).to_pylist(), strict=True))
