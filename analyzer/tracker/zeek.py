"""Zeek's words for each connection: what becomes ``flows.conn_state`` and ``flows.history``.

Zeek follows both endpoints with a coarse state machine of its own, and writes a letter for what it sees for the first time
(TCPSessionAdapter.cc, TCP_Endpoint.cc, Session.cc). Here it is followed to the letter, also where the state tracker knows
better: independent of it, of its verdicts and of its roles. A segment of an open connection that continues where the last
one ended changes nothing but two numbers; for these the small ``LINE`` is enough, all else goes the long way.

A connection of ours stays one connection, however long it is silent. Zeek forgets one that is closed or silent, and counts
what comes later as another; where a flow holds several of those, the words are of the first that was more than an attempt.
With ``Settings.zeek_timeouts`` the flows are split as Zeek splits them.

What Zeek forgets is forgotten here too, but for its words: its row is used again, and only open connections take memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.decode.segment import ACK, FIN, RST, SYN
from analyzer.flows import growth
from analyzer.flows.sequence import wraps
from analyzer.kernel import part, seldom
from analyzer.tracker.zeek_connection import (
    BLOCK,
    CONNECTION,
    END,
    ESTABLISHED,
    FINISHED,
    INACTIVE,
    LINE,
    LONG,
    ORIG_SEEN,
    PARTIAL,
    RESP_SEEN,
    STARTED,
    SYN_ACK_SENT,
    TOLD,
)
from analyzer.tracker.zeek_history import SEEN_ACK, SEEN_DATA, add_flip, add_ordinary, count_checksum
from analyzer.tracker.zeek_ports import SERVER_PORTS
from analyzer.tracker.zeek_process import close_pending, process
from analyzer.tracker.zeek_reassembly import MOST_INITIAL, MOST_UNACKED, release
from analyzer.tracker.zeek_timers import is_gone, start_timers

FEWEST_ROWS = 16384  # in use, before closed connections are looked for

_WHOLE = 1  # LINE.ready: nothing is missing or closing
_ACKED = 2  # ... and some of its text was acknowledged


class Words(NamedTuple):
    """What is kept for Zeek's words.

    counts: [blocks, first free block, long histories, rows, free ones of them]; clock: [the latest time, how many rows may be in
    use before those of closed connections are looked for].
    """

    rows: npt.NDArray[np.int32]  #: of each flow: its row + 1 in the next three, 0 none
    told: npt.NDArray[np.void]  #: of each flow: the words of what was forgotten
    lines: npt.NDArray[np.void]  #: two a row, by side of the pair
    connections: npt.NDArray[np.void]
    ends: npt.NDArray[np.void]  #: two a row, by side of the pair
    free: npt.NDArray[np.int32]  #: rows to be used again
    blocks: npt.NDArray[np.void]
    letters: npt.NDArray[np.uint8]  #: (long histories, LONG)
    server_ports: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.int64]
    clock: npt.NDArray[np.int64]


def new_words() -> Words:
    """Make the arrays, empty."""
    server_ports = np.zeros(1 << 16, np.bool_)
    server_ports[list(SERVER_PORTS)] = True
    return Words(
        rows=np.zeros(0, np.int32),
        told=np.zeros(0, TOLD),
        lines=np.zeros(0, LINE),
        connections=np.zeros(0, CONNECTION),
        ends=np.zeros(0, END),
        free=np.zeros(0, np.int32),
        blocks=np.zeros(0, BLOCK),
        letters=np.zeros((0, LONG), np.uint8),
        server_ports=server_ports,
        counts=np.zeros(5, np.int64),
        clock=np.array([np.iinfo(np.int64).min, FEWEST_ROWS], np.int64),
    )


def with_room(words: Words, segments: int, flows: int, ahead: float = 0.0) -> Words:
    """Return the arrays, grown if these segments, or so many flows in all, might not fit; ahead as for the connections."""
    blocks, _, long, rows, _ = (int(count) for count in words.counts)
    room = growth.room_for(rows, segments, len(words.connections), ahead)
    rooms = {"rows": flows, "told": flows, "lines": 2 * room, "connections": room, "ends": 2 * room, "free": room}
    rooms["blocks"] = growth.room_for(blocks, segments, len(words.blocks))
    rooms["letters"] = growth.room_for(long, segments, len(words.letters))
    used = {"lines": 2 * rows, "connections": rows, "ends": 2 * rows, "free": rows, "blocks": blocks, "letters": long}
    replaced = {}
    for name, room in rooms.items():
        old = getattr(words, name)
        if room > len(old):
            replaced[name] = np.zeros((room, *old.shape[1:]), old.dtype)
            count = used.get(name, len(old))
            replaced[name][:count] = old[:count]
    return words._replace(**replaced) if replaced else words


@part
def follow(segment: Any, number: int, words: Any, damaged: bool, splits: bool) -> None:
    """Follow a segment of a flow; splits: the time of each counts."""
    words.clock[0] = max(words.clock[0], segment.time_ns)
    row = words.rows[number] - 1
    if row >= 0 and not damaged and not splits:
        mine, yours = words.lines[2 * row + segment.side], words.lines[2 * row + 1 - segment.side]
        if mine.ready != 0 and _is_ordinary(segment, mine, yours):
            mine.last += segment.length
            yours.ack = segment.ack
            seen = SEEN_DATA if segment.length else SEEN_ACK
            if not mine.seen & seen:
                mine.seen |= seen
                add_ordinary(seen, segment.side, words.connections[row], words)
            return
    _follow_one(segment, number, row, words, damaged)


@seldom
def find_split(segment: Any, pair: Any, words: Any) -> int:
    """Return the newest flow of the pair, or -1 where Zeek takes the segment for one of another connection."""
    number = pair.flow - 1
    if number < 0:
        return -1
    row = words.rows[number] - 1
    return -1 if row < 0 or _is_another(segment, row, words, True) else number


@part
def _is_ordinary(segment: Any, mine: Any, yours: Any) -> Any:
    """Whether the segment continues where its sender's last one ended, and acknowledges what has come."""
    if segment.flags & (SYN | FIN | RST | ACK) != ACK or segment.window == 0 or segment.seq != mine.last:
        return False
    if segment.ack < yours.ack or segment.ack > yours.last:
        return False
    length = np.int64(segment.length)
    if length == 0:
        return True
    past = np.int64(segment.seq) + length
    unacked = past - np.int64(mine.ack)
    most = MOST_UNACKED if mine.ready & _ACKED else MOST_INITIAL
    return segment.truncated == 0 and 0 <= unacked <= most and not wraps(past)


