"""Packets made again from tcpdump's printed lines, so that text goes the way of every other capture.

A packet has the headers that the line tells of and no payload: as if the snap length had cut it. What the line leaves out
is filled in as follows.

- Sequence numbers: tcpdump prints the first ones of a conversation as they are and later ones relative to them, unless
  ``-S``. Which of the two a number is shows in which lies nearer to what must come next. A conversation whose beginning
  was not pasted is counted from zero. A bare ACK, whose own number is not printed, carries the next one of what its
  interface has shown (``-i any`` shows a packet on each that it passes); that a keep-alive's is one less cannot be known.
- Names: ``localhost`` is 127.0.0.1 or ::1; each other name gets an address of 0.0.0.0/8 or of 100:0:0:1::/64, which no
  packet carries, in the order in which they appear. Services are looked up as tcpdump looks them up.
- Times: without a date they count from 1970-01-01, and one that goes back by half a day or more is the next day's. The
  text's time zone is not in it: it is taken for UTC. Without times, segments are a microsecond apart.
"""

from __future__ import annotations

import ctypes
import ipaddress
import itertools
import re
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from analyzer.decode.tcpdump_text import Line

_HOUR_NS = 3_600_000_000_000
_DAY_NS = 86_400_000_000_000
_FARTHEST_NS = 9_000_000_000 * 1_000_000_000  # in the year 2255; 64 bits of nanoseconds end in 2262
_NAMELESS_4 = 0
_NAMELESS_6 = int(ipaddress.IPv6Address("100:0:0:1::"))
_FIN, _SYN, _ACK = 1, 2, 16
_DIRECTIONS = {"In": 0, "B": 1, "M": 2, "P": 3, "Out": 4, "": 0}
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772
_MOST_OPTIONS = 40
_FIXED = {
    "mss": (2, ">H"), "wscale": (3, ">B"), "echo": (6, ">I"), "echoreply": (7, ">I"), "cc": (11, ">I"),
    "ccnew": (12, ">I"),
}  # fmt: skip
_OTHERS = {"md5": 19, "scps": 20, "uto": 28, "tcp-ao": 29, "tfo": 34}
_MPTCP = ("capable", "join", "dss", "add-addr", "rem-addr", "prio", "fail", "fast-close")
_UNKNOWN_SERVICES = 65535  # given out downwards


class Packet(NamedTuple):
    """A packet as a record has it."""

    data: bytes  #: its headers
    wire: int  #: bytes on the wire
    time_ns: int
    interface: int  #: index into the names


def timed(lines: Iterable[Line]) -> list[tuple[Line, int]]:
    """Give each line its time; leave out lines that only repeat others.

    Where some lines have a time and some have none, the latter are quotations: somebody explains a line by repeating it.
    So is a line that stands there a second time, letter by letter, when the time has moved on.
    """
    found = list(lines)
    if not any(line.clock for line in found):
        return [(line, 1000 * i) for i, line in enumerate(found)]
    found = [line for line in found if line.clock]
    days = [line.time_ns for line in found if line.clock == "day"]
    # -ttt and -ttttt begin at nought; -ttt counts from the line before, so that it comes back to little again; the
    # line of nought itself may be of something else, and then it shows in how often that happens
    back = sum(b < a for a, b in itertools.pairwise(days))
    since_last = bool(days) and back > 0 and (days[0] == 0 or (4 * back > len(days) and max(days) < _HOUR_NS))
    timed_lines: list[tuple[Line, int]] = []
    seen: set[str] = set()
    day = before = latest = 0
    for line in found:
        time_ns = line.time_ns
        if line.clock == "day":
            if since_last:
                time_ns += before
            else:
                if time_ns + day < before - _DAY_NS // 2:
                    day += _DAY_NS
                time_ns += day
            before = time_ns
        time_ns = max(-_FARTHEST_NS, min(time_ns, _FARTHEST_NS))
        if line.text in seen and time_ns < latest:
            continue
        if not since_last:
            seen.add(line.text)
        latest = max(latest, time_ns)
        timed_lines.append((line, time_ns))
    return timed_lines


def packets(lines: list[tuple[Line, int]], names: Names) -> Iterator[Packet]:
    """Yield a packet for each line; names learns addresses, services and interfaces."""
    numbers: dict[tuple[bytes, bytes, int, int], _Conversation] = {}
    cooked = any(line.direction for line, _ in lines)
    for line, time_ns in lines:
        source, destination = names.address(line.source, line.version), names.address(line.destination, line.version)
        ports = names.port(line.source_port), names.port(line.destination_port)
        reverse = (ports[0], source) > (ports[1], destination)
        pair = (destination, source, *ports[::-1]) if reverse else (source, destination, *ports)
        conversation = numbers.setdefault(pair, _Conversation())
        seq, ack, edges = conversation.absolute(line, 1 if reverse else 0, _edges(line.options))
        interface = names.interface(line.interface) if cooked else 0
        link = _sll2(line, interface) if cooked else b""
        segment = _segment(line, ports, seq, ack, _option_bytes(line.options, edges))
        headers = _datagram(line, source, destination, segment)
        yield Packet(link + headers, len(link) + len(headers) + line.length, time_ns, interface)


