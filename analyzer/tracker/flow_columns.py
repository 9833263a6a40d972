"""The columns of the flows: what the rows of the connections and of their ends come to, one pass over them.

The rows are laid out for the replay, which needs all of one connection at once; a column taken out of them would read
every cache line of theirs anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.decode.segment import (
    OPTION_FAST_OPEN,
    OPTION_MPTCP,
    OPTION_MSS,
    OPTION_SACK_PERMITTED,
    OPTION_TIMESTAMPS,
)
from analyzer.flows.connection import KNOWN_SYN, KNOWN_SYN_ACK
from analyzer.flows.translation import first_sights
from analyzer.kernel import kernel, part

STEPS = ("open_1", "open_2", "open_3", "close_1", "close_2", "close_3", "close_4")
WAITS = ("syn_rtt", "handshake_ack_rtt", "irtt")
AGREED = ("sack", "timestamps", "ecn", "mptcp", "accurate_ecn", "fast_open")  # the last one is the client's to ask for
_SECOND_NS = 1e9
_ECN_AGREED, _ACCURATE_AGREED = 3, 12


class FlowColumns(NamedTuple):
    """An element a flow; ``(2, flows)`` of the client and of the server."""

    start_ns: npt.NDArray[np.int64]
    end_ns: npt.NDArray[np.int64]
    duration: npt.NDArray[np.float64]
    client_side: npt.NDArray[np.uint8]
    role: npt.NDArray[np.int8]
    handshake: npt.NDArray[np.int8]
    close: npt.NDArray[np.int8]
    closed_by: npt.NDArray[np.int8]
    completeness: npt.NDArray[np.uint8]
    syn_attempts: npt.NDArray[np.int32]
    synack_attempts: npt.NDArray[np.int32]
    earlier: npt.NDArray[np.int32]
    is_first: npt.NDArray[np.bool_]  #: there is no earlier one
    steps: npt.NDArray[np.uint32]  #: (7, flows): frames, of ``STEPS``
    no_step: npt.NDArray[np.bool_]
    waits: npt.NDArray[np.float64]  #: (3, flows): seconds, of ``WAITS``
    agreed: npt.NDArray[np.bool_]  #: (6, flows): of ``AGREED``
    unseen: npt.NDArray[np.bool_]  #: (2, flows): one of the two SYNs was not seen; the client's was not
    address: npt.NDArray[np.int32]  #: its number
    port: npt.NDArray[np.uint16]
    packets: npt.NDArray[np.int32]
    bytes: npt.NDArray[np.int64]
    retransmitted: npt.NDArray[np.int32]
    retransmitted_bytes: npt.NDArray[np.int64]
    isn: npt.NDArray[np.uint32]
    no_isn: npt.NDArray[np.bool_]
    mss: npt.NDArray[np.uint16]
    no_mss: npt.NDArray[np.bool_]
    wscale: npt.NDArray[np.uint8]
    no_wscale: npt.NDArray[np.bool_]
    state: npt.NDArray[np.int8]
    path: npt.NDArray[np.uint64]
    twin: npt.NDArray[np.int32]  #: of its translation, the one that was seen first; -1 none


_SHAPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("steps", "no_step"), (len(STEPS),)), "waits": (len(WAITS),), "agreed": (len(AGREED),), "unseen": (2,),
    **dict.fromkeys(("address", "port", "packets", "bytes", "retransmitted", "retransmitted_bytes", "isn", "no_isn"), (2,)),
    **dict.fromkeys(("mss", "no_mss", "wscale", "no_wscale", "state", "path"), (2,)),
}  # fmt: skip
_DTYPES: dict[str, type[np.generic]] = {
    "start_ns": np.int64, "end_ns": np.int64, "duration": np.float64, "client_side": np.uint8,
    "role": np.int8, "handshake": np.int8,
    "close": np.int8, "closed_by": np.int8, "completeness": np.uint8, "syn_attempts": np.int32,
    "synack_attempts": np.int32, "earlier": np.int32, "is_first": np.bool_, "steps": np.uint32, "no_step": np.bool_,
    "waits": np.float64, "agreed": np.bool_, "unseen": np.bool_, "address": np.int32, "port": np.uint16,
    "packets": np.int32, "bytes": np.int64, "retransmitted": np.int32, "retransmitted_bytes": np.int64,
    "isn": np.uint32, "no_isn": np.bool_, "mss": np.uint16, "no_mss": np.bool_, "wscale": np.uint8,
    "no_wscale": np.bool_, "state": np.int8, "path": np.uint64,
}  # fmt: skip


def flow_columns(flows: npt.NDArray[np.void], ends: npt.NDArray[np.void], pairs: npt.NDArray[np.void]) -> FlowColumns:
    """The columns of all flows; ``FLOW``, ``END`` and ``PAIR`` are what the rows are."""
    columns = FlowColumns(
        **{name: np.empty((*_SHAPES.get(name, ()), len(flows)), dtype) for name, dtype in _DTYPES.items()},
        twin=first_sights(flows, ends, pairs),
    )
    fill_flows(flows, ends, pairs, columns)
    return columns


@kernel
def fill_flows(flows: Any, ends: Any, pairs: Any, columns: Any) -> None:
    """Fill in the columns."""
    for i in range(len(flows)):
        flow, client, server = flows[i], ends[2 * i], ends[2 * i + 1]
        columns.start_ns[i], columns.end_ns[i] = flow.start_ns, flow.end_ns
        columns.duration[i] = (flow.end_ns - flow.start_ns) / _SECOND_NS
        columns.client_side[i], columns.role[i], columns.handshake[i] = flow.client_side, flow.role, flow.handshake
        columns.close[i], columns.closed_by[i] = flow.close, flow.closed_by
        columns.completeness[i] = flow.completeness
        columns.syn_attempts[i], columns.synack_attempts[i] = flow.syn_attempts, flow.synack_attempts
        columns.earlier[i], columns.is_first[i] = flow.earlier, flow.earlier < 0
        _step(columns, 0, i, flow.open_1)
        _step(columns, 1, i, flow.open_2)
        _step(columns, 2, i, flow.open_3)
        _step(columns, 3, i, flow.close_1)
        _step(columns, 4, i, flow.close_2)
        _step(columns, 5, i, flow.close_3)
        _step(columns, 6, i, flow.close_4)
        columns.waits[0, i] = _seconds(flow.syn_ns, flow.synack_ns)
        columns.waits[1, i] = _seconds(flow.synack_ns, flow.ack_ns)
        columns.waits[2, i] = _seconds(flow.syn_ns, flow.ack_ns)
        client_seen, server_seen = _opened(client), _opened(server)
        both, options = client_seen and server_seen, client.options & server.options
        columns.agreed[0, i] = both and options & OPTION_SACK_PERMITTED != 0
        columns.agreed[1, i] = both and options & OPTION_TIMESTAMPS != 0
        columns.agreed[2, i] = both and flow.ecn & _ECN_AGREED == _ECN_AGREED
        columns.agreed[3, i] = both and options & OPTION_MPTCP != 0
        columns.agreed[4, i] = both and flow.ecn & _ACCURATE_AGREED == _ACCURATE_AGREED
        columns.agreed[5, i] = client_seen and client.options & OPTION_FAST_OPEN != 0
        columns.unseen[0, i], columns.unseen[1, i] = not both, not client_seen
        pair, turned = pairs[flow.pair], 0 if flow.client_side == 0 else 1
        columns.address[turned, i], columns.address[1 - turned, i] = pair.a_address, pair.b_address
        columns.port[turned, i], columns.port[1 - turned, i] = pair.a_port, pair.b_port
        for end in range(2):
            _end(ends[2 * i + end], columns, end, i)


@part
def _end(it: Any, columns: Any, end: int, i: int) -> None:
    columns.packets[end, i], columns.bytes[end, i] = it.packets, it.bytes
    columns.retransmitted[end, i], columns.retransmitted_bytes[end, i] = it.retransmitted, it.retransmitted_bytes
    columns.state[end, i], columns.path[end, i] = it.state, it.path
    opened = _opened(it)
    columns.isn[end, i], columns.no_isn[end, i] = it.isn, not opened
    has_mss, has_wscale = opened and it.options & OPTION_MSS != 0, opened and it.wscale >= 0
    columns.mss[end, i], columns.no_mss[end, i] = it.mss if has_mss else 0, not has_mss
    columns.wscale[end, i], columns.no_wscale[end, i] = it.wscale if has_wscale else 0, not has_wscale


@part
def _opened(it: Any) -> bool:
    """Whether its SYN or SYN-ACK was seen."""
    return it.known & (KNOWN_SYN | KNOWN_SYN_ACK) != 0


@part
def _step(columns: Any, step: int, i: int, frame: Any) -> None:
    columns.steps[step, i], columns.no_step[step, i] = frame, frame == 0


@part
def _seconds(start_ns: int, end_ns: int) -> float:
    return (end_ns - start_ns) / _SECOND_NS if start_ns != 0 and end_ns != 0 else np.nan
