"""The replay: each segment of a batch through its connection, in capture order, and the row that comes of it.

One rule (RFC 9293, seen from outside): a sender moves by what it sends, that is proven; a receiver moves by what it is sent,
at once, and that is assumed, until something that it sends proves or refutes it. What a segment is an event of is decided
in ``opening`` and ``closing``; where the event leads stands in the table of ``states``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from analyzer.decode.checksum import WHICH, Checksum
from analyzer.decode.segment import ACK, FIN, OPTION_ROW, OPTION_WSCALE, RST, SYN
from analyzer.flows.connection import (
    KNOWN_SYN,
    KNOWN_SYN_ACK,
    MARK_CHALLENGED,
    MARK_COPIES,
    MARK_FORGED,
    MARK_MIDSTREAM,
)
from analyzer.flows.copies import join, root_pair
from analyzer.flows.incarnation import client_side, end_of_source, find_incarnation, stream_of
from analyzer.kernel import kernel, part, seldom
from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.closing import on_acknowledgement, on_fin, on_reset, take_fin
from analyzer.tracker.completeness import note_completeness
from analyzer.tracker.delivery import is_acceptable_ack, on_ack, on_text, on_window
from analyzer.tracker.log import note
from analyzer.tracker.machine import ASSUMED, NO_ROW, PROVEN, REFUTED, is_assumed, move
from analyzer.tracker.numbers import relative_numbers, scaled_window
from analyzer.tracker.opening import NO_STEP, goes_on, on_opened, on_syn, on_syn_ack
from analyzer.tracker.packets import write_options
from analyzer.tracker.quality import Measure, is_damaged, is_super_segment, note_checksum
from analyzer.tracker.quoted import on_icmp_error
from analyzer.tracker.states import CLOSED, LISTEN, SYN_SENT, TIME_WAIT, UNKNOWN, Event
from analyzer.tracker.timers import expire, start_timer
from analyzer.tracker.zeek import find_split, follow

_NEW_INCARNATION = int(Event.NEW_INCARNATION)
_PORT_REUSED, _MIDSTREAM, _HALF_OPEN = int(Kind.PORT_REUSED), int(Kind.MIDSTREAM), int(Kind.HALF_OPEN)
_CHALLENGE_ACK, _FORGED = int(Kind.CHALLENGE_ACK), int(Kind.FORGED_SEGMENT)
_WRONG_CHECKSUM, _SUPER_SEGMENTS = int(Checksum.WRONG), int(Measure.SUPER_SEGMENTS)
_OVERLAPPING, _COPIES = int(Kind.OVERLAPPING_FRAGMENTS), int(Kind.COPIES)
_NO_DETAIL = int(Detail.NONE)
_AFTER_CLOSE, _ALIVE, _IN_TIME_WAIT = int(Detail.AFTER_CLOSE), int(Detail.EARLIER_ALIVE), int(Detail.EARLIER_TIME_WAIT)


class Ways(NamedTuple):
    """What the settings ask of the replay."""

    zeek_splits: bool  #: whether a flow ends where Zeek ends its connection
    zeek_checksums: bool  #: whether Zeek leaves out what is damaged


@kernel
def replay(
    segments: Any,
    sacks: Any,
    filled: int,
    ways: Ways,
    connections: Any,
    words: Any,
    log: Any,
    options: Any,
    timers: Any,
) -> None:
    """Replay a batch.

    Parameters
    ----------
    segments : array of SEGMENT, sacks : uint32 array (n, 8), filled : int
        The batch as ``decode``, ``find_pairs`` and ``find_copies`` left it; takes what is found out of each segment.
    ways : Ways
        What the settings ask for.
    connections : Connections, words : Words, log : Log, options : OptionColumns
        What is kept and written; all have room for the batch.
    timers : Timers
        Durations in nanoseconds.
    """
    for i in range(filled):
        segment = segments[i]
        pair = connections.pairs[segment.pair]
        stream = stream_of(segment, connections.pairs[segment.untagged], connections.counts)
        if segment.copy_of and segment.copy_pair != segment.pair:
            join(segment.pair, segment.copy_pair, connections.pairs)
        if pair.joined:
            segment.pair = root_pair(segment.pair, connections.pairs)
            pair = connections.pairs[segment.pair]
        if segment.copy_of:
            _on_copy(segment, sacks[i], pair, stream, connections, log, options)
            continue
        if segment.quoted:
            on_icmp_error(segment, pair, connections, log)
            continue
        damaged = is_damaged(segment, connections)
        # Of a damaged segment nothing is believed but its addresses: it opens no other connection.
        number = pair.flow - 1
        if number < 0 or not damaged:
            number = (
                find_split(segment, pair, words) if ways.zeek_splits else find_incarnation(segment, pair, connections)
            )
        if number < 0 and pair.flow != 0 and not ways.zeek_splits:
            number = _crossed(segment, pair, connections)
        if number < 0:
            number = _new_flow(segment, pair, stream, connections, log)
        flow = connections.flows[number]
        from_server = end_of_source(segment, flow)
        me, you = connections.ends[2 * number + from_server], connections.ends[2 * number + 1 - from_server]
        expire(me, segment.time_ns, number, log)
        expire(you, segment.time_ns, number, log)
        whole = True
        if is_super_segment(segment, you):
            connections.quality[_SUPER_SEGMENTS] += 1
            whole = damaged = False
        if segment.checksum & WHICH == _WRONG_CHECKSUM:
            note_checksum(segment, whole, damaged, me.endpoint, number, connections, log)
        follow(segment, number, words, damaged and ways.zeek_checksums, ways.zeek_splits)
        seq, ack = relative_numbers(segment, flow, number, me, you, damaged, connections, log)
        window = scaled_window(segment, me, you)
        step, repeated = NO_STEP, False
        if not damaged:
            step, repeated = _segment(segment, flow, number, me, you, seq, ack, window, connections, log, timers)
        start_timer(me, segment.time_ns, timers)
        start_timer(you, segment.time_ns, timers)
        if (flow.earlier >= 0 or pair.flow != number + 1) and not damaged:
            _between_incarnations(segment, number, pair, connections, log)
        note_completeness(segment, flow)
        flow.end_ns = max(flow.end_ns, segment.time_ns)
        me.last_ns = segment.time_ns
        me.packets += 1
        if segment.overlapping:
            note(_OVERLAPPING, _NO_DETAIL, me.endpoint, 0, segment, number, log)
        if segment.options & OPTION_ROW:
            write_options(segment, sacks[i], you, options)
        segment.relative_seq, segment.relative_ack, segment.scaled_window = seq, ack, window
        segment.flow, segment.stream = number, stream
        segment.from_client = from_server == 0
        segment.step, segment.step_repeat = step, repeated
        _show_states(segment, number, me, you, pair, connections)


@seldom
def _on_copy(segment: Any, sack: Any, pair: Any, stream: int, connections: Any, log: Any, options: Any) -> None:
    """Another sight of a packet: nothing happens to the connection; its row is its first sight's, but for the options."""
    segment.stream = stream
    number = find_incarnation(segment, pair, connections)
    if number < 0:
        return
    flow = connections.flows[number]
    if not flow.marks & MARK_COPIES:
        flow.marks |= MARK_COPIES
        note(_COPIES, _NO_DETAIL, -1, segment.copy_of, segment, number, log)
    if segment.options & OPTION_ROW and segment.copy_row >= 0:
        write_options(segment, sack, connections.ends[2 * number + 1 - end_of_source(segment, flow)], options)


