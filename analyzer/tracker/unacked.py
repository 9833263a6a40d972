"""What a direction sent that the other has not acknowledged, as Wireshark keeps it: a list of segments, oldest first.

The lists of all directions lie in one pool; nodes that are done with are used again. A list holds at most as many segments
as Wireshark's does, and the pool ``MOST_NODES``: a capture that leaves more open gets verdicts without the further ones.

Wireshark walks the whole list for each segment. Here a list knows whether its segments lie in order, without overlap
(``ORDERED``: only then may one stop at the first that stays) and the span that it covers, so that an ordinary segment
costs the same however many are under way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.flows import growth
from analyzer.flows.sequence import is_after, offset
from analyzer.kernel import kernel, part, seldom

NODE = np.dtype(
    [
        ("time_ns", np.int64),
        ("seq", np.uint32),
        ("next", np.uint32),  # the number behind it
        ("frame", np.uint32),
        ("after", np.int32),  # the next newer node + 1, 0 at the end; in the pool: the next free one
    ],
    align=True,
)

MOST_SEGMENTS = 10000  # packet-tcp.h: TCP_MAX_UNACKED_SEGMENTS
MOST_NODES = 1 << 24
_FAR = 1 << 30  # no window is larger (RFC 7323): what spans more is looked at one by one

# Bits of WAY.marks that belong to the list
ORDERED = 1  # ascending, without overlap, no wrap in what it spans
WALKED = 2  # nothing was added since the last acknowledgement went over it


def new_nodes() -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """An empty pool; and its counts: [nodes ever used, first free one + 1, free ones]."""
    return np.zeros(0, NODE), np.zeros(3, np.int64)


def with_room(nodes: npt.NDArray[np.void], counts: npt.NDArray[np.int64], segments: int) -> npt.NDArray[np.void]:
    """Return the pool, grown if so many more segments might not fit, up to the most that it may hold."""
    used = int(counts[0])
    room = growth.room_for(used, max(segments - int(counts[2]), 0), len(nodes))
    return growth.grown(nodes, used, min(room, MOST_NODES))


@kernel
def give_back_lists(heads: Any, after: Any, free: Any) -> int:
    """Put the lists with these heads (place + 1) before the free ones; returns how many elements they had.

    after: of each element the next one's place + 1, 0 at the end; free: the first free one's.
    """
    count = 0
    for i in range(len(heads)):
        last = heads[i]
        count += 1
        while after[last - 1] != 0:
            last = after[last - 1]
            count += 1
        after[last - 1] = free[0]
        free[0] = heads[i]
    return count


@part
def append(way: Any, seq: Any, after: Any, frame: Any, time_ns: Any, nodes: Any, counts: Any) -> None:
    """Add a segment at the newest end."""
    at = counts[1]
    if at != 0:
        counts[1] = nodes[at - 1].after
        counts[2] -= 1
    elif counts[0] < len(nodes):
        counts[0] += 1
        at = counts[0]
    else:
        return
    node = nodes[at - 1]
    node.seq, node.next, node.frame, node.time_ns, node.after = seq, after, frame, time_ns, 0
    first, last = offset(seq, way.base), offset(after, way.base)
    way.marks &= ~WALKED
    if way.newest == 0:
        way.oldest = way.newest = at
        way.count = 1
        way.first, way.last = first, last
        way.marks = way.marks | ORDERED if first < last else way.marks & ~ORDERED
        return
    if first < way.last or last <= first:
        way.marks &= ~ORDERED
    nodes[way.newest - 1].after = at
    way.newest = at
    way.count += 1
    way.first = min(np.int64(way.first), first)
    way.last = max(np.int64(way.last), last)


@part
def acknowledge(way: Any, ack: Any, repeated: bool, nodes: Any, counts: Any) -> int:
    """Take out what this acknowledges; returns the node + 1 of the oldest that ends there, 0 if none does.

    repeated: the acknowledgement before was the same. The node is read before anything is added again.
    """
    if way.oldest == 0 or (repeated and way.marks & WALKED):
        return 0
    way.marks |= WALKED
    beyond = offset(nodes[way.newest - 1].next, ack)
    span = np.int64(way.last) - np.int64(way.first)
    if not way.marks & ORDERED or beyond >= _FAR or span >= _FAR:
        return _walk(way, ack, nodes, counts)
    found = 0
    at = way.oldest
    while at != 0:
        node = nodes[at - 1]
        if is_after(node.next, ack):
            if is_after(ack, node.seq):
                node.seq = ack
            way.first = offset(node.seq, way.base)
            way.oldest = at
            return found
        if node.next == ack and found == 0:
            found = at
        at = _release(way, at, nodes, counts)
    way.oldest = way.newest = 0
    return found


@part
def _release(way: Any, at: int, nodes: Any, counts: Any) -> int:
    """Give a node back; returns the one after it."""
    node = nodes[at - 1]
    after = node.after
    node.after = counts[1]
    counts[1] = at
    counts[2] += 1
    way.count -= 1
    return after


@seldom
def _walk(way: Any, ack: Any, nodes: Any, counts: Any) -> int:
    """As ``acknowledge``, over the whole list."""
    found = 0
    before = 0
    at = way.oldest
    while at != 0:
        node = nodes[at - 1]
        partial = is_after(ack, node.seq) and (is_after(node.next, ack) or node.next == ack)
        if node.next != ack and (partial or is_after(node.next, ack)):
            if partial:
                node.seq = ack
            before, at = at, np.int64(node.after)
            continue
        if node.next == ack and found == 0:
            found = at
        after = _release(way, at, nodes, counts)
        if before == 0:
            way.oldest = after
        else:
            nodes[before - 1].after = after
        at = after
    way.newest = before
    measure(way, nodes)
    return found


@seldom
def measure(way: Any, nodes: Any) -> None:
    """Find the list's span anew, and whether it is in order."""
    way.marks |= ORDERED
    if way.oldest == 0:
        return
    at: Any = np.int64(way.oldest)
    first = offset(nodes[at - 1].seq, way.base)
    last: Any = np.int64(0)
    edge: Any = np.int64(0)
    while at != 0:
        node = nodes[at - 1]
        begin, end = offset(node.seq, way.base), offset(node.next, way.base)
        first, last = min(first, begin), max(last, end)
        if begin < edge or end <= begin:
            way.marks &= ~ORDERED
        edge = end
        at = np.int64(node.after)
    way.first, way.last = first, last
