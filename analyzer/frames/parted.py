"""Taking some flows and packets out of the tracker's arrays: into a tracking of their own, the others moved together.

The kernels know nothing of it: between two batches every array is rewritten, and every number in it that is a place in another
array. What frames show outside (`frame`, `flow`, `stream`) stays; see ``flows.numbering``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.flows import connection, table
from analyzer.flows.numbering import Numbering
from analyzer.kernel import kernel
from analyzer.tracker import packets, unacked, zeek_outcome
from analyzer.tracker.anomalies import Detail, Kind

if TYPE_CHECKING:
    from analyzer.frames.tracking import Tracking
    from analyzer.tracker.log import Log

TRANSITION_ROWS = [name for name in connection.END.names or () if name.endswith("_row")]

MOST_LOCAL = 1024
"""So many of this host's addresses are remembered though no flow has them any more."""

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class Taken(NamedTuple):
    """Which rows of one kind are taken, in order, and where each row of before stands now; -1: nowhere."""

    rows: Places
    now: npt.NDArray[np.int32]

    @property
    def picked(self) -> Places | slice:
        """The rows as an index: those that lie together as a slice, which costs a tenth."""
        count = len(self.rows)
        if count and int(self.rows[-1]) - int(self.rows[0]) == count - 1:
            return slice(int(self.rows[0]), int(self.rows[0]) + count)
        return self.rows

    @classmethod
    def of(cls, mask: Mask) -> Taken:
        """Take the rows that are marked."""
        rows = np.flatnonzero(mask)
        now = np.full(len(mask), -1, np.int32)
        now[rows] = np.arange(len(rows), dtype=np.int32)
        return cls(rows, now)

    def moved(self, places: Any) -> Any:
        """Return where these places are now; negative ones stay."""
        if not len(self.now):
            return np.full_like(places, -1)
        return np.where(places < 0, places, self.now[places])

    def moved_plus_1(self, places: Any) -> Any:
        """Return the same for places that are counted from 1, 0 being none."""
        return self.moved(places.astype(np.int64) - 1) + 1


class Selection(NamedTuple):
    """What is taken."""

    flows: Taken
    rows: Taken
    transitions: Taken
    anomalies: Taken
    pairs: Taken
    streams: Taken
    addresses: Taken


def selection(
    tracking: Tracking, flows: Mask, rows: Mask, transitions: Mask, anomalies: Mask, *, living: bool
) -> Selection:
    """Find all that belongs to these flows, rows of packets, transitions and anomalies.

    living: whether packets may still come; then what only they would look for is taken too.
    """
    connections, columns, log = tracking.connections, tracking.columns, tracking.log
    pair_count, address_count = (int(count) for count in tracking.table.counts)
    known = connections.pairs[:pair_count]
    pairs = np.zeros(pair_count, np.bool_)
    pairs[connections.flows["pair"][: len(flows)][flows]] = True
    joined = known["joined"]
    if living:
        for _ in range(2):  # those that another one shows, and those that show another
            pairs[joined[pairs & (joined != 0)] - 1] = True
            pairs |= (joined != 0) & pairs[np.maximum(joined - 1, 0)]
    pairs[tracking.table.pairs["untagged"][:pair_count][pairs]] = True
    taken = np.flatnonzero(rows)
    streams = np.zeros(int(connections.counts[1]), np.bool_)
    streams[columns.flow[taken] + columns.stream_ahead[taken]] = True
    streams[connections.flows["stream"][: len(flows)][flows]] = True
    current = known["stream"][pairs]
    streams[current[current != 0] - 1] = True
    addresses = np.zeros(address_count, np.bool_)
    for side in ("a_address", "b_address"):
        addresses[tracking.table.pairs[side][:pair_count][pairs]] = True
    icmp = log.icmp[: int(log.counts[2])]
    addresses[icmp["reporter"][anomalies[icmp["anomaly"]]]] = True
    doubtful = _doubtful(log.anomalies[: len(anomalies)]) & anomalies
    addresses[log.anomalies["related_frame"][: len(anomalies)][doubtful]] = True
    if living:
        seen = tracking.table.addresses["seen"][:address_count]
        own = (seen & table.SEEN_LOOPBACK != 0) | (seen & (table.SEEN_LOCAL | table.SEEN_REMOTE) == table.SEEN_LOCAL)
        addresses[np.flatnonzero(own)[:MOST_LOCAL]] = True
    return Selection(*(Taken.of(mask) for mask in (flows, rows, transitions, anomalies, pairs, streams, addresses)))


