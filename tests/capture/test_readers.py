"""pcap and pcapng against their plain-Python twin, on generated, cut, mutated and arbitrary bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analyzer.errors import CaptureError
from analyzer.settings import Settings
from tests.capture import reference, written
from tests.capture.written import block, enhanced, interface, option, pcap, section, whole

if TYPE_CHECKING:
    import pathlib

pytestmark = pytest.mark.kernels

NORMAL = Settings()
#: A buffer that almost no record fits into, and batches of three.
TIGHT = Settings(buffer_bytes=64, batch_records=3)
LOW_LIMIT = Settings(buffer_bytes=64, record_limit_bytes=50)

property_test = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "capture"


def agrees(file: pathlib.Path, content: bytes, chosen: Settings = NORMAL) -> reference.Read | None:
    """Read with both, compare all, and return what the reference read."""
    file.write_bytes(content)
    try:
        expected = reference.read(content, chosen.record_limit_bytes)
    except reference.NotACaptureError:
        with pytest.raises(CaptureError, match="capture"):
            whole(file, settings=chosen)
        return None
    got = whole(file, settings=chosen)
    assert got.records == expected.records
    assert bool(got.info.damage) == expected.damaged
    count = len(expected.records)
    assert got.frame == got.file_frame == list(range(1, count + 1))
    assert got.file == [0] * count
    assert got.info.records == count
    assert got.info.bytes == sum(len(record.data) for record in expected.records)
    assert all(size <= chosen.batch_records for size in got.batches)
    for damage in got.info.damage:
        assert damage.file == str(file)
        assert 0 <= damage.offset <= len(content)
        assert damage.what
    return expected


@property_test
@given(content=written.captures, chosen=st.sampled_from([NORMAL, TIGHT]))
def test_reads_what_the_reference_reads(file: pathlib.Path, content: bytes, chosen: Settings) -> None:
    expected = agrees(file, content, chosen)
    assert expected is not None
    assert not expected.damaged


@property_test
@given(content=written.odd_pcaps, cut=st.integers(0, 60), chosen=st.sampled_from([NORMAL, TIGHT]))
def test_reads_odd_pcaps_as_the_reference_does(file: pathlib.Path, content: bytes, cut: int, chosen: Settings) -> None:
    agrees(file, content[: max(24, len(content) - cut)], chosen)


@property_test
@given(content=written.captures, cut=st.integers(0, 4000), chosen=st.sampled_from([NORMAL, TIGHT]))
def test_a_cut_file_gives_the_records_before_the_cut(
    file: pathlib.Path, content: bytes, cut: int, chosen: Settings
) -> None:
    complete = reference.read(content).records
    expected = agrees(file, content[: cut % (len(content) + 1)], chosen)
    if expected is not None:
        assert expected.records == complete[: len(expected.records)]


@property_test
@given(
    content=written.captures,
    changes=st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4),
    chosen=st.sampled_from([NORMAL, TIGHT, LOW_LIMIT]),
)
def test_mutated_captures(
    file: pathlib.Path, content: bytes, changes: list[tuple[int, bytes]], chosen: Settings
) -> None:
    mutated = bytearray(content)
    for place, value in changes:
        at = place % len(mutated)
        mutated[at : at + len(value)] = value
    agrees(file, bytes(mutated), chosen)


@property_test
@given(
    start=st.sampled_from([b"", pcap([]), pcap([], order=">"), section(), section(">"), section() + interface()]),
    rest=st.binary(max_size=300),
)
@example(start=b"", rest=b"")
@example(start=section() + interface(), rest=b"\x06\0\0\0\xff\xff\xff\xff" + bytes(20))
@example(start=section() + interface(), rest=b"\x05\0\0\0\xfc\xff\xff\xff" + bytes(20))
@example(start=pcap([]), rest=b"\xff" * 64)
def test_arbitrary_bytes(file: pathlib.Path, start: bytes, rest: bytes) -> None:
    content = start + rest
    if content[:2] == b"\x1f\x8b":
        return  # compressed: another module's
    agrees(file, content)


def test_every_cut_of_one_capture(file: pathlib.Path) -> None:
    pairs = [(1_700_000_000_123_456_000 + i, bytes(range(i))) for i in range(6)]
    whole_section = section() + interface(options=option(2, b"eth0") + option(9, b"\x09"))
    for content in (pcap(pairs), whole_section + b"".join(enhanced(time, data) for time, data in pairs)):
        counts = []
        for cut in range(len(content) + 1):
            expected = agrees(file, content[:cut])
            counts.append(len(expected.records) if expected else -1)
        assert counts == sorted(counts)
        assert counts[-1] == 6


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("nanoseconds", "name"), [(False, "microseconds"), (True, "nanoseconds")])
def test_pcap_formats(file: pathlib.Path, order: str, nanoseconds: bool, name: str) -> None:
    time_ns = 1_700_000_000_123_456_789
    file.write_bytes(pcap([(time_ns, b"abc")], order=order, nanoseconds=nanoseconds, link=276))
    got = whole(file)
    assert got.records[0].time_ns == (time_ns if nanoseconds else time_ns // 1000 * 1000)
    assert got.info.formats == [f"pcap ({name}, {'little' if order == '<' else 'big'}-endian)"]
    assert got.info.interfaces[0].link == 276
    assert got.info.interfaces[0].snap_length == 262144


def test_frame_check_sequence_bits_are_not_link_type(file: pathlib.Path) -> None:
    file.write_bytes(pcap([(0, b"abcd")], link=0x2400_0001))
    assert whole(file).info.interfaces[0].link == 1


def test_modified_pcap(file: pathlib.Path) -> None:
    normal = pcap([(0, b"abcd")])
    file.write_bytes(b"\x34\xcd\xb2\xa1" + normal[4:40] + bytes(8) + normal[40:])
    assert [record.data for record in whole(file).records] == [b"abcd"]


@pytest.mark.parametrize(
    ("resolution", "ticks", "expected"),
    [
        (6, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (9, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (12, 1_700_000_000_123_456_789, 1_700_000_000_123_456),
        (0, 1_700_000_000, 1_700_000_000_000_000_000),
        (0x80 | 20, 1_700_000_000 << 20 | 1 << 19, 1_700_000_000_500_000_000),
        (0x80 | 63, 1 << 62, 500_000_000),
        (0x80 | 127, 2**64 - 1, 0),
        (127, 2**64 - 1, 0),
        (0, 2**64 - 1, 2**63 - 1),
    ],
)
def test_clocks(file: pathlib.Path, resolution: int, ticks: int, expected: int) -> None:
    file.write_bytes(section() + interface(options=option(9, bytes([resolution]))) + enhanced(ticks, b"x"))
    assert whole(file).records[0].time_ns == expected


def test_simple_packets_take_the_time_before(file: pathlib.Path) -> None:
    file.write_bytes(
        section() + interface(snap_length=2) + written.simple(b"ab") + enhanced(5, b"x") + written.simple(b"abcd")
    )
    assert [(record.data, record.time_ns) for record in whole(file).records] == [
        (b"ab", 0),
        (b"x", 5000),
        (b"ab", 5000),
    ]


def test_later_sections_meet_their_interfaces_again(file: pathlib.Path) -> None:
    named = section() + interface(options=option(2, b"eth0")) + interface(276, options=option(2, b"any"))
    other = section(">") + interface(113, order=">") + enhanced(1, b"z", order=">")
    file.write_bytes(2 * (named + enhanced(1, b"x") + enhanced(2, b"y", number=1)) + other)
    got = whole(file)
    assert [(one.link, one.name) for one in got.info.interfaces] == [(1, "eth0"), (276, "any"), (113, None)]
    assert [record.link for record in got.records] == [1, 276, 1, 276, 113]


def test_many_small_sections_make_one_batch(file: pathlib.Path) -> None:
    """Whatever their byte order; each comment stays with its packet, also where the buffer holds a few of them only."""
    content = b""
    for number in range(50):
        order = "<>"[number % 2]
        said = option(1, b"of %d" % number, order)
        first = enhanced(2 * number, b"a", order=order, options=said)
        content += section(order) + interface(order=order) + first + enhanced(2 * number + 1, b"bb", order=order)
    file.write_bytes(content + section()[:-4])
    got = whole(file)
    assert got.batches == [100]
    assert [record.time_ns for record in got.records] == [1000 * number for number in range(100)]
    assert [record.data for record in got.records] == [b"a", b"bb"] * 50
    assert [(note.frame, note.text) for note in got.info.comments] == [(2 * n + 1, f"of {n}") for n in range(50)]
    assert [damage.offset for damage in got.info.damage] == [len(content)]
    for chosen in (Settings(buffer_bytes=300), Settings(batch_records=7)):
        again = whole(file, settings=chosen)
        assert again.records == got.records
        assert again.info.comments == got.info.comments
        assert again.info.damage == got.info.damage
        assert max(again.batches) <= chosen.batch_records


def test_too_many_interfaces_are_damage(file: pathlib.Path) -> None:
    distinct = b"".join(interface(snap_length=i) for i in range(1, 65538))
    file.write_bytes(section() + interface() + enhanced(1, b"x") + distinct + enhanced(1, b"y"))
    got = whole(file)
    assert [record.data for record in got.records] == [b"x"]
    assert "too many interfaces" in got.info.damage[0].what


def test_a_huge_foreign_block_is_not_kept_in_memory(file: pathlib.Path) -> None:
    """Of 200 MB (a hole in the file) nothing stays, whether they can be seeked over or not."""
    size = 200_000_000
    start = section() + interface() + enhanced(1, b"x") + b"\xad\x0b\0\0" + size.to_bytes(4, "little")
    with file.open("wb") as out:
        out.write(start)
        out.seek(size - 12, 1)
        out.write(size.to_bytes(4, "little") + enhanced(2, b"y"))
    source = written.open_capture(file, settings=TIGHT)
    largest = 0
    seen = []
    for batch in source.batches():
        largest = max(largest, len(batch.data))
        seen += batch.time_ns.tolist()
    source.close()
    assert seen == [1000, 2000]
    assert largest < 4096
    assert not source.info.damage


def test_a_lying_length_costs_no_memory(file: pathlib.Path) -> None:
    header = pcap([(1, b"x")])
    file.write_bytes(header + bytes(8) + (15 << 20).to_bytes(4, "little") * 2 + b"only this")
    source = written.open_capture(file, settings=TIGHT)
    assert [batch.data.size < 4096 for batch in source.batches()] == [True]
    source.close()
    assert "ends inside a record" in source.info.damage[0].what
    assert source.info.damage[0].offset == len(header)


def test_garbage_after_good_records(file: pathlib.Path) -> None:
    good = pcap([(1, b"x"), (2, b"y")])
    file.write_bytes(good + b"\xde\xad\xbe\xef" * 50)
    got = whole(file)
    assert [record.data for record in got.records] == [b"x", b"y"]
    assert got.info.damage[0].offset == len(good)
    assert f"{0xEFBEADDE:,}" in got.info.damage[0].what


def test_a_record_longer_than_the_buffer(file: pathlib.Path) -> None:
    long = bytes(range(256)) * 4000
    content = pcap([(1, b"x"), (2, long), (3, b"y")])
    assert agrees(file, content, TIGHT) is not None
    agrees(file, section() + interface() + enhanced(1, long) + block(5, long) + enhanced(2, b"x"), TIGHT)


def test_no_records(file: pathlib.Path) -> None:
    for content in (pcap([]), section(), section() + interface()):
        file.write_bytes(content)
        got = whole(file)
        assert got.records == []
        assert got.info.damage == []


def test_size_hint_and_progress(file: pathlib.Path) -> None:
    file.write_bytes(pcap([(i, bytes(60)) for i in range(1000)]))
    source = written.open_capture(file, settings=Settings(batch_records=100))
    assert source.size_hint is not None
    assert 500 <= source.size_hint <= 1000
    progress = []
    for _ in source.batches():
        assert 900 <= source.size_hint <= 1100
        progress.append(source.progress)
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    source.close()
