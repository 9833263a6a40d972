"""Copies: the same packet, seen again.

A host with containers, bridges, bonds or VLANs shows each packet several times to ``tcpdump -i any``: on each interface
that it passes, with its tag and without, before a tunnel and inside it, and with a lower TTL behind a router. So does a
SPAN port that mirrors both ways. Tools take these copies for retransmissions and duplicate acknowledgements.

Every segment is held against the last ``WINDOW`` ones. *Identical* are two of the same ends (whatever VLAN or tunnel),
with the same IP ID, sequence number, acknowledgement, flags, window, options that are decoded, timestamps and length.
Identical segments are one packet when

*   they were seen at different *vantages* (interface, direction, VLAN, tunnel, TTL, file), and this packet was not yet
    seen at the second one: a sender that repeats itself passes the same places again, first of all the first one. The
    rest is a matter of time: a second with an IP ID that tells packets apart; less where there is none (IPv6, Linux's
    SYN-ACKs and resets) and only the timestamps option or nothing does;

*   or they were seen at the same vantage at almost the same time, with the same checksum, and an IP ID that tells
    packets apart. Without one only what takes sequence numbers, if nothing came from the other end meanwhile, and no ICMP
    error: a sender that has heard nothing repeats itself by a timer, and none is that short (Linux: 2 ms for a tail loss
    probe, 200 ms for a time-out). But a SYN-ACK is sent for a SYN that came again and by its timer, and both are due when
    the first one was lost: it is a copy only where the SYN before it was seen twice as well.

An IP ID tells packets apart if its sender gives another one to its other segments. Linux, Windows and BSD do, and give a
retransmission a new one; some devices and packet generators have one number for all.

The checksum is another one only where a card was to fill it in: then one of them is the bare sum of the pseudo-header, or 0;
and in SYNs, whose MSS routers clamp.
"""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.decode.segment import ACK, FIN, OPTION_TIMESTAMPS, SYN
from analyzer.kernel import kernel, part, seldom

WINDOW = 8192  #: segments looked back upon: what ten gigabits bring within milliseconds
SIGHTS = 16  #: of them, identical ones looked at; a packet is seen at some five places
NEAR = 64  #: segments looked through, one by one, for what the ends sent besides

WITH_ID_NS = 1_000_000_000  #: another vantage, IP ID: RFC 6864 lets none come again within two minutes
WITH_TIMESTAMPS_NS = 200_000_000  #: no IP ID, but a clock in the segment; Linux's least retransmission time-out
BARE_NS = 20_000_000  #: neither; interfaces of one host are microseconds apart, those of a path some milliseconds
SAME_WITH_ID_NS = 10_000_000  #: the same vantage, IP ID
SAME_BARE_NS = 500_000  #: the same vantage, none: well below 2 ms, Linux's TCP_TIMEOUT_MIN
UNDATED_NS = 1_000_000_000  #: before that, in 1970, stand the lines of a text without times, one behind the other

SIGHT = np.dtype(
    [
        ("time_ns", np.int64),
        ("frame", np.int64),  # of the first sight
        ("row", np.int64),  # of the first sight, among the packets
        ("seq", np.uint32),
        ("ack", np.uint32),
        ("hash", np.uint32),  # of everything that must be identical
        ("vantage", np.uint32),
        ("first", np.uint32),  # place of the first sight
        ("previous", np.uint32),  # place of the sight before it in the same slot
        ("untagged", np.int32),
        ("pair", np.int32),  # of the first sight
        ("checksum", np.uint16),
        ("ip_id", np.uint16),
        ("side", np.uint8),
    ],
    align=True,
)
"""64 octets, a cache line: one is written for each segment."""

_SLOTS = 65536
_TOLD = 2  # instead of a side: an ICMP error about a segment of these ends
_WORDS = 12


class Sights(NamedTuple):
    """The segments seen last. counts: [the next one's place, copies found so far]."""

    keys: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.uint32]
    ring: npt.NDArray[np.void]
    counts: npt.NDArray[np.int64]


def new_sights() -> Sights:
    """Make the memory of an analysis: its size never changes; the keys of its hash are drawn anew."""
    keys = np.array([secrets.randbits(64) for _ in range(_WORDS + 1)], np.uint64)
    ring = np.zeros(WINDOW, SIGHT)
    ring["untagged"] = -1  # of no pair
    return Sights(keys, np.zeros(_SLOTS, np.uint32), ring, np.array([WINDOW, 0], np.int64))


@kernel
def find_copies(segments: Any, filled: int, sights: Any, row: int, keep_rows: bool) -> int:
    """Find out which segments of a batch are another sight of a packet: fills ``copy_of``, ``copy_row`` and ``copy_pair``.

    row is the row of `packets` that the batch begins with, keep_rows whether copies have rows of their own. Returns the row
    that the next batch begins with.
    """
    for i in range(filled):
        segments[i].copy_of = 0
        row = _look_for_copy(segments[i], sights, row, keep_rows)
    return row


