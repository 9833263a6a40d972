"""What Zeek has delivered of an end's text, what waits beyond a hole, and what it gives up as a gap (TCP_Reassembler.cc).

Zeek keeps the text until it is acknowledged. Here only the edges of what lies beyond a hole are kept, and of at most
``MOST_BLOCKS`` pieces an end; a further one counts as adjacent to the last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.kernel import part, seldom
from analyzer.tracker.zeek_connection import CLOSED, ESTABLISHED, INACTIVE, IS_PARTIAL, RESET, SYN_SENT
from analyzer.tracker.zeek_history import count_gap

MOST_BLOCKS = 256
MOST_UNACKED = 10 * 1024 * 1024  # tcp_excessive_data_without_further_acks
_MOST_ABOVE_HOLE = 16384  # tcp_max_above_hole_without_any_acks
MOST_INITIAL = 16384  # tcp_max_initial_window


@part
def in_full(number: Any, wraps: Any, end: Any) -> Any:
    """TCP_Endpoint::ToRelativeSeqSpace."""
    return (np.int64(wraps) << 32) + np.int64(number) - np.int64(end.start)


@part
def data_sent(seq: Any, length: Any, me: Any, you: Any, mine: Any, words: Any) -> None:
    """TCP_Reassembler::DataSent: take in text."""
    if me.skips:
        return
    ack = in_full(mine.ack, me.ack_wraps, me)
    right = seq + length
    left = max(seq, ack)
    if right <= left:
        return
    if right > me.trimmed:
        me.top = max(me.top, right)
        _new_block(max(left, me.trimmed), right, me, you, mine, words)
    above = me.top - me.delivered if me.top > me.trimmed else 0
    if _no_data_acked(me, mine) and above > _MOST_ABOVE_HOLE:
        _skip(me, words)
    if me.top - me.trimmed > MOST_UNACKED and _size(me, words) > MOST_UNACKED:
        _skip(me, words)


@part
def _no_data_acked(end: Any, line: Any) -> bool:
    acked = in_full(line.ack, end.ack_wraps, end)
    return acked == 0 or acked == 1


@part
def _skip(end: Any, words: Any) -> None:
    """ClearBlocks, skip_deliveries."""
    release(end, words)
    end.top = end.trimmed
    end.skips = 1


@part
def _size(end: Any, words: Any) -> int:
    """How much text is held: delivered and not acknowledged, or beyond a hole."""
    size = max(end.delivered - end.trimmed, 0)
    at = end.blocks
    while at:
        size += words.blocks[at - 1].right - words.blocks[at - 1].left
        at = words.blocks[at - 1].next
    return size


@part
def _new_block(left: int, right: int, me: Any, you: Any, mine: Any, words: Any) -> None:
    """Reassembler::NewBlock."""
    if left > me.delivered:
        _insert(left, right, me, words)
        return
    if right > me.delivered:
        me.delivered = right
        if me.blocks:
            _deliver(me, words)
    elif left != me.delivered:
        return
    if _no_data_acked(me, mine) and size_of(me, you, mine) > MOST_INITIAL:
        me.trimmed = max(me.trimmed, me.delivered)  # its acknowledgements are not seen


@seldom
def _insert(left: int, right: int, end: Any, words: Any) -> None:
    """Keep a piece beyond a hole, in one with those that it touches."""
    blocks = words.blocks
    behind = 0  # the last that ends before it
    at = end.blocks
    while at and blocks[at - 1].right < left:
        behind = at
        at = blocks[at - 1].next
    if at and blocks[at - 1].left <= right:
        piece = blocks[at - 1]
        piece.left, piece.right = min(piece.left, left), max(piece.right, right)
        following = piece.next
        while following and blocks[following - 1].left <= piece.right:
            piece.right = max(piece.right, blocks[following - 1].right)
            piece.next = blocks[following - 1].next
            _give_back(following, end, words)
            following = piece.next
        return
    if end.held >= MOST_BLOCKS:
        if at == 0:
            blocks[behind - 1].right = right
        else:
            blocks[at - 1].left = left
        return
    place = words.counts[1]
    if place:
        words.counts[1] = blocks[place - 1].next
    else:
        words.counts[0] += 1
        place = words.counts[0]
    blocks[place - 1].left, blocks[place - 1].right, blocks[place - 1].next = left, right, at
    end.held += 1
    if behind:
        blocks[behind - 1].next = place
    else:
        end.blocks = place


@part
def _give_back(place: int, end: Any, words: Any) -> None:
    words.blocks[place - 1].next = words.counts[1]
    words.counts[1] = place
    end.held -= 1


@seldom
def release(end: Any, words: Any) -> None:
    """Give all of an end's pieces back."""
    while end.blocks:
        place = end.blocks
        end.blocks = words.blocks[place - 1].next
        _give_back(place, end, words)