class Names:
    """Addresses and ports for names, the same one each time."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, ...]] = {}  #: address -> the name printed for it
        self.interfaces: list[str] = []
        self._addresses: dict[tuple[str, int], bytes] = {}
        self._ports: dict[str, int] = {}
        self._named = 0

    def address(self, name: str, version: int) -> bytes:
        """Return 4 or 16 bytes."""
        found = self._addresses.get((name, version))
        if found is None:
            found = self._addresses[name, version] = self._new_address(name, version)
        return found

    def _new_address(self, name: str, version: int) -> bytes:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        try:
            return socket.inet_pton(family, name)
        except (OSError, ValueError):
            pass
        if name.partition(".")[0] in ("localhost", "ip6-localhost"):
            packed = ipaddress.IPv4Address("127.0.0.1").packed if version == 4 else ipaddress.IPv6Address("::1").packed
        else:
            self._named += 1
            base, width = (_NAMELESS_4, 4) if version == 4 else (_NAMELESS_6, 16)
            packed = (base + self._named % (1 << 24)).to_bytes(width, "big")
        text = socket.inet_ntop(family, packed)
        self.known[text] = tuple(dict.fromkeys((*self.known.get(text, ()), name)))
        return packed

    def port(self, name: str) -> int:
        """Return the number of a port, printed as a number or as a service."""
        found = self._ports.get(name)
        if found is None:
            found = self._ports[name] = self._new_port(name)
        return found

    def _new_port(self, name: str) -> int:
        if name.isdecimal() and len(name) <= 5 and int(name) <= 65535:
            return int(name)
        try:
            return socket.getservbyname(name, "tcp")
        except (OSError, ValueError):
            return (_UNKNOWN_SERVICES - len(self._ports)) % 65536

    def interface(self, name: str) -> int:
        """Return the index of an interface."""
        if name not in self.interfaces:
            self.interfaces.append(name)
        return self.interfaces.index(name)


class _Conversation:
    """What is known of a conversation's numbers, by end (0, 1)."""

    __slots__ = ("base", "following", "mode", "shown")

    def __init__(self) -> None:
        self.base: list[int] | None = None  #: what tcpdump would count from
        self.following: list[int | None] = [None, None]  #: the next number of each end
        self.shown: dict[tuple[int, str], int] = {}  #: the same for what one interface has shown
        self.mode = ""  #: "relative", "as printed", or not known yet

    def absolute(self, line: Line, end: int, edges: list[int]) -> tuple[int, int, list[int]]:
        """Return the line's own number, what it acknowledges, and its SACK edges, as the packet had them."""
        seq, ack, other = line.seq, line.ack, 1 - end
        if not line.flags & _ACK:
            number = self._own(line, end) if seq is None else seq  # always printed as it is
            if line.flags & _SYN:
                self.following[end] = None
            self._advance(line, end, number)
            return number, 0, edges
        if self.base is None or line.flags & _SYN:  # printed as they are, and counted from here on
            bases = [0, 0]
            bases[end] = self._own(line, end) if seq is None else seq
            bases[other] = _number((ack or 0) - 1)
            self.base = bases
            if line.flags & _SYN:
                self.following[end] = None
            shift = (0, 0)
            blocks = self._nearer(edges, ack or 0, bases[other])
        else:
            if not self.mode:
                self._decide(seq, ack, end, self.base)
            shift = (self.base[end], self.base[other]) if self.mode != "as printed" else (0, 0)
            blocks = shift[1]
        number = self._own(line, end) if seq is None else _number(seq + shift[0])
        acknowledged = _number((ack or 0) + shift[1])
        self._advance(line, end, number)
        if self.following[other] is None:
            self.following[other] = acknowledged
        return number, acknowledged, [_number(edge + blocks) for edge in edges]

    def _decide(self, seq: int | None, ack: int | None, end: int, base: list[int]) -> None:
        """Tell relative numbers from absolute ones by what must come next; leave it open where both fit."""
        printed = shifted = 0
        for number, whose in ((seq, end), (ack, 1 - end)):
            expected = self.following[whose]
            if number is not None and expected is not None:
                printed += abs(_distance(number, expected))
                shifted += abs(_distance(number + base[whose], expected))
        if printed != shifted:
            self.mode = "as printed" if printed < shifted else "relative"

    @staticmethod
    def _nearer(edges: list[int], ack: int, base: int) -> int:
        """Return what SACK edges are relative to: unless ``-S``, they are also where the other numbers are not."""
        if not edges:
            return 0
        return base if abs(_distance(edges[0] + base, ack)) < abs(_distance(edges[0], ack)) else 0

    def _own(self, line: Line, end: int) -> int:
        """Return the number that a segment without one must have had."""
        following = self.shown.get((end, line.interface), self.following[end])
        if following is None:
            following = self.base[end] if self.base else 0
        return following

    def _advance(self, line: Line, end: int, number: int) -> None:
        behind = _number(number + line.length + (1 if line.flags & _SYN else 0) + (1 if line.flags & _FIN else 0))
        following = self.following[end]
        if following is None or _distance(behind, following) > 0:
            self.following[end] = behind
        shown = self.shown.get((end, line.interface))
        if shown is None or line.flags & _SYN or _distance(behind, shown) > 0:
            self.shown[end, line.interface] = behind


