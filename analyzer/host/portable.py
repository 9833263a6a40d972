"""Sockets where the kernel has no ``sock_diag``: what psutil tells on every system.

States, addresses and, where the system permits, processes; no queues, timers or round trips.
"""

from __future__ import annotations

import socket
from typing import Any

import pandas as pd

from analyzer.errors import HostError
from analyzer.host.processes import clean

STATES: dict[str, str] = {
    "ESTABLISHED": "ESTABLISHED",
    "SYN_SENT": "SYN_SENT",
    "SYN_RECV": "SYN_RCVD",
    "FIN_WAIT1": "FIN_WAIT_1",
    "FIN_WAIT2": "FIN_WAIT_2",
    "TIME_WAIT": "TIME_WAIT",
    "CLOSE": "CLOSED",
    "CLOSE_WAIT": "CLOSE_WAIT",
    "LAST_ACK": "LAST_ACK",
    "LISTEN": "LISTEN",
    "CLOSING": "CLOSING",
    "NONE": "CLOSED",
    "BOUND": "CLOSED",
}
"""psutil's words (``psutil.CONN_*``) and ours; others are UNKNOWN (Windows' DELETE_TCB)."""


def ask() -> list[dict[str, Any]]:
    """Ask psutil for all TCP sockets: rows of the frame ``sockets``, as far as they go.

    Raises
    ------
    HostError
        If the system tells its sockets to nobody but root.
    """
    import psutil

    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied as error:
        raise HostError("this system lists its sockets for root only: sudo") from error
    except (psutil.Error, OSError) as error:
        raise HostError(f"this system does not list its sockets: {error}") from error
    now = pd.Timestamp.now("UTC")
    names: dict[int, tuple[str | None, str | None]] = {}
    rows = []
    for connection in connections:
        if not connection.laddr:
            continue
        pid = connection.pid
        if pid is not None and pid not in names:
            names[pid] = _described(pid)
        process, user = names[pid] if pid is not None else (None, None)
        row = {
            "time": now,
            "family": "ipv6" if connection.family == socket.AF_INET6 else "ipv4",
            "state": STATES.get(connection.status, "UNKNOWN"),
            "address": connection.laddr.ip,
            "port": connection.laddr.port,
            "pid": pid,
            "fd": connection.fd if connection.fd >= 0 else None,
            "process": process,
            "user": user,
            "pids": None if pid is None else [pid],
        }
        if connection.raddr:
            row |= {"peer_address": connection.raddr.ip, "peer_port": connection.raddr.port}
        rows.append(row)
    return rows


def _described(pid: int) -> tuple[str | None, str | None]:
    import psutil

    try:
        process = psutil.Process(pid)
        return clean(process.name()), clean(process.username())
    except psutil.Error:
        return None, None
