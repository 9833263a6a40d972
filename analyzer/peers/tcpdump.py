"""The lines that ``tcpdump -nn -tt -r CAPTURE`` prints for TCP segments, up to their length.

A view of the records, not of our verdicts: numbers are relative by tcpdump's own rule (below), first fragments are
segments, a cut header ends in ``[|tcp]``. What follows the length in tcpdump's output is the application's and is left
out. The words are those of tcpdump 4.99.

tcpdump's rule for relative numbers: a segment with ACK looks its pair of addresses and ports up in a table. If the pair
is new, or SYN is set, its number and the one before what it acknowledges become the pair's bases, and it is printed with
its numbers as they are; otherwise with its distances from the bases. Segments without ACK are printed as they are and
touch nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Literal

from analyzer.decode.text_source import open_source
from analyzer.errors import CaptureError
from analyzer.peers.tcpdump_options import Bytes, Cut, options, wrapped

if TYPE_CHECKING:
    from analyzer.capture.records import Records, Source
    from analyzer.frames.capture import Capture
    from analyzer.settings import Settings

_NULL, _ETHERNET, _PPP, _FDDI, _PPP_HDLC, _C_HDLC, _LOOP, _SLL, _NFLOG, _SLL2 = 0, 1, 9, 10, 50, 104, 108, 113, 239, 276
_RAW = frozenset({12, 14, 101, 228, 229})  # by the version in the first four bits
_IPV4, _IPV6 = 0x0800, 0x86DD
_TAGS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})
_MOST_TAGS = 8
_SNAP = 0xAAAA03
_FDDI_LLC = 0x50  # the frame control's upper bits of a frame that carries LLC
_PPP_PROTOCOLS = {0x21: _IPV4, 0x57: _IPV6}
_NFLOG_PAYLOAD = 9
_DIRECTIONS = {0: "In", 1: "B", 2: "M", 3: "P", 4: "Out"}  # if_packet.h; packet(7)
_TCP, _HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION = 6, 0, 43, 44, 60
_FLAGS = ((1, "F"), (2, "S"), (4, "R"), (8, "P"), (16, "."), (32, "U"), (64, "E"), (128, "W"))
_FIN_SYN_RST, _SYN, _ACK, _URG = 7, 2, 16, 32

#: A conversation: the end with the lower port (or address) first; and both ports.
_Pair = tuple[bytes, bytes, int, int]


def lines(source: Source, *, port: int | None = None, frames: Container[int] | None = None) -> Iterator[str]:
    """Yield a line for each TCP segment of a source.

    Parameters
    ----------
    source
        An opened capture; a capture filter is the source's own (``open_capture(paths, bpf=...)``). It is not closed.
    port
        Only segments from or to this port.
    frames
        Only records with these numbers. All segments are looked at all the same, for relative numbers depend on what
        was seen before.

    Raises
    ------
    CaptureError
        There is nothing to read; FilterError: the capture filter does not compile. Both with the first line.

    Notes
    -----
    Link types: Ethernet with VLAN tags and SNAP, Linux's cooked captures (both), BSD's loopbacks, raw IP, FDDI, PPP,
    Cisco HDLC, NFLOG. Records of others, and segments in tunnels, give no lines. SLL2's interface is named as tcpdump
    names it: after the interface that has its index on the host where this runs.
    """
    printer = Printer()
    for batch in source.batches():
        yield from _batch(printer, batch, port, frames)


def printed_again(capture: Capture, settings: Settings, frames: Container[int]) -> list[str]:
    """Return the lines of these frames of a capture that has been analysed; it is read again for them.

    Raises
    ------
    CaptureError
        It cannot be read again: it came live or through a pipe, or the file has gone.
    """
    if "live" in capture.formats or "-" in capture.files:
        raise CaptureError(
            "tcpdump's lines are printed from the packets, and these came live or through a pipe, and are gone: write them "
            "to a file (-w), and read that"
        )
    source = open_source(capture.files, bpf=capture.bpf, settings=settings)
    try:
        return list(lines(source, frames=frames))
    finally:
        source.close()


def _batch(printer: Printer, batch: Records, port: int | None, frames: Container[int] | None) -> Iterator[str]:
    data = memoryview(batch.data)  # type: ignore[arg-type]  # an array of bytes has a buffer
    links = batch.links.tolist()
    columns = (batch.offset, batch.captured, batch.wire, batch.time_ns, batch.interface, batch.frame)
    for offset, captured, wire, time_ns, interface, frame in zip(*(a.tolist() for a in columns), strict=True):
        line = printer.line(bytes(data[offset : offset + captured]), wire, time_ns, links[interface])
        if line is not None and (port is None or port in printer.ports) and (frames is None or frame in frames):
            yield line


class Printer:
    """tcpdump's memory: the bases of the conversations seen so far.

    Attributes
    ----------
    ports : tuple of int
        The ports of the segment printed last; empty where its header was cut before them.
    """

    def __init__(self) -> None:
        self.ports: tuple[int, ...] = ()
        self._bases: dict[_Pair, tuple[int, int]] = {}
        self._names: dict[int, str] = {}

    def line(self, data: bytes, wire: int, time_ns: int, link: int) -> str | None:
        """Return the line of one record, or None if it is no TCP segment.

        Parameters
        ----------
        data
            The captured bytes.
        wire
            How many there were on the wire.
        time_ns
            Nanoseconds since 1970; printed are microseconds.
        link
            LINKTYPE_ number.
        """
        self.ports = ()
        out = [f"{time_ns // 1_000_000_000}.{time_ns // 1000 % 1_000_000:06} "]
        packet = Bytes(data, len(data))
        try:
            at, ethertype = self._network(packet, link, out)
        except Cut:
            return None
        try:
            if ethertype == _IPV4:
                found = self._ipv4(packet, at, wire - at, out)
            elif ethertype == _IPV6:
                found = self._ipv6(packet, at, wire - at, out)
            else:
                found = False
        except Cut:
            out.append(f" [|{packet.protocol}]")
            found = packet.protocol in ("tcp", "mptcp")  # else nobody knows what it was
        return "".join(out) if found else None

    def _network(self, packet: Bytes, link: int, out: list[str]) -> tuple[int, int]:
        """Find the network header: its offset, and its EtherType or 0."""
        if link == _ETHERNET:
            return _ethertype(packet, 14, packet.number(12, 2))
        if link == _SLL2:
            packet.number(19, 1)
            out.append(f"{self._interface(packet.number(4, 4)):5} {_DIRECTIONS.get(packet.number(10, 1), '?'):3} ")
            return _ethertype(packet, 20, packet.number(0, 2))
        if link == _SLL:
            return _ethertype(packet, 16, packet.number(14, 2))
        if link in _RAW:
            return _by_version(packet, 0)
        if link in (_NULL, _LOOP):
            return _by_version(packet, 4)
        if link == _FDDI:
            return _ethertype(packet, 13, 0) if packet.number(0, 1) & 0xF0 == _FDDI_LLC else (0, 0)
        if link == _PPP:
            return _ppp(packet)
        if link == _PPP_HDLC and packet.number(0, 1) == 0xFF:
            at, ethertype = _ppp(packet)
            out.append("IP: " if ethertype == _IPV4 else "IP6: ")
            return at, ethertype
        if link in (_C_HDLC, _PPP_HDLC):
            return 4, packet.number(2, 2)
        if link == _NFLOG:
            return _nflog(packet)
        return 0, 0

    def _interface(self, index: int) -> str:
        name = self._names.get(index)
        if name is None:
            try:
                name = socket.if_indextoname(index)
            except (OSError, OverflowError):
                name = "?"
            self._names[index] = name
        return name

    def _ipv4(self, packet: Bytes, at: int, wire: int, out: list[str]) -> bool:
        """Append an IPv4 datagram; False if it is no TCP segment's beginning."""
        vhl = packet.number(at, 1)
        if vhl >> 4 != 4:
            return False
        out.append("IP ")
        if packet.number(at + 9, 1) != _TCP or packet.number(at + 6, 2) & 0x1FFF:
            return False
        packet.number(at + 19, 1)
        header, length = (vhl & 15) * 4, packet.number(at + 2, 2)
        if wire < 20:
            out.append(f"truncated-ip {wire}")
            return True
        if header < 20:
            out.append(f"bad-hlen {header}")
            return True
        if wire < length:
            out.append(f"truncated-ip - {length - wire} bytes missing! ")
        if length < header:
            out.append(f"bad-len {length}")
            return True
        packet.end = min(packet.end, at + length)
        ends = packet.data[at + 12 : at + 16], packet.data[at + 16 : at + 20]
        names = socket.inet_ntoa(ends[0]), socket.inet_ntoa(ends[1])
        self._tcp(packet, at + header, length - header, ends, names, True, out)
        return True

    def _ipv6(self, packet: Bytes, at: int, wire: int, out: list[str]) -> bool:
        """Append an IPv6 datagram with its extension headers; False if it is no TCP segment's beginning."""
        packet.protocol = "ip6"
        packet.number(at + 39, 1)
        if packet.data[at] >> 4 != 6:
            return False
        out.append("IP6 ")
        if wire < 40:
            out.append(f"truncated-ip6 {wire}")
            return packet.data[at + 6] == _TCP
        payload, following = packet.number(at + 4, 2), packet.data[at + 6]
        length = payload + 40
        if wire < length:
            out.append(f"truncated-ip6 - {length - wire} bytes missing!")
        packet.end = min(packet.end, at + length)
        ends = packet.data[at + 8 : at + 24], packet.data[at + 24 : at + 40]
        names = socket.inet_ntop(socket.AF_INET6, ends[0]), socket.inet_ntop(socket.AF_INET6, ends[1])
        straight = following == _TCP
        if not straight:
            out.append(f"{names[0]} > {names[1]}: ")
        here, length = at + 40, payload
        while following != _TCP:  # each step moves on by eight bytes or more
            if here >= packet.end:
                return False
            size = 8
            if following == _FRAGMENT:
                place = packet.number(here + 2, 2) & 0xFFF8
                out.append(f"frag ({place}|{40 + payload - (here - at) - 8})")
                if place:
                    return False
                out.append(" ")
            elif following in (_HOP_BY_HOP, _DESTINATION):
                size = (packet.number(here + 1, 1) + 1) * 8
                out.append("HBH " if following == _HOP_BY_HOP else "DSTOPT ")
            elif following == _ROUTING:
                size = (packet.number(here + 1, 1) + 1) * 8
                out.append(_routing(packet, here))
            else:
                return False
            following = packet.number(here, 1)
            here, length = here + size, length - size
            if length < 0:
                return False
        self._tcp(packet, here, length, ends, names, straight, out)
        return True

    def _tcp(
        self,
        packet: Bytes,
        at: int,
        length: int,
        ends: tuple[bytes, bytes],
        names: tuple[str, str],
        straight: bool,
        out: list[str],
    ) -> None:
        """Append a segment: length transport bytes, of which the header begins at at."""
        packet.protocol = "tcp"
        if at + 4 > packet.end:
            out.append(f"{names[0]} > {names[1]}: [|tcp]")
            return
        ports = packet.number(at, 2), packet.number(at + 2, 2)
        self.ports = ports
        if straight:
            out.append(f"{names[0]}.{ports[0]} > {names[1]}.{ports[1]}: ")
        else:
            out.append(f"{ports[0]} > {ports[1]}: ")
        packet.number(at + 19, 1)
        header = (packet.number(at + 12, 1) >> 4) * 4
        if header < 20:
            out.append(f" tcp {wrapped(length - header)} [bad hdr length {header} - too short, < 20]")
            return
        seq, ack = packet.number(at + 4, 4), packet.number(at + 8, 4)
        flags = packet.number(at + 13, 1)
        out.append(f"Flags [{''.join(letter for bit, letter in _FLAGS if flags & bit) or 'none'}]")
        base = 0
        if flags & _ACK:
            seq, ack, base = self._relative(ends, ports, seq, ack, flags)
        if header > length:
            out.append(f" [bad hdr length {header} - too long, > {length}]")
            return
        length -= header
        if length > 0 or flags & _FIN_SYN_RST:
            out.append(f", seq {seq}" + (f":{wrapped(seq + length)}" if length else ""))
        if flags & _ACK:
            out.append(f", ack {ack}")
        out.append(f", win {packet.number(at + 14, 2)}")
        if flags & _URG:
            out.append(f", urg {packet.number(at + 18, 2)}")
        whole = at + header + length <= packet.end
        if header > 20 and not options(packet, at + 20, header - 20, flags, base, out, whole):
            return
        out.append(f", length {length}")

    def _relative(
        self, ends: tuple[bytes, bytes], ports: tuple[int, int], seq: int, ack: int, flags: int
    ) -> tuple[int, int, int]:
        """Return the numbers to print, and what SACK blocks are relative to."""
        reverse = ports[0] > ports[1] or (ports[0] == ports[1] and ends[0] > ends[1])
        pair = (*ends[::-1], *ports[::-1]) if reverse else (*ends, *ports)
        bases = self._bases.get(pair)  # of the first end's numbers, of the second's
        if bases is None or flags & _SYN:
            other = wrapped(ack - 1)
            self._bases[pair] = (other, seq) if reverse else (seq, other)
            return seq, ack, other
        own, other = (bases[1], bases[0]) if reverse else bases
        return wrapped(seq - own), wrapped(ack - other), other


