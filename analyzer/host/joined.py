"""The kernel's sockets and the packets' flows, joined: where they disagree, or agree on trouble, and why.

A pure function over frames: a capture that was read, or a live session's frames so far, and one snapshot of
``sockets``. What the segments say is taken as of the moment of the snapshot; later segments play no part. Each end of
a connection that is on this host gets one row; the rules stand in ``frames/verdicts.py``, here is what decides them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import pandas as pd

from analyzer.frames import schema
from analyzer.frames.verdicts import CATALOGUE, Verdict
from analyzer.host.ends import RACE_S, FlowEnd, Key, absent, flow_ends, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

UNREAD_S = 1.0
"""Data that lies unread for longer than this is worth a word."""

TIME_WAIT_OVER_S = 59.0
"""From here on TIME_WAIT, 60 s in Linux, may be over: its timer is coarse."""

_ASKED = [
    "state", "address", "port", "peer_address", "peer_port", "inode", "cookie", "receive_queue", "send_queue",
    "accept_queue", "accept_limit", "timer", "retransmits", "pid", "process", "user",
]  # fmt: skip
"""The columns of `sockets` that the rules look at."""

_ENDED = frozenset({"CLOSED", "LISTEN", "UNKNOWN"})
_CLOSING = frozenset({"FIN_WAIT_1", "CLOSING", "LAST_ACK"})
_WITHOUT_ENDS = ("LISTEN", "CLOSED")


@dataclasses.dataclass(slots=True)
class _Said:
    verdict: Verdict
    reason: str
    frame: int | None = None
    at: float | None = None


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
    listeners = _listeners(sockets)
    rows = []
    taken: set[Key] = set()
    for number, row in zip(sockets.index.tolist(), sockets[_ASKED].to_dict("records"), strict=True):
        if row["state"] in _WITHOUT_ENDS or absent(row["peer_address"]):
            continue
        key = (plain(row["address"]), int(row["port"]), plain(row["peer_address"]), int(row["peer_port"]))
        taken.add(key)
        flow = ends.get(key)
        said = _captured(row, flow, _listener(listeners, key), now) if flow else _not_captured(row)
        rows.append(_row(key, said, flow, now, number, row))
    own = {plain(address) for address in local_addresses} or {key[0] for key in taken} | {
        key[0] for key in listeners if not _is_any(key[0])
    }
    for key, flow in ends.items():
        if key not in taken and key[0] in own and flow.state not in _ENDED:
            rows.append(_row(key, _no_socket(flow, now), flow, now))
    return _frame(rows)


# ------------------------------------------------------------------------------------------------------------ the rules


def _captured(row: dict[Any, Any], flow: FlowEnd, listener: dict[Any, Any] | None, now: float) -> _Said:
    """Judge a socket of which the capture saw packets."""
    state = str(row["state"])
    if state == "SYN_RCVD":
        return _half_open(row, flow, listener, now)
    if state == "SYN_SENT":
        return _opening(row, flow, now)
    if state in ("ESTABLISHED", "CLOSE_WAIT") and not absent(row["cookie"]) and absent(row["inode"]):
        return _not_accepted(flow, listener, now)
    if state == "CLOSE_WAIT":
        return _close_wait(row, flow, now)
    if state in _CLOSING:
        frame, at = flow.since("LAST_ACK" if state == "LAST_ACK" else "FIN_WAIT_1")
        if frame is None or flow.state == state:
            sent = f"our FIN is frame {frame}, sent {_since(at, now)}" if frame else "the capture did not see our FIN"
            return _Said(
                Verdict.FIN_NOT_ACKNOWLEDGED, f"kernel says {state}: {sent}{_again(row)}, not acknowledged", frame, at
            )
    if state == "FIN_WAIT_2" and flow.state == "FIN_WAIT_2":
        frame, at = flow.since("FIN_WAIT_2")
        return _Said(
            Verdict.PEER_HAS_NOT_CLOSED,
            f"kernel says FIN_WAIT_2: frame {frame} acknowledged our FIN {_since(at, now)}, the peer has not closed",
            frame,
            at,
        )
    waits = _waiting(row, flow, now) if flow.state == state else None
    if waits is not None:
        return waits
    if flow.state == state:
        return _Said(Verdict.AGREES, f"both say {state}", *flow.since(state))
    if flow.state == "UNKNOWN":
        return _Said(Verdict.AGREES, f"kernel says {state}, the segments seen do not tell")
    return _differing(state, flow, now)


def _half_open(row: dict[Any, Any], flow: FlowEnd, listener: dict[Any, Any] | None, now: float) -> _Said:
    if flow.third_ack is None:
        frame, at = flow.since("SYN_RCVD")
        sent = f"the SYN-ACK is frame {frame}, {_since(at, now)}" if frame else "the capture did not see the SYN-ACK"
        return _Said(
            Verdict.THIRD_ACK_MISSING, f"kernel says SYN_RCVD: {sent}{_again(row)}, and no ACK of it came", frame, at
        )
    frame, at = flow.since("ESTABLISHED")
    frame = flow.third_ack if frame is None else frame
    came = f"kernel says SYN_RCVD, and the third ACK was seen: frame {frame}, {_since(at, now)}"
    queue = "" if listener is None else f"{listener['accept_queue']} wait, the limit is {listener['accept_limit']}"
    if listener is not None and _count(listener["accept_queue"]) > _count(listener["accept_limit"]):
        return _Said(Verdict.ACCEPT_QUEUE_FULL, f"{came}; the accept queue is full: {queue}{_by(listener)}", frame, at)
    if at is not None and now - at < RACE_S:
        return _Said(Verdict.JUST_CHANGED, came, frame, at)
    room = f"; the accept queue has room: {queue}" if queue else "; no listener is visible"
    return _Said(
        Verdict.THIRD_ACK_IGNORED, f"{came}{room}: a firewall, TCP_DEFER_ACCEPT, or a queue full until now", frame, at
    )


def _opening(row: dict[Any, Any], flow: FlowEnd, now: float) -> _Said:
    if flow.state == "SYN_SENT":
        frame, at = flow.since("SYN_SENT")
        return _Said(
            Verdict.SYN_NOT_ANSWERED,
            f"kernel says SYN_SENT: the SYN is frame {frame}, sent {_since(at, now)}{_again(row)}, nobody answered",
            frame,
            at,
        )
    frame, at = flow.since("ESTABLISHED")
    if frame is not None and at is not None and now - at > RACE_S:
        return _Said(
            Verdict.SYN_ACK_IGNORED,
            f"kernel says SYN_SENT, and the SYN-ACK was seen: frame {frame}, {_since(at, now)}; "
            "it was dropped between the capture point and TCP (firewall, checksum)",
            frame,
            at,
        )
    return _differing("SYN_SENT", flow, now)


def _not_accepted(flow: FlowEnd, listener: dict[Any, Any] | None, now: float) -> _Said:
    frame, at = flow.since("ESTABLISHED")
    queue = "" if listener is None else f": {listener['accept_queue']} wait, the limit is {listener['accept_limit']}"
    text = f"complete since frame {frame}, {_since(at, now)}" if frame else "complete"
    return _Said(Verdict.NOT_ACCEPTED, f"{text}, the program has not accepted it{queue}{_by(listener)}", frame, at)


def _close_wait(row: dict[Any, Any], flow: FlowEnd, now: float) -> _Said:
    step = flow.steps.get("CLOSE_WAIT")
    if step is None:
        fin, acknowledged = "the peer's FIN was not captured", ""
    else:
        fin = f"the peer's FIN is frame {step.frame}, {_since(step.at, now)}"
        acknowledged = ""
        if step.proof is not None:
            acknowledged = f", acknowledged in frame {step.proof}, {_since(step.proof_at, now)}"
    return _Said(
        Verdict.PROGRAM_HAS_NOT_CLOSED,
        f"kernel says CLOSE_WAIT: {fin}{acknowledged}; the program{_named(row)} has not closed",
        *flow.since("CLOSE_WAIT"),
    )


def _waiting(row: dict[Any, Any], flow: FlowEnd, now: float) -> _Said | None:
    """Name what an open connection waits for, if for anything."""
    if row["timer"] == "persist":
        return _Said(
            Verdict.WINDOW_CLOSED,
            f"{_count(row['send_queue']):,} bytes wait here: the peer's window is closed",
            None,
            None,
        )
    if row["timer"] == "on" and _count(row["retransmits"]):
        return _Said(
            Verdict.DATA_NOT_ACKNOWLEDGED,
            f"{_count(row['send_queue']):,} bytes are not acknowledged{_again(row)}",
            None,
            None,
        )
    if row["state"] == "ESTABLISHED" and _count(row["receive_queue"]) and flow.last_data is not None:
        frame, at = flow.last_data
        if now - at > UNREAD_S:
            return _Said(
                Verdict.PROGRAM_HAS_NOT_READ,
                f"{_count(row['receive_queue']):,} bytes wait for the program{_named(row)}; the last came in frame "
                f"{frame}, {_since(at, now)}",
                frame,
                at,
            )
    return None


def _differing(state: str, flow: FlowEnd, now: float) -> _Said:
    frame, at = flow.since(flow.state)
    text = f"kernel says {state}, packets say {flow.state}" + (f" since frame {frame}" if frame else "")
    if _near(flow, at, now):
        return _Said(Verdict.JUST_CHANGED, text, frame, at)
    step = flow.steps.get(flow.state)
    if step is not None and step.frame is not None and step.proof is None:
        text += "; nothing that this end sent proves it: the kernel did not take that segment (firewall, window)"
    elif state not in _ENDED:
        text += "; the capture missed what came between, or it came later"
    return _Said(Verdict.STATES_DIFFER, text, frame, at)


def _near(flow: FlowEnd, at: float | None, now: float) -> bool:
    return flow.changing or (at is not None and now - at < RACE_S)


def _not_captured(row: dict[Any, Any]) -> _Said:
    return _Said(Verdict.NOT_CAPTURED, f"kernel says {row['state']}, the capture saw no packet of it")


def _no_socket(flow: FlowEnd, now: float) -> _Said:
    step = flow.steps.get(flow.state)
    frame, at = flow.since(flow.state)
    text = f"packets say {flow.state}" + (f" since frame {frame}, {_since(at, now)}" if frame else "")
    over = flow.state == "TIME_WAIT" and at is not None and now - at > TIME_WAIT_OVER_S
    if over or _near(flow, at, now):
        return _Said(Verdict.JUST_CHANGED, f"{text}; the kernel has no socket", frame, at)
    why = "it ended it without a packet, or another namespace has it"
    if flow.end == "server" and flow.state in ("SYN_RCVD", "ESTABLISHED") and step is not None:
        if flow.state == "SYN_RCVD":
            why = "a SYN-ACK with a cookie keeps none, and a request is given up after a while"
        elif step.proof is None:
            why = "nothing proves that it took the third ACK (SYN cookies and a full accept queue keep nothing)"
    return _Said(Verdict.NO_SOCKET, f"{text}, and the kernel has no socket: {why}", frame, at)


# ----------------------------------------------------------------------------------------------- what the kernel shows


def _listeners(sockets: pd.DataFrame) -> dict[tuple[str, int], dict[Any, Any]]:
    listening = sockets[sockets["state"] == "LISTEN"]
    return {(plain(row["address"]), int(row["port"])): row for row in listening[_ASKED].to_dict("records")}


def _listener(listeners: dict[tuple[str, int], dict[Any, Any]], key: Key) -> dict[Any, Any] | None:
    """Find the socket that listens for this end: on its address, else on all."""
    for address in (key[0], "0.0.0.0" if ":" not in key[0] else "::", "::"):  # noqa: S104  # nothing is bound here
        if (address, key[1]) in listeners:
            return listeners[address, key[1]]
    return None


def _is_any(address: str) -> bool:
    return address in {"0.0.0.0", "::"}  # noqa: S104  # nothing is bound here


# ------------------------------------------------------------------------------------------------------------- in words


def _since(at: float | None, now: float) -> str:
    if at is None:
        return "at an unknown time"
    return f"{max(0.0, now - at):.3g} s ago"


def _again(row: dict[Any, Any]) -> str:
    times = _count(row["retransmits"])
    return f", sent again {times} time{'s' * (times > 1)}" if times else ""


def _named(row: dict[Any, Any]) -> str:
    return f" {row['process']} (pid {row['pid']})" if isinstance(row["process"], str) else ""


def _by(listener: dict[Any, Any] | None) -> str:
    said = _named(listener) if listener is not None else ""
    return f"; it listens for{said}" if said else ""


def _count(value: Any) -> int:
    return 0 if absent(value) else int(value)


def _row(
    key: Key,
    said: _Said,
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