@seldom
def _deliver(end: Any, words: Any) -> None:
    """Deliver the pieces that the delivered text has reached."""
    while end.blocks and words.blocks[end.blocks - 1].left <= end.delivered:
        place = end.blocks
        end.delivered = max(end.delivered, words.blocks[place - 1].right)
        end.blocks = words.blocks[place - 1].next
        _give_back(place, end, words)


@part
def ack_received(ack: Any, is_orig: bool, connection: Any, end: Any, peer: Any, words: Any) -> bool:
    """TCP_Reassembler::AckReceived, of what this end sent; whether it was news."""
    if end.has_fin and ack >= end.fin_seq:
        ack = end.fin_seq - 1
    if ack <= end.trimmed:
        return False
    if ack > end.delivered and not (ack <= 2 and connection.bits & IS_PARTIAL):
        _undelivered(ack, is_orig, connection, end, peer, words)
    while end.blocks and words.blocks[end.blocks - 1].right <= ack:  # only where nothing is delivered any more
        place = end.blocks
        end.blocks = words.blocks[place - 1].next
        _give_back(place, end, words)
    _deliver(end, words)
    end.trimmed = ack
    return True


@seldom
def _undelivered(up_to: int, is_orig: bool, connection: Any, end: Any, peer: Any, words: Any) -> None:
    """TCP_Reassembler::Undelivered: acknowledged and never seen. Each hole is a gap."""
    if not end.skips:
        while end.blocks and words.blocks[end.blocks - 1].left < up_to:
            _gap(is_orig, connection, end, peer, words)
            end.delivered = words.blocks[end.blocks - 1].left
            _deliver(end, words)
        if up_to > end.delivered:
            _gap(is_orig, connection, end, peer, words)
    end.delivered = max(end.delivered, up_to)


@part
def _gap(is_orig: bool, connection: Any, end: Any, peer: Any, words: Any) -> None:
    """TCP_Reassembler::Gap: only of connections that are established or closing cleanly."""
    if _is_clean(end) and _is_clean(peer):
        count_gap(is_orig, connection, end, words)


@part
def _is_clean(end: Any) -> bool:
    return end.state == ESTABLISHED or (end.state == CLOSED and end.before == ESTABLISHED)


@part
def data_pending(end: Any, peer: Any, line: Any) -> bool:
    """TCP_Reassembler::DataPending: whether there is text that was not delivered yet."""
    if end.skips:
        return False
    last = in_full(line.last, end.seq_wraps, end)
    if last < end.delivered:
        return False
    if end.delivered != last - 1 and end.delivered != last:
        return True
    return end.state != RESET and peer.top > peer.trimmed


@part
def size_of(end: Any, peer: Any, line: Any) -> int:
    """TCP_Endpoint::Size."""
    last, ack = in_full(line.last, end.seq_wraps, end), in_full(line.ack, end.ack_wraps, end)
    if end.before == SYN_SENT and end.state == RESET and peer.state == INACTIVE and not _no_data_acked(end, line):
        return 0
    size = max(last, ack)
    if size != 0:
        size -= 1
    if end.has_fin and size != 0:
        size -= 1
    return size