@part
def _look_for_copy(segment: Any, sights: Any, row: int, keep_rows: bool) -> int:
    """Fill ``copy_of`` (zero so far), ``copy_row`` and ``copy_pair`` of a segment that is another sight of a packet.

    Parameters
    ----------
    segment : SEGMENT
        As ``find_pairs`` left it.
    sights : Sights
        What is remembered of the segments before.
    row : int
        The segment's row of `packets`.
    keep_rows : bool
        Whether copies have rows of their own.

    Returns
    -------
    int
        The next segment's row.
    """
    place = np.int64(np.uint32(sights.counts[0]))  # where it wraps, distances go on
    sights.counts[0] += 1
    it = sights.ring[place & (WINDOW - 1)]
    if segment.quoted:
        it.untagged, it.side, it.hash, it.previous = segment.untagged, _TOLD, 0, place
        return row
    value = _identity(segment, sights.keys)
    vantage = _vantage(segment, sights.keys)
    slot = value & (_SLOTS - 1)
    previous = np.int64(sights.slots[slot])
    found = -1
    if _age(previous, place) < WINDOW:
        found = _first_sight(segment, value, vantage, previous, place, sights)
    sights.slots[slot] = place
    if found < 0:
        it.first, it.frame, it.row, it.pair = place, segment.frame, row, segment.pair
        row += 1
    else:
        _take_as_copy(segment, sights.ring[found & (WINDOW - 1)], it, sights)
        if keep_rows:
            row += 1
        else:
            segment.copy_row = -1
    it.time_ns = segment.time_ns
    it.seq, it.ack, it.hash, it.vantage = segment.seq, segment.ack, value, vantage
    it.previous = previous
    it.untagged = segment.untagged
    it.checksum, it.ip_id, it.side = segment.raw_checksum, segment.ip_id, segment.side
    return row


@part
def _age(at: Any, place: Any) -> Any:
    """How many segments ago that was."""
    return np.int64(np.uint32(place - at))


@part
def _hashed(keys: Any, at: int, high: Any, low: Any) -> Any:
    return (keys[at] + np.uint64(high)) * (keys[at + 1] + np.uint64(low))


@part
def _identity(segment: Any, keys: Any) -> Any:
    """Hash what copies have in common to 32 bits, as ``key`` does; nobody can prepare packets for it.

    The ends by their addresses and ports, not by the number of their pair, which is another one when rows were given back.
    """
    timed = segment.options & OPTION_TIMESTAMPS != 0
    ports = (np.uint64(segment.sport) << np.uint64(16)) | np.uint64(segment.dport)
    words = (np.uint64(segment.ip_id) << np.uint64(16)) | np.uint64(segment.window)
    bits = (np.uint64(segment.options) << np.uint64(16)) | np.uint64(segment.flags)
    total = (
        keys[_WORDS]
        + _hashed(keys, 0, segment.seq, segment.ack)
        + _hashed(keys, 2, ports, segment.tsval if timed else 0)
        + _hashed(keys, 4, segment.length, segment.tsecr if timed else 0)
        + _hashed(keys, 6, words, (bits << np.uint64(1)) | np.uint64(segment.side))
        + _hashed(keys, 8, segment.src_lo, segment.dst_lo)
        + _hashed(keys, 10, segment.src_hi, segment.dst_hi)
    )
    return np.int64(total >> np.uint64(32))


@part
def _vantage(segment: Any, keys: Any) -> Any:
    """Hash where the segment was seen to 32 bits."""
    tunnel = segment.tunnel_key
    total = (
        _hashed(keys, 0, segment.ifindex + 1, segment.vlan_key + 1)
        + _hashed(keys, 2, segment.interface, segment.file)
        + _hashed(keys, 4, segment.ttl, segment.outgoing + 1)
        + _hashed(keys, 6, tunnel >> np.uint64(32), np.uint32(tunnel))
    )
    return np.int64(total >> np.uint64(32))


@seldom
def _first_sight(segment: Any, value: int, vantage: int, newest: Any, place: Any, sights: Any) -> Any:
    """Find a sight of the same packet; returns its place, or -1.

    Of several packets that are identical, each seen here and there, the oldest one that was not yet seen here has it.
    """
    found = same = -1
    at, left = newest, SIGHTS
    age = _age(at, place)
    while left > 0 and age < WINDOW:
        it = sights.ring[at & (WINDOW - 1)]
        if _is_identical(it, segment, value):
            left -= 1
            apart_ns = abs(segment.time_ns - it.time_ns)
            if it.vantage == vantage:
                if same < 0 and _is_seen_twice(segment, it, apart_ns, value, at, place, sights.ring):
                    same = at
            elif (
                _is_soon(segment, apart_ns, value, place, sights.ring)
                and _checksums_agree(segment, it)
                and not _was_seen_here(segment, value, vantage, np.int64(it.first), newest, place, sights.ring)
            ):
                found = at
        at = np.int64(it.previous)
        older = _age(at, place)
        if older <= age:
            break
        age = older
    return found if found >= 0 else same


@part
def _is_identical(it: Any, segment: Any, value: int) -> bool:
    return it.hash == value and it.seq == segment.seq and it.ack == segment.ack and it.untagged == segment.untagged