def take(tracking: Tracking, it: Selection, *, living: bool) -> Tracking:
    """Return a tracking of what is selected; living: with all that is needed to go on, else only what frames are made of."""
    from analyzer.frames.tracking import Tracking

    taken = Tracking(tracking.settings)
    taken.clock, taken.last_ns = tracking.clock, tracking.last_ns
    taken.columns = _columns(tracking, it)
    taken.rows = taken.rows_found = len(it.rows.rows)
    taken.table = _table(tracking, it, living=living)
    taken.connections = _connections(tracking, it, living=living)
    taken.log = _log(tracking, it, living=living)
    taken.options = _options(tracking, it)
    taken.words = _words(tracking, it, living=living)
    taken.verdicts = _verdicts(tracking, it, living=living)
    flows, streams = int(tracking.connections.counts[0]), int(tracking.connections.counts[1])
    numbers = tracking.flow_numbers.of_first(flows, tracking.forged())
    following = tracking.flow_numbers.next_after(flows, tracking.forged())
    taken.flow_numbers = Numbering(numbers[it.flows.rows], following)
    numbers = tracking.stream_numbers.of_first(streams)
    taken.stream_numbers = Numbering(numbers[it.streams.rows], tracking.stream_numbers.next_after(streams))
    return taken


def some_flows(tracking: Tracking, flows: Mask) -> tuple[connection.Connections, Log]:
    """Copy these flows with their ends, their state changes and their anomalies: all that ``outcome.ended`` looks at."""
    of = tracking.log.anomalies["flow"][: int(tracking.log.counts[1])]
    anomalies = (of >= 0) & flows[of] if len(flows) else np.zeros(len(of), np.bool_)
    transitions = flows[tracking.log.transitions["flow"][: int(tracking.log.counts[0])]]
    it = selection(tracking, flows, np.zeros(tracking.rows, np.bool_), transitions, anomalies, living=False)
    return _connections(tracking, it, living=False), _log(tracking, it, living=False)


def _doubtful(anomalies: npt.NDArray[np.void]) -> Mask:
    """Return which say in ``related_frame`` whose address it is, until the end decides; see ``quality.judge_checksums``."""
    mask: Mask = (anomalies["kind"] == Kind.BAD_CHECKSUM) & (anomalies["detail"] == Detail.NO_RIGHT_ONE)
    return mask


def _columns(tracking: Tracking, it: Selection) -> packets.PacketColumns:
    """The packets' rows. The optional columns are written anew, for two of them count from others."""
    old, rows, picked = tracking.columns, it.rows.rows, it.rows.picked
    room = max(len(rows), 1)
    new = packets.new_columns(room)
    optional = packets.OPTIONAL
    for name in new._fields[:-1]:
        if name not in optional or packets.is_written(old, name):
            getattr(new, name)[: len(rows)] = getattr(old, name)[picked]
    new.written[:] = old.written
    new.flow[: len(rows)] = it.flows.moved(old.flow[picked])
    stream = it.streams.moved(old.flow[picked] + old.stream_ahead[picked])
    frame = old.frame_ahead[picked] + rows + 1
    for name, ahead in (
        ("stream_ahead", stream - new.flow[: len(rows)]),
        ("frame_ahead", frame - np.arange(1, len(rows) + 1)),
    ):
        getattr(new, name)[: len(rows)] = ahead
        packets.places(new, (name,))[0] = True
    return new


