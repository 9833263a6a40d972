"""What is kept of a connection and of its two ends; and the arithmetic of sequence numbers (RFC 9293 section 3.4).

All sequence numbers here are relative to the ISN of the end that sends them, and never wrap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analyzer.tracker.marks import Close, Evidence, Handshake, Role
from analyzer.tracker.states import Event, State
from tests.reference.segment import Options

if TYPE_CHECKING:
    from tests.reference.quality import Unseen
    from tests.reference.zeek import Connection


def distance(number: int, reference: int) -> int:
    """How far a 32-bit number lies ahead of a reference: the shorter way round, -2**31 .. 2**31 - 1."""
    return (number - reference + 2**31) % 2**32 - 2**31


def relative(number: int, base: int, near: int) -> int:
    """Unwrap a 32-bit number: of all it may be, relative to base, the one nearest to near."""
    return near + distance(number, base + near)


def before(number: int) -> int:
    return (number - 1) % 2**32


@dataclass(eq=False)
class Change:
    """A row of the transitions: one end's move. It stays within reach until it is proven or refuted."""

    number: int
    time_ns: int
    frame: int | None  #: None: a timer
    flow: int
    endpoint: int
    old: State
    event: Event
    new: State
    evidence: Evidence
    proven_by: int | None = None
    refuted_by: int | None = None


@dataclass(eq=False)
class End:
    """One end of a connection: 0 the client, 1 the server."""

    endpoint: int
    state: State = State.UNKNOWN
    proven: bool = False
    path: list[State] = field(default_factory=list)
    deadline_ns: int | None = None  #: when its state ends by a timer
    moved_ns: int = 0  #: the time of the segment that last moved it by being sent to it

    isn: int | None = None  #: the base of its numbers: of its SYN, else its first number less one
    isn_before: int | None = None  #: of the SYN-ACK before, which had another one; None: there was none
    frame_before: int | None = None  #: and that one's frame, if it was the one that opens
    syn_frame: int | None = None  #: its last SYN
    next: int = 0  #: the highest number that it sent, plus one
    acked: int = -1  #: the highest acknowledgement that it sent
    contiguous: int = 0  #: all that it sent below this was seen here, or acknowledged
    beyond_hole: tuple[int, int] | None = None  #: and this much behind the first hole
    missing: int = 0  #: octets of it that were neither seen nor acknowledged yet
    unseen: Unseen | None = None  #: what was acknowledged last without its having been seen
    fin: int | None = None  #: the number of its FIN
    fin_frame: int | None = None
    window: int | None = None  #: the last one that it advertised, unscaled
    window_right: int = 0  #: the right edge of the window that it advertised

    sent_syn: bool = False
    sent_syn_ack: bool = False
    spoke: bool = False  #: sent something that is neither SYN, SYN-ACK nor RST
    took_fin: bool = False  #: the peer's FIN has taken effect on it
    missed_fin: bool = (
        False  #: it showed that the peer's FIN has not come: not assumed again before the FIN comes again
    )
    rebased: bool = False  #: its SYN-ACK has another ISN than the one before
    repeated: bool = False  #: its SYN-ACK or FIN came again, and the peer's answer is due again
    options: Options | None = (
        None  #: of the first SYN or SYN-ACK with any that the peer can accept; None before there was one
    )

    # the moves that may be proven or refuted yet
    syn_taken: Change | None = None  #: by the peer's SYN: to LISTEN, or to SYN_RCVD where SYNs cross
    established: Change | None = None
    fin_taken: Change | None = None  #: by the peer's FIN
    fin_acked: Change | None = None  #: by the acknowledgement of its own FIN
    ended: Change | None = None  #: to CLOSED, by an RST, a timer or another incarnation

    packets: int = 0
    bytes: int = 0  #: payload, each octet once
    retransmitted: int = 0
    retransmitted_bytes: int = 0
    last_ns: int = 0

    @property
    def opened(self) -> bool:
        return self.sent_syn or self.sent_syn_ack

    @property
    def wscale(self) -> int | None:
        return self.options.wscale if self.options else None

    @property
    def fast_open(self) -> bool:
        return self.options is not None and self.options.fast_open


@dataclass(eq=False)
class Flow:
    """One incarnation of a connection.

    A time or a frame that is 0 counts as none: frames begin at 1, and no capture is of midnight on 1 January 1970.
    """

    number: int
    pair: Pair
    stream: int
    client_side: int  #: which end of the pair is the client
    role: Role
    earlier: Flow | None  #: the incarnation before it on the same pair
    first_frame: int
    start_ns: int
    end_ns: int
    ends: tuple[End, End] = field(default_factory=lambda: (End(0), End(1)))

    syn_ns: int | None = None  #: the last SYN before the SYN-ACK
    synack_ns: int | None = None
    ack_ns: int | None = None  #: the third segment
    open_1: int | None = None  #: frames
    open_2: int | None = None
    open_3: int | None = None
    close_1: int | None = None
    close_2: int | None = None
    close_3: int | None = None
    close_4: int | None = None
    reset_frame: int | None = None
    syn_attempts: int = 0
    synack_attempts: int = 0
    closed_by: int | None = None

    simultaneous_open: bool = False
    simultaneous_close: bool = False
    refused: bool = False
    reset_early: bool = False  #: after the SYN-ACK and before the third segment
    challenged: bool = False  #: its SYN was answered in an earlier connection's numbers
    copied: bool = False  #: a packet of it was seen again
    forged: bool = False  #: opened by a forged SYN: no connection of its own
    ecn_offered: bool = False
    ecn_agreed: bool = False
    accurate_ecn_offered: bool = False  #: RFC 9768
    accurate_ecn_agreed: bool = False
    zeek: Connection | None = None  #: what Zeek makes of it
    completeness: int = 0  #: Wireshark's bits
    first_bits: int = 0  #: of the first packet, which count once there is a second

    handshake: Handshake | None = None
    close: Close | None = None

    @property
    def client(self) -> End:
        return self.ends[0]

    @property
    def server(self) -> End:
        return self.ends[1]

    def end_on(self, side: int) -> End:
        """The end on this side of the pair."""
        return self.ends[0 if side == self.client_side else 1]

    @property
    def round_trip_ns(self) -> int | None:
        """SYN to third segment, where both were seen."""
        return self.ack_ns - self.syn_ns if self.syn_ns and self.ack_ns else None


Place = tuple[int, int]  #: address and port


@dataclass(eq=False)
class Pair:
    """What connections share that follow one another on the same addresses and ports, and VLAN."""

    version: int
    places: tuple[Place, Place]  #: the lower one first
    newest: Flow | None = None
    joined: Pair | None = None  #: copies showed that its segments belong to that one

    @property
    def root(self) -> Pair:
        return self if self.joined is None else self.joined.root


@dataclass(eq=False)
class Conversation:
    """The same without VLAN, as Wireshark counts streams: its number, and the first number each way."""

    stream: int | None = None
    bases: dict[int, int] = field(default_factory=dict)  #: side of the pair -> base
