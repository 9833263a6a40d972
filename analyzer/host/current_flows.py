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
from analyzer.tracker.anomalies import CATALOGUE, WITHDRAWN, Kind

if TYPE_CHECKING:
    from analyzer.frames.tracking import Tracking

LATELY_S = 10.0
_OVER = np.array([state in {"UNKNOWN", "CLOSED", "LISTEN"} for state in v.STATES])
_CLOSED = v.STATES.index("CLOSED")
_SEVERITY = np.array([v.SEVERITIES.index(CATALOGUE[kind].severity) for kind in Kind], np.int8)
_OF_SOCKET = ("kernel_state", "verdict", "pid", "process", "user", "receive_queue", "send_queue", "rtt")


class FlowsNow:
    """A copy of what the tracker has of the flows that count now; frames are made of it when it may go on.

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
        connections = tracking.connections
        count = int(connections.counts[0])
        flows = connections.flows[:count]
        states = self._states(connections.ends[: 2 * count], now_ns)
        shown = (~_OVER[states]).reshape(-1, 2).any(axis=1) | (flows["end_ns"] >= now_ns - int(lately_s * 1e9))
        shown &= flows["marks"] & MARK_FORGED == 0
        places = np.flatnonzero(shown)
        self._numbers = tracking.flow_numbers.of_first(count, tracking.forged())[places]
        self._flows = flows[places]
        self._ends = connections.ends[np.stack([2 * places, 2 * places + 1], axis=1)]
        self._states_now = states.reshape(-1, 2)[places]
        pairs = tracking.table.pairs[self._flows["pair"]]
        a_is_client = self._flows["client_side"] == 0
        self._address, self._port = (
            [np.where(a_is_client == (end == 0), pairs[f"a_{what}"], pairs[f"b_{what}"]) for end in range(2)]
            for what in ("address", "port")
        )
        self._known = np.unique(np.concatenate(self._address))
        self._addresses = tracking.table.addresses[self._known]
        self._count_anomalies(tracking, places, count)

    @staticmethod
    def _states(ends: npt.NDArray[np.void], now_ns: int) -> npt.NDArray[np.int8]:
        states = ends["state"].astype(np.int8)
        deadline = ends["deadline_ns"]
        states[(deadline != 0) & (deadline <= now_ns)] = _CLOSED  # nothing ticks: it is seen at the next segment
        return states

    def _count_anomalies(self, tracking: Tracking, places: npt.NDArray[np.int64], count: int) -> None:
        log = tracking.log.anomalies[: int(tracking.log.counts[1])]
        mine = (log["kind"] != WITHDRAWN) & (log["flow"] >= 0)
        flow, kind = log["flow"][mine], log["kind"][mine]
        self._anomalies = np.bincount(flow, minlength=count)[places]
        worst = np.full(count, -1, np.int8)
        np.maximum.at(worst, flow, _SEVERITY[kind])
        self._worst = worst[places]

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
            data[f"{name}_state"] = _words(self._states_now[:, end], v.STATES)
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
