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
    packets: Iterable[Packet],
    *,
    order: str = "<",
    nanoseconds: bool = False,
    link: int = 1,
    snap_length: int = 262144,
    magic: int | None = None,
    version: tuple[int, int] = (2, 4),
    more: bytes = b"",
) -> bytes:
    """more: what a variant has in each record header besides."""
    usual, tick = (0xA1B23C4D, 1) if nanoseconds else (0xA1B2C3D4, 1000)
    header = struct.pack(order + "IHHiIII", magic or usual, *version, 0, 0, snap_length, link)
    return header + b"".join(
        struct.pack(order + "IIII", time // 10**9, time % 10**9 // tick, len(data), len(data)) + more + data
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
                wire, time_ns, process = int(batch.wire[i]), int(batch.time_ns[i]), int(batch.process[i])
                record = Record(data, wire, time_ns, seen.link, seen.name, process)
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
#: Of all kinds, also such that do not fit together: then they have to be read as the reference reads them.
odd_pcaps = st.builds(
    pcap,
    st.lists(st.tuples(st.integers(10**18, 10**18 + 10**12), st.binary(max_size=80)), max_size=6),
    order=orders,
    link=st.sampled_from([1, 6, 9, 15, 24]),
    magic=st.sampled_from([0xA1B2C3D4, 0xA1B2C3D4, 0xA1B2CD34, 0xA12B3C4D, 0x1C0001AB, 0x1C0001AC]),
    version=st.sampled_from([(2, 0), (2, 2), (2, 3), (2, 4), (2, 4), (543, 0), (0, 0)]),
    more=st.sampled_from([b"", bytes(4), bytes(8), b"\3\0\0\0\0\x08\0\0", bytes(12)]),
)


@st.composite
def packet_options(draw: st.DrawFn, order: str) -> bytes:
    """Options of a packet: comments, processes and others, whole or cut."""
    content = b""
    for _ in range(draw(st.integers(0, 3))):
        code = draw(st.sampled_from([1, 2, 8, 8, 0x8001, 0x8001, 0]))
        number = draw(st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1)))
        value = struct.pack(order + "II", number, 7)[: draw(st.sampled_from([0, 3, 4, 8, 8]))]
        content += option(code, value, order)
    return content[: draw(st.sampled_from([None, None, None, -4]))]


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
                content += block(draw(st.sampled_from([4, 5, 9, 0xBAD, 0x40000BAD, 0x80000001])), data, order)
            elif kind == "enhanced" and draw(st.booleans()):
                number, options = draw(st.integers(0, count - 1)), draw(packet_options(order))
                content += enhanced(ticks, data, number=number, order=order, options=options)
            elif kind == "simple":
                content += simple(data, order=order)
            else:
                write = enhanced if kind == "enhanced" else old
                content += write(ticks, data, number=draw(st.integers(0, count - 1)), order=order)
    return content


captures = st.one_of(pcaps, pcapngs())