@seldom
def _follow_one(segment: Any, number: int, row: int, words: Any, damaged: bool) -> None:
    """Follow a segment that is not ordinary, if the words are of the connection that Zeek counts it to."""
    if row < 0:
        if words.told[number].finished:
            return
        row = _take_row(number, words)
    elif _is_another(segment, row, words, False):
        if words.connections[row].bits & FINISHED:
            return
        forget(row, words)
    _take(segment, row, words, damaged)


@part
def _take_row(number: int, words: Any) -> Any:
    """Find a row for a flow's connection."""
    free = words.counts[4]
    if free > 0:
        words.counts[4] = free - 1
        row = np.int64(words.free[free - 1])
    else:
        row = words.counts[3]
        words.counts[3] = row + 1
    words.rows[number] = row + 1
    words.connections[row].flow = number
    return row


@part
def _take(segment: Any, row: int, words: Any, damaged: bool) -> None:
    """Follow a segment the long way."""
    connection, side = words.connections[row], segment.side
    me, you = words.ends[2 * row + side], words.ends[2 * row + 1 - side]
    mine, yours = words.lines[2 * row + side], words.lines[2 * row + 1 - side]
    if not connection.bits & STARTED:
        _start(segment, connection, me, you, words)
    elif mine.ready:
        _catch_up(me, mine)
        _catch_up(you, yours)
    mine.ready, yours.ready = 0, 0
    if damaged:  # TCPAnalyzer::ValidateChecksum: it is not looked at any further
        count_checksum(segment.side == connection.orig_side, connection, me, words)
        return
    process(segment, connection, me, you, mine, yours, words)
    settled = connection.bits & (ORIG_SEEN | RESP_SEEN) == ORIG_SEEN | RESP_SEEN and not close_pending(connection)
    if settled and _is_whole(me, mine) and _is_whole(you, yours):
        mine.ready = _WHOLE | (_ACKED if _is_acked(me, mine) else 0)
        yours.ready = _WHOLE | (_ACKED if _is_acked(you, yours) else 0)


