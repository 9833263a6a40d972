"""Wireshark's verdicts on each segment (``tcp.analysis.*``), as its two passes over a capture give them.

The rules are those of Wireshark 4.0, epan/dissectors/packet-tcp.c (``tcp_analyze_sequence_number`` and what calls it), with
its default preferences; ``sequence_analysis`` has the ones that compare numbers. The stage goes by Wireshark's streams: it
knows nothing of our flows, states and copies, and they nothing of it. The first pass judges each segment as it comes. What
a second one sees otherwise hangs on SYN-ACKs alone, for only these are held against what the whole first pass has left
behind: ``read_again`` does that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.decode.segment import (
    ACK,
    HEADER_BOGUS,
    HEADER_CUT,
    OPTION_COOKIE,
    OPTION_MPTCP,
    OPTION_MPTCP_KEY,
    OPTION_SACK,
    OPTION_WSCALE,
    SYN,
)
from analyzer.flows import growth
from analyzer.flows.sequence import offset
from analyzer.kernel import kernel, seldom
from analyzer.tracker import sequence_analysis, unacked
from analyzer.tracker.packets import MOST_RTT_NS, PacketColumns, places
from analyzer.tracker.sequence_analysis import (
    AWAITS_RTT,
    BASED,
    FIRST_ACK,
    MULTIPATH,
    REUSED_PORTS,
    SCALED,
    TFO_ACK,
    TFO_IGNORED,
    TFO_SYN,
    UNSCALED,
    WAY,
)

STREAM = np.dtype(
    [
        ("syn_ns", np.int64),  # the most recent SYN; 0 none
        ("first_rtt_ns", np.int64),  # from it to the first segment with ACK and no SYN
        ("operations", np.uint8),  # MPTCP's subtypes so far
        ("fast_open", np.uint8),  # a SYN had a cookie and text
    ],
    align=True,
)

SYN_ACK = np.dtype(
    [
        ("row", np.int64),
        ("stream", np.int32),
        ("seq", np.uint32),
        ("ack", np.uint32),
        ("analysis", np.uint32),  # what the first pass said
        ("side", np.uint8),
    ],
    align=True,
)

_SACK_RANGES = 3  # Wireshark keeps four and never uses the first place
_MPTCP_CAPABLE, _MPTCP_OPERATIONS = 1, 0xFF  # subtypes of the option as bits
_OPTIONS = OPTION_WSCALE | OPTION_SACK | OPTION_COOKIE | OPTION_MPTCP


class Verdicts(NamedTuple):
    """What the stage keeps. counts: [SYN-ACKs]; node_counts as ``unacked`` has them."""

    streams: npt.NDArray[np.void]
    ways: npt.NDArray[np.void]  #: two a stream, by the segment's side
    nodes: npt.NDArray[np.void]
    node_counts: npt.NDArray[np.int64]
    syn_acks: npt.NDArray[np.void]
    counts: npt.NDArray[np.int64]


def new_verdicts() -> Verdicts:
    """Nothing seen yet."""
    nodes, node_counts = unacked.new_nodes()
    return Verdicts(
        np.zeros(0, STREAM), np.zeros(0, WAY), nodes, node_counts, np.zeros(0, SYN_ACK), np.zeros(1, np.int64)
    )


def with_room(verdicts: Verdicts, segments: int, streams: int, ahead: float = 0.0) -> Verdicts:
    """Return it, grown if so many more segments, of so many streams in all, might not fit; ahead as for the connections."""
    have, used = len(verdicts.streams), int(verdicts.counts[0])
    room = growth.room_for(streams, 0, have, ahead)
    syn_acks = growth.room_for(used, segments, len(verdicts.syn_acks), ahead)
    return verdicts._replace(
        streams=growth.grown(verdicts.streams, have, room, zeroed=True),
        ways=growth.grown(verdicts.ways, 2 * have, 2 * room, zeroed=True),
        syn_acks=growth.grown(verdicts.syn_acks, used, syn_acks),
        nodes=unacked.with_room(verdicts.nodes, verdicts.node_counts, segments),
    )


@kernel
def judge(segments: Any, sacks: Any, filled: int, verdicts: Any, found: Any, row: int, copies_too: bool) -> None:
    """First pass: judge the replayed segments of a batch, whose first has this row. A copy is not judged.

    copies_too: whether copies have rows.
    found : Found
        The columns, with room for the batch; a cell is written only where there is something to say.
    """
    for i in range(filled):
        segment = segments[i]
        if segment.quoted:
            continue
        if segment.copy_of:
            row += copies_too
            continue
        fwd = verdicts.ways[2 * segment.stream + segment.side]
        rev = verdicts.ways[2 * segment.stream + 1 - segment.side]
        analysis: Any = np.int64(0)
        if segment.another_stream:
            analysis = np.int64(REUSED_PORTS)
        if segment.flags & SYN:
            analysis |= _begin(segment, fwd, verdicts.nodes)
        fwd.delivered = 0
        acked, flying = 0, np.int64(0)
        if segment.seglen >= 0:
            stream = verdicts.streams[segment.stream]
            analysis, acked, flying = sequence_analysis.analyse(
                segment, fwd, rev, stream, analysis, verdicts.nodes, verdicts.node_counts
            )
        if segment.header_trouble != HEADER_BOGUS:
            if segment.flags & SYN:
                _note_syn(segment, fwd, rev, verdicts.streams)
            elif segment.flags & ACK:
                fwd.marks &= ~FIRST_ACK
                if fwd.marks & AWAITS_RTT:
                    _note_first_ack(segment, fwd, rev, verdicts.streams)
            if segment.options & _OPTIONS or segment.flags & SYN:
                analysis |= _take_options(segment, sacks[i], fwd, rev, verdicts.streams)
        if segment.header_trouble == 0:
            if segment.flags & (SYN | ACK) == SYN | ACK:
                _keep(segment, analysis, row, verdicts)
            if analysis:
                found.analysis[row] = analysis
                found.written[0] = 1
            if acked:
                node = verdicts.nodes[acked - 1]
                found.acks_frame[row] = node.frame
                found.written[1] = found.written[2] = 1
                rtt_ns = segment.time_ns - node.time_ns
                found.rtt[row] = rtt_ns if 0 <= rtt_ns < MOST_RTT_NS else MOST_RTT_NS
                if found.rtt[row] == MOST_RTT_NS:
                    found.long_rtt[row] = rtt_ns / 1e9
                    found.written[4] = 1
            if flying:
                found.bytes_in_flight[row] = flying
                found.written[3] = 1
        row += 1


@kernel
def read_again(verdicts: Any, bases: Any, found: Any) -> None:
    """Second pass, over the SYN-ACKs: bases (2 * streams,) are those of the ways at the end of the first, and change."""
    for i in range(verdicts.counts[0]):
        told = verdicts.syn_acks[i]
        mine, other = 2 * told.stream + told.side, 2 * told.stream + 1 - told.side
        analysis = told.analysis
        if bases[mine] != told.seq:
            bases[mine] = told.seq
            analysis |= REUSED_PORTS
        if offset(told.ack, bases[other]) > 1:
            analysis |= TFO_ACK
        elif verdicts.streams[told.stream].fast_open:
            analysis |= TFO_IGNORED
        if analysis != found.analysis[told.row]:
            found.analysis[told.row] = analysis
            found.written[0] = 1


class Found(NamedTuple):
    """The columns that the stage fills, each zero where there is nothing to say; written: as ``PacketColumns`` has it."""

    analysis: npt.NDArray[np.uint32]
    acks_frame: npt.NDArray[np.uint32]
    rtt: npt.NDArray[np.uint32]
    bytes_in_flight: npt.NDArray[np.uint32]
    long_rtt: npt.NDArray[np.float64]
    written: npt.NDArray[np.uint8]


def found_in(columns: PacketColumns) -> Found:
    """The columns that the stage fills."""
    names = Found._fields[:-1]
    return Found(**{name: getattr(columns, name) for name in names}, written=places(columns, names))


@seldom
def _begin(segment: Any, fwd: Any, nodes: Any) -> int:
    """A SYN in a stream that has its base: the direction is set back to what was sent without a gap, or to a new base."""
    if not fwd.marks & BASED:
        return 0
    if not segment.flags & ACK:
        fwd.next = fwd.most_to_acknowledge
        return 0
    if fwd.base == segment.seq:
        return 0
    fwd.base = segment.seq
    unacked.measure(fwd, nodes)
    return REUSED_PORTS


@seldom
def _note_syn(segment: Any, fwd: Any, rev: Any, streams: Any) -> None:
    stream = streams[segment.stream]
    fwd.marks |= FIRST_ACK
    if not segment.flags & ACK:
        stream.syn_ns = segment.time_ns
        if stream.syn_ns != 0 and stream.first_rtt_ns == 0:
            fwd.marks |= AWAITS_RTT
            rev.marks |= AWAITS_RTT


@seldom
def _note_first_ack(segment: Any, fwd: Any, rev: Any, streams: Any) -> None:
    """The first round trip: what comes out of order within that time is no retransmission."""
    stream = streams[segment.stream]
    stream.first_rtt_ns = segment.time_ns - stream.syn_ns
    if stream.first_rtt_ns != 0:
        fwd.marks &= ~AWAITS_RTT
        rev.marks &= ~AWAITS_RTT


@seldom
def _take_options(segment: Any, sack: Any, fwd: Any, rev: Any, streams: Any) -> int:
    """What the options say of the segments to come; returns what they say of this one."""
    flags, options = segment.flags, segment.options
    stream = streams[segment.stream]
    analysis = 0
    if options & OPTION_WSCALE:
        fwd.scale = SCALED + min(segment.wscale, 14)
    if options & OPTION_SACK:
        for block in range(min(segment.sack_blocks, _SACK_RANGES)):
            fwd.delivered += sack[2 * block + 1] - sack[2 * block]
    if options & OPTION_COOKIE and flags & (SYN | ACK) == SYN:
        analysis = TFO_SYN
        if segment.seglen > 0:
            stream.fast_open = 1
    if segment.header_trouble == HEADER_CUT:
        return analysis
    if flags & SYN:
        if fwd.scale == 0:
            fwd.scale = rev.scale = UNSCALED
        elif flags & ACK and rev.scale == UNSCALED:
            fwd.scale = UNSCALED
    if segment.mptcp:
        if segment.mptcp & ~_MPTCP_CAPABLE or options & OPTION_MPTCP_KEY:
            fwd.marks |= MULTIPATH
            rev.marks |= MULTIPATH
        if fwd.marks & MULTIPATH:
            stream.operations |= segment.mptcp & _MPTCP_OPERATIONS
    return analysis


@seldom
def _keep(segment: Any, analysis: Any, row: int, verdicts: Any) -> None:
    """Remember a SYN-ACK for the second pass."""
    told = verdicts.syn_acks[verdicts.counts[0]]
    verdicts.counts[0] += 1
    told.row, told.stream, told.side = row, segment.stream, segment.side
    told.seq, told.ack, told.analysis = segment.seq, segment.ack, analysis
