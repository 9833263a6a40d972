"""tcpdump's printed text, as people paste it into tickets, told from the prose around it and parsed.

A segment is a line from its time (or from ``IP``) to its ``length N``; ``-v`` makes two lines of it, a mail client or a
terminal any number, with or without ``> `` before each. What is cut off before its length (somebody quotes half a line
to talk about it) is no segment. Both tongues of tcpdump are understood: ``Flags [S.], seq 1, ack 2, win 3, ..., length
0``, since 2009, and ``S 1:1(0) ack 2 win 3 <...>`` from before.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import html
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: A line that goes on for longer was not printed by tcpdump; a segment in more pieces was not wrapped by anybody.
_LONGEST, _MOST_PIECES, _MOST_JOINTS = 1500, 8, 4
_SECOND = 1_000_000_000

_START = re.compile(
    r"(?<![\w:.-])(?:-?\d\d:\d\d:\d\d(?:\.\d{1,9})?|\d{9,10}\.\d{6,9})\s|^(?:\S+\s+(?:In|Out|B|M|P)\s+)?IP6?\s[(\w.:]",
    re.ASCII,
)
_CLOCK = re.compile(r"(?<![\w:.])(?:(\d{4}-\d\d-\d\d)[ T])?(-?)(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?=\s)", re.ASCII)
_EPOCH = re.compile(r"(?<![\d.])(\d{9,10})\.(\d{6,9})(?=\s)", re.ASCII)
_COLUMN = re.compile(
    r"(?:(?<=\s)([^\s\[\]()]{1,15})\s+)?(?<=\s)(In|Out|B|M|P)\s+(?:IP6?\s|ifindex|ethertype|[0-9a-f]{2}:)",
    re.ASCII,
)
_QUOTE = re.compile(r"(?:[>|]\s?)+", re.ASCII)

_NOW = re.compile(
    r""": \s? Flags \s \[ (?P<flags> [A-Za-z.]{1,9} ) \]
    (?: ,\s? cksum \s 0x[0-9a-f]{1,4} \s \( [^()]{1,40} \) )?
    (?: ,\s? seq \s (?P<seq> \d{1,10} ) (?: : (?P<end> \d{1,10} ) )? )?
    (?: ,\s? ack \s (?P<ack> \d{1,10} ) )?
    (?: ,\s? win \s (?P<window> \d{1,5} ) )?
    (?: ,\s? urg \s (?P<urgent> \d{1,5} ) )?
    (?: ,\s? options \s \[ (?P<options> (?: [^\[\]] | \[len\s\d+\] )* ) \] )?
    ,\s? length \s (?P<length> \d{1,7} )""",
    re.VERBOSE | re.ASCII,
)
_BEFORE_2009 = re.compile(
    r""": \s (?P<flags> [SFRPWE]{1,6} | \. )
    (?: \s (?P<seq> \d{1,10} ) : (?P<end> \d{1,10} ) \( (?P<length> \d{1,7} ) \) )?
    (?: \s ack \s (?P<ack> \d{1,10} ) )?
    \s win \s (?P<window> \d{1,5} )
    (?: \s urg \s (?P<urgent> \d{1,5} ) )?
    (?: \s < (?P<options> [^<>]* ) > )?""",
    re.VERBOSE | re.ASCII,
)
_WHOLE_OPTION = re.compile(
    r"""nop | eol | sackOK | cookiereq | mss \s \d+ | wscale \s \d+ | TS \s val \s \d+ \s ecr \s \d+ | timestamp \s \d+ \s \d+
    | sack \s \d \s (?: \{ \d+ : \d+ \} )+ \s? | (?: mptcp | tfo | md5 | exp | unknown | tcp-ao | uto | scps | cc | echo ) .*""",
    re.VERBOSE | re.ASCII,
)
_LETTERS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32, "E": 64, "W": 128, "e": 256}


class Line(NamedTuple):
    """One printed segment, its numbers as printed."""

    text: str  #: the whole of it, joined, up to its length
    clock: str  #: "epoch", "date", "day" (no date) or "" (no time)
    time_ns: int  #: since 1970, or since midnight; the text's own zone
    interface: str  #: the column that ``-i any`` prints; "" without one
    direction: str  #: "In", "Out", "B", "M", "P" or ""
    version: int  #: 4 or 6
    source: str  #: address or name
    source_port: str  #: number or service
    destination: str
    destination_port: str
    flags: int
    seq: int | None  #: absolute or relative, as printed; None where there was none
    ack: int | None
    window: int
    urgent: int
    options: str  #: tcpdump's words for them
    length: int
    ttl: int | None  #: with -v
    identification: int | None
    tos: int


def parse(lines: Iterable[str]) -> Iterator[Line]:
    """Yield the segments of a text.

    Parameters
    ----------
    lines
        The text's lines, with whatever stands between the segments.
    """
    pieces: list[str] = []
    quote = ""
    for written in lines:
        raw = (
            html.unescape(written).replace("\xa0", " ") if "&" in written else written
        )  # copied out of a web page's source
        line = raw[:_LONGEST].strip()
        mark = _QUOTE.match(line)
        bare = line[mark.end() :] if mark else line
        begins = _START.search(bare)
        if begins and begins[0].lstrip()[:2] == "IP" and any(" ICMP" in piece for piece in pieces):
            begins = (
                None if raw[:1].isspace() or bare[:1].isspace() else begins
            )  # what an ICMP error quotes is indented
        if begins:
            quote = mark.group().strip() if mark else ""
            pieces = []
            line = bare
        elif not pieces:
            continue
        elif quote and line.startswith(quote):
            line = line[len(quote) :].strip()
        if not line:
            if not (len(pieces) == 1 and pieces[0].endswith(")")):  # -v's first line may stand apart from its second
                pieces = []
            continue
        if len(pieces) == _MOST_PIECES:
            pieces = []
            continue
        pieces.append(line)
        found = _joined(pieces)
        if found is not None:
            pieces = []
            yield found


def _joined(pieces: list[str]) -> Line | None:
    """Try the pieces as one line: broken between words, as mail clients do, or anywhere, as terminals do."""
    joints = len(pieces) - 1
    if sum(map(len, pieces)) > _LONGEST:
        return None
    ways: Iterable[tuple[str, ...]] = ((" ",) * joints, ("",) * joints)
    if joints <= _MOST_JOINTS:
        ways = itertools.product((" ", ""), repeat=joints)
    first = None
    for way in ways:
        found = _segment("".join(itertools.chain.from_iterable(zip(pieces, (*way, ""), strict=True))))
        if found is None:
            continue
        if not joints or all(_WHOLE_OPTION.fullmatch(option) for option in found.options.split(",") if option):
            return found
        first = first or found  # broken inside an option, perhaps: another way may put it together better
    return first


def _segment(text: str) -> Line | None:
    """Parse one line; None if it holds no whole segment."""
    at = text.find(": Flags [")
    body = None
    if at >= 0:
        body = _NOW.match(text, at)
    else:
        arrow = text.find(" > ")
        at = text.find(": ", arrow) if arrow >= 0 else -1
        if at >= 0:
            body = _BEFORE_2009.match(text, at)
    if body is None:
        return None
    ends = _ends(text[:at])
    if ends is None or " ICMP" in text[:at]:  # an error quotes a segment that somebody else has sent
        return None
    prefix, source, source_port, destination, destination_port = ends
    seq, end, length = (None if body[name] is None else int(body[name]) for name in ("seq", "end", "length"))
    length = length or 0
    if end is not None and seq is not None and ctypes.c_uint32(end - seq - length).value:
        return None  # broken in the middle of a number, or mistyped
    clock, time_ns = _time(prefix)
    column = _COLUMN.search(prefix)
    flags = sum(_LETTERS.get(letter, 0) for letter in set(body["flags"])) if body["flags"] != "none" else 0
    if body["ack"] is not None:  # before 2009 the dot stood for "none of the letters"
        flags |= 16
    elif body.re is _BEFORE_2009:
        flags &= ~16
    literal = ":" in source or ":" in destination
    return Line(
        text=" ".join(text[: body.end()].split()),
        clock=clock,
        time_ns=time_ns,
        interface=(column[1] or "any") if column else "",
        direction=column[2] if column else "",
        version=6 if literal or re.search(r"\bIP6\b|\bIPv6\b", prefix) else 4,
        source=source,
        source_port=source_port,
        destination=destination,
        destination_port=destination_port,
        flags=flags,
        seq=seq,
        ack=None if body["ack"] is None else int(body["ack"]),
        window=int(body["window"] or 0),
        urgent=int(body["urgent"] or 0),
        options=body["options"] or "",
        length=length,
        ttl=_word(prefix, r"\b(?:ttl|hlim) (\d{1,3})\b"),
        identification=_word(prefix, r"\bid (\d{1,5}),"),
        tos=_word(prefix, r"\b(?:tos|class) 0x([0-9a-f]{1,2})\b", 16) or 0,
    )


def _ends(text: str) -> tuple[str, str, str, str, str] | None:
    """Split what stands before the flags: the prefix, and both ends' addresses and ports."""
    words = text.rsplit(" ", 3)
    if len(words) < 3 or words[-2] != ">":
        return None
    prefix = f" {words[0]} " if len(words) == 4 else " "
    source, destination = words[-3], words[-1]
    if (
        source.isdecimal() and destination.isdecimal()
    ):  # behind IPv6's extension headers: the addresses stand before them
        named = re.search(r"(?:^|\s)([^\s>]{1,64}) > ([^\s>]{1,64}): ", prefix)
        return (prefix, named[1], source, named[2], destination) if named else None
    near, _, near_port = source.rpartition(".")
    far, _, far_port = destination.rpartition(".")
    if not (near and near_port and far and far_port):
        return None
    return prefix, near, near_port, far, far_port


def _word(text: str, pattern: str, base: int = 10) -> int | None:
    found = re.search(pattern, text, re.ASCII)
    return int(found[1], base) if found else None


def _time(prefix: str) -> tuple[str, int]:
    """Return the kind of clock and nanoseconds."""
    epoch = _EPOCH.search(prefix)
    if epoch:
        return "epoch", int(epoch[1]) * _SECOND + int(epoch[2].ljust(9, "0"))
    clock = None
    for clock in _CLOCK.finditer(prefix):  # noqa: B007  # the last one: syslog has put its own before it
        pass
    if clock is None:
        return "", 0
    date, sign, hours, minutes, seconds, fraction = clock.groups()
    time_ns = (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * _SECOND + int((fraction or "").ljust(9, "0"))
    if not date:
        return "day", -time_ns if sign else time_ns
    try:
        days = dt.date.fromisoformat(date).toordinal() - dt.date(1970, 1, 1).toordinal()
    except ValueError:
        return "day", time_ns
    return "date", days * 86400 * _SECOND + time_ns
