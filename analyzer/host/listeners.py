"""The sockets of a snapshot that listen, found by an end's address and port; and those whose accept queue is full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyzer.host.ends import plain
from analyzer.host.rules import ASKED, excess

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd


class Listeners:
    """Who listens; a row is a dictionary of the columns ``ASKED``, and ``socket``, its number in the snapshot.

    Parameters
    ----------
    sockets : DataFrame
        The snapshot, as ``sockets()`` gave it.
    own : collection of str
        This host's addresses: only at these a listener on all addresses is meant.
    """

    def __init__(self, sockets: pd.DataFrame, own: Collection[str]) -> None:
        self._own = own
        listening = sockets[sockets["state"] == "LISTEN"]
        rows = [
            row | {"socket": number}
            for number, row in zip(listening.index.tolist(), listening[ASKED].to_dict("records"), strict=True)
        ]
        self.full: dict[int, dict[Any, Any]] = {row["socket"]: row for row in rows if excess(row) > 0}
        self._by_end: dict[tuple[str, int], dict[Any, Any]] = {}
        for row in sorted(rows, key=excess):  # of several at one port (SO_REUSEPORT) the fullest
            self._by_end[plain(row["address"]), int(row["port"])] = row

    def of(self, address: str, port: int) -> dict[Any, Any] | None:
        """Find the socket that listens for an end of this host: on its address, else on all."""
        for bound in (address, "0.0.0.0" if ":" not in address else "::", "::"):  # noqa: S104  # nothing is bound here
            if (bound, port) in self._by_end:
                return self._by_end[bound, port]
        return None

    def full_at(self, address: str, port: int) -> dict[Any, Any] | None:
        """Find the same for an end that may be another host's, if its accept queue is full."""
        if not self.full or not (address in self._own or is_loopback(address)):
            return None
        row = self.of(address, port)
        return row if row is not None and excess(row) > 0 else None


def is_any(address: str) -> bool:
    """Whether a socket bound to this has all addresses."""
    return address in {"0.0.0.0", "::"}  # noqa: S104  # nothing is bound here


def is_loopback(address: str) -> bool:
    """Whether it is this host's by its number alone."""
    return address.startswith("127.") or address == "::1"