@part
def _was_seen_here(segment: Any, value: int, vantage: int, first: Any, newest: Any, place: Any, ring: Any) -> bool:
    """Whether that packet has a sight at this vantage."""
    at, left = newest, SIGHTS
    age = _age(at, place)
    while left > 0 and age < WINDOW:
        it = ring[at & (WINDOW - 1)]
        if _is_identical(it, segment, value):
            left -= 1
            if it.first == first and it.vantage == vantage:
                return True
        at = np.int64(it.previous)
        older = _age(at, place)
        if older <= age:
            break
        age = older
    return False


@part
def _is_soon(segment: Any, apart_ns: int, value: int, place: int, ring: Any) -> bool:
    """Whether a copy at another vantage may come so late."""
    if apart_ns <= (WITH_TIMESTAMPS_NS if segment.options & OPTION_TIMESTAMPS else BARE_NS):
        return True
    return apart_ns <= WITH_ID_NS and _has_own_id(segment, value, place, ring)


@part
def _is_seen_twice(segment: Any, it: Any, apart_ns: int, value: int, at: int, place: int, ring: Any) -> bool:
    """Whether an identical segment at the same vantage is the same packet."""
    if segment.raw_checksum != it.checksum:
        return False
    takes_numbers = segment.length != 0 or segment.flags & (SYN | FIN) != 0
    if (
        takes_numbers
        and apart_ns <= SAME_BARE_NS
        and segment.time_ns >= UNDATED_NS
        and _is_undisturbed(segment, at, place, ring)
        and (segment.flags & (SYN | ACK) != SYN | ACK or _was_asked_twice(segment, at, ring))
    ):
        return True
    return apart_ns <= SAME_WITH_ID_NS and _has_own_id(segment, value, place, ring)


@part
def _is_undisturbed(segment: Any, at: int, place: int, ring: Any) -> bool:
    """Whether nothing came from the other end since that sight, nor an ICMP error about one of the two."""
    between = _age(at, place) - 1
    if between > NEAR:
        return False
    for i in range(between):
        other = ring[(at + 1 + i) & (WINDOW - 1)]
        if other.untagged == segment.untagged and other.side != segment.side:
            return False
    return True


@part
def _was_asked_twice(segment: Any, at: int, ring: Any) -> bool:
    """Whether what the other end sent last before that sight was seen twice."""
    for back in range(1, NEAR + 1):
        other = ring[(at - back) & (WINDOW - 1)]
        if other.untagged == segment.untagged and other.side == 1 - segment.side:
            return np.int64(other.first) != np.int64(np.uint32(at - back))
    return False


@seldom
def _has_own_id(segment: Any, value: int, place: int, ring: Any) -> bool:
    """Whether the segment has an IP ID, and the sender's other segments have others."""
    if segment.version != 4 or segment.ip_id == 0:
        return False
    others = 0
    for back in range(1, NEAR + 1):
        other = ring[(place - back) & (WINDOW - 1)]
        if other.untagged == segment.untagged and other.side == segment.side and other.hash != value:
            if other.ip_id == segment.ip_id:
                return False
            others += 1
    return others > 0


@part
def _checksums_agree(segment: Any, it: Any) -> bool:
    """Whether the checksums are the same, or one was left to the card: the pseudo-header's sum, or nothing.

    A SYN's is not asked: routers clamp its MSS.
    """
    if segment.raw_checksum == it.checksum or segment.flags & SYN:
        return True
    if segment.raw_checksum == 0 or it.checksum == 0:
        return True
    bare = _pseudo_header_sum(segment)
    return segment.raw_checksum == bare or it.checksum == bare


@seldom
def _pseudo_header_sum(segment: Any) -> int:
    """RFC 9293 section 3.1, RFC 8200 section 8.1: addresses, protocol and length, added up, not complemented."""
    total = 6 + np.int64(segment.length) + segment.header
    for word in (segment.src_hi, segment.src_lo, segment.dst_hi, segment.dst_lo):
        rest = word
        for _ in range(4):
            total += np.int64(rest & np.uint64(0xFFFF))
            rest = rest >> np.uint64(16)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@seldom
def _take_as_copy(segment: Any, known: Any, it: Any, sights: Any) -> None:
    """Enter a copy: it stands for its first sight."""
    sights.counts[1] += 1
    it.first, it.frame, it.row, it.pair = known.first, known.frame, known.row, known.pair
    segment.copy_of, segment.copy_row, segment.copy_pair = known.frame, known.row, known.pair


@seldom
def join(one: int, other: int, pairs: Any) -> None:
    """Let segments of one pair belong to the other's connections from here on: a packet was seen in both."""
    mine, theirs = root_pair(one, pairs), root_pair(other, pairs)
    if mine != theirs:
        pairs[mine].joined = theirs + 1


@seldom
def root_pair(number: int, pairs: Any) -> int:
    """The pair whose connections this pair's segments belong to: itself, or the one that it is joined to."""
    root = number
    while pairs[root].joined != 0:
        root = pairs[root].joined - 1
    while pairs[number].joined != 0:  # next time it is one step
        following = pairs[number].joined - 1
        pairs[number].joined = root + 1
        number = following
    return root
