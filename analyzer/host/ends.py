"""The ends of the flows as the segments show them up to a moment: what a kernel's socket is held against."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

RACE_S = 0.05
"""A packet this near to the snapshot may have come after the kernel was asked, or before it was done with it."""

_ENDS = ("client", "server")

Key = tuple[str, int, str, int]
"""This end's address and port, the peer's address and port."""


class Step(NamedTuple):
    """How an end came to a state."""

    frame: int | None  #: NA for a timer
    at: float  #: seconds since 1970
    proof: int | None  #: the frame that proved it, where one did before the snapshot
    proof_at: float | None


@dataclasses.dataclass(slots=True)
class FlowEnd:
    """One end of the latest flow between two sockets, as the segments show it up to the snapshot."""

    number: int
    end: str
    third_ack: int | None
    state: str = "UNKNOWN"
    steps: dict[str, Step] = dataclasses.field(default_factory=dict)  #: by the state that each brought, the last time
    last_data: tuple[int, float] | None = None  #: received by this end: frame, time
    changing: bool = False  #: another state follows at once, within RACE_S after the snapshot

    def since(self, state: str) -> tuple[int | None, float | None]:
        """Return the frame that brought this state, and its time; nothing where the capture did not see it begin."""
        step = self.steps.get(state)
        return (None, None) if step is None else (step.frame, step.at)


def flow_ends(frames: Mapping[str, pd.DataFrame], now: float) -> dict[Key, FlowEnd]:
    """Return both ends of each flow by addresses and ports; of a port used again, the last flow before the snapshot."""
    flows, segments = frames["flows"], _Segments(frames["packets"], now)
    starts = seconds(flows["start"])
    numbers = flows.index.to_numpy()
    names = {end: [plain(address) for address in flows[end].tolist()] for end in _ENDS}
    ports = {end: flows[f"{end}_port"].tolist() for end in _ENDS}
    thirds = flows["open_3"].tolist()
    found: dict[Key, FlowEnd] = {}
    by_number: dict[tuple[int, str], FlowEnd] = {}
    begun = np.flatnonzero(starts <= now)
    for place in begun[np.argsort(starts[begun], kind="stable")].tolist():
        third = segments.early(thirds[place])
        for end, other in (_ENDS, _ENDS[::-1]):
            key = (names[end][place], int(ports[end][place]), names[other][place], int(ports[other][place]))
            flow = FlowEnd(int(numbers[place]), end, None if third is None else third[0])
            found[key] = by_number[flow.number, end] = flow
    _take_transitions(frames["transitions"], by_number, segments, now)
    for (number, end), last in segments.last_data().items():
        if (number, end) in by_number:
            by_number[number, end].last_data = last
    return found


def _take_transitions(
    transitions: pd.DataFrame, ends: dict[tuple[int, str], FlowEnd], segments: _Segments, now: float
) -> None:
    times = seconds(transitions["time"])
    near = times <= now + RACE_S
    columns = ["flow", "endpoint", "old", "new", "frame", "proven_by", "refuted_by"]
    for at, row in zip(times[near].tolist(), transitions.loc[near, columns].itertuples(index=False), strict=True):
        end = ends.get((int(row.flow), str(row.endpoint)))
        if end is None:
            continue
        if at > now:
            end.changing = True
            continue
        proof, proof_at = segments.early(row.proven_by) or (None, None)
        end.steps[str(row.new)] = Step(None if absent(row.frame) else int(row.frame), at, proof, proof_at)
        end.state = str(row.new if segments.early(row.refuted_by) is None else row.old)  # refuted: it went back


class _Segments:
    """The rows of `packets`, asked by frame and by time."""

    def __init__(self, packets: pd.DataFrame, now: float) -> None:
        self._numbers = packets.index.to_numpy()
        self._times = seconds(packets["time"])
        self._flows = packets["flow"].to_numpy()
        self._data = packets["length"].to_numpy() > 0
        self._to_server = packets["from_client"].to_numpy()
        self._now = now

    def early(self, frame: Any) -> tuple[int, float] | None:
        """Return a frame and its time, if it had passed when the kernel was asked."""
        if absent(frame):
            return None
        place = int(np.searchsorted(self._numbers, frame))
        if place == len(self._numbers) or self._numbers[place] != frame or self._times[place] > self._now:
            return None
        return int(frame), float(self._times[place])

    def last_data(self) -> dict[tuple[int, str], tuple[int, float]]:
        """Return the last segment with data that each end received: frame, time."""
        found = {}
        for end, mine in (("server", self._to_server), ("client", ~self._to_server)):
            places = np.flatnonzero(mine & self._data & (self._times <= self._now))
            last = dict(zip(self._flows[places].tolist(), places.tolist(), strict=True))
            for flow, place in last.items():
                found[flow, end] = int(self._numbers[place]), float(self._times[place])
        return found


def plain(address: Any) -> str:
    """Write IPv4 as IPv4, also at an IPv6 socket; IPv6 as RFC 5952 has it."""
    text = str(address)
    if ":" not in text:
        return text
    try:
        number = ipaddress.IPv6Address(text.split("%", maxsplit=1)[0])
    except ValueError:
        return text
    return str(number.ipv4_mapped or number)


def absent(value: Any) -> bool:
    """Whether this is None, NA, NaT or NaN."""
    return value is None or value is pd.NA or value is pd.NaT or value != value  # noqa: PLR0124  # NaN


def seconds(times: pd.Series[Any]) -> Any:
    """Turn times into seconds since 1970."""
    return times.dt.tz_localize(None).to_numpy("datetime64[ns]").astype(np.int64) * 1e-9
