"""From batches of records to frames: the stages in their order, and the columns that they leave as pandas has them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.capture.clock import Clock
from analyzer.decode.batch import SegmentBatch
from analyzer.decode.fragments import new_fragments
from analyzer.decode.segment import SKIPPED_WORDS, Skipped
from analyzer.flows import connection, copies, table
from analyzer.frames import addresses, flow_frame, packet_frame, row_frames
from analyzer.frames.columns import made
from analyzer.frames.compiling import compile_at_first_use
from analyzer.frames.quality import quality
from analyzer.settings import Settings
from analyzer.tracker import log as logs
from analyzer.tracker import packets, verdicts, zeek, zeek_outcome
from analyzer.tracker.anomalies import WITHDRAWN, Detail, Kind
from analyzer.tracker.outcome import ANOMALIES_PER_FLOW, conclude, count_due, in_order_of_time
from analyzer.tracker.quoted import find_quoted
from analyzer.tracker.replay import Ways, replay
from analyzer.tracker.timers import timers

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.capture.records import CaptureInfo, Records, Source

Progress = Callable[[float | None, int], None]
Rows = npt.NDArray[Any]

_FIRST_ROOM = 1 << 16
_SLACK = 1.1  # over an estimate of what is to come


@dataclasses.dataclass(slots=True)
class Frames:
    """The frames of one analysis, and what was read for them."""

    packets: pd.DataFrame
    options: pd.DataFrame
    flows: pd.DataFrame
    transitions: pd.DataFrame
    anomalies: pd.DataFrame
    info: CaptureInfo
    skipped: dict[str, int]
    copies: int
    quality: dict[str, Any]
    local_addresses: tuple[str, ...]


class Tracking:
    """All that is kept while records come in; ``feed`` takes a batch through decode, flows and tracker.

    The same for a file, a pipe and a live session: only the source of the batches differs.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._timers = timers(self.settings)
        self.clock = Clock()
        self._batch = SegmentBatch(clock=self.clock, checksums=self.settings.checksums)
        self._skipped = np.zeros(len(Skipped), np.int64)
        self.table = table.new_table()
        self.connections = connection.new_connections()
        self.log = logs.new_log()
        self.sights = copies.new_sights()
        self.columns = packets.new_columns(0)
        self.options = packets.new_options()
        self.words = zeek.new_words()
        self.verdicts = verdicts.new_verdicts()
        self.located = self.replayed = self.judged = self.rows = 0
        self.last_ns = 0
        self._processes: list[tuple[Rows, Rows]] = []  #: frames and process ids, of the batches that have any

    def feed(self, records: Records) -> None:
        """Take in a batch of records."""
        self.note(records)
        self._batch.decode(records)
        self.locate(self._batch)
        self.replay(self._batch)
        self.write(self._batch)
        self.judge(self._batch)

    def note(self, records: Records) -> None:
        """Keep which process each record belongs to; most captures do not know."""
        if len(records.process) and records.process.max() >= 0:
            known = records.process >= 0
            self._processes.append((records.frame[known], records.process[known]))

    # The four steps of a batch. ``locate`` keeps to the flow table, ``judge`` to the verdicts and their columns, and the
    # others keep away from both: so a thread of its own may judge the batch before, and read, decode and locate the next
    # one, while this one is replayed and written. Columns must not grow while they are judged.

    def locate(self, batch: SegmentBatch, expected: int | None = None) -> None:
        """Find each segment's pair. expected: about how many records the capture has in all, where that is known."""
        self._skipped += batch.skipped
        self.last_ns = max(self.last_ns, batch.last_ns)
        self.located += batch.filled
        self.table = table.with_room(self.table, batch.filled, self._ahead(self.located, expected))
        table.find_pairs(
            batch.segments, batch.filled, self.table, self.settings.vlan_in_key, self.settings.tunnel_in_key
        )
        batch.pairs, batch.addresses = (int(count) for count in self.table.counts)

    def replay(self, batch: SegmentBatch, expected: int | None = None) -> None:
        """Take the segments through their connections."""
        more, ahead = batch.filled, self._ahead(self.replayed, expected)
        self.connections = connection.with_room(self.connections, more, batch.pairs, batch.addresses, ahead)
        self.log = logs.with_room(self.log, more + len(batch.steps), ahead)
        self.options = packets.options_with_room(self.options, more, ahead)
        self.replayed += more
        self.words = zeek.with_room(self.words, more, len(self.connections.flows))
        settings = self.settings
        ways = Ways(
            settings.copies != "keep", settings.copies == "mark", settings.zeek_timeouts, settings.zeek_checksums
        )
        states = (self.connections, self.sights, self.words, self.log, self.options, self._timers)
        replay(batch.segments, batch.sacks, more, self.rows, ways, *states)
        logs.note_steps(batch.steps, self.log)

    def write(self, batch: SegmentBatch, expected: int | None = None) -> None:
        """Write the packets' columns."""
        needed = self.rows + batch.filled
        if needed > len(self.columns.time_ns):
            room = max(needed, _FIRST_ROOM, 3 * self.rows // 2, int(_SLACK * (expected or 0)))
            self.columns = packets.grown(self.columns, self.rows, room)
        batch.first_row, batch.streams = self.rows, int(self.connections.counts[1])
        copies_too = self.settings.copies != "drop"
        self.rows = packets.write_rows(batch.segments, batch.filled, self.columns, self.rows, copies_too)

    def judge(self, batch: SegmentBatch, expected: int | None = None) -> None:
        """Write Wireshark's verdicts beside the packets' columns."""
        self.judged += batch.filled
        ahead = self._ahead(self.judged, expected)
        self.verdicts = verdicts.with_room(self.verdicts, batch.filled, batch.streams, ahead)
        found = verdicts.found_in(self.columns)
        copies_too = self.settings.copies != "drop"
        verdicts.judge(batch.segments, batch.sacks, batch.filled, self.verdicts, found, batch.first_row, copies_too)

    @staticmethod
    def _ahead(done: int, expected: int | None) -> float:
        """How many times as much there may be in the end as there is now.

        Arrays grow once, to what is to come: room that stays unused costs nothing, its pages are never touched; copying
        what has grown would.
        """
        return _SLACK * expected / done if expected and done else 0.0

    @property
    def skipped(self) -> dict[str, int]:
        """Records that gave no row, by reason."""
        counts = self._skipped.copy()
        counts[Skipped.STRAY_ICMP_ERROR] = self.connections.counts[2]  # decode cannot tell them from the others
        counts[Skipped.ICMP_ERROR] -= self.connections.counts[2]
        return {SKIPPED_WORDS[reason]: int(counts[reason]) for reason in Skipped if counts[reason]}

    @property
    def copies(self) -> int:
        """Segments that are another sight of a packet seen before."""
        return int(self.sights.counts[1])

    def conclude(self) -> None:
        """Say what only the end shows: timers that ran out, handshakes and closes. Once, unless on a copy."""
        flows = int(self.connections.counts[0])
        due = count_due(self.connections.ends, 2 * flows, self.last_ns)
        self.log = logs.with_room_for(self.log, due, flows * ANOMALIES_PER_FLOW)
        conclude(self.connections, self.last_ns, self.log)
        bases = self.verdicts.ways["base"].copy()
        verdicts.read_again(self.verdicts, bases, verdicts.found_in(self.columns))
        count = int(self.log.counts[0])
        timer_rows = self.log.transitions[:count]
        timer_rows = timer_rows[timer_rows["frame"] == 0]
        if len(timer_rows):
            order = np.argsort(timer_rows["time_ns"], kind="stable")
            in_order_of_time(self.log.transitions, count, timer_rows, order)

    def snapshot(self) -> Tracking:
        """Copy what ``conclude`` changes, so that a live session can go on after its frames were made."""
        copy = Tracking(self.settings)
        copy._skipped, copy._processes = self._skipped.copy(), self._processes
        copy.table, copy.clock, copy.sights = self.table, self.clock, self.sights
        flows = int(self.connections.counts[0])
        copy.connections = connection.Connections(
            self.connections.pairs.copy(),
            self.connections.flows[:flows].copy(),
            self.connections.ends[: 2 * flows].copy(),
            self.connections.counts.copy(),
            self.connections.senders,
            self.connections.quality.copy(),
        )
        log = self.log
        copy.log = logs.Log(log.transitions.copy(), log.anomalies.copy(), log.counts.copy(), log.icmp.copy())
        copy.columns = packets.between(self.columns, 0, self.rows)
        copy.columns = copy.columns._replace(analysis=copy.columns.analysis.copy(), written=self.columns.written.copy())
        copy.verdicts, copy.rows, copy.last_ns = self.verdicts, self.rows, self.last_ns
        copy.options = self.options._replace(counts=self.options.counts.copy())
        copy.words = self.words
        return copy

    def frames(self, info: CaptureInfo) -> Frames:
        """Make the frames of all that came in so far; the tracking itself can go on."""
        tracked = self.snapshot()
        tracked.conclude()
        return _frames(tracked, info)

    def news(self, info: CaptureInfo, segments: int, troubles: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Make the rows of `packets` and `anomalies` that came after so many of each.

        The cost is that of the new rows. Their categories are these rows' own; what only the end shows is not among them,
        nor which segments ICMP errors quote.
        """
        columns = packets.between(self.columns, segments, self.rows)
        icmp = self.log.icmp[: int(self.log.counts[2])]
        icmp = icmp[np.searchsorted(icmp["anomaly"], troubles) :].copy()
        known = np.unique(np.concatenate([columns.source, columns.destination, icmp["reporter"]]))
        columns = columns._replace(
            source=np.searchsorted(known, columns.source).astype(np.int32),
            destination=np.searchsorted(known, columns.destination).astype(np.int32),
        )
        names = addresses.AddressWords(self.table.addresses[known])
        anomalies = self.log.anomalies[troubles : int(self.log.counts[1])].copy()
        icmp["anomaly"] -= troubles
        anomalies = _said(anomalies, icmp)
        doubtful = (anomalies["kind"] == Kind.BAD_CHECKSUM) & (anomalies["detail"] == Detail.NO_RIGHT_ONE)
        anomalies["related_frame"][doubtful] = 0  # whose it is: that is not decided yet
        icmp["reporter"] = np.searchsorted(known, icmp["reporter"])
        moved = None
        flows = self.connections.flows[: int(self.connections.counts[0])]
        forged = flows["marks"] & connection.MARK_FORGED != 0
        if forged.any():
            moved = _places(forged, flows)
            _move(anomalies, moved)
        rows = packet_frame.packets(columns, self.rows - segments, names, info, moved, self._processes, segments)
        return made(rows), made(row_frames.anomalies(anomalies, icmp, names, info))


def analyse(source: Source, settings: Settings | None = None, progress: Progress | None = None) -> Frames:
    """Read a source to its end and make its frames.

    Parameters
    ----------
    source : Source
        The batches; it stays open.
    settings : Settings, optional
        Timers and limits.
    progress : callable, optional
        Called after each batch with the part read so far (None where the end is unknown) and the number of records.

    Raises
    ------
    CaptureError, FilterError
        As the source's batches do.
    """
    tracking = Tracking(settings)
    _take_in(tracking, source, progress)
    tracking.conclude()
    return _frames(tracking, source.info)


def _take_in(tracking: Tracking, source: Source, progress: Progress | None) -> None:
    """Read a source to its end; what holds the batches is given back then, before the frames are made."""
    compile_at_first_use()
    batches = source.batches()

    def next_batch(batch: SegmentBatch) -> SegmentBatch | None:
        records = next(batches, None)
        if records is None:
            return None
        tracking.note(records)
        batch.decode(records)
        tracking.locate(batch, source.size_hint)
        return batch

    # A second thread judges behind and reads ahead while this one replays: the kernels need no interpreter lock.
    fragments = new_fragments()
    checksums = tracking.settings.checksums
    now, then = (SegmentBatch(fragments, tracking.clock, checksums=checksums) for _ in range(2))
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        coming = beside.submit(next_batch, then)
        judged: concurrent.futures.Future[None] | None = None
        while (batch := coming.result()) is not None:
            now, then = batch, now
            coming = beside.submit(next_batch, then)
            tracking.replay(now, source.size_hint)
            if judged is not None:
                judged.result()
            tracking.write(now, source.size_hint)
            judged = beside.submit(tracking.judge, now, source.size_hint)
            if progress is not None:
                progress(source.progress, source.info.records)
        if judged is not None:
            judged.result()


def _frames(tracked: Tracking, info: CaptureInfo) -> Frames:
    tracked.verdicts = verdicts.new_verdicts()  # what they were found with is not needed any more
    tracked.table = table.without_slots(tracked.table)
    used = tracked.table.addresses[: int(tracked.table.counts[1])]
    names = addresses.AddressWords(used)
    connections, pairs = tracked.connections, tracked.table.pairs
    count = int(connections.counts[0])
    flows, ends = connections.flows[:count], connections.ends[: 2 * count]
    transitions = tracked.log.transitions[: int(tracked.log.counts[0])]
    anomalies = tracked.log.anomalies[: int(tracked.log.counts[1])]
    icmp = tracked.log.icmp[: int(tracked.log.counts[2])]
    if len(icmp):
        _find_quoted(icmp, anomalies, tracked)
    anomalies = _said(anomalies, icmp)
    words = zeek_outcome.said(tracked.words, count)
    tracked.words = zeek.new_words()
    moved = None
    forged = flows["marks"] & connection.MARK_FORGED != 0
    if forged.any():
        moved = _places(forged, flows)
        for rows in (transitions, anomalies):
            _move(rows, moved)
        flows, ends = _without(forged, flows, ends, moved[0])
        words = words.of(~forged)
    # The arrays are worked out beside the importing of pandas; the plans are made frames when it is there.
    with concurrent.futures.ThreadPoolExecutor(1) as beside, _short_turns():
        beside.submit(importlib.import_module, "pandas")
        packet_plan = packet_frame.packets(tracked.columns, tracked.rows, names, info, moved, tracked._processes)
        tracked.columns = packets.new_columns(0)  # what became a frame lives on there; the rest is given back
        transition_plan = row_frames.transitions(transitions, flows, pairs, names)
        flow_plan = flow_frame.flows(flows, ends, pairs, names, anomalies, words, packet_plan)
    packet_rows, flow_rows = made(packet_plan), made(flow_plan)
    return Frames(
        packets=packet_rows,
        options=made(packet_frame.options(tracked.options)),
        flows=flow_rows,
        transitions=made(transition_plan),
        anomalies=made(row_frames.anomalies(anomalies, icmp, names, info)),
        info=info,
        skipped=tracked.skipped,
        copies=tracked.copies,
        quality=quality(connections.quality, tracked.clock, packet_rows, flow_rows, tracked.skipped),
        local_addresses=addresses.local_addresses(used),
    )


@contextlib.contextmanager
def _short_turns() -> Iterator[None]:
    """Let threads take the interpreter from each other after a tenth of a millisecond; usually an importing one has 5."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _find_quoted(icmp: Rows, anomalies: Rows, tracked: Tracking) -> None:
    """Let each ICMP error know the frame that it quotes."""
    columns, count = tracked.columns, len(icmp)
    packets_of = (columns.frame_ahead, columns.flow, columns.raw_seq, columns.from_client, columns.time_ns)
    slots = np.full(1 << (2 * count).bit_length(), -1, np.int32)
    latest, told = np.zeros(count, np.int64), np.zeros(count, np.int64)
    find_quoted(icmp, anomalies, packets_of, tracked.rows, tracked.table.keys, slots, latest, told)


def _places(forged: Rows, flows: Rows) -> tuple[Rows, Rows]:
    """Leave flows out that a forged SYN opened: what they have belongs to the connection that it was aimed at.

    Returns of each flow the number that it has then, and whether its client is the server there.
    """
    numbers = np.cumsum(~forged, dtype=np.int32) - np.int32(1)
    turned = np.zeros(len(flows), bool)
    for number in np.flatnonzero(forged).tolist():  # in their order: the one before has its number already
        earlier = flows["earlier"][number]
        numbers[number] = numbers[earlier]
        turned[number] = turned[earlier] ^ (flows["client_side"][number] != flows["client_side"][earlier])
    return numbers, turned


def _said(anomalies: Rows, icmp: Rows) -> Rows:
    """The rows that were not withdrawn; the ICMP errors are told the places that theirs have now."""
    kept = anomalies["kind"] != WITHDRAWN
    if kept.all():
        return anomalies
    icmp["anomaly"] = (np.cumsum(kept) - 1)[icmp["anomaly"]]
    said: Rows = anomalies[kept]
    return said


def _move(rows: Rows, places: tuple[Rows, Rows]) -> None:
    """Give rows of the log the numbers and the ends that their flows have in the frames."""
    numbers, turned = places
    turn = turned[rows["flow"]] & (rows["endpoint"] >= 0)
    rows["endpoint"][turn] = 1 - rows["endpoint"][turn]
    rows["flow"] = np.where(rows["flow"] < 0, -1, numbers[rows["flow"]])  # a clock step is of no flow


def _without(forged: Rows, flows: Rows, ends: Rows, numbers: Rows) -> tuple[Rows, Rows]:
    """The flows that no forged SYN opened, and their ends."""
    kept = flows[~forged]
    kept["earlier"] = np.where(kept["earlier"] < 0, -1, numbers[kept["earlier"]])
    return kept, ends[np.repeat(~forged, 2)]
