"""The frame `flows`, from the rows of the connections and of their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.decode.segment import OPTION_FAST_OPEN, OPTION_MPTCP, OPTION_SACK_PERMITTED, OPTION_TIMESTAMPS
from analyzer.flows.connection import KNOWN_SYN, KNOWN_SYN_ACK
from analyzer.flows.translation import first_sights
from analyzer.frames import columns as c
from analyzer.frames import vocabulary as v
from analyzer.frames.round_trips import round_trips
from analyzer.tracker.anomalies import Kind
from analyzer.tracker.zeek_history import spelled

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.frames.addresses import AddressWords
    from analyzer.tracker.zeek_outcome import Said

Rows = npt.NDArray[np.void]
_SECOND_NS = 1e9


def flows(
    flows: Rows, ends: Rows, pairs: Rows, names: AddressWords, anomalies: Rows, zeek: Said, packets: c.Plan
) -> c.Plan:
    """One row per connection incarnation; see the schema. packets: those that they are made of."""
    rows = len(flows)
    client, server = ends[0::2], ends[1::2]
    place, client_is_a = flows["pair"], flows["client_side"] == 0
    address, port = [
        {
            "client": np.where(client_is_a, pairs[f"a_{what}"][place], pairs[f"b_{what}"][place]),
            "server": np.where(client_is_a, pairs[f"b_{what}"][place], pairs[f"a_{what}"][place]),
        }
        for what in ("address", "port")
    ]
    data: dict[str, Any] = {
        "client": c.addresses(address["client"], names),
        "client_port": port["client"],
        "server": c.addresses(address["server"], names),
        "server_port": port["server"],
        "role_evidence": c.words(flows["role"].view(np.int8), v.ROLE_EVIDENCES),
        "start": c.times(flows["start_ns"]),
        "end": c.times(flows["end_ns"]),
        "duration": (flows["end_ns"] - flows["start_ns"]) / _SECOND_NS,
    }
    sums = {"packets": np.int32, "bytes": np.int64, "retransmitted": np.int32, "retransmitted_bytes": np.int64}
    for name, dtype in sums.items():
        data[f"client_{name}"] = client[name].view(dtype)
        data[f"server_{name}"] = server[name].view(dtype)
    data |= _opening(flows, client, server)
    data |= _closing(flows, client, server)
    data["completeness"] = flows["completeness"]
    data["conn_state"] = c.words(zeek.conn_state, v.CONN_STATES)
    data["history"] = _histories(zeek)
    originator = (zeek.orig_side != flows["client_side"]).astype(np.int8)
    data["originator"] = c.words(np.where(zeek.conn_state < 0, np.int8(-1), originator), v.ENDPOINTS)
    data |= round_trips(np.asarray(packets.data["rtt"]), np.asarray(packets.data["flow"]), rows)
    data["reused_from"] = c.integers(flows["earlier"], flows["earlier"] < 0)
    before = first_sights(flows, ends, pairs)
    data["nat_of"] = c.integers(before, before < 0)
    data |= _counts(anomalies, rows)
    return c.Plan(data, c.numbered(rows, "flow"))


def _opening(flows: Rows, client: Rows, server: Rows) -> dict[str, Any]:
    """How far the handshake came, its times, and what the ends offered."""
    syn, synack, ack = flows["syn_ns"], flows["synack_ns"], flows["ack_ns"]
    data: dict[str, Any] = {
        "handshake": c.words(flows["handshake"].view(np.int8), v.HANDSHAKES),
        "syn_attempts": flows["syn_attempts"].astype(np.int32),
        "synack_attempts": flows["synack_attempts"].astype(np.int32),
    }
    for name in ("open_1", "open_2", "open_3"):
        data[name] = c.frames_or_na(flows[name])
    for end, it in (("client", client), ("server", server)):
        data[f"{end}_isn"] = c.integers(it["isn"], it["known"] & (KNOWN_SYN | KNOWN_SYN_ACK) == 0)
    data["syn_rtt"] = _seconds(syn, synack)
    data["handshake_ack_rtt"] = _seconds(synack, ack)
    data["irtt"] = _seconds(syn, ack)
    opened = {
        end: it["known"] & (KNOWN_SYN | KNOWN_SYN_ACK) != 0 for end, it in (("client", client), ("server", server))
    }
    for end, it in (("client", client), ("server", server)):
        absent = ~opened[end] | (it["mss"] < 0)
        data[f"{end}_mss"] = c.integers(np.where(absent, 0, it["mss"]).astype(np.uint16), absent)
    for end, it in (("client", client), ("server", server)):
        absent = ~opened[end] | (it["wscale"] < 0)
        data[f"{end}_wscale"] = c.integers(np.where(absent, 0, it["wscale"]).astype(np.uint8), absent)
    both, neither = opened["client"] & opened["server"], ~opened["client"]
    options = client["options"] & server["options"]
    data["sack"] = _known(options & OPTION_SACK_PERMITTED != 0, both)
    data["timestamps"] = _known(options & OPTION_TIMESTAMPS != 0, both)
    data["ecn"] = _known(flows["ecn"] == 3, both)
    data["fast_open"] = _known(client["options"] & OPTION_FAST_OPEN != 0, ~neither)
    data["mptcp"] = _known(options & OPTION_MPTCP != 0, both)
    return data


def _closing(flows: Rows, client: Rows, server: Rows) -> dict[str, Any]:
    """How it ended, and both ends' states."""
    data: dict[str, Any] = {
        "close": c.words(flows["close"].view(np.int8), v.CLOSES),
        "closed_by": c.words(flows["closed_by"], v.ENDPOINTS),
    }
    for name in ("close_1", "close_2", "close_3", "close_4"):
        data[name] = c.frames_or_na(flows[name])
    data["client_state"] = c.words(client["state"].view(np.int8), v.STATES)
    data["server_state"] = c.words(server["state"].view(np.int8), v.STATES)
    data["client_path"] = c.factorized(client["path"], _path)
    data["server_path"] = c.factorized(server["path"], _path)
    return data


