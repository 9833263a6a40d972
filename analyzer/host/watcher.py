"""A thread that asks the kernel for its sockets every so often, while a session sniffs, and lays them beside its flows."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from analyzer.errors import HostError
from analyzer.host.socket_log import SocketLog
from analyzer.host.sockets import limits, sockets
from analyzer.host.watched import watch_counting

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    import pandas as pd

    from analyzer.frames.tracking import Tracking

SETTLE_S = 0.2
"""So long after the kernel was asked the packets of that moment are waited for: they come in blocks."""

SHARE = 0.15
"""Snapshots take no more than this part of a processor: of a host with very many sockets there are fewer."""

_PACKETS_S = 0.05  #: how often it is asked whether the packets of a snapshot's moment are there
_ADDRESSES_S = 10.0  #: so old may be what is known of this host's addresses


class Watcher:
    """Takes snapshots until it is stopped.

    Parameters
    ----------
    tracking
        The session's.
    standstill
        The session's lock: while it is held nothing is fed to the tracking.
    every_s
        How long from one snapshot to the next.
    port
        Only sockets with this port at either end.
    most
        So many rows that hold no more are kept.
    told
        Called with the rows whose verdict is news; in the watcher's thread.
    waiting
        Says how many packets have come that are not fed yet: a snapshot is laid beside the flows once those of its moment are.

    Attributes
    ----------
    cost_s : float
        Processor time of the last snapshot.
    said : str
        Why there are no snapshots, or what they lack; empty where nothing is missing.
    """

    def __init__(
        self,
        tracking: Tracking,
        standstill: contextlib.AbstractContextManager[Any],
        every_s: float,
        port: int | None,
        most: int,
        told: Callable[[pd.DataFrame], None],
        waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        self._tracking, self._standstill = tracking, standstill
        self._every_s, self._port, self._told = every_s, port, told
        self._waiting = waiting
        self.log = SocketLog(most)
        self.lock = threading.Lock()
        self.cost_s = 0.0
        self.said = ""
        self._own: frozenset[str] = frozenset()
        self._own_until = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="analyzer-sockets", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End soon; returns at once."""
        self._ended.set()

    def join(self, seconds: float | None = None) -> None:
        """Wait until it has ended, or so long."""
        self._thread.join(seconds)

    def now(self) -> pd.DataFrame:
        """Return the rows of the last snapshot."""
        with self.lock:
            return self.log.now

    def frame(self) -> pd.DataFrame:
        """Return all rows so far."""
        with self.lock:
            return self.log.frame()

    def take_past(self) -> pd.DataFrame:
        """Give up the rows that hold no more, and return them."""
        with self.lock:
            return self.log.take_past()

    def _run(self) -> None:
        while not self._ended.is_set():
            begun, used = time.monotonic(), time.thread_time()
            try:
                self._take()
            except HostError as error:
                self.said = f"no snapshots of this host's sockets: {error}"
                return
            except Exception as error:  # the session goes on without snapshots, and says so
                logging.getLogger(__name__).exception("a snapshot of the sockets failed")
                self.said = f"no more snapshots of this host's sockets: {type(error).__name__}: {error}"
                return
            self.cost_s = time.thread_time() - used
            pause = max(self._every_s, self.cost_s / SHARE) - (time.monotonic() - begun)
            self._ended.wait(max(pause, 0.0))

    def _take(self) -> None:
        shown = sockets(self._port)
        time_ns = int(shown["time"].iloc[0].value) if len(shown) else time.time_ns()
        self._ended.wait(SETTLE_S)
        while self._waiting() and self._tracking.last_ns < time_ns:
            if self._ended.wait(_PACKETS_S):
                return
        frame, keys, over = watch_counting(self._tracking, self._standstill, shown, time_ns, self._addresses())
        with self.lock:
            news = self.log.add(frame, keys)
        more = (f"{over:,} more ends of flows have no socket here",) if over else ()
        self.said = "; ".join((*limits(shown), *more))
        if len(news):
            self._told(news)

    def _addresses(self) -> frozenset[str]:
        """Return this host's addresses."""
        import psutil

        from analyzer.host.ends import plain

        if time.monotonic() >= self._own_until:
            named = psutil.net_if_addrs().values()
            self._own = frozenset(plain(it.address.split("%")[0]) for some in named for it in some)
            self._own_until = time.monotonic() + _ADDRESSES_S
        return self._own
