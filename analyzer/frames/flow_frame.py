"""The frame `flows`, from the rows of the connections and of their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.frames import columns as c
from analyzer.frames import vocabulary as v
from analyzer.tracker.anomalies import Kind
from analyzer.tracker.flow_columns import AGREED, STEPS, WAITS, FlowColumns
from analyzer.tracker.zeek_history import spelled

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.frames.addresses import AddressWords
    from analyzer.tracker.zeek_outcome import Said

Rows = npt.NDArray[np.void]


def flows(it: FlowColumns, names: AddressWords, anomalies: Rows, zeek: Said, trips: dict[str, c.Array]) -> c.Plan:
    """One row per connection incarnation; see the schema. trips: as ``round_trips`` gives them."""
    rows = len(it.role)
    data: dict[str, Any] = {}
    for end, name in enumerate(v.ENDPOINTS):
        data |= {name: c.addresses(it.address[end], names), f"{name}_port": it.port[end]}
    data |= {
        "role_evidence": c.words(it.role, v.ROLE_EVIDENCES),
        "start": c.times(it.start_ns),
        "end": c.times(it.end_ns),
        "duration": it.duration,
    }
    for what in ("packets", "bytes", "retransmitted", "retransmitted_bytes"):
        data |= {f"{name}_{what}": getattr(it, what)[end] for end, name in enumerate(v.ENDPOINTS)}
    data |= _opening(it)
    data |= _closing(it)
    data["completeness"] = it.completeness
    data["conn_state"] = c.words(zeek.conn_state, v.CONN_STATES)
    data["history"] = _histories(zeek)
    originator = (zeek.orig_side != it.client_side).astype(np.int8)
    data["originator"] = c.words(np.where(zeek.conn_state < 0, np.int8(-1), originator), v.ENDPOINTS)
    data |= trips
    data["reused_from"] = c.integers(it.earlier, it.is_first)
    data["nat_of"] = c.integers(it.twin, it.twin < 0)
    data |= _counts(anomalies, rows)
    return c.Plan(data, c.numbered(rows, "flow"))


def _opening(it: FlowColumns) -> dict[str, Any]:
    """How far the handshake came, its times, and what the ends offered."""
    data: dict[str, Any] = {
        "handshake": c.words(it.handshake, v.HANDSHAKES),
        "syn_attempts": it.syn_attempts,
        "synack_attempts": it.synack_attempts,
    }
    data |= _steps(it, "open_")
    data |= {f"{name}_isn": c.integers(it.isn[end], it.no_isn[end]) for end, name in enumerate(v.ENDPOINTS)}
    data |= dict(zip(WAITS, it.waits, strict=True))
    data |= {f"{name}_mss": c.integers(it.mss[end], it.no_mss[end]) for end, name in enumerate(v.ENDPOINTS)}
    data |= {f"{name}_wscale": c.integers(it.wscale[end], it.no_wscale[end]) for end, name in enumerate(v.ENDPOINTS)}
    for name in ("sack", "timestamps", "ecn", "accurate_ecn", "fast_open", "mptcp"):
        data[name] = c.booleans(it.agreed[AGREED.index(name)], it.unseen[1 if name == "fast_open" else 0])
    return data


def _closing(it: FlowColumns) -> dict[str, Any]:
    """How it ended, and both ends' states."""
    data: dict[str, Any] = {"close": c.words(it.close, v.CLOSES), "closed_by": c.words(it.closed_by, v.ENDPOINTS)}
    data |= _steps(it, "close_")
    data |= {f"{name}_state": c.words(it.state[end], v.STATES) for end, name in enumerate(v.ENDPOINTS)}
    data |= {f"{name}_path": c.factorized(it.path[end], _path) for end, name in enumerate(v.ENDPOINTS)}
    return data


def _steps(it: FlowColumns, which: str) -> dict[str, Any]:
    """The frames of the handshake's or of the close's segments."""
    return {
        name: c.integers(it.steps[place], it.no_step[place])
        for place, name in enumerate(STEPS)
        if name.startswith(which)
    }


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

        rows = zeek.told
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