@part
def _start(segment: Any, connection: Any, me: Any, you: Any, words: Any) -> None:
    """Begin a connection of Zeek's (IPBasedAnalyzer::NewConn, TCPAnalyzer::WantConnection).

    Who sent the first segment is the originator, unless it is no SYN and only its port is a server's.
    """
    connection.bits = STARTED
    connection.orig_side = segment.side
    connection.last_ns = segment.time_ns
    me.delivered = me.trimmed = you.delivered = you.trimmed = 1
    start_timers(connection, segment)
    if segment.flags & (SYN | ACK) != SYN and _is_from_server(segment, words.server_ports):
        connection.orig_side = 1 - segment.side
        add_flip(connection, words)


@part
def _is_from_server(segment: Any, server_ports: Any) -> bool:
    """Whether the ports say that it is the responder's: only its own is a server's, or both and it is no SYN-ACK."""
    if not server_ports[segment.sport]:
        return False
    return not server_ports[segment.dport] or (not segment.flags & SYN and segment.sport < segment.dport)


@part
def _is_another(segment: Any, row: int, words: Any, by_time: bool) -> bool:
    """Whether Zeek takes the segment for one of another connection: a reuse of the addresses and ports, or out of time."""
    connection = words.connections[row]
    orig = words.ends[2 * row + connection.orig_side]
    resp = words.ends[2 * row + 1 - connection.orig_side]
    if connection.delete_ns != 0 and max(words.clock[0], segment.time_ns) >= connection.delete_ns:
        return True
    if by_time and is_gone(segment.time_ns, connection, orig, resp):
        return True
    return _is_reuse(segment, orig, resp)


@part
def _is_reuse(segment: Any, orig: Any, resp: Any) -> bool:
    """TCPSessionAdapter::IsReuse."""
    flags = segment.flags
    if not flags & SYN:
        return False
    start = orig.start
    if flags & ACK:
        if orig.state != INACTIVE:
            return False
        start = resp.start
    if orig.did_close or resp.did_close:
        return True
    if segment.seq == start:
        return False
    swapped = orig.state == SYN_ACK_SENT and resp.state == INACTIVE and segment.seq == resp.start
    return not (swapped and not flags & ACK)


@seldom
def forget(row: int, words: Any) -> None:
    """Clear a connection's rows."""
    for which in range(2):
        end, line = words.ends[2 * row + which], words.lines[2 * row + which]
        release(end, words)
        end.fin_seq = end.delivered = end.trimmed = end.top = 0
        end.start = end.last_syn = end.last_fin = end.last_rst = 0
        end.retransmissions = end.zero_windows = end.gaps = end.checksums = 0
        end.seq_wraps = end.ack_wraps = 0
        end.state = end.before = 0
        end.did_close = end.has_fin = end.skips = end.did_eof = 0
        line.last = line.ack = 0
        line.seen = 0
        line.ready = 0
    connection = words.connections[row]
    connection.first = connection.second = np.uint64(0)
    connection.length = 0
    connection.delete_ns = connection.attempt_ns = connection.reset_ns = 0
    connection.expire_ns = connection.expire_again_ns = 0
    connection.bits = 0


@part
def _is_whole(end: Any, line: Any) -> bool:
    """Whether the end is open, all that it sent was seen, and the rest follows from its last number and acknowledgement."""
    if end.state != ESTABLISHED and end.state != PARTIAL:
        return False
    last, ack = _in_full(line.last, end.seq_wraps, end), _in_full(line.ack, end.ack_wraps, end)
    if last < 1 or ack < 0:  # Zeek does not count a wrap within the SYN
        return False
    return end.delivered == last and end.top <= last and end.trimmed == max(ack, 1) and not end.skips


@part
def _is_acked(end: Any, line: Any) -> bool:
    return _in_full(line.ack, end.ack_wraps, end) > 1


@part
def _catch_up(end: Any, line: Any) -> None:
    """Work out what the ordinary segments have left out."""
    end.delivered = end.top = max(_in_full(line.last, end.seq_wraps, end), 1)
    end.trimmed = max(_in_full(line.ack, end.ack_wraps, end), 1)


@part
def _in_full(number: Any, wraps: Any, end: Any) -> Any:
    return (np.int64(wraps) << 32) + np.int64(number) - np.int64(end.start)
