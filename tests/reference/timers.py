"""States that no packet ends. Nothing ticks: a timer is looked at when the next segment comes, and at the very end."""

from __future__ import annotations

from analyzer.settings import Settings
from analyzer.tracker.marks import Evidence
from analyzer.tracker.states import Event, State
from tests.reference.connection import End
from tests.reference.machine import Log


def durations_ns(settings: Settings) -> dict[State, int]:
    """How long an end may stay in a state that has a timer."""
    seconds = {
        State.TIME_WAIT: settings.time_wait_s,
        State.FIN_WAIT_2: settings.fin_wait_2_s,
        State.SYN_SENT: settings.syn_sent_s,
        State.SYN_RCVD: settings.syn_rcvd_s,
        State.FIN_WAIT_1: settings.orphan_retransmit_s,
        State.CLOSING: settings.orphan_retransmit_s,
        State.LAST_ACK: settings.orphan_retransmit_s,
    }
    return {state: round(duration * 1e9) for state, duration in seconds.items()}


def start(end: End, now_ns: int, durations: dict[State, int]) -> None:
    """Set the timer of the end's state, if it has one and none runs."""
    if end.deadline_ns is None and end.state in durations:
        end.deadline_ns = now_ns + durations[end.state]


def expire(end: End, now_ns: int, flow: int, log: Log) -> None:
    """End the state if its time is over."""
    if end.deadline_ns is not None and now_ns >= end.deadline_ns:
        event = Event.TIMEOUT_2MSL if end.state is State.TIME_WAIT else Event.GIVE_UP
        end.ended = log.move(end, event, Evidence.ASSUMED, flow, end.deadline_ns)


def start_silence(me: End, you: End, rto_max_ns: int) -> None:
    """Who repeats what nobody acknowledges does it at least so often (RFC 6298 2.5), or has given up."""
    waits = me.retransmitted and you.packets and 0 <= you.acked < me.next
    if me.state in (State.ESTABLISHED, State.CLOSE_WAIT) and me.deadline_ns is None and waits:
        me.deadline_ns = me.last_ns + rto_max_ns
