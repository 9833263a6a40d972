"""The kernel's sockets and the packets' flows, joined: where they disagree, or agree on trouble, and why.

A pure function over frames: a capture that was read, or a live session's frames so far, and one snapshot of
``sockets``. What the segments say is taken as of the moment of the snapshot; later segments play no part. Each end of
a connection that is on this host gets one row; the rules stand in ``frames/verdicts.py``, ``rules.py`` is what decides them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import pandas as pd

from analyzer.frames import schema
from analyzer.frames.verdicts import CATALOGUE
from analyzer.host.ends import FlowEnd, Key, absent, flow_ends, plain
from analyzer.host.listeners import Listeners, is_any
from analyzer.host.rules import ASKED, ENDED, Said, captured, is_ignored, no_socket, not_captured, turned_away

if TYPE_CHECKING:
    from collections.abc import Mapping

_WITHOUT_ENDS = ("LISTEN", "CLOSED")


def join(
    frames: Mapping[str, pd.DataFrame],
    sockets: pd.DataFrame,
    local_addresses: Collection[str] = (),
) -> pd.DataFrame:
    """Lay a snapshot of this host's sockets beside what the packets show.

    Parameters
    ----------
    frames : mapping of str to DataFrame
        ``packets``, ``flows`` and ``transitions`` of one analysis (``Analysis.frames``).
    sockets : DataFrame
        As ``analyzer.sockets()`` gave it, while the capture ran or at its end.
    local_addresses : collection of str
        This host's addresses, so that flows without a socket are told from forwarded ones; by default those that the
        sockets have.

    Returns
    -------
    DataFrame
        One row per end on this host: of each connected socket, and of each flow that should have one. The columns
        stand in ``docs/frames.md`` under ``joined``.
    """
    now = float(sockets["time"].iloc[0].value) * 1e-9 if len(sockets) else float("inf")
    if now == float("inf") and len(frames["packets"]):
        now = float(frames["packets"]["time"].max().value) * 1e-9
    ends = flow_ends(frames, now)
    own = _own(sockets, local_addresses)
    listeners = Listeners(sockets, own)
    rows = []
    taken: set[Key] = set()
    for number, row in zip(sockets.index.tolist(), sockets[ASKED].to_dict("records"), strict=True):
        if row["state"] in _WITHOUT_ENDS or absent(row["peer_address"]):
            continue
        key = (plain(row["address"]), int(row["port"]), plain(row["peer_address"]), int(row["peer_port"]))
        taken.add(key)
        flow = ends.get(key)
        listener = listeners.of(*key[:2])
        if flow is None:
            said = not_captured(row, listener, now)
        else:
            said = captured(row, flow, listener, listeners.full_at(*key[2:]), now)
        rows.append(_row(key, said, flow, now, number, row))
    for key, flow in ends.items():
        if key in taken or key[0] not in own:
            continue
        alone = no_socket(flow, now) if flow.state not in ENDED else None
        full = listeners.full_at(*key[:2])
        if full is not None and is_ignored(flow, ends.get(key[2:] + key[:2]), now):
            alone = turned_away(flow, full, now)
        if alone is not None:
            rows.append(_row(key, alone, flow, now))
    return _frame(rows)


def _own(sockets: pd.DataFrame, local_addresses: Collection[str]) -> set[str]:
    """Return this host's addresses: those that were given, else those that its sockets have."""
    has = sockets.loc[sockets["state"] != "CLOSED", "address"].dropna().unique()
    return {plain(address) for address in local_addresses} or {
        address for address in map(plain, has) if not is_any(address)
    }


def _row(
    key: Key,
    said: Said,
    flow: FlowEnd | None,
    now: float,
    socket: int | None = None,
    row: dict[Any, Any] | None = None,
) -> dict[str, Any]:
    known = row or {}
    return {
        "verdict": CATALOGUE[said.verdict].name,
        "severity": CATALOGUE[said.verdict].severity,
        **dict(zip(("address", "port", "peer_address", "peer_port"), key, strict=True)),
        "flow": None if flow is None else flow.number,
        "endpoint": None if flow is None else flow.end,
        "socket": socket,
        "kernel_state": known.get("state"),
        "packet_state": None if flow is None else flow.state,
        "frame": said.frame,
        "ago": float("nan") if said.at is None else max(0.0, now - said.at),
        **{name: None if absent(known.get(name)) else known[name] for name in ("pid", "process", "user")},
        "reason": said.reason,
    }


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    data: dict[str, Any] = {}
    for column in schema.SCHEMAS["joined"].columns:
        values = [row[column.name] for row in rows]
        dtype = schema.pandas_dtype(column)
        if column.dtype == "category" and not column.vocabulary:
            words = list(dict.fromkeys(value for value in values if value is not None))
            dtype = pd.CategoricalDtype(pd.Index(words, dtype="str"))
        data[column.name] = pd.Series(values, dtype=dtype)
    return pd.DataFrame(data)
