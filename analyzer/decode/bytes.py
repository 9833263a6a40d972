"""Big-endian numbers out of a byte array. The caller has checked that the bytes are there.

An unsigned place is not asked whether it counts from the end, so that the compiler makes one load of several bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.kernel import part

_1, _2, _3 = np.uint64(1), np.uint64(2), np.uint64(3)


@part
def u8(data: Any, offset: Any) -> Any:
    """One byte, as a number that can be reckoned with."""
    return np.int64(data[np.uint64(offset)])


@part
def u16(data: Any, offset: int) -> Any:
    """Two bytes, network order."""
    at = np.uint64(offset)
    return (np.int64(data[at]) << 8) | np.int64(data[at + _1])


@part
def u32(data: Any, offset: int) -> Any:
    """Four bytes, network order."""
    at = np.uint64(offset)
    return (
        (np.int64(data[at]) << 24)
        | (np.int64(data[at + _1]) << 16)
        | (np.int64(data[at + _2]) << 8)
        | np.int64(data[at + _3])
    )
