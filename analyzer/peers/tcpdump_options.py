"""TCP options in tcpdump's words.

As tcpdump 4.99 prints them; what is odd about it (``[bad opt]`` without a closing bracket before the first option, a
``>`` behind an option that the snap length cuts) is kept, because the point is to be held against it line by line.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable

EOL, NOP, MSS, WSCALE, SACK_OK, SACK, ECHO, ECHO_REPLY, TIMESTAMPS = 0, 1, 2, 3, 4, 5, 6, 7, 8
CC, CC_NEW, CC_ECHO, MD5, SCPS, USER_TIMEOUT, AO, MPTCP, FAST_OPEN, EXPERIMENT = 11, 12, 13, 19, 20, 28, 29, 30, 34, 254
_WORDS = {
    EOL: "eol", NOP: "nop", MSS: "mss", WSCALE: "wscale", SACK_OK: "sackOK", SACK: "sack", ECHO: "echo",
    ECHO_REPLY: "echoreply", TIMESTAMPS: "TS", CC: "cc", CC_NEW: "ccnew", CC_ECHO: "", MD5: "md5", SCPS: "scps",
    USER_TIMEOUT: "uto", AO: "tcp-ao", MPTCP: "mptcp", FAST_OPEN: "tfo", EXPERIMENT: "exp",
}  # fmt: skip
_FAST_OPEN_MAGIC = 0xF989  # RFC 6994's experiment number of RFC 7413
_SYN, _ACK = 2, 16


class Cut(Exception):  # noqa: N818  # not a failure: how a printer learns that the capture ends here
    """The captured bytes end inside a field."""


class _CutInside(Cut):
    """They end inside an option's data; tcpdump says so with one character more."""


class Bad(Exception):  # noqa: N818  # the same: odd traffic is data
    """An option contradicts its own length."""


class Bytes:
    """The captured bytes of one packet, up to where a header says that it ends.

    Parameters
    ----------
    data
        The record.
    end
        Offset behind the last byte that may be read; reading beyond it raises ``Cut``.
    """

    __slots__ = ("data", "end", "protocol")

    def __init__(self, data: bytes, end: int) -> None:
        self.data = data
        self.end = min(end, len(data))
        self.protocol = "ip"  #: the printer at work, which ``[|ip]`` names where the bytes end

    def number(self, offset: int, size: int) -> int:
        """Return the big-endian number of size bytes there."""
        if offset < 0 or offset + size > self.end:
            raise Cut
        return int.from_bytes(self.data[offset : offset + size], "big")

    def hex(self, offset: int, size: int) -> str:
        """Return the bytes as hexadecimal digits."""
        if offset + size > self.end:
            raise Cut
        return self.data[offset : offset + size].hex()


def wrapped(number: int) -> int:
    """Return the number as C's 32-bit arithmetic leaves it, which is what tcpdump prints."""
    return ctypes.c_uint32(number).value


def options(packet: Bytes, start: int, size: int, flags: int, base: int, out: list[str], whole: bool) -> bool:
    """Append the options, in brackets, to a line.

    Parameters
    ----------
    packet
        The captured bytes.
    start, size
        Where the options lie, as the TCP header's length says.
    flags
        The segment's flags; MPTCP's options have other forms on a SYN.
    base
        What SACK blocks are relative to; 0 leaves them as they are.
    out
        The parts of the line.
    whole
        Whether the segment's data was captured whole, without which tcpdump looks at no signature.

    Returns
    -------
    bool
        False where tcpdump ends the line here: options that are malformed or cut.
    """
    out.append(", options [")
    at, left, seen = start, size, False
    try:
        while left > 0:
            if seen:
                out.append(",")
            kind = packet.number(at, 1)
            at, left, told = at + 1, left - 1, 1
            if kind not in (EOL, NOP):
                told = packet.number(at, 1)
                at += 1
                if told < 2 or told > left + 1:
                    raise Bad
                left -= 1
            used = _option(packet, kind, at, told, left, flags, base, out, whole)
            at, left = at + used, left - used
            if used + (1 if kind in (EOL, NOP) else 2) != told:
                out.append(f"[len {told}]")
            seen = True
            if kind == EOL:
                break
    except Bad:
        out.append("[bad opt]" + ("]" if seen else ""))
        return False
    except Cut as cut:
        out.append(f" [|{packet.protocol}]" + (">" if seen and isinstance(cut, _CutInside) else ""))
        return False
    out.append("]")
    return True


