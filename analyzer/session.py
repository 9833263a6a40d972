"""A live capture: the stages of a file's reading, fed by a socket, in a thread of their own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from analyzer.analysis import Analysis
from analyzer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from analyzer.capture.live import LiveSource


class LiveSession:
    """Sniffs from its making to ``stop``; a context manager.

    >>> with analyzer.live("lo", port=9502) as session:  # doctest: +SKIP
    ...     ...  # let something happen
    >>> session.analysis().flows  # doctest: +SKIP

    The socket is read by a thread of its own: in a notebook the cell returns at once and later cells ask
    ``analysis()``. No event loop is touched.
    """

    def __init__(self, source: LiveSource, settings: Settings) -> None:
        from analyzer.frames.build import Tracking

        self._source = source
        self._settings = settings
        self._tracking = Tracking(settings)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._arrived = threading.Event()
        self._error: BaseException | None = None
        self._fed = 0
        self._thread = threading.Thread(target=self._run, name="analyzer-live", daemon=True)
        self._thread.start()

    def analysis(self) -> Analysis:
        """Return the frames of what was seen so far."""
        with self._lock:
            return Analysis.of(self._tracking.frames(self._source.info), self._settings)

    def stop(self) -> None:
        """Stop sniffing; within 0.2 s. What was seen stays."""
        self._stopped.set()
        self._source.stop()
        self._thread.join()
        self._source.close()

    @property
    def drops(self) -> int | None:
        """Packets that the kernel had no room for; None where it does not say."""
        return self._source.info.kernel_drops

    @property
    def running(self) -> bool:
        """Whether it still sniffs."""
        return self._thread.is_alive()

    def news(self, wait_s: float = 0.2) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """Yield the new rows of `packets` and `anomalies`, whenever there are some, until it is stopped.

        Raises
        ------
        AnalyzerError
            What ended the sniffing, if not ``stop``.
        """
        segments = troubles = 0
        while True:
            ended = not self.running
            self._arrived.wait(wait_s)
            if self._arrived.is_set() or ended:
                self._arrived.clear()
                seen = self.analysis()
                if len(seen.packets) > segments:
                    yield seen.packets.iloc[segments:], seen.anomalies.iloc[troubles:]
                segments, troubles = len(seen.packets), len(seen.anomalies)
            if ended:
                if self._error is not None:
                    raise self._error
                return

    def _run(self) -> None:
        try:
            for records in self._source.batches():
                if len(records.offset):
                    with self._lock:
                        self._tracking.feed(records)
                    self._arrived.set()
                if self._stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  # it is raised again where somebody waits for it
            if not self._stopped.is_set():
                self._error = error
        finally:
            self._arrived.set()

    def __enter__(self) -> Self:
        """Return the session, which runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()


def live(
    interface: str = "any", *, port: int | None = None, bpf: str | None = None, settings: Settings | None = None
) -> LiveSession:
    """Sniff on an interface and analyse what passes.

    Parameters
    ----------
    interface : str
        Its name, or ``"any"``.
    port : int, optional
        Only connections with this port at either end.
    bpf : str, optional
        A capture filter in libpcap's language.
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
    """
    from analyzer.capture.live import LiveSource

    settings = settings or Settings()
    return LiveSession(LiveSource(interface, port=port, bpf=bpf, settings=settings), settings)
