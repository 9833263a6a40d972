"""Zeek's connection state and history, to be read beside Zeek's source: the same names, the same order.

TCPSessionAdapter.cc, TCP_Endpoint.cc, TCP_Reassembler.cc, Session.cc, and the scripts conn/main.zeek, conn/inactivity.zeek.
What only raises events or weirds is left out; text is only its edges.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field

from tests.reference.connection import Flow, Pair, before, distance
from tests.reference.segment import ACK, FIN, RST, SYN, Segment

SERVER_PORTS = {
    *(21, 22, 25, 53, 79, 80, 81, 88, 110, 135, 139, 143, 389, 443, 445, 502, 563, 585, 587, 614, 631, 636, 989, 990, 992),
    *(993, 995, 1080, 1434, 1883, 2811, 3128, 3268, 3306, 3389, 5060, 5222, 5223, 5269, 5432, 6379, 6666, 6667, 6668),
    *(6669, 8000, 8080, 8888, 20000),
}  # fmt: skip
INTERACTIVE_PORTS = {21, 22, 23, 513}
SECOND = 10**9
TOO_LARGE_SEQ_DELTA = 1048576
LONGEST_HISTORY = 88  # ours: Zeek has no limit
MOST_BLOCKS = 256  # ours too


class State(enum.IntEnum):
    INACTIVE = 0
    SYN_SENT = 1
    SYN_ACK_SENT = 2
    PARTIAL = 3
    ESTABLISHED = 4
    CLOSED = 5
    RESET = 6

    @property
    def is_handshake(self) -> bool:
        return self <= State.SYN_ACK_SENT


@dataclass(eq=False)
class Reassembler:
    """TCP_Reassembler of one endpoint."""

    last_reassem_seq: int = 1
    trim_seq: int = 1
    top: int = 0  #: upper end of the last block
    blocks: list[tuple[int, int]] = field(default_factory=list)  #: beyond the first hole, in order, none touching
    skip_deliveries: bool = False
    did_eof: bool = False

    @property
    def has_blocks(self) -> bool:
        return self.top > self.trim_seq

    def data_size(self) -> int:
        return max(self.last_reassem_seq - self.trim_seq, 0) + sum(right - left for left, right in self.blocks)

    def insert(self, left: int, right: int) -> None:
        touching = [block for block in self.blocks if block[0] <= right and left <= block[1]]
        others = [block for block in self.blocks if block not in touching]
        if not touching and len(others) >= MOST_BLOCKS:
            after = next((at for at, block in enumerate(others) if block[0] > right), None)
            if after is None:
                others[-1] = (others[-1][0], right)
            else:
                others[after] = (left, others[after][1])
        else:
            others.append(
                (min([left, *(block[0] for block in touching)]), max([right, *(block[1] for block in touching)]))
            )
        self.blocks = sorted(others)

    def deliver(self) -> None:
        while self.blocks and self.blocks[0][0] <= self.last_reassem_seq:
            self.last_reassem_seq = max(self.last_reassem_seq, self.blocks.pop(0)[1])

    def clear_blocks(self) -> None:
        self.blocks = []
        self.top = self.trim_seq


@dataclass(eq=False)
class Endpoint:
    """TCP_Endpoint."""

    side: int
    state: State = State.INACTIVE
    prev_state: State = State.INACTIVE
    start_seq: int = 0
    last_seq: int = 0
    ack_seq: int = 0
    seq_wraps: int = 0
    ack_wraps: int = 0
    fin_seen: bool = False  #: FIN_cnt > 0
    fin_seq: int = 0
    did_close: bool = False
    hist_last: dict[str, int] = field(default_factory=dict)  #: S (and H), F, R
    counts: dict[str, int] = field(default_factory=dict)  #: C, G, T, W
    contents: Reassembler = field(default_factory=Reassembler)

    def relative(self, number: int, wraps: int) -> int:
        """ToRelativeSeqSpace."""
        return (wraps << 32) + number - self.start_seq

    @property
    def last(self) -> int:
        return self.relative(self.last_seq, self.seq_wraps)

    @property
    def acked(self) -> int:
        return self.relative(self.ack_seq, self.ack_wraps)

    @property
    def no_data_acked(self) -> bool:
        return self.acked in (0, 1)

    @property
    def is_clean(self) -> bool:
        return self.state is State.ESTABLISHED or (self.state is State.CLOSED and self.prev_state is State.ESTABLISHED)

    def size(self, peer: Endpoint) -> int:
        aborted = self.prev_state is State.SYN_SENT and self.state is State.RESET
        if aborted and peer.state is State.INACTIVE and not self.no_data_acked:
            return 0
        size = max(self.last, self.acked)
        if size != 0:
            size -= 1
        if self.fin_seen and size != 0:
            size -= 1
        return size

    def relative_seq(self, number: int, last: int, wraps: int) -> tuple[int, bool]:
        """get_relative_seq: and whether it underflows."""
        delta = distance(number, last)
        if delta < 0 and wraps and number > last:
            wraps -= 1
        elif delta > 0 and number < last:
            wraps += 1
        if wraps == 0:
            delta = distance(number, self.start_seq)
            return delta, delta < 0
        return self.relative(number, wraps), False

    def data_pending(self, peer: Endpoint) -> bool:
        contents = self.contents
        if contents.skip_deliveries or self.last < contents.last_reassem_seq:
            return False
        if contents.last_reassem_seq not in (self.last - 1, self.last):
            return True
        return self.state is not State.RESET and peer.contents.has_blocks


class Connection:
    """Connection and TCPSessionAdapter."""

    def __init__(self, segment: Segment, side: int) -> None:
        self.ends = (Endpoint(0), Endpoint(1))  #: by side of the pair
        self.orig = self.ends[side]
        self.history = ""
        self.hist_seen: set[tuple[bool, str]] = set()
        self.seen: set[bool] = set()  #: first_packet_seen: of the originator (True), of the responder
        self.is_partial = False
        self.is_active = True
        self.close_deferred = False
        self.finished = False  #: ours: more than an attempt
        self.last_ns = segment.time_ns
        self.inactivity_ns = 60 * SECOND  # udp_inactivity_timeout
        self.expire_timers = [segment.time_ns + 5 * SECOND]
        self.attempt_ns: int | None = None
        self.reset_ns: int | None = None
        self.delete_ns: int | None = None
        if not segment.is_syn and segment.sport in SERVER_PORTS:
            both = segment.dport in SERVER_PORTS
            if not both or (not segment.has(SYN) and segment.sport < segment.dport):
                self.flip_roles()

    @property
    def resp(self) -> Endpoint:
        return self.ends[1 - self.orig.side]

    def flip_roles(self) -> None:
        self.orig = self.resp
        self.seen = {not is_orig for is_orig in self.seen}
        self.is_partial = False
        self.add_history("^", True)

    # ------------------------------------------------------------------------------------------------ time, reuse

    def is_gone(self, now_ns: int) -> bool:
        """Whether one of its timers removed it by now, other than that of a full close."""
        orig, resp = self.orig, self.resp
        if self.attempt_ns is not None and now_ns >= self.attempt_ns:
            self.attempt_ns = None
            attempted = orig.state in (State.SYN_SENT, State.SYN_ACK_SENT) and resp.state is State.INACTIVE
            if attempted and self.is_active:
                return True
        if self.reset_ns is not None and now_ns >= self.reset_ns and self.is_active:
            return True
        if now_ns >= self.last_ns + self.inactivity_ns:
            return True
        if not self.is_active:
            self.expire_timers = []
        timers = self.expire_timers
        while timers and min(timers) <= now_ns:
            fires_ns = min(timers)
            if self.expires(fires_ns):
                return True
            timers[timers.index(fires_ns)] = fires_ns + 6 * SECOND
        return False

    def expires(self, now_ns: int) -> bool:
        """TCPSessionAdapter::ExpireTimer."""
        orig, resp = self.orig, self.resp
        if self.last_ns + 5 * SECOND >= now_ns:
            return False
        states = (orig.state, resp.state)
        if (orig.did_close or resp.did_close) and (
            (orig.did_close and resp.did_close) or State.RESET in states or State.INACTIVE in states
        ):
            return True
        return states == (State.INACTIVE, State.INACTIVE)

    def is_deleted(self, now_ns: int) -> bool:
        return self.delete_ns is not None and now_ns >= self.delete_ns

    def is_reuse(self, segment: Segment) -> bool:
        orig, resp = self.orig, self.resp
        if not segment.has(SYN):
            return False
        conn_orig = orig
        if segment.has(ACK):
            if orig.state is not State.INACTIVE:
                return False
            conn_orig = resp
        if not (orig.did_close or resp.did_close):
            if segment.seq == conn_orig.start_seq:
                return False
            reversed_ = conn_orig.state is State.SYN_ACK_SENT and resp.state is State.INACTIVE
            if not segment.has(ACK) and reversed_ and segment.seq == resp.start_seq:
                return False
        return True

    # ---------------------------------------------------------------------------------------------------- history

    def add_history(self, code: str, is_orig: bool) -> None:
        if len(self.history) < LONGEST_HISTORY:
            self.history += code if is_orig else code.lower()

    def check_history(self, mask: str, code: str, is_orig: bool) -> bool:
        if (is_orig, mask) in self.hist_seen:
            return True
        self.hist_seen.add((is_orig, mask))
        self.add_history(code, is_orig)
        return False

    def scaled_history_entry(self, code: str, end: Endpoint) -> None:
        count = end.counts[code] = end.counts.get(code, 0) + 1
        if re.fullmatch("10*", str(count)):
            self.add_history(code, end is self.orig)

    def update_history(self, segment: Segment, end: Endpoint, rel_seq: int) -> None:
        is_orig = end is self.orig
        control = [flag for flag in (SYN, FIN, RST) if segment.has(flag)]
        if len(control) > 1:
            if segment.has(FIN) and segment.has(RST):
                self.check_history("FIN_RST", "I", is_orig)
            else:
                self.check_history("MULTI_FLAG", "Q", is_orig)
        elif control:
            kind = {SYN: "S", FIN: "F", RST: "R"}[control[0]]
            code = "H" if kind == "S" and segment.has(ACK) else kind
            number = rel_seq + segment.length if kind == "F" else rel_seq
            if self.check_history(kind, code, is_orig) and number != end.hist_last.get(kind, 0):
                self.add_history(code, is_orig)
            end.hist_last[kind] = number
        elif segment.length:
            self.check_history("DATA", "D", is_orig)
        elif segment.has(ACK):
            self.check_history("ACK", "A", is_orig)

    # ---------------------------------------------------------------------------------------------------- segment

    def process(self, segment: Segment, side: int) -> None:
        """TCPSessionAdapter::Process."""
        end, peer = self.ends[side], self.ends[1 - side]
        self.set_partial_status(segment, end is self.orig)
        seg_len = segment.has(SYN) + segment.has(FIN) + (0 if segment.has(RST) else segment.length)
        past = (segment.seq + seg_len) % 2**32
        self.init_endpoint(segment, end, past)
        rel_seq, seq_underflow = end.relative_seq(segment.seq, end.last_seq, end.seq_wraps)
        self.update_history(segment, end, rel_seq)
        boring = segment.has(RST) or peer.state is State.CLOSED or end.state is State.RESET
        if segment.window == 0 and not boring:
            self.scaled_history_entry("W", end)
        if not (self.orig.did_close and self.resp.did_close):
            self.last_ns = segment.time_ns
        if segment.has(FIN):
            end.fin_seen = True
            end.fin_seq = rel_seq + seg_len
        rel_ack = 0
        if segment.has(ACK):
            if peer.state is State.INACTIVE:  # init_peer
                rel_ack = 1
                peer.start_seq = peer.ack_seq = peer.last_seq = before(segment.ack)
            else:
                rel_ack, underflow = peer.relative_seq(segment.ack, peer.ack_seq, peer.ack_wraps)
                if underflow:
                    rel_ack = 0
                elif not segment.has(RST):
                    self.update_ack_seq(segment.ack, peer)
        self.update_last_seq(segment, past, end)
        do_close = self.update_state_machine(segment, end, peer)
        if segment.has(ACK):
            self.ack_received(peer, end, rel_ack)
        self.seen.add(end is self.orig)
        if segment.length and not segment.has(RST) and not seq_underflow and not segment.truncated:
            self.data_sent(end, peer, rel_seq + segment.has(SYN), segment.length)
        self.check_eof(end, peer)
        if do_close:
            self.connection_closed(end, peer)

    def set_partial_status(self, segment: Segment, is_orig: bool) -> None:
        if is_orig:
            if True not in self.seen:
                self.is_partial = not segment.has(SYN) or segment.has(ACK)
        elif False not in self.seen and not self.is_partial:
            self.is_partial = not segment.has(SYN)

    @staticmethod
    def init_endpoint(segment: Segment, end: Endpoint, past: int) -> None:
        seq = segment.seq
        if end.state is State.INACTIVE:
            if segment.has(SYN):
                end.ack_seq = end.start_seq = seq
                end.last_seq = past
            else:
                end.ack_seq = end.start_seq = before(seq)
                end.last_seq = seq
            return
        if not segment.has(SYN):
            return
        if end.state in (State.SYN_SENT, State.SYN_ACK_SENT):
            anew = seq != end.start_seq
        elif end.state in (State.ESTABLISHED, State.PARTIAL):
            anew = True
        else:
            anew = end.state is State.RESET and end.prev_state is State.INACTIVE
        if anew:
            end.ack_seq = end.start_seq = seq
            end.last_seq = past

    @staticmethod
    def update_ack_seq(ack: int, end: Endpoint) -> None:
        delta = distance(ack, end.ack_seq)
        if ack == 0 and delta > TOO_LARGE_SEQ_DELTA:
            return
        if delta > 0:
            end.ack_wraps += ack < end.ack_seq
            end.ack_seq = ack

    def update_last_seq(self, segment: Segment, past: int, end: Endpoint) -> None:
        delta = distance(past, end.last_seq)
        if (segment.has(SYN) or segment.has(RST)) and abs(delta) > TOO_LARGE_SEQ_DELTA:
            return
        if segment.has(FIN) and end.last_seq == (end.start_seq + 1) % 2**32:
            advance = True
        elif end.state is State.RESET:
            return
        else:
            advance = delta > 0
        if advance:
            end.seq_wraps += past < end.last_seq
            end.last_seq = past
        elif segment.length:
            self.scaled_history_entry("T", end)

    # ------------------------------------------------------------------------------------------------------ states

    def set_state(self, end: Endpoint, state: State) -> None:
        peer = self.ends[1 - end.side]
        if state is end.state:
            return
        if not state.is_handshake and end.state.is_handshake and peer.state.is_handshake:
            self.inactivity_ns = 300 * SECOND
        self.finished |= state in (State.PARTIAL, State.ESTABLISHED, State.CLOSED)
        end.prev_state, end.state = end.state, state

    def update_state_machine(self, segment: Segment, end: Endpoint, peer: Endpoint) -> bool:
        """Whether the end closes (do_close)."""
        if end.state is State.INACTIVE:
            return self.update_inactive_state(segment, end, peer)
        if end.state in (State.SYN_SENT, State.SYN_ACK_SENT):
            if segment.has(FIN):
                self.set_state(end, State.CLOSED)
            if segment.has(RST):
                self.set_state(end, State.RESET)
                self.is_active = False
            return segment.has(FIN) or segment.has(RST)
        if end.state in (State.ESTABLISHED, State.PARTIAL):
            return self.update_established_state(segment, end, peer)
        if end.state is State.CLOSED and segment.has(RST) and peer.state is not State.CLOSED:
            self.set_state(end, State.RESET)
            if self.reset_ns is None:
                self.reset_ns = segment.time_ns + 5 * SECOND
            return not end.did_close
        return False

    def update_inactive_state(self, segment: Segment, end: Endpoint, peer: Endpoint) -> bool:
        is_orig = end is self.orig
        if segment.has(SYN) and is_orig:
            self.set_state(end, State.SYN_ACK_SENT if segment.has(ACK) else State.SYN_SENT)
            self.attempt_ns = segment.time_ns + 5 * SECOND
        elif segment.has(SYN):
            if not segment.has(ACK) and peer.state is State.SYN_ACK_SENT and segment.seq == end.start_seq:
                self.is_partial = False
                self.flip_roles()
                self.set_state(peer, State.ESTABLISHED)
                self.seen.add(True)
                is_orig = True
            if peer.state is State.SYN_SENT:
                self.set_state(peer, State.ESTABLISHED)
            self.set_state(end, State.ESTABLISHED)
            if peer.state is not State.PARTIAL:
                self.connection_established(segment, peer)
        do_close = False
        if segment.has(FIN):
            self.set_state(end, State.CLOSED)
            do_close = True
        if segment.has(RST):
            self.set_state(end, State.RESET)
            do_close = True
        if end.state is State.INACTIVE:
            if not is_orig and segment.length == 0 and self.orig.state is State.SYN_SENT:
                pass
            elif segment.has(ACK) and peer.state is State.ESTABLISHED:
                self.set_state(end, State.ESTABLISHED)
                self.is_partial = False
                self.seen.add(is_orig)
            else:
                self.set_state(end, State.PARTIAL)
        return do_close

    def connection_established(self, segment: Segment, orig: Endpoint) -> None:
        """conn/inactivity.zeek."""
        port = segment.sport
        if orig.state is State.INACTIVE and port not in SERVER_PORTS and segment.dport in SERVER_PORTS:
            port = segment.dport
        if port in INTERACTIVE_PORTS:
            self.inactivity_ns = 3600 * SECOND

    def update_established_state(self, segment: Segment, end: Endpoint, peer: Endpoint) -> bool:
        if segment.is_syn and end.state is State.PARTIAL and peer.state is State.INACTIVE:
            self.set_state(end, State.SYN_SENT)
        if segment.has(FIN) and not segment.has(RST):
            self.set_state(end, State.CLOSED)
            if peer.state is State.RESET and peer.prev_state is State.CLOSED:
                self.set_state(peer, State.CLOSED)
        if segment.has(RST):
            self.set_state(end, State.RESET)
            if peer.state is not State.RESET or peer.prev_state is not State.ESTABLISHED:
                self.is_active = False
        return segment.has(FIN) or segment.has(RST)

    # -------------------------------------------------------------------------------------------------- reassembly

    def data_sent(self, end: Endpoint, peer: Endpoint, seq: int, length: int) -> None:
        """TCP_Reassembler::DataSent, NewBlock and BlockInserted."""
        contents = end.contents
        upper = seq + length
        seq = max(seq, end.acked)
        if contents.skip_deliveries or upper <= seq:
            return
        if upper > contents.trim_seq:
            contents.top = max(contents.top, upper)
            self.new_block(end, peer, max(seq, contents.trim_seq), upper)
        undelivered = contents.top - contents.last_reassem_seq if contents.has_blocks else 0
        if end.no_data_acked and undelivered > 16384:
            contents.clear_blocks()
            contents.skip_deliveries = True
        if contents.data_size() > 10 * 1024 * 1024:
            contents.clear_blocks()
            contents.skip_deliveries = True

    def new_block(self, end: Endpoint, peer: Endpoint, left: int, right: int) -> None:
        contents = end.contents
        if left > contents.last_reassem_seq:
            contents.insert(left, right)
            return
        if right > contents.last_reassem_seq:
            contents.last_reassem_seq = right
            contents.deliver()
        elif left != contents.last_reassem_seq:
            return
        if end.no_data_acked and end.size(peer) > 16384:
            contents.trim_seq = max(contents.trim_seq, contents.last_reassem_seq)

    def ack_received(self, end: Endpoint, peer: Endpoint, seq: int) -> None:
        contents = end.contents
        if end.fin_seen and seq >= end.fin_seq:
            seq = end.fin_seq - 1
        if seq <= contents.trim_seq:
            return
        if seq > contents.last_reassem_seq and not (seq <= 2 and self.is_partial):
            self.undelivered(end, peer, seq)
        contents.blocks = [block for block in contents.blocks if block[1] > seq]
        contents.deliver()
        contents.trim_seq = seq
        self.check_eof(end, peer)

    def undelivered(self, end: Endpoint, peer: Endpoint, up_to: int) -> None:
        contents = end.contents
        if not contents.skip_deliveries:
            while contents.blocks and contents.blocks[0][0] < up_to:
                self.gap(end, peer)
                contents.last_reassem_seq = contents.blocks[0][0]
                contents.deliver()
            if up_to > contents.last_reassem_seq:
                self.gap(end, peer)
        contents.last_reassem_seq = max(contents.last_reassem_seq, up_to)

    def gap(self, end: Endpoint, peer: Endpoint) -> None:
        if end.is_clean and peer.is_clean:
            self.scaled_history_entry("G", end)

    def check_eof(self, end: Endpoint, peer: Endpoint) -> None:
        contents = end.contents
        if contents.did_eof or not (end.fin_seen or end.state in (State.CLOSED, State.RESET)):
            return
        if end.data_pending(peer):
            return
        contents.did_eof = True
        if self.close_deferred:  # EndpointEOF
            self.connection_closed(end, peer)
            self.close_deferred = False

    def connection_closed(self, end: Endpoint, peer: Endpoint) -> None:
        if end.data_pending(peer):
            self.close_deferred = True
            return
        self.close_deferred = False
        if end.did_close:
            return
        end.did_close = True
        if end.state is State.RESET or peer.did_close or peer.state is State.INACTIVE:  # close_complete
            self.attempt_ns = self.reset_ns = None
            self.expire_timers = []
            self.delete_ns = self.last_ns + 5 * SECOND
            nothing = end.prev_state is State.INACTIVE and peer.state is State.INACTIVE
            if not nothing and end.state is not State.RESET:  # gen_event: ConnectionFinished
                self.is_active = False
        elif end.prev_state is not State.INACTIVE:
            self.expire_timers.append(self.last_ns + 6 * SECOND)

    # ---------------------------------------------------------------------------------------------------- conn.log

    @property
    def conn_state(self) -> str:
        """conn/main.zeek."""
        os, rs = self.orig.state, self.resp.state
        o_inactive = os in (State.INACTIVE, State.PARTIAL)
        r_inactive = rs in (State.INACTIVE, State.PARTIAL)
        if rs is State.RESET:
            empty = self.orig.size(self.resp) == 0 and self.resp.size(self.orig) == 0
            if os in (State.SYN_SENT, State.SYN_ACK_SENT) or (os is State.RESET and empty):
                return "REJ"
            return "RSTRH" if o_inactive else "RSTR"
        if os is State.RESET:
            if r_inactive:
                return "RSTOS0" if re.fullmatch(r"\^?S[^HAFGIQ]*R.*", self.history) else "OTH"
            return "RSTO"
        if rs is State.CLOSED and os is State.CLOSED:
            return "SF"
        if os is State.CLOSED:
            return "SH" if r_inactive else "S2"
        if rs is State.CLOSED:
            return "SHR" if o_inactive else "S3"
        if os is State.SYN_SENT and rs is State.INACTIVE:
            return "S0"
        if os is State.ESTABLISHED and rs is State.ESTABLISHED:
            return "S1"
        return "OTH"


def followed(connection: Connection | None, segment: Segment, side: int, damaged: bool, now_ns: int) -> Connection:
    """Take a segment of a flow into the connection that the flow's words are of; returns that.

    Where Zeek counts it to another: the first that was more than an attempt is kept. Of a damaged one only a letter is left.
    now_ns: the latest time of any segment so far; Zeek's clock never goes back.
    """
    if connection is None:
        connection = Connection(segment, side)
    elif connection.is_deleted(now_ns) or connection.is_reuse(segment):
        if connection.finished:
            return connection
        connection = Connection(segment, side)
    if damaged:
        connection.scaled_history_entry("C", connection.ends[side])
    else:
        connection.process(segment, side)
    return connection


def find_split(segment: Segment, pair: Pair, latest_ns: int) -> Flow | None:
    """The newest flow of the pair, unless Zeek begins another connection: a reuse, or it has forgotten the one before."""
    flow = pair.newest
    if flow is None or flow.zeek is None:
        return flow
    zeek, now_ns = flow.zeek, segment.time_ns
    another = zeek.is_deleted(max(now_ns, latest_ns)) or zeek.is_gone(now_ns) or zeek.is_reuse(segment)
    return None if another else flow
