"""The least, the middle and the longest round trip of each connection."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_SECOND_NS = 1e9
_TIME_BITS = 40  # nanoseconds: 18 minutes


def round_trips(rtt: Array, flow: Array, flows: int) -> dict[str, Array]:
    """``rtt_min``, ``rtt_median`` and ``rtt_max`` of each flow, in seconds; NaN for one without round trips.

    Parameters
    ----------
    rtt : float64 array (n,)
        Seconds, NaN for none, of each segment.
    flow : int array (n,)
        Whose it is.
    flows : int
        How many flows there are.
    """
    there = np.flatnonzero(~np.isnan(rtt))
    keys, time = flow[there].astype(np.int64), rtt[there]
    del there
    time *= _SECOND_NS  # in place from here on: there may be many
    np.rint(time, out=time)
    time_ns = time.astype(np.int64)
    del time
    if flows < 1 << 63 - _TIME_BITS and (not len(keys) or (time_ns.min() >= 0 and time_ns.max() < 1 << _TIME_BITS)):
        keys <<= _TIME_BITS  # sorted as one number: ten times as fast as by two columns
        keys |= time_ns
        del time_ns
        keys.sort()
        of, time_ns = keys >> _TIME_BITS, keys
        time_ns &= (1 << _TIME_BITS) - 1
    else:
        order = np.lexsort((time_ns, keys))
        of, time_ns = keys[order], time_ns[order]
    count = np.bincount(of, minlength=flows)
    some = np.flatnonzero(count)
    first = (np.cumsum(count) - count)[some]
    last = first + count[some] - 1
    middle = (time_ns[(first + last) // 2] + time_ns[(first + last + 1) // 2]) / 2
    found = {"rtt_min": time_ns[first], "rtt_median": middle, "rtt_max": time_ns[last]}
    columns = {name: np.full(flows, np.nan) for name in found}
    for name, values in found.items():
        columns[name][some] = values / _SECOND_NS
    return columns