@seldom
def _new_flow(segment: Any, pair: Any, stream: int, connections: Any, log: Any) -> int:
    """Open the next flow of the pair."""
    number = connections.counts[0]
    connections.counts[0] = number + 1
    flow = connections.flows[number]
    flow.pair = segment.pair
    flow.earlier = pair.flow - 1
    flow.stream = stream
    flow.start_ns = segment.time_ns
    flow.end_ns = segment.time_ns
    flow.first_frame = segment.frame
    flow.closed_by = -1
    side, role = client_side(segment)
    flow.client_side, flow.role = side, role
    for end in range(2):
        it = connections.ends[2 * number + end]
        it.endpoint = end
        it.state = UNKNOWN
        it.fin = -1
        it.acked = -1
        it.wscale = -1
        it.established_row = it.fin_row = it.fin_acked_row = it.ended_row = it.syn_row = NO_ROW
    if pair.flow != 0 and segment.flags & SYN:
        _reuse(segment, number, pair.flow - 1, connections, log)
    elif not segment.flags & SYN:
        flow.marks |= MARK_MIDSTREAM
        note(_MIDSTREAM, _NO_DETAIL, -1, 0, segment, number, log)
    pair.flow = number + 1
    return number


@seldom
def _crossed(segment: Any, pair: Any, connections: Any) -> int:
    """The newest flow, if this SYN crosses the one that opened it: its sender's base was only guessed from a bare ACK; or -1."""
    number = pair.flow - 1
    source = end_of_source(segment, connections.flows[number])
    me, you = connections.ends[2 * number + source], connections.ends[2 * number + 1 - source]
    crosses = you.state == SYN_SENT and not me.known & (KNOWN_SYN | KNOWN_SYN_ACK)
    return number if crosses else -1