def _ethertype(packet: Bytes, at: int, ethertype: int) -> tuple[int, int]:
    """Step over VLAN tags and a SNAP header."""
    for _ in range(_MOST_TAGS):
        if ethertype not in _TAGS:
            break
        ethertype, at = packet.number(at + 2, 2), at + 4
    if ethertype < 0x0600:
        if packet.number(at, 3) != _SNAP:
            return 0, 0
        ethertype, at = packet.number(at + 6, 2), at + 8
    return at, ethertype


def _by_version(packet: Bytes, at: int) -> tuple[int, int]:
    return at, {4: _IPV4, 6: _IPV6}.get(packet.number(at, 1) >> 4, 0)


def _ppp(packet: Bytes) -> tuple[int, int]:
    at = 2 if packet.number(0, 2) == 0xFF03 else 0  # address and control may have been negotiated away
    if packet.number(at, 1) & 1:  # and so may the protocol's first byte
        return at + 1, _PPP_PROTOCOLS.get(packet.number(at, 1), 0)
    return at + 2, _PPP_PROTOCOLS.get(packet.number(at, 2), 0)


def _nflog(packet: Bytes) -> tuple[int, int]:
    """Find the payload among the attributes; their lengths are in the byte order of the host that captured."""
    order: Literal["little", "big"] = "big" if packet.number(4, 1) == 0 else "little"  # the first one is short
    at = 4
    while True:
        packet.number(at, 4)
        size = int.from_bytes(packet.data[at : at + 2], order)
        kind = int.from_bytes(packet.data[at + 2 : at + 4], order) & 0x7FFF
        if kind == _NFLOG_PAYLOAD:
            return _by_version(packet, at + 4)
        if size < 4:
            return 0, 0
        at += (size + 3) & ~3


def _routing(packet: Bytes, at: int) -> str:
    kind, left = packet.number(at + 2, 1), packet.number(at + 3, 1)
    return f"srcrt (len={packet.number(at + 1, 1)}, type={kind}, segleft={left}) "