def _option(
    packet: Bytes, kind: int, at: int, told: int, left: int, flags: int, base: int, out: list[str], whole: bool
) -> int:
    """Append one option; return the bytes of data that it took."""
    out.append(_WORDS.get(kind, f"unknown-{kind}"))
    fixed = _FIXED.get(kind)
    if fixed is not None:
        size, form = fixed
        _check(packet, at, size, left)
        out.append(form(packet, at))
        return size
    if kind in (EOL, NOP, SACK_OK):
        return 0
    size = told - 2
    if kind == SACK:
        _sack(packet, at, size, left, base, out)
    elif kind == MD5:
        _check(packet, at, 16, left)
        out.append(" " if whole else " snaplen too short, can't check - ")
        out.append(("shared secret not supplied with -M, can't check - " if whole else "") + packet.hex(at, 16))
        return 16
    elif kind == AO:
        _authentication(packet, at, size, left, out)
    elif kind == MPTCP:
        _check(packet, at, size, left)
        packet.protocol = "mptcp"
        _multipath(Bytes(packet.data, at + size), at - 2, told, flags, out)
        packet.protocol = "tcp"
    elif kind == FAST_OPEN:
        _check(packet, at, size, left)
        out.append(" ")
        _cookie(packet, at, size, out)
    elif kind == EXPERIMENT:
        _check(packet, at, size, left)
        if size < 2:
            raise Bad
        magic = packet.number(at, 2)
        if magic == _FAST_OPEN_MAGIC:
            out.append("-tfo")
            _cookie(packet, at + 2, size - 2, out)
        else:
            out.append(f"-{magic:04x}")
    elif size:
        out.append(" 0x")
        for i in range(size):
            _check(packet, at, i + 1, left)
            out.append(packet.hex(at + i, 1))
    return size


def _check(packet: Bytes, at: int, size: int, left: int) -> None:
    if size > left:
        raise Bad
    if at + size > packet.end:
        raise _CutInside


def _word(size: int) -> tuple[int, Callable[[Bytes, int], str]]:
    return size, lambda packet, at: f" {packet.number(at, size)}"


def _timeout(packet: Bytes, at: int) -> str:
    value = packet.number(at, 2)
    return f" 0x{value:x} {(value >> 1) * 60 if value & 1 else value >> 1}"


#: Options of one size: bytes of data, and how they read.
_FIXED: dict[int, tuple[int, Callable[[Bytes, int], str]]] = {
    MSS: _word(2),
    WSCALE: _word(1),
    ECHO: _word(4),
    ECHO_REPLY: _word(4),
    CC: _word(4),
    CC_NEW: _word(4),
    CC_ECHO: _word(4),
    TIMESTAMPS: (8, lambda packet, at: f" val {packet.number(at, 4)} ecr {packet.number(at + 4, 4)}"),
    SCPS: (2, lambda packet, at: f" cap {packet.number(at, 1):02x} id {packet.number(at + 1, 1)}"),
    USER_TIMEOUT: (2, _timeout),
}


def _sack(packet: Bytes, at: int, size: int, left: int, base: int, out: list[str]) -> None:
    if size % 8:
        out.append(" invalid sack")
        return
    out.append(f" {size // 8} ")
    for block in range(0, size, 8):
        _check(packet, at, block + 8, left)
        edges = (wrapped(packet.number(at + block + edge, 4) - base) for edge in (0, 4))
        out.append("{{{}:{}}}".format(*edges))


def _authentication(packet: Bytes, at: int, size: int, left: int, out: list[str]) -> None:
    if size < 2:
        out.append(" (invalid)")
        return
    _check(packet, at, 1, left)
    out.append(f" keyid {packet.number(at, 1)}")
    _check(packet, at, 2, left)
    out.append(f" rnextkeyid {packet.number(at + 1, 1)}")
    if size > 2:
        out.append(" mac 0x")
        for i in range(2, size):
            _check(packet, at, i + 1, left)
            out.append(packet.hex(at + i, 1))


def _cookie(packet: Bytes, at: int, size: int, out: list[str]) -> None:
    if size == 0:
        out.append(" cookiereq")
    elif size % 2 or size < 4 or size > 16:
        out.append(" (invalid)")
    else:
        out.append(f" cookie {packet.hex(at, size)}")


# ---------------------------------------------------------------------------------------- MPTCP, RFC 8684 and RFC 6824


def _multipath(packet: Bytes, at: int, size: int, flags: int, out: list[str]) -> None:
    """Append an MPTCP option that begins, with its kind, at at and is size bytes long."""
    if size < 3:
        raise Bad
    subtype = min(packet.number(at + 2, 1) >> 4, len(_MULTIPATH) - 1)
    name, form = _MULTIPATH[subtype]
    out.append(f" {size} {name}")
    form(packet, at, size, flags, out)


