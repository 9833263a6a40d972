"""Addresses as text: made once for each address that a capture has, never for a packet."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analyzer.flows.table import SEEN_LOCAL, SEEN_LOOPBACK, SEEN_REMOTE

if TYPE_CHECKING:
    import pandas as pd


def address_words(addresses: npt.NDArray[np.void]) -> list[str]:
    """Write each row of ADDRESS as text, IPv6 as RFC 5952 has it."""
    low = addresses["lo"].astype(">u4").tobytes()
    text = socket.inet_ntoa
    words = [text(low[at : at + 4]) for at in range(0, len(low), 4)]
    for number in np.flatnonzero(addresses["version"] == 6).tolist():
        value = (int(addresses["hi"][number]) << 64) | int(addresses["lo"][number])
        words[number] = str(ipaddress.IPv6Address(value))
    return words


def address_type(addresses: npt.NDArray[np.void]) -> pd.CategoricalDtype:
    """The dtype of every column of addresses: category i is address number i."""
    import pandas as pd

    return pd.CategoricalDtype(pd.Index(address_words(addresses), dtype="str"))


def local_addresses(addresses: npt.NDArray[np.void]) -> tuple[str, ...]:
    """The capturing host's own addresses, as far as cooked captures tell: forwarded packets are seen from both sides."""
    seen = addresses["seen"]
    local = (seen & SEEN_LOOPBACK != 0) | (seen & (SEEN_LOCAL | SEEN_REMOTE) == SEEN_LOCAL)
    return tuple(sorted(address_words(addresses[local])))
