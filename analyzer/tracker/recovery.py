"""What a sender knows of its losses, seen from outside: acknowledgements, SACK, its round trips, its recoveries.

One row for each direction of the connections that repeat themselves. The capture point sees an acknowledgement before the
sender has it, and what the sender does behind that: ``near_ns``, the round trip of that part of the path, which the handshake
shows, lies between.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.decode.segment import ACK, SYN
from analyzer.kernel import part, seldom
from analyzer.tracker.causes import Evidence
from analyzer.tracker.outstanding import find, mark_echoed, mark_needless

_DSACK, _ECHO = int(Evidence.DSACK), int(Evidence.ECHO)

LEAST_RTO_NS = 200_000_000  #: Linux's TCP_RTO_MIN, over SRTT; RFC 6298 has a second
NO_NUMBER = -(1 << 62)  #: before the first one
FIRST_RTO_NS = 1_000_000_000  #: RFC 6298 (2.1)
REORDERING_NS = 3_000_000  #: Wireshark's, where the round trip is unknown
MOST_DOUBLINGS = 8
DUPLICATES = 3  #: RFC 5681
MOST_EDGES = 8

RECOVERY = np.dtype(
    [
        ("place", np.int64),  # of its ring among the entries
        ("room", np.int64),
        ("count", np.int64),  # entries ever made
        ("next", np.int64),  # the highest number seen of it, plus one: SND.NXT
        ("una", np.int64),  # the highest acknowledgement of it: SND.UNA; NO_NUMBER
        ("last_ns", np.int64),  # its last segment; 0 none
        ("syn_ns", np.int64),  # its last SYN
        ("advanced_ns", np.int64),  # when SND.UNA last moved; 0 never
        ("told_ns", np.int64),  # the newest duplicate acknowledgement or SACK since then
        (
            "earlier_una",
            np.int64,
        ),  # what had been told when SND.UNA last moved behind such a sign: of these numbers ...
        ("earlier_next", np.int64),
        ("earlier_sacked", np.int64),
        ("earlier_told_ns", np.int64),
        ("recover", np.int64),  # RFC 6582: the highest number sent when the recovery began
        ("recovery_ns", np.int64),
        ("srtt_ns", np.int64),  # RFC 6298, at the capture point; 0: none yet
        ("rttvar_ns", np.int64),
        ("near_ns", np.int64),  # the path's round trip on its side of the capture point; -1: the handshake was not seen
        ("closed_ns", np.int64),  # when the peer closed its window last
        ("opened_ns", np.int64),  # ... and opened it
        ("icmp_ns", np.int64),  # the last error that called its packet too big
        ("duplicate_acks", np.uint32),
        ("earlier_duplicates", np.uint32),
        ("advanced_frame", np.uint32),
        ("told_frame", np.uint32),
        ("earlier_told_frame", np.uint32),
        ("recovery_frame", np.uint32),
        ("icmp_frame", np.uint32),
        ("syn_frame", np.uint32),
        ("closed_frame", np.uint32),  # the first of the peer's windows that are closed; 0: open
        ("opened_frame", np.uint32),
        ("counted", np.uint32),  # steps of its IP ID that go up a little
        ("uncounted", np.uint32),  # ... and others
        ("window", np.int32),  # the peer's last, as on the wire; -1 none
        ("ip_id", np.int32),  # its last; -1 none
        ("edges", np.uint8),  # of the SACK blocks above SND.UNA, in ``blocks``
        ("phase", np.uint8),  # 0, or the cause whose recovery lasts until ``recover``
        ("timeouts", np.uint8),  # since SND.UNA last moved
        ("probed", np.uint8),  # bool: the tail, since then
        ("sack", np.uint8),  # bool: agreed, or not known not to be
    ],
    align=True,
)


@part
def on_window(me: Any, time_ns: int, frame: int, window: Any) -> None:
    """The peer advertises this much."""
    if window == 0 and me.closed_frame == 0:
        me.closed_ns, me.closed_frame = time_ns, frame
    elif window != 0 and me.closed_frame != 0:
        me.opened_ns, me.opened_frame = time_ns, frame
        me.closed_frame = 0
    me.window = window


@part
def on_handshake(me: Any, you: Any, time_ns: int, flags: int) -> None:
    """The answer to the peer's SYN, or to its SYN-ACK, shows the path's round trip on this side."""
    if me.near_ns < 0 and you.syn_frame != 0 and flags & ACK and (flags & SYN or you.syn_ns >= me.syn_ns):
        me.near_ns = max(time_ns - you.syn_ns, 0)


@part
def is_recovering(me: Any) -> bool:
    """Whether a recovery has begun and not all of it is acknowledged."""
    return me.phase != 0 and me.una < me.recover


@part
def least_wait(me: Any) -> int:
    """The shortest time-out that a sender with these round trips has (RFC 6298, Linux's least); a second at its first."""
    if me.srtt_ns == 0:
        return FIRST_RTO_NS if me.syn_frame != 0 else LEAST_RTO_NS
    return me.srtt_ns + max(me.near_ns, 0) + max(4 * me.rttvar_ns, LEAST_RTO_NS)


@part
def round_trip(me: Any, you: Any) -> int:
    """The whole path's, as the handshake shows it; 3 ms where it does not."""
    return me.near_ns + you.near_ns if me.near_ns >= 0 and you.near_ns >= 0 else REORDERING_NS


@part
def sacked_behind(me: Any, number: int, blocks: Any) -> Any:
    """How many octets from this number on the newest SACK names."""
    octets = np.int64(0)
    for i in range(0, me.edges, 2):
        octets += max(blocks[i + 1] - max(blocks[i], number), 0)
    return octets


@part
def is_sacked(me: Any, seq: int, end: int, blocks: Any) -> bool:
    """Whether the newest SACK names all of this."""
    found = False
    for i in range(0, me.edges, 2):
        found = found or (blocks[i] <= seq and end <= blocks[i + 1])
    return found


@seldom
def on_acknowledgement(
    me: Any, row: int, frame: int, pure: bool, sack: Any, blocks: Any, sent: Any, entries: Any, records: Any
) -> None:
    """The peer acknowledges what me sent; sack: the SACK edges that stand in the segment."""
    time_ns, window = sent.time_ns[row], np.int64(sent.raw_window[row])
    ack: Any = np.int64(sent.ack[row])
    if me.count > 0:
        ack = min(ack, me.next)
    if ack > me.una:
        if me.count > 0:
            _advance(me, row, frame, ack, blocks, sent, entries, records)
        me.una = ack
        me.advanced_ns, me.advanced_frame = time_ns, frame
        me.duplicate_acks, me.edges, me.timeouts, me.probed = 0, 0, 0, False
        me.told_ns, me.told_frame = 0, 0
        pure = False
    pure = pure and ack == me.una and me.next > ack
    if len(sack) > 0:
        _on_sack(me, time_ns, frame, sent.ack[row], pure, sack, blocks, entries, records)
    elif pure and window == me.window:
        me.duplicate_acks += 1
        me.told_ns, me.told_frame = time_ns, frame


@part
def _advance(me: Any, row: int, frame: int, ack: Any, blocks: Any, sent: Any, entries: Any, records: Any) -> None:
    """SND.UNA moves on: was the head sent again for nothing; how long did the newest take; what had been told so far."""
    if me.una != NO_NUMBER and not sent.no_timestamps[row]:
        mark_echoed(me, sent.tsecr[row], _ECHO, frame, sent, entries, records)
    newest = find(me, ack - 1, entries)
    head = find(me, me.una, entries) if me.una != NO_NUMBER else newest
    clean = me.duplicate_acks == 0 and me.edges == 0 and not is_recovering(me) and head >= 0 and newest >= 0
    # Karn's rule
    if clean and entries[head].again == 0 and entries[newest].again == 0 and entries[newest].row >= 0:
        _sample(me, sent.time_ns[row] - sent.time_ns[entries[newest].row])
    if me.duplicate_acks > 0 or me.edges > 0:
        if me.earlier_told_frame == 0 or me.una > me.earlier_next:  # else it is still about the same loss
            me.earlier_una, me.earlier_sacked, me.earlier_duplicates = me.una, 0, 0
        me.earlier_next = me.next
        me.earlier_sacked = max(me.earlier_sacked, sacked_behind(me, me.una, blocks))
        me.earlier_duplicates = max(me.earlier_duplicates, me.duplicate_acks)
        me.earlier_told_ns, me.earlier_told_frame = me.told_ns, me.told_frame


@part
def _sample(me: Any, round_trip_ns: int) -> None:
    """RFC 6298, section 2."""
    round_trip_ns = max(round_trip_ns, 1)
    if me.srtt_ns == 0:
        me.srtt_ns, me.rttvar_ns = round_trip_ns, round_trip_ns // 2
    else:
        me.rttvar_ns += (abs(me.srtt_ns - round_trip_ns) - me.rttvar_ns) // 4
        me.srtt_ns = max(me.srtt_ns + (round_trip_ns - me.srtt_ns) // 8, 1)


@part
def _on_sack(
    me: Any, time_ns: int, frame: int, ack: int, duplicate: bool, sack: Any, blocks: Any, entries: Any, records: Any
) -> None:
    """Take the blocks in; the first may say what came twice (RFC 2883, section 4)."""
    first = 0
    if sack[1] <= ack or (len(sack) >= 4 and sack[2] <= sack[0] and sack[1] <= sack[3]):
        mark_needless(me, sack[0], sack[1], _DSACK, frame, entries, records)
        first = 2
    edges = 0
    for i in range(first, len(sack), 2):
        if me.count > 0 and sack[i + 1] > me.una and sack[i] < sack[i + 1] <= me.next and edges < MOST_EDGES:
            blocks[edges], blocks[edges + 1] = sack[i], sack[i + 1]
            edges += 2
    if edges > 0:
        me.edges = edges
        me.duplicate_acks += duplicate
        me.told_ns, me.told_frame = time_ns, frame
