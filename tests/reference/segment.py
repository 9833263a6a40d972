"""A TCP segment: its header and options (RFC 9293 section 3.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from analyzer.decode.checksum import Checksum
from analyzer.decode.layers import Layer
from tests.reference.record import Record
from tests.reference.way import IcmpError

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE = 1, 2, 4, 8, 16, 32, 64, 128, 256


@dataclass
class Options:
    """What the options say; of one that comes twice the last."""

    mss: int | None = None
    wscale: int | None = None
    sack_permitted: bool = False
    sack: list[int] | None = None  #: left and right edges by turns, as on the wire
    timestamps: tuple[int, int] | None = None
    fast_open: bool = False
    fast_open_cookie: bool = False  #: with a cookie, not only a request for one
    mptcp_key: bool = False  #: MP_CAPABLE with a key
    mptcp: set[int] = field(default_factory=set)  #: subtypes
    md5: bool = False
    ao: bool = False
    user_timeout_s: int | None = None
    malformed: bool = False

    @property
    def worth_a_row(self) -> bool:
        """Timestamps are columns of the packets."""
        values = (self.mss, self.wscale, self.sack, self.user_timeout_s)
        flags = (self.sack_permitted, self.fast_open, self.mptcp, self.md5, self.ao)
        return any(flags) or any(value is not None for value in values)


Address = int  #: as a big-endian number


@dataclass
class Segment:
    """A segment, or the one that an ICMP error quotes."""

    record: Record
    version: int
    source: Address
    destination: Address
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int = 0
    length: int = 0  #: payload, from the IP header
    seglen: int | None = None  #: what Wireshark takes for that: not beyond the frame's end
    header_trouble: str = ""  #: what keeps Wireshark from showing what it found out: cut, bogus, long
    options: Options = field(default_factory=Options)
    raw_checksum: int = 0
    header: int = 0  #: octets, by itself
    ip_id: int | None = None  #: IPv4 only
    ttl: int = 0
    truncated: bool = False
    tags: tuple[int, ...] = ()  #: VLAN, outermost first
    tunnel: Layer | None = None  #: the innermost
    path: tuple = ()  #: the way through tunnels
    checksum: Checksum = Checksum.UNKNOWN
    ip_checksum_wrong: bool = False
    overlapping: bool = False  #: put together from fragments that overlap
    outgoing: bool | None = None
    loopback: bool = False
    ifindex: int | None = None
    icmp: IcmpError | None = None  #: the error that quotes it

    @property
    def time_ns(self) -> int:
        return self.record.time_ns

    @property
    def frame(self) -> int:
        return self.record.frame

    def has(self, flag: int) -> bool:
        return bool(self.flags & flag)

    @property
    def is_syn(self) -> bool:
        return self.has(SYN) and not self.has(ACK)

    @property
    def is_syn_ack(self) -> bool:
        return self.has(SYN) and self.has(ACK)

    @property
    def span(self) -> int:
        """The sequence numbers that it takes."""
        return self.length + self.has(SYN) + self.has(FIN)


@dataclass
class Header:
    """What a TCP header says for itself."""

    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    length: int
    options: Options
    raw_checksum: int
    header: int
    seglen: int | None
    header_trouble: str


def tcp(data: bytes, length: int, wire: int) -> Header | None:
    """Read a header from what was captured of a datagram with so many transport octets; None if it is cut below 20.

    wire: so many of them were in the frame.
    """
    if len(data) < 20 or length < 20:
        return None
    sport, dport, seq, ack, offset_and_flags, window, checksum = struct.unpack("!HHIIHHH", data[:18])
    header = (offset_and_flags >> 12) * 4
    # A header length below 20 is nonsense: where the text begins is not known, so there is none.
    text = max(length - header, 0) if header >= 20 else 0
    inside = data[20 : max(header, 20)]
    reported = min(length, wire)
    trouble = ""
    if header > reported:
        trouble = "long"
    elif header < 20:
        trouble = "bogus"
    elif len(data) < header and not ends(inside):
        trouble = "cut"
    seglen = reported - header if header <= reported else None
    flags = offset_and_flags & 0x0FFF
    found = options(inside)
    return Header(sport, dport, seq, ack, flags, window, text, found, checksum, header, seglen, trouble)


def ends(data: bytes) -> bool:
    """Whether a list of options has its end."""
    while data and data[0] != 0:
        size = 1 if data[0] == 1 else data[1] if len(data) > 1 else 0
        if not 1 <= size <= len(data) or (size < 2 and data[0] != 1):
            return False
        data = data[size:]
    return bool(data)


def options(data: bytes) -> Options:
    """Walk the options; one whose length is wrong ends the walk, as nothing behind it can be trusted."""
    found = Options()
    while data and data[0] != 0:
        if data[0] == 1:  # no operation
            data = data[1:]
            continue
        size = data[1] if len(data) > 1 else 0
        if size < 2 or size > len(data):
            found.malformed = True
            break
        _take(found, data[0], data[2:size])
        data = data[size:]
    return found


def _take(found: Options, kind: int, value: bytes) -> None:
    match kind, len(value):
        case 2, 2:  # RFC 9293
            found.mss = int.from_bytes(value)
        case 3, 1:  # RFC 7323; a scale beyond 14 counts as 14, where it is used
            found.wscale = min(value[0], 127)
        case 4, 0:  # RFC 2018
            found.sack_permitted = True
        case 5, size if size >= 8 and size % 8 == 0:
            found.sack = list(struct.unpack(f"!{size // 4}I", value))
        case 8, 8:  # RFC 7323
            found.timestamps = struct.unpack("!II", value)
        case 19, 16:  # RFC 2385
            found.md5 = True
        case 28, 2:  # RFC 5482: the highest bit says minutes
            number = int.from_bytes(value)
            found.user_timeout_s = (number & 0x7FFF) * 60 if number & 0x8000 else number
        case 29, size if size >= 2:  # RFC 5925
            found.ao = True
        case 30, size if size >= 1:  # RFC 8684
            found.mptcp.add(value[0] >> 4)
            found.mptcp_key |= value[0] >> 4 == 0 and size in (10, 18, 20, 22)
        case 34, size:  # RFC 7413
            found.fast_open = True
            found.fast_open_cookie |= size > 0
        case ((253 | 254), size) if size >= 2 and value[:2] == b"\xf9\x89":  # its experiment, RFC 6994
            found.fast_open = True
            found.fast_open_cookie |= size > 2
