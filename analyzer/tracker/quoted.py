"""What an ICMP error does to the connection whose segment it quotes (the table: ``icmp``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.flows.connection import KNOWN_BASE, KNOWN_SYN, MARK_REFUSED
from analyzer.flows.incarnation import end_of_source, find_incarnation
from analyzer.flows.key import hash_address
from analyzer.flows.sequence import relative
from analyzer.kernel import kernel, part, seldom
from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.icmp import (
    DROPS_REQUEST,
    ENDS_ATTEMPT,
    IGNORED,
    LEAST_MTU_6,
    NOBODY_LISTENS,
    REDIRECT,
    RULES,
    TOO_BIG,
    Effect,
    Origin,
)
from analyzer.tracker.log import note
from analyzer.tracker.machine import ASSUMED, PROVEN, move, refute
from analyzer.tracker.states import CLOSED, LISTEN, SYN_RCVD, SYN_SENT, TIME_WAIT, Event
from analyzer.tracker.timers import expire

_ICMP_ERROR, _REFUSED = int(Kind.ICMP_ERROR), int(Kind.REFUSED)
_BY_ICMP = int(Detail.BY_ICMP)
_RCV_ICMP_ERROR, _SEND_REFUSAL = int(Event.RCV_ICMP_ERROR), int(Event.SEND_REFUSAL)
_SOFT, _IGNORED, _REROUTED, _OVER = int(Effect.SOFT), int(Effect.IGNORED), int(Effect.REROUTED), int(Effect.OVER)
_ENDS_ATTEMPT, _DROPS_REQUEST = int(Effect.ENDS_ATTEMPT), int(Effect.DROPS_REQUEST)
_PATH_MTU, _PATH_MTU_AGAIN = int(Effect.PATH_MTU), int(Effect.PATH_MTU_AGAIN)
_NOT_IN_FLIGHT = int(Effect.NOT_IN_FLIGHT)
_LEAST_RTO_NS = 200_000_000  # Linux's TCP_RTO_MIN; RFC 6298 has a second
_ROUTER, _PEER, _ITSELF = int(Origin.ROUTER), int(Origin.PEER), int(Origin.ITSELF)


@seldom
def on_icmp_error(segment: Any, pair: Any, connections: Any, log: Any) -> None:
    """Tell the end that sent the quoted segment; an error about a connection that is not here is only counted."""
    number = find_incarnation(segment, pair, connections)
    if number < 0:
        connections.counts[2] += 1
        return
    flow = connections.flows[number]
    source = end_of_source(segment, flow)
    me, you = connections.ends[2 * number + source], connections.ends[2 * number + 1 - source]
    expire(me, segment.time_ns, number, log)
    expire(you, segment.time_ns, number, log)
    effect = _effect(segment, me, you)
    note(_ICMP_ERROR, 0, me.endpoint, 0, segment, number, log)
    _write(segment, effect, log)
    if effect == _ENDS_ATTEMPT:
        flow.marks |= MARK_REFUSED
        note(_REFUSED, _BY_ICMP, me.endpoint, flow.open_1, segment, number, log)
        # The SYN came to no listener. That there is none, only the host's own answer tells.
        presumed = you.state == LISTEN and refute(you, you.syn_row, segment.frame, log)
        if presumed and segment.reporter == segment.destination and _rule(segment) & NOBODY_LISTENS:
            move(you, _SEND_REFUSAL, PROVEN, segment.time_ns, segment.frame, number, log)
    if effect == _ENDS_ATTEMPT or effect == _DROPS_REQUEST:
        me.ended_row = move(me, _RCV_ICMP_ERROR, ASSUMED, segment.time_ns, segment.frame, number, log)
        me.moved_ns = segment.time_ns


@part
def _rule(segment: Any) -> Any:
    return np.int64(RULES[1 if segment.icmp_version == 6 else 0, segment.icmp_type & 15, segment.icmp_code])


@part
def _effect(segment: Any, me: Any, you: Any) -> int:
    """What Linux does (tcp_v4_err, tcp_v6_err), as far as it can be known from outside."""
    rule = _rule(segment)
    if me.state == CLOSED or me.state == TIME_WAIT:
        return _OVER
    if me.known & KNOWN_BASE and me.packets > 0:  # else it was never heard, and nothing is known of its numbers
        seq = relative(segment.seq, me.isn, max(me.next, you.acked))
        if seq < max(you.acked, 0) or seq > me.next:
            return _NOT_IN_FLIGHT
    if rule & TOO_BIG:
        return _IGNORED if segment.icmp_version == 6 and segment.mtu < LEAST_MTU_6 else _PATH_MTU
    if rule & REDIRECT:
        return _REROUTED
    if rule & IGNORED:
        return _IGNORED
    attempt = me.state == SYN_SENT or (me.state == SYN_RCVD and me.known & KNOWN_SYN != 0)
    if attempt and rule & ENDS_ATTEMPT:
        return _ENDS_ATTEMPT
    if me.state == SYN_RCVD and not attempt and rule & DROPS_REQUEST and segment.seq == me.isn:
        return _DROPS_REQUEST
    return _SOFT


@part
def _write(segment: Any, effect: int, log: Any) -> None:
    """Write what more there is to say of the anomaly just noted."""
    at = log.counts[2]
    log.counts[2] = at + 1
    row = log.icmp[at]
    row.anomaly = log.counts[1] - 1
    row.seq = segment.seq
    row.mtu = segment.mtu
    row.reporter = segment.reporter
    row.interface, row.ifindex = segment.interface, segment.ifindex
    row.version, row.type, row.code = segment.icmp_version, segment.icmp_type, segment.icmp_code
    row.effect = effect
    row.origin = _ROUTER
    if segment.reporter == segment.source:
        row.origin = _ITSELF
    elif segment.reporter == segment.destination:
        row.origin = _PEER


@kernel
def find_quoted(
    icmp: Any, anomalies: Any, packets: Any, rows: int, keys: Any, slots: Any, latest: Any, told: Any
) -> None:
    """Find the segment that each error quotes, among the packets: the last one sent before it with that number.

    Where a sender still sends too big a segment when its retransmission timer has run out since the first error about it,
    the errors do not get through to it, or it does not heed them: a black hole (RFC 2923).

    Parameters
    ----------
    icmp, anomalies : arrays of ICMP and ANOMALY
        The log's rows, in order of frames; takes ``related_frame``, and ``effect`` where the same number was too big before.
    packets : tuple of arrays
        ``frame_ahead``, ``flow``, ``raw_seq``, ``from_client`` and ``time_ns`` of PacketColumns.
    rows : int
        How many packets there are.
    keys : uint64 array
        The keys of the flow table's hash.
    slots : int32 array, a power of two, at least twice as long as icmp
        -1; takes a hash table: for each sender and number the first error that quotes it.
    latest, told : int64 arrays, as long as icmp
        0; take, for that error, the row (+ 1) of the number's latest segment, and the time of the first that was too big.
    """
    ahead, flow, raw_seq, from_client, time_ns = packets
    for i in range(len(icmp)):
        anomaly = anomalies[icmp[i].anomaly]
        at = _slot(icmp, anomalies, keys, slots, anomaly.flow, anomaly.endpoint, icmp[i].seq)
        if slots[at] < 0:
            slots[at] = i
    row = 0
    for i in range(len(icmp)):
        anomaly = anomalies[icmp[i].anomaly]
        while row < rows and ahead[row] + row + 1 < anomaly.frame:
            endpoint = 0 if from_client[row] else 1
            first = slots[_slot(icmp, anomalies, keys, slots, flow[row], endpoint, raw_seq[row])]
            if first >= 0:
                latest[first] = row + 1
            row += 1
        first = slots[_slot(icmp, anomalies, keys, slots, anomaly.flow, anomaly.endpoint, icmp[i].seq)]
        at = latest[first] - 1
        anomaly.related_frame = ahead[at] + at + 1 if at >= 0 else 0
        if icmp[i].effect == _PATH_MTU:
            if told[first] == 0:
                told[first] = anomaly.time_ns
            elif at >= 0 and time_ns[at] - told[first] >= _LEAST_RTO_NS:
                icmp[i].effect = _PATH_MTU_AGAIN


@part
def _slot(icmp: Any, anomalies: Any, keys: Any, slots: Any, flow: int, endpoint: int, seq: Any) -> int:
    """Where an end's number is, or may be put."""
    mask = len(slots) - 1
    at = hash_address(keys, np.uint64(flow), np.uint64(seq), endpoint) & mask
    while slots[at] >= 0:
        there = icmp[slots[at]]
        anomaly = anomalies[there.anomaly]
        if there.seq == seq and anomaly.flow == flow and anomaly.endpoint == endpoint:
            break
        at = (at + 1) & mask
    return at