def _number(number: int) -> int:
    return ctypes.c_uint32(number).value


def _distance(number: int, reference: int) -> int:
    return ctypes.c_int32(number - reference).value


# ------------------------------------------------------------------------------------------------------------- headers


def _edges(options: str) -> list[int]:
    return [int(edge) for block in re.findall(r"\{(\d{1,10}):(\d{1,10})\}", options) for edge in block][:8]


def _option_bytes(options: str, edges: list[int]) -> bytes:
    """Write the options that tcpdump's words tell of, padded to a multiple of four."""
    written = b""
    for words in filter(None, (option.split() for option in options.split(","))):
        option = _option(words, edges)
        if len(written) + len(option) > _MOST_OPTIONS:
            break
        written += option
    return written + b"\0" * (-len(written) % 4)


def _option(words: list[str], edges: list[int]) -> bytes:
    name, values = words[0], [int(word) for word in words[1:] if word.isdecimal() and len(word) <= 10]
    if name == "nop":
        return b"\1"
    if name == "eol":
        return b"\0"
    if name == "sackOK":
        return b"\4\2"
    if name in _FIXED and values:
        kind, form = _FIXED[name]
        value = values[0] & (0xFFFF if form == ">H" else 0xFF if form == ">B" else -1)
        return struct.pack(">BB", kind, 2 + struct.calcsize(form)) + struct.pack(form, _number(value))
    if name in ("TS", "timestamp") and len(values) >= 2:
        return struct.pack(">BBII", 8, 10, _number(values[0]), _number(values[1]))
    if name == "sack" and len(edges) >= 2 and len(edges) % 2 == 0:
        return struct.pack(f">BB{len(edges)}I", 5, 2 + 4 * len(edges), *edges)
    if name == "mptcp" and len(words) >= 2:
        kind = next((i for i, word in enumerate(_MPTCP) if word in words[1:3]), 15)
        size = values[0] if values and words[1].isdecimal() and 4 <= values[0] <= _MOST_OPTIONS else 4
        return bytes((30, size, kind << 4)) + bytes(size - 3)
    if name in _OTHERS or name.startswith("unknown-"):
        kind = _OTHERS.get(name) or int(name[8:]) if name[8:].isdecimal() or name in _OTHERS else 0
        data = _hexadecimal(words[-1]) if len(words) > 1 else b""
        return bytes((kind, 2 + len(data))) + data if 2 <= kind <= 255 else b""
    if name == "exp-tfo":
        data = _hexadecimal(words[-1]) if len(words) > 1 else b""
        return bytes((254, 4 + len(data), 0xF9, 0x89)) + data
    return b""


def _hexadecimal(word: str) -> bytes:
    digits = word.removeprefix("0x")
    try:
        return bytes.fromhex(digits)[: _MOST_OPTIONS - 4]
    except ValueError:
        return b""


def _segment(line: Line, ports: tuple[int, int], seq: int, ack: int, options: bytes) -> bytes:
    offset_and_flags = (5 + len(options) // 4) << 12 | line.flags
    return (
        struct.pack(
            ">HHIIHHHH", *ports, seq, ack, offset_and_flags, min(line.window, 65535), 0, min(line.urgent, 65535)
        )
        + options
    )


def _datagram(line: Line, source: bytes, destination: bytes, segment: bytes) -> bytes:
    """Put the IP header before a segment, and the checksums in; a cut segment's cannot be checked by anybody."""
    size = len(segment) + line.length
    pseudo = source + destination + struct.pack(">II", size, 6)
    segment = segment[:16] + struct.pack(">H", _checksum(pseudo + segment)) + segment[18:]
    ttl = min(255, 64 if line.ttl is None else line.ttl)
    if line.version == 6:
        header = struct.pack(">IHBB", 6 << 28 | line.tos << 20, min(size, 65535), 6, ttl)
        return header + source + destination + segment
    fixed = struct.pack(
        ">BBHHHBB", 0x45, line.tos, min(size + 20, 65535), (line.identification or 0) & 0xFFFF, 0, ttl, 6
    )
    total = _checksum(fixed + b"\0\0" + source + destination)
    return fixed + struct.pack(">H", total) + source + destination + segment


def _checksum(data: bytes) -> int:
    words = struct.unpack(f">{len(data) // 2}H", data)
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _sll2(line: Line, interface: int) -> bytes:
    """Write the header of Linux's cooked captures; interfaces are numbered from 1 in the order in which they appear."""
    kind = _ARPHRD_LOOPBACK if line.interface == "lo" else _ARPHRD_ETHER
    ethertype = 0x0800 if line.version == 4 else 0x86DD
    return struct.pack(">HHIHBB8s", ethertype, 0, interface + 1, kind, _DIRECTIONS[line.direction], 6, b"")
