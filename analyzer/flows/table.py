"""The persistent flow table: which pair of ends a segment belongs to.

A *pair* is what connections share that follow one another on the same addresses and ports (and VLAN). The table is an
open-addressing hash table over an array of pairs, doubled when half full; addresses are numbered in a second one of the
same kind, so that text is made once for each address and never for a packet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.flows import growth
from analyzer.flows.key import hash_address, hash_key, random_hash_keys, source_first
from analyzer.kernel import kernel, part, seldom

PAIR = np.dtype(
    [
        ("a_hi", np.uint64),
        ("a_lo", np.uint64),
        ("b_hi", np.uint64),
        ("b_lo", np.uint64),
        ("tunnel_key", np.uint64),
        ("hash", np.uint32),
        ("vlan_key", np.int32),
        ("a_address", np.int32),  # number of the address
        ("b_address", np.int32),
        (
            "untagged",
            np.int32,
        ),  # the pair without VLAN and tunnel, which Wireshark's streams ignore; itself where there is neither
        ("a_port", np.uint16),
        ("b_port", np.uint16),
        ("version", np.uint8),
    ],
    align=True,
)

ADDRESS = np.dtype(
    [
        ("hi", np.uint64),
        ("lo", np.uint64),
        ("hash", np.uint32),
        ("version", np.uint8),
        ("seen", np.uint8),  # SEEN_ bits: what the packet type of cooked captures says of it
    ],
    align=True,
)

SEEN_LOCAL = 1  # source of an outgoing or destination of an incoming packet
SEEN_REMOTE = 2  # source of an incoming or destination of an outgoing packet
SEEN_LOOPBACK = 4  # either end of a packet on the loopback interface

SLOT = np.dtype([("hash", np.uint32), ("entry", np.int32)])  # entry + 1; 0 is empty

_RECENT = 8192  #: a power of two; 64 KiB


class FlowTable(NamedTuple):
    """The arrays of the table. counts: [pairs, addresses].

    Most segments belong to one of the pairs seen last, and those are found in ``recent``, which is small enough to stay in
    the processor's cache; the slots of millions of pairs are not.
    """

    keys: npt.NDArray[np.uint64]
    recent: npt.NDArray[np.void]
    pair_slots: npt.NDArray[np.void]
    pairs: npt.NDArray[np.void]
    address_slots: npt.NDArray[np.void]
    addresses: npt.NDArray[np.void]
    counts: npt.NDArray[np.int64]


def new_table(room: int = 1024) -> FlowTable:
    """Make an empty table with room (a power of two) for so many pairs."""
    return FlowTable(
        random_hash_keys(),
        np.zeros(_RECENT, SLOT),
        np.zeros(4 * room, SLOT),
        np.zeros(2 * room, PAIR),
        np.zeros(4 * room, SLOT),
        np.zeros(2 * room, ADDRESS),
        np.zeros(2, np.int64),
    )


def with_room(table: FlowTable, segments: int, ahead: float = 0.0) -> FlowTable:
    """Return the table, grown if so many more segments (each may bring two pairs and three addresses) might not fit.

    ahead: how many times as many pairs and addresses the whole capture may have as there are now, where that is known.
    """
    pairs, addresses = int(table.counts[0]), int(table.counts[1])
    if pairs + 2 * segments > min(len(table.pairs), len(table.pair_slots) // 2):
        size = _power_of_two(max(pairs + 2 * segments, int(pairs * ahead)))
        slots = np.zeros(2 * size, SLOT)
        rehash(table.pairs["hash"][:pairs].copy(), slots)
        table = table._replace(pairs=growth.grown(table.pairs, pairs, size, zeroed=True), pair_slots=slots)
    if addresses + 3 * segments > min(len(table.addresses), len(table.address_slots) // 2):
        size = _power_of_two(max(addresses + 3 * segments, int(addresses * ahead)))
        slots = np.zeros(2 * size, SLOT)
        rehash(table.addresses["hash"][:addresses].copy(), slots)
        table = table._replace(
            addresses=growth.grown(table.addresses, addresses, size, zeroed=True), address_slots=slots
        )
    return table


def without_slots(table: FlowTable) -> FlowTable:
    """Return the table for reading only: nothing is looked for in it any more."""
    return table._replace(pair_slots=np.zeros(0, SLOT), address_slots=np.zeros(0, SLOT))


def without_pairs(table: FlowTable) -> FlowTable:
    """Return the table with its addresses only."""
    return table._replace(pairs=np.zeros(0, PAIR))


def _power_of_two(least: int) -> int:
    return 1 << max(least - 1, 1).bit_length()


@kernel
def rehash(hashes: Any, slots: Any) -> None:
    """Fill empty slots with the entries 0..n-1 of these hashes."""
    mask = len(slots) - 1
    for entry in range(len(hashes)):
        at = np.int64(hashes[entry]) & mask
        while slots[at].entry != 0:
            at = (at + 1) & mask
        slots[at].hash = hashes[entry]
        slots[at].entry = entry + 1


@kernel
def find_pairs(segments: Any, filled: int, table: Any, by_vlan: bool, by_tunnel: bool) -> None:
    """Find or make the pair of each segment: fills ``pair``, ``untagged``, ``side``, ``source`` and ``destination``.

    Of an ICMP error it is the pair of what it quotes, and its sender's address is numbered (``reporter``).

    by_vlan, by_tunnel: whether the same ends in another VLAN or tunnel are another pair.
    """
    for i in range(filled):
        segment = segments[i]
        first = source_first(segment)
        segment.side = 0 if first else 1
        vlan_key = segment.vlan_key if by_vlan else -1
        tunnel_key = segment.tunnel_key if by_tunnel else np.uint64(0)
        number = _find_pair(segment, first, vlan_key, tunnel_key, table)
        pair = table.pairs[number]
        if pair.untagged < 0:
            plain = vlan_key < 0 and tunnel_key == 0
            pair.untagged = number if plain else _find_pair(segment, first, -1, np.uint64(0), table)
        segment.pair, segment.untagged = number, pair.untagged
        segment.source, segment.destination = pair.a_address, pair.b_address
        if not first:
            segment.source, segment.destination = pair.b_address, pair.a_address
        if segment.quoted:
            segment.reporter = _address(segment.reporter_hi, segment.reporter_lo, segment.reporter_version, table)
        elif segment.outgoing >= 0:  # what an ICMP error quotes went the other way
            _note_ends(segment, table.addresses)


@part
def _note_ends(segment: Any, addresses: Any) -> None:
    """Remember on which side of the capturing host the packet's addresses lie."""
    source, destination = addresses[segment.source], addresses[segment.destination]
    if segment.loopback:
        source.seen |= SEEN_LOOPBACK
        destination.seen |= SEEN_LOOPBACK
    elif segment.outgoing:
        source.seen |= SEEN_LOCAL
        destination.seen |= SEEN_REMOTE
    else:
        source.seen |= SEEN_REMOTE
        destination.seen |= SEEN_LOCAL


