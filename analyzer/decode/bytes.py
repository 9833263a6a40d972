"""Big-endian numbers out of a byte array. The caller has checked that the bytes are there."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.kernel import part


@part
def u8(data: Any, offset: Any) -> Any:
    """One byte, as a number that can be reckoned with."""
    return np.int64(data[offset])


@part
def u16(data: Any, offset: int) -> Any:
    """Two bytes, network order."""
    return (np.int64(data[offset]) << 8) | np.int64(data[offset + 1])


@part
def u32(data: Any, offset: int) -> Any:
    """Four bytes, network order."""
    return (
        (np.int64(data[offset]) << 24)
        | (np.int64(data[offset + 1]) << 16)
        | (np.int64(data[offset + 2]) << 8)
        | np.int64(data[offset + 3])
    )
