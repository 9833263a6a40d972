"""What the kernel's sockets and the packets said together in a live session, summed up."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.frames.vocabulary import SEVERITIES

if TYPE_CHECKING:
    import pandas as pd

LASTING_S = 0.8
"""What held for less, a handshake that had only begun for example, is not summed up."""

_GOOD = ("agrees", "just-changed")


@dataclasses.dataclass(frozen=True, slots=True)
class SocketVerdict:
    """Ends of connections on this host of which kernel and packets said the same, of one program."""

    verdict: str
    severity: str
    count: int  #: ends
    process: str | None
    still: int  #: of them, at the last snapshot
    longest_s: float
    at_least: bool  #: it began before it was first seen so, at a time that no packet tells
    reason: str  #: of the one that lasted longest, as of its last snapshot
    flow: int | None  #: its connection


def socket_verdicts(sockets: pd.DataFrame) -> tuple[SocketVerdict, ...]:
    """Sum up `live_sockets`: the gravest first, of the same gravity the most frequent."""
    if not len(sockets):
        return ()
    last = sockets["until"].max()
    held = (sockets["until"] - sockets["time"]).dt.total_seconds().to_numpy()
    held = np.fmax(held, sockets["ago"].to_numpy())
    bad = sockets["verdict"].notna().to_numpy() & ~sockets["verdict"].isin(_GOOD).to_numpy() & (held >= LASTING_S)
    rows = sockets[bad].assign(held=held[bad])
    ends = ["address", "port", "peer_address", "peer_port", "cookie"]
    found = []
    for (verdict, process), group in rows.groupby(["verdict", "process"], observed=True, dropna=False, sort=False):
        longest: Any = group.loc[group["held"].idxmax()]
        found.append(
            SocketVerdict(
                verdict=str(verdict),
                severity=str(longest["severity"]),
                count=len(group.drop_duplicates(ends)),
                process=process if isinstance(process, str) else None,
                still=len(group[group["until"] == last].drop_duplicates(ends)),
                longest_s=float(longest["held"]),
                at_least=not longest["ago"] >= longest["held"],  # NaN: no segment
                reason=str(longest["reason"]),
                flow=None if str(longest["flow"]) == "<NA>" else int(longest["flow"]),
            )
        )
    return tuple(sorted(found, key=lambda it: (-SEVERITIES.index(it.severity), -it.count, it.verdict)))
