"""The causes as rows beside the anomalies: which connections the second pass goes through, and what it corrects.

They are taken in groups, so that what the pass keeps of them stays small whatever the capture; each group's rows are found
once for all groups, so that the time is that of the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.decode.segment import OPTION_SACK_PERMITTED
from analyzer.flows.connection import KNOWN_SYN, KNOWN_SYN_ACK
from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.causes import NEEDLESS, Cause, Evidence
from analyzer.tracker.icmp import Effect
from analyzer.tracker.outstanding import ENTRY, MOST_ENTRIES, RECORD, SEEN, UNKNOWN, Sent
from analyzer.tracker.recovery import MOST_EDGES, NO_NUMBER, RECOVERY
from analyzer.tracker.retransmissions import DAMAGED, SOUGHT, TOO_BIG, Sought, count_rows, explain, gather_rows

if TYPE_CHECKING:
    from analyzer.flows.connection import Connections
    from analyzer.tracker.packets import OptionColumns, PacketColumns

Rows = npt.NDArray[Any]

CAUSE = np.dtype(
    [
        ("anomaly", np.int64),  # the row of the anomalies that this says more of
        ("waited_ns", np.int64),  # -1: not known
        ("rto_ns", np.int64),  # 0: none
        ("sacked", np.int64),  # octets
        ("duplicate_acks", np.uint32),
        ("frame", np.uint32),  # of the evidence; 0 none
        ("cause", np.uint8),  # causes.Cause
        ("evidence", np.uint8),  # causes.Evidence
        ("told", np.uint8),  # bool: what the sender had been told was looked at
    ],
    align=True,
)

MOST_ROWS = 1 << 18  #: rows with text of one group's connections, unless it is a single one
MOST_FLOWS = 1 << 14

_NEEDLESS = np.array([NEEDLESS.get(cause, cause) for cause in Cause], np.uint8)
_TOLD = np.isin(np.arange(len(Cause)), [*NEEDLESS, *NEEDLESS.values()])


def no_causes() -> Rows:
    """No rows."""
    return np.zeros(0, CAUSE)


def explained(
    anomalies: Rows,
    icmp: Rows,
    columns: PacketColumns,
    options: OptionColumns,
    connections: Connections,
    first_row: int,
    end_row: int,
    *,
    corrects_ends: bool,
) -> Rows:
    """Say why each segment came again; corrects kinds, details and related frames of the anomalies in place.

    Parameters
    ----------
    anomalies : array of ANOMALY, icmp : array of ICMP
        The log's, in their order.
    columns : PacketColumns, options : OptionColumns
        Of all packets.
    connections : Connections
        Their handshakes' times and options; and what each end sent again, which is corrected if ``corrects_ends``.
    first_row, end_row : int
        The packets that may be looked at; what was before is not known.

    Returns
    -------
    array of CAUSE
        In order of anomalies.
    """
    kinds = anomalies["kind"]
    what = np.zeros(256, np.uint8)
    for kind, bit in SOUGHT.items():
        what[kind] = bit
    what = what[kinds]
    wanted = np.unique(anomalies["flow"][what != 0])
    copies = np.flatnonzero(kinds == Kind.COPIES)
    if not len(wanted) and not len(copies):
        return no_causes()
    what[(kinds == Kind.BAD_CHECKSUM) & (anomalies["detail"] == Detail.NONE)] = DAMAGED
    what[icmp["anomaly"][np.isin(icmp["effect"], (Effect.PATH_MTU, Effect.PATH_MTU_AGAIN))]] = TOO_BIG
    sent = Sent(**{name: getattr(columns, name) for name in Sent._fields})
    found = [_of_copies(copies)]
    if len(wanted):
        rank = _rank(wanted, int(connections.counts[0]))
        mine = np.flatnonzero(what)
        mine = mine[rank[anomalies["flow"][mine]] >= 0]
        chosen = _chosen(wanted, rank, sent, first_row, end_row)
        group = chosen.group[rank[anomalies["flow"][mine]]]
        mine = mine[np.lexsort((anomalies["frame"][mine], group))]
        parts = np.split(mine, np.searchsorted(np.sort(group), np.arange(1, len(chosen.rows))))
        for number, part in enumerate(parts):
            of, records = _explain(anomalies[part], what[part], chosen, number, sent, options, connections)
            its, of = part[of >= 0], of[of >= 0]
            _correct(anomalies, its, records[of], connections.ends if corrects_ends else None)
            found.append(_rows(its, records[of]))
    causes = np.concatenate(found)
    return causes[np.argsort(causes["anomaly"], kind="stable")]


def _rank(flows: Rows, count: int) -> Rows:
    """Of each connection which of the chosen it is; -1 of the others."""
    rank = np.full(count, -1, np.int32)
    rank[flows] = np.arange(len(flows), dtype=np.int32)
    return rank


class Chosen(NamedTuple):
    """The connections that are gone through, in groups."""

    flows: Rows
    rank: Rows  #: of each flow of all which of these it is, -1 none
    group: Rows  #: of each of these its group, ascending
    taking: Rows  #: of each of their directions how many rows take sequence numbers
    rows: list[Rows]  #: of each group its rows of the packets


def _chosen(flows: Rows, rank: Rows, sent: Sent, first_row: int, end_row: int) -> Chosen:
    """Cut the chosen connections into groups of some, and of so many rows; find their rows, once for all groups."""
    rows, taking = np.zeros(len(flows), np.int64), np.zeros(2 * len(flows), np.int64)
    count_rows(first_row, end_row, sent, rank, rows, taking)
    cut = np.maximum(np.cumsum(taking.reshape(-1, 2).sum(axis=1)) // MOST_ROWS, np.arange(len(flows)) // MOST_FLOWS)
    group = np.cumsum(np.append(False, cut[1:] != cut[:-1]))
    of_groups = np.bincount(group, rows).astype(np.int64)
    places = np.cumsum(of_groups) - of_groups
    found = np.empty(int(of_groups.sum()), np.uint32)
    gather_rows(first_row, end_row, sent, rank, group, places, found)  # leaves in places where each group's end
    return Chosen(flows, rank, group, taking, np.split(found, places[:-1]))


def _explain(
    anomalies: Rows,
    what: Rows,
    chosen: Chosen,
    number: int,
    sent: Sent,
    options: OptionColumns,
    connections: Connections,
) -> tuple[Rows, Rows]:
    """Run the pass over a group; of each anomaly its record, -1 none, and the records."""
    first, end = np.searchsorted(chosen.group, (number, number + 1))
    ways = _ways(chosen.flows[first:end], connections)
    ways["room"] = np.clip(2 * chosen.taking[2 * first : 2 * end], 1, MOST_ENTRIES)
    ways["place"] = np.cumsum(ways["room"]) - ways["room"]
    entries = np.empty(int(ways["room"].sum()), ENTRY)
    blocks = np.zeros((len(ways), MOST_EDGES), np.int64)
    time_ns, flow, endpoint = (np.ascontiguousarray(anomalies[name]) for name in ("time_ns", "flow", "endpoint"))
    frame = anomalies["frame"].astype(np.int64)
    sought = Sought(frame, time_ns, flow, endpoint, what, np.zeros(len(frame), np.int64))
    records = np.empty(len(np.unique(frame)), RECORD)
    rows = chosen.rows[number]
    count = explain(rows, sent, options, chosen.rank, int(first), ways, blocks, entries, sought, records, 0)
    return sought.record - 1, records[:count]


def _ways(flows: Rows, connections: Connections) -> Rows:
    """Begin with whether SACK was agreed, as far as the SYNs were seen."""
    ways = np.zeros(2 * len(flows), RECOVERY)
    for name in ("next", "window", "ip_id", "near_ns"):
        ways[name] = -1
    ways["una"] = NO_NUMBER
    ends = connections.ends[np.stack((2 * flows, 2 * flows + 1), axis=1)]
    without = (ends["known"] & (KNOWN_SYN | KNOWN_SYN_ACK) != 0) & (ends["options"] & OPTION_SACK_PERMITTED == 0)
    ways["sack"] = np.repeat(~without.any(axis=1), 2)
    return ways


def _correct(anomalies: Rows, at: Rows, records: Rows, ends: Rows | None) -> None:
    """Correct what the replay could only guess: late or sent again; kept alive or probed; seen before or not."""
    old, detail, endpoint = (anomalies[name][at] for name in ("kind", "detail", "endpoint"))
    text = (old == Kind.RETRANSMISSION) | (old == Kind.OUT_OF_ORDER)
    cause, seen = records["cause"], records["seen"]
    kind = np.where(text & (seen != UNKNOWN), Kind.RETRANSMISSION, old)
    kind = np.where(text & (cause == Cause.REORDERED) & (seen != SEEN), Kind.OUT_OF_ORDER, kind)
    probe = (text | (old == Kind.KEEP_ALIVE)) & (cause == Cause.WINDOW_PROBE)
    kind = np.where(probe, Kind.WINDOW_PROBE, kind)
    taken_for_new = text & ((old == Kind.OUT_OF_ORDER) | (detail == Detail.FILLS_HOLE))
    acknowledged = records["needless"].astype(bool) & (records["evidence"] == Evidence.ACKNOWLEDGED)
    before = np.where(acknowledged, Detail.SPURIOUS, np.where(seen == SEEN, Detail.SEEN_BEFORE, Detail.FILLS_HOLE))
    changed = text & ((kind != old) | (taken_for_new & (seen == SEEN))) | probe
    said = np.where(kind == Kind.RETRANSMISSION, before, Detail.NONE)
    anomalies["detail"][at] = np.where(changed, said, detail)
    anomalies["kind"][at] = kind
    related = anomalies["related_frame"][at]
    anomalies["related_frame"][at] = np.where(related == 0, records["first_frame"], related)
    if ends is None:
        return
    place = 2 * anomalies["flow"][at] + endpoint
    more = (kind == Kind.RETRANSMISSION).astype(np.int64) - (old == Kind.RETRANSMISSION)
    np.add.at(ends["retransmitted"], place, more.astype(np.uint32))
    np.add.at(ends["retransmitted_bytes"], place, more * records["octets"])
    np.subtract.at(ends["bytes"], place, records["octets"] * (taken_for_new & (seen == SEEN)))


def _of_copies(at: Rows) -> Rows:
    rows = np.zeros(len(at), CAUSE)
    rows["anomaly"], rows["waited_ns"] = at, -1
    rows["cause"], rows["evidence"] = Cause.COPY, Evidence.IDENTICAL
    return rows


def _rows(at: Rows, records: Rows) -> Rows:
    rows = np.zeros(len(at), CAUSE)
    rows["anomaly"] = at
    for name in ("waited_ns", "rto_ns", "sacked", "duplicate_acks", "frame", "evidence"):
        rows[name] = records[name]
    rows["cause"] = np.where(records["needless"], _NEEDLESS[records["cause"]], records["cause"])
    rows["told"] = _TOLD[rows["cause"]]
    return rows


def compiled() -> None:
    """Run the pass on nothing, so that its kernels are compiled."""
    from analyzer.flows.connection import new_connections
    from analyzer.tracker.log import ANOMALY
    from analyzer.tracker.packets import new_columns, new_options

    columns, none = new_columns(0), np.zeros(0, np.int64)
    sent = Sent(**{name: getattr(columns, name) for name in Sent._fields})
    chosen = _chosen(np.zeros(1, np.int64), np.zeros(1, np.int32), sent, 0, 0)
    _explain(np.zeros(0, ANOMALY), none.astype(np.uint8), chosen, 0, sent, new_options(), new_connections(1))
