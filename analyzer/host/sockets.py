"""The TCP sockets of this host as a frame, and how many are in each state."""

from __future__ import annotations

import dataclasses
import functools
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analyzer.errors import HostError
from analyzer.frames import schema
from analyzer.frames import vocabulary as v
from analyzer.frames.host_schema import CONGESTION_STATES, FAMILIES, SHUTDOWNS, TCP_INFO, TIMERS
from analyzer.host import portable, processes, sock_diag
from analyzer.ports import asked_port

if TYPE_CHECKING:
    from analyzer.frames.declared import Column
    from analyzer.host.sock_diag import Answer

UNCOUNTED = ("CLOSED", "UNKNOWN")
"""States that netstat does not show: a socket that is only bound stands in no table that it reads."""

SECONDS: dict[str, float] = {
    "tcpi_rto": 1e-6, "tcpi_ato": 1e-6, "tcpi_rtt": 1e-6, "tcpi_rttvar": 1e-6, "tcpi_min_rtt": 1e-6,
    "tcpi_rcv_rtt": 1e-6, "tcpi_busy_time": 1e-6, "tcpi_rwnd_limited": 1e-6, "tcpi_sndbuf_limited": 1e-6,
    "tcpi_last_data_sent": 1e-3, "tcpi_last_data_recv": 1e-3, "tcpi_last_ack_recv": 1e-3,
}  # fmt: skip
"""What one of tcp_info's units of time is worth (tcp_get_info in net/ipv4/tcp.c)."""

_LARGEST = {kind: int(np.iinfo(kind).max) for kind in (np.int32, np.uint32, np.uint64)}
NOTHING: dict[str, int] = {
    "tcpi_rtt": 0,  # no sample yet
    "tcpi_rcv_rtt": 0,
    "tcpi_ato": 0,
    "tcpi_min_rtt": _LARGEST[np.uint32],
    "tcpi_snd_ssthresh": _LARGEST[np.int32],  # TCP_INFINITE_SSTHRESH
    "tcpi_pacing_rate": _LARGEST[np.uint64],
    "tcpi_max_pacing_rate": _LARGEST[np.uint64],
}
"""The value of a field that says that there is none."""

_LITTLE = sys.byteorder == "little"
BITS: dict[str, tuple[str, int, int]] = {
    "timestamps": ("tcpi_options", 0, 1),
    "sack": ("tcpi_options", 1, 1),
    "window_scaling": ("tcpi_options", 2, 1),
    "ecn": ("tcpi_options", 3, 1),
    "ecn_seen": ("tcpi_options", 4, 1),
    "syn_data": ("tcpi_options", 5, 1),
    "send_wscale": ("tcpi_snd_wscale", 0 if _LITTLE else 4, 4),  # both scales share an octet
    "receive_wscale": ("tcpi_snd_wscale", 4 if _LITTLE else 0, 4),
    "app_limited": ("tcpi_delivery_rate_app_limited", 0 if _LITTLE else 7, 1),
}
"""Columns that are bits of a field: field, lowest bit, how many (include/uapi/linux/tcp.h)."""


def sockets(port: int | None = None) -> pd.DataFrame:
    """Return this host's TCP sockets, as its kernel has them now: ``ss -tanp`` and ``lsof -iTCP`` as a frame.

    Parameters
    ----------
    port : int, optional
        Only sockets with this port at either end.

    Returns
    -------
    DataFrame
        One row per socket; ``docs/frames.md`` has the columns. Those of IPv4 peers at an IPv6 socket have addresses as
        ``::ffff:10.0.0.1``. Who holds another user's socket, only root sees; elsewhere than on Linux only addresses,
        states and processes are filled. ``analyzer.host.sockets.limits`` says which it was.

    Raises
    ------
    HostError
        If the system does not list its sockets.
    ValueError
        If there is no such port.

    Examples
    --------
    >>> import analyzer
    >>> here = analyzer.sockets(port=443)  # doctest: +SKIP
    >>> here.query("state == 'CLOSE_WAIT'").groupby("process", observed=True).size()  # doctest: +SKIP
    """
    return _asked(port, who=True)


def socket_states(port: int | None = None) -> pd.DataFrame:
    """Count this host's TCP sockets by state, as ``netstat -nat`` shows them.

    Parameters
    ----------
    port : int, optional
        Only sockets with this port at either end.

    Returns
    -------
    DataFrame
        One row per state that occurs; CLOSED, a socket that is bound and no more, is not counted.

    Raises
    ------
    ValueError
        If there is no such port.
    """
    here = _asked(port, who=False)
    here = here[~here["state"].isin(UNCOUNTED)]
    columns = {"state": v.STATES, "family": FAMILIES}
    codes = {name: here[name].cat.codes.to_numpy() for name in columns}
    counts = np.zeros((len(v.STATES), len(FAMILIES)), np.int64)
    np.add.at(counts, (codes["state"], codes["family"]), 1)
    seen = np.flatnonzero(counts.any(axis=1))
    return pd.DataFrame(
        {
            "state": _words(seen.astype(np.int8), v.STATES),
            "sockets": counts[seen].sum(axis=1),
            **{family: counts[seen, code] for code, family in enumerate(FAMILIES)},
        }
    )


