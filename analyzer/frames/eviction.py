"""What a session lets go of, so that hours of running keep its memory flat, and in which order.

Nothing goes before there are as many packets or flows as ``Settings.live_packets`` and ``live_flows`` say. Then go

1. flows that are over: both ends CLOSED (TIME_WAIT over), and silent for ``Settings.closed_s``, with all their packets;
2. if there are still more flows than half the limit, those that have been silent longest, closed ones before open ones;
3. if there are still more packets than half the limit, the oldest packets, of open flows too: their flows stay, with all
   counts but the median round trip; and of transitions and anomalies the oldest, down to as many.

What went is counted in ``Analysis.capture.let_go``; with a folder to save to it is written there, and nothing is lost. A
connection that goes on after its flow went is a new flow, as in a capture that begins midstream; a port used again after that
is no ``port-reused``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.flows.connection import MARK_FORGED
from analyzer.flows.copies import WINDOW
from analyzer.frames import forged as forged_flows
from analyzer.frames.carried import linked, went
from analyzer.frames.parted import TRANSITION_ROWS, Mask, Selection, move_up, selection, take
from analyzer.tracker.states import State

if TYPE_CHECKING:
    from analyzer.frames.tracking import Tracking

_OVER = np.array([state in (State.UNKNOWN, State.CLOSED, State.LISTEN) for state in State])
_FEWEST = WINDOW  #: packets that always stay: copies are looked for among them


def is_due(tracking: Tracking) -> bool:
    """Whether there is so much that something must go."""
    most = _most_packets(tracking)
    return (
        tracking.rows >= most
        or int(tracking.connections.counts[0]) >= tracking.settings.live_flows
        or bool((tracking.log.counts[:2] >= most).any())
    )


def _most_packets(tracking: Tracking) -> int:
    return max(tracking.settings.live_packets, 2 * _FEWEST)


def let_go(tracking: Tracking, *, wanted: bool = True) -> Tracking | None:
    """Take out what goes, between two batches; returns it, concluded, ready for its frames.

    Of flows that stay it has packets and anomalies; ``Tracking.guests`` marks them. None where nothing may go, or what goes
    is not wanted.
    """
    most = _most_packets(tracking)
    count, rows = int(tracking.connections.counts[0]), tracking.rows
    forged, rows_of_flows = tracking.forged(), tracking.connections.flows[:count]
    connection_of = forged_flows.connections_of(forged, rows_of_flows)
    rows_of_flows["earlier"][forged] = connection_of[forged]  # so that others of its kind may go
    flows = _flows_to_go(tracking, tracking.settings.live_flows, forged, connection_of)
    flow_of = tracking.columns.flow[:rows]
    packets = flows[flow_of] if count else np.zeros(rows, np.bool_)
    left = np.flatnonzero(~packets)
    over = len(left) - most // 2 if rows >= most else 0
    before = 0
    if over > 0:
        packets[left[:over]] = True
        before = int(left[over - 1] + 1 + tracking.columns.frame_ahead[left[over - 1]])
    transitions = _transitions_to_go(tracking, flows, most)
    anomalies = _anomalies_to_go(tracking, flows, most, before)
    if not (flows.any() or packets.any() or transitions.any() or anomalies.any()):
        return None
    guests = np.zeros(count, np.bool_)
    guests[flow_of[packets]] = True
    for of in (tracking.log.transitions["flow"][: len(transitions)][transitions],
               tracking.log.anomalies["flow"][: len(anomalies)][anomalies]):  # fmt: skip
        guests[of[of >= 0]] = True
    guests[connection_of[flows | guests]] = True
    guests &= ~flows
    links = linked(tracking)
    parted = wanted or bool(guests.any())
    gone = _gone(tracking, flows, guests, (packets, transitions, anomalies), links) if parted else None
    kept = selection(tracking, ~flows, ~packets, ~transitions, ~anomalies, living=True)
    _count(tracking, int(packets.sum()), flows)
    carried = links.of(kept.flows)
    if gone is not None and guests.any():
        own = kept.flows.moved(np.flatnonzero(guests & ~forged)).astype(np.int32)
        counts, rtt = went(gone)
        carried = carried.with_gone(own, counts[gone.guests], rtt[gone.guests])
    rest = take(tracking, kept, living=True)
    rest.carried = carried
    _stay_newest(rest)
    _move_sights(tracking, kept)
    for reader in tracking.readers:
        unread = rows - reader.segments
        reader.segments = int(np.searchsorted(kept.rows.rows, reader.segments))
        reader.missed += unread - (len(kept.rows.rows) - reader.segments)
        reader.troubles = int(np.searchsorted(kept.anomalies.rows, reader.troubles))
    tracking.become(rest)
    return gone if wanted else None


def compile_kernels() -> None:
    """Run on nothing what letting go runs, so that it is compiled before packets wait for it."""
    from analyzer.frames.tracking import Tracking

    tracking = Tracking()
    nothing = np.zeros(0, np.bool_)
    move_up(np.zeros((1, 1), np.uint8), np.zeros(0, np.int64))
    for living in (False, True):
        taken = take(tracking, selection(tracking, nothing, nothing, nothing, nothing, living=living), living=living)
        if not living:
            taken.conclude()
    linked(tracking)


def _flows_to_go(tracking: Tracking, most: int, forged: Mask, connection_of: npt.NDArray[np.int32]) -> Mask:
    connections = tracking.connections
    count = int(connections.counts[0])
    flows, ends = connections.flows[:count], connections.ends[: 2 * count]
    deadline = ends["deadline_ns"]
    over = (_OVER[ends["state"]] | ((deadline != 0) & (deadline <= tracking.last_ns))).reshape(-1, 2).all(axis=1)
    over |= forged  # no connection: what it seemed to open is over, and its packets are those of the one that it was aimed at
    end = flows["end_ns"]
    going: Mask = over & (end <= tracking.last_ns - int(tracking.settings.closed_s * 1e9))
    left = np.flatnonzero(~going)
    if count >= most and len(left) > most // 2:
        order = np.lexsort((end[left], ~over[left]))
        going[left[order[: len(left) - most // 2]]] = True
    going |= going[connection_of]
    return going


def _transitions_to_go(tracking: Tracking, flows: Mask, most: int) -> Mask:
    """Mark those of the flows that go, and the oldest of too many."""
    count = int(tracking.log.counts[0])
    going: Mask = flows[tracking.log.transitions["flow"][:count]]
    left = np.flatnonzero(~going)
    if count >= most and len(left) > most // 2:
        going[left[: len(left) - most // 2]] = True
        ends = tracking.connections.ends[: 2 * len(flows)][np.repeat(~flows, 2)]
        for name in TRANSITION_ROWS:  # the tracker may prove or refute these yet, and of LISTEN the one before
            asked = ends[name][ends[name] >= 0]
            going[asked] = going[np.maximum(asked - 1, 0)] = False
    return going


def _anomalies_to_go(tracking: Tracking, flows: Mask, most: int, before: int) -> Mask:
    """Mark those of the flows that go, those up to the last frame that goes, and the oldest of too many."""
    count = int(tracking.log.counts[1])
    rows = tracking.log.anomalies[:count]
    going: Mask = (rows["flow"] >= 0) & flows[rows["flow"]] if len(flows) else np.zeros(count, np.bool_)
    going |= (rows["frame"] != 0) & (rows["frame"] <= before)
    left = np.flatnonzero(~going)
    if count >= most and len(left) > most // 2:
        going[left[: len(left) - most // 2]] = True
    gap = tracking.connections.ends["gap"][: 2 * len(flows)][np.repeat(~flows, 2)]
    gaps = tracking.connections.gaps[gap[gap != 0] - 1]
    asked = gaps["unseen_row"][(gaps["unseen_size"] != 0) | (gaps["unseen_left"] != 0)]
    going[asked[asked < count]] = False  # the tracker may look at these again
    return going


def _gone(tracking: Tracking, flows: Mask, guests: Mask, rows: tuple[Mask, Mask, Mask], links: Any) -> Tracking:
    """Take what goes into a tracking of its own, and conclude it: the flows that go, the guests not.

    rows: of the packets, the transitions and the anomalies.
    """
    it = selection(tracking, flows | guests, *rows, living=False)
    gone = take(tracking, it, living=False)
    of_flows = guests[it.flows.rows]
    gone.carried = links.of(it.flows)
    connections = gone.connections
    marks = connections.flows["marks"].copy()
    own, twice = np.flatnonzero(np.repeat(guests, 2)), np.flatnonzero(np.repeat(of_flows, 2))
    octets = connections.ends.view(np.uint8).reshape(
        len(connections.ends), -1
    )  # NumPy is slow with rows that have fields
    kept = octets[twice]
    ends = kept.reshape(-1).view(connections.ends.dtype)
    connections.flows["marks"][of_flows] |= MARK_FORGED  # these are not concluded
    connections.ends["deadline_ns"][twice] = 0
    before = connections.quality.copy()
    gone.conclude()
    tracking.connections.quality[:] += connections.quality - before
    connections.flows["marks"][of_flows] = marks[of_flows]
    gone.guests = of_flows & ~gone.forged()
    for name in ("bytes", "retransmitted", "retransmitted_bytes"):  # what the causes have corrected is so for good
        corrected = connections.ends[name][twice] - ends[name]
        some = np.flatnonzero(corrected)
        tracking.connections.ends[name][own[some]] += corrected[some]
    octets[twice] = kept
    return gone


def _count(tracking: Tracking, packets: int, flows: Mask) -> None:
    """Count what goes."""
    connections = tracking.connections
    own = flows & (connections.flows["marks"][: len(flows)] & MARK_FORGED == 0)
    states = connections.ends["state"][: 2 * len(flows)].reshape(-1, 2)[own]
    deadline = connections.ends["deadline_ns"][: 2 * len(flows)].reshape(-1, 2)[own]
    living = ~(_OVER[states] | ((deadline != 0) & (deadline <= tracking.last_ns))).all(axis=1)
    for what, number in (
        ("packets", packets),
        ("flows", int(own.sum())),
        ("open flows", int(living.sum())),
    ):
        tracking.let_go[what] = tracking.let_go.get(what, 0) + number


def _stay_newest(rest: Tracking) -> None:
    """Where the newest flow of a pair went and an older one stays, that one goes on."""
    connections = rest.connections
    count = int(connections.counts[0])
    flows = connections.flows[:count]
    newest = np.zeros(len(connections.pairs), np.int32)
    own = np.flatnonzero(flows["marks"] & MARK_FORGED == 0)
    np.maximum.at(newest, flows["pair"][own], (own + 1).astype(np.int32))
    lost = connections.pairs["flow"] == 0
    connections.pairs["flow"][lost] = newest[lost]


def _move_sights(tracking: Tracking, kept: Selection) -> None:
    """Let the copies' memory know where packets and pairs are now; what is gone has no copies any more."""
    ring = tracking.sights.ring
    row, pair, untagged = (_clipped(ring[name], len(it.now)) for name, it in
                           (("row", kept.rows), ("pair", kept.pairs), ("untagged", kept.pairs)))  # fmt: skip
    row, pair, untagged = kept.rows.moved(row), kept.pairs.moved(pair), kept.pairs.moved(untagged)
    gone = (row < 0) | (pair < 0) | (untagged < 0)
    ring["row"], ring["pair"], ring["untagged"] = row, pair, untagged
    for name, nothing in (("row", 0), ("pair", 0), ("untagged", -1), ("hash", 0)):
        ring[name][gone] = nothing


def _clipped(places: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Return the places with -1 for those that are none: the memory has places of before in rows that stand for nothing."""
    return np.where((places >= 0) & (places < count), places, -1)
