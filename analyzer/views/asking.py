"""The thread that asks a session what is new, for the live screen.

It hands each answer over and waits until it is drawn; so for a slow terminal there are fewer questions, and nothing piles up.
The session may be busy for seconds (the first packets of a first use are compiled for): the screen's keys work meanwhile.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from analyzer.frames.standing import Follower

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from analyzer.frames.standing import OneFlow, Standing
    from analyzer.views.screen import LiveScreen

POLL_S = 0.5
"""The session is asked so often."""


class Watched(Protocol):
    """What is asked of a session."""

    @property
    def records(self) -> int: ...  # noqa: D102
    @property
    def drops(self) -> int | None: ...  # noqa: D102
    @property
    def running(self) -> bool: ...  # noqa: D102
    @property
    def remark(self) -> str: ...  # noqa: D102
    @property
    def damage(self) -> list[str]: ...  # noqa: D102
    def standing(self, follower: Follower) -> Standing: ...  # noqa: D102
    def one_flow(self, number: int, last: int = ...) -> OneFlow: ...  # noqa: D102
    def sockets(self) -> pd.DataFrame: ...  # noqa: D102


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the session said."""

    standing: Standing
    sockets: pd.DataFrame
    at: float
    records: int
    flow: OneFlow | None


class Asking:
    """Asks from ``start`` to ``end``; when the session has ended, the screen ends too."""

    def __init__(self, screen: LiveScreen, session: Watched) -> None:
        self._screen, self._session = screen, session
        self._over, self._wake = False, threading.Event()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="analyzer-screen", daemon=True).start()

    def end(self) -> None:
        """Ask no more; returns at once."""
        self._over = True
        self._wake.set()

    def hurry(self) -> None:
        """Ask now: there is something else to be asked."""
        self._wake.set()

    def _run(self) -> None:
        session, screen = self._session, self._screen
        follower, wait = Follower(), 0.0
        while True:
            self._wake.wait(wait)
            self._wake.clear()
            wait, ended = POLL_S, not session.running
            if self._over:
                return
            if not screen.paused or ended:
                said = Answer(
                    session.standing(follower), session.sockets(), time.time(), session.records, screen.asked_flow()
                )
                there = self._hand_over(screen.take, said)
            else:
                there = screen.opened is None or self._hand_over(screen.opened.show, None, screen.asked_flow())
            if ended:
                self._hand_over(screen.exit)
                return
            if not there:
                return

    def _hand_over(self, take: Callable[..., Any], *said: Any) -> bool:
        """Have the application do this; returns whether there still is one."""
        if self._over:
            return False
        try:
            self._screen.call_from_thread(take, *said)
        except (RuntimeError, TimeoutError, concurrent.futures.CancelledError):  # it ended meanwhile
            return False
        return True
