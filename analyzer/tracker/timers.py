"""States that no packet ends: which timer ends them, and when it has run out.

The timers are Linux's (``Settings``). What they write is assumed, has no frame, and is taken back if the end is heard of
again. Nothing ticks: a timer is looked at when the next segment of its flow comes, and at the end of the capture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.kernel import part
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
    """At the end of the capture: an end that repeats its text to nobody, and has stopped, gave up one RTO after."""
    if me.deadline_ns != 0 or (me.state != ESTABLISHED and me.state != CLOSE_WAIT):
        return
    if me.retransmitted > 0 and you.packets > 0 and 0 <= you.acked < me.next:
        me.deadline_ns = me.last_ns + timers.rto_max_ns


@part
def expire(end: Any, now_ns: int, flow: int, log: Any) -> bool:
    """End the state if its timer has run out by now; returns whether it has."""
    if end.deadline_ns == 0 or now_ns < end.deadline_ns:
        return False
    event = _TIMEOUT_2MSL if end.state == TIME_WAIT else _GIVE_UP
    end.ended_row = move(end, event, ASSUMED, end.deadline_ns, 0, flow, log)
    return True
