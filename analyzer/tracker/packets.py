"""The packets' columns, as the replay writes them: each cell once, into arrays that grow with the capture.

Memory is what a large capture costs. So columns that most captures leave empty (VLAN, interface, ...) are *optional*: zero
stands for their usual value, the arrays come zeroed from the system, and a cell is written only where it differs. Pages
that nobody writes are never made. Columns that are 64 bits wide in the frame and whose values fit 32 are *narrow* until
then: each lies at the front of the array that it is widened into. Addresses and ports are their flow's (``packet_ends``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.decode.segment import ACK, OPTION_TIMESTAMPS
from analyzer.flows import growth
from analyzer.flows.sequence import relative
from analyzer.kernel import kernel, seldom


class PacketColumns(NamedTuple):
    """One array a column, row i the i-th segment."""

    time_ns: npt.NDArray[np.int64]
    flow: npt.NDArray[np.int32]
    flag_bits: npt.NDArray[np.uint16]
    seq: npt.NDArray[np.int64]
    ack: npt.NDArray[np.int64]
    raw_seq: npt.NDArray[np.uint32]
    raw_ack: npt.NDArray[np.uint32]
    length: npt.NDArray[np.int32]
    window: npt.NDArray[np.uint32]  #: narrow
    raw_window: npt.NDArray[np.uint16]
    ip_id: npt.NDArray[np.uint16]
    ttl: npt.NDArray[np.uint8]
    tsval: npt.NDArray[np.uint32]
    tsecr: npt.NDArray[np.uint32]
    from_client: npt.NDArray[np.bool_]
    client_state: npt.NDArray[np.int8]
    server_state: npt.NDArray[np.int8]
    client_proven: npt.NDArray[np.bool_]
    server_proven: npt.NDArray[np.bool_]
    step: npt.NDArray[np.int8]  #: marks.Step, -1 none
    # optional: zero is the usual value
    frame_ahead: npt.NDArray[np.int64]  #: frame less row less 1: records that are no segments
    stream_ahead: npt.NDArray[np.int32]  #: stream less flow
    step_repeat: npt.NDArray[np.bool_]
    no_ack: npt.NDArray[np.bool_]
    no_timestamps: npt.NDArray[np.bool_]
    no_ip_id: npt.NDArray[np.bool_]  #: IPv6
    outgoing: npt.NDArray[np.int8]  #: 0 unknown, 1 incoming, 2 outgoing
    vlan: npt.NDArray[np.int16]  #: tag + 1
    tunnel: npt.NDArray[np.uint8]  #: layers.Layer of the innermost one
    truncated: npt.NDArray[np.bool_]
    interface: npt.NDArray[np.int32]  #: capture interface, of several
    ifindex: npt.NDArray[np.int32]  #: SLL2's, + 1
    file: npt.NDArray[np.int32]
    file_frame: npt.NDArray[np.uint32]  #: 0: the frame itself
    copy_of: npt.NDArray[np.int64]  #: frame of the first sight
    analysis: npt.NDArray[np.uint32]  #: Wireshark's verdicts, which ``verdicts`` writes with the three behind
    acks_frame: npt.NDArray[np.uint32]  #: narrow
    rtt: npt.NDArray[np.uint32]  #: narrow: nanoseconds, MOST_RTT_NS where ``long_rtt`` has it
    bytes_in_flight: npt.NDArray[np.uint32]  #: narrow
    long_rtt: npt.NDArray[np.float64]  #: seconds, where ``rtt`` has no room for it
    written: npt.NDArray[np.uint8]  #: (optional columns,): whether there is anything but zero


_DTYPES: dict[str, type[np.generic]] = {
    "time_ns": np.int64, "flow": np.int32, "flag_bits": np.uint16, "seq": np.int64, "ack": np.int64,
    "raw_seq": np.uint32, "raw_ack": np.uint32, "length": np.int32, "window": np.uint32, "raw_window": np.uint16,
    "ip_id": np.uint16, "ttl": np.uint8, "tsval": np.uint32, "tsecr": np.uint32, "from_client": np.bool_,
    "client_state": np.int8, "server_state": np.int8, "client_proven": np.bool_, "server_proven": np.bool_,
    "step": np.int8,
}  # fmt: skip

OPTIONAL: dict[str, type[np.generic]] = {
    "frame_ahead": np.int64, "stream_ahead": np.int32, "step_repeat": np.bool_, "no_ack": np.bool_, "no_timestamps": np.bool_,
    "no_ip_id": np.bool_, "outgoing": np.int8, "vlan": np.int16, "tunnel": np.uint8, "truncated": np.bool_, "interface": np.int32,
    "ifindex": np.int32, "file": np.int32, "file_frame": np.uint32, "copy_of": np.int64, "analysis": np.uint32,
    "acks_frame": np.uint32, "rtt": np.uint32, "bytes_in_flight": np.uint32,
    "long_rtt": np.float64,
}  # fmt: skip

NARROW: dict[str, type[np.generic]] = {
    "window": np.int64, "acks_frame": np.int64, "rtt": np.float64, "bytes_in_flight": np.int64,
}  # fmt: skip
"""What each narrow column is widened to."""

MOST_RTT_NS = int(np.iinfo(np.uint32).max)


# Places in ``written``, in the order of OPTIONAL.
_PLACES = {name: place for place, name in enumerate(OPTIONAL)}
(_FRAME_AHEAD, _STREAM_AHEAD, _STEP_REPEAT, _NO_ACK, _NO_TIMESTAMPS, _NO_IP_ID, _OUTGOING) = range(7)
(_VLAN, _TUNNEL, _TRUNCATED, _INTERFACE, _IFINDEX, _FILE, _FILE_FRAME, _COPY_OF) = range(7, 15)


def new_columns(room: int) -> PacketColumns:
    """Make columns with room for so many rows."""
    return PacketColumns(
        **{name: _room(name, room) for name in (*_DTYPES, *OPTIONAL)}, written=np.zeros(len(OPTIONAL), np.uint8)
    )


def _room(name: str, room: int) -> npt.NDArray[Any]:
    """An array for a column; a narrow one at the front of the wide one."""
    dtype = OPTIONAL.get(name) or _DTYPES[name]
    made = np.zeros if name in OPTIONAL else np.empty
    return made(room, NARROW[name]).view(dtype)[:room] if name in NARROW else made(room, dtype)


def widened(columns: PacketColumns, name: str, rows: int) -> npt.NDArray[Any]:
    """The first rows of a narrow column, 64 bits wide: in place, where it lies in the array for that; it is gone then.

    Round trips are seconds then, NaN where there is none.
    """
    narrow = getattr(columns, name)
    whole = np.empty(rows, NARROW[name]) if narrow.base is None else narrow.base
    wide: npt.NDArray[Any] = whole[:rows]
    if name == "rtt":
        widen_round_trips(narrow, columns.long_rtt, wide)
    else:
        widen(narrow, wide)
    return wide


@kernel
def widen(narrow: Any, wide: Any) -> None:
    """Widen each number; narrow may begin where wide begins, so the last one goes first."""
    for i in range(len(wide) - 1, -1, -1):
        wide[i] = narrow[i]


@kernel
def widen_round_trips(narrow: Any, long_rtt: Any, wide: Any) -> None:
    """Make nanoseconds seconds, NaN of none; as ``widen``."""
    for i in range(len(wide) - 1, -1, -1):
        nanoseconds = narrow[i]
        if nanoseconds == 0:
            wide[i] = np.nan
        elif nanoseconds == MOST_RTT_NS:
            wide[i] = long_rtt[i]
        else:
            wide[i] = nanoseconds / 1e9


def is_written(columns: PacketColumns, name: str) -> bool:
    """Whether an optional column has anything but its usual value."""
    return bool(columns.written[_PLACES[name]])


def places(columns: PacketColumns, names: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """The places in ``written`` of optional columns, which stand next to one another in ``OPTIONAL``."""
    first = _PLACES[names[0]]
    return columns.written[first : first + len(names)]


def grown(columns: PacketColumns, used: int, room: int) -> PacketColumns:
    """Return columns with more room, the first used rows copied; optional ones only where something was written."""
    more = {}
    for name in (*_DTYPES, *OPTIONAL):
        more[name] = _room(name, room)
        if name in _DTYPES or is_written(columns, name):
            more[name][:used] = getattr(columns, name)[:used]
    return columns._replace(**more)


def trimmed(columns: PacketColumns, rows: int) -> PacketColumns:
    """Return columns without room for more; the arrays are shortened in place, and nobody else may have them."""
    short = {}
    for name in (*_DTYPES, *OPTIONAL):
        column: npt.NDArray[Any] = getattr(columns, name)
        whole = column if column.base is None else column.base
        whole.resize(rows, refcheck=False)
        short[name] = whole.view(column.dtype)[:rows] if name in NARROW else whole
    return columns._replace(**short)


def between(columns: PacketColumns, begin: int, end: int) -> PacketColumns:
    """Return the rows from begin up to end, as views; narrow columns copied, for they are not to be widened in place."""
    some = columns._replace(**{name: getattr(columns, name)[begin:end] for name in (*_DTYPES, *OPTIONAL)})
    return some._replace(**{name: getattr(some, name).copy() for name in NARROW})


def taken(columns: PacketColumns, rows: npt.NDArray[np.int64]) -> PacketColumns:
    """Return these rows, copied; each keeps the number of its frame."""
    some = columns._replace(**{name: getattr(columns, name)[rows] for name in (*_DTYPES, *OPTIONAL)})
    some.frame_ahead[:] += rows - np.arange(len(rows))
    some = some._replace(written=columns.written.copy())
    some.written[_FRAME_AHEAD] = 1
    return some


@kernel
def write_rows(segments: Any, filled: int, columns: Any, row: int, copies_too: bool) -> int:
    """Write the replayed segments of a batch from this row on; returns the next free row.

    copies_too: whether copies have rows; what the replay says in them is what it says of the first sight.

    Apart from the replay, because a kernel that hands forty arrays on to its parts spends its time on that.
    """
    for i in range(filled):
        segment = segments[i]
        if segment.quoted:
            continue
        if segment.copy_of:
            if not copies_too:
                continue
            _take_over(segment, columns)
            columns.copy_of[row] = segment.copy_of
            columns.written[_COPY_OF] = 1
        columns.time_ns[row] = segment.time_ns
        columns.flow[row] = segment.flow
        columns.flag_bits[row] = segment.flags
        columns.seq[row] = segment.relative_seq
        columns.ack[row] = segment.relative_ack if segment.flags & ACK else 0
        columns.raw_seq[row] = segment.seq
        columns.raw_ack[row] = segment.ack
        columns.length[row] = segment.length
        columns.window[row] = segment.scaled_window
        columns.raw_window[row] = segment.window
        columns.ip_id[row] = segment.ip_id
        columns.ttl[row] = segment.ttl
        columns.from_client[row] = segment.from_client != 0
        columns.client_state[row] = segment.client_state
        columns.server_state[row] = segment.server_state
        columns.client_proven[row] = segment.client_proven != 0
        columns.server_proven[row] = segment.server_proven != 0
        columns.step[row] = segment.step
        if segment.options & OPTION_TIMESTAMPS:
            columns.tsval[row] = segment.tsval
            columns.tsecr[row] = segment.tsecr
        else:
            columns.tsval[row] = 0
            columns.tsecr[row] = 0
            columns.no_timestamps[row] = True
            columns.written[_NO_TIMESTAMPS] = 1
        if segment.frame != row + 1:
            columns.frame_ahead[row] = segment.frame - row - 1
            columns.written[_FRAME_AHEAD] = 1
        if segment.stream != segment.flow:
            columns.stream_ahead[row] = segment.stream - segment.flow
            columns.written[_STREAM_AHEAD] = 1
        if segment.step_repeat:
            columns.step_repeat[row] = True
            columns.written[_STEP_REPEAT] = 1
        if not segment.flags & ACK:
            columns.no_ack[row] = True
            columns.written[_NO_ACK] = 1
        if segment.version == 6:
            columns.no_ip_id[row] = True
            columns.written[_NO_IP_ID] = 1
        if segment.outgoing >= 0:
            columns.outgoing[row] = segment.outgoing + 1
            columns.written[_OUTGOING] = 1
        if segment.vlan >= 0:
            columns.vlan[row] = segment.vlan + 1
            columns.written[_VLAN] = 1
        if segment.tunnel:
            columns.tunnel[row] = segment.tunnel
            columns.written[_TUNNEL] = 1
        if segment.truncated:
            columns.truncated[row] = True
            columns.written[_TRUNCATED] = 1
        if segment.interface != 0:
            columns.interface[row] = segment.interface
            columns.written[_INTERFACE] = 1
        if segment.ifindex >= 0:
            columns.ifindex[row] = segment.ifindex + 1
            columns.written[_IFINDEX] = 1
        if segment.file != 0:
            columns.file[row] = segment.file
            columns.written[_FILE] = 1
        if segment.file_frame != segment.frame:
            columns.file_frame[row] = segment.file_frame
            columns.written[_FILE_FRAME] = 1
        row += 1
    return row


@kernel
def mark_present(values: Any, present: Any) -> None:
    """Mark each value that there is."""
    for i in range(len(values)):
        present[values[i]] = True


@kernel
def look_up(codes: Any, values: Any, found: Any) -> None:
    """Fill in the code of each value."""
    for i in range(len(values)):
        found[i] = codes[values[i]]


@seldom
def _take_over(segment: Any, columns: Any) -> None:
    """Let a copy say what was said of its first sight."""
    first = segment.copy_row
    segment.flow, segment.from_client = columns.flow[first], columns.from_client[first]
    segment.relative_seq, segment.relative_ack = columns.seq[first], columns.ack[first]
    segment.scaled_window = columns.window[first]
    segment.client_state, segment.client_proven = columns.client_state[first], columns.client_proven[first]
    segment.server_state, segment.server_proven = columns.server_state[first], columns.server_proven[first]
    segment.step, segment.step_repeat = columns.step[first], columns.step_repeat[first]


class OptionColumns(NamedTuple):
    """The rows of segments that carry options worth a row; counts: [rows, SACK edges]."""

    frame: npt.NDArray[np.int64]
    options: npt.NDArray[np.uint16]
    mptcp: npt.NDArray[np.uint16]
    mss: npt.NDArray[np.int32]
    wscale: npt.NDArray[np.int8]
    user_timeout: npt.NDArray[np.int32]
    sack_end: npt.NDArray[np.int32]  #: where the row's edges end in sack
    sack: npt.NDArray[np.int64]  #: relative edges of all rows, left and right by turns
    counts: npt.NDArray[np.int64]


_OPTION_DTYPES: dict[str, type[np.generic]] = {
    "frame": np.int64, "options": np.uint16, "mptcp": np.uint16, "mss": np.int32, "wscale": np.int8,
    "user_timeout": np.int32, "sack_end": np.int32, "sack": np.int64,
}  # fmt: skip
_EDGES = 8


def new_options() -> OptionColumns:
    """Make empty option columns."""
    return OptionColumns(
        **{name: np.empty(0, dtype) for name, dtype in _OPTION_DTYPES.items()}, counts=np.zeros(2, np.int64)
    )


def options_with_room(options: OptionColumns, segments: int, ahead: float = 0.0) -> OptionColumns:
    """Return the option columns, grown if so many more segments might not fit; ahead as for the other arrays."""
    rows, edges = (int(count) for count in options.counts)
    replaced = {}
    for name in _OPTION_DTYPES:
        used, more = (edges, _EDGES * segments) if name == "sack" else (rows, segments)
        old = getattr(options, name)
        replaced[name] = growth.grown(old, used, growth.room_for(used, more, len(old), ahead))
    return options._replace(**replaced)


@seldom
def write_options(segment: Any, sack: Any, you: Any, options: Any) -> None:
    """Write a row of the options; SACK edges are relative to the ISN of the end whose text they name."""
    at, edge = options.counts[0], options.counts[1]
    options.frame[at] = segment.frame
    options.options[at] = segment.options
    options.mptcp[at] = segment.mptcp
    options.mss[at] = segment.mss
    options.wscale[at] = segment.wscale
    options.user_timeout[at] = segment.user_timeout
    for i in range(2 * segment.sack_blocks):
        options.sack[edge] = relative(sack[i], you.isn, you.next)
        edge += 1
    options.sack_end[at] = edge
    options.counts[0] = at + 1
    options.counts[1] = edge
