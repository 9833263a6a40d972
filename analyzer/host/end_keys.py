"""One number for each end of a connection, so that thousands of sockets meet thousands of flows in one sorted search."""

from __future__ import annotations

import secrets
import socket
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.host.ends import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

Numbers = npt.NDArray[np.uint64]

_SEED = np.uint64(secrets.randbits(64))
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
_FOLD = np.uint64(29)


def mixed(*columns: Any) -> Numbers:
    """Mix columns of whole numbers into one of 64 bits.

    Two rows get the same by chance only (20,000 ends: one time in 10^11), and nobody can prepare it: the seed is random.
    """
    rows = max((len(column) for column in columns), default=0)
    value = np.full(rows, _SEED, np.uint64)
    for column in columns:
        value = (value ^ np.asarray(column).astype(np.uint64)) * _ODD
        value ^= value >> _FOLD
    return value


class AddressNumbers:
    """Texts of addresses as the flow table's numbers: hi, lo and version of each.

    IPv4 at an IPv6 socket (``::ffff:10.0.0.1``) is IPv4, as it is on the wire.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.plain = [plain(text) for text in texts]
        octets = [_octets(text) for text in self.plain]
        self.version = np.array([6 if len(o) == 16 else 4 for o in octets], np.uint8)
        wide = [int.from_bytes(o, "big") for o in octets]
        self.hi = np.array([number >> 64 for number in wide], np.uint64)
        self.lo = np.array([number & (1 << 64) - 1 for number in wide], np.uint64)


def _octets(text: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text.split("%", maxsplit=1)[0])
    except OSError:
        return bytes(16)


def end_keys(here: AddressNumbers, mine: Any, port: Any, there: AddressNumbers, peer: Any, peer_port: Any) -> Numbers:
    """Return the key of each end: places in ``here`` and ``there``, and the ports."""
    return mixed(
        here.hi[mine], here.lo[mine], port, there.hi[peer], there.lo[peer], peer_port, here.version[mine]
    )  # fmt: skip
