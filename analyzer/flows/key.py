"""The key of a flow, and its hash.

A key is the unordered pair of ends (address, port), the IP version, the stack of VLAN tags and the tunnel. The hash is
multilinear (Lemire and Kaser, "Strongly universal string hashing is fast", 2014): the upper half of the sum of
(key + word) products of 32-bit words under random 64-bit keys, drawn anew in each process. No sender can prepare
colliding flows for it.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.kernel import part

_WORDS = 14


def random_hash_keys() -> npt.NDArray[np.uint64]:
    """Draw the keys of the hash: (15,) uint64, the odd one out is the constant term."""
    return np.array([secrets.randbits(64) for _ in range(_WORDS + 1)], np.uint64)


@part
def _pair(keys: Any, at: int, word: Any) -> Any:
    low = word & np.uint64(0xFFFFFFFF)
    high = word >> np.uint64(32)
    return (keys[at] + low) * (keys[at + 1] + high)


@part
def hash_address(keys: Any, hi: Any, lo: Any, version: int) -> Any:
    """Hash an address to 32 bits."""
    total = keys[_WORDS] + _pair(keys, 0, hi) + _pair(keys, 2, lo) + _pair(keys, 4, np.uint64(version))
    return np.int64(total >> np.uint64(32))


@part
def hash_key(keys: Any, a_hi: Any, a_lo: Any, b_hi: Any, b_lo: Any, ports: Any, tags: Any, tunnel: Any) -> Any:
    """Hash a flow's key to 32 bits; ports, tags and tunnel are one word each."""
    total = (
        keys[_WORDS]
        + _pair(keys, 0, a_hi)
        + _pair(keys, 2, a_lo)
        + _pair(keys, 4, b_hi)
        + _pair(keys, 6, b_lo)
        + _pair(keys, 8, ports)
        + _pair(keys, 10, tags)
        + _pair(keys, 12, tunnel)
    )
    return np.int64(total >> np.uint64(32))


@part
def source_first(segment: Any) -> bool:
    """Whether the source is the pair's first end: the one with the lower address, then the lower port."""
    if segment.src_hi != segment.dst_hi:
        return segment.src_hi < segment.dst_hi
    if segment.src_lo != segment.dst_lo:
        return segment.src_lo < segment.dst_lo
    return segment.sport <= segment.dport
