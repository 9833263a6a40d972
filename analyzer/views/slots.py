"""The connections that a screen knows, a slot each: growing columns, and slots that are used again."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.views.trouble import NONE

Array = npt.NDArray[Any]

NOBODY = -1
"""Stands for: no flow, no state, no row."""

_COLUMNS: dict[str, tuple[Any, Any]] = {
    "id": (np.int64, NOBODY),  # of its own, never used again; NOBODY: the slot is free
    "flow": (np.int64, NOBODY),  # the tracker's number; NOBODY: the kernel's socket alone
    "client": (np.int32, 0), "server": (np.int32, 0), "client_port": (np.uint16, 0), "server_port": (np.uint16, 0),
    "start_ns": (np.int64, 0), "end_ns": (np.int64, 0),
    "client_state": (np.int8, 0), "server_state": (np.int8, 0),  # as shown: timers included
    "client_proven": (np.bool_, False), "server_proven": (np.bool_, False),
    "client_deadline_ns": (np.int64, 0), "server_deadline_ns": (np.int64, 0),
    "client_bytes": (np.int64, 0), "server_bytes": (np.int64, 0),
    "client_packets": (np.int64, 0), "server_packets": (np.int64, 0),
    "retransmitted": (np.int64, 0),  # segments that the anomalies name: SYNs, SYN-ACKs and FINs too
    "client_rate": (np.float64, 0.0), "server_rate": (np.float64, 0.0),  # octets of payload a second, lately
    "irtt": (np.float64, np.nan), "rtt": (np.float64, np.nan),
    "refused": (np.bool_, False), "midstream": (np.bool_, False),
    # what the screen itself has noticed, in seconds of its clock; -inf never
    "noticed": (np.float64, -np.inf), "ended": (np.float64, np.inf),
    "client_since": (np.float64, -np.inf), "server_since": (np.float64, -np.inf),
    "client_older": (np.bool_, False), "server_older": (np.bool_, False),  # it had begun before anybody looked
    "client_before": (np.int8, NOBODY), "server_before": (np.int8, NOBODY),  # the state before this one
    # troubles, as ranks of trouble.ORDER
    "stays": (np.int16, NONE), "passing": (np.int16, NONE), "passing_at": (np.float64, -np.inf),
    "trouble": (np.int16, NONE),
    # the kernel's snapshot
    "client_joined": (np.int32, NOBODY), "server_joined": (np.int32, NOBODY),  # rows of `joined`
    "client_kernel": (np.int8, NOBODY), "server_kernel": (np.int8, NOBODY),  # states
}  # fmt: skip


class Slots:
    """Columns by name (``slots["flow"]``), as long as slots were ever in use at one time."""

    def __init__(self) -> None:
        self.used = 0  #: slots up to here have been in use
        self._columns = {name: np.full(1024, blank, dtype) for name, (dtype, blank) in _COLUMNS.items()}
        self._free = np.empty(0, np.int64)
        self._next_id = 0

    def __getitem__(self, name: str) -> Array:
        """Return a column of the slots that have been in use, as a view to write into."""
        return self._columns[name][: self.used]

    def __len__(self) -> int:
        """How many are in use."""
        return self.used - len(self._free)

    def new(self, count: int) -> Array:
        """Take so many slots, blank, each with an id of its own."""
        again, self._free = self._free[:count], self._free[count:]
        fresh = np.arange(self.used, self.used + count - len(again))
        self.used += len(fresh)
        while self.used > len(self._columns["id"]):
            for name, (dtype, blank) in _COLUMNS.items():
                old = self._columns[name]
                self._columns[name] = np.concatenate([old, np.full(len(old), blank, dtype)])
        taken = np.concatenate([again, fresh])
        for name, (_, blank) in _COLUMNS.items():
            self._columns[name][taken] = blank
        self._columns["id"][taken] = np.arange(self._next_id, self._next_id + count)
        self._next_id += count
        return taken

    def give_back(self, slots: Array) -> None:
        """Let slots be used again."""
        self._columns["id"][slots] = NOBODY
        self._columns["flow"][slots] = NOBODY
        self._free = np.concatenate([self._free, slots])

    def in_use(self) -> Array:
        """Return the slots in use, ascending."""
        return np.flatnonzero(self["id"] != NOBODY)
