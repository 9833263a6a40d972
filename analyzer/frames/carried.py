"""What a flow that stays has of packets and flows that were let go of, and the numbers that frames show outside."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.flows.translation import first_sights
from analyzer.frames import columns as c
from analyzer.frames import vocabulary as v
from analyzer.frames.forged import connections_of
from analyzer.tracker.anomalies import WITHDRAWN, Kind
from analyzer.tracker.packets import taken, widened

if TYPE_CHECKING:
    from analyzer.frames.parted import Taken
    from analyzer.frames.tracking import Tracking

Numbers = npt.NDArray[np.int32]


def _none() -> Numbers:
    return np.zeros(0, np.int32)


@dataclasses.dataclass(slots=True)
class Carried:
    """Of the first rows, which stayed: what they are linked to; and of some of them, what went of their own."""

    reused_from: Numbers = dataclasses.field(default_factory=_none)  #: numbers as frames show them, -1 none
    nat_of: Numbers = dataclasses.field(default_factory=_none)
    flows: Numbers = dataclasses.field(default_factory=_none)  #: the rows whose packets or anomalies went in part
    anomalies: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros((0, len(Kind)), np.int64))
    rtt: npt.NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros((0, 2)))  #: least, largest

    def of(self, flows: Taken) -> Carried:
        """Return it for the flows that are taken, whose links it knows all."""
        now = flows.moved(self.flows)
        here = now >= 0
        return Carried(
            self.reused_from[flows.rows], self.nat_of[flows.rows], now[here].astype(np.int32), self.anomalies[here],
            self.rtt[here],
        )  # fmt: skip

    def with_gone(self, flows: Numbers, anomalies: npt.NDArray[np.int64], rtt: npt.NDArray[np.float64]) -> Carried:
        """Return it with more that went: rows in ascending order, with the counts by kind and the round trips of each."""
        both = np.union1d(self.flows, flows)
        counts, times = np.zeros((len(both), len(Kind)), np.int64), np.full((len(both), 2), np.nan)
        for where, some, trips in ((self.flows, self.anomalies, self.rtt), (flows, anomalies, rtt)):
            at = np.searchsorted(both, where) if len(where) < len(both) else slice(None)
            counts[at] += some
            times[at, 0] = np.fmin(times[at, 0], trips[:, 0])
            times[at, 1] = np.fmax(times[at, 1], trips[:, 1])
        return dataclasses.replace(self, flows=both.astype(np.int32), anomalies=counts, rtt=times)


def linked(tracking: Tracking) -> Carried:
    """Return what is carried with the links of all flows, those that came since included."""
    connections, old, forged = tracking.connections, tracking.carried, tracking.forged()
    count = int(connections.counts[0])
    flows = connections.flows[:count]
    numbers = tracking.flow_numbers.of_first(count, forged)
    earlier = flows["earlier"]
    if count:
        earlier = np.where(earlier < 0, -1, connections_of(forged, flows)[earlier])
    twins = first_sights(flows, connections.ends[: 2 * count], tracking.table.pairs)
    found = []
    for links, before in ((earlier, old.reused_from), (twins, old.nat_of)):
        numbered = np.where(links >= 0, numbers[np.maximum(links, 0)], -1).astype(np.int32) if count else _none()
        known = numbered[: len(before)]
        known[:] = np.where(before >= 0, before, known)
        found.append(numbered)
    return dataclasses.replace(old, reused_from=found[0], nat_of=found[1])


def went(gone: Tracking) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Count the anomalies of each flow by kind, and find its least and largest round trip; it is concluded."""
    count = int(gone.connections.counts[0])
    log = gone.log.anomalies[: int(gone.log.counts[1])]
    log = log[(log["kind"] != WITHDRAWN) & (log["flow"] >= 0)]
    connection_of = connections_of(gone.forged(), gone.connections.flows[:count])
    places = connection_of[log["flow"]].astype(np.int64) * len(Kind) + log["kind"]
    counts = np.bincount(places, minlength=count * len(Kind)).reshape(count, len(Kind))
    rtt = np.full((count, 2), np.nan)
    some = taken(gone.columns, np.flatnonzero(gone.columns.rtt[: gone.rows]))
    time = widened(some, "rtt", len(some.rtt))
    np.fmin.at(rtt[:, 0], connection_of[some.flow], time)
    np.fmax.at(rtt[:, 1], connection_of[some.flow], time)
    return counts, rtt


def numbers_outside(tracking: Tracking) -> Numbers:
    """Return the number of each flow that has one, in the order of the frames: without those that forged SYNs opened."""
    count, forged = int(tracking.connections.counts[0]), tracking.forged()
    return tracking.flow_numbers.of_first(count, forged)[~forged]


def number_packets(plan: c.Plan, tracking: Tracking) -> None:
    """Give the rows of `packets` the numbers of their flows and streams."""
    if tracking.flow_numbers.as_they_are:
        return
    streams = tracking.stream_numbers.of_first(int(tracking.connections.counts[1]))
    plan.data["stream"] = streams[np.asarray(plan.data["stream"])]
    plan.data["flow"] = numbers_outside(tracking)[np.asarray(plan.data["flow"])]


def number_rows(rows: npt.NDArray[np.void], tracking: Tracking) -> None:
    """Give the log's rows the numbers of their flows; a clock step is of none."""
    if tracking.flow_numbers.as_they_are or not len(rows):
        return
    numbers = numbers_outside(tracking)
    rows["flow"] = np.where(rows["flow"] < 0, -1, numbers[np.maximum(rows["flow"], 0)])


def number_flows(plan: c.Plan, tracking: Tracking) -> c.Plan:
    """Give the rows of `flows` their numbers, their links, and what went of their own."""
    if tracking.flow_numbers.as_they_are:
        return plan
    forged, carried = tracking.forged(), linked(tracking)
    for name, links in (("reused_from", carried.reused_from), ("nat_of", carried.nat_of)):
        kept = links[~forged]
        plan.data[name] = c.integers(kept, kept < 0)
    _add_gone(plan, carried, forged)
    return plan._replace(row_index=c.indexed(numbers_outside(tracking).astype(np.int64), "flow"))


def _add_gone(plan: c.Plan, carried: Carried, forged: npt.NDArray[np.bool_]) -> None:
    """Add what went to each flow's counts; its median round trip is not known any more."""
    here = ~forged[carried.flows]
    at = (np.cumsum(~forged) - 1)[carried.flows[here]]
    for kind, name in enumerate(v.ANOMALY_KINDS):
        more = carried.anomalies[here][:, kind]
        if more.any():
            column: Any = np.array(plan.data[v.count_column(name)])
            column[at] += more.astype(column.dtype)
            plan.data[v.count_column(name)] = column
    for name, which, choose in (("rtt_min", 0, np.fmin), ("rtt_max", 1, np.fmax)):
        column = np.array(plan.data[name])
        column[at] = choose(column[at], carried.rtt[here][:, which])
        plan.data[name] = column
    median: Any = np.array(plan.data["rtt_median"])
    median[at] = np.nan
    plan.data["rtt_median"] = median
