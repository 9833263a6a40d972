"""The frames `transitions` and `anomalies`, from the tracker's log."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analyzer.frames import columns as c
from analyzer.frames import vocabulary as v
from analyzer.tracker.anomalies import CATALOGUE, Kind


def transitions(
    rows: npt.NDArray[np.void], flows: npt.NDArray[np.void], pairs: npt.NDArray[np.void], names: pd.CategoricalDtype
) -> pd.DataFrame:
    """One row per state change of one end; see the schema."""
    client_is_a = flows["client_side"] == 0
    place = flows["pair"]
    ports = np.empty((len(flows), 2), np.uint16)
    numbers = np.empty((len(flows), 2), np.int32)
    for end, is_a in ((0, client_is_a), (1, ~client_is_a)):
        ports[:, end] = np.where(is_a, pairs["a_port"][place], pairs["b_port"][place])
        numbers[:, end] = np.where(is_a, pairs["a_address"][place], pairs["b_address"][place])
    codes = c.narrow(numbers, len(names.categories))
    flow, endpoint = rows["flow"], rows["endpoint"]
    data: dict[str, Any] = {
        "time": c.times(rows["time_ns"]),
        "frame": c.frames_or_na(rows["frame"]),
        "flow": flow,
        "endpoint": c.words(endpoint.view(np.int8), v.ENDPOINTS),
        "address": c.categorical(codes[flow, endpoint], names),
        "port": ports[flow, endpoint],
        "old": c.words(rows["old"].view(np.int8), v.STATES),
        "new": c.words(rows["new"].view(np.int8), v.STATES),
        "event": c.words(rows["event"].view(np.int8), v.EVENTS),
        "evidence": c.words(rows["evidence"].view(np.int8), v.EVIDENCES),
        "proven_by": c.frames_or_na(rows["proven_by"]),
        "refuted_by": c.frames_or_na(rows["refuted_by"]),
    }
    return c.frame(data, pd.RangeIndex(len(rows)))


def anomalies(rows: npt.NDArray[np.void]) -> pd.DataFrame:
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
    return c.frame(data, pd.RangeIndex(len(rows)))