def limits(frame: pd.DataFrame) -> tuple[str, ...]:
    """Say what a frame of sockets lacks, and what would show it; nothing where nothing is missing."""
    said = []
    if len(frame) and frame["cookie"].isna().all():
        said.append("queues, timers and round trips are not told here: they take Linux's netlink sock_diag")
    hidden = int((frame["inode"].notna() & frame["pid"].isna()).sum())
    if hidden:
        others = "" if os.geteuid() == 0 else "another user's (root sees it: sudo), or "
        said.append(f"of {hidden} socket{'s' * (hidden > 1)} the process is not visible: {others}in another container")
    return tuple(said)


# ------------------------------------------------------------------------------------------------- the kernel's answer


def _asked(port: int | None, *, who: bool) -> pd.DataFrame:
    """Ask the kernel, else psutil; who: whether to look for the processes, which takes as long as all the rest."""
    port = asked_port(port)
    try:
        answer = sock_diag.ask()
    except HostError:
        frame = _portable()
        return frame if port is None else _on_port(frame, port)
    return _frame(answer, port, who=who)


def _frame(answer: Answer, port: int | None, *, who: bool) -> pd.DataFrame:
    message = answer.message
    if port is not None:
        mine = np.flatnonzero((message["idiag_sport"] == port) | (message["idiag_dport"] == port))
        answer = _chosen(answer, mine)
        message = answer.message
    rows = len(message)
    states = np.array([v.STATES.index(word) for word in sock_diag.KERNEL_STATES], np.int8)
    state = states[np.minimum(message["idiag_state"], len(states) - 1)]
    listens = state == v.STATES.index("LISTEN")
    alone = listens | (state == v.STATES.index("CLOSED"))
    inodes = message["idiag_inode"].astype(np.int64)
    holding = processes.holders(set(inodes[inodes > 0].tolist())) if who else {}
    held = [holding.get(inode) for inode in inodes.tolist()]
    timer = message["idiag_timer"].astype(np.int8)
    nobody = inodes == 0  # without a file the kernel says 0, which is not root's here
    users = {uid: processes.user_name(uid) for uid in np.unique(message["idiag_uid"][~nobody]).tolist()}
    memory = dict(zip(sock_diag.MEMORY_FIELDS, answer.memory.T, strict=True))
    unknown = ~answer.memory_known
    queues = message["idiag_rqueue"], message["idiag_wqueue"]
    data: dict[str, Any] = {
        "time": pd.DatetimeIndex(np.full(rows, answer.time_ns), tz="UTC"),
        "family": _words((message["idiag_family"] == socket.AF_INET6).astype(np.int8), FAMILIES),
        "state": _words(state, v.STATES),
        "address": _addresses(message["idiag_family"], message["idiag_src"], np.zeros(rows, np.bool_)),
        "port": message["idiag_sport"].astype(np.uint16),
        "peer_address": _addresses(message["idiag_family"], message["idiag_dst"], alone),
        "peer_port": _integers(message["idiag_dport"], alone, np.uint16),
        "interface": _named([_interface(index) for index in message["idiag_if"].tolist()]),
        "only_ipv6": pd.arrays.BooleanArray(answer.only_ipv6 == 1, answer.only_ipv6 < 0),
        "receive_queue": _integers(queues[0], listens),
        "send_queue": _integers(queues[1], listens),
        "accept_queue": _integers(queues[0], ~listens),
        "accept_limit": _integers(queues[1], ~listens),
        "timer": _words(np.where(timer <= len(TIMERS), timer, 0).astype(np.int8) - np.int8(1), TIMERS),
        "timer_left": np.where(timer > 0, np.maximum(message["idiag_expires"].astype(np.int32), 0) * 1e-3, np.nan),
        "retransmits": _integers(message["idiag_retrans"], listens),
        "pid": pd.array([None if not by else by[0].pid for by in held], "Int64"),
        "fd": pd.array([None if not by else by[0].fd for by in held], "Int64"),
        "process": _named([None if not by else by[0].name for by in held]),
        "user": _named(
            [None if no else users[uid] for uid, no in zip(message["idiag_uid"].tolist(), nobody, strict=True)]
        ),
        "pids": pd.array([None if not by else [one.pid for one in by] for by in held], _dtype("pids")),
        "uid": _integers(message["idiag_uid"], nobody),
        "inode": _integers(inodes, inodes == 0),
        "cookie": _integers(message["idiag_cookie"], np.zeros(rows, np.bool_), np.uint64),
        "shutdown": _words(answer.shutdown - np.int8(1), SHUTDOWNS),
        "congestion_control": _named(answer.congestion),
        "receive_memory": _integers(memory["rmem_alloc"], unknown),
        "receive_buffer": _integers(memory["rcvbuf"], unknown),
        "send_memory": _integers(memory["wmem_queued"], unknown),
        "send_buffer": _integers(memory["sndbuf"], unknown),
        "backlog": _integers(memory["backlog"], unknown),
        "drops": _integers(memory["drops"], unknown),
    }
    told = np.where(alone, 0, answer.info_length)  # a listener's tcp_info says nothing of a connection
    data |= {column.name: _told(answer.info, told, column) for column in TCP_INFO}
    return pd.DataFrame(data)


