"""The twin of the readers: pcap and pcapng in plain Python, one record after another, written to be read.

It is the specification: what it delivers, and whether it says that a capture is damaged, the compiled readers must
say too.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

LIMIT = 16 * 1024 * 1024


class Record(NamedTuple):
    data: bytes
    wire: int
    time_ns: int
    link: int
    name: str | None


class Read(NamedTuple):
    records: list[Record]
    damaged: bool


class NotACaptureError(Exception):
    """There is no capture in these bytes at all."""


def read(content: bytes, limit: int = LIMIT) -> Read:
    if content[:4] == b"\x0a\x0d\x0d\x0a":
        return read_pcapng(content, limit)
    return read_pcap(content, limit)


# ----------------------------------------------------------------------------------------------------------------- pcap

MAGICS = {0xA1B2C3D4: (1000, 16), 0xA1B23C4D: (1, 16), 0xA1B2CD34: (1000, 24)}


def read_pcap(content: bytes, limit: int = LIMIT) -> Read:
    for order in "<>":
        magic = struct.unpack(order + "I", content[:4])[0] if len(content) >= 24 else None
        if magic in MAGICS:
            break
    else:
        raise NotACaptureError
    tick_ns, header = MAGICS[magic]
    link = struct.unpack(order + "I", content[20:24])[0] & 0xFFFF
    records = []
    at = 24
    while at < len(content):
        if len(content) - at < header:
            return Read(records, damaged=True)
        seconds, ticks, captured, wire = struct.unpack(order + "IIII", content[at : at + 16])
        data = content[at + header : at + header + captured]
        if captured > limit or len(data) < captured:
            return Read(records, damaged=True)
        records.append(Record(data, wire, seconds * 10**9 + ticks * tick_ns, link, None))
        at += header + captured
    return Read(records, damaged=False)


# --------------------------------------------------------------------------------------------------------------- pcapng


class Interface(NamedTuple):
    link: int
    name: str | None
    snap_length: int
    units_per_second: int
    offset_s: int


def nanoseconds(ticks: int, interface: Interface) -> int:
    time_ns = ticks * 10**9 // interface.units_per_second + interface.offset_s * 10**9
    if time_ns // 10**9 > 2**63 // 10**9 - 1:
        return 2**63 - 1
    if time_ns // 10**9 < -(2**63 // 10**9):
        return -(2**63 - 1)
    return time_ns


def read_pcapng(content: bytes, limit: int = LIMIT) -> Read:
    records: list[Record] = []
    interfaces: list[Interface] = []
    order = None
    last_ns = 0
    at = 0
    described = 0
    while at < len(content):
        damaged = Read(records, damaged=True)
        if content[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            interfaces = []
            order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(content[at + 8 : at + 12])
            if order is None or len(content) - at < 28:
                break
        if len(content) - at < 12:
            return damaged
        kind, length = struct.unpack(order + "II", content[at : at + 8])
        block = content[at : at + length]
        least = {0x0A0D0D0A: 28, 1: 20, 2: 32, 3: 16, 6: 32}.get(kind, 12)
        if length < least or length % 4 or len(block) < length:
            break
        if kind in {1, 2, 3, 6} and length > limit + 65536:
            break
        if struct.unpack(order + "I", block[-4:])[0] != length:
            break
        if kind == 0x0A0D0D0A:
            if struct.unpack(order + "H", block[12:14])[0] != 1:
                break
        elif kind == 1:
            interfaces.append(describe(block, order))
            described += 1
        elif kind in {2, 6}:
            number = struct.unpack(order + ("I" if kind == 6 else "H"), block[8 : 12 if kind == 6 else 10])[0]
            high, low, captured, wire = struct.unpack(order + "IIII", block[12:28])
            if number >= len(interfaces) or captured > limit or captured > length - 32:
                break
            interface = interfaces[number]
            last_ns = nanoseconds(high << 32 | low, interface)
            records.append(Record(block[28 : 28 + captured], wire, last_ns, interface.link, interface.name))
        elif kind == 3:
            if not interfaces:
                break
            interface = interfaces[0]
            (wire,) = struct.unpack(order + "I", block[8:12])
            captured = min(wire, length - 16, interface.snap_length or wire)
            if captured > limit:
                break
            records.append(Record(block[12 : 12 + captured], wire, last_ns, interface.link, interface.name))
        at += length
    else:
        return Read(records, damaged=False)
    if not described and not records and at == 0:
        raise NotACaptureError  # the first section itself cannot be read
    return Read(records, damaged=True)


def describe(block: bytes, order: str) -> Interface:
    link, _, snap_length = struct.unpack(order + "HHI", block[8:16])
    name, resolution, offset_s = None, 6, 0
    at, end = 16, len(block) - 4
    while end - at >= 4:
        code, length = struct.unpack(order + "HH", block[at : at + 4])
        value = block[at + 4 : at + 4 + length]
        if code == 0 or length > end - at - 4:
            break
        if code == 2:
            name = value.rstrip(b"\0").decode("utf-8", "replace") or None
        elif code == 9 and length == 1:
            resolution = value[0]
        elif code == 14 and length == 8:
            (offset_s,) = struct.unpack(order + "q", value)
        at += 4 + (length + 3) // 4 * 4
    units = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    return Interface(link, name, snap_length, units, offset_s)
