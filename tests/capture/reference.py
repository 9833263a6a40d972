"""The twin of the readers: pcap and pcapng in plain Python, one record after another, written to be read.

It is the specification: what it delivers, and whether it says that a capture is damaged, the compiled readers must
say too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 16 * 1024 * 1024


class Record(NamedTuple):
    data: bytes
    wire: int
    time_ns: int
    link: int
    name: str | None
    process: int = -1


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

#: magic number: nanoseconds a tick, bytes of a record header, of the file header
MAGICS = {
    0xA1B2C3D4: (1000, 16, 24),
    0xA1B23C4D: (1, 16, 24),
    0xA1B2CD34: (1000, 24, 24),
    0xA12B3C4D: (1, 16, 24),
    0x1C0001AB: (1000, 16, 28),
    0x1C0001AC: (1, 16, 28),
}


def read_pcap(content: bytes, limit: int = LIMIT) -> Read:
    for order in "<>":
        magic = struct.unpack(order + "I", content[:4])[0] if len(content) >= 24 else None
        if magic in MAGICS:
            break
    else:
        raise NotACaptureError
    tick_ns, header, at = MAGICS[magic]
    version = struct.unpack(order + "HH", content[4:8])
    link = struct.unpack(order + "I", content[20:24])[0] & 0xFFFF
    padding = 0
    if magic == 0xA1B2C3D4 and version == (2, 2) and link in {6, 9, 15, 24}:
        tick_ns, link = 1, {6: 1, 9: 6, 15: 10, 24: 0}[link]
        padding = 3 if link == 10 else 0
    if version not in {(2, 0), (2, 1), (2, 2), (2, 3), (543, 0)}:
        others = {0xA1B2C3D4: (24, 20), 0xA1B2CD34: (28,)}.get(magic, ())
        header = variant(content, order, header, others)
    records = []
    if len(content) < at:
        return Read(records, damaged=True)
    while at < len(content):
        if len(content) - at < header:
            return Read(records, damaged=True)
        seconds, ticks, captured, wire = struct.unpack(order + "IIII", content[at : at + 16])
        if version in {(2, 0), (2, 1), (2, 2), (543, 0)} or (version == (2, 3) and captured > wire):
            captured, wire = wire, captured
        data = content[at + header : at + header + captured]
        if captured > limit or len(data) < captured:
            return Read(records, damaged=True)
        cut = min(padding, captured)
        records.append(Record(data[cut:], wire - cut, seconds * 10**9 + ticks * tick_ns, link, None))
        at += header + captured
    return Read(records, damaged=False)


def variant(content: bytes, order: str, usual: int, others: tuple[int, ...]) -> int:
    """The record header's size: of the first three records, two or more make sense with one of the others only."""

    def sensible(header: int) -> tuple[int, bool]:
        at, times = 24, []
        for count in range(3):
            if len(content) < at + header:
                return count, True
            seconds, ticks, captured, wire = struct.unpack(order + "IIII", content[at : at + 16])
            times.append(seconds)
            if ticks >= 10**6 or captured < (header != usual) or captured > wire or captured > 262144 or wire > 1 << 27:
                return count, False
            if header != usual and abs(seconds - times[0]) > 3650 * 86400:
                return count, False
            at += header + captured
        return 3, True

    least, sound = sensible(usual)
    if not sound:
        for header in others:
            count, sound = sensible(header)
            if sound and count > max(least, 1):
                return header
    return usual


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
    processes: list[int] = []
    at = 0
    described = 0
    while at < len(content):
        damaged = Read(records, damaged=True)
        if content[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            interfaces, processes = [], []
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
            process = process_of(block[28 + (captured + 3) // 4 * 4 : -4], order, processes)
            records.append(Record(block[28 : 28 + captured], wire, last_ns, interface.link, interface.name, process))
        elif kind == 3:
            if not interfaces:
                break
            interface = interfaces[0]
            (wire,) = struct.unpack(order + "I", block[8:12])
            captured = min(wire, length - 16, interface.snap_length or wire)
            if captured > limit:
                break
            records.append(Record(block[12 : 12 + captured], wire, last_ns, interface.link, interface.name))
        elif kind == 0x80000001 and length >= 16:
            (number,) = struct.unpack(order + "I", block[8:12])
            processes.append(number if number < 2**31 else -1)
        at += length
    else:
        return Read(records, damaged=False)
    if not described and not records and at == 0:
        raise NotACaptureError  # the first section itself cannot be read
    return Read(records, damaged=True)


def options(area: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    while len(area) >= 4:
        code, length = struct.unpack(order + "HH", area[:4])
        if code == 0 or length > len(area) - 4:
            return
        yield code, area[4 : 4 + length]
        area = area[4 + (length + 3) // 4 * 4 :]


def process_of(area: bytes, order: str, processes: list[int]) -> int:
    process = -1
    for code, value in options(area, order):
        if code not in {8, 0x8001} or len(value) < 4:
            continue
        (word,) = struct.unpack(order + "I", value[:4])
        if code == 8 and 0 < word < 2**31:
            process = word
        elif code == 0x8001 and word < len(processes) and processes[word] >= 0:
            process = processes[word]
    return process


def describe(block: bytes, order: str) -> Interface:
    link, _, snap_length = struct.unpack(order + "HHI", block[8:16])
    name, resolution, offset_s = None, 6, 0
    for code, value in options(block[16:-4], order):
        length = len(value)
        if code == 2:
            name = value.rstrip(b"\0").decode("utf-8", "replace") or None
        elif code == 9 and length == 1:
            resolution = value[0]
        elif code == 14 and length == 8:
            (offset_s,) = struct.unpack(order + "q", value)
    units = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    return Interface(link, name, snap_length, units, offset_s)