def _table(tracking: Tracking, it: Selection, *, living: bool) -> table.FlowTable:
    old = tracking.table
    pairs = _taken(old.pairs, it.pairs, living=living)
    addresses = _taken(old.addresses, it.addresses, living=living)
    kept = pairs[: len(it.pairs.rows)]
    for side in ("a_address", "b_address"):
        kept[side] = it.addresses.moved(kept[side])
    kept["untagged"] = it.pairs.moved(kept["untagged"])
    counts = np.array([len(it.pairs.rows), len(it.addresses.rows)], np.int64)
    new = old._replace(pairs=pairs, addresses=addresses, counts=counts)
    if not living:
        return table.without_slots(new)
    for slots in (old.pair_slots, old.address_slots, old.recent):
        slots[:] = 0
    table.rehash(kept["hash"].copy(), new.pair_slots)
    table.rehash(addresses["hash"][: len(it.addresses.rows)].copy(), new.address_slots)
    return new


def _connections(tracking: Tracking, it: Selection, *, living: bool) -> connection.Connections:
    old = tracking.connections
    all_flows, all_pairs = _taken(old.flows, it.flows, living=living), _taken(old.pairs, it.pairs, living=living)
    all_ends = _taken(old.ends, it.flows, 2, living=living)
    senders = _taken(old.senders, it.addresses, living=living)
    count = len(it.flows.rows)
    flows, ends, pairs = all_flows[:count], all_ends[: 2 * count], all_pairs[: len(it.pairs.rows)]
    flows["pair"] = it.pairs.moved(flows["pair"])
    flows["earlier"] = it.flows.moved(flows["earlier"])
    flows["stream"] = it.streams.moved(flows["stream"])
    for name in TRANSITION_ROWS:
        ends[name] = it.transitions.moved(ends[name])
    lacking = np.flatnonzero(ends["gap"])
    gaps = old.gaps[ends["gap"][lacking] - 1]
    gaps["unseen_row"] = np.maximum(it.anomalies.moved(np.minimum(gaps["unseen_row"], len(it.anomalies.now) - 1)), 0)
    ends["gap"][lacking] = np.arange(1, len(gaps) + 1)
    pairs["flow"] = it.flows.moved_plus_1(pairs["flow"])
    pairs["stream"] = it.streams.moved_plus_1(pairs["stream"])
    pairs["joined"] = it.pairs.moved_plus_1(pairs["joined"])
    counts = np.array([count, len(it.streams.rows), old.counts[2], len(gaps)], np.int64)
    quality = old.quality if living else old.quality.copy()
    return connection.Connections(all_pairs, all_flows, all_ends, counts, senders, quality, gaps)


def _log(tracking: Tracking, it: Selection, *, living: bool) -> Any:
    old = tracking.log
    all_transitions = _taken(old.transitions, it.transitions, living=living)
    all_anomalies = _taken(old.anomalies, it.anomalies, living=living)
    transitions, anomalies = all_transitions[: len(it.transitions.rows)], all_anomalies[: len(it.anomalies.rows)]
    for rows in (transitions, anomalies):
        rows["flow"] = it.flows.moved(rows["flow"])
    doubtful = _doubtful(anomalies)
    anomalies["related_frame"][doubtful] = it.addresses.moved(anomalies["related_frame"][doubtful].astype(np.int64))
    icmp = old.icmp[: int(old.counts[2])]
    icmp = icmp[it.anomalies.now[icmp["anomaly"]] >= 0]
    icmp["anomaly"] = it.anomalies.moved(icmp["anomaly"])
    icmp["reporter"] = it.addresses.moved(icmp["reporter"])
    counts = np.array([len(transitions), len(anomalies), len(icmp)], np.int64)
    return old._replace(transitions=all_transitions, anomalies=all_anomalies, counts=counts, icmp=icmp)


