"""Wireshark's verdicts, to be read next to ``tcp_analyze_sequence_number`` and its callers in epan/dissectors/packet-tcp.c.

Names are Wireshark's. A ``Stream`` is a ``struct tcp_analysis``, a ``Way`` a ``tcp_flow_t`` with its ``tcp_analyze_seq_info``,
a ``Unacked`` a ``tcp_unacked_t``, a ``Verdict`` a ``struct tcp_acked``. The first pass (``Wireshark.take``) analyses; the
second (``second_pass``) reads all again with what the first has left behind, and shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.reference.segment import ACK, FIN, RST, SYN, Segment

FLAG_NAMES = (
    "retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order", "reused_ports", "lost_segment",
    "ack_lost_segment", "window_update", "window_full", "keep_alive", "keep_alive_ack", "zero_window_probe", "zero_window",
    "zero_window_probe_ack", "duplicate_ack", "tfo_syn", "tfo_ack", "tfo_ignored",
)  # fmt: skip
MAX_UNACKED_SEGMENTS = 10000
MAX_SACK_RANGES = 4
CLOSING = SYN | FIN | RST


def bits(names: set[str]) -> int:
    """The names as ``packets.analysis`` has them; each kind of retransmission is a retransmission too."""
    shown = set(names)
    if names & {"fast_retransmission", "spurious_retransmission"}:
        shown.add("retransmission")
    return sum(1 << FLAG_NAMES.index(name) for name in shown)


def gt(a: int, b: int) -> bool:
    """GT_SEQ: a is after b, by the sign of the 32-bit difference."""
    return (b - a) % 2**32 >= 2**31


def le(a: int, b: int) -> bool:
    """LE_SEQ, which is not quite ``not gt``: at a distance of 2**31 both hold."""
    return a == b or gt(b, a)


@dataclass
class Unacked:
    frame: int
    seq: int
    nextseq: int
    time_ns: int


@dataclass
class Way:
    """One direction."""

    base_seq: int | None = None
    window: int = 2**32 - 1  #: as on the wire; G_MAXUINT32 before the first
    win_scale: int = -1  #: -1 unknown, -2 not used
    valid_bif: bool = True
    is_first_ack: bool = False
    lastsegmentflags: set[str] = field(default_factory=set)
    mp_operations: set[int] = field(default_factory=set)
    segments: list[Unacked] = field(default_factory=list)  #: the newest last
    lastack: int = 0
    lastacktime: int = 0
    dupacknum: int = 0
    nextseq: int = 0
    nextseqtime: int = 0
    maxseqtobeacked: int = 0
    sack_ranges: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Stream:
    flows: tuple[Way, Way] = field(default_factory=lambda: (Way(), Way()))
    ts_mru_syn: int = 0
    ts_first_rtt: int = 0
    tfo_syn_data: bool = False
    mp_operations: set[int] | None = None  #: None: no mptcp_analysis


@dataclass
class Verdict:
    """What is shown of a segment."""

    segment: Segment
    side: int
    stream: int
    flags: set[str] = field(default_factory=set)
    frame_acked: int = 0
    rtt_ns: int = 0
    bytes_in_flight: int = 0


@dataclass
class Wireshark:
    """Both passes over a capture."""

    streams: dict[int, Stream] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)

    # ------------------------------------------------------------------------------------- dissect_tcp, first pass

    def take(self, segment: Segment, side: int, number: int, another: bool) -> Verdict:
        """Analyse a segment of a stream; another: its SYN opened this one on the ports of an earlier stream."""
        ta = Verdict(segment, side, number)
        self.verdicts.append(ta)
        tcpd = self.streams.setdefault(number, Stream())
        fwd, rev = tcpd.flows[side], tcpd.flows[1 - side]
        if another:
            ta.flags.add("reused_ports")
        elif segment.is_syn and fwd.base_seq is not None:
            fwd.nextseq = fwd.maxseqtobeacked
        if segment.is_syn_ack and fwd.base_seq is not None and segment.seq != fwd.base_seq:
            fwd.base_seq = segment.seq
            ta.flags.add("reused_ports")
        fwd.sack_ranges = []
        if segment.seglen is not None:
            analyze_sequence_number(tcpd, fwd, rev, segment, ta)
        if segment.header_trouble == "bogus":
            return ta
        if segment.is_syn:
            tcpd.ts_mru_syn = segment.time_ns
        if segment.has(SYN):
            fwd.is_first_ack = True
        if segment.has(ACK) and not segment.has(SYN):
            if tcpd.ts_mru_syn and not tcpd.ts_first_rtt:
                tcpd.ts_first_rtt = segment.time_ns - tcpd.ts_mru_syn
            fwd.is_first_ack = False
        self.options(tcpd, fwd, rev, segment, ta)
        return ta

    def options(self, tcpd: Stream, fwd: Way, rev: Way, segment: Segment, ta: Verdict) -> None:
        """tcp_dissect_options, verify_tcp_window_scaling and the MPTCP analysis."""
        options = segment.options
        if options.wscale is not None:
            fwd.win_scale = min(options.wscale, 14)
        if options.sack is not None:
            edges = iter(options.sack)
            fwd.sack_ranges = list(zip(edges, edges, strict=True))[: MAX_SACK_RANGES - 1]
        if options.fast_open_cookie and segment.is_syn:
            ta.flags.add("tfo_syn")
            if segment.seglen:
                tcpd.tfo_syn_data = True
        if segment.header_trouble == "cut":  # an exception ends the dissection
            return
        if segment.has(SYN):
            if fwd.win_scale == -1:
                fwd.win_scale = rev.win_scale = -2
            elif segment.has(ACK) and rev.win_scale == -2:
                fwd.win_scale = -2
        if options.mptcp:
            if tcpd.mp_operations is None and (options.mptcp != {0} or options.mptcp_key):
                tcpd.mp_operations = set()
            if tcpd.mp_operations is not None:
                tcpd.mp_operations |= options.mptcp & set(range(8))

    # ------------------------------------------------------------------------------------------------- second pass

    def second_pass(self) -> None:
        """Read all again: the bases are those that the first pass left behind, a fast open may have come later."""
        bases = {number: [flow.base_seq for flow in tcpd.flows] for number, tcpd in self.streams.items()}
        for ta in self.verdicts:
            segment = ta.segment
            if not segment.is_syn_ack or segment.header_trouble:
                continue
            base = bases[ta.stream]
            if segment.seq != base[ta.side]:
                base[ta.side] = segment.seq
                ta.flags.add("reused_ports")
            if (segment.ack - base[1 - ta.side]) % 2**32 > 1:
                ta.flags.add("tfo_ack")
            elif self.streams[ta.stream].tfo_syn_data:
                ta.flags.add("tfo_ignored")


def analyze_sequence_number(tcpd: Stream, fwd: Way, rev: Way, segment: Segment, ta: Verdict) -> None:
    """tcp_analyze_sequence_number; ``seq`` and ``ack`` as on the wire, and an ``ack`` without its flag is one too."""
    seq, ack, seglen, window = segment.seq, segment.ack, segment.seglen, segment.window
    flags = segment.flags
    if fwd.base_seq is None:
        fwd.base_seq = seq if flags & SYN else (seq - 1) % 2**32
    if rev.base_seq is None and flags & ACK:
        rev.base_seq = (ack - 1) % 2**32
    if flags & ACK:
        rev.valid_bif = True

    forward(tcpd, fwd, rev, segment, ta)
    # finished_fwd:
    if ack != fwd.lastack:
        fwd.dupacknum = 0
    if rev.maxseqtobeacked and gt(ack, rev.maxseqtobeacked) and flags & ACK:
        if gt(rev.nextseq, rev.maxseqtobeacked):
            rev.maxseqtobeacked = rev.nextseq
            ta.flags.add("ack_lost_segment")
        else:
            if rev.dupacknum == 0:
                ta.flags.add("ack_lost_segment")
            rev.dupacknum = 2**32 - 1
    if seglen or flags & (SYN | FIN):
        kind = retransmission_type(tcpd, fwd, rev, segment, ta)
        if kind:
            ta.flags.add(kind)
    # finished_checking_retransmission_type:
    nextseq = (seq + seglen) % 2**32
    if (seglen or flags & (SYN | FIN)) and len(fwd.segments) < MAX_UNACKED_SEGMENTS:
        if flags & (SYN | FIN):
            nextseq = (nextseq + 1) % 2**32
        fwd.segments.append(Unacked(segment.frame, seq, nextseq, segment.time_ns))
    probe = "zero_window_probe" in ta.flags
    if (gt(nextseq, fwd.nextseq) or not fwd.nextseq) and not probe:
        fwd.nextseq = nextseq
        fwd.nextseqtime = segment.time_ns
    if (seq == fwd.maxseqtobeacked or not fwd.maxseqtobeacked) and not probe:
        fwd.maxseqtobeacked = fwd.nextseq
    fwd.window = window
    fwd.lastack = ack
    fwd.lastacktime = segment.time_ns
    if tcpd.mp_operations is not None:
        fwd.mp_operations = set(tcpd.mp_operations)
    fwd.lastsegmentflags = set(ta.flags)
    remove_acked(rev, segment, ta)
    in_flight(fwd, rev, segment, ta)


def forward(tcpd: Stream, fwd: Way, rev: Way, segment: Segment, ta: Verdict) -> None:
    """Down to ``finished_fwd``: what the segment says on its own, against the last ones of its direction."""
    seq, ack, seglen, window = segment.seq, segment.ack, segment.seglen, segment.window
    flags = segment.flags
    if seglen == 1 and seq == fwd.nextseq and rev.window == 0:
        ta.flags.add("zero_window_probe")
        return
    if window == 0 and not flags & CLOSING:
        ta.flags.add("zero_window")
    if fwd.nextseq and gt(seq, fwd.nextseq) and not flags & RST:
        ta.flags.add("lost_segment")
        fwd.valid_bif = False
    if seglen <= 1 and seq == (fwd.nextseq - 1) % 2**32 and not flags & CLOSING:
        ta.flags.add("keep_alive")
    repeated = seglen == 0 and seq == fwd.nextseq and ack == fwd.lastack and not flags & CLOSING
    if repeated and window and window != fwd.window:
        ta.flags.add("window_update")
    scale = 0 if rev.is_first_ack or rev.win_scale == -2 else rev.win_scale
    if (
        seglen > 0
        and rev.win_scale != -1
        and (seq + seglen) % 2**32 == (rev.lastack + (rev.window << scale)) % 2**32
        and not flags & CLOSING
    ):
        ta.flags.add("window_full")
    if repeated and window and window == fwd.window and "keep_alive" in rev.lastsegmentflags:
        ta.flags.add("keep_alive_ack")
        return
    if repeated and not window and not fwd.window and "zero_window_probe" in rev.lastsegmentflags:
        ta.flags.add("zero_window_probe_ack")
        return
    if repeated and window and window == fwd.window:
        if tcpd.mp_operations is not None and tcpd.mp_operations != fwd.mp_operations:
            return
        fwd.dupacknum = 1 if fwd.dupacknum == 2**32 - 1 else fwd.dupacknum + 1
        ta.flags.add("duplicate_ack")


def retransmission_type(tcpd: Stream, fwd: Way, rev: Way, segment: Segment, ta: Verdict) -> str | None:
    """RETRANSMISSION/FAST RETRANSMISSION/OUT-OF-ORDER."""
    seq, seglen = segment.seq, segment.seglen
    not_advanced = bool(fwd.nextseq) and gt(fwd.nextseq, seq)
    if "keep_alive" in ta.flags:
        return None
    if seglen > 1 and (fwd.nextseq - 1) % 2**32 == seq:
        not_advanced = False
    if seglen and rev.lastack and le((seq + seglen) % 2**32, rev.lastack):
        return "spurious_retransmission"
    since_ack = (segment.time_ns - rev.lastacktime) % 2**64
    if not_advanced and rev.dupacknum >= 2 and rev.lastack == seq and since_ack < 20_000_000:
        return "fast_retransmission"
    since_next = (segment.time_ns - fwd.nextseqtime) % 2**64
    threshold = tcpd.ts_first_rtt % 2**64 or 3_000_000
    virtual = 1 if segment.flags & (SYN | FIN) else 0
    if not_advanced and since_next < threshold and fwd.nextseq != (seq + seglen + virtual) % 2**32:
        return "out_of_order"
    return "retransmission" if not_advanced else None


def remove_acked(rev: Way, segment: Segment, ta: Verdict) -> None:
    """Take out what this acknowledges. The list is walked from the newest: of several that end there the oldest counts."""
    ack = segment.ack
    kept = []
    for ual in reversed(rev.segments):
        if ack == ual.nextseq:
            ta.frame_acked, ta.rtt_ns = ual.frame, segment.time_ns - ual.time_ns
            continue
        if gt(ack, ual.seq) and le(ack, ual.nextseq):
            ual.seq = ack
        if gt(ual.nextseq, ack):
            kept.append(ual)
    rev.segments = kept[::-1]


def in_flight(fwd: Way, rev: Way, segment: Segment, ta: Verdict) -> None:
    """The span of what is not acknowledged, less what the other end's SACK blocks name."""
    if not segment.seglen or not fwd.segments or not fwd.valid_bif:
        return
    first = min((ual.seq - fwd.base_seq) % 2**32 for ual in fwd.segments)
    last = max((ual.nextseq - fwd.base_seq) % 2**32 for ual in fwd.segments)
    delivered = sum((right - left) % 2**32 for left, right in rev.sack_ranges)
    flying = (last - first - delivered) % 2**32
    if 0 < flying < 2_000_000_000:
        ta.bytes_in_flight = flying - 1 if segment.flags & (SYN | FIN) else flying
