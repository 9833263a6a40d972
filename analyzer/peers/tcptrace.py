"""tcptrace's figures of each connection (``tcptrace -lr``), out of our frames: for people who know what they mean there.

tcptrace keeps a list of what each end has sent, piece by piece, and who acknowledged it (its rexmit.c, trace.c, version 6.6.7).
What is below counts as sent again; what comes before a piece that is there already is out of order; an acknowledgement that
ends at a piece's last octet is a round trip, unless the piece, or one before it, was sent again in between. The figures
follow from that list alone, so it is kept here too, with tcptrace's own habits: SYN and FIN are an octet of text, the sequence
space is four quarters with a list for each, and times are whole microseconds.

A connection is a flow of ours, copies left out. tcptrace begins another one after four minutes without a packet, and knows
neither VLAN nor tunnel; where it puts other packets together its figures differ.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from analyzer.decode.segment import ACK, FIN, RST, SYN

if TYPE_CHECKING:
    import pandas as pd

_QUARTER = 30  # bits of a number within its quarter of the sequence space
_SPACE = 4 << _QUARTER
_REMEMBERED = 8  # segments in which a hardware duplicate is sought


def figures(packets: pd.DataFrame) -> pd.DataFrame:
    """Return tcptrace's figures: a row for each end of each flow, under tcptrace's own words with ``_`` for their spaces.

    Round trips are in milliseconds, as printed; NaN where tcptrace prints ``0.0`` for want of one.

    Parameters
    ----------
    packets : DataFrame
        The frame `packets` of an analysis, or the rows of some of its flows.

    Returns
    -------
    DataFrame
        Index ``flow`` and ``endpoint`` (``client``, ``server``).
    """
    import pandas as pd

    columns = ["flow", "from_client", "flag_bits", "raw_seq", "raw_ack", "length", "raw_window"]
    values: list[Any] = [packets[name].tolist() for name in columns]
    times = (packets["time"].astype("int64") // 1000).tolist()
    ids = packets["ip_id"].astype("object").where(packets["ip_id"].notna(), None).tolist()
    copies = packets["copy_of"].notna().tolist()
    ends = {(flow, client): _End() for flow in sorted(set(values[0])) for client in (True, False)}
    for flow, client, flags, seq, ack, length, window, time_us, ip_id, copy in zip(
        *values, times, ids, copies, strict=True
    ):
        if not copy:
            segment = _Segment(flags, seq, ack, length, window, time_us, ip_id)
            _take(segment, ends[flow, client], ends[flow, not client])
    rows = [end.row() for end in ends.values()]
    keys = [(flow, "client" if client else "server") for flow, client in ends]
    index = pd.MultiIndex.from_tuples(keys, names=["flow", "endpoint"]) if keys else None
    return pd.DataFrame(rows, index=index)


@dataclasses.dataclass(slots=True)
class _Segment:
    flags: int
    seq: int
    ack: int
    length: int
    window: int
    time_us: int
    ip_id: int | None


@dataclasses.dataclass(slots=True)
class _Piece:
    """A segment of tcptrace's list: octets sent together, or acknowledged by now."""

    first: int
    last: int
    time_us: int
    retransmissions: int = 0
    acked: bool = False


@dataclasses.dataclass(slots=True)
class _End:
    """What tcptrace keeps of one direction."""

    packets: int = 0
    ack_packets: int = 0
    pure_acks: int = 0
    data_packets: int = 0
    data_bytes: int = 0
    unique_bytes: int = 0
    retransmitted_packets: int = 0
    retransmitted_bytes: int = 0
    probes: int = 0
    probe_bytes: int = 0
    out_of_order: int = 0
    zero_windows: int = 0
    hardware_duplicates: int = 0
    resets: int = 0
    syns: int = 0
    fins: int = 0
    syn: int = 0
    last_window: int = 0
    quarters: list[list[_Piece]] = dataclasses.field(default_factory=lambda: [[], [], [], []])
    there: list[bool] = dataclasses.field(default_factory=lambda: [False] * 4)
    seen: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    rtt_us: list[int] = dataclasses.field(default_factory=list)
    rtt_last_us: int = 0
    handshake_rtt_us: int = 0
    ambiguous: int = 0
    no_sample: int = 0
    cumulative: int = 0

    def row(self) -> dict[str, float]:
        """The figures, in tcptrace's words and order."""
        rtt = [sample / 1000 for sample in self.rtt_us]
        least = 0.0
        for sample in rtt:  # a round trip of 0 is as good as none
            if least == 0 or sample < least:
                least = sample
        average = sum(rtt) / len(rtt) if rtt else math.nan
        return {
            "total_packets": self.packets,
            "ack_pkts_sent": self.ack_packets,
            "pure_acks_sent": self.pure_acks,
            "unique_bytes_sent": self.unique_bytes,
            "actual_data_pkts": self.data_packets,
            "actual_data_bytes": self.data_bytes,
            "rexmt_data_pkts": self.retransmitted_packets,
            "rexmt_data_bytes": self.retransmitted_bytes,
            "zwnd_probe_pkts": self.probes,
            "zwnd_probe_bytes": self.probe_bytes,
            "outoforder_pkts": self.out_of_order,
            "zero_win_adv": self.zero_windows,
            "hardware_dups": self.hardware_duplicates,
            "resets_sent": self.resets,
            "RTT_samples": len(rtt),
            "RTT_min": least if rtt else math.nan,
            "RTT_max": max(rtt, default=math.nan),
            "RTT_avg": average,
            "RTT_from_3WHS": self.handshake_rtt_us / 1000 if self.handshake_rtt_us else math.nan,
            "post-loss_acks": self.no_sample,
            "ambiguous_acks": self.ambiguous,
            "segs_cum_acked": self.cumulative,
        }


