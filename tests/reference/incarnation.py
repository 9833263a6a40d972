"""Which connection of a pair a segment belongs to, and which end of a new one is the client.

A SYN with a new ISN opens the next connection; everything else belongs to the newest, unless its numbers fit the one
before better: late segments stay with their flow. Roles are decided once, by the first evidence there is.
"""

from __future__ import annotations

from analyzer.tracker.marks import Role
from tests.reference.connection import Conversation, Flow, Pair, before, distance
from tests.reference.segment import ACK, SYN, Segment

EPHEMERAL = 32768  #: the first of Linux's ephemeral ports
NEAR = 2**30  #: no window is larger (RFC 7323)
FOREIGN = 2**40


def find_incarnation(segment: Segment, side: int, pair: Pair) -> Flow | None:
    """The flow that the segment belongs to, or None if it opens a new one."""
    newest = pair.newest
    if newest is None:
        return None
    earlier = newest.earlier
    if segment.is_syn:
        if newest.end_on(side).isn in (None, segment.seq):
            return newest  # the same SYN again, its SYN-ACK was seen first, or the other half of a simultaneous open
        if earlier and earlier.end_on(side).isn == segment.seq:
            return earlier  # an old duplicate
        return None
    if earlier and misfit(segment, side, earlier) < misfit(segment, side, newest):
        return earlier
    return newest


def misfit(segment: Segment, side: int, flow: Flow) -> int:
    """How far the segment's numbers lie from where this connection is.

    ISNs are taken from a clock: those of two connections on one pair may be near each other, so the nearer one has it.
    """
    sender, receiver = flow.end_on(side), flow.end_on(1 - side)
    if sender.isn is not None and not segment.has(SYN):
        away = abs(distance(segment.seq, sender.isn + sender.next))
        return away if away < NEAR else FOREIGN
    if segment.has(ACK) and receiver.isn is not None:  # nothing to go by but what it acknowledges
        return 0 if 0 < distance(segment.ack, receiver.isn) <= max(receiver.next, 1) else FOREIGN
    return FOREIGN - 1


def client_side(segment: Segment, side: int) -> tuple[int, Role]:
    """Which side of the pair is the client of a flow that begins with this segment, and what told it."""
    if segment.is_syn:
        return side, Role.SYN
    if segment.is_syn_ack:
        return 1 - side, Role.SYN_ACK
    if segment.sport == segment.dport:
        return side, Role.FIRST_SEEN
    source_high, destination_high = segment.sport >= EPHEMERAL, segment.dport >= EPHEMERAL
    if source_high != destination_high:
        return (side if source_high else 1 - side), Role.PORT
    return (side if segment.sport > segment.dport else 1 - side), Role.PORT


def opens_stream(segment: Segment, side: int, conversation: Conversation) -> bool:
    """Wireshark: the first packet of a conversation, or a SYN whose number is not its direction's base."""
    if conversation.stream is None:
        return True
    known = conversation.bases.get(side)
    return segment.is_syn and not segment.icmp and known is not None and known != segment.seq


def note_bases(segment: Segment, side: int, conversation: Conversation) -> None:
    """packet-tcp.c: a direction's base is its first number (less one if it is no SYN), or the first acknowledgement's."""
    if side not in conversation.bases or segment.is_syn_ack:
        conversation.bases[side] = segment.seq if segment.has(SYN) else before(segment.seq)
    if segment.has(ACK):
        conversation.bases.setdefault(1 - side, before(segment.ack))
