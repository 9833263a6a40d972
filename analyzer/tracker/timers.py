"""States that no packet ends: which timer ends them, and when it has run out.

The timers are Linux's (``Settings``). What they write is assumed, has no frame, and is taken back if the end is heard of
again. Nothing ticks: a timer is looked at when the next segment of its flow comes, and at the end of the capture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.kernel import kernel, part
from analyzer.tracker.machine import ASSUMED, move
from analyzer.tracker.states import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
    Event,
)

if TYPE_CHECKING:
    from analyzer.settings import Settings

_TIMEOUT_2MSL, _GIVE_UP = int(Event.TIMEOUT_2MSL), int(Event.GIVE_UP)


class Timers(NamedTuple):
    """The settings' durations as whole nanoseconds, as the kernels take them."""

    time_wait_ns: int
    fin_wait_2_ns: int
    syn_sent_ns: int
    syn_rcvd_ns: int
    fin_unacknowledged_ns: int
    rto_max_ns: int


def timers(settings: Settings) -> Timers:
    """Take the durations out of the settings."""
    return Timers(
        *(
            round(seconds * 1e9)
            for seconds in (
                settings.time_wait_s,
                settings.fin_wait_2_s,
                settings.syn_sent_s,
                settings.syn_rcvd_s,
                settings.orphan_retransmit_s,
                settings.rto_max_s,
            )
        )
    )


@part
def start_timer(end: Any, now_ns: int, timers: Any) -> None:
    """Set the timer of the state that the end is in, if it has none that runs."""
    if end.deadline_ns != 0:
        return
    if end.state == TIME_WAIT:
        end.deadline_ns = now_ns + timers.time_wait_ns
    elif end.state == FIN_WAIT_2:
        end.deadline_ns = now_ns + timers.fin_wait_2_ns
    elif end.state == SYN_SENT:
        end.deadline_ns = now_ns + timers.syn_sent_ns
    elif end.state == SYN_RCVD:
        end.deadline_ns = now_ns + timers.syn_rcvd_ns
    elif end.state == FIN_WAIT_1 or end.state == CLOSING or end.state == LAST_ACK:
        end.deadline_ns = now_ns + timers.fin_unacknowledged_ns


@part
def start_silence(me: Any, you: Any, timers: Any) -> None:
    """At the end of the capture: set the timer of an end that repeats its text to nobody, and has stopped."""
    me.deadline_ns = _deadline(me, you, timers)


@part
def _deadline(me: Any, you: Any, timers: Any) -> int:
    """When the end's state ends if no segment comes any more; an end that nobody answers gives up one RTO after its last."""
    if me.deadline_ns != 0 or (me.state != ESTABLISHED and me.state != CLOSE_WAIT):
        return me.deadline_ns
    if me.retransmitted > 0 and you.packets > 0 and 0 <= you.acked < me.next:
        return me.last_ns + timers.rto_max_ns
    return 0


def deadlines(ends: npt.NDArray[np.void], places: npt.NDArray[np.int64], timers: Timers) -> npt.NDArray[np.int64]:
    """Return when the states of these ends end if no segment comes any more, as the end of the capture says it; 0: never."""
    found = np.empty(len(places), np.int64)
    fill_deadlines(ends, places, timers, found)
    return found


@kernel
def fill_deadlines(ends: Any, places: Any, timers: Any, found: Any) -> None:
    """Fill them in."""
    for i in range(len(places)):
        place = places[i]
        found[i] = _deadline(ends[place], ends[place ^ 1], timers)


@part
def expire(end: Any, now_ns: int, flow: int, log: Any) -> bool:
    """End the state if its timer has run out by now; returns whether it has."""
    if end.deadline_ns == 0 or now_ns < end.deadline_ns:
        return False
    event = _TIMEOUT_2MSL if end.state == TIME_WAIT else _GIVE_UP
    end.ended_row = move(end, event, ASSUMED, end.deadline_ns, 0, flow, log)
    return True
