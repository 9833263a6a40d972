"""What is new of a session: the rows of `packets` and `anomalies` that somebody has not had yet, at the cost of these rows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.frames import addresses, packet_frame, row_frames
from analyzer.frames import forged as forged_flows
from analyzer.frames.carried import number_packets, number_rows
from analyzer.frames.columns import made
from analyzer.tracker import explanation, packets
from analyzer.tracker.anomalies import WITHDRAWN, Detail, Kind
from analyzer.tracker.packet_ends import ends_of_some

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.capture.records import CaptureInfo
    from analyzer.frames.tracking import Tracking

Rows = npt.NDArray[Any]

_LOOKED_BACK = 1 << 16  # packets that a live session looks through for the causes of what is new


class NewAnomalies(NamedTuple):
    """Rows of the log that are new, and what belongs to them."""

    rows: Rows
    icmp: Rows
    causes: Rows
    moved: tuple[Rows, Rows] | None  #: where the flows of forged SYNs belong


@dataclasses.dataclass(slots=True, eq=False)  # two that have come as far are still two
class Reader:
    """How far somebody has come who asks for ``Tracking.news``; ``Tracking.readers`` are kept right when rows go."""

    segments: int = 0
    troubles: int = 0
    missed: int = 0  #: segments that went before they were asked for


def new_frames(tracking: Tracking, info: CaptureInfo, reader: Reader) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make the rows of `packets` and `anomalies` that a reader has not had yet.

    The cost is that of the new rows. Their categories are these rows' own; what only the end shows is not among them,
    nor which segments ICMP errors quote, nor that what was sent again turns out later to have been needless.
    """
    segments, troubles = reader.segments, reader.troubles
    reader.segments, reader.troubles = tracking.rows, int(tracking.log.counts[1])
    columns = packets.between(tracking.columns, segments, tracking.rows)
    new = new_anomalies(tracking, troubles)
    count = tracking.rows - segments
    ends = ends_of_some(columns, count, tracking.connections.flows, tracking.table.pairs)
    known = np.unique(np.concatenate([ends.source, ends.destination, new.icmp["reporter"]]))
    ends = ends.renumbered(known)
    names = addresses.AddressWords(tracking.table.addresses[known])
    new.icmp["reporter"] = np.searchsorted(known, new.icmp["reporter"])
    rows = packet_frame.packets(columns, count, ends, names, info, new.moved, tracking._processes, segments)
    number_packets(rows, tracking)
    return made(rows), made(row_frames.anomalies(new.rows, new.icmp, new.causes, names, info))


def new_anomalies(tracking: Tracking, troubles: int) -> NewAnomalies:
    """Return the rows of the log that came after so many, and what belongs to them."""
    icmp = tracking.log.icmp[: int(tracking.log.counts[2])]
    icmp = icmp[np.searchsorted(icmp["anomaly"], troubles) :].copy()
    anomalies, causes = _explained(tracking, troubles)
    icmp["anomaly"] -= troubles
    anomalies = said(anomalies, icmp, causes)
    doubtful = (anomalies["kind"] == Kind.BAD_CHECKSUM) & (anomalies["detail"] == Detail.NO_RIGHT_ONE)
    anomalies["related_frame"][doubtful] = 0  # whose it is: that is not decided yet
    moved = tracking.moved()
    if moved is not None:
        forged_flows.move(anomalies, moved)
    number_rows(anomalies, tracking)
    return NewAnomalies(anomalies, icmp, causes, moved)


def _explained(tracking: Tracking, troubles: int) -> tuple[Rows, Rows]:
    """The anomalies behind so many, copied, and their causes, as far as the last ``_LOOKED_BACK`` packets show them."""
    kept = tracking.log.anomalies[: int(tracking.log.counts[1])]
    if tracking.rows == 0:
        return kept[troubles:].copy(), explanation.no_causes()
    first_row = max(tracking.rows - _LOOKED_BACK, 0)
    since = min(troubles, int(np.searchsorted(kept["frame"], first_row + tracking.columns.frame_ahead[first_row] + 1)))
    anomalies, icmp = kept[since:].copy(), tracking.log.icmp[: int(tracking.log.counts[2])]
    icmp = icmp[np.searchsorted(icmp["anomaly"], since) :].copy()
    icmp["anomaly"] -= since
    whole = (tracking.columns, tracking.options, tracking.connections)
    causes = explanation.explained(anomalies, icmp, *whole, first_row, tracking.rows, corrects_ends=False)
    causes = causes[causes["anomaly"] >= troubles - since]
    causes["anomaly"] -= troubles - since
    return anomalies[troubles - since :], causes


def said(anomalies: Rows, icmp: Rows, causes: Rows) -> Rows:
    """The rows that were not withdrawn; the ICMP errors and the causes are told the places that theirs have now."""
    kept = anomalies["kind"] != WITHDRAWN
    if kept.all():
        return anomalies
    places = np.cumsum(kept) - 1
    for rows in (icmp, causes):
        rows["anomaly"] = places[rows["anomaly"]]
    said: Rows = anomalies[kept]
    return said
