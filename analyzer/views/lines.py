"""One line a segment, in tcpdump's manner, with both ends' states behind it.

``16:00:01.000120 10.0.0.1.51234 > 10.0.0.2.80: Flags [S], seq 0, win 65495, length 0   SYN_SENT  LISTEN~  open 1/3``

Times are local, as tcpdump prints them. The client's state stands first, then the server's; ``~`` marks a state that is
assumed: nothing that this end has sent proves it yet. A step in brackets is a repetition. A copy names its first sight.
Anomalies follow a ``!``.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.diagnosis.first_questions import socket_name
from analyzer.views.printable import printable
from analyzer.views.text import paint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd

ASSUMED = "~"
MOST = 5000
"""Live: so many segments that came since the last ones were printed have lines; of more, only the newest."""

_CHUNK = 4096  #: rows turned into Python objects at a time


class PacketLines:
    """Turns rows of `packets` into lines; remembers widths, so that columns stand still while lines are added."""

    def __init__(self, *, color: bool = False, frame_numbers: bool = True, several_flows: bool = True) -> None:
        self._color = color
        self._frames = frame_numbers
        self._flows = several_flows
        self._width = 0

    def of(self, packets: pd.DataFrame, anomalies: pd.DataFrame | None = None) -> Iterator[str]:
        """Yield a line for each row."""
        for begin in range(0, len(packets), _CHUNK):
            chunk = packets.iloc[begin : begin + _CHUNK]
            troubles = _kinds_by_frame(anomalies, chunk)
            left = [_segment(row) for row in _rows(chunk)]
            self._width = max([self._width, *map(len, left)])
            for row, segment in zip(_rows(chunk), left, strict=True):
                yield self._line(row, segment, troubles.get(row.frame, ()))

    def _line(self, row: Any, segment: str, troubles: tuple[str, ...]) -> str:
        parts = [f"{row.frame:>6}"] if self._frames else []
        if self._flows:
            parts.append(f"{row.flow:>4}")
        parts.append(segment.ljust(self._width))
        states = [
            (state + ("" if proven else ASSUMED)).ljust(12)
            for state, proven in ((row.client_state, row.client_proven), (row.server_state, row.server_proven))
        ]
        parts += [paint(state, "state", self._color) for state in states]
        if isinstance(row.step, str):
            parts.append(f"({row.step})" if row.step_repeat else row.step)
        if str(row.copy_of) != "<NA>":
            parts.append(f"copy of {row.copy_of}")
        if troubles:
            parts.append(paint("! " + ", ".join(troubles), "warning", self._color))
        return " ".join(parts).rstrip()


def selected(
    news: Iterable[tuple[pd.DataFrame, pd.DataFrame]], flow: int | None, count: int | None
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield of a session's news the segments of one flow, or all, and no more than so many."""
    for packets, anomalies in news:
        shown = packets if flow is None else packets[packets["flow"] == flow]
        yield (shown if count is None else shown.head(count)), anomalies
        if count is not None:
            count -= len(shown)
            if count <= 0:
                return


def flow_text(number: int, row: Any, packets: pd.DataFrame) -> str:
    """Write one connection: a head line, then a line a segment."""
    client = socket_name(row["client"], row["client_port"])
    server = socket_name(row["server"], row["server_port"])
    head = f"flow {number}: {client} > {server}, handshake {row['handshake']}, close {row['close']}, "
    head += f"now {row['client_state']} / {row['server_state']}"
    return "\n".join([printable(head), *PacketLines(several_flows=False).of(packets)])


def clock(nanoseconds: int) -> str:
    """Write a time as tcpdump does: local, to the microsecond."""
    return f"{_clock(nanoseconds // 1_000_000_000)}.{nanoseconds // 1000 % 1_000_000:06}"


@functools.lru_cache(maxsize=4096)
def _clock(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))


def _rows(chunk: pd.DataFrame) -> Iterator[Any]:
    columns = [
        "time", "flow", "src", "sport", "dst", "dport", "flags", "seq", "ack", "length", "window",
        "client_state", "server_state", "client_proven", "server_proven", "step", "step_repeat", "copy_of",
    ]  # fmt: skip
    return chunk[columns].reset_index().itertuples(index=False, name="Row")


def _segment(row: Any) -> str:
    number = f"{row.seq}:{row.seq + row.length}" if row.length else f"{row.seq}"
    shown = bool(row.length) or any(letter in row.flags for letter in "SFR")
    text = f"{clock(row.time.value)} {row.src}.{row.sport} > {row.dst}.{row.dport}: Flags [{row.flags}]"
    if shown:
        text += f", seq {number}"
    if str(row.ack) != "<NA>":
        text += f", ack {row.ack}"
    return f"{text}, win {row.window}, length {row.length}"


def _kinds_by_frame(anomalies: pd.DataFrame | None, chunk: pd.DataFrame) -> dict[int, tuple[str, ...]]:
    if anomalies is None or not len(anomalies):
        return {}
    frames = anomalies["frame"].to_numpy(np.int64, na_value=-1)
    mine = np.flatnonzero(np.isin(frames, chunk.index.to_numpy()))
    found: dict[int, tuple[str, ...]] = {}
    for frame, kind in zip(frames[mine], anomalies["kind"].iloc[mine], strict=True):
        found[int(frame)] = (*found.get(int(frame), ()), str(kind))
    return found
