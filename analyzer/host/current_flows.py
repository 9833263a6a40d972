"""The flows of a session as they are now: those that are open, and those that were lately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analyzer.flows.connection import MARK_FORGED
from analyzer.frames import schema
from analyzer.frames import vocabulary as v
from analyzer.frames.addresses import address_words
from analyzer.frames.parted import some_flows
from analyzer.tracker.anomalies import CATALOGUE, WITHDRAWN, Kind
from analyzer.tracker.outcome import ended
from analyzer.tracker.timers import deadlines, timers

if TYPE_CHECKING:
    from analyzer.frames.tracking import Tracking

LATELY_S = 10.0
_OVER = np.array([state in {"UNKNOWN", "CLOSED", "LISTEN"} for state in v.STATES])
_CLOSED = v.STATES.index("CLOSED")
_SEVERITY = np.array([v.SEVERITIES.index(CATALOGUE[kind].severity) for kind in Kind], np.int8)
_OF_SOCKET = ("kernel_state", "verdict", "pid", "process", "user", "receive_queue", "send_queue", "rtt")


class FlowsNow:
    """A copy of what the tracker has of the flows that count now, as if the capture ended; frames are made of it later.

    Parameters
    ----------
    tracking
        It must stand still while this is made.
    now_ns
        The present moment.
    lately_s
        A flow that is over is shown until it has been silent for so long.
    """

    def __init__(self, tracking: Tracking, now_ns: int, lately_s: float = LATELY_S) -> None:
        connections, its_timers = tracking.connections, timers(tracking.settings)
        count = int(connections.counts[0])
        flows = connections.flows[:count]
        deadline = deadlines(connections.ends, np.arange(2 * count), its_timers)
        states = connections.ends["state"][: 2 * count].astype(np.int8)
        states[(deadline != 0) & (deadline <= now_ns)] = _CLOSED  # nothing ticks: it is seen at the next segment
        shown = (~_OVER[states]).reshape(-1, 2).any(axis=1) | (flows["end_ns"] >= now_ns - int(lately_s * 1e9))
        shown &= flows["marks"] & MARK_FORGED == 0
        places = np.flatnonzero(shown)
        self._numbers = tracking.flow_numbers.of_first(count, tracking.forged())[places]
        pairs = tracking.table.pairs[flows["pair"][places]]
        # How far a handshake came, what nobody answered, whose timers have run out: only the end of a capture says it.
        copied, log = some_flows(tracking, shown)
        log = ended(copied, max(tracking.last_ns, now_ns), log, its_timers)
        self._flows, self._ends = copied.flows, copied.ends.reshape(-1, 2)
        a_is_client = self._flows["client_side"] == 0
        self._address, self._port = (
            [np.where(a_is_client == (end == 0), pairs[f"a_{what}"], pairs[f"b_{what}"]) for end in range(2)]
            for what in ("address", "port")
        )
        self._known = np.unique(np.concatenate(self._address))
        self._addresses = tracking.table.addresses[self._known]
        self._count_anomalies(log.anomalies[: int(log.counts[1])])

    def _count_anomalies(self, anomalies: npt.NDArray[np.void]) -> None:
        anomalies = anomalies[anomalies["kind"] != WITHDRAWN]
        flow, kind = anomalies["flow"], anomalies["kind"]
        self._anomalies = np.bincount(flow, minlength=len(self._flows))
        self._worst = np.full(len(self._flows), -1, np.int8)
        np.maximum.at(self._worst, flow, _SEVERITY[kind])

    def frame(self, sockets: pd.DataFrame) -> pd.DataFrame:
        """Return the flows, beside the rows of `live_sockets` of their ends."""
        flows = self._flows
        syn, ack = flows["syn_ns"], flows["ack_ns"]
        words = pd.Index(pd.array(address_words(self._addresses), dtype="str"))
        data: dict[str, Any] = {}
        for end, name in enumerate(v.ENDPOINTS):
            codes = np.searchsorted(self._known, self._address[end])
            data[name] = pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(words))
            data[f"{name}_port"] = self._port[end]
        data |= {
            "start": pd.DatetimeIndex(flows["start_ns"], tz="UTC"),
            "end": pd.DatetimeIndex(flows["end_ns"], tz="UTC"),
            "handshake": _words(flows["handshake"].astype(np.int8), v.HANDSHAKES),
            "closed_by": _words(flows["closed_by"], v.ENDPOINTS),
            "irtt": np.where((syn != 0) & (ack != 0), (ack - syn) * 1e-9, np.nan),
            "anomalies": self._anomalies,
            "severity": _words(self._worst, v.SEVERITIES),
        }
        for end, name in enumerate(v.ENDPOINTS):
            rows = self._ends[:, end]
            data[f"{name}_state"] = _words(rows["state"].astype(np.int8), v.STATES)
            data[f"{name}_proven"] = rows["proven"] != 0
            for what in ("packets", "bytes", "retransmitted"):
                data[f"{name}_{what}"] = rows[what].astype(np.int64)
            mine = sockets[(sockets["endpoint"] == name) & sockets["flow"].notna()]
            mine = mine.drop_duplicates("flow", keep="last").set_index(mine["flow"].to_numpy(np.int64))
            beside = mine[list(_OF_SOCKET)].reindex(self._numbers)
            data |= {f"{name}_{column}": beside[column].array for column in _OF_SOCKET}
        index = pd.Index(self._numbers.astype(np.int64), name="flow")
        declared = [column.name for column in schema.SCHEMAS["current_flows"].columns]
        return pd.DataFrame({name: data[name] for name in declared}, index=index)


def _words(codes: npt.NDArray[np.int8], words: tuple[str, ...]) -> Any:
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Index(list(words), dtype="str")))
