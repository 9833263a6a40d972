"""How the connections stand now: what a screen asks for twice a second.

The frames of a session take the longer to make, the more it has seen. What is asked for again and again is this instead: of
the connections that something happened to since the last time their rows of ``flows`` and ``ends`` as they are now, and the
anomalies since then. Its cost is that of what is new. Nothing of it is decided anew: states, roles and numbers are the
tracker's, and timers that no packet ends are told by when they will have run out.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.flows.connection import MARK_MIDSTREAM, MARK_REFUSED
from analyzer.flows.table import SEEN_LOCAL, SEEN_LOOPBACK, SEEN_REMOTE
from analyzer.frames import packet_frame, row_frames
from analyzer.frames.addresses import AddressWords, address_words
from analyzer.frames.carried import number_packets, numbers_outside
from analyzer.frames.columns import made, words
from analyzer.frames.news import Reader
from analyzer.frames.vocabulary import ENDPOINTS
from analyzer.tracker import packets
from analyzer.tracker.packet_ends import ends_of_flows, ends_of_some
from analyzer.tracker.timers import deadlines, timers

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.capture.records import CaptureInfo
    from analyzer.flows.numbering import Numbering
    from analyzer.frames.tracking import Tracking

Array = npt.NDArray[Any]

_OF_ENDS = ("state", "proven", "bytes", "packets")


@dataclasses.dataclass(slots=True, eq=False)
class Follower(Reader):
    """How far somebody has come who asks for ``standing`` again and again; a new one has seen nothing."""

    transitions: int = 0
    addresses: int = 0
    numbering: Numbering | None = None  #: as it was: another one when rows were let go of, and all have new places


class Standing(NamedTuple):
    """What is new since somebody asked."""

    anew: bool
    """All connections and addresses are told again, and have other places than before: the first time, and after some were
    let go of."""
    segments: int  #: that came so far
    flows: dict[str, Array]
    """Columns of the connections that something happened to, named as in `flows`; ``flow`` is the place that the tracker has
    them at, ``client`` and ``server`` are places of addresses. ``*_deadline_ns``: when that end's state ends by a timer (0: by
    none); ``rtt``: the latest of the new segments, NaN where they show none; ``answered``: a SYN-ACK was seen; ``midstream``:
    it had begun before the capture."""
    numbers: Array  #: of each place the number in the frames; ascending, but for -1: what a forged SYN opened is no connection
    addresses: list[str]  #: texts of the new addresses, in the order of their places
    local: Array  #: of all addresses, whether the capture tells that they are this host's
    anomalies: pd.DataFrame  #: the new rows; their flow is a number


class OneFlow(NamedTuple):
    """One connection's own frames."""

    packets: pd.DataFrame  #: the last of its segments
    transitions: pd.DataFrame
    anomalies: pd.DataFrame
    segments: int  #: how many it has in all


def standing(tracking: Tracking, info: CaptureInfo, follower: Follower) -> Standing:
    """Tell what is new since the follower asked last; it has seen that then. The tracking has to stand still meanwhile."""
    connections, log, table = tracking.connections, tracking.log, tracking.table
    count, addresses = int(connections.counts[0]), int(table.counts[1])
    anew = follower.numbering is not tracking.flow_numbers
    if anew:
        follower.addresses = 0
        if follower not in tracking.readers:
            tracking.readers.append(follower)
    changed = np.full(count, anew)
    changed[tracking.columns.flow[follower.segments : tracking.rows]] = True
    if not anew:  # states that change without a segment of their own
        changed[log.transitions[follower.transitions : int(log.counts[0])]["flow"]] = True
        logged = log.anomalies[follower.troubles : int(log.counts[1])]["flow"]
        changed[logged[logged >= 0]] = True
    seen = table.addresses["seen"][:addresses]
    forged = tracking.forged()
    said = Standing(
        anew=anew,
        segments=tracking.rows + tracking.let_go.get("packets", 0),
        flows=_columns(tracking, np.flatnonzero(changed), follower.segments),
        numbers=np.where(forged, -1, tracking.flow_numbers.of_first(count, forged)),
        addresses=address_words(table.addresses[follower.addresses : addresses]).to_pylist(),
        local=(seen & SEEN_LOOPBACK != 0) | (seen & (SEEN_LOCAL | SEEN_REMOTE) == SEEN_LOCAL),
        anomalies=_anomalies(tracking, info, follower.troubles),
    )
    follower.segments, follower.troubles, follower.transitions = tracking.rows, int(log.counts[1]), int(log.counts[0])
    follower.addresses, follower.numbering = addresses, tracking.flow_numbers
    return said


