"""What is kept of one incarnation of a connection, and of each of its ends.

``FLOW`` is a row for each incarnation, ``END`` two for each: ``ends[2 * flow]`` is the client, ``ends[2 * flow + 1]`` the
server. All sequence numbers are relative to the ISN of the end that sends them. Rows are small, for there is one to look
up in main memory for each packet.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.flows import growth

END = np.dtype(
    [
        ("next", np.int64),  # highest number sent as seen here, plus one: SND.NXT
        ("acked", np.int64),  # highest acknowledgement that it sent: its RCV.NXT is at least that; -1 none
        ("contiguous", np.int64),  # all that it sent below this was seen here, or acknowledged by the peer
        ("fin", np.int64),  # the number of its FIN, -1 before
        ("window_right", np.int64),  # the right edge of the window that it advertised: the highest acceptable number
        ("bytes", np.int64),  # payload, each octet once
        ("retransmitted_bytes", np.int64),
        ("deadline_ns", np.int64),  # when its state ends by a timer; 0: never
        ("moved_ns", np.int64),  # the time of the segment that moved it last by being sent to it
        ("last_ns", np.int64),  # the time of its last segment
        ("path", np.uint64),  # its states so far, four bits each (state + 1), the newest lowest
        ("isn", np.uint32),  # the base of its relative numbers
        ("packets", np.uint32),
        ("retransmitted", np.uint32),  # segments
        ("established_row", np.int32),  # rows of the transitions that may be proven or refuted yet; -1: none
        ("fin_row", np.int32),  # ... by the peer's FIN
        ("fin_acked_row", np.int32),  # ... by the acknowledgement of its own FIN
        ("ended_row", np.int32),  # ... to CLOSED by an RST, a timer or another incarnation
        ("syn_row", np.int32),  # ... by the peer's SYN: to LISTEN, to SYN_RCVD where SYNs cross
        ("control_frame", np.uint32),  # of its FIN; until then of its last SYN, or of its SYN-ACK that had isn_before
        ("window", np.uint16),  # the last one, as on the wire
        ("mss", np.uint16),  # where OPTION_MSS is among its options
        ("state", np.uint8),
        ("proven", np.uint8),
        ("endpoint", np.uint8),  # 0 client, 1 server
        ("known", np.uint8),  # KNOWN_ bits
        ("path_length", np.uint8),
        ("wscale", np.int8),  # as its SYN offered it, -1 not
        ("options", np.uint16),  # OPTION_ bits of its SYN or SYN-ACK
        ("isn_before", np.uint32),  # of the SYN-ACK before the one that isn is of; else isn
        ("gap", np.int32),  # its row of the gaps + 1; 0: all that it sent was seen
    ],
    align=True,
)

GAP = np.dtype(
    [
        ("missing", np.int64),  # octets below next that were neither seen nor acknowledged yet
        (
            "hole_left",
            np.int64,
        ),  # beyond contiguous this much was seen: [hole_left, hole_right); 0, 0: nothing is missing
        ("hole_right", np.int64),
        (
            "unseen_left",
            np.int64,
        ),  # acknowledged without having been seen, the last of these: [unseen_left, + unseen_size)
        ("unseen_size", np.uint32),
        ("unseen_row", np.int32),  # the row of the anomalies that says so
    ],
    align=True,
)
"""What is missing of what an end sent; few ends have such a row."""

# END.known
KNOWN_BASE = 1  # its relative numbers have a base
KNOWN_SYN = 2  # its SYN was seen
KNOWN_SYN_ACK = 4  # its SYN-ACK was seen
KNOWN_PEER_FIN = 8  # the peer's FIN has taken effect on it
KNOWN_REPEATED = 16  # its SYN-ACK or FIN came again, and the peer's answer is due again
KNOWN_ACK = 32  # it sent a segment that is neither SYN, SYN-ACK nor RST
KNOWN_FIN_MISSED = 64  # it showed that the peer's FIN has not come: it is not assumed again before the FIN is repeated
KNOWN_REBASED = 128  # its SYN-ACK has another ISN than the one before

FLOW = np.dtype(
    [
        ("start_ns", np.int64),
        ("end_ns", np.int64),
        ("syn_ns", np.int64),  # the last SYN before the SYN-ACK; 0 none
        ("synack_ns", np.int64),
        ("ack_ns", np.int64),  # the third segment
        ("pair", np.int32),
        ("earlier", np.int32),  # the incarnation before this one on the same pair, -1 none
        ("stream", np.int32),
        ("first_frame", np.uint32),
        ("open_1", np.uint32),
        ("open_2", np.uint32),
        ("open_3", np.uint32),
        ("close_1", np.uint32),
        ("close_2", np.uint32),
        ("close_3", np.uint32),
        ("close_4", np.uint32),
        ("reset_frame", np.uint32),  # the first RST that ended it
        ("syn_attempts", np.uint16),
        ("synack_attempts", np.uint16),
        ("client_side", np.uint8),  # which end of the pair is the client
        ("role", np.uint8),  # marks.Role
        ("handshake", np.uint8),  # marks.Handshake
        ("close", np.uint8),  # marks.Close
        ("closed_by", np.int8),  # 0 client, 1 server, -1 nobody
        ("completeness", np.uint8),  # Wireshark's bits
        ("first_bits", np.uint8),  # ... of the first packet, which count once there is a second
        ("marks", np.uint8),  # MARK_ bits
        ("ecn", np.uint8),  # bit 0: the SYN offered it, bit 1: the SYN-ACK agreed; bits 2 and 3: accurate ECN
    ],
    align=True,
)

# FLOW.marks
MARK_SIMULTANEOUS_OPEN = 1
MARK_SIMULTANEOUS_CLOSE = 2
MARK_REFUSED = 4
MARK_RESET_EARLY = 8  # reset after the SYN-ACK and before the third segment
MARK_MIDSTREAM = 16
MARK_COPIES = 32  # packets of it were seen more than once
MARK_FORGED = 64  # opened by a forged SYN: no connection of its own
MARK_CHALLENGED = 128  # its SYN was answered in an earlier connection's numbers


PAIR_STATE = np.dtype(
    [
        ("flow", np.int32),  # number of the newest incarnation + 1; 0 before the first segment
        ("stream", np.int32),  # Wireshark's tcp.stream + 1, of the pair without VLAN
        ("joined", np.int32),  # copies: the pair + 1 whose connections this one shows too; 0 none
        ("a_base", np.uint32),  # Wireshark's base_seq of that stream, each direction
        ("b_base", np.uint32),
        ("bases", np.uint8),  # bit 0: a_base is set, bit 1: b_base
    ],
    align=True,
)
"""What the replay keeps of each pair; apart from the flow table, so that the next batch may be looked up meanwhile."""


SENDER = np.dtype([("right", np.uint32), ("wrong", np.uint32)])
"""How many good and wrong checksums an address has sent; its place is the address's number."""

