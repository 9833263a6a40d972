"""Bytes on the wire, put together by hand: TCP, IP, link layers, pcap.

Standard library only: what is held against the analyzer must not have come through it.
"""

from __future__ import annotations

import ipaddress
import itertools
import struct
from collections.abc import Iterable
from typing import NamedTuple

FLAG_BITS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32, "E": 64, "W": 128, "e": 256}  # tcpdump's letters
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
PADDING = b"\xaa"  # what no reader may take for payload


class Record(NamedTuple):
    """One record of a capture; wire is the length before the snap length cut it."""

    time_ns: int
    data: bytes
    wire: int


def record(time_ns: int, data: bytes, captured: int | None = None) -> Record:
    return Record(time_ns, data[:captured], len(data))


def pcap(records: Iterable[Record], link: int = 1) -> bytes:
    """A pcap file with nanoseconds, little-endian."""
    parts = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, link)]
    for time_ns, data, wire in records:
        parts += [struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9, len(data), wire), data]
    return b"".join(parts)


def bits(flags: str) -> int:
    return 0 if flags == "none" else sum(FLAG_BITS[letter] for letter in flags)


# ------------------------------------------------------------------------------------------------------ TCP options

NOP = b"\x01"
END_OF_OPTIONS = b"\x00"
SACK_PERMITTED = b"\x04\x02"
MD5 = b"\x13\x12" + bytes(16)


def option(kind: int, value: bytes) -> bytes:
    return bytes([kind, len(value) + 2]) + value


def mss(size: int) -> bytes:
    return option(2, struct.pack(">H", size))


def wscale(shift: int) -> bytes:
    return option(3, bytes([shift]))


def sack(blocks: Iterable[tuple[int, int]]) -> bytes:
    return option(5, b"".join(struct.pack(">II", left % 2**32, right % 2**32) for left, right in blocks))


def timestamps(value: int, echo: int) -> bytes:
    return option(8, struct.pack(">II", value, echo))


def fast_open(cookie: bytes = b"") -> bytes:
    return option(34, cookie)


def mptcp(subtype: int) -> bytes:
    return option(30, bytes([subtype << 4, 1]))


# ----------------------------------------------------------------------------------------------------------- layers


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def tcp(
    sport: int,
    dport: int,
    seq: int,
    ack: int,
    flags: str,
    *,
    window: int = 65535,
    options: bytes = b"",
    payload: bytes = b"",
    header: int | None = None,
    ends: tuple[str, str] | None = None,
    sum_is: str = "right",
) -> bytes:
    """A segment; ends (source and destination) are needed for its checksum; header replaces the header length.

    sum_is: the checksum is right, wrong, partial (the pseudo-header's sum, left to the card to go on from) or left out.
    """
    options += END_OF_OPTIONS * (-len(options) % 4)
    words = 5 + len(options) // 4 if header is None else header
    fixed = struct.pack(">HHIIHHHH", sport, dport, seq % 2**32, ack % 2**32, words << 12 | bits(flags), window, 0, 0)
    segment = fixed + options + payload
    if ends is not None:
        pseudo = packed(ends[0]) + packed(ends[1]) + struct.pack(">II", len(segment), TCP)
        field = {
            "right": checksum(pseudo + segment),
            "wrong": checksum(pseudo + segment) ^ 0x5500,
            "partial": ~checksum(pseudo) & 0xFFFF,
            "left": 0,
        }[sum_is]
        segment = segment[:16] + struct.pack(">H", field) + segment[18:]
    return segment


def udp(sport: int, dport: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload


def ipv4(
    source: str,
    destination: str,
    payload: bytes,
    *,
    protocol: int = TCP,
    options: bytes = b"",
    length: int | None = None,
    fragment: int = 0x4000,
    ident: int = 1,
    ttl: int = 64,
    header: int | None = None,
) -> bytes:
    """A datagram; length and header (in words) replace what its header says of itself."""
    words = 5 + len(options) // 4 if header is None else header
    total = 20 + len(options) + len(payload) if length is None else length
    fixed = struct.pack(">BBHHHBBH", 0x40 | words, 0, total & 0xFFFF, ident, fragment, ttl, protocol, 0)
    whole = fixed + packed(source) + packed(destination) + options
    return whole[:10] + struct.pack(">H", checksum(whole)) + whole[12:] + payload


def ipv6(
    source: str,
    destination: str,
    payload: bytes,
    *,
    protocol: int = TCP,
    extensions: Iterable[tuple[int, bytes]] = (),
    length: int | None = None,
    ttl: int = 64,
) -> bytes:
    """A datagram; extensions are (its own type, its bytes but the first, which names the next header)."""
    chain = [*extensions, (protocol, b"")]
    headers = b"".join(bytes([following]) + rest for (_, rest), (following, _) in itertools.pairwise(chain))
    total = len(headers) + len(payload) if length is None else length
    fixed = struct.pack(">IHBB", 6 << 28, total & 0xFFFF, chain[0][0], ttl)
    return fixed + packed(source) + packed(destination) + headers + payload


def ip(source: str, destination: str, payload: bytes, **more: int) -> tuple[int, bytes]:
    """(EtherType, datagram), by the addresses' version."""
    if ":" in source:
        return IPV6, ipv6(source, destination, payload, **more)
    return IPV4, ipv4(source, destination, payload, **more)


def unreachable(quoted: bytes, kind: int, code: int, *, version: int = 4, rest: int = 0) -> bytes:
    """An ICMP or ICMPv6 error; rest: the second half of its header, an MTU or a length."""
    message = struct.pack(">BBHI", kind, code, 0, rest) + quoted
    return message if version == 6 else message[:2] + struct.pack(">H", checksum(message)) + message[4:]


def ethernet(ethertype: int, payload: bytes, tags: Iterable[tuple[int, int]] = (), *, pad_to: int = 60) -> bytes:
    """A frame, padded; tags are (protocol id, VLAN), outermost first."""
    header = bytes.fromhex("020000000002 020000000001")
    for protocol, vlan in tags:
        header += struct.pack(">HH", protocol, vlan)
    frame = header + struct.pack(">H", ethertype) + payload
    return frame + PADDING * (pad_to - len(frame))


def sll(ethertype: int, payload: bytes, *, packet_type: int = 0, hardware: int = 1) -> bytes:
    return struct.pack(">HHH8sH", packet_type, hardware, 6, bytes(8), ethertype) + payload


def sll2(ethertype: int, payload: bytes, *, packet_type: int = 0, hardware: int = 1, index: int = 2) -> bytes:
    return struct.pack(">HHIHBB8s", ethertype, 0, index, hardware, packet_type, 6, bytes(8)) + payload


def link_layer(link: int, ethertype: int, payload: bytes) -> bytes:
    """The payload as a record of this link type holds it."""
    family = 2 if ethertype == IPV4 else 30
    if link == 1:
        return ethernet(ethertype, payload)
    if link == 276:
        return sll2(ethertype, payload)
    if link == 113:
        return sll(ethertype, payload)
    if link == 0:
        return struct.pack("<I", family) + payload
    if link == 108:
        return struct.pack(">I", family) + payload
    assert link in (12, 14, 101, 228, 229)
    return payload