def one_flow(tracking: Tracking, info: CaptureInfo, number: int, last: int) -> OneFlow:
    """Make the frames of one connection, by its number in the frames; of its segments the last so many."""
    moved = tracking.moved()
    count = int(tracking.connections.counts[0])
    outside = numbers_outside(tracking)
    mine = np.flatnonzero((outside if moved is None else outside[moved[0]])[:count] == number)
    rows = np.flatnonzero(np.isin(tracking.columns.flow[: tracking.rows], mine))
    shown = rows[max(0, len(rows) - last) :]
    columns = packets.taken(tracking.columns, shown)
    ends = ends_of_some(columns, len(shown), tracking.connections.flows, tracking.table.pairs)
    known = np.unique(np.concatenate([ends.source, ends.destination]))
    names = AddressWords(tracking.table.addresses[known])
    plan = packet_frame.packets(columns, len(shown), ends.renumbered(known), names, info, moved)
    number_packets(plan, tracking)
    return OneFlow(
        made(plan),
        _transitions(tracking, number, mine, moved),
        _anomalies(tracking, info, 0, number),
        len(rows),
    )


def _transitions(tracking: Tracking, number: int, mine: Array, moved: tuple[Array, Array] | None) -> pd.DataFrame:
    log, table = tracking.log, tracking.table
    rows = log.transitions[: int(log.counts[0])]
    rows = rows[np.isin(rows["flow"], mine)]
    everyone = AddressWords(table.addresses[: int(table.counts[1])])
    of_flows = ends_of_flows(tracking.connections.flows[: int(tracking.connections.counts[0])], table.pairs)
    frame = made(row_frames.transitions(rows, of_flows, everyone))
    endpoint = rows["endpoint"] if moved is None else rows["endpoint"] ^ moved[1][rows["flow"]]
    ends = words(endpoint.view(np.int8), ENDPOINTS)()  # a forged SYN's own rows say it from the other end
    return frame.assign(flow=np.full(len(rows), number, np.int32), endpoint=ends)


def _columns(tracking: Tracking, numbers: Array, since: int) -> dict[str, Array]:
    connections = tracking.connections
    flows = connections.flows[numbers]
    pairs = tracking.table.pairs[flows["pair"]]
    client_is_a = flows["client_side"] == 0
    columns: dict[str, Array] = {"flow": numbers}
    for name, mine, other in (("client", "a", "b"), ("server", "b", "a")):
        for field, suffix in (("address", ""), ("port", "_port")):
            columns[name + suffix] = np.where(client_is_a, pairs[f"{mine}_{field}"], pairs[f"{other}_{field}"])
    columns |= {"start_ns": flows["start_ns"], "end_ns": flows["end_ns"]}
    for place, end in enumerate(("client", "server")):
        places = 2 * numbers + place
        rows = connections.ends[places]
        columns |= {f"{end}_{name}": rows[name] for name in _OF_ENDS}
        columns[f"{end}_deadline_ns"] = deadlines(connections.ends, places, timers(tracking.settings))
    syn, third = flows["syn_ns"], flows["ack_ns"]
    columns["irtt"] = np.where((syn != 0) & (third != 0), (third - syn) * 1e-9, np.nan)
    columns["rtt"] = _round_trips(tracking, numbers, since)
    columns["answered"] = flows["open_2"] != 0
    columns["refused"] = flows["marks"] & MARK_REFUSED != 0
    columns["midstream"] = flows["marks"] & MARK_MIDSTREAM != 0
    return columns


def _round_trips(tracking: Tracking, numbers: Array, since: int) -> Array:
    """The latest round trip of each, among the segments since."""
    latest = np.full(len(numbers), np.nan)
    if packets.is_written(tracking.columns, "rtt"):
        rows = since + np.flatnonzero(tracking.columns.rtt[since : tracking.rows])
        found = packets.taken(tracking.columns, rows)
        latest[np.searchsorted(numbers, found.flow)] = packets.widened(found, "rtt", len(rows))  # the last one stays
    return latest


def _anomalies(tracking: Tracking, info: CaptureInfo, since: int, flow: int | None = None) -> pd.DataFrame:
    rows, icmp, causes, _ = tracking.new_anomalies(since)
    if flow is not None:
        mine = rows["flow"] == flow
        icmp, causes = (some[mine[some["anomaly"]]] for some in (icmp, causes))
        for some in (icmp, causes):
            some["anomaly"] = (np.cumsum(mine) - 1)[some["anomaly"]]
        rows = rows[mine]
    known, reporter = np.unique(icmp["reporter"], return_inverse=True)
    icmp["reporter"] = reporter
    return made(row_frames.anomalies(rows, icmp, causes, AddressWords(tracking.table.addresses[known]), info))