def _take(segment: _Segment, me: _End, you: _End) -> None:
    """Take in one packet, as dotrace of trace.c does."""
    flags, length = segment.flags, segment.length
    syn, fin = bool(flags & SYN), bool(flags & FIN)
    window = segment.window if flags & (ACK | SYN) else 0
    me.packets += 1
    me.syns += syn
    me.fins += fin
    me.resets += bool(flags & RST)
    if syn:
        me.syn = segment.seq
    if length > 0:
        me.data_packets += 1
        me.data_bytes += length
    if segment.ip_id is not None:
        _look_for_hardware_duplicate(segment, me)
    repeated = 0
    if syn or fin or length > 0:
        repeated = _send(segment, me, you, syn, fin)
    if flags & ACK:
        _acknowledge(segment, you)
        if segment.ack == (you.syn + 1) % _SPACE and you.syns == 1:
            you.handshake_rtt_us = you.rtt_last_us
        me.ack_packets += 1
    if repeated > 0:
        me.retransmitted_packets += 1
        me.retransmitted_bytes += repeated
    if flags & RST:
        return  # its window says nothing
    me.last_window = window
    if flags & ACK:
        me.zero_windows += window == 0
        me.pure_acks += length == 0 and not syn and not fin


def _look_for_hardware_duplicate(segment: _Segment, me: _End) -> None:
    """The same number and IP ID as one of the last segments."""
    key = (segment.seq, segment.ip_id or 0)
    if key in me.seen and key[0] and key[1]:
        me.hardware_duplicates += 1
        return
    me.seen = [*me.seen[1 - _REMEMBERED :], key]


def _send(segment: _Segment, me: _End, you: _End, syn: bool, fin: bool) -> int:
    """Put the segment's octets into the list; returns how many of them were there before."""
    if you.last_window == 0 and you.packets > 0:
        me.probes += 1
        me.probe_bytes += segment.length
        return 0
    length = segment.length + syn + fin
    repeated, out_of_order = 0, False
    first, left = segment.seq, length
    while left > 0:
        quarter = first >> _QUARTER
        here = min(left, ((quarter + 1) << _QUARTER) - first)
        known, early = _add(_pieces(me, quarter), first, here, segment.time_us)
        repeated, out_of_order = repeated + known, out_of_order or early
        first, left = (first + here) % _SPACE, left - here
    me.out_of_order += out_of_order
    counted = repeated - (syn and me.syns > 1) - (fin and me.fins > 1)
    me.unique_bytes += max(segment.length - counted, 0)
    return repeated


def _pieces(end: _End, quarter: int) -> list[_Piece]:
    """The list of a quarter of the sequence space; the opposite one is forgotten (whichquad)."""
    opposite, before, after = (quarter + 2) % 4, (quarter + 3) % 4, (quarter + 1) % 4
    if end.there[opposite]:
        end.quarters[opposite] = []
        end.there[opposite] = False
    end.there[quarter] = end.there[before] = end.there[after] = True
    return end.quarters[quarter]


def _add(pieces: list[_Piece], first: int, length: int, time_us: int) -> tuple[int, bool]:
    """Put octets into a list (addseg): how many were there, and whether they came too late."""
    last = first + length - 1
    known, out_of_order, divided = 0, False, False
    at = len(pieces) if pieces and first > pieces[-1].last else 0
    while at < len(pieces):
        piece = pieces[at]
        if first > piece.last:
            at += 1
            continue
        if first < piece.first:
            out_of_order |= last < piece.last
            pieces.insert(at, _Piece(first, min(last, piece.first - 1), time_us))
            if last < piece.first:
                return known, out_of_order
            first = piece.first
            at += 1
        piece.retransmissions += 1
        if not divided:
            piece.time_us = time_us
        if last <= piece.last:
            return known + last - first + 1, out_of_order
        divided = True
        known += piece.last - first + 1
        first = piece.last + 1
        at += 1
    pieces.append(_Piece(first, last, time_us))
    return known, out_of_order


def _acknowledge(segment: _Segment, end: _End) -> None:
    """Take in an acknowledgement of what the end has sent (ack_in)."""
    ack, now_us = segment.ack, segment.time_us
    pieces = _pieces(end, ack >> _QUARTER)
    previous = end.quarters[((ack >> _QUARTER) + 3) % 4]
    newest_us = 0
    for piece in previous:
        if not piece.acked:
            piece.acked = True
            end.cumulative += 1
            newest_us = max(newest_us, piece.time_us)
    _collapse(previous)
    for piece in pieces:
        if ack <= piece.first:
            break
        newest_us = max(newest_us, piece.time_us)
        if piece.acked:
            continue
        piece.acked = True
        if ack != piece.last + 1:
            end.cumulative += 1
        elif newest_us > piece.time_us:  # something before it was sent again after it
            end.rtt_last_us = 0
            end.no_sample += 1
        elif piece.retransmissions:
            end.rtt_last_us = 0
            end.ambiguous += 1
        else:
            end.rtt_last_us = now_us - piece.time_us
            end.rtt_us.append(end.rtt_last_us)
    _collapse(pieces)


def _collapse(pieces: list[_Piece]) -> None:
    """Make one of pieces that follow one another and are acknowledged (collapse_quad)."""
    at = 0
    while at + 1 < len(pieces) and pieces[at].acked:
        piece, following = pieces[at], pieces[at + 1]
        if following.acked and piece.last + 1 == following.first:
            piece.last = following.last
            piece.time_us = max(piece.time_us, following.time_us)
            del pieces[at + 1]
        else:
            at += 1
