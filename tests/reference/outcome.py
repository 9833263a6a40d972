"""What only the end of the capture shows: how far each connection opened, how it closed, what never came."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from analyzer.tracker.anomalies import Kind
from analyzer.tracker.marks import Close, Evidence, Handshake
from analyzer.tracker.states import Event
from tests.reference.connection import Change, End, Flow
from tests.reference.machine import Anomaly, Log
from tests.reference.timers import expire, start_silence

PENDING_NS = 1_000_000_000  #: an attempt younger than the first retransmission time-out may yet be answered (RFC 6298)


def conclude(flows: list[Flow], last_ns: int, log: Log, rto_max_ns: int) -> None:
    """Say it; last_ns: the time of the last record."""
    for flow in (flow for flow in flows if not flow.forged):
        start_silence(flow.client, flow.server, rto_max_ns)
        start_silence(flow.server, flow.client, rto_max_ns)
        for end in flow.ends:
            expire(end, last_ns, flow.number, log)
        flow.handshake = handshake(flow)
        flow.close = close(flow)
        if flow.client.packets + flow.server.packets > 1:
            flow.completeness |= flow.first_bits
        note_silence(flow, last_ns, log)
    log.changes = in_order_of_time(log.changes)


def note_silence(flow: Flow, last_ns: int, log: Log) -> None:
    client, server = flow.ends
    if client.packets and server.packets:
        return
    if flow.open_1 and not flow.refused and not client.spoke:
        if last_ns - flow.start_ns >= PENDING_NS:
            log.anomalies.append(Anomaly(flow.syn_ns or 0, flow.open_1, flow.number, 0, Kind.SYN_UNANSWERED))
    elif client.spoke or server.spoke:
        log.anomalies.append(Anomaly(flow.start_ns, flow.first_frame, flow.number, None, Kind.ONE_DIRECTION))


def handshake(flow: Flow) -> Handshake:
    if flow.refused:
        return Handshake.REFUSED
    if flow.simultaneous_open:
        return Handshake.SIMULTANEOUS
    if not flow.open_1 and not flow.open_2:
        return Handshake.NOT_CAPTURED
    if flow.open_3:
        return Handshake.COMPLETE
    if flow.reset_early:
        return Handshake.RESET
    if flow.open_2:
        return Handshake.SYN_ACK_ONLY
    return Handshake.RESET if flow.reset_frame else Handshake.SYN_ONLY


def close(flow: Flow) -> Close:
    if flow.close_2 and flow.close_4:
        return Close.SIMULTANEOUS if flow.simultaneous_close else Close.ORDERLY
    if flow.reset_frame or flow.refused:
        return Close.RESET
    if any(gave_up(end) for end in flow.ends):
        return Close.TIMED_OUT
    return Close.HALF_CLOSED if flow.close_1 else Close.STILL_OPEN


def gave_up(end: End) -> bool:
    ended = end.ended
    return ended is not None and ended.event is Event.GIVE_UP and ended.evidence is not Evidence.REFUTED


def in_order_of_time(changes: list[Change]) -> list[Change]:
    """Put the timers' rows where their time is; the others stay in order of frames, also where the clock went back."""
    by_segments = [change for change in changes if change.frame is not None]
    by_timers = sorted((change for change in changes if change.frame is None), key=lambda change: change.time_ns)
    # A timer's row stands behind the last segment's row that is no later than it.
    earliest_from = list(accumulate(reversed([change.time_ns for change in by_segments]), min))[::-1]
    ordered: list[Change] = []
    taken = 0
    for timer in by_timers:
        place = bisect_right(earliest_from, timer.time_ns)
        ordered += by_segments[taken:place]
        taken = max(taken, place)
        ordered.append(timer)
    return ordered + by_segments[taken:]
