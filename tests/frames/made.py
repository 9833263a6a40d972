"""Frames made by hand: rows as dictionaries, everything not said takes a plain value of its column's dtype."""

from __future__ import annotations

import pandas as pd

from analyzer.frames import declared, schema
from analyzer.frames.capture import Capture
from analyzer.frames.vocabulary import EVENTS

START = pd.Timestamp("2025-03-01 12:00:00", tz="UTC")


def at(seconds: float) -> pd.Timestamp:
    return (START + pd.Timedelta(seconds=seconds)).as_unit("ns")


def frame(name: str, rows: list[dict], index: list | None = None) -> pd.DataFrame:
    """A frame of the schema with these rows."""
    wanted = schema.SCHEMAS[name]
    numbers = pd.Index(index if index is not None else range(len(rows)), dtype="int64", name=wanted.index.name or None)
    data = {}
    for column in wanted.columns:
        values = [row.get(column.name, _plain(column)) for row in rows]
        dtype = schema.pandas_dtype(column)
        if column.dtype == "category" and not column.vocabulary:
            words = dict.fromkeys(value for value in values if value is not None)
            dtype = pd.CategoricalDtype(pd.Index(list(words), dtype="str"))
        data[column.name] = pd.Series(values, numbers, dtype)
    made = pd.DataFrame(data, index=numbers)
    schema.check(name, made)
    return made


def _plain(column: declared.Column):
    if column.dtype in ("category", "str") or column.dtype[0].isupper() or column.dtype == "boolean":
        return None
    if column.dtype.startswith("datetime"):
        return START
    return False if column.dtype == "bool" else None if column.dtype.startswith("list") else 0


def transition(seconds: float, old: str, new: str, *, flow: int = 0, end: str = "client", **more) -> dict:
    """A row of `transitions`; the client is 10.0.0.1:40000 + flow, the server 10.0.0.2:80."""
    address, port = ("10.0.0.1", 40000 + flow) if end == "client" else ("10.0.0.2", 80)
    row = {"time": at(seconds), "flow": flow, "endpoint": end, "address": address, "port": port, "old": old, "new": new}
    event = "SEND_SYN_ACK" if new == "SYN_RCVD" else "NONE"
    assert event in EVENTS
    return row | {"event": event, "evidence": "proven"} | more


def life(start: float, flow: int = 0) -> list[dict]:
    """The state changes of one ordinary connection: opened at start, closed by the client after 3 s, gone after 63."""
    steps = [
        (0.0, "client", "CLOSED", "SYN_SENT"),
        (0.0, "server", "UNKNOWN", "LISTEN"),
        (0.1, "server", "LISTEN", "SYN_RCVD"),
        (0.1, "client", "SYN_SENT", "ESTABLISHED"),
        (0.2, "server", "SYN_RCVD", "ESTABLISHED"),
        (3.0, "client", "ESTABLISHED", "FIN_WAIT_1"),
        (3.0, "server", "ESTABLISHED", "CLOSE_WAIT"),
        (3.1, "client", "FIN_WAIT_1", "FIN_WAIT_2"),
        (4.0, "server", "CLOSE_WAIT", "LAST_ACK"),
        (4.0, "client", "FIN_WAIT_2", "TIME_WAIT"),
        (4.1, "server", "LAST_ACK", "CLOSED"),
        (64.0, "client", "TIME_WAIT", "CLOSED"),
    ]
    return [transition(start + after, old, new, flow=flow, end=end) for after, end, old, new in steps]


def flow(**more) -> dict:
    """A row of `flows`: an ordinary connection."""
    ordinary = {
        "client": "10.0.0.1", "client_port": 40000, "server": "10.0.0.2", "server_port": 80, "role_evidence": "syn",
        "start": START, "end": at(5), "duration": 5.0, "client_packets": 5, "server_packets": 4, "client_bytes": 100,
        "server_bytes": 2000, "handshake": "complete", "close": "orderly", "closed_by": "client",
        "client_state": "TIME_WAIT", "server_state": "CLOSED",
    }  # fmt: skip
    return ordinary | more


def segment(seconds: float = 0.0, **more) -> dict:
    """A row of `packets`: a segment with data from the client in an established connection."""
    ordinary = {
        "time": at(seconds), "from_client": True, "src": "10.0.0.1", "sport": 40000, "dst": "10.0.0.2", "dport": 80,
        "flags": "P.", "flag_bits": 0x18, "seq": 1, "ack": 1, "length": 10, "window": 65535, "ttl": 64,
        "client_state": "ESTABLISHED", "server_state": "ESTABLISHED", "client_proven": True, "server_proven": True,
    }  # fmt: skip
    return ordinary | more


def capture(**more) -> Capture:
    """A capture of a minute, read whole."""
    ordinary = {
        "files": ("a.pcap",), "formats": ("pcap (microseconds, little-endian)",), "link_types": ("EN10MB",),
        "interfaces": (), "records": 10, "bytes": 1000, "segments": 10, "skipped": {}, "filtered_out": 0,
        "truncated": 0, "copies": 0, "checksums_wrong": 0, "checksums_left": 0, "ip_checksums_wrong": 0,
        "super_segments": 0, "lost_bytes": 0, "lost_segments": 0, "swapped": 0, "clock_steps": 0, "disordered": 0,
        "one_direction": 0, "filtered": (), "damage": (), "kernel_drops": None, "interface_drops": None,
        "timeless": 0, "comments": (), "comments_left_out": 0, "names": {}, "processes": {}, "printed": False, "bpf": None,
        "first": START, "last": at(60), "ended": None,
    }  # fmt: skip
    return Capture(**(ordinary | more))
