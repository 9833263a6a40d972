"""What the tracker writes besides the packets' own columns: state changes and anomalies, a row each, in order of frames."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.flows import growth
from analyzer.kernel import kernel, seldom
from analyzer.tracker.anomalies import Detail, Kind

TRANSITION = np.dtype(
    [
        ("time_ns", np.int64),
        ("flow", np.int32),
        ("frame", np.uint32),  # 0: a timer
        ("proven_by", np.uint32),
        ("refuted_by", np.uint32),
        ("endpoint", np.uint8),
        ("old", np.uint8),
        ("new", np.uint8),
        ("event", np.uint8),
        ("evidence", np.uint8),
    ],
    align=True,
)

ANOMALY = np.dtype(
    [
        ("time_ns", np.int64),
        ("flow", np.int32),
        ("frame", np.uint32),  # 0: no frame of its own
        ("related_frame", np.uint32),
        ("endpoint", np.int8),  # -1: both or neither
        ("kind", np.uint8),
        ("detail", np.uint8),  # anomalies.Detail
    ],
    align=True,
)

ICMP = np.dtype(
    [
        ("anomaly", np.int64),  # the row of the anomalies that this says more of
        ("seq", np.uint32),  # of the quoted segment, as on the wire
        ("mtu", np.uint32),  # that the error tells; 0: none
        ("reporter", np.int32),  # number of its sender's address
        ("interface", np.int32),  # where it was seen, as the packets'
        ("ifindex", np.int32),
        ("version", np.uint8),  # 4: ICMP, 6: ICMPv6
        ("type", np.uint8),
        ("code", np.uint8),
        ("effect", np.uint8),  # icmp.Effect
        ("origin", np.uint8),  # icmp.Origin
    ],
    align=True,
)

#: A segment makes no more rows than these; the arrays have room for them before a batch is replayed.
TRANSITIONS_PER_SEGMENT = 12
ANOMALIES_PER_SEGMENT = 8


class Log(NamedTuple):
    """The growing arrays. counts: [transitions, anomalies, icmp]; icmp has a row for each ICMP error among the anomalies."""

    transitions: npt.NDArray[np.void]
    anomalies: npt.NDArray[np.void]
    counts: npt.NDArray[np.int64]
    icmp: npt.NDArray[np.void]


def new_log() -> Log:
    """Make an empty log."""
    return Log(np.empty(1024, TRANSITION), np.empty(1024, ANOMALY), np.zeros(3, np.int64), np.empty(0, ICMP))


def with_room(log: Log, segments: int, ahead: float = 0.0) -> Log:
    """Return the log, grown if what so many more segments may write might not fit.

    ahead: how many times as many rows the whole capture may have as there are now, where that is known.
    """
    log = log._replace(icmp=_with_room(log.icmp, int(log.counts[2]), segments, ahead))
    return with_room_for(log, segments * TRANSITIONS_PER_SEGMENT, segments * ANOMALIES_PER_SEGMENT, ahead)


def with_room_for(log: Log, transitions: int, anomalies: int, ahead: float = 0.0) -> Log:
    """Return the log, grown if so many more rows of each kind might not fit."""
    return log._replace(
        transitions=_with_room(log.transitions, int(log.counts[0]), transitions, ahead),
        anomalies=_with_room(log.anomalies, int(log.counts[1]), anomalies, ahead),
    )


def _with_room(rows: npt.NDArray[np.void], used: int, more: int, ahead: float) -> npt.NDArray[np.void]:
    # Half as much again as is to come: a timer's row may follow every connection.
    return growth.grown(rows, used, growth.room_for(used, more, len(rows), 1.5 * ahead))


def note_steps(steps: npt.NDArray[np.void], log: Log) -> None:
    """Write where the capture's clock was set back: no connection's doing."""
    for step in steps:
        row = log.anomalies[int(log.counts[1])]
        row["time_ns"], row["flow"], row["frame"], row["related_frame"] = step["time_ns"], -1, step["frame"], 0
        row["endpoint"], row["kind"], row["detail"] = -1, Kind.CLOCK_STEP, Detail.NONE
        log.counts[1] += 1


@seldom
def note(kind: int, detail: int, endpoint: int, related: int, segment: Any, flow: int, log: Any) -> None:
    """Write an anomaly of this segment."""
    at = log.counts[1]
    log.counts[1] = at + 1
    row = log.anomalies[at]
    row.time_ns = segment.time_ns
    row.flow = flow
    row.frame = segment.frame
    row.related_frame = related
    row.endpoint = endpoint
    row.kind = kind
    row.detail = detail


class TransitionColumns(NamedTuple):
    """What the transitions' rows do not hold as a column, an element a row."""

    no_frame: npt.NDArray[np.bool_]  #: a timer
    not_proven: npt.NDArray[np.bool_]
    not_refuted: npt.NDArray[np.bool_]


def transition_columns(transitions: npt.NDArray[np.void]) -> TransitionColumns:
    """Say of each state change what is missing in its row."""
    columns = TransitionColumns(*(np.empty(len(transitions), bool) for _ in range(3)))
    fill_transitions(transitions, columns)
    return columns


@kernel
def fill_transitions(transitions: Any, columns: Any) -> None:
    """Fill in the columns."""
    for i in range(len(transitions)):
        row = transitions[i]
        columns.no_frame[i] = row.frame == 0
        columns.not_proven[i], columns.not_refuted[i] = row.proven_by == 0, row.refuted_by == 0
