"""From a source to frames: the stages in their order, and the columns that they leave as pandas has them."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.decode.batch import SegmentBatch
from analyzer.decode.fragments import new_fragments
from analyzer.flows import connection, table
from analyzer.frames import addresses, flow_frame, packet_frame, row_frames
from analyzer.frames import forged as forged_flows
from analyzer.frames.carried import number_flows, number_packets, number_rows
from analyzer.frames.columns import code_dtype, made, optional
from analyzer.frames.compiling import compile_at_first_use
from analyzer.frames.news import said
from analyzer.frames.quality import quality
from analyzer.frames.tracking import Tracking
from analyzer.tracker import packets, zeek_outcome
from analyzer.tracker.flow_columns import flow_columns
from analyzer.tracker.packet_ends import ends_of_flows, packet_ends
from analyzer.tracker.quoted import find_quoted
from analyzer.tracker.round_trips import round_trips

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.capture.records import CaptureInfo, Source
    from analyzer.settings import Settings

Progress = Callable[[float | None, int], None]
"""Called now and then with the part read so far (0..1, None where the end is unknown) and the number of records."""
Rows = npt.NDArray[Any]

_BATCHES = 4  # between reading and writing
_turns = threading.Lock()
_short: list[float] = []  # the usual interval, once for each thread that wants a short one


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
    let_go: dict[str, int]
    settings: Settings


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
    tracking.columns = packets.trimmed(tracking.columns, tracking.rows)
    return frames_of(tracking, source.info)


def _take_in(tracking: Tracking, source: Source, progress: Progress | None) -> None:
    """Read a source to its end; what holds the batches is given back then, before the frames are made."""
    compile_at_first_use()
    batches = source.batches()

    def read(batch: SegmentBatch, done: concurrent.futures.Future[None] | None) -> SegmentBatch | None:
        if done is not None:
            done.result()
        records = next(batches, None)
        if records is None:
            return None
        tracking.note(records)
        batch.decode(records)
        tracking.locate(batch, source.size_hint)
        return batch

    def write(batch: SegmentBatch) -> None:
        tracking.write(batch, source.size_hint)
        tracking.judge(batch, source.size_hint)

    # One thread reads ahead and one writes behind while this one replays: the kernels need no interpreter lock. Whoever has the
    # less to do is some batches ahead; there are as many as that takes, and each is filled again when it was written.
    fragments, checksums = new_fragments(), tracking.settings.checksums
    with concurrent.futures.ThreadPoolExecutor(1) as reading, concurrent.futures.ThreadPoolExecutor(1) as writing:
        empty = [SegmentBatch(fragments, tracking.clock, checksums=checksums) for _ in range(_BATCHES)]
        coming = collections.deque(reading.submit(read, batch, None) for batch in empty)
        try:
            while (batch := coming.popleft().result()) is not None:
                tracking.replay(batch, source.size_hint)
                written = writing.submit(write, batch)
                coming.append(reading.submit(read, batch, written))
                if progress is not None:
                    progress(source.progress, source.info.records)
            for last in coming:  # each says what became of the writing that it waits for
                last.result()
        except BaseException:
            source.stop()  # who reads a pipe would wait for it
            raise
        finally:
            for left in coming:
                left.cancel()


def frames_so_far(tracking: Tracking, info: CaptureInfo) -> Frames:
    """Make the frames of all that came in so far; the tracking itself can go on."""
    return frames_of(tracking.snapshot(), info)


def frames_of(tracked: Tracking, info: CaptureInfo) -> Frames:
    """Let a tracking end, and make its frames; nothing can be fed to it afterwards.

    What a frame was made of is given back before the next one is made: on a large capture both would not fit. Beside this
    thread another one says why segments came again, which takes longest, and makes one of the frames, and pandas is imported.
    """
    as_they_are = tracked.flow_numbers.as_they_are  # else a session was here, which is small, and numbers by its rows
    if as_they_are:
        tracked.connections = connection.without_pairs(tracked.connections)
    with concurrent.futures.ThreadPoolExecutor(2) as beside, _short_turns():
        beside.submit(importlib.import_module, "pandas")  # nothing waits for it before ``made`` does
        judging = beside.submit(tracked.judge_again)
        tracked.end(info.ended_ns)
        judging.result()
        explaining = beside.submit(tracked.explain)
        used = tracked.table.addresses[: int(tracked.table.counts[1])]
        names = addresses.AddressWords(used)
        connections, pairs = tracked.connections, tracked.table.pairs
        count = int(connections.counts[0])
        flows, ends = connections.flows[:count], connections.ends[: 2 * count]
        transitions = tracked.log.transitions[: int(tracked.log.counts[0])]
        of_flows = ends_of_flows(flows, pairs)
        forged, moved = tracked.forged(), tracked.moved()
        if moved is not None:
            forged_flows.move(transitions, moved)
        transition_plan = row_frames.transitions(transitions, of_flows if moved is None else of_flows[~forged], names)
        trips = _round_trips(tracked, moved, int((~forged).sum()))
        causes = explaining.result()
        anomalies = tracked.log.anomalies[: int(tracked.log.counts[1])]
        icmp = tracked.log.icmp[: int(tracked.log.counts[2])]
        if len(icmp):
            _find_quoted(icmp, anomalies, tracked)
        anomalies = said(anomalies, icmp, causes)
        words = tracked.said
        if moved is not None:
            forged_flows.move(anomalies, moved)
            flows, ends = forged_flows.without(forged, flows, ends, moved[0])
            words = words.of(~forged)
        its_flows = flow_columns(flows, ends, pairs)
        if as_they_are:
            tracked.connections = connection.without_rows(connections)
            tracked.table = table.without_pairs(tracked.table)
        del connections, flows, ends, pairs
        flow_plan = flow_frame.flows(its_flows, names, anomalies, words, trips)
        making_flows = beside.submit(lambda plan: made(number_flows(plan, tracked)), flow_plan)
        of_packets = packet_ends(tracked.columns, tracked.rows, of_flows, code_dtype(names.count))
        packet_plan = packet_frame.packets(
            tracked.columns, tracked.rows, of_packets, names, info, moved, tracked._processes
        )
        number_packets(packet_plan, tracked)
        packet_rows, flow_rows = made(packet_plan), making_flows.result()
    tracked.columns = packets.new_columns(0)  # what became a frame lives on there; the rest is given back
    for rows in (transitions, anomalies):
        number_rows(rows, tracked)
    del packet_plan, flow_plan, its_flows, words, of_packets, of_flows
    tracked.said = zeek_outcome.nothing_said()
    return Frames(
        packets=packet_rows,
        options=made(packet_frame.options(tracked.options)),
        flows=flow_rows,
        transitions=made(transition_plan),
        anomalies=made(row_frames.anomalies(anomalies, icmp, causes, names, info)),
        info=info,
        skipped=tracked.skipped,
        copies=tracked.copies,
        quality=quality(tracked.connections.quality, tracked.clock, packet_rows, flow_rows, tracked.skipped),
        local_addresses=addresses.local_addresses(used),
        let_go=tracked.let_go,
        settings=tracked.settings,
    )


def _round_trips(tracked: Tracking, moved: tuple[Rows, Rows] | None, flows: int) -> dict[str, Rows]:
    """Each flow's, by its number in the frames."""
    columns, rows = tracked.columns, tracked.rows
    flow = columns.flow[:rows] if moved is None else moved[0][columns.flow[:rows]]
    return round_trips(optional(columns, "rtt", rows), columns.long_rtt, flow, flows)


@contextlib.contextmanager
def _short_turns() -> Iterator[None]:
    """Let threads take the interpreter from each other after a tenth of a millisecond; usually an importing one has 5.

    The interval is the whole process's: of several threads that make frames the last one gives it back.
    """
    with _turns:
        _short.append(sys.getswitchinterval() if not _short else _short[0])
        sys.setswitchinterval(1e-4)
    try:
        yield
    finally:
        with _turns:
            usual = _short.pop()
            if not _short:
                sys.setswitchinterval(usual)


def _find_quoted(icmp: Rows, anomalies: Rows, tracked: Tracking) -> None:
    """Let each ICMP error know the frame that it quotes."""
    columns, count = tracked.columns, len(icmp)
    packets_of = (columns.frame_ahead, columns.flow, columns.raw_seq, columns.from_client, columns.time_ns)
    slots = np.full(1 << (2 * count).bit_length(), -1, np.int32)
    latest, told = np.zeros(count, np.int64), np.zeros(count, np.int64)
    find_quoted(icmp, anomalies, packets_of, tracked.rows, tracked.table.keys, slots, latest, told)
