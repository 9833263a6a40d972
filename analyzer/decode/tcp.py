"""The TCP header (RFC 9293, section 3.1) and its options.

Options read: MSS (RFC 9293), window scale and timestamps (RFC 7323), SACK permitted and SACK (RFC 2018), fast open
(RFC 7413 and its experimental form), MPTCP (RFC 8684), MD5 (RFC 2385), AO (RFC 5925), user timeout (RFC 5482).
"""

from __future__ import annotations

from typing import Any

from analyzer.decode.bytes import u8, u16, u32
from analyzer.decode.segment import (
    HEADER_BOGUS,
    HEADER_CUT,
    HEADER_LONG,
    OPTION_AO,
    OPTION_COOKIE,
    OPTION_FAST_OPEN,
    OPTION_MALFORMED,
    OPTION_MD5,
    OPTION_MPTCP,
    OPTION_MPTCP_KEY,
    OPTION_MSS,
    OPTION_SACK,
    OPTION_SACK_PERMITTED,
    OPTION_TIMESTAMPS,
    OPTION_USER_TIMEOUT,
    OPTION_WSCALE,
    Skipped,
)
from analyzer.kernel import part

_EXPERIMENT_FAST_OPEN = 0xF989  # RFC 6994, the magic number of RFC 7413's experiment
_TIMESTAMPS_ONLY = (
    0x0101080A  # two NOPs and the timestamps, as RFC 7323 (appendix A) lays them out and nearly all send them
)
_TCP_CUT = int(Skipped.TCP_CUT)
DECODED = -1


@part
def tcp(data: Any, start: int, end: int, length: int, wire: int, segment: Any, sack: Any) -> int:
    """Read a TCP header at data[start:end] of a datagram that has length transport bytes.

    wire: as many of them as the frame on the wire had. sack (8,) takes up to four blocks, left and right edges by turns.
    Returns DECODED or why not (Skipped).
    """
    if end - start < 20 or length < 20:
        return _TCP_CUT
    header = (u8(data, start + 12) >> 4) * 4
    segment.sport = u16(data, start)
    segment.dport = u16(data, start + 2)
    segment.seq = u32(data, start + 4)
    segment.ack = u32(data, start + 8)
    segment.flags = u16(data, start + 12) & 0x0FFF
    segment.window = u16(data, start + 14)
    segment.raw_checksum = u16(data, start + 16)
    segment.header = header
    # A header length below 20 is nonsense: where the text begins is not known, so there is none.
    segment.length = max(length - header, 0) if header >= 20 else 0
    reported = min(length, wire)
    segment.seglen = reported - header if header <= reported else -1
    segment.header_trouble = 0
    if header > reported:
        segment.header_trouble = HEADER_LONG
    elif header < 20:
        segment.header_trouble = HEADER_BOGUS
    segment.options = 0
    segment.mptcp = 0
    segment.mss = -1
    segment.wscale = -1
    segment.user_timeout = -1
    segment.sack_blocks = 0
    if header == 32 and end - start >= 32 and length >= 32 and u32(data, start + 20) == _TIMESTAMPS_ONLY:
        segment.options = OPTION_TIMESTAMPS
        segment.tsval = u32(data, start + 24)
        segment.tsecr = u32(data, start + 28)
    elif header > 20:
        ended = _options(data, start + 20, min(start + min(header, length), end), segment, sack)
        if not ended and end - start < header <= reported:
            segment.header_trouble = HEADER_CUT
    return DECODED


@part
def _options(data: Any, offset: int, end: int, segment: Any, sack: Any) -> bool:
    """Walk the options; one whose length is wrong ends the walk, as nothing behind it can be trusted.

    Returns whether the list's own end was found.
    """
    found = 0
    ended = False
    while offset < end:
        kind = data[offset]
        if kind == 0:
            ended = True
            break
        if kind == 1:
            offset += 1
            continue
        size = u8(data, offset + 1) if offset + 1 < end else 0
        if size < 2 or offset + size > end:
            found |= OPTION_MALFORMED
            break
        if kind == 8 and size == 10:
            found |= OPTION_TIMESTAMPS
            segment.tsval = u32(data, offset + 2)
            segment.tsecr = u32(data, offset + 6)
        elif kind == 5 and size >= 10 and (size - 2) % 8 == 0:
            found |= OPTION_SACK
            blocks = min((size - 2) // 8, 4)
            segment.sack_blocks = blocks
            for edge in range(2 * blocks):
                sack[edge] = u32(data, offset + 2 + 4 * edge)
        elif kind == 2 and size == 4:
            found |= OPTION_MSS
            segment.mss = u16(data, offset + 2)
        elif kind == 3 and size == 3:
            found |= OPTION_WSCALE
            segment.wscale = min(u8(data, offset + 2), 127)
        elif kind == 4 and size == 2:
            found |= OPTION_SACK_PERMITTED
        elif kind == 34 or (
            (kind == 253 or kind == 254) and size >= 4 and u16(data, offset + 2) == _EXPERIMENT_FAST_OPEN
        ):
            found |= OPTION_FAST_OPEN
            if size > (2 if kind == 34 else 4):
                found |= OPTION_COOKIE
        elif kind == 30 and size >= 3:
            found |= OPTION_MPTCP
            subtype = u8(data, offset + 2) >> 4
            segment.mptcp |= 1 << subtype
            if subtype == 0 and (size == 12 or size == 20 or size == 22 or size == 24):
                found |= OPTION_MPTCP_KEY
        elif kind == 19 and size == 18:
            found |= OPTION_MD5
        elif kind == 29 and size >= 4:
            found |= OPTION_AO
        elif kind == 28 and size == 4:
            found |= OPTION_USER_TIMEOUT
            value = u16(data, offset + 2)
            segment.user_timeout = (value & 0x7FFF) * 60 if value & 0x8000 else value
        offset += size
    segment.options = found
    return ended
