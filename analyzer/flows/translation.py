"""Twins: the same connection seen before and behind address translation (NAT, RFC 3022).

A translator gives a connection other addresses and ports and leaves the rest as it is: both initial sequence numbers, the
options (but for an MSS that it clamps), the times. So two connections are one if both ISNs, 64 bits that no sender can
have chosen alone, are the same, both ends offered the same, and the SYNs were seen within a second of each other. A SYN
that nobody answered has no twin: scanners send one ISN to everybody. A proxy is no translator: it has ISNs of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.flows.connection import KNOWN_SYN, KNOWN_SYN_ACK
from analyzer.kernel import kernel

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
    client, server = ends[0::2], ends[1::2]
    opened = (client["known"] & KNOWN_SYN != 0) & (server["known"] & KNOWN_SYN_ACK != 0)
    candidates = np.flatnonzero(opened)
    isns = (client["isn"][candidates].astype(np.uint64) << np.uint64(32)) | server["isn"][candidates]
    ordered = np.sort(isns)
    if (ordered[1:] != ordered[:-1]).all():  # as usual; sorting numbers alone is quick
        return found
    order = np.argsort(isns, kind="stable")
    pair_twins(candidates[order], isns[order], flows, ends, pairs, found)
    return found


@kernel
def pair_twins(numbers: Any, isns: Any, flows: Any, ends: Any, pairs: Any, found: Any) -> None:
    """Fill ``found``; numbers: the flows in order of their ISNs, those with the same in order of their own numbers."""
    first = 0
    for i in range(1, len(numbers)):
        one, other = flows[numbers[first]], flows[numbers[i]]
        if isns[i] != isns[first] or abs(one.syn_ns - other.syn_ns) > TRANSLATION_NS:
            first = i
            continue
        if pairs[one.pair].untagged == pairs[other.pair].untagged:
            continue  # the same addresses in another VLAN: not translated
        alike = True
        for end in range(2):
            mine, its = ends[2 * numbers[first] + end], ends[2 * numbers[i] + end]
            alike = alike and mine.options == its.options and mine.wscale == its.wscale
        if alike:
            found[numbers[i]] = numbers[first]
