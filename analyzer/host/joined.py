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
from analyzer.host.rules import ASKED, ENDED, Said, captured, no_socket, not_captured

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
    listeners = listeners_of(sockets)
    rows = []
    taken: set[Key] = set()
    for number, row in zip(sockets.index.tolist(), sockets[ASKED].to_dict("records"), strict=True):
        if row["state"] in _WITHOUT_ENDS or absent(row["peer_address"]):
            continue
        key = (plain(row["address"]), int(row["port"]), plain(row["peer_address"]), int(row["peer_port"]))
        taken.add(key)
        flow = ends.get(key)
        said = captured(row, flow, listener_of(listeners, key), now) if flow else not_captured(str(row["state"]))
        rows.append(_row(key, said, flow, now, number, row))
    own = {plain(address) for address in local_addresses} or {key[0] for key in taken} | {
        key[0] for key in listeners if not is_any(key[0])
    }
    for key, flow in ends.items():
        if key not in taken and key[0] in own and flow.state not in ENDED:
            rows.append(_row(key, no_socket(flow, now), flow, now))
    return _frame(rows)


# ----------------------------------------------------------------------------------------------- what the kernel shows


def listeners_of(sockets: pd.DataFrame) -> dict[tuple[str, int], dict[Any, Any]]:
    """Return the sockets that listen, by address and port."""
    listening = sockets[sockets["state"] == "LISTEN"]
    return {(plain(row["address"]), int(row["port"])): row for row in listening[ASKED].to_dict("records")}


def listener_of(listeners: dict[tuple[str, int], dict[Any, Any]], key: Key) -> dict[Any, Any] | None:
    """Find the socket that listens for this end: on its address, else on all."""
    for address in (key[0], "0.0.0.0" if ":" not in key[0] else "::", "::"):  # noqa: S104  # nothing is bound here
        if (address, key[1]) in listeners:
            return listeners[address, key[1]]
    return None


def is_any(address: str) -> bool:
    """Whether a socket bound to this has all addresses."""
    return address in {"0.0.0.0", "::"}  # noqa: S104  # nothing is bound here


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
