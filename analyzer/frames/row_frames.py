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
from analyzer.tracker.log import transition_columns
from analyzer.tracker.packet_ends import socket_ends

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.capture.records import CaptureInfo
    from analyzer.frames.addresses import AddressWords


def transitions(rows: npt.NDArray[np.void], of_flows: npt.NDArray[np.int32], names: AddressWords) -> c.Plan:
    """One row per state change of one end; see the schema. of_flows: as ``ends_of_flows`` gives them."""
    it = transition_columns(rows)
    address, port = socket_ends(rows["flow"], rows["endpoint"] == 0, of_flows, c.code_dtype(names.count))
    data: dict[str, Any] = {
        "time": c.times(rows["time_ns"]),
        "frame": c.integers(rows["frame"], it.no_frame),
        "flow": rows["flow"],
        "endpoint": c.words(rows["endpoint"].view(np.int8), v.ENDPOINTS),
        "address": c.addresses(address, names),
        "port": port,
        "old": c.words(rows["old"].view(np.int8), v.STATES),
        "new": c.words(rows["new"].view(np.int8), v.STATES),
        "event": c.words(rows["event"].view(np.int8), v.EVENTS),
        "evidence": c.words(rows["evidence"].view(np.int8), v.EVIDENCES),
        "proven_by": c.integers(rows["proven_by"], it.not_proven),
        "refuted_by": c.integers(rows["refuted_by"], it.not_refuted),
    }
    return c.Plan(data, c.numbered(len(rows)))


def anomalies(
    rows: npt.NDArray[np.void],
    icmp: npt.NDArray[np.void],
    causes: npt.NDArray[np.void],
    names: AddressWords,
    info: CaptureInfo,
) -> c.Plan:
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
        **_causes(len(rows), causes),
    }
    return c.Plan(data, c.numbered(len(rows)))


def _causes(rows: int, causes: npt.NDArray[np.void]) -> dict[str, Any]:
    """The columns that say why; constants, which take no memory, where nothing came again."""

    def spread(values: Any, nothing: Any) -> Any:
        if not len(causes):
            return c.constant(nothing, rows, values.dtype)
        column = np.full(rows, nothing, values.dtype)
        column[causes["anomaly"]] = values
        return column

    def seconds(values: Any, known: Any) -> Any:
        return spread(np.where(known, values / 1e9, np.nan), np.nan)

    told = spread(causes["told"] == 0, True)
    return {
        "cause": c.words(spread(causes["cause"].astype(np.int8) - np.int8(1), -1), v.CAUSES),
        "evidence": c.words(spread(causes["evidence"].astype(np.int8) - np.int8(1), -1), v.CAUSE_EVIDENCES),
        "evidence_frame": c.frames_or_na(spread(causes["frame"], 0)),
        "waited": seconds(causes["waited_ns"], causes["waited_ns"] >= 0),
        "rto": seconds(causes["rto_ns"], causes["rto_ns"] > 0),
        "duplicate_acks": c.integers(spread(causes["duplicate_acks"], 0), told),
        "sacked": c.integers(spread(causes["sacked"], 0), told),
    }


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