@part
def _reuse(segment: Any, number: int, earlier: int, connections: Any, log: Any) -> None:
    """A new SYN on a known pair: its sender is done with the earlier connection; the other end's answer will show."""
    sender = connections.ends[2 * earlier + end_of_source(segment, connections.flows[earlier])]
    receiver = connections.ends[2 * earlier + 1 - end_of_source(segment, connections.flows[earlier])]
    expire(sender, segment.time_ns, earlier, log)
    expire(receiver, segment.time_ns, earlier, log)
    detail = _ALIVE
    if receiver.state == TIME_WAIT or sender.state == TIME_WAIT:
        detail = _IN_TIME_WAIT
    elif receiver.state == CLOSED:
        detail = _AFTER_CLOSE
    note(_PORT_REUSED, detail, 0, connections.flows[earlier].first_frame, segment, number, log)
    ended = move(sender, _NEW_INCARNATION, ASSUMED, segment.time_ns, segment.frame, earlier, log)
    if ended != NO_ROW:
        sender.ended_row = ended


@seldom
def _between_incarnations(segment: Any, number: int, pair: Any, connections: Any, log: Any) -> None:
    """Two connections follow one another on the pair: what this segment of one says of the other."""
    newest = pair.flow - 1
    earlier = connections.flows[newest].earlier
    if number == newest:
        if segment.flags & (SYN | ACK) == SYN | ACK:
            # The answer: the earlier connection is over at this end too.
            old = connections.ends[2 * earlier + end_of_source(segment, connections.flows[earlier])]
            ended = move(old, _NEW_INCARNATION, PROVEN, segment.time_ns, segment.frame, earlier, log)
            if ended != NO_ROW:
                old.ended_row = ended
    elif number == earlier:
        _in_old_numbers(segment, number, newest, pair, connections, log)


@seldom
def _in_old_numbers(segment: Any, number: int, newest: int, pair: Any, connections: Any, log: Any) -> None:
    """A segment of the earlier connection after a new SYN: the answer of an end that knows nothing of it, or proof of forgery."""
    flow = connections.flows[newest]
    source, sender = end_of_source(segment, flow), end_of_source(segment, connections.flows[number])
    opener, other = connections.ends[2 * newest], connections.ends[2 * newest + 1]
    if opener.state != SYN_SENT or (other.state != LISTEN and other.state != UNKNOWN):
        return
    if source == 1:
        if segment.flags & ACK and not segment.flags & RST and not flow.marks & MARK_CHALLENGED:
            flow.marks |= MARK_CHALLENGED
            note(_CHALLENGE_ACK, _NO_DETAIL, sender, flow.first_frame, segment, number, log)
    elif segment.flags & RST:
        note(_HALF_OPEN, _NO_DETAIL, 1 - sender, flow.first_frame, segment, number, log)
    elif segment.flags & ACK:
        # The sender goes on as if it had sent no SYN: it has not. What the SYN was taken for did not happen.
        note(_FORGED, _NO_DETAIL, sender, flow.first_frame, segment, number, log)
        flow.marks |= MARK_FORGED
        pair.flow = number + 1
        sender = end_of_source(segment, connections.flows[number])
        connections.ends[2 * number + sender].packets += opener.packets
        connections.ends[2 * number + 1 - sender].packets += other.packets
        opener.deadline_ns = 0
        for at in range(max(other.syn_row - 1, 0), other.syn_row + 1):  # SYN_SENT and, next to it, LISTEN
            row = log.transitions[at]
            if row.flow == newest:
                row.evidence = REFUTED
                row.refuted_by = segment.frame
                row.proven_by = 0