@part
def _find_pair(segment: Any, first: bool, vlan_key: int, tunnel_key: Any, table: Any) -> int:
    if first:
        a_hi, a_lo, b_hi, b_lo = segment.src_hi, segment.src_lo, segment.dst_hi, segment.dst_lo
        a_port, b_port = segment.sport, segment.dport
    else:
        a_hi, a_lo, b_hi, b_lo = segment.dst_hi, segment.dst_lo, segment.src_hi, segment.src_lo
        a_port, b_port = segment.dport, segment.sport
    ports = (np.uint64(a_port) << np.uint64(16)) | np.uint64(b_port)
    tags = np.uint64(vlan_key + 1) | (np.uint64(segment.version) << np.uint64(32))
    value = hash_key(table.keys, a_hi, a_lo, b_hi, b_lo, ports, tags, tunnel_key)
    slots, pairs, recent = table.pair_slots, table.pairs, table.recent[value & (_RECENT - 1)]
    if (
        recent.hash == value
        and recent.entry != 0
        and _is_pair(pairs[recent.entry - 1], a_hi, a_lo, b_hi, b_lo, a_port, b_port, vlan_key, tunnel_key, segment)
    ):
        return recent.entry - 1
    mask = len(slots) - 1
    at = value & mask
    while slots[at].entry != 0:
        number = slots[at].entry - 1
        if slots[at].hash == value and _is_pair(
            pairs[number], a_hi, a_lo, b_hi, b_lo, a_port, b_port, vlan_key, tunnel_key, segment
        ):
            recent.hash, recent.entry = value, number + 1
            return number
        at = (at + 1) & mask
    number = table.counts[0]
    table.counts[0] = number + 1
    slots[at].hash = value
    slots[at].entry = number + 1
    recent.hash, recent.entry = value, number + 1
    pair = pairs[number]
    pair.a_hi, pair.a_lo, pair.b_hi, pair.b_lo = a_hi, a_lo, b_hi, b_lo
    pair.a_port, pair.b_port = a_port, b_port
    pair.vlan_key = vlan_key
    pair.tunnel_key = tunnel_key
    pair.version = segment.version
    pair.hash = value
    pair.a_address = _address(a_hi, a_lo, segment.version, table)
    pair.b_address = _address(b_hi, b_lo, segment.version, table)
    pair.untagged = -1
    return number


@part
def _is_pair(
    pair: Any,
    a_hi: Any,
    a_lo: Any,
    b_hi: Any,
    b_lo: Any,
    a_port: int,
    b_port: int,
    vlan_key: int,
    tunnel_key: Any,
    segment: Any,
) -> bool:
    return (
        pair.a_lo == a_lo
        and pair.b_lo == b_lo
        and pair.a_port == a_port
        and pair.b_port == b_port
        and pair.a_hi == a_hi
        and pair.b_hi == b_hi
        and pair.vlan_key == vlan_key
        and pair.tunnel_key == tunnel_key
        and pair.version == segment.version
    )


@seldom
def _address(hi: Any, lo: Any, version: int, table: Any) -> int:
    value = hash_address(table.keys, hi, lo, version)
    slots, addresses = table.address_slots, table.addresses
    mask = len(slots) - 1
    at = value & mask
    while slots[at].entry != 0:
        if slots[at].hash == value:
            number = slots[at].entry - 1
            known = addresses[number]
            if known.lo == lo and known.hi == hi and known.version == version:
                return number
        at = (at + 1) & mask
    number = table.counts[1]
    table.counts[1] = number + 1
    slots[at].hash = value
    slots[at].entry = number + 1
    addresses[number].hi = hi
    addresses[number].lo = lo
    addresses[number].version = version
    addresses[number].hash = value
    return number
