"""One snapshot of this host's sockets, laid beside the flows of a session that goes on.

What ``joined.join`` says of frames, for live use: nearly all sockets agree with their flow, or have none, and these meet as
arrays. Only where there may be something to say the rules are asked, end by end: 20,000 ordinary sockets cost some 40 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analyzer.frames import schema
from analyzer.frames.host_schema import TIMERS
from analyzer.frames.stacked import stacked
from analyzer.frames.verdicts import CATALOGUE, NAMES, Verdict
from analyzer.frames.vocabulary import ENDPOINTS, SEVERITIES, STATES
from analyzer.host.end_keys import AddressNumbers, Numbers, end_keys, mixed
from analyzer.host.ends import plain
from analyzer.host.flow_view import FlowView, Histories, find, flow_view
from analyzer.host.listeners import Listeners, is_any
from analyzer.host.rules import (
    ASKED,
    ENDED,
    Said,
    agrees,
    captured,
    full_listener,
    is_ignored,
    no_socket,
    not_captured,
    quiet,
    turned_away,
    untold,
)

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Collection

    from analyzer.frames.tracking import Tracking
    from analyzer.host.ends import FlowEnd, Key

_ENDED = np.array([state in ENDED for state in STATES])
_UNKNOWN, _LISTEN, _ESTABLISHED, _TIME_WAIT = (
    STATES.index(name) for name in ("UNKNOWN", "LISTEN", "ESTABLISHED", "TIME_WAIT")
)
_QUIET = np.array([state in {"ESTABLISHED", "TIME_WAIT"} for state in STATES])
"""States of a socket in which agreement with the packets is all that there is to say, most often."""

_ON, _PERSIST = TIMERS.index("on"), TIMERS.index("persist")
_SEVERITY = np.array([SEVERITIES.index(CATALOGUE[verdict].severity) for verdict in Verdict], np.int8)
MOST_ALONE = 1000
"""Of the ends that should have a socket and have none, so many are judged in one snapshot; the others are counted."""

_TAKEN_OVER = (
    "receive_queue", "send_queue", "accept_queue", "accept_limit", "timer", "timer_left", "retransmits", "pid", "process",
    "user", "inode", "cookie", "rtt", "cwnd", "retransmitted",
)  # fmt: skip
"""Columns of `live_sockets` that stand in `sockets`."""


def watch_counting(
    tracking: Tracking,
    standstill: contextlib.AbstractContextManager[Any],
    sockets: pd.DataFrame,
    time_ns: int,
    own: Collection[str],
) -> tuple[pd.DataFrame, Numbers, int]:
    """Lay a snapshot beside the flows as they were at its moment.

    Parameters
    ----------
    tracking : Tracking
        The session's.
    standstill : context manager
        Within it nothing is fed to the tracking.
    sockets : DataFrame
        As ``sockets()`` gave it.
    time_ns : int
        When the kernel was asked.
    own : collection of str
        This host's addresses: their flows should have a socket.

    Returns
    -------
    (DataFrame, uint64 array, int)
        One row per socket, and per end of a flow that should have one, as `live_sockets` has them, of this snapshot alone;
        for each row the key of its addresses and ports; and how many ends without a socket were not judged (MOST_ALONE).
    """
    sockets = sockets[sockets["state"] != "CLOSED"].reset_index(drop=True)
    here, there = (AddressNumbers(sockets[name].cat.categories) for name in ("address", "peer_address"))
    mine, peer = (sockets[name].cat.codes.to_numpy() for name in ("address", "peer_address"))
    state: Any = sockets["state"].cat.codes.to_numpy()
    peer_port = sockets["peer_port"].to_numpy(np.uint16, na_value=0)
    connected = np.flatnonzero(peer >= 0)
    keys = np.zeros(len(sockets), np.uint64)
    keys[connected] = end_keys(
        here, mine[connected], sockets["port"].to_numpy()[connected], there, peer[connected], peer_port[connected]
    )
    listening = np.flatnonzero(peer < 0)
    nowhere = AddressNumbers(["::"])
    zeros = np.zeros(len(listening), np.int64)
    keys[listening] = end_keys(here, mine[listening], sockets["port"].to_numpy()[listening], nowhere, zeros, zeros)
    listeners = Listeners(sockets, own)
    with standstill:
        view = flow_view(tracking, time_ns)
        row = np.full(len(sockets), -1, np.int64)
        row[connected] = find(view, keys[connected])
        special = _special(sockets, state, view, row)
        lonely, ignored = _lonely(view, row, tracking, own, listeners)
        over = max(0, len(lonely) - MOST_ALONE) + max(0, len(ignored) - MOST_ALONE)
        lonely, ignored = lonely[-MOST_ALONE:], ignored[-MOST_ALONE:]
        found = special[row[special] >= 0]
        both = view.place[ignored], view.place[ignored] ^ 1  # whether its client still waits
        places = np.unique(np.concatenate([view.place[row[found]], view.place[lonely], *both]))
        histories = Histories(tracking, places, time_ns)
        numbers = tracking.flow_numbers.of_first(int(tracking.connections.counts[0]), tracking.forged())
    ends = histories.ends()
    now = time_ns * 1e-9
    said: dict[int, tuple[Said, FlowEnd | None]] = {}
    known = sockets[ASKED].iloc[special].to_dict("records")
    unread = {
        int(view.place[row[at]]): ends[int(view.place[row[at]])]
        for at, one in zip(special.tolist(), known, strict=True)
        if row[at] >= 0 and one["state"] == "ESTABLISHED" and one["receive_queue"] > 0
    }
    histories.add_last_data(unread)
    for at, one in zip(special.tolist(), known, strict=True):
        if row[at] < 0:
            said[at] = not_captured(one, listeners.of(plain(one["address"]), int(one["port"])), now), None
            continue
        place = int(view.place[row[at]])
        end_key = histories.key(place)
        of_both = listeners.of(*end_key[:2]), listeners.full_at(*end_key[2:])
        said[at] = captured(one, ends[place], *of_both, now), ends[place]
    away = _turned_away(view, ignored, histories, ends, listeners, now)
    for at, listener in listeners.full.items():
        said[at] = full_listener(listener, [it for it, by in away.values() if by == at]), None
    rows = _rows(sockets, state, view, row, numbers, said, now)
    rows["address"] = _plain(sockets["address"].array, here)
    rows["peer_address"] = _plain(sockets["peer_address"].array, there)
    judged = pd.DataFrame({name: rows[name] for name in _names()})
    alone = {at: ends[int(view.place[at])] for at in lonely.tolist()}
    missing = {at: no_socket(end, now) for at, end in alone.items() if end.state not in ENDED}
    missing |= {at: it for at, (it, _) in away.items()}
    without, without_keys = _without(view, missing, histories, ends, now)
    keys = np.concatenate([keys, without_keys])
    frame = stacked("live_sockets", [judged, without])
    stamp = pd.DatetimeIndex(np.full(len(frame), time_ns), tz="UTC")
    frame["time"] = frame["until"] = stamp
    return frame, keys, over


def watch(
    tracking: Tracking,
    standstill: contextlib.AbstractContextManager[Any],
    sockets: pd.DataFrame,
    time_ns: int,
    own: Collection[str],
) -> tuple[pd.DataFrame, Numbers]:
    """Lay a snapshot beside the flows, as ``watch_counting`` does; returns the rows and their keys."""
    frame, keys, _ = watch_counting(tracking, standstill, sockets, time_ns, own)
    return frame, keys


def _special(
    sockets: pd.DataFrame, state: npt.NDArray[np.int8], view: FlowView, row: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the connected sockets of which the rules may have something to say."""
    timer = sockets["timer"].cat.codes.to_numpy()
    repeated = sockets["retransmits"].to_numpy(np.int64, na_value=0) > 0
    waiting = sockets["receive_queue"].to_numpy(np.int64, na_value=0) > 0
    unaccepted = (sockets["inode"].isna() & sockets["cookie"].notna()).to_numpy()
    packets_say = np.where(row >= 0, view.state[row], _UNKNOWN) if len(view.state) else np.full(len(row), _UNKNOWN)
    moving = view.moving[row] if len(view.state) else np.zeros(len(row), np.bool_)
    trouble = ~_QUIET[state] | (timer == _PERSIST) | ((timer == _ON) & repeated) | moving
    trouble |= (state == _ESTABLISHED) & (waiting | unaccepted)
    trouble |= (packets_say != state) & (packets_say != _UNKNOWN)
    return np.flatnonzero(trouble & (sockets["peer_port"].notna().to_numpy()))


