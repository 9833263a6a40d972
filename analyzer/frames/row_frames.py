"""The frames `transitions` and `anomalies`, from the tracker's log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.frames import columns as c
from analyzer.frames import vocabulary as v
from analyzer.tracker.anomalies import CATALOGUE, Kind
from analyzer.tracker.icmp import EFFECT_WORDS, ORIGIN_WORDS, Effect, Origin
from analyzer.tracker.icmp import name as icmp_name
from analyzer.tracker.log import ends_of

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.capture.records import CaptureInfo
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


def anomalies(rows: npt.NDArray[np.void], icmp: npt.NDArray[np.void], names: AddressWords, info: CaptureInfo) -> c.Plan:
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
        "detail": _details(rows, icmp, names, info),
    }
    return c.Plan(data, c.numbered(len(rows)))


_TELLING = ("version", "type", "code", "effect", "origin", "mtu", "interface", "ifindex", "reporter")


def _details(rows: npt.NDArray[np.void], icmp: npt.NDArray[np.void], names: AddressWords, info: CaptureInfo) -> c.Made:
    """The vocabulary's words; behind them, what this capture's ICMP errors say, each text made once."""
    codes = rows["detail"].astype(np.int8) - np.int8(1)
    if not len(icmp):
        return c.words(codes, v.DETAILS)
    telling = np.stack([icmp[field].astype(np.int64) for field in _TELLING])
    kinds, places = np.unique(telling, axis=1, return_inverse=True)

    def make() -> pd.Categorical:
        senders = names.dtype.categories[kinds[-1]].tolist()
        said = [_icmp_text(sender, info, *kind) for sender, kind in zip(senders, kinds[:-1].T.tolist(), strict=True)]
        texts, numbers = np.unique(np.array(said, object), return_inverse=True)
        words = (*v.DETAILS, *texts.tolist())
        wide = codes.astype(np.int32)
        wide[icmp["anomaly"]] = len(v.DETAILS) + numbers[places.reshape(-1)]
        column: pd.Categorical = c.words(c.narrow(wide, len(words)), words)()
        return column

    return make


def _icmp_text(
    sender: str, info: CaptureInfo, version: int, kind: int, code: int, effect: int, origin: int, mtu: int,
    interface: int, ifindex: int,
) -> str:  # fmt: skip
    """``ICMP host unreachable (3/1) from 10.0.0.254 (router, on eth1): the attempt ends``."""
    where = ORIGIN_WORDS[Origin(origin)]
    if ifindex >= 0:
        where += f", on interface {ifindex}"
    elif len(info.interfaces) > 1 or any(it.name for it in info.interfaces):
        where += f", on {info.interfaces[interface].name or f'interface {interface}'}"
    said = EFFECT_WORDS[Effect(effect)]
    if Effect(effect) in (Effect.PATH_MTU, Effect.PATH_MTU_AGAIN):
        said += f", path MTU {mtu}" if mtu else ", path MTU not told"
    return f"{icmp_name(version, kind, code)} from {sender} ({where}): {said}"