MEASURES = 6  #: tracker.quality.Measure


class Connections(NamedTuple):
    """The arrays of all incarnations.

    counts: [flows, streams, ICMP errors about connections that are not here, gaps]; quality: what is counted of the capture
    itself.
    """

    pairs: npt.NDArray[np.void]
    flows: npt.NDArray[np.void]
    ends: npt.NDArray[np.void]
    counts: npt.NDArray[np.int64]
    senders: npt.NDArray[np.void]
    quality: npt.NDArray[np.int64]
    gaps: npt.NDArray[np.void]


def new_connections(room: int = 1024) -> Connections:
    """Make the arrays with room for so many pairs and flows."""
    return Connections(
        np.zeros(room, PAIR_STATE),
        np.zeros(room, FLOW),
        np.zeros(2 * room, END),
        np.zeros(4, np.int64),
        np.zeros(room, SENDER),
        np.zeros(MEASURES, np.int64),
        np.zeros(0, GAP),
    )


def without_pairs(connections: Connections) -> Connections:
    """Return them without the latest flow of each pair, which no segment asks for any more."""
    return connections._replace(pairs=new_connections(0).pairs)


def without_rows(connections: Connections) -> Connections:
    """Return what is counted only, without what it was counted from."""
    nothing = new_connections(0)
    return nothing._replace(counts=connections.counts, quality=connections.quality)


def with_room(connections: Connections, segments: int, pairs: int, addresses: int, ahead: float = 0.0) -> Connections:
    """Return the arrays, grown if so many more flows, or so many pairs and addresses in all, might not fit.

    ahead: how many times as many flows the whole capture may have as there are now, where that is known.
    """
    known, senders = connections.pairs, connections.senders
    gaps, used, missing = connections.gaps, int(connections.counts[0]), int(connections.counts[3])
    room = growth.room_for(used, segments, len(connections.flows), ahead)
    return connections._replace(
        pairs=growth.grown(known, len(known), growth.room_for(pairs, 0, len(known), ahead), zeroed=True),
        flows=growth.grown(connections.flows, used, room, zeroed=True),
        ends=growth.grown(connections.ends, 2 * used, 2 * room, zeroed=True),
        senders=growth.grown(senders, len(senders), growth.room_for(addresses, 0, len(senders), ahead), zeroed=True),
        gaps=growth.grown(gaps, missing, growth.room_for(missing, 2 * segments, len(gaps)), zeroed=True),
    )
