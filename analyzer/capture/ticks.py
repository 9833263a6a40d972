"""pcapng's clocks: ticks of any power of ten or of two, to nanoseconds, exactly.

No float comes near a time. What lies beyond the years 1677 to 2262, which 64 bits of nanoseconds can say, is held at
the end of that range; only hostile files do.
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import part

_TENS = np.array([10**i for i in range(20)], np.uint64)
_0, _9, _19, _32, _64 = np.uint64(0), np.uint64(9), np.uint64(19), np.uint64(32), np.uint64(64)
_BILLION = np.uint64(1_000_000_000)
#: 2**63 ns is 9,223,372,036.85 s: the last whole second is 9,223,372,035. The lowest integer itself is pandas' NaT.
_MOST_WHOLE = 9_223_372_036
_MOST_S = np.uint64(_MOST_WHOLE)
_LATEST = 2**63 - 1
_EARLIEST = -_LATEST


@part
def ticks_to_ns(high: int, low: int, resolution: int, offset_s: int) -> int:
    """Return a time in nanoseconds since 1970.

    Parameters
    ----------
    high, low
        The upper and the lower 32 bits of the tick count.
    resolution
        ``if_tsresol``: the negative power of ten of a tick in seconds, or with the top bit set of two.
    offset_s
        ``if_tsoffset``: seconds to add.
    """
    ticks = np.uint64(high) << _32 | np.uint64(low)
    power = np.uint64(resolution & 0x7F)
    seconds = _0
    rest_ns = _0
    if resolution & 0x80:
        rest = ticks
        if power < _64:
            seconds = ticks >> power
            rest = ticks - (seconds << power)
        if power <= _32:
            rest_ns = rest * _BILLION >> power
        else:
            # rest * 10**9 does not fit: upper and lower half apart; rounding down twice is rounding down once.
            upper = rest >> _32
            product = upper * _BILLION + ((rest - (upper << _32)) * _BILLION >> _32)
            if power - _32 < _64:
                rest_ns = product >> power - _32
    elif power <= _19:
        unit = _TENS[power]
        seconds = ticks // unit
        rest = ticks - seconds * unit
        rest_ns = rest * _TENS[_9 - power] if power <= _9 else rest // _TENS[power - _9]
    elif power - _9 <= _19:
        rest_ns = ticks // _TENS[power - _9]
    if offset_s >= 0:
        if seconds > _MOST_S or np.uint64(offset_s) > _MOST_S:
            return _LATEST
        whole = np.int64(seconds) + np.int64(offset_s)
    else:
        back = np.uint64(-(offset_s + 1)) + np.uint64(1)
        if seconds >= back:
            if seconds - back > _MOST_S:
                return _LATEST
            whole = np.int64(seconds - back)
        else:
            if back - seconds > _MOST_S:
                return _EARLIEST
            whole = -np.int64(back - seconds)
    if whole >= _MOST_WHOLE:
        return _LATEST
    return whole * np.int64(1_000_000_000) + np.int64(rest_ns)  # type: ignore[return-value]
