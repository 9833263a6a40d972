"""The second pass: why each segment came again, for the connections in which one did.

The replay says at once what came again, by what it keeps of an end anyway; the ordinary packet pays nothing for causes. Behind
it, the connections that have something to explain are gone through once more, in the packets' columns: what had the
sender been told, how long had it waited, and did the receiver have it already, which only hindsight shows. That also settles
what the replay could only guess by the time: whether what fills a hole is late or sent again. The rules stand in ``causes``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.decode.segment import ACK, FIN, RST, SYN
from analyzer.kernel import kernel, part, seldom
from analyzer.tracker.anomalies import Kind
from analyzer.tracker.causes import Cause, Evidence
from analyzer.tracker.outstanding import (
    MOST_STEPS,
    SEEN,
    UNKNOWN,
    UNSEEN,
    Sent,
    find,
    overlapping,
    push,
)
from analyzer.tracker.reasons import count_id, frame_of, is_copy, is_late, is_older, judge, judge_syn, say
from analyzer.tracker.recovery import (
    MOST_DOUBLINGS,
    on_acknowledgement,
    on_handshake,
    on_window,
)

_UNKNOWN, _RTO, _PROBE = int(Cause.UNKNOWN), int(Cause.RTO), int(Cause.TAIL_LOSS_PROBE)
_WINDOW_PROBE, _KEEP_ALIVE = int(Cause.WINDOW_PROBE), int(Cause.KEEP_ALIVE)
_COPY, _REORDERED = int(Cause.COPY), int(Cause.REORDERED)
_NO_SIGN, _FIRST_NOT_SEEN = int(Evidence.NO_SIGN), int(Evidence.FIRST_NOT_SEEN)
_WINDOW_CLOSED, _IDLE = int(Evidence.WINDOW_CLOSED), int(Evidence.IDLE)
_IDENTICAL, _OLDER_TIMESTAMP = int(Evidence.IDENTICAL), int(Evidence.OLDER_TIMESTAMP)

# What the pass looks for at a frame.
RETRANSMISSION, OUT_OF_ORDER, SYN_AGAIN, FIN_AGAIN, KEPT_ALIVE, PROBED, DAMAGED, TOO_BIG = (
    1 << bit for bit in range(8)
)

SOUGHT: dict[Kind, int] = {
    Kind.RETRANSMISSION: RETRANSMISSION,
    Kind.OUT_OF_ORDER: OUT_OF_ORDER,
    Kind.SYN_RETRANSMITTED: SYN_AGAIN,
    Kind.SYNACK_RETRANSMITTED: SYN_AGAIN,
    Kind.FIN_RETRANSMITTED: FIN_AGAIN,
    Kind.KEEP_ALIVE: KEPT_ALIVE,
    Kind.WINDOW_PROBE: PROBED,
}
"""The kinds that have a cause, besides COPIES, of which it is known."""


class Sought(NamedTuple):
    """The anomalies that are looked for, in order of frames."""

    frame: npt.NDArray[np.int64]
    time_ns: npt.NDArray[np.int64]
    flow: npt.NDArray[np.int32]
    endpoint: npt.NDArray[np.int8]
    what: npt.NDArray[np.uint8]
    record: npt.NDArray[np.int64]  #: the record + 1 of each, which the pass fills in; 0 none


@kernel
def count_rows(begin: int, end: int, sent: Sent, rank: Any, rows: Any, taking: Any) -> None:
    """Count each chosen flow's rows, and those of each of its directions that take sequence numbers.

    rank: of each flow which of the chosen it is, -1 not chosen.
    """
    for row in range(begin, end):
        chosen = rank[sent.flow[row]]
        if chosen >= 0 and sent.copy_of[row] == 0:
            rows[chosen] += 1
            if sent.length[row] > 0 or sent.flag_bits[row] & (SYN | FIN):
                taking[2 * chosen + (not sent.from_client[row])] += 1


@kernel
def gather_rows(begin: int, end: int, sent: Sent, rank: Any, group: Any, places: Any, found: Any) -> None:
    """Put the chosen flows' rows together, group by group; places: where each group's begin, which changes."""
    for row in range(begin, end):
        chosen = rank[sent.flow[row]]
        if chosen >= 0 and sent.copy_of[row] == 0:
            found[places[group[chosen]]] = row
            places[group[chosen]] += 1


@kernel
def explain(
    rows: Any, sent: Sent, options: Any, rank: Any, first_rank: int, ways: Any, blocks: Any, entries: Any, sought: Sought,
    records: Any, count: int,
) -> int:  # fmt: skip
    """Go through the rows; returns how many records there are then.

    Parameters
    ----------
    rows : uint32 array
        Those of the flows at hand, in order.
    sent : Sent, options : OptionColumns
        The packets' columns, and their options.
    rank : int32 array, first_rank : int
        Of each flow which of the chosen it is; and of the flows at hand the first one's.
    ways : array of RECOVERY, blocks : int64 array (n, MOST_EDGES)
        Two rows for each flow at hand: the client's, the server's.
    entries : array of ENTRY
        The rings.
    sought : Sought
        The anomalies that are looked for, of the flows at hand.
    records : array of RECORD, count : int
        What is found, a row each; count of them are in use.
    """
    at, option = 0, 0
    wanted, option_rows = len(sought.frame), options.counts[0]
    for place in range(len(rows)):
        row: Any = np.int64(rows[place])
        chosen = rank[sent.flow[row]] - first_rank
        frame = row + 1 + sent.frame_ahead[row]
        while at < wanted and sought.frame[at] < frame:
            if sought.what[at] == TOO_BIG:
                told = ways[2 * (rank[sought.flow[at]] - first_rank) + sought.endpoint[at]]
                told.icmp_ns, told.icmp_frame = sought.time_ns[at], sought.frame[at]
            at += 1
        first, what = at, 0
        while at < wanted and sought.frame[at] == frame:
            what |= sought.what[at]
            at += 1
        if what & DAMAGED:
            continue
        option = _seek(options.frame, option, option_rows, frame)
        edges, edges_end = 0, 0
        if option < option_rows and options.frame[option] == frame:
            edges, edges_end = options.sack_end[option - 1] if option > 0 else 0, options.sack_end[option]
            edges_end -= (edges_end - edges) & 1
        number = 2 * chosen + (not sent.from_client[row])
        other = number ^ 1
        me, you = ways[number], ways[other]
        flags = sent.flag_bits[row]
        if flags & ACK and not flags & RST:
            pure = sent.length[row] == 0 and not flags & (SYN | FIN)
            sack = options.sack[edges:edges_end]
            on_acknowledgement(you, row, frame, pure, sack, blocks[other], sent, entries, records)
        if what & ~TOO_BIG and count < len(records):
            _explain(me, you, row, what, blocks[number], sent, entries, records, count)
            record = records[count]
            entry = (
                find(me, record.seq, entries) if what & (RETRANSMISSION | OUT_OF_ORDER | SYN_AGAIN | FIN_AGAIN) else -1
            )
            count += 1
            if entry >= 0:
                _correct_probe(me, entries[entry], record, records)
                record.previous = entries[entry].again
                entries[entry].again = count
            for i in range(first, at):
                sought.record[i] = count
        if not flags & RST:
            _take(me, you, row, frame, sent, entries)
        me.last_ns = sent.time_ns[row]
    return count


@part
def _seek(frames: Any, at: int, end: int, frame: int) -> int:
    """The first place from here on whose frame is not below: in steps that double, then by halving."""
    step = 1
    while at + step < end and frames[at + step] < frame:
        at += step
        step *= 2
    beyond = min(at + step, end)
    while at < beyond:
        middle = (at + beyond) // 2
        if frames[middle] < frame:
            at = middle + 1
        else:
            beyond = middle
    return at


@part
def _take(me: Any, you: Any, row: int, frame: int, sent: Sent, entries: Any) -> None:
    """Take in what the segment says of its sender: new numbers, window, IP ID."""
    flags, seq = sent.flag_bits[row], sent.seq[row]
    on_handshake(me, you, sent.time_ns[row], flags)
    syn, fin = flags & SYN != 0, flags & FIN != 0
    end = seq + sent.length[row] + syn + fin
    if end > seq and (end > me.next or me.count == 0):
        if me.count > 0 and seq > me.next:
            push(me, me.next, -1 - row, entries)
        push(me, max(seq, me.next) if me.count > 0 else seq, row, entries)
        me.next = end
    if syn:
        me.syn_ns, me.syn_frame = sent.time_ns[row], frame
    on_window(you, sent.time_ns[row], frame, np.int64(sent.raw_window[row]))
    if not sent.no_ip_id[row]:
        count_id(me, np.int64(sent.ip_id[row]))


@seldom
def _explain(
    me: Any, you: Any, row: int, what: int, blocks: Any, sent: Sent, entries: Any, records: Any, at: int
) -> None:
    """Fill in the record of one segment."""
    record, time_ns = records[at], sent.time_ns[row]
    flags, seq, length = sent.flag_bits[row], sent.seq[row], np.int64(sent.length[row])
    syn, fin = flags & SYN != 0, flags & FIN != 0
    record.row, record.seq, record.end, record.previous = row, seq, seq + length + syn + fin, 0
    record.waited_ns, record.rto_ns = -1, 0
    record.sacked, record.octets, record.duplicate_acks = 0, 0, 0
    record.frame, record.first_frame, record.needless, record.tail, record.seen = 0, 0, False, False, UNKNOWN
    record.cause, record.evidence = _UNKNOWN, _NO_SIGN
    if what & (KEPT_ALIVE | PROBED):
        if me.last_ns != 0:
            record.waited_ns = max(time_ns - max(me.last_ns, you.last_ns), 0)
        if what & PROBED or me.closed_frame != 0:
            say(record, _WINDOW_PROBE, _WINDOW_CLOSED, me.closed_frame)
        else:
            say(record, _KEEP_ALIVE, _IDLE, 0)
        return
    record.octets = min(length, max(me.next - seq, 0))
    place = find(me, seq, entries)
    if place < 0 and (me.count == 0 or me.count > me.room):
        record.evidence = _FIRST_NOT_SEEN  # too far back
        if not what & OUT_OF_ORDER:
            judge(me, you, row, -1, place, blocks, sent, record)
        return
    entry = entries[max(place, me.place)]
    again = overlapping(entry, seq, record.end, records) if place >= 0 else 0
    if place < 0 or (again == 0 and entry.row < 0):  # before all that was seen, or in a hole
        overtook = entry.row if entry.row >= 0 else -1 - entry.row
        record.seen = UNSEEN
        evidence = is_late(me, you, row, overtook, record, blocks, sent)
        if evidence != 0:
            say(record, _REORDERED, evidence, 0)
            record.waited_ns = max(time_ns - sent.time_ns[overtook], 0)
            record.first_frame = frame_of(overtook, sent)
            return
        judge(me, you, row, overtook if place >= 0 else -1, place, blocks, sent, record)
        return
    last = records[again - 1].row if again != 0 else entry.row
    if again != 0 and records[again - 1].cause == _REORDERED:  # it was sent before it was overtaken
        last = -1 - entry.row if entry.row < 0 else entry.row
    first = entry.row if entry.row >= 0 else _oldest(entry, record, records)
    record.first_frame = frame_of(first, sent)
    record.seen = SEEN
    if is_copy(me, you, row, last, sent):
        say(record, _COPY, _IDENTICAL, 0)
        record.first_frame = frame_of(last, sent)
        record.waited_ns = max(time_ns - sent.time_ns[last], 0)
    elif is_older(row, last, sent):
        say(record, _REORDERED, _OLDER_TIMESTAMP, 0)
        record.first_frame = frame_of(last, sent)
        record.waited_ns = max(time_ns - sent.time_ns[last], 0)
    elif syn:
        judge_syn(me, you, row, last, record, sent)
    else:
        judge(me, you, row, last, place, blocks, sent, record)


@part
def _oldest(entry: Any, record: Any, records: Any) -> Any:
    """The row of the first seen sending of a hole."""
    at, row = np.int64(entry.again), np.int64(record.row)
    for _ in range(MOST_STEPS):
        if at == 0:
            break
        if records[at - 1].seq < record.end and record.seq < records[at - 1].end:
            row = np.int64(records[at - 1].row)
        at = np.int64(records[at - 1].previous)
    return row


@part
def _correct_probe(me: Any, entry: Any, record: Any, records: Any) -> None:
    """A single last segment's probe and time-out look the same; but a time-out doubles the next one, a probe does not."""
    if entry.again != 0 and record.cause == _RTO:
        before = records[entry.again - 1]
        if before.cause == _PROBE and before.tail and 2 * record.waited_ns >= 3 * before.waited_ns:
            before.cause = _RTO
            record.rto_ns *= 2
            me.timeouts = min(me.timeouts + 1, MOST_DOUBLINGS)
