"""From batches of records to frames: the stages in their order, and the columns that they leave as pandas has them."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from analyzer.capture.records import CaptureInfo, Records, Source
from analyzer.decode.records import decode
from analyzer.decode.segment import SEGMENT, SKIPPED_WORDS, Skipped
from analyzer.flows import connection, table
from analyzer.settings import Settings
from analyzer.tracker import log as logs
from analyzer.tracker import packets
from analyzer.tracker.outcome import ANOMALIES_PER_FLOW, conclude, in_order_of_time
from analyzer.tracker.replay import replay
from analyzer.tracker.timers import expire_all, timers

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[float | None, int], None]

_FIRST_ROOM = 1 << 16
_SLACK = 1.02  # over an estimate of the records to come


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
    local_addresses: tuple[str, ...]


class Tracking:
    """All that is kept while records come in; ``feed`` takes a batch through decode, flows and tracker.

    The same for a file, a pipe and a live session: only the source of the batches differs.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._timers = timers(self.settings)
        self._segments = np.zeros(0, SEGMENT)
        self._sacks = np.zeros((0, 8), np.uint32)
        self._skipped = np.zeros(len(Skipped), np.int64)
        self.table = table.new_table()
        self.connections = connection.new_connections()
        self.log = logs.new_log()
        self.columns = packets.new_columns(0)
        self.options = packets.new_options()
        self.rows = 0
        self.last_ns = 0

    def feed(self, records: Records, expected: int | None = None) -> None:
        """Take in a batch. expected: about how many records the capture has in all, where that is known."""
        count = len(records.offset)
        if count == 0:
            return
        if count > len(self._segments):
            self._segments = np.zeros(count, SEGMENT)
            self._sacks = np.zeros((count, 8), np.uint32)
        filled = decode(records, self._segments, self._sacks, self._skipped)
        self._make_room(filled, expected)
        table.find_pairs(self._segments, filled, self.table)
        batch, sacks = self._segments, self._sacks
        replay(batch, sacks, filled, self.table, self.connections, self.log, self.options, self._timers)
        self.rows = packets.write_rows(batch, filled, self.columns, self.rows)
        self.last_ns = max(self.last_ns, int(records.time_ns.max()))

    def _make_room(self, filled: int, expected: int | None) -> None:
        self.table = table.with_room(self.table, filled)
        self.connections = connection.with_room(self.connections, filled)
        self.log = logs.with_room(self.log, filled)
        self.options = packets.options_with_room(self.options, filled)
        needed = self.rows + filled
        room = len(self.columns.time_ns)
        if needed > room:
            estimate = int((expected or 0) * _SLACK)
            self.columns = packets.grown(self.columns, self.rows, max(needed, _FIRST_ROOM, 3 * room // 2, estimate))

    @property
    def skipped(self) -> dict[str, int]:
        """Records that gave no row, by reason."""
        return {SKIPPED_WORDS[reason]: int(self._skipped[reason]) for reason in Skipped if self._skipped[reason]}

    def conclude(self, final: bool = True) -> None:
        """Say what only the end shows: timers that ran out, handshakes and closes. Once, unless on a copy."""
        flows = int(self.connections.counts[0])
        self.log = logs.with_room(self.log, flows * max(2, ANOMALIES_PER_FLOW))
        expire_all(self.connections.ends, flows, self.last_ns, self.log)
        conclude(self.connections.flows, self.connections.ends, flows, self.last_ns, self.log)
        count = int(self.log.counts[0])
        timer_rows = self.log.transitions[:count]
        timer_rows = timer_rows[timer_rows["frame"] == 0]
        if len(timer_rows):
            order = np.argsort(timer_rows["time_ns"], kind="stable")
            in_order_of_time(self.log.transitions, count, timer_rows, order)

    def snapshot(self) -> Tracking:
        """Copy what ``conclude`` changes, so that a live session can go on after its frames were made."""
        copy = Tracking(self.settings)
        copy._skipped = self._skipped.copy()
        copy.table = self.table
        flows = int(self.connections.counts[0])
        copy.connections = connection.Connections(
            self.connections.flows[:flows].copy(), self.connections.ends[: 2 * flows].copy(), self.connections.counts.copy()
        )
        copy.log = logs.Log(self.log.transitions.copy(), self.log.anomalies.copy(), self.log.counts.copy())
        copy.columns, copy.options, copy.rows, copy.last_ns = self.columns, self.options, self.rows, self.last_ns
        copy.options = self.options._replace(counts=self.options.counts.copy())
        return copy

    def frames(self, info: CaptureInfo) -> Frames:
        """Make the frames of all that came in so far; the tracking itself can go on."""
        tracked = self.snapshot()
        tracked.conclude()
        return _frames(tracked, info)


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
    # pandas takes half a second to import; the kernels run without the interpreter lock meanwhile.
    importing = threading.Thread(target=__import__, args=("analyzer.frames.columns",), daemon=True)
    tracking = Tracking(settings)
    started = False
    for records in source.batches():
        tracking.feed(records, source.size_hint)
        if not started and len(records.offset) >= tracking.settings.batch_records:
            started = True
            importing.start()
        if progress is not None:
            progress(source.progress, source.info.records)
    if started:
        importing.join()
    tracking.conclude()
    return _frames(tracking, source.info)


def _frames(tracked: Tracking, info: CaptureInfo) -> Frames:
    from analyzer.frames import addresses, flow_frame, packet_frame, row_frames

    used = tracked.table.addresses[: int(tracked.table.counts[1])]
    names = addresses.address_type(used)
    connections, pairs = tracked.connections, tracked.table.pairs
    count = int(connections.counts[0])
    flows, ends = connections.flows[:count], connections.ends[: 2 * count]
    transitions = tracked.log.transitions[: int(tracked.log.counts[0])]
    anomalies = tracked.log.anomalies[: int(tracked.log.counts[1])]
    packet_rows = packet_frame.packets(tracked.columns, tracked.rows, names, info)
    tracked.columns = packets.new_columns(0)  # what became a frame lives on there; the rest is given back
    return Frames(
        packets=packet_rows,
        options=packet_frame.options(tracked.options),
        flows=flow_frame.flows(flows, ends, pairs, names, anomalies),
        transitions=row_frames.transitions(transitions, flows, pairs, names),
        anomalies=row_frames.anomalies(anomalies),
        info=info,
        skipped=tracked.skipped,
        local_addresses=addresses.local_addresses(used),
    )
