"""The least, the middle and the longest round trip of each connection."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.kernel import kernel
from analyzer.tracker.packets import MOST_RTT_NS

Array = npt.NDArray[Any]
_SECOND_NS = 1e9
_FEW = 64  #: so many are sorted one by one as fast as in any other way


def round_trips(rtt: Array, long_rtt: Array, flow: Array, flows: int) -> dict[str, Array]:
    """``rtt_min``, ``rtt_median`` and ``rtt_max`` of each flow, in seconds; NaN for one without round trips.

    Parameters
    ----------
    rtt : uint32 array (n,), long_rtt : float64 array (n,)
        Of each segment, as ``PacketColumns`` has them.
    flow : int32 array (n,)
        Whose it is.
    flows : int
        How many flows there are.
    """
    names = ("rtt_min", "rtt_median", "rtt_max")
    if rtt.strides == (0,):  # there is none
        return {name: np.full(flows, np.nan) for name in names}
    ends = np.zeros(flows, np.int64)
    count_round_trips(rtt, flow, ends)
    counts = ends.copy()
    np.cumsum(ends, out=ends)
    times_ns = np.empty(int(ends[-1]) if flows else 0, np.int64)
    gather_round_trips(rtt, long_rtt, flow, ends, times_ns)  # leaves in ends where each flow's begin
    for number in np.flatnonzero(counts > _FEW).tolist():
        times_ns[ends[number] : ends[number] + counts[number]].sort()
    found = {name: np.empty(flows) for name in names}
    sum_up(times_ns, ends, counts, *found.values())
    return found


@kernel
def count_round_trips(rtt: Any, flow: Any, counts: Any) -> None:
    """Count each flow's."""
    for i in range(len(rtt)):
        if rtt[i] != 0:
            counts[flow[i]] += 1


@kernel
def gather_round_trips(rtt: Any, long_rtt: Any, flow: Any, ends: Any, times_ns: Any) -> None:
    """Put each flow's next to one another, from their end down, in nanoseconds."""
    for i in range(len(rtt)):
        if rtt[i] != 0:
            at = ends[flow[i]] - 1
            ends[flow[i]] = at
            times_ns[at] = rtt[i] if rtt[i] != MOST_RTT_NS else np.rint(long_rtt[i] * _SECOND_NS)


@kernel
def sum_up(times_ns: Any, begins: Any, counts: Any, least: Any, middle: Any, longest: Any) -> None:
    """Fill in the three figures; sorts what is not sorted yet."""
    for flow in range(len(begins)):
        first, count = begins[flow], counts[flow]
        if count == 0:
            least[flow] = middle[flow] = longest[flow] = np.nan
            continue
        last = first + count - 1
        if count <= _FEW:
            for i in range(first + 1, last + 1):
                time_ns, at = times_ns[i], i
                while at > first and times_ns[at - 1] > time_ns:
                    times_ns[at] = times_ns[at - 1]
                    at -= 1
                times_ns[at] = time_ns
        least[flow], longest[flow] = times_ns[first] / _SECOND_NS, times_ns[last] / _SECOND_NS
        middle[flow] = (times_ns[(first + last) // 2] + times_ns[(first + last + 1) // 2]) / 2 / _SECOND_NS
