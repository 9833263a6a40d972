"""What is kept while records come in; a batch of them goes through decode, flows and tracker into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.capture.clock import Clock
from analyzer.decode.batch import SegmentBatch
from analyzer.decode.segment import SKIPPED_WORDS, Skipped
from analyzer.flows import connection, copies, table
from analyzer.flows.numbering import Numbering
from analyzer.frames import forged as forged_flows
from analyzer.frames.carried import Carried
from analyzer.frames.news import NewAnomalies, Reader, new_anomalies, new_frames
from analyzer.settings import Settings
from analyzer.tracker import explanation, packets, verdicts, zeek, zeek_outcome
from analyzer.tracker import log as logs
from analyzer.tracker.outcome import ended, in_order_of_time
from analyzer.tracker.replay import Ways, replay
from analyzer.tracker.timers import timers

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.capture.records import CaptureInfo, Records

Rows = npt.NDArray[Any]

_FIRST_ROOM = 1 << 16
_SLACK = 1.1  # over an estimate of what is to come
_MOST_FRAMES = int(np.iinfo(logs.TRANSITION["frame"]).max)
_MOST_FLOWS = int(np.iinfo(np.int32).max)


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
        self.said = zeek_outcome.nothing_said()
        self.verdicts = verdicts.new_verdicts()
        self._judged_again = self._ended = False
        self._causes: Rows | None = None
        self.located = self.replayed = self.judged = self.rows = self.rows_found = 0
        self.last_ns = 0
        self.flow_numbers, self.stream_numbers = Numbering(), Numbering()
        self.carried = Carried()
        self.guests: npt.NDArray[np.bool_] = np.zeros(
            0, np.bool_
        )  #: connections that have rows here and stay elsewhere
        self.let_go: dict[str, int] = {}  #: what went, by kind
        self.readers: list[Reader] = []
        self._processes: list[tuple[Rows, Rows]] = []  #: frames and process ids, of the batches that have any

    def feed(self, records: Records) -> None:
        """Take in a batch of records."""
        self.note(records)
        self._batch.decode(records)
        self.locate(self._batch)
        self.replay(self._batch)
        self.write(self._batch)
        self.judge(self._batch)

    def has_no_room(self, records: Records) -> str:
        """Say why no more records can be taken in: a session that goes on for days runs out of numbers; usually empty."""
        if len(records.frame) and int(records.frame[-1]) > _MOST_FRAMES:
            return f"this session is full: it has numbers for {_MOST_FRAMES:,} packets. Begin another one."
        if self.flow_numbers.following + int(self.connections.counts[0]) + len(records.frame) > _MOST_FLOWS:
            return f"this session is full: it has numbers for {_MOST_FLOWS:,} connections. Begin another one."
        return ""

    def note(self, records: Records) -> None:
        """Keep which process each record belongs to; most captures do not know."""
        if len(records.process) and records.process.max() >= 0:
            known = records.process >= 0
            self._processes.append((records.frame[known], records.process[known]))

    # The four steps of a batch. ``locate`` keeps to the flow table and the sights, ``replay`` to the connections, ``write`` and
    # ``judge`` to the columns and the verdicts: so a thread of its own may write and judge the batch before, and read, decode and
    # locate the next one, while this one is replayed.

    def locate(self, batch: SegmentBatch, expected: int | None = None) -> None:
        """Find each segment's pair, and what it is a copy of.

        expected: about how many records the capture has in all, where that is known.
        """
        self._skipped += batch.skipped
        self.last_ns = max(self.last_ns, batch.last_ns)
        self.located += batch.filled
        self.table = table.with_room(self.table, batch.filled, self._ahead(self.located, expected))
        table.find_pairs(
            batch.segments, batch.filled, self.table, self.settings.vlan_in_key, self.settings.tunnel_in_key
        )
        if self.settings.copies != "keep":
            marked = self.settings.copies == "mark"
            self.rows_found = copies.find_copies(batch.segments, batch.filled, self.sights, self.rows_found, marked)
        batch.pairs, batch.addresses = (int(count) for count in self.table.counts)

    def replay(self, batch: SegmentBatch, expected: int | None = None) -> None:
        """Take the segments through their connections."""
        more, ahead = batch.filled, self._ahead(self.replayed, expected)
        self.connections = connection.with_room(self.connections, more, batch.pairs, batch.addresses, ahead)
        self.log = logs.with_room(self.log, more + len(batch.steps), ahead)
        self.options = packets.options_with_room(self.options, more, ahead)
        self.replayed += more
        self.words = zeek.with_room(self.words, more, len(self.connections.flows), ahead)
        settings = self.settings
        ways = Ways(settings.zeek_timeouts, settings.zeek_checksums)
        states = (self.connections, self.words, self.log, self.options, self._timers)
        replay(batch.segments, batch.sacks, more, ways, *states)
        zeek_outcome.spare(self.words)
        batch.streams = int(self.connections.counts[1])
        logs.note_steps(batch.steps, self.log)

    def write(self, batch: SegmentBatch, expected: int | None = None) -> None:
        """Write the packets' columns."""
        needed = self.rows + batch.filled
        if needed > len(self.columns.time_ns):
            room = max(needed, _FIRST_ROOM, 3 * self.rows // 2, int(_SLACK * (expected or 0)))
            self.columns = packets.grown(self.columns, self.rows, room)
        batch.first_row = self.rows
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

    def forged(self) -> npt.NDArray[np.bool_]:
        """Return which flows a forged SYN opened: they are no connections, and have no numbers in the frames."""
        flows = self.connections.flows[: int(self.connections.counts[0])]
        forged: npt.NDArray[np.bool_] = flows["marks"] & connection.MARK_FORGED != 0
        return forged

    @property
    def flows_so_far(self) -> int:
        """How many connections there were, those included that were let go of."""
        return self.flow_numbers.next_after(int(self.connections.counts[0]), self.forged())

    def become(self, other: Tracking) -> None:
        """Go on with another one's arrays, of which some rows were let go."""
        names = ("table", "connections", "log", "columns", "options", "words", "verdicts", "rows", "rows_found")
        for name in (*names, "flow_numbers", "stream_numbers", "carried"):
            setattr(self, name, getattr(other, name))

    # What only the end shows, in three steps, each done once; ``conclude`` does them all, and nothing can be fed afterwards.
    # ``judge_again`` may go on beside ``end``; ``explain`` comes after both, beside what needs no anomalies and no ends' counts.

    def judge_again(self) -> None:
        """Say what Wireshark sees in a second pass, and all that Zeek says; what they say it by is not needed any more."""
        if self._judged_again:
            return
        self._judged_again = True
        bases = self.verdicts.ways["base"].copy()
        verdicts.read_again(self.verdicts, bases, verdicts.found_in(self.columns))
        self.verdicts, self.table = verdicts.new_verdicts(), table.without_slots(self.table)
        self.said = zeek_outcome.said(self.words, int(self.connections.counts[0]))
        self.words = zeek.new_words()

    def conclude(self, ended_ns: int | None = None) -> None:
        """Say all that only the end shows; ended_ns as ``end`` takes it."""
        self.judge_again()
        self.end(ended_ns)
        self.explain()

    def end(self, ended_ns: int | None = None) -> None:
        """Let timers run out, and say of each handshake and close what became of it.

        ended_ns: when the capture ended, where that is known; else it ends with its last record.
        """
        if self._ended:
            return
        self._ended = True
        self.log = ended(self.connections, max(self.last_ns, ended_ns or 0), self.log, self._timers)
        count = int(self.log.counts[0])
        timer_rows = self.log.transitions[:count]
        timer_rows = timer_rows[timer_rows["frame"] == 0]
        if len(timer_rows):
            order = np.argsort(timer_rows["time_ns"], kind="stable")
            in_order_of_time(self.log.transitions, count, timer_rows, order)

    def explain(self) -> Rows:
        """Say why segments came again, when the capture has ended; ends and anomalies are corrected by it."""
        if self._causes is None:
            anomalies, icmp = self.log.anomalies[: int(self.log.counts[1])], self.log.icmp[: int(self.log.counts[2])]
            whole = (self.columns, self.options, self.connections)
            self._causes = explanation.explained(anomalies, icmp, *whole, 0, self.rows, corrects_ends=True)
        return self._causes

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
            self.connections.gaps,
        )
        log = self.log
        copy.log = logs.Log(log.transitions.copy(), log.anomalies.copy(), log.counts.copy(), log.icmp.copy())
        copy.columns = packets.between(self.columns, 0, self.rows)
        copy.columns = copy.columns._replace(analysis=copy.columns.analysis.copy(), written=self.columns.written.copy())
        copy.verdicts, copy.rows, copy.last_ns = self.verdicts, self.rows, self.last_ns
        copy.options = self.options._replace(counts=self.options.counts.copy())
        copy.words = self.words
        copy.flow_numbers, copy.stream_numbers, copy.carried = self.flow_numbers, self.stream_numbers, self.carried
        copy.let_go = dict(self.let_go)
        return copy

    def news(self, info: CaptureInfo, reader: Reader) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Make the rows of `packets` and `anomalies` that a reader has not had yet; see ``frames.news``."""
        return new_frames(self, info, reader)

    def new_anomalies(self, troubles: int) -> NewAnomalies:
        """Return the rows of the log that came after so many, and what belongs to them."""
        return new_anomalies(self, troubles)

    def moved(self) -> tuple[Rows, Rows] | None:
        """Of each flow its number in the frames, and whether its ends change places there; None where no SYN was forged."""
        forged = self.forged()
        return forged_flows.places(forged, self.connections.flows[: len(forged)]) if forged.any() else None
