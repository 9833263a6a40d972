"""Several files as one capture in time order."""

from __future__ import annotations

import gzip
import heapq
import resource
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.capture.files import open_capture
from analyzer.settings import Settings
from tests.capture import reference, written
from tests.capture.written import Packet, enhanced, interface, pcap, section, whole

if TYPE_CHECKING:
    import pathlib

    from tests.capture.reference import Record

pytestmark = pytest.mark.kernels

#: Few different times, so that many are equal; not in order.
streams = st.lists(st.lists(st.integers(0, 30), max_size=60), min_size=2, max_size=6)


def merged(files: list[list[Record]]) -> list[tuple[int, int, Record]]:
    """The reference: always the file whose next record is the earliest, among equals the last file."""
    heap = [(records[0].time_ns, -number, 0) for number, records in enumerate(files) if records]
    heapq.heapify(heap)
    order = []
    while heap:
        _, rank, at = heapq.heappop(heap)
        number = -rank
        order.append((number, at + 1, files[number][at]))
        if at + 1 < len(files[number]):
            heapq.heappush(heap, (files[number][at + 1].time_ns, rank, at + 1))
    return order


def write(folder: pathlib.Path, contents: list[bytes]) -> list[pathlib.Path]:
    paths = [folder / f"{number:04}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def agrees(paths: list[pathlib.Path], contents: list[bytes], chosen: Settings) -> None:
    expected = merged([reference.read(content).records for content in contents])
    got = whole(paths, settings=chosen)
    assert got.file == [number for number, _, _ in expected]
    assert got.file_frame == [at for _, at, _ in expected]
    assert got.records == [record for _, _, record in expected]
    assert got.frame == list(range(1, len(expected) + 1))
    assert got.info.files == [str(path) for path in paths]
    assert len(got.info.formats) == len(paths)
    assert got.info.records == len(expected)
    assert got.info.bytes == sum(len(record.data) for _, _, record in expected)
    assert all(size <= chosen.batch_records for size in got.batches)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=streams, ordered=st.booleans(), batch=st.sampled_from([1, 3, 16384]))
def test_merges_as_the_reference(tmp_path: pathlib.Path, times: list[list[int]], ordered: bool, batch: int) -> None:
    contents = []
    for number, stream in enumerate(times):
        packets = [(time, bytes([number]) * (time + 1)) for time in (sorted(stream) if ordered else stream)]
        contents.append(pcap(packets, nanoseconds=True, link=number % 2))
    agrees(write(tmp_path, contents), contents, Settings(batch_records=batch, buffer_bytes=200))


def test_with_mergecap(tmp_path: pathlib.Path) -> None:
    """Wireshark's mergecap gives the same packets in the same order."""
    chance = np.random.default_rng(7)
    contents = []
    for number in range(5):
        times = chance.integers(0, 500, 200) * 1000 + 10**18
        if number < 3:
            times.sort()
        contents.append(pcap([(int(time), bytes([number, i])) for i, time in enumerate(times)]))
    paths = write(tmp_path, contents)
    out = tmp_path / "out"
    try:
        subprocess.run(["mergecap", "-F", "pcap", "-w", out, *paths], check=True)
    except FileNotFoundError:
        pytest.skip("mergecap is not installed (apt install wireshark-common)")
    assert [record[:3] for record in whole(paths).records] == [record[:3] for record in whole(out).records]


def test_interfaces_of_all_files_are_one_table(tmp_path: pathlib.Path) -> None:
    contents = [
        pcap([(1, b"a"), (5000, b"e")], nanoseconds=True, link=276),
        section() + interface(1) + interface(113) + enhanced(2, b"b") + enhanced(4, b"d", number=1),
        pcap([(3000, b"c")], nanoseconds=True, link=276),
    ]
    got = whole(write(tmp_path, contents))
    assert [(record.data, record.link) for record in got.records] == [
        (b"a", 276),
        (b"b", 1),
        (b"c", 276),
        (b"d", 113),
        (b"e", 276),
    ]
    assert [one.link for one in got.info.interfaces] == [276, 1, 113]


def rotated(count: int, packets: int) -> list[list[Packet]]:
    return [[(number * packets + i, bytes(40)) for i in range(packets)] for number in range(count)]


def test_a_thousand_rotated_files_need_few_open_ones(tmp_path: pathlib.Path) -> None:
    files = rotated(1000, 5)
    paths = write(tmp_path, [pcap(packets, nanoseconds=True) for packets in files])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        got = whole(paths[::-1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [record.time_ns for record in got.records] == list(range(5000))
    assert len(got.info.interfaces) == 1
    assert not got.info.damage


def test_files_that_all_overlap(tmp_path: pathlib.Path) -> None:
    contents = [pcap([(i * 100 + number, bytes(50)) for i in range(50)], nanoseconds=True) for number in range(100)]
    agrees(write(tmp_path, contents), contents, Settings(batch_records=1000, buffer_bytes=4096))


def test_damage_in_one_file_leaves_the_others(tmp_path: pathlib.Path) -> None:
    first, second, third = (
        pcap([(i * 10 + number, bytes([number]) * 30) for i in range(20)], nanoseconds=True) for number in range(3)
    )
    paths = write(tmp_path, [first, second[:200], pcap([])])
    (tmp_path / "x").write_bytes(gzip.compress(third)[:-5])
    got = whole([*paths, tmp_path / "x"])
    assert [got.file.count(number) for number in range(4)] == [20, 3, 0, 20]
    assert {damage.file for damage in got.info.damage} == {str(paths[1]), str(tmp_path / "x")}
    assert {"ends inside" in damage.what or "breaks off" in damage.what for damage in got.info.damage} == {True}


def test_a_file_that_vanishes_after_the_first_look(tmp_path: pathlib.Path) -> None:
    paths = write(tmp_path, [pcap(packets, nanoseconds=True) for packets in rotated(2, 50)])
    source = open_capture(paths, settings=Settings(batch_records=10))
    batches = source.batches()
    count = len(next(batches).frame)
    paths[1].unlink()
    count += sum(len(batch.frame) for batch in batches)
    source.close()
    assert count == 50
    assert [damage.file for damage in source.info.damage] == [str(paths[1])]


def test_size_hint_and_progress(tmp_path: pathlib.Path) -> None:
    paths = write(tmp_path, [pcap(packets, nanoseconds=True) for packets in rotated(4, 250)])
    source = open_capture(paths, settings=Settings(batch_records=100, buffer_bytes=8192))
    progress = []
    for _ in source.batches():
        assert source.size_hint is not None
        assert 900 <= source.size_hint <= 1100
        assert source.progress is not None
        progress.append(source.progress)
    assert progress == sorted(progress)
    assert progress[0] < 0.2
    assert progress[-1] == 1.0
    source.close()
    paths.append(tmp_path / "packed")
    paths[-1].write_bytes(gzip.compress(paths[0].read_bytes()))
    assert [open_capture(paths).size_hint] == [None]
    assert len(written.whole(paths).records) == 1250
