"""A capture that is still being made: the stages of a file's reading, fed by a socket or a growing file, in a thread."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING, Self

from analyzer.analysis import Analysis, Path
from analyzer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from analyzer.capture.records import Source
    from analyzer.capture.writer import Target

#: So long ``stop`` waits for what is being worked on.
_PATIENCE_S = 0.15


class LiveSession:
    """Takes packets in from its making to ``stop``; a context manager.

    >>> with analyzer.live("lo", port=9502) as session:  # doctest: +SKIP
    ...     ...  # let something happen
    >>> session.analysis().flows  # doctest: +SKIP

    The packets are read by a thread of its own: in a notebook the cell returns at once and later cells ask
    ``analysis()``. No event loop is touched.
    """

    def __init__(self, source: Source, settings: Settings, port: int | None = None) -> None:
        from analyzer.frames.build import Tracking

        self._source = source
        self._settings = settings
        self._port = port
        self._tracking = Tracking(settings)
        self._lock = threading.Lock()
        self._stopped = False
        self._arrived = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="analyzer-live", daemon=True)
        self._thread.start()

    def analysis(self) -> Analysis:
        """Return the frames of what came so far; after ``stop`` of all that came."""
        if self._stopped:
            self._thread.join()
        with self._lock:
            return Analysis.of(self._tracking.frames(self._source.info), self._settings).select(port=self._port)

    def finish(self) -> None:
        """Let it end once what is there has been read, and return at once; from any thread or signal handler."""
        self._stopped = True
        self._source.stop()

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
    def running(self) -> bool:
        """Whether it still takes packets in."""
        return self._thread.is_alive()

    def news(self, wait_s: float = 0.2) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """Yield the new rows of `packets` and `anomalies`, whenever there are some, until it has ended.

        Only the new rows are made, so that the cost does not grow with what came before. The categories of addresses are
        those of the new rows; what only the end of a capture shows is in ``analysis()`` alone.

        Raises
        ------
        AnalyzerError
            What ended it, if not ``stop``.
        """
        segments = troubles = 0
        while True:
            ended = not self.running
            self._arrived.wait(wait_s)
            self._arrived.clear()
            with self._lock:
                tracking = self._tracking
                if tracking.rows > segments:
                    packets, anomalies = tracking.news(self._source.info, segments, troubles)
                    segments, troubles = tracking.rows, int(tracking.log.counts[1])
                else:
                    packets = None
            if packets is not None:
                yield self._on_port(packets), anomalies
            if ended:
                self.wait()
                return

    def _on_port(self, packets: pd.DataFrame) -> pd.DataFrame:
        if self._port is None:
            return packets
        return packets[(packets["sport"] == self._port) | (packets["dport"] == self._port)]

    def _run(self) -> None:
        try:
            for records in self._source.batches():
                if len(records.offset):
                    with self._lock:
                        self._tracking.feed(records)
                    self._arrived.set()
        except BaseException as error:  # noqa: BLE001  # it is raised again where somebody waits for it
            if not self._stopped:
                self._error = error
        finally:
            self._source.close()
            self._arrived.set()

    def __enter__(self) -> Self:
        """Return the session, which runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()


def live(
    interface: str | Sequence[str] = "any",
    *,
    port: int | None = None,
    bpf: str | None = None,
    write: Path | Target | None = None,
    snap_length: int = 0,
    duration_s: float | None = None,
    settings: Settings | None = None,
) -> LiveSession:
    """Sniff and analyse what passes.

    Parameters
    ----------
    interface : str or sequence of str
        A name, several, or ``"any"``.
    port : int, optional
        Only connections with this port at either end.
    bpf : str, optional
        A capture filter in libpcap's language.
    write : path or Target, optional
        Write what comes to this file, too (pcapng); read again it gives the same frames. A ``Target`` also says when to
        begin another file.
    snap_length : int
        Bytes to keep of each packet; 0 for all.
    duration_s : float, optional
        End after so many seconds.
    settings : Settings, optional
        Timers and limits.

    Returns
    -------
    LiveSession
        Which sniffs already.

    Raises
    ------
    PermissionDenied
        Without the right to sniff (root, or CAP_NET_RAW).
    InterfaceError
        If there is no such interface.
    FilterError
        If libpcap does not compile the filter.
    CaptureError
        If the file cannot be written.
    """
    from analyzer.capture.live import LiveSource
    from analyzer.capture.writer import Target

    settings = settings or Settings()
    target = write if write is None or isinstance(write, Target) else Target(os.fspath(write))
    source = LiveSource(
        interface,
        port=port,
        bpf=bpf,
        duration_s=duration_s,
        snap_length=snap_length,
        write=target,
        settings=settings,
    )
    return LiveSession(source, settings)


def follow(
    paths: Path | Sequence[Path], *, port: int | None = None, bpf: str | None = None, settings: Settings | None = None
) -> LiveSession:
    """Read a capture that is still being written, and go on as it grows or is rotated, as ``tail -F`` does.

    Parameters
    ----------
    paths : path or sequence of paths
        The file that tcpdump writes. Of ``tcpdump -C`` the first one's name, the others follow; of ``-G`` a pattern or
        the folder. Of several those that are there are read first, in time order; then the one changed last is followed.
    port : int, optional
        Keep connections with this port at either end; numbers of frames and flows stay those of the whole capture.
    bpf : str, optional
        A capture filter in libpcap's language.
    settings : Settings, optional
        Timers and limits.

    Returns
    -------
    LiveSession
        Which reads already. It ends with ``stop`` or ``finish``, having read what is there then. What cannot be read on
        the way (not a capture after all, a filter that libpcap refuses) is raised by ``wait`` and ``news``.

    Raises
    ------
    CaptureError
        If it is missing, a pipe (which is read as it comes anyway) or text.
    """
    from analyzer.decode.text_source import open_source

    settings = settings or Settings()
    return LiveSession(open_source(paths, bpf=bpf, follow=True, settings=settings), settings, port)