def _lonely(
    view: FlowView, row: npt.NDArray[np.int64], tracking: Tracking, own: Collection[str], listeners: Listeners
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the ends on this host that no socket has: of living flows, and of SYNs to ports with a full accept queue.

    Those that matter most, and the newest, come last.
    """
    alone = np.ones(len(view.place), np.bool_)
    alone[row[row >= 0]] = False
    listens = view.state == _LISTEN if listeners.full else np.zeros(len(alone), np.bool_)
    lonely = np.flatnonzero(alone & (~_ENDED[view.state] | listens))
    place = view.place[lonely]
    flows = tracking.connections.flows
    pairs, a_is_client = flows["pair"][place >> 1], flows["client_side"][place >> 1] == 0
    ends, is_a = tracking.table.pairs, (place & 1 == 0) == a_is_client
    address = np.where(is_a, ends["a_address"][pairs], ends["b_address"][pairs])
    port = np.where(is_a, ends["a_port"][pairs], ends["b_port"][pairs])
    known = tracking.table.addresses[: int(tracking.table.counts[1])]
    here = AddressNumbers(text for text in own if not is_any(text))
    mine = np.isin(mixed(known["hi"], known["lo"], known["version"]), mixed(here.hi, here.lo, here.version))
    mine |= (known["version"] == 4) & (known["lo"] >> np.uint64(24) == 127)
    asked = ~listens[lonely] | np.isin(port, [listener["port"] for listener in listeners.full.values()])
    lonely = np.asarray(lonely[mine[address] & asked], np.int64)
    order = np.lexsort((view.place[lonely], view.state[lonely] != _TIME_WAIT))
    lonely = lonely[order]
    return lonely[~listens[lonely]], lonely[listens[lonely]]


def _turned_away(
    view: FlowView,
    ignored: npt.NDArray[np.int64],
    histories: Histories,
    ends: dict[int, FlowEnd],
    listeners: Listeners,
    now: float,
) -> dict[int, tuple[Said, int]]:
    """Return what is said of each SYN that a full accept queue drops, and the socket that listens."""
    found: dict[int, tuple[Said, int]] = {}
    for at in ignored.tolist():
        place = int(view.place[at])
        listener = listeners.full_at(*histories.key(place)[:2])
        if listener is not None and is_ignored(ends[place], ends[place ^ 1], now):
            found[at] = turned_away(ends[place], listener, now), listener["socket"]
    return found


def _rows(
    sockets: pd.DataFrame,
    state: npt.NDArray[np.int8],
    view: FlowView,
    row: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int32],
    said: dict[int, tuple[Said, FlowEnd | None]],
    now: float,
) -> dict[str, Any]:
    """Return the columns of the sockets' rows."""
    count = len(sockets)
    found = row >= 0
    listens = sockets["peer_port"].isna().to_numpy()
    packet_state = np.where(found, view.state[row], -1).astype(np.int8) if len(view.state) else _nothing(count)
    place = np.where(found, view.place[row], 0) if len(view.state) else np.zeros(count, np.int64)
    flow = np.where(found, numbers[place >> 1], 0) if len(numbers) else np.zeros(count, np.int64)
    verdict = np.where(listens, -1, np.where(found, Verdict.AGREES, Verdict.NOT_CAPTURED)).astype(np.int8)
    texts: dict[tuple[int, int], str] = {}
    reason = np.empty(count, object)
    for at, (code, shown) in enumerate(zip(state.tolist(), packet_state.tolist(), strict=True)):
        kind = (code, -2 if listens[at] else min(shown, 0) if shown != _UNKNOWN else -3)
        if kind not in texts:
            texts[kind] = _ordinary(*kind)
        reason[at] = texts[kind]
    frame, at_s = np.zeros(count, np.int64), np.full(count, np.nan)
    for at, (what, end) in said.items():
        verdict[at], reason[at] = what.verdict, what.reason
        packet_state[at] = -1 if end is None else STATES.index(end.state)
        frame[at] = 0 if what.verdict == Verdict.AGREES else what.frame or 0
        at_s[at] = np.nan if what.at is None else what.at
    severity = np.where(verdict >= 0, _SEVERITY[verdict], -1).astype(np.int8)
    endpoint = np.where(found, place & 1, -1).astype(np.int8)
    columns: dict[str, Any] = {
        "time": pd.DatetimeIndex(np.zeros(count, np.int64), tz="UTC"),
        "until": pd.DatetimeIndex(np.zeros(count, np.int64), tz="UTC"),
        "snapshots": np.ones(count, np.int64),
        "verdict": _words(verdict, NAMES),
        "severity": _words(severity, SEVERITIES),
        "kernel_state": sockets["state"].array,
        "packet_state": _words(packet_state, STATES),
        "port": sockets["port"].to_numpy(),
        "peer_port": sockets["peer_port"].array,
        "flow": pd.arrays.IntegerArray(flow.astype(np.int64), ~found),
        "endpoint": _words(endpoint, ENDPOINTS),
        "frame": pd.arrays.IntegerArray(frame, frame == 0),
        "ago": np.maximum(now - at_s, 0.0),
        "reason": pd.array(reason, dtype="str"),
    }
    return columns | {name: sockets[name].array for name in _TAKEN_OVER}


def _ordinary(state: int, shown: int) -> str:
    """Say of a socket what needs no looking into: -3 its flow tells no state, -2 it listens, -1 it has no flow."""
    name = STATES[state]
    if shown == -2:
        return "listens"
    if shown == -1:
        return quiet(name).reason
    return (untold(name) if shown == -3 else agrees(name)).reason


def _without(
    view: FlowView,
    said: dict[int, Said],
    histories: Histories,
    ends: dict[int, FlowEnd],
    now: float,
) -> tuple[pd.DataFrame, Numbers]:
    """Return rows for the ends on this host that have no socket, and their keys."""
    rows: list[dict[str, Any]] = []
    keys: list[int] = []
    for at, it in said.items():
        place = int(view.place[at])
        rows.append(_flow_row(histories.key(place), ends[place], it, now))
        keys.append(int(view.keys[at]))
    return _framed(rows), np.array(keys, np.uint64)


def _flow_row(key: Key, end: FlowEnd, said: Said, now: float) -> dict[str, Any]:
    return {
        "snapshots": 1,
        "verdict": CATALOGUE[said.verdict].name,
        "severity": CATALOGUE[said.verdict].severity,
        "packet_state": end.state,
        **dict(zip(("address", "port", "peer_address", "peer_port"), key, strict=True)),
        "flow": end.number,
        "endpoint": end.end,
        "frame": said.frame,
        "ago": float("nan") if said.at is None else max(0.0, now - said.at),
        "reason": said.reason,
    }


def _framed(rows: list[dict[str, Any]]) -> pd.DataFrame:
    data: dict[str, Any] = {}
    for column in schema.SCHEMAS["live_sockets"].columns:
        values = [row.get(column.name) for row in rows]
        dtype = schema.pandas_dtype(column)
        if column.dtype == "category" and not column.vocabulary:
            words = list(dict.fromkeys(value for value in values if value is not None))
            dtype = pd.CategoricalDtype(pd.Index(words, dtype="str"))
        data[column.name] = pd.Series(values, dtype=dtype)
    return pd.DataFrame(data)


def _plain(texts: Any, numbers: AddressNumbers) -> Any:
    """Return a categorical of addresses with IPv4 written as IPv4."""
    place = {word: at for at, word in enumerate(dict.fromkeys(numbers.plain))}
    words = list(place)
    places = np.array([place[text] for text in numbers.plain], np.int32)
    codes = texts.codes if words == numbers.plain else np.where(texts.codes >= 0, places[texts.codes], -1)
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Index(words, dtype="str")))


def _words(codes: npt.NDArray[np.int8], words: tuple[str, ...]) -> Any:
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Index(list(words), dtype="str")))


def _nothing(count: int) -> npt.NDArray[np.int8]:
    return np.full(count, -1, np.int8)


def _names() -> list[str]:
    return [column.name for column in schema.SCHEMAS["live_sockets"].columns]