def _path(packed: int) -> str:
    """States of four bits each (state + 1), the newest lowest, as ``CLOSED>SYN_SENT>...``; empty for an end that never moved."""
    states: list[str] = []
    while packed:
        states.append(v.STATES[(packed & 15) - 1])
        packed >>= 4
    return ">".join(reversed(states))


def _histories(zeek: Said) -> c.Made:
    """Zeek's histories as a categorical. Nearly all have twelve letters at most: one number each."""

    def make() -> pd.Categorical:
        import pandas as pd

        rows = zeek.connections
        codes, found = pd.factorize(rows["first"])
        spellings = [spelled(int(packed), 0) for packed in found]
        longer = np.flatnonzero(rows["second"])
        if len(longer):
            others, _ = pd.factorize(rows["second"][longer])
            longest = rows["long"][longer].astype(np.int64)  # of its own, where it has more letters than the row
            pairs = np.stack([codes[longer], others, longest], axis=1)
            pairs, first_of = np.unique(pairs, axis=0, return_inverse=True)
            codes[longer] = len(spellings) + first_of.reshape(-1)
            _, examples = np.unique(first_of, return_index=True)
            spellings += [zeek.spelled(number) for number in longer[examples].tolist()]
        different = sorted(set(spellings) - {""})
        places = {spelling: place for place, spelling in enumerate(different)} | {"": -1}
        turned = np.array([places[spelling] for spelling in spellings], np.int64)
        return c.words(c.narrow(turned[codes], len(different)), tuple(different))()  # type: ignore[no-any-return]

    return make


def _seconds(start: Any, end: Any) -> Any:
    return np.where((start != 0) & (end != 0), (end - start) / _SECOND_NS, np.nan)


def _known(value: Any, known: Any) -> c.Made:
    return c.booleans(value & known, ~known)


def _counts(anomalies: Rows, rows: int) -> dict[str, Any]:
    """How often each kind of the catalogue is among each flow's anomalies."""
    kinds, flow = anomalies["kind"], anomalies["flow"]
    there = set(np.flatnonzero(np.bincount(kinds, minlength=len(Kind))).tolist()) if len(kinds) else set()
    counts: dict[str, Any] = {}
    for kind, name in enumerate(v.ANOMALY_KINDS):
        if kind in there:
            mine = flow[kinds == kind]
            column = np.bincount(mine[mine >= 0], minlength=rows).astype(np.uint32)
        else:
            column = c.constant(0, rows, np.uint32)
        counts[v.count_column(name)] = column
    return counts
