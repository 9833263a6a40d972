"""A capture that is still being made: the stages of a file's reading, fed by a socket or a growing file, in a thread."""

from __future__ import annotations

import atexit
import collections
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from analyzer.analysis import Analysis
from analyzer.errors import CaptureError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    import pandas as pd

    from analyzer.capture.records import Source
    from analyzer.frames.archive import Archive
    from analyzer.frames.news import Reader
    from analyzer.frames.standing import Follower, OneFlow, Standing
    from analyzer.frames.tracking import Tracking
    from analyzer.host.watcher import Watcher
    from analyzer.settings import Settings

#: So long ``stop`` waits for what is being worked on.
_PATIENCE_S = 0.15
#: So many times a snapshot's new verdicts are kept for ``verdicts``.
_MOST_TOLD = 1000


class Counts(NamedTuple):
    """What a session has taken in and lost so far."""

    records: int  #: that came
    bytes: int  #: of them
    segments: int  #: TCP segments among them: rows of `packets`
    flows: int  #: connections so far
    kernel_drops: int | None  #: packets that the kernel had no room for
    waiting: int  #: packets that came and are not followed yet: they come faster than they can be
    snapshots: int  #: of this host's sockets
    snapshot_cost_s: float  #: processor time of the last one


class LiveSession:
    """Takes packets in from its making to ``stop``; a context manager.

    >>> with analyzer.live("lo", port=9502) as session:  # doctest: +SKIP
    ...     ...  # let something happen
    >>> session.analysis().flows  # doctest: +SKIP

    The packets are read by a thread of its own: in a notebook the cell returns at once and later cells ask
    ``analysis()``. No event loop is touched.

    What can be asked while it goes on, from any thread; nothing but ``analysis`` costs more the longer it has run:

    ``news()``
        Yields ``(packets, anomalies)``: the rows that are new, as they come; empty ones where only a verdict is new.
    ``flows()``
        One row per connection that is open or was lately, both ends' states as they are now, each with this host's socket
        (`current_flows` in docs/frames.md; index `flow`).
    ``sockets()``
        One row per socket of this host, and per end of a flow that should have one, as of the last snapshot, with verdict
        and reason (`live_sockets`); ``Analysis.sockets`` has the history of all snapshots.
    ``verdicts()``
        The rows of ``sockets()`` whose verdict is news since this was asked last.
    ``counts``, ``drops``, ``records``, ``running``
        Plain numbers.
    ``damage``
        Sentences: which of several interfaces have gone away; the others go on.
    ``remark``
        Why there are no snapshots, or what they lack; empty where nothing is missing.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings,
        port: int | None = None,
        *,
        live: bool = False,
        watch_port: int | None = None,
        archive: Archive | None = None,
    ) -> None:
        from analyzer.frames.tracking import Tracking

        self._source = source
        self._settings = settings
        self._port = port
        self._tracking = Tracking(settings)
        self._lock = threading.Lock()
        self._stopped = False
        self._arrived = threading.Event()
        self.ready = threading.Event()  #: set when packets need not wait for compiled code any more
        self._error: BaseException | None = None
        self._told: collections.deque[pd.DataFrame] = collections.deque(maxlen=_MOST_TOLD)
        self._tellings = 0
        self.passed_over = 0  #: segments that ``news`` did not make
        self._live, self._archive = live, archive
        self._watcher: Watcher | None = None
        self._thread = threading.Thread(target=self._run, name="analyzer-live", daemon=True)
        if live and settings.snapshot_s > 0:
            from analyzer.host.watcher import Watcher

            self._watcher = Watcher(
                self._tracking,
                self._lock,
                settings.snapshot_s,
                watch_port,
                settings.socket_rows,
                self._tell,
                self._waiting,
            )
        self._thread.start()

    def analysis(self) -> Analysis:
        """Return the frames of what came so far; after ``stop`` of all that came."""
        from analyzer.frames.build import frames_so_far

        if self._stopped:
            self._thread.join()
        with self._lock:
            analysis = Analysis.of(frames_so_far(self._tracking, self._source.info), self._settings)
        if self._watcher is not None:
            analysis.sockets = self._watcher.frame()
            if self._watcher.log.forgotten:
                analysis.capture.let_go["sockets"] = self._watcher.log.forgotten
        return analysis.select(port=self._port)

    def save(self) -> pathlib.Path:
        """Stop, and complete the folder that the session has saved to while it ran; ``analyzer.load`` reads it.

        Raises
        ------
        ValueError
            If it was not told to save, or did already.
        StoreError
            If the folder could not be written.
        """
        from analyzer.frames.build import frames_so_far

        self.stop()
        self._thread.join()
        archive, self._archive = self._archive, None
        if archive is None:
            raise ValueError("this session saves to no folder, or has done so: give live() one with save=")
        sockets = self.sockets().iloc[:0] if self._watcher is None else self._watcher.frame()
        return archive.finish(frames_so_far(self._tracking, self._source.info), sockets)

    def flows(self, lately_s: float = 10.0) -> pd.DataFrame:
        """Return the connections that are open, or were up to so long ago, as they are now; see `current_flows`."""
        from analyzer.host.current_flows import FlowsNow

        with self._lock:
            shown = FlowsNow(self._tracking, time.time_ns(), lately_s)
        frame = shown.frame(self.sockets())
        if self._port is None:
            return frame
        return frame[(frame["client_port"] == self._port) | (frame["server_port"] == self._port)]

    def sockets(self) -> pd.DataFrame:
        """Return this host's sockets as of the last snapshot, beside their flows; see `live_sockets`."""
        from analyzer.frames import schema

        return schema.empty("live_sockets") if self._watcher is None else self._watcher.now()

    def verdicts(self) -> pd.DataFrame:
        """Return the rows of `live_sockets` whose verdict is news since this was asked last."""
        from analyzer.frames.stacked import stacked

        told = []
        while self._told:
            told.append(self._told.popleft())
        return stacked("live_sockets", told)

    def finish(self) -> None:
        """Let it end once what is there has been read, and return at once; from any thread or signal handler."""
        self._stopped = True
        self._source.stop()
        if self._watcher is not None:
            self._watcher.stop()

    def stop(self) -> None:
        """Stop; within 0.2 s. What came stays; what of it is still being worked on, ``analysis`` waits for."""
        self.finish()
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():  # it may be compiling, and must not be cut off by the interpreter's end
            atexit.register(self._thread.join)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended, or so long; returns whether it has.

        Raises
        ------
        AnalyzerError
            What ended it, if not ``stop``.
        """
        self._thread.join(seconds)
        if not self.running and self._error is not None:
            raise self._error
        return not self.running

    @property
    def drops(self) -> int | None:
        """Packets that the kernel had no room for; None where it does not say."""
        return self._source.info.kernel_drops

    @property
    def records(self) -> int:
        """Records that came so far."""
        return self._source.info.records

    @property
    def counts(self) -> Counts:
        """What came and what was lost so far."""
        info, watcher = self._source.info, self._watcher
        with self._lock:
            segments = self._tracking.rows + self._tracking.let_go.get("packets", 0)
            flows = self._tracking.flows_so_far
        return Counts(
            records=info.records,
            bytes=info.bytes,
            segments=segments,
            flows=flows,
            kernel_drops=info.kernel_drops,
            waiting=self._waiting(),
            snapshots=0 if watcher is None else watcher.log.snapshots,
            snapshot_cost_s=0.0 if watcher is None else watcher.cost_s,
        )

    @property
    def let_go(self) -> dict[str, int]:
        """What is not in memory any more, by kind, so that it stays flat; see ``Settings.live_packets``."""
        return dict(self._tracking.let_go)

    @property
    def remark(self) -> str:
        """Why there are no snapshots of this host's sockets, or what they lack; empty where nothing is missing."""
        return "" if self._watcher is None else self._watcher.said

    @property
    def damage(self) -> list[str]:
        """What could not be read any more from some moment on, in sentences: one of several interfaces that has gone away."""
        return [str(damage) for damage in self._source.info.damage]

    @property
    def running(self) -> bool:
        """Whether it still takes packets in."""
        return self._thread.is_alive()

    def news(self, wait_s: float = 0.2, most: int | None = None) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """Yield the new rows of `packets` and `anomalies`, whenever there are some, until it has ended.

        Only the new rows are made, so that the cost does not grow with what came before. The categories of addresses are
        those of the new rows; what only the end of a capture shows is in ``analysis()`` alone. Where there is a new verdict
        and no packet, both are empty. most: of more new segments at one time only the newest are made; ``passed_over`` counts
        the others.

        Raises
        ------
        AnalyzerError
            What ended it, if not ``stop``.
        """
        from analyzer.frames.news import Reader

        reader, told = Reader(), 0
        with self._lock:
            self._tracking.readers.append(reader)
        try:
            while True:
                ended = not self.running
                self._arrived.wait(wait_s)
                self._arrived.clear()
                before, told = told, self._tellings
                with self._lock:
                    found = self._new_to(reader, most, wanted=told > before)
                if found is not None:
                    yield self._on_port(found[0]), found[1]
                if ended:
                    self.wait()
                    return
        finally:
            with self._lock:
                self._tracking.readers.remove(reader)

    def _new_to(self, reader: Reader, most: int | None, *, wanted: bool) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """Make what is new; wanted: even if it is nothing."""
        tracking = self._tracking
        over = 0 if most is None else tracking.rows - reader.segments - most
        if over > 0:
            reader.segments += over
            self.passed_over += over
        self.passed_over += reader.missed
        reader.missed = 0
        if tracking.rows > reader.segments or wanted:
            return tracking.news(self._source.info, reader)
        return None

    def standing(self, follower: Follower) -> Standing:
        """Tell how the connections stand now that something happened to since it asked last; the cost is that of what is new."""
        from analyzer.frames.standing import standing

        with self._lock:
            return standing(self._tracking, self._source.info, follower)

    def one_flow(self, number: int, last: int = 1000) -> OneFlow:
        """Return one connection's own frames; of its segments the last so many."""
        from analyzer.frames.standing import one_flow

        with self._lock:
            return one_flow(self._tracking, self._source.info, number, last)

    def _on_port(self, packets: pd.DataFrame) -> pd.DataFrame:
        if self._port is None:
            return packets
        return packets[(packets["sport"] == self._port) | (packets["dport"] == self._port)]

    def _let_go(self) -> Tracking | None:
        """Let go of what has to go, so that memory stays flat; returns it."""
        from analyzer.frames.eviction import is_due, let_go

        return let_go(self._tracking, wanted=self._archive is not None) if is_due(self._tracking) else None

    def _waiting(self) -> int:
        """How many packets have come and are not followed yet; a file keeps none waiting."""
        return int(getattr(self._source, "waiting", 0))

    def _tell(self, rows: pd.DataFrame) -> None:
        self._told.append(rows)
        self._tellings += 1
        self._arrived.set()

    def _run(self) -> None:
        from analyzer.frames.compiling import load_for_session

        try:
            if self._live:
                load_for_session()
            self.ready.set()
            for records in self._source.batches():
                if len(records.offset):
                    if full := self._tracking.has_no_room(records):
                        raise CaptureError(full)
                    with self._lock:
                        self._tracking.feed(records)
                        gone = self._let_go() if self._live else None
                    self._arrived.set()
                    if gone is not None and self._archive is not None:
                        past = self.sockets().iloc[:0] if self._watcher is None else self._watcher.take_past()
                        self._archive.add(gone, self._source.info, past)
        except BaseException as error:  # noqa: BLE001  # it is raised again where somebody waits for it
            self._error = error
        finally:
            self.ready.set()
            try:
                self._source.close()
            except BaseException as error:  # noqa: BLE001  # the file that was written could not be completed
                self._error = self._error or error
            finally:
                if self._watcher is not None:
                    self._watcher.stop()
                self._arrived.set()

    def __enter__(self) -> Self:
        """Return the session, which runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()
