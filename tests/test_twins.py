"""The compiled kernels and their twin in plain Python (``tests/reference``) say the same, bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from analyzer.capture.records import Records
from analyzer.decode.records import decode
from analyzer.decode.segment import SEGMENT, Skipped
from analyzer.decode import segment as kernels
from analyzer.settings import Settings
from tests import recordings, wire
from tests.capture import conformance
from tests.exchanges import OPTIONS, exchanges
from tests.reference import decode as reference
from tests.reference.record import Record
from tests.reference.replay import stack_key
from tests.reference.segment import Segment
from tests.twins import differences

pytestmark = pytest.mark.kernels

EXAMPLES = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))

# --------------------------------------------------------------------------------------------------------- captures


@pytest.mark.parametrize("name", recordings.NAMES)
def test_our_own_captures(name):
    assert differences(recordings.capture(name)) == []


@pytest.mark.parametrize("part", range(4))
def test_the_shared_captures(part):
    found = {str(path): differences(path) for path in conformance.captures()[part::4]}
    assert {path: what for path, what in found.items() if what} == {}


# -------------------------------------------------------------------------------------------------------- exchanges


@EXAMPLES
@given(exchanges(), st.sampled_from([1, 2, 7, 16384]))
def test_generated_exchanges(exchange, batch_records):
    link, records = exchange
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "generated.pcap")
        path.write_bytes(wire.pcap(records, link))
        assert differences(path, Settings(batch_records=batch_records)) == []


# ----------------------------------------------------------------------------------------------------------- decode

LINKS = [0, 1, 7, 9, 10, 12, 14, 50, 101, 104, 105, 108, 113, 127, 192, 228, 229, 239, 242, 276, 147, 70000]
UNKNOWN_LINKS = {147, 70000}
EXTENSIONS = [
    (0, bytes([0]) + bytes(6)),
    (43, bytes([1]) + bytes(14)),
    (44, bytes(7)),
    (44, bytes([0, 0, 1]) + bytes(4)),
    (51, bytes([2]) + bytes(14)),
    (60, bytes([255]) + bytes(6)),
]
TAGS = st.tuples(st.sampled_from([0x8100, 0x88A8, 0x9100, 0x9200]), st.integers(0, 0xFFFF))
numbers = st.integers(0, 2**32 - 1)


@st.composite
def segments(draw: st.DrawFn) -> bytes:
    options = b"".join(draw(st.lists(st.sampled_from([*OPTIONS.values(), wire.NOP, wire.END_OF_OPTIONS]), max_size=4)))
    if draw(st.booleans()):
        options = wire.sack([(draw(numbers), draw(numbers)) for _ in range(draw(st.integers(0, 4)))]) + options
    words = draw(st.none() | st.integers(0, 15))
    return wire.tcp(
        draw(st.integers(0, 65535)), 80, draw(numbers), draw(numbers), draw(st.sampled_from(["S", "S.", ".", "FPe"])),
        window=draw(st.integers(0, 65535)), options=options[:40], payload=draw(st.binary(max_size=8)), header=words,
    )  # fmt: skip


@st.composite
def datagrams(draw: st.DrawFn, quoting: bool = True) -> tuple[int, bytes]:
    version = draw(st.sampled_from([4, 6]))
    payload, protocol = draw(segments()), wire.TCP
    what = draw(st.sampled_from(["tcp"] * 4 + ["udp"] + ["icmp"] * 3))
    if what == "udp":
        payload, protocol = wire.udp(1, 2, payload), wire.UDP
    elif what == "icmp" and quoting:
        _, quoted = draw(datagrams(quoting=False))
        kind = draw(st.sampled_from([1, 2, 3, 3, 4, 5, 8, 11, 12]))
        payload = wire.unreachable(quoted[: draw(st.integers(0, 80))], kind, draw(st.integers(0, 5)), version=version)
        protocol = draw(st.sampled_from([wire.ICMP if version == 4 else wire.ICMPV6] * 4 + [wire.ICMP, wire.ICMPV6]))
    length = draw(st.sampled_from([None] * 4 + [0, 30, 60, 65535]))
    if version == 4:
        options = bytes(4 * draw(st.integers(0, 3)))
        fragment = draw(st.sampled_from([0x4000, 0, 0x4000, 0x2000, 1]))
        words = draw(st.none() | st.integers(0, 15))
        datagram = wire.ipv4(
            "10.0.0.1", "10.0.0.2", payload, protocol=protocol, options=options, length=length, fragment=fragment,
            header=words,
        )  # fmt: skip
        return wire.IPV4, datagram
    extensions = draw(st.lists(st.sampled_from(EXTENSIONS), max_size=18))
    return wire.IPV6, wire.ipv6("fd00::1", "::1", payload, protocol=protocol, extensions=extensions, length=length)


@st.composite
def frames(draw: st.DrawFn) -> tuple[int, bytes]:
    """A link type and a frame of it: as it should be, spoiled, or noise."""
    link = draw(st.sampled_from(LINKS))
    if draw(st.integers(0, 9)) == 0:
        return link, draw(st.binary(max_size=120))
    ethertype, datagram = draw(datagrams())
    if draw(st.integers(0, 9)) == 0:  # 802.3 with LLC and SNAP
        datagram = b"\xaa\xaa\x03\0\0\0" + ethertype.to_bytes(2) + datagram
        ethertype = draw(st.integers(0, 0x0600))
    if link == 1:
        data = wire.ethernet(ethertype, datagram, draw(st.lists(TAGS, max_size=9)), pad_to=draw(st.integers(0, 90)))
    elif link in (113, 276):
        cook = wire.sll if link == 113 else wire.sll2
        more = {"index": draw(numbers)} if link == 276 else {}
        hardware = draw(st.sampled_from([1, 772]))
        data = cook(ethertype, datagram, packet_type=draw(st.integers(0, 5)), hardware=hardware, **more)
    else:
        data = wire.link_layer(101 if link == 147 else link, ethertype, datagram)
    spoiled = bytearray(data)
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        spoiled[draw(st.integers(0, len(spoiled) - 1))] = draw(st.integers(0, 255))
    return link, bytes(spoiled[: draw(st.none() | st.integers(0, len(spoiled)))])


@st.composite
def batches(draw: st.DrawFn) -> list[Record]:
    records = []
    for number, (link, data) in enumerate(draw(st.lists(frames(), min_size=1, max_size=12)), 1):
        wire_length = draw(st.one_of(st.just(len(data)), st.integers(0, 200), st.just(2**32 - 1)))
        records.append(Record(data, wire_length, number, link, number, interface=LINKS.index(link)))
    return records


def as_batch(records: list[Record], between: bytes) -> Records:
    """The records as a source hands them on; what lies between them is nobody's."""
    offsets, content = [], between
    for record in records:
        offsets.append(len(content))
        content += record.data + between
    count = len(records)
    frame = np.array([record.frame for record in records], np.int64)
    return Records(
        data=np.frombuffer(content, np.uint8),
        offset=np.array(offsets, np.int64),
        captured=np.array([len(record.data) for record in records], np.int32),
        wire=np.array([record.wire for record in records], np.int64),
        time_ns=np.array([record.time_ns for record in records], np.int64),
        interface=np.array([record.interface for record in records], np.int32),
        frame=frame,
        file=np.zeros(count, np.int32),
        file_frame=frame,
        process=np.full(count, -1, np.int32),
        links=np.array(LINKS, np.int32),
    )