def _capable(packet: Bytes, at: int, size: int, flags: int, out: list[str]) -> None:
    opening = size in (4, 12) and flags & _SYN
    data = size in (20, 22) and flags & (_SYN | _ACK) == _ACK
    if not opening and not data:
        raise Bad
    version = packet.number(at + 2, 1) & 15
    if version > 1:
        out.append(f" Unknown Version ({version})")
        return
    out.append(f" v{version}")
    if packet.number(at + 3, 1) & 0x80:
        out.append(" csum")
    if size >= 12:
        out.append(f" {{0x{packet.number(at + 4, 8):x}")
        if size >= 20:
            out.append(f",0x{packet.number(at + 12, 8):x}")
        out.append("}")


def _join(packet: Bytes, at: int, size: int, flags: int, out: list[str]) -> None:
    if not (
        (size == 12 and flags & _SYN)
        or (size == 16 and flags & (_SYN | _ACK) == _SYN | _ACK)
        or (size == 24 and flags & _ACK)
    ):
        raise Bad
    if size == 24:
        out.append(f" hmac 0x{packet.hex(at + 4, 20)}")
        return
    if packet.number(at + 2, 1) & 1:
        out.append(" backup")
    out.append(f" id {packet.number(at + 3, 1)}")
    if size == 12:
        out.append(f" token 0x{packet.number(at + 4, 4):x} nonce 0x{packet.number(at + 8, 4):x}")
    else:
        out.append(f" hmac 0x{packet.number(at + 4, 8):x} nonce 0x{packet.number(at + 12, 4):x}")


def _data_sequence(packet: Bytes, at: int, size: int, flags: int, out: list[str]) -> None:
    if size < 4 or flags & _SYN:
        raise Bad
    told = packet.number(at + 3, 1)
    if told & 0x10:
        out.append(" fin")
    at, left = at + 4, size - 4

    def take(width: int) -> int:
        nonlocal at, left
        if left < width:
            raise Bad
        value = packet.number(at, width)
        at, left = at + width, left - width
        return value

    if told & 0x01:
        out.append(" ack ")
        out.append(str(take(8 if told & 0x02 else 4)))
    if told & 0x04:
        out.append(" seq ")
        out.append(str(take(8 if told & 0x08 else 4)))
        out.append(f" subseq {take(4)}")
        out.append(f" len {take(2)}")
        if left >= 2:
            out.append(f" csum 0x{take(2):x}")
    if left:
        raise Bad


def _add_address(packet: Bytes, at: int, size: int, flags: int, out: list[str]) -> None:  # noqa: ARG001
    if size not in (8, 10, 16, 18, 20, 22, 28, 30):
        raise Bad
    form = packet.number(at + 2, 1) & 15
    words = {6: "v0-ip6", 4: "v0-ip4", 1: "v1-echo", 0: "v1"}
    out.append(f" {words.get(form, '[bad version/echo]')} id {packet.number(at + 3, 1)}")
    width = 4 if size <= 18 else 16
    address, at = bytes.fromhex(packet.hex(at + 4, width)), at + 4 + width
    out.append(f" {socket.inet_ntop(socket.AF_INET if width == 4 else socket.AF_INET6, address)}")
    rest = size - 4 - width
    if rest in (2, 10):
        out.append(f":{packet.number(at, 2)}")
    if rest >= 8:
        out.append(f" hmac 0x{packet.number(at + rest - 8, 8):x}")


def _remove_address(packet: Bytes, at: int, size: int, flags: int, out: list[str]) -> None:  # noqa: ARG001
    if size < 4:
        raise Bad
    out.append(" id")
    out.extend(f" {packet.number(at + i, 1)}" for i in range(3, size))


def _priority(packet: Bytes, at: int, size: int, flags: int, out: list[str]) -> None:  # noqa: ARG001
    if size not in (3, 4):
        raise Bad
    out.append(" backup" if packet.number(at + 2, 1) & 1 else " non-backup")
    if size == 4:
        out.append(f" id {packet.number(at + 3, 1)}")


def _fail(packet: Bytes, at: int, size: int, flags: int, out: list[str]) -> None:  # noqa: ARG001
    if size != 12:
        raise Bad
    out.append(f" seq {packet.number(at + 4, 8)}")


def _fast_close(packet: Bytes, at: int, size: int, flags: int, out: list[str]) -> None:  # noqa: ARG001
    if size != 12:
        raise Bad
    out.append(f" key 0x{packet.number(at + 4, 8):x}")


def _unknown(packet: Bytes, at: int, size: int, flags: int, out: list[str]) -> None:
    """Print nothing: tcpdump knows no more of it than the name ``unknown``."""


_MULTIPATH: tuple[tuple[str, Callable[[Bytes, int, int, int, list[str]], None]], ...] = (
    ("capable", _capable),
    ("join", _join),
    ("dss", _data_sequence),
    ("add-addr", _add_address),
    ("rem-addr", _remove_address),
    ("prio", _priority),
    ("fail", _fail),
    ("fast-close", _fast_close),
    ("unknown", _unknown),
)
