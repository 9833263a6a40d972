"""Addresses as text: made once for each address that a capture has, never for a packet."""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analyzer.flows.table import SEEN_LOCAL, SEEN_LOOPBACK, SEEN_REMOTE

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    import pyarrow as pa


def address_words(addresses: npt.NDArray[np.void]) -> pa.Array:
    """Write each row of ADDRESS as text, IPv6 as RFC 5952 has it: a string array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    octets = addresses["lo"].astype(">u4").view(np.uint8).reshape(-1, 4)
    numbers = pa.array([str(number) for number in range(256)], pa.large_string())
    parts = (numbers.take(pa.array(octets[:, place])) for place in range(4))
    words = pc.binary_join_element_wise(*parts, pa.scalar(".", pa.large_string()))
    version_6 = addresses["version"] == 6
    if not version_6.any():
        return words
    high, low = addresses["hi"][version_6].tolist(), addresses["lo"][version_6].tolist()
    written = [str(ipaddress.IPv6Address(hi << 64 | lo)) for hi, lo in zip(high, low, strict=True)]
    return pc.replace_with_mask(words, pa.array(version_6), pa.array(written, pa.large_string()))


def written(host: str) -> str:
    """Return an address as the frames write it, without its zone.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        return str(ipaddress.ip_address(ipaddress.ip_address(host).packed))
    except ValueError:
        raise ValueError(f"host={host!r}: it is an address, such as 10.0.0.1 or fe80::1, or 'local'") from None


def absent(hosts: Iterable[str], flows: pd.DataFrame) -> list[str]:
    """Return those of some addresses that are no end of any connection; ValueError if one is no address."""
    ends = {*flows["client"].unique(), *flows["server"].unique()}
    return [host for host in hosts if written(host) not in ends]


class AddressWords:
    """The texts of a capture's addresses: category i is address number i.

    Attributes
    ----------
    count : int
        How many there are.
    """

    def __init__(self, addresses: npt.NDArray[np.void]) -> None:
        self.count = len(addresses)
        self._addresses = addresses

    @functools.cached_property
    def dtype(self) -> pd.CategoricalDtype:
        """The dtype of every column of addresses."""
        import pandas as pd

        categories = pd.Index(pd.array(address_words(self._addresses), dtype="str"))
        # The flow table gave each address one number; to have pandas check that takes longer than all the rest here.
        dtype: pd.CategoricalDtype = pd.CategoricalDtype._from_fastpath(categories, ordered=False)  # type: ignore[attr-defined]
        return dtype


def local_addresses(addresses: npt.NDArray[np.void]) -> tuple[str, ...]:
    """The capturing host's own addresses, as far as cooked captures tell: forwarded packets are seen from both sides."""
    seen = addresses["seen"]
    local = (seen & SEEN_LOOPBACK != 0) | (seen & (SEEN_LOCAL | SEEN_REMOTE) == SEEN_LOCAL)
    return tuple(sorted(address_words(addresses[local]).to_pylist()))