@part
def _segment(
    segment: Any,
    flow: Any,
    number: int,
    me: Any,
    you: Any,
    seq: int,
    ack: int,
    window: int,
    connections: Any,
    log: Any,
    timers: Any,
) -> tuple[int, bool]:
    """Let the segment happen to both ends: acknowledgement first, then text, then FIN (RFC 9293, section 3.10.7.4)."""
    flags = segment.flags
    syn, fin = flags & SYN != 0, flags & FIN != 0
    acceptable = (
        ack >= 0 and is_acceptable_ack(me, you, ack) and not (syn and ack > max(you.next, 1) and you.packets > 0)
    )
    if syn and (acceptable or not flags & ACK):
        _take_syn_options(segment, me)
    if flags & RST:
        step, repeated = on_reset(segment, flow, number, me, you, seq, ack, log)
        on_window(segment, number, me, ack, window, True, log)
        return step, repeated
    if flags & (SYN | ACK) == ACK and is_assumed(me.ended_row, log):
        goes_on(me, flow, segment.frame, log)  # it was not over
    counted_ack = ack if acceptable else -1
    if syn and flags & ACK:
        step, repeated = on_syn_ack(segment, flow, number, me, you, ack, log)
        if segment.seq != me.isn:
            return step, repeated  # it is of another connection, and its numbers are not of this one
    elif syn:
        step, repeated = on_syn(segment, flow, number, me, you, log)
    elif flags & ACK:
        step, repeated = on_opened(segment, flow, number, me, you, seq, counted_ack, log)
    else:
        step, repeated = NO_STEP, False  # whoever receives it drops it (3.10.7.4, fifth), and no TCP sends it
    close_step, close_repeated = on_acknowledgement(segment, flow, number, me, you, counted_ack, log, timers)
    if counted_ack >= 0:
        on_ack(segment, number, me, you, seq, ack, segment.length == 0 and not syn and not fin, connections, log)
    on_text(segment, flow, number, me, you, seq, segment.length + syn + fin, syn or fin, connections, log)
    if fin and not syn and flags & ACK:
        fin_step, fin_repeated = on_fin(segment, flow, number, me, you, seq, counted_ack, connections, log)
        if fin_step != NO_STEP:
            close_step, close_repeated = fin_step, fin_repeated
    take_fin(segment, number, me, you, log)
    take_fin(segment, number, you, me, log)
    on_window(segment, number, me, ack, window, syn or fin, log)
    if close_step != NO_STEP:
        return close_step, close_repeated
    return step, repeated


@part
def _take_syn_options(segment: Any, me: Any) -> None:
    """The first SYN or SYN-ACK with any counts; one that the peer cannot accept (RFC 9293, 3.10.7.3) does not."""
    if me.options == 0:
        me.options = segment.options
        me.mss = max(segment.mss, 0)
        me.wscale = segment.wscale if segment.options & OPTION_WSCALE else -1


@part
def _show_states(segment: Any, number: int, me: Any, you: Any, pair: Any, connections: Any) -> None:
    """Take both ends' states after the segment.

    An end has one socket: where two connections overlap on a pair, the state of the one that lives shows.
    """
    client, server = (me, you) if segment.from_client else (you, me)
    segment.client_state, segment.client_proven = client.state, client.proven
    segment.server_state, segment.server_proven = server.state, server.proven
    newest = pair.flow - 1
    earlier = connections.flows[newest].earlier
    if earlier < 0 or (number != newest and number != earlier):
        return
    same_side = connections.flows[newest].client_side == connections.flows[earlier].client_side
    for which in range(2):
        other = which if same_side else 1 - which
        new_end = connections.ends[2 * newest + (which if number == newest else other)]
        old_end = connections.ends[2 * earlier + (which if number == earlier else other)]
        living = old_end
        if new_end.state != UNKNOWN and new_end.state != LISTEN:
            living = new_end
        elif old_end.state == UNKNOWN or old_end.state == CLOSED:
            continue
        if which == 0:
            segment.client_state, segment.client_proven = living.state, living.proven
        else:
            segment.server_state, segment.server_proven = living.state, living.proven