@settings(EXAMPLES, max_examples=400)
@given(batches(), st.sampled_from([b"", b"\xff" * 100, b"\x08\x0a\x14\x05" * 30]))
def test_decode_of_any_bytes(records, between):
    count = len(records)
    rows, sacks, skipped = np.zeros(count, SEGMENT), np.zeros((count, 8), np.uint32), np.zeros(len(Skipped), np.int64)
    filled = decode(as_batch(records, between), rows, sacks, skipped, new_fragments())

    pieces = Fragments()
    decoded = [reference.decode(record, pieces) for record in records]
    expected = [one.segment for one in decoded if one.segment is not None]
    assert skipped.tolist() == [sum(one.skipped == reason for one in decoded) for reason in Skipped]
    kernel = [as_kernel_says(row, edges) for row, edges in zip(rows[:filled], sacks, strict=False)]
    assert kernel == [as_twin_says(segment) for segment in expected]


HEADER = ("frame", "version", "source", "destination", "sport", "dport", "seq", "flags", "outgoing", "ifindex", "icmp")
"""What is read of a quoted segment too."""


def as_twin_says(segment: Segment) -> dict[str, object]:
    said = {name: getattr(segment, name) for name in HEADER} | {"vlan_key": stack_key(segment.tags)}
    if segment.icmp is not None:
        return said
    names = ("ack", "window", "length", "ip_id", "ttl", "truncated")
    said |= {name: getattr(segment, name) for name in names} | vars(segment.options)
    loopback = segment.loopback if segment.outgoing is not None else None
    return said | {"vlan": segment.tags[-1] if segment.tags else None, "loopback": loopback}


def as_kernel_says(row: np.void, edges: np.ndarray) -> dict[str, object]:
    values = {name: row[name].item() for name in row.dtype.names}
    options = values["options"]

    def unless_negative(name: str) -> int | None:
        return None if values[name] < 0 else values[name]

    outgoing = None if values["outgoing"] < 0 else bool(values["outgoing"])
    said = {name: values[name] for name in ("frame", "version", "sport", "dport", "seq", "flags")}
    said |= {
        "source": values["src_hi"] << 64 | values["src_lo"],
        "destination": values["dst_hi"] << 64 | values["dst_lo"],
        "outgoing": outgoing,
        "ifindex": unless_negative("ifindex"),
        "icmp": (values["icmp_type"], values["icmp_code"]) if values["quoted"] else None,
        "vlan_key": unless_negative("vlan_key"),
    }
    if values["quoted"]:
        return said
    has_timestamps, has_sack = options & kernels.OPTION_TIMESTAMPS, options & kernels.OPTION_SACK
    return said | {
        **{name: values[name] for name in ("ack", "window", "length", "ttl")},
        "ip_id": values["ip_id"] if values["version"] == 4 else None,
        "truncated": bool(values["truncated"]),
        "vlan": unless_negative("vlan"),
        "loopback": bool(values["loopback"]) if outgoing is not None else None,
        "mss": unless_negative("mss"),
        "wscale": unless_negative("wscale"),
        "sack_permitted": bool(options & kernels.OPTION_SACK_PERMITTED),
        "sack": edges[: 2 * values["sack_blocks"]].tolist() if has_sack else None,
        "timestamps": (values["tsval"], values["tsecr"]) if has_timestamps else None,
        "fast_open": bool(options & kernels.OPTION_FAST_OPEN),
        "mptcp": {subtype for subtype in range(16) if values["mptcp"] >> subtype & 1},
        "md5": bool(options & kernels.OPTION_MD5),
        "ao": bool(options & kernels.OPTION_AO),
        "user_timeout_s": unless_negative("user_timeout"),
        "malformed": bool(options & kernels.OPTION_MALFORMED),
    }
