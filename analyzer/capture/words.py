"""Words of 16 and 32 bits out of the buffer, in either byte order.

They are plain byte shifts that the compiler merges into one load; the unsigned index spares it the test for a negative
one. Callers have checked that the word lies inside the data.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analyzer.kernel import part

_1 = np.uint64(1)
_2 = np.uint64(2)
_3 = np.uint64(3)


@part
def u16(data: npt.NDArray[np.uint8], at: int, big: bool) -> int:
    """Return the 16-bit word at ``at``."""
    i = np.uint64(at)
    if big:
        return np.int64(data[i]) << 8 | np.int64(data[i + _1])  # type: ignore[return-value]
    return np.int64(data[i + _1]) << 8 | np.int64(data[i])  # type: ignore[return-value]


@part
def u32(data: npt.NDArray[np.uint8], at: int, big: bool) -> int:
    """Return the 32-bit word at ``at``."""
    i = np.uint64(at)
    first, second = np.int64(data[i]), np.int64(data[i + _1])
    third, fourth = np.int64(data[i + _2]), np.int64(data[i + _3])
    if big:
        return first << 24 | second << 16 | third << 8 | fourth  # type: ignore[return-value]
    return fourth << 24 | third << 16 | second << 8 | first  # type: ignore[return-value]
