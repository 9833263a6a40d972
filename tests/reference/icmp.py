"""ICMP errors: what becomes of the connection whose segment one quotes (RFC 1122 4.2.3.9, RFC 5461, RFC 5927, Linux)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.icmp import EFFECT_WORDS, LEAST_MTU_6, ORIGIN_WORDS, Class, Effect, Origin, error
from analyzer.tracker.marks import Evidence
from analyzer.tracker.states import Event, State
from tests.reference.connection import End, Flow, relative
from tests.reference.machine import Anomaly, Log, refute
from tests.reference.segment import Segment

if TYPE_CHECKING:
    from tests.reference.replay import PacketRow

LEAST_RTO_NS = 200 * 10**6  #: Linux: TCP_RTO_MIN
PORT_OR_PROTOCOL = {(4, 3, 2), (4, 3, 3), (6, 1, 4)}


def on_error(segment: Segment, me: End, you: End, flow: Flow, log: Log) -> None:
    """The end that sent the quoted segment is told."""
    what = effect(segment, me, you)
    log.note(segment, flow.number, Kind.ICMP_ERROR, me.endpoint)
    log.anomalies[-1].error, log.anomalies[-1].effect = segment, what
    if what is Effect.ENDS_ATTEMPT:
        flow.refused = True
        log.note(segment, flow.number, Kind.REFUSED, me.endpoint, Detail.BY_ICMP, flow.open_1)
        presumed = you.state is State.LISTEN and refute(you, you.syn_taken, segment.frame)
        if presumed and origin(segment) is Origin.PEER and numbers(segment) in PORT_OR_PROTOCOL:
            log.move(you, Event.SEND_REFUSAL, Evidence.PROVEN, flow.number, segment.time_ns, segment.frame)
    if what in (Effect.ENDS_ATTEMPT, Effect.DROPS_REQUEST):
        time_ns, frame = segment.time_ns, segment.frame
        me.ended = log.move(me, Event.RCV_ICMP_ERROR, Evidence.ASSUMED, flow.number, time_ns, frame)
        me.moved_ns = time_ns


def numbers(segment: Segment) -> tuple[int, int, int]:
    return segment.icmp.version, segment.icmp.type, segment.icmp.code


def origin(segment: Segment) -> Origin:
    if segment.icmp.reporter == (segment.version, segment.source):
        return Origin.ITSELF
    if segment.icmp.reporter == (segment.version, segment.destination):
        return Origin.PEER
    return Origin.ROUTER


def effect(segment: Segment, me: End, you: End) -> Effect:
    row = error(*numbers(segment))
    if me.state in (State.CLOSED, State.TIME_WAIT):
        return Effect.OVER
    if me.isn is not None and me.packets:
        seq = relative(segment.seq, me.isn, max(me.next, you.acked))
        if not max(you.acked, 0) <= seq <= me.next:
            return Effect.NOT_IN_FLIGHT
    if row.kind is Class.TOO_BIG:
        believed = row.version == 4 or segment.icmp.mtu >= LEAST_MTU_6
        return Effect.PATH_MTU if believed else Effect.IGNORED
    if row.kind is Class.REDIRECT:
        return Effect.REROUTED
    if not row.errno:
        return Effect.IGNORED
    if me.state is State.SYN_SENT or (me.state is State.SYN_RCVD and me.sent_syn):
        return Effect.ENDS_ATTEMPT
    if me.state is State.SYN_RCVD and row.request and segment.seq == me.isn:
        return Effect.DROPS_REQUEST
    return Effect.SOFT


def find_quoted(anomalies: list[Anomaly], packets: list[PacketRow]) -> None:
    """The quoted segment is the last one before the error with its number; one that is too big again was not made smaller."""
    told: dict[tuple[int, int, int], int] = {}
    for it in anomalies:
        if it.error is None:
            continue
        key = (it.flow, it.endpoint, it.error.seq)
        sent = [
            row.segment
            for row in packets
            if row.segment.frame < it.frame
            and (row.flow.number, 0 if row.from_client else 1, row.segment.seq) == key
        ]  # fmt: skip
        it.related_frame = sent[-1].frame if sent else None
        if it.effect is Effect.PATH_MTU:
            if key not in told or told[key] == 0:
                told[key] = it.time_ns
            elif sent and sent[-1].time_ns - told[key] >= LEAST_RTO_NS:
                it.effect = Effect.PATH_MTU_AGAIN


def text(segment: Segment, what: Effect, reporter: str, interface: str | None) -> str:
    """Which error, who sent it, where it was seen, what it did."""
    row = error(*numbers(segment))
    which = f"{'ICMPv6' if row.version == 6 else 'ICMP'} {row.name} ({segment.icmp.type}/{segment.icmp.code})"
    who = ORIGIN_WORDS[origin(segment)] + (f", on {interface}" if interface else "")
    said = EFFECT_WORDS[what]
    if what in (Effect.PATH_MTU, Effect.PATH_MTU_AGAIN):
        said += f", path MTU {segment.icmp.mtu or 'not told'}"
    return f"{which} from {reporter} ({who}): {said}"