def _chosen(answer: Answer, rows: npt.NDArray[np.int64]) -> Answer:
    return dataclasses.replace(
        answer,
        message=answer.message[rows],
        info=answer.info[rows],
        info_length=answer.info_length[rows],
        memory=answer.memory[rows],
        memory_known=answer.memory_known[rows],
        shutdown=answer.shutdown[rows],
        only_ipv6=answer.only_ipv6[rows],
        congestion=[answer.congestion[row] for row in rows],
    )


def _told(info: npt.NDArray[np.void], told: npt.NDArray[np.int64], column: Column) -> Any:
    """Fill one column from the field of tcp_info that it names; NA where the kernel gave none."""
    layout: Any = info.dtype.fields
    field, bit, bits = BITS.get(column.name, (column.source.split(",")[0], 0, 0))
    if layout is None or field not in layout:
        absent = np.ones(len(info), np.bool_)
        values: Any = np.zeros(len(info), np.int64)
    else:
        values = info[field]
        absent = told < layout[field][1] + layout[field][0].itemsize
        if field in NOTHING:
            absent = absent | (values == NOTHING[field])
    if bits:
        values = values >> bit & (1 << bits) - 1
    if column.dtype == "boolean":
        return pd.arrays.BooleanArray(values != 0, absent)
    if column.dtype == "category":
        known = ~absent & (values < len(CONGESTION_STATES))
        return _words(np.where(known, values, -1).astype(np.int8), CONGESTION_STATES)
    if column.dtype == "float64":
        return np.where(absent, np.nan, values * SECONDS[field])
    return _integers(values, absent)


def _addresses(
    families: npt.NDArray[np.uint8], addresses: npt.NDArray[np.uint32], missing: npt.NDArray[np.bool_]
) -> Any:
    """Write addresses as text, each once; they stand as four words in network order."""
    key = np.empty(len(families), [("family", "u1"), ("octets", "V16")])
    key["family"] = families
    key["octets"] = np.ascontiguousarray(addresses).view("V16").reshape(-1)
    known: dict[bytes, int] = {}
    codes = np.full(len(families), -1, np.int64)
    for row in np.flatnonzero(~missing).tolist():
        codes[row] = known.setdefault(key[row].tobytes(), len(known))
    texts = [
        socket.inet_ntop(socket.AF_INET6, raw[1:])
        if raw[0] == socket.AF_INET6
        else socket.inet_ntop(socket.AF_INET, raw[1:5])
        for raw in known
    ]
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Index(texts, dtype="str")))


@functools.lru_cache(maxsize=1024)
def _interface(index: int) -> str | None:
    if index == 0:
        return None
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)


def _words(codes: npt.NDArray[np.int8], words: tuple[str, ...]) -> Any:
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Index(list(words), dtype="str")))


def _named(names: list[str | None]) -> Any:
    words = list(dict.fromkeys(name for name in names if name is not None))
    return pd.Categorical(names, dtype=pd.CategoricalDtype(pd.Index(words, dtype="str")))


def _integers(values: Any, missing: npt.NDArray[np.bool_], kind: Any = np.int64) -> Any:
    whole = np.where(missing, 0, values).astype(kind)
    return pd.arrays.IntegerArray(whole, missing.copy())


def _dtype(name: str) -> Any:
    return schema.pandas_dtype(schema.column("sockets", name))


# --------------------------------------------------------------------------------------------------- psutil's answer


def _portable() -> pd.DataFrame:
    rows = portable.ask()
    data: dict[str, Any] = {}
    for column in schema.SCHEMAS["sockets"].columns:
        values = [row.get(column.name) for row in rows]
        if column.dtype == "category" and not column.vocabulary:
            data[column.name] = _named(values)
        else:
            data[column.name] = pd.Series(values, dtype=schema.pandas_dtype(column))
    return pd.DataFrame(data)


def _on_port(frame: pd.DataFrame, port: int) -> pd.DataFrame:
    mine = (frame["port"] == port) | (frame["peer_port"] == port).fillna(value=False)
    return frame[mine].reset_index(drop=True)
