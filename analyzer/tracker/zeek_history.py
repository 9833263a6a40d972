"""The letters of Zeek's history: upper case from the originator, lower case from the responder (conn/main.zeek).

S SYN, H SYN-ACK, A pure ACK, D data, F FIN, R RST: once; S, H, F and R again where their number is another. I FIN and RST, Q
SYN with either: once. C wrong checksum, G gap, T retransmission, W zero window: the first, the tenth, the hundredth ... one.
^ the direction was flipped. A history is at most 88 letters long here; only connections that are not meant to work have more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.decode.segment import ACK, FIN, RST, SYN
from analyzer.kernel import part, seldom
from analyzer.tracker.zeek_connection import LONG, SHORT

LETTERS = "SHADFRIQCGTW^"
"""By code, from 1; a code plus RESPONDER is the letter in lower case."""

RESPONDER = 16
BITS = 5
LONGEST = SHORT + LONG
_S, _H, _A, _D, _F, _R, _I, _Q, _C, _G, _T, _W, _FLIP = range(1, len(LETTERS) + 1)

# LINE.seen, as TCP_Endpoint::HistoryMasks
_SEEN_SYN, _SEEN_FIN, _SEEN_RST, _SEEN_FIN_RST = 1, 2, 4, 8
SEEN_DATA = 16
SEEN_ACK = 32
_SEEN_MULTI = 64


@part
def add_letter(code: int, is_orig: bool, connection: Any, words: Any) -> None:
    """Session::AddHistory."""
    _add(code if is_orig else code + RESPONDER, connection, words)


@seldom
def _add(code: int, connection: Any, words: Any) -> None:
    length = connection.length
    half = SHORT // 2
    if length < half:
        connection.first |= np.uint64(code) << np.uint64(BITS * length)
    elif length < SHORT:
        connection.second |= np.uint64(code) << np.uint64(BITS * (length - half))
    elif length < LONGEST:
        if connection.long == 0:
            words.counts[2] += 1
            connection.long = words.counts[2]
        words.letters[connection.long - 1, length - SHORT] = code
    else:
        return
    connection.length = length + 1


@part
def add_ordinary(seen: int, side: int, connection: Any, words: Any) -> None:
    """The letter of the first segment with text, or without, that comes from this side."""
    add_letter(_D if seen == SEEN_DATA else _A, side == connection.orig_side, connection, words)


@part
def add_flip(connection: Any, words: Any) -> None:
    """Connection::FlipRoles."""
    add_letter(_FLIP, True, connection, words)


@part
def _check(mask: int, code: int, is_orig: bool, connection: Any, mine: Any, words: Any) -> bool:
    """Session::CheckHistory: whether it was there before; if not it is now."""
    if mine.seen & mask:
        return True
    mine.seen |= mask
    add_letter(code, is_orig, connection, words)
    return False


@part
def update_history(segment: Any, rel_seq: Any, is_orig: bool, connection: Any, me: Any, mine: Any, words: Any) -> None:
    """TCPSessionAdapter's update_history."""
    flags, length = segment.flags, segment.length
    control = flags & (SYN | FIN | RST)
    number = rel_seq
    if control == SYN:
        code = _H if flags & ACK else _S
        if _check(_SEEN_SYN, code, is_orig, connection, mine, words) and number != me.last_syn:
            add_letter(code, is_orig, connection, words)
        me.last_syn = number
    elif control == FIN:
        number = rel_seq + length  # a FIN's comes after its data
        if _check(_SEEN_FIN, _F, is_orig, connection, mine, words) and number != me.last_fin:
            add_letter(_F, is_orig, connection, words)
        me.last_fin = number
    elif control == RST:
        if _check(_SEEN_RST, _R, is_orig, connection, mine, words) and number != me.last_rst:
            add_letter(_R, is_orig, connection, words)
        me.last_rst = number
    elif control == 0:
        if length:
            _check(SEEN_DATA, _D, is_orig, connection, mine, words)
        elif flags & ACK:
            _check(SEEN_ACK, _A, is_orig, connection, mine, words)
    elif flags & FIN and flags & RST:
        _check(_SEEN_FIN_RST, _I, is_orig, connection, mine, words)
    else:
        _check(_SEEN_MULTI, _Q, is_orig, connection, mine, words)


@part
def is_power_of_ten(count: Any) -> bool:
    """Session::ScaledHistoryEntry: whether the threshold is reached. It grows tenfold each time."""
    threshold = 1
    while threshold < count:
        threshold *= 10
    return threshold == count


@part
def count_checksum(is_orig: bool, connection: Any, me: Any, words: Any) -> None:
    """TCP_Endpoint::ChecksumError."""
    me.checksums += 1
    if is_power_of_ten(me.checksums):
        add_letter(_C, is_orig, connection, words)


@part
def count_gap(is_orig: bool, connection: Any, end: Any, words: Any) -> None:
    """TCP_Endpoint::Gap."""
    end.gaps += 1
    if is_power_of_ten(end.gaps):
        add_letter(_G, is_orig, connection, words)


@part
def count_retransmission(is_orig: bool, connection: Any, me: Any, words: Any) -> None:
    """TCP_Endpoint::DidRxmit."""
    me.retransmissions += 1
    if is_power_of_ten(me.retransmissions):
        add_letter(_T, is_orig, connection, words)


@part
def count_zero_window(is_orig: bool, connection: Any, me: Any, words: Any) -> None:
    """TCP_Endpoint::ZeroWindow."""
    me.zero_windows += 1
    if is_power_of_ten(me.zero_windows):
        add_letter(_W, is_orig, connection, words)


def spelled(first: int, second: int, more: bytes = b"") -> str:
    """The letters of a history: of both packed halves, and of the codes that came after them."""
    codes = [packed >> BITS * place & 31 for packed in (first, second) for place in range(SHORT // 2)]
    return "".join(_letter(code) for code in (*codes, *more) if code)


def _letter(code: int) -> str:
    return LETTERS[code - 1] if code < RESPONDER else LETTERS[code - RESPONDER - 1].lower()
