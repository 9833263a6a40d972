"""Our verdicts held against those of the tshark on this machine: field by field, and where they differ."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.flows.sequence import in_32_bits
from analyzer.frames.vocabulary import ANALYSIS_NAMES
from analyzer.peers.wireshark import fields

if TYPE_CHECKING:
    import pandas as pd

Path = str | os.PathLike[str]

_RTT_TOLERANCE_S = 2e-6
_FRAME, _STREAM = "frame.number", "tcp.stream"
_SEQ, _ACK, _LEN, _WINDOW = "tcp.seq", "tcp.ack", "tcp.len", "tcp.window_size"
_COMPLETENESS, _ACK_RTT = "tcp.completeness", "tcp.analysis.ack_rtt"
_COLUMNS = {"tcp.analysis.acks_frame": "acks_frame", "tcp.analysis.bytes_in_flight": "bytes_in_flight"}
_FLAGS = tuple(f"tcp.analysis.{name}" for name in ANALYSIS_NAMES)
#: What is compared; a flag, a round trip and what is counted in flight where either has it, the rest on each segment.
FIELDS = (_STREAM, _SEQ, _ACK, _LEN, _WINDOW, _COMPLETENESS, *_FLAGS, *_COLUMNS, _ACK_RTT)


class Agreement(NamedTuple):
    """fields: a row a field, with `same`, `of` and `percent`; differences: a row for each, by field and frame."""

    fields: pd.DataFrame
    differences: pd.DataFrame


def agreement(paths: Path | Sequence[Path], packets: pd.DataFrame, flows: pd.DataFrame) -> Agreement:
    """Ask tshark of the same capture and compare.

    Parameters
    ----------
    paths : path
        The one file that the frames come from.
    packets, flows : DataFrame
        The frames, copies kept.

    Raises
    ------
    MissingDependency, CaptureError
        As ``wireshark.fields``.
    """
    import pandas as pd

    theirs = fields(paths, (_FRAME, *FIELDS), "tcp && !icmp && !icmpv6")
    theirs = theirs.set_index(theirs.pop(_FRAME).astype("int64"))
    told = _Told([], [])
    whole = theirs.index[theirs[_SEQ].notna()]
    told.compare("frame.number", packets.index.union(whole), packets.index, theirs.index)
    theirs = theirs[theirs[_STREAM].notna() & theirs[_SEQ].notna() & theirs.index.isin(packets.index)]
    ours = packets.loc[theirs.index]
    stream = theirs[_STREAM].astype("int64")
    told.hold(_STREAM, ours["stream"], stream)
    # A forged SYN opens another stream, with other bases, but no other flow: numbers are held in the flow's first stream.
    first = stream.groupby(ours["flow"].to_numpy()).transform("first") == stream
    told.hold(_SEQ, in_32_bits(ours["seq"]), theirs[_SEQ], first)
    told.hold(_ACK, in_32_bits(ours["ack"]), theirs[_ACK], first & ours["ack"].notna())
    told.hold(_LEN, ours["length"], theirs[_LEN], theirs[_LEN].notna())
    told.hold(_WINDOW, ours["window"], theirs[_WINDOW], first & theirs[_WINDOW].notna())
    analysis = ours["analysis"].to_numpy()
    for bit, field in enumerate(_FLAGS):
        mine, his = pd.Series(analysis >> bit & 1 == 1, ours.index), theirs[field].notna()
        told.hold(field, mine, his, mine | his)
    for field, column in _COLUMNS.items():
        told.hold(field, ours[column], theirs[field], ours[column].notna() | theirs[field].notna())
    rtt = theirs[_ACK_RTT].astype("float64")
    near = (ours["rtt"] - rtt).abs() <= _RTT_TOLERANCE_S
    told.hold(_ACK_RTT, ours["rtt"].where(~near, rtt), rtt, ours["rtt"].notna() | rtt.notna())
    _completeness(told, ours, theirs, stream, flows)
    rows = [(field, same, of, 100 * same / of if of else None) for field, same, of in told.counts]
    differences = pd.concat(told.differences, ignore_index=True)
    return Agreement(pd.DataFrame(rows, columns=["field", "same", "of", "percent"]), differences)


def _completeness(told: _Told, ours: Any, theirs: Any, stream: Any, flows: Any) -> None:
    """One value a stream: tshark's last one, where stream and flow are the same thing."""
    import pandas as pd

    pairs = pd.DataFrame({"stream": stream, "flow": ours["flow"], "value": theirs[_COMPLETENESS]}, index=theirs.index)
    last = pairs.groupby(["stream", "flow"]).tail(1)
    alone = ~(last["stream"].duplicated(keep=False) | last["flow"].duplicated(keep=False)) & last["value"].notna()
    last = last[alone & last["flow"].isin(flows.index)]
    mine = pd.Series(flows["completeness"].reindex(last["flow"]).to_numpy(), last.index)
    told.hold(_COMPLETENESS, mine, last["value"])


class _Told(NamedTuple):
    """What was compared so far."""

    counts: list[tuple[str, int, int]]
    differences: list[pd.DataFrame]

    def hold(self, field: str, ours: Any, theirs: Any, counted: Any = None) -> None:
        """Compare two columns of the same frames."""
        import pandas as pd

        if counted is not None:
            ours, theirs = ours[counted], theirs[counted]
        mine = pd.to_numeric(ours, errors="coerce").astype("Float64")
        his = pd.to_numeric(theirs, errors="coerce").astype("Float64")
        same = ((mine == his).fillna(False) | (mine.isna() & his.isna())).to_numpy(bool)
        self.note(field, ours.index[~same], ours[~same], theirs[~same], int(same.sum()), len(same))

    def compare(self, field: str, every: Any, ours: Any, theirs: Any) -> None:
        """Compare which frames are segments."""
        import pandas as pd

        mine, his = pd.Series(every.isin(ours), every), pd.Series(every.isin(theirs), every)
        same = (mine == his).to_numpy()
        self.note(field, every[~same], mine[~same], his[~same], int(same.sum()), len(same))

    def note(self, field: str, frames: Any, ours: Any, theirs: Any, same: int, of: int) -> None:
        """Count a field, and keep where it differs."""
        import pandas as pd

        self.counts.append((field, same, of))
        row = {"field": field, "frame": np.asarray(frames, np.int64), "ours": _words(ours), "tshark": _words(theirs)}
        self.differences.append(pd.DataFrame(row).astype({"field": "str", "ours": "str", "tshark": "str"}))


def _words(values: Any) -> list[str]:
    return ["-" if str(value) in ("<NA>", "nan", "None") else str(value) for value in values.tolist()]
