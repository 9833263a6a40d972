"""Sequence arithmetic (RFC 9293, section 3.4): the only place that knows that numbers wrap at 2**32.

On the wire a number is 32 bits. Everywhere else it is relative to the sender's ISN and 64 bits wide, so that comparisons
are plain ones and a transfer of more than 4 GiB goes on counting.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.kernel import part

_SPACE = 1 << 32
_HALF = 1 << 31


@part
def distance(number: Any, reference: Any) -> Any:
    """How far a 32-bit number lies ahead of a reference, -2**31 .. 2**31 - 1."""
    return ((np.int64(number) - np.int64(reference) + _HALF) & (_SPACE - 1)) - _HALF


@part
def relative(number: Any, base: Any, near: Any) -> Any:
    """Unwrap a 32-bit number: relative to base, the candidate that lies nearest to the 64-bit relative number near."""
    return near + distance(number, np.int64(base) + near)


@part
def before(number: Any) -> Any:
    """The 32-bit number before this one."""
    return np.uint32((np.int64(number) - 1) & (_SPACE - 1))


@part
def on_wire(number: Any) -> Any:
    """The 32 bits of a number."""
    return np.uint32(np.int64(number) & (_SPACE - 1))


@part
def wraps(number: Any) -> bool:
    """Whether a number has grown beyond its 32 bits."""
    return number >= _SPACE


@part
def behind(number: Any, octets: Any) -> Any:
    """The 32-bit number so many octets behind this one."""
    return np.uint32((np.int64(number) + octets) & (_SPACE - 1))


@part
def offset(number: Any, base: Any) -> Any:
    """How far a number lies ahead of a base as Wireshark counts: 0 .. 2**32 - 1, and then from 0 again."""
    return (np.int64(number) - np.int64(base)) & (_SPACE - 1)


@part
def is_after(number: Any, other: Any) -> Any:
    """Wireshark's GT_SEQ: what is half the space away is after, both ways."""
    return offset(other, number) >= _HALF


def in_32_bits(numbers: Any) -> Any:
    """Relative numbers as tshark prints them: it has no more bits."""
    return numbers % _SPACE
