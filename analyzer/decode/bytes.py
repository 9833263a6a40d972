"""Big-endian numbers out of a byte array. The caller has checked that the bytes are there."""

from __future__ import annotations

from typing import Any

from analyzer.kernel import part


@part
def u16(data: Any, offset: int) -> int:
    """Two bytes, network order."""
    return (int(data[offset]) << 8) | int(data[offset + 1])


@part
def u32(data: Any, offset: int) -> int:
    """Four bytes, network order."""
    return (
        (int(data[offset]) << 24) | (int(data[offset + 1]) << 16) | (int(data[offset + 2]) << 8) | int(data[offset + 3])
    )
