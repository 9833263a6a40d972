"""The frames `transitions` and `anomalies`, from the tracker's log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.frames import columns as c
from analyzer.frames import vocabulary as v
from analyzer.tracker.anomalies import CATALOGUE, Kind
from analyzer.tracker.log import ends_of

if TYPE_CHECKING:
    from analyzer.frames.addresses import AddressWords


def transitions(
    rows: npt.NDArray[np.void], flows: npt.NDArray[np.void], pairs: npt.NDArray[np.void], names: AddressWords
) -> c.Plan:
    """One row per state change of one end; see the schema."""
    address, port = np.empty(len(rows), np.int32), np.empty(len(rows), np.uint16)
    ends_of(rows, flows, pairs, address, port)
    flow, endpoint = rows["flow"], rows["endpoint"]
    data: dict[str, Any] = {
        "time": c.times(rows["time_ns"]),
        "frame": c.frames_or_na(rows["frame"]),
        "flow": flow,
        "endpoint": c.words(endpoint.view(np.int8), v.ENDPOINTS),
        "address": c.addresses(address, names),
        "port": port,
        "old": c.words(rows["old"].view(np.int8), v.STATES),
        "new": c.words(rows["new"].view(np.int8), v.STATES),
        "event": c.words(rows["event"].view(np.int8), v.EVENTS),
        "evidence": c.words(rows["evidence"].view(np.int8), v.EVIDENCES),
        "proven_by": c.frames_or_na(rows["proven_by"]),
        "refuted_by": c.frames_or_na(rows["refuted_by"]),
    }
    return c.Plan(data, c.numbered(len(rows)))


def anomalies(rows: npt.NDArray[np.void]) -> c.Plan:
    """One row per thing that went wrong; see the schema."""
    severity = np.array([v.SEVERITIES.index(CATALOGUE[kind].severity) for kind in Kind], np.int8)
    flow = rows["flow"]
    data: dict[str, Any] = {
        "frame": c.frames_or_na(rows["frame"]),
        "time": c.times(rows["time_ns"]),
        "flow": c.integers(flow, flow < 0),
        "endpoint": c.words(rows["endpoint"], v.ENDPOINTS),
        "kind": c.words(rows["kind"].view(np.int8), v.ANOMALY_KINDS),
        "severity": c.words(severity[rows["kind"]], v.SEVERITIES),
        "related_frame": c.frames_or_na(rows["related_frame"]),
        "detail": c.words(rows["detail"].astype(np.int8) - np.int8(1), v.DETAILS),
    }
    return c.Plan(data, c.numbered(len(rows)))
