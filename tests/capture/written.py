"""Writing captures for the tests, and reading them whole."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import hypothesis.strategies as st

from analyzer.capture.files import open_capture
from tests.capture.reference import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analyzer.capture.records import CaptureInfo, Source

Packet = tuple[int, bytes]  #: time in ns, bytes


def pcap(
    packets: Iterable[Packet], *, order: str = "<", nanoseconds: bool = False, link: int = 1, snap_length: int = 262144
) -> bytes:
    magic, tick = (0xA1B23C4D, 1) if nanoseconds else (0xA1B2C3D4, 1000)
    header = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap_length, link)
    return header + b"".join(
        struct.pack(order + "IIII", time // 10**9, time % 10**9 // tick, len(data), len(data)) + data
        for time, data in packets
    )


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<", version: int = 1, options: bytes = b"") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, version, 0, -1) + options, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(link: int = 1, *, order: str = "<", snap_length: int = 0, options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snap_length) + options, order)


def enhanced(ticks: int, data: bytes, *, number: int = 0, order: str = "<", options: bytes = b"") -> bytes:
    fixed = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(6, fixed + data + bytes(-len(data) % 4) + options, order)


def old(ticks: int, data: bytes, *, number: int = 0, order: str = "<") -> bytes:
    fixed = struct.pack(order + "HHIIII", number, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(2, fixed + data, order)


def simple(data: bytes, *, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", len(data)) + data, order)


class Whole(NamedTuple):
    """All batches of a source, copied."""

    records: list[Record]
    frame: list[int]
    file: list[int]
    file_frame: list[int]
    batches: list[int]
    info: CaptureInfo


def whole(paths: object, **arguments: object) -> Whole:
    return drained(open_capture(paths, **arguments))


def drained(source: Source) -> Whole:
    everything = Whole([], [], [], [], [], source.info)
    try:
        for batch in source.batches():
            everything.batches.append(len(batch.frame))
            assert len({len(column) for column in batch[1:-1]}) == 1
            for i in range(len(batch.frame)):
                begin, length = int(batch.offset[i]), int(batch.captured[i])
                assert 0 <= begin <= begin + length <= len(batch.data)
                seen = source.info.interfaces[batch.interface[i]]
                assert batch.links[batch.interface[i]] == seen.link
                data = batch.data[begin : begin + length].tobytes()
                record = Record(data, int(batch.wire[i]), int(batch.time_ns[i]), seen.link, seen.name)
                everything.records.append(record)
            everything.frame.extend(batch.frame.tolist())
            everything.file.extend(batch.file.tolist())
            everything.file_frame.extend(batch.file_frame.tolist())
    finally:
        source.close()
    return everything


# -------------------------------------------------------------------------------------------------- for Hypothesis

packets = st.lists(st.tuples(st.integers(0, 2**32 * 10**9 - 1), st.binary(max_size=80)), max_size=40)
orders = st.sampled_from("<>")
pcaps = st.builds(pcap, packets, order=orders, nanoseconds=st.booleans(), link=st.sampled_from([0, 1, 101, 113, 276]))


@st.composite
def pcapngs(draw: st.DrawFn) -> bytes:
    """Sections, interfaces with clocks of any kind, packets in all three kinds of block, and blocks of other kinds."""
    content = b""
    for _ in range(draw(st.integers(1, 3))):
        order = draw(orders)
        content += section(order)
        count = draw(st.integers(0, 3))
        for number in range(count):
            options = b""
            if draw(st.booleans()):
                options += option(2, f"eth{number}".encode(), order)
            if draw(st.booleans()):
                options += option(9, bytes([draw(st.integers(0, 255))]), order)
            if draw(st.booleans()):
                offset = draw(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-(10**10), 10**10)))
                options += option(14, struct.pack(order + "q", offset), order)
            if options and draw(st.booleans()):
                options += option(0, b"", order)
            link, snap_length = draw(st.sampled_from([1, 101, 276])), draw(st.sampled_from([0, 20, 262144]))
            content += interface(link, order=order, snap_length=snap_length, options=options)
        for _ in range(draw(st.integers(0, 8))):
            ticks = draw(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 2 * 10**18)))
            data = draw(st.binary(max_size=60))
            kind = draw(st.sampled_from(["enhanced", "enhanced", "enhanced", "old", "simple", "other"]))
            if kind == "other" or not count:
                content += block(draw(st.sampled_from([4, 5, 9, 0xBAD, 0x40000BAD])), data, order)
            elif kind == "simple":
                content += simple(data, order=order)
            else:
                write = enhanced if kind == "enhanced" else old
                content += write(ticks, data, number=draw(st.integers(0, count - 1)), order=order)
    return content


captures = st.one_of(pcaps, pcapngs())
