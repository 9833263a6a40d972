"""Twins: the same connection seen before and behind address translation (NAT, RFC 3022).

A translator gives a connection other addresses and ports and leaves the rest as it is: both initial sequence numbers, the
options (but for an MSS that it clamps), the times. So two connections are one if both ISNs, 64 bits that no sender can
have chosen alone, are the same, both ends offered the same, and the SYNs were seen within a second of each other. A SYN
that nobody answered has no twin: scanners send one ISN to everybody. A proxy is no translator: it has ISNs of its own.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.flows.connection import KNOWN_SYN, KNOWN_SYN_ACK
from analyzer.kernel import kernel, part

TRANSLATION_NS = 1_000_000_000  #: between the sights of a SYN; a second one comes no earlier than that (RFC 6298)


def first_sights(
    flows: npt.NDArray[np.void], ends: npt.NDArray[np.void], pairs: npt.NDArray[np.void]
) -> npt.NDArray[np.int32]:
    """Return of each flow the number of its twin that was seen first, -1 where it has none or is the first itself.

    Parameters
    ----------
    flows : array of FLOW, ends : array of END, pairs : array of PAIR
        All flows, in order of their numbers; the pairs of the flow table.
    """
    found = np.full(len(flows), -1, np.int32)
    bits = max(2 * len(flows) - 1, 1).bit_length()
    slots = np.zeros(1 << bits, np.int32)
    keys = np.array([secrets.randbits(64), secrets.randbits(64) | 1, 64 - bits], np.uint64)
    pair_twins(flows, ends, pairs, keys, slots, found)
    return found


@kernel
def pair_twins(flows: Any, ends: Any, pairs: Any, keys: Any, slots: Any, found: Any) -> None:
    """Fill ``found``; slots: an empty hash table, of the newest flow (+ 1) that may be the first sight of its ISNs.

    keys: of the hash (multiply and take the highest bits), drawn anew: so nobody can prepare ISNs that collide.
    """
    mask = len(slots) - 1
    for i in range(len(flows)):
        client, server = ends[2 * i], ends[2 * i + 1]
        if not (client.known & KNOWN_SYN and server.known & KNOWN_SYN_ACK):
            continue
        isns = (np.uint64(client.isn) << np.uint64(32)) | np.uint64(server.isn)
        at = np.int64(((isns ^ keys[0]) * keys[1]) >> keys[2])
        while slots[at] != 0 and not _has_isns(slots[at] - 1, client, server, ends):
            at = (at + 1) & mask
        first = slots[at] - 1
        if first < 0 or abs(flows[first].syn_ns - flows[i].syn_ns) > TRANSLATION_NS:
            slots[at] = i + 1
        elif _is_translated(first, i, flows, ends, pairs):
            found[i] = first


@part
def _has_isns(number: int, client: Any, server: Any, ends: Any) -> bool:
    return ends[2 * number].isn == client.isn and ends[2 * number + 1].isn == server.isn


@part
def _is_translated(first: int, second: int, flows: Any, ends: Any, pairs: Any) -> bool:
    """Whether both ends offered the same; between the same addresses in another VLAN nothing was translated."""
    if pairs[flows[first].pair].untagged == pairs[flows[second].pair].untagged:
        return False
    for end in range(2):
        mine, its = ends[2 * first + end], ends[2 * second + end]
        if mine.options != its.options or mine.wscale != its.wscale:
            return False
    return True