def _options(tracking: Tracking, it: Selection) -> packets.OptionColumns:
    """The options' rows of the packets that are taken; both are in order of frames."""
    old, columns = tracking.options, tracking.columns
    count = int(old.counts[0])
    frames = columns.frame_ahead[it.rows.rows] + it.rows.rows + 1
    at = np.searchsorted(frames, old.frame[:count])
    mine = np.zeros(count, np.bool_)
    if len(frames):
        mine = frames[np.minimum(at, len(frames) - 1)] == old.frame[:count]
    rows = np.flatnonzero(mine)
    end = old.sack_end[:count].astype(np.int64)
    edges = np.diff(end, prepend=0)
    kept_edges = np.flatnonzero(np.repeat(mine, edges))
    replaced = {
        name: getattr(old, name)[:count][rows] for name in old._fields if name not in ("sack", "sack_end", "counts")
    }
    return old._replace(
        **replaced,
        sack=old.sack[: int(old.counts[1])][kept_edges],
        sack_end=np.cumsum(edges[rows]).astype(np.int32),
        counts=np.array([len(rows), len(kept_edges)], np.int64),
    )


def _words(tracking: Tracking, it: Selection, *, living: bool) -> Any:
    """Zeek's words. The rows of connections that are not taken are given back, if they are to be used further."""
    old, count = tracking.words, len(it.flows.rows)
    gone = old.rows[np.flatnonzero(it.flows.now < 0)]
    rows, told = (_taken(each, it.flows, living=living) for each in (old.rows, old.told))
    if not living:  # these go on without the others' rows
        zeek_outcome.conclude_words(old._replace(rows=rows), told)
        return old._replace(rows=np.zeros_like(rows), told=told)
    zeek_outcome.give_back(gone[gone != 0] - np.int32(1), old)
    connections = old.connections
    open_ones = np.flatnonzero(rows[:count])
    at = rows[open_ones] - 1
    connections["flow"][at] = open_ones
    # Of the long histories' letters those stay that somebody still has: a connection, or what was told of one.
    with_more = at[connections["long"][at] != 0]
    told_more = np.flatnonzero(told["long"][:count])
    letters = old.letters[np.concatenate([connections["long"][with_more], told["long"][told_more]]) - 1]
    connections["long"][with_more] = np.arange(1, len(with_more) + 1)
    told["long"][told_more] = np.arange(len(with_more) + 1, len(letters) + 1)
    old.counts[2] = len(letters)
    return old._replace(rows=rows, told=told, letters=letters)


def _verdicts(tracking: Tracking, it: Selection, *, living: bool) -> Any:
    """What Wireshark's verdicts are found with; the segments of streams that are gone go back to the pool."""
    old, node_counts = tracking.verdicts, tracking.verdicts.node_counts.copy()
    told = old.syn_acks[: int(old.counts[0])]
    told = told[(it.rows.now[told["row"]] >= 0) & (it.streams.now[told["stream"]] >= 0)]
    told["row"], told["stream"] = it.rows.moved(told["row"]), it.streams.moved(told["stream"])
    if living:
        gone = np.flatnonzero(it.streams.now < 0)
        heads = old.ways["oldest"][np.concatenate([2 * gone, 2 * gone + 1])]
        node_counts[2] += unacked.give_back_lists(heads[heads != 0], old.nodes["after"], node_counts[1:2])
    return old._replace(
        streams=_taken(old.streams, it.streams, living=living),
        ways=_taken(old.ways, it.streams, 2, living=living),
        syn_acks=told,
        counts=np.array([len(told)], np.int64),
        node_counts=node_counts,
    )


def _taken(rows: npt.NDArray[Any], it: Taken, times: int = 1, *, living: bool) -> npt.NDArray[Any]:
    """Return the rows that are taken, so many for each: of the living moved together in their place, with zeros behind.

    Moved as octets: NumPy takes ten times as long for rows with fields.
    """
    octets = rows.view(np.uint8).reshape(len(rows) // times, times * rows.itemsize)
    if not living:
        chosen: npt.NDArray[Any] = np.take(octets, it.rows, axis=0).reshape(-1).view(rows.dtype)
        return chosen
    if len(it.rows) != len(it.now):
        move_up(octets, it.rows)
        octets[len(it.rows) : len(it.now)] = 0
    return rows


@kernel
def move_up(octets: Any, rows: Any) -> None:
    """Move these rows, in ascending order, together at the front."""
    for to in range(len(rows)):
        at = rows[to]
        if at != to:
            for i in range(octets.shape[1]):
                octets[to, i] = octets[at, i]
