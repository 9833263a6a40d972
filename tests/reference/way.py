"""The way from a record's first octet down to TCP: what is left of the record, and what the layers so far have said."""

from __future__ import annotations

from dataclasses import dataclass

from analyzer.decode.layers import FORMATS, Layer
from analyzer.decode.segment import Skipped
from tests.reference.record import Record

BY_LINK = {number: row.layer for row in FORMATS for number in row.links}
BY_ETHERTYPE = {number: row.layer for row in FORMATS for number in row.ethertypes}
BY_PROTOCOL = {number: row.layer for row in FORMATS for number in row.protocols}
BY_UDP_PORT = {number: row.layer for row in FORMATS for number in row.udp_ports}
BY_PPP = {number: row.layer for row in FORMATS for number in row.ppp}


class Skip(Exception):
    """A record that is no segment."""

    def __init__(self, reason: Skipped) -> None:
        self.reason = reason


@dataclass
class Header:
    """An IP header."""

    version: int
    source: int  #: as a big-endian number
    destination: int
    ip_id: int | None
    ttl: int
    truncated: bool


@dataclass
class IcmpError:
    """An ICMP or ICMPv6 error."""

    version: int  #: 4: ICMP, 6: ICMPv6
    type: int
    code: int
    mtu: int  #: that it tells; 0: none
    reporter: tuple[int, int]  #: who sent it: IP version, address


@dataclass
class Way:
    record: Record
    data: bytes  #: what is left of the captured octets
    wire: int  #: and of those on the wire
    length: int = 0  #: transport octets, by the IP header
    ip: Header | None = None  #: the innermost so far
    under: Layer = Layer.NONE  #: the last format, of those that IP may lie in
    tags: tuple[int, ...] = ()  #: VLAN, outermost first
    outgoing: bool | None = None
    loopback: bool = False
    ifindex: int | None = None
    tunnel: Layer | None = None  #: the innermost
    path: tuple = ()  #: the tunnels that lead here, and the addresses around them
    padded: bool = False  #: 802.11: the header is padded to four octets
    unsummed: bool = False  #: its checksum does not tell: the card was to cut it up, or another destination was summed
    ip_checksum_wrong: bool = False  #: of one of the IPv4 headers on the way
    overlapping: bool = False  #: put together from fragments that overlap
    icmp: IcmpError | None = None  #: what is walked is what this error quotes

    def head(self, size: int, reason: Skipped = Skipped.LINK_CUT) -> bytes:
        """The next octets, which must be there."""
        if len(self.data) < size:
            raise Skip(reason)
        return self.data[:size]

    def step(self, size: int) -> None:
        """Step over some octets, whether they are there or not."""
        self.data, self.wire = self.data[size:], self.wire - size

    def take(self, size: int, reason: Skipped = Skipped.LINK_CUT) -> bytes:
        head = self.head(size, reason)
        self.step(size)
        return head

    def enter(self, tunnel: Layer, number: int = 0) -> None:
        """What is inside is told apart by the way that leads there."""
        self.tunnel = tunnel
        self.path += ((tunnel, number),)

    def by_ethertype(self, number: int) -> Layer:
        """What has a length where the EtherType should be is 802.3."""
        if number < 0x0600:
            return Layer.LLC
        if number not in BY_ETHERTYPE:
            raise Skip(Skipped.NOT_IP)
        return BY_ETHERTYPE[number]

    def by_version(self) -> Layer:
        version = self.head(1)[0] >> 4
        if version not in (4, 6):
            raise Skip(Skipped.NOT_IP)
        return Layer.IPV4 if version == 4 else Layer.IPV6
