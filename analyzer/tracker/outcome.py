"""What became of each connection, said at the end of the capture: how far it opened, how it closed, what never came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyzer.flows.connection import (
    KNOWN_ACK,
    MARK_FORGED,
    MARK_REFUSED,
    MARK_RESET_EARLY,
    MARK_SIMULTANEOUS_CLOSE,
    MARK_SIMULTANEOUS_OPEN,
)
from analyzer.kernel import kernel, part
from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.log import Log, with_room_for
from analyzer.tracker.machine import NO_ROW, REFUTED
from analyzer.tracker.marks import Close, Handshake
from analyzer.tracker.quality import judge_checksums
from analyzer.tracker.states import Event
from analyzer.tracker.timers import expire, start_silence

if TYPE_CHECKING:
    from analyzer.flows.connection import Connections
    from analyzer.tracker.timers import Timers

_COMPLETE, _SYN_ONLY, _SYN_ACK_ONLY = int(Handshake.COMPLETE), int(Handshake.SYN_ONLY), int(Handshake.SYN_ACK_ONLY)
_REFUSED, _RESET_OPENING = int(Handshake.REFUSED), int(Handshake.RESET)
_SIMULTANEOUS_OPEN, _NOT_CAPTURED = int(Handshake.SIMULTANEOUS), int(Handshake.NOT_CAPTURED)
_ORDERLY, _SIMULTANEOUS_CLOSE, _HALF_CLOSED = int(Close.ORDERLY), int(Close.SIMULTANEOUS), int(Close.HALF_CLOSED)
_RESET, _TIMED_OUT, _STILL_OPEN = int(Close.RESET), int(Close.TIMED_OUT), int(Close.STILL_OPEN)
_SYN_UNANSWERED, _ONE_DIRECTION = int(Kind.SYN_UNANSWERED), int(Kind.ONE_DIRECTION)
_NO_DETAIL, _GIVE_UP = int(Detail.NONE), int(Event.GIVE_UP)
_PENDING_NS = 1_000_000_000  # an attempt younger than the first retransmission time-out may yet be answered (RFC 6298)

ANOMALIES_PER_FLOW = 1


def ended(connections: Connections, last_ns: int, log: Log, timers: Timers) -> Log:
    """End the capture for these connections, in their rows; returns the log with what that writes."""
    flows = int(connections.counts[0])
    due = count_due(connections.ends, 2 * flows, last_ns, timers)
    log = with_room_for(log, due, flows * ANOMALIES_PER_FLOW)
    conclude(connections, last_ns, log)
    return log


@kernel
def count_due(ends: Any, count: int, last_ns: int, timers: Any) -> int:
    """Start the timers that only the end of the capture starts, and count those that run out by then.

    So many rows ``conclude`` will write.
    """
    due = 0
    for i in range(count):
        start_silence(ends[i], ends[i ^ 1], timers)
        due += ends[i].deadline_ns != 0 and ends[i].deadline_ns <= last_ns
    return due


@kernel
def conclude(connections: Any, last_ns: int, log: Any) -> None:
    """Let timers run out, fill each flow's ``handshake`` and ``close``, note what only the end shows.

    last_ns: time of the last record. The log has room for ``count_due`` transitions and ANOMALIES_PER_FLOW rows a flow.
    """
    flows, ends = connections.flows, connections.ends
    judge_checksums(connections.senders, connections.quality, log)
    for number in range(connections.counts[0]):
        flow, client, server = flows[number], ends[2 * number], ends[2 * number + 1]
        if flow.marks & MARK_FORGED:
            continue
        expire(client, last_ns, number, log)
        expire(server, last_ns, number, log)
        flow.handshake = _handshake(flow)
        flow.close = _close(flow, client, server, log)
        if client.packets + server.packets > 1:
            flow.completeness |= flow.first_bits
        silent = server.packets == 0 or client.packets == 0
        if silent and flow.open_1 != 0 and not flow.marks & MARK_REFUSED and not client.known & KNOWN_ACK:
            if last_ns - flow.start_ns >= _PENDING_NS:
                _note(_SYN_UNANSWERED, 0, flow.open_1, flow.syn_ns, number, log)
        elif silent and (client.known | server.known) & KNOWN_ACK:
            _note(_ONE_DIRECTION, -1, flow.first_frame, flow.start_ns, number, log)


@part
def _note(kind: int, endpoint: int, frame: int, time_ns: int, number: int, log: Any) -> None:
    at = log.counts[1]
    log.counts[1] = at + 1
    row = log.anomalies[at]
    row.time_ns = time_ns
    row.flow = number
    row.frame = frame
    row.related_frame = 0
    row.endpoint = endpoint
    row.kind = kind
    row.detail = _NO_DETAIL


@part
def _handshake(flow: Any) -> int:
    if flow.marks & MARK_REFUSED:
        return _REFUSED
    if flow.marks & MARK_SIMULTANEOUS_OPEN:
        return _SIMULTANEOUS_OPEN
    if flow.open_1 == 0 and flow.open_2 == 0:
        return _NOT_CAPTURED
    if flow.open_3 != 0:
        return _COMPLETE
    if flow.marks & MARK_RESET_EARLY:
        return _RESET_OPENING
    if flow.open_2 != 0:
        return _SYN_ACK_ONLY
    return _RESET_OPENING if flow.reset_frame != 0 else _SYN_ONLY


@part
def _close(flow: Any, client: Any, server: Any, log: Any) -> int:
    if flow.close_2 != 0 and flow.close_4 != 0:
        return _SIMULTANEOUS_CLOSE if flow.marks & MARK_SIMULTANEOUS_CLOSE else _ORDERLY
    if flow.reset_frame != 0 or flow.marks & MARK_REFUSED:
        return _RESET
    if _gave_up(client, log) or _gave_up(server, log):
        return _TIMED_OUT
    return _HALF_CLOSED if flow.close_1 != 0 else _STILL_OPEN


@part
def _gave_up(end: Any, log: Any) -> bool:
    row = end.ended_row
    return row != NO_ROW and log.transitions[row].event == _GIVE_UP and log.transitions[row].evidence != REFUTED


@kernel
def in_order_of_time(transitions: Any, count: int, timers: Any, order: Any) -> None:
    """Put the timers' rows where their time is; the others stay in order of frames.

    timers: the rows of timers, copied; order: their order of time. They are merged in from the back, so that the array needs
    no second one beside it.
    """
    kept = 0
    for i in range(count):
        if transitions[i].frame != 0:
            if kept != i:
                transitions[kept] = transitions[i]
            kept += 1
    left = len(order) - 1
    at = count - 1
    while left >= 0:
        timer = timers[order[left]]
        while kept > 0 and transitions[kept - 1].time_ns > timer.time_ns:
            transitions[at] = transitions[kept - 1]
            at -= 1
            kept -= 1
        transitions[at] = timer
        at -= 1
        left -= 1
