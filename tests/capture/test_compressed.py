"""gzip, xz, zstd and lz4: the same records as plain, whatever is cut or corrupt; bombs stay small."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import random
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import lz4.frame
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.errors import CaptureError
from analyzer.settings import Settings
from tests.capture import reference, written
from tests.capture.written import pcap, whole

if TYPE_CHECKING:
    import pathlib

pytestmark = pytest.mark.kernels

SMALL = Settings(buffer_bytes=512, batch_records=100)


def zstd(content: bytes, level: int = 3) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(content)


def sizeless_zstd(content: bytes) -> bytes:
    """As a pipe is compressed: in one frame that does not tell its size."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(content) + compressor.flush()


def skippable(content: bytes) -> bytes:
    return b"\x53\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def lz4_frame(content: bytes) -> bytes:
    return lz4.frame.compress(content, content_checksum=True, block_size=lz4.frame.BLOCKSIZE_MAX256KB)


FORMS = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": zstd,
    "sizeless zstd": sizeless_zstd,
    "lz4": lz4_frame,
}


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "capture"


def noisy(count: int) -> bytes:
    """A capture that does not compress well, so that it takes many blocks."""
    chance = random.Random(4)
    return pcap([(i, chance.randbytes(100)) for i in range(count)])


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=written.captures, cut=st.integers(0, 2000))
def test_the_same_records_as_plain(file: pathlib.Path, form: str, content: bytes, cut: int) -> None:
    # In two members, cut anywhere; that is one stream again.
    cut %= len(content)
    file.write_bytes(FORMS[form](content[:cut]) + FORMS[form](content[cut:]))
    got = whole(file, settings=SMALL)
    assert got.records == reference.read(content).records
    assert got.info.damage == []
    assert got.info.formats[0].endswith(f" in {form.rsplit(maxsplit=1)[-1]}")


@pytest.mark.parametrize("form", FORMS)
def test_large(file: pathlib.Path, form: str) -> None:
    content = noisy(10_000)
    file.write_bytes(FORMS[form](content))
    source = written.open_capture(file)
    assert source.size_hint is None
    got = written.drained(source)
    assert got.records == reference.read(content).records
    assert source.progress == 1.0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", [0.3, 0.7, 0.999999])
def test_a_cut_stream_gives_what_is_there(file: pathlib.Path, form: str, part: float) -> None:
    content = noisy(10_000)
    packed = FORMS[form](content)
    file.write_bytes(packed[: int(len(packed) * part)])
    got = whole(file)
    complete = reference.read(content).records
    assert got.records == complete[: len(got.records)]
    # zstd gives whole blocks of 128 KiB only.
    assert len(got.records) >= len(complete) * part - 131072 / 116 - 1
    assert len(got.info.damage) == 1
    assert "breaks off" in got.info.damage[0].what


def test_a_corrupt_gzip_stream_gives_all_before_the_corrupt_place(file: pathlib.Path) -> None:
    content = noisy(5_000)
    packed = bytearray(zlib.compress(content, 9, wbits=31))
    middle = len(packed) // 2
    # A block of the reserved type, made by hand: deflate's own blocks end where only zlib knows.
    first = zlib.compressobj(9, zlib.DEFLATED, 31)
    kept = 24 + 116 * 2_500
    head = first.compress(content[:kept]) + first.flush(zlib.Z_FULL_FLUSH)
    file.write_bytes(head + b"\x07" + bytes(packed[middle:]))
    got = whole(file)
    assert got.records == reference.read(content[:kept]).records
    assert got.info.damage[0].offset == kept
    assert "corrupt (invalid block type)" in got.info.damage[0].what


def test_a_wrong_checksum_is_told(file: pathlib.Path) -> None:
    content = noisy(50)
    for pack, last in ((gzip.compress, -8), (zstd, -4)):
        packed = bytearray(pack(content))
        packed[last] ^= 1
        file.write_bytes(packed)
        got = whole(file)
        assert got.records == reference.read(content).records
        assert "corrupt" in got.info.damage[0].what


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 20_000), value=st.binary(min_size=1, max_size=8))
def test_corrupt_streams_never_crash(file: pathlib.Path, form: str, place: int, value: bytes) -> None:
    content = noisy(100)
    packed = bytearray(FORMS[form](content))
    place = place % (len(packed) - 12) + 4
    packed[place : place + len(value)] = value
    file.write_bytes(packed)
    with contextlib.suppress(CaptureError):
        got = whole(file, settings=SMALL)
        if form != "sizeless zstd":  # it has no checksum
            assert got.info.damage or got.records == reference.read(content).records


def test_garbage_behind_the_stream(file: pathlib.Path) -> None:
    content = noisy(5)
    for pack in FORMS.values():
        file.write_bytes(pack(content) + b"something else")
        got = whole(file)
        assert got.records == reference.read(content).records
        assert "comes something else" in got.info.damage[0].what
    file.write_bytes(gzip.compress(content) + bytes(100_000))
    assert whole(file).info.damage == []


def test_skippable_zstd_frames(file: pathlib.Path) -> None:
    content = noisy(5)
    file.write_bytes(skippable(b"a" * 300_000) + zstd(content) + skippable(b""))
    got = whole(file)
    assert got.records == reference.read(content).records
    assert got.info.damage == []


@pytest.mark.parametrize("form", FORMS)
def test_nothing_inside(file: pathlib.Path, form: str) -> None:
    file.write_bytes(FORMS[form](b""))
    with pytest.raises(CaptureError, match="nothing in it"):
        whole(file)
    file.write_bytes(FORMS[form](b"not a capture at all, but text"))
    with pytest.raises(CaptureError, match="neither pcap nor pcapng"):
        whole(file)


@pytest.mark.parametrize("form", FORMS)
def test_a_bomb_stays_small(file: pathlib.Path, form: str) -> None:
    """A hundred megabytes of zeros in a foreign block pass without being kept."""
    size = 100_000_000
    foreign = b"\xad\x0b\0\0" + size.to_bytes(4, "little") + bytes(size - 12) + size.to_bytes(4, "little")
    packed = FORMS[form](written.section() + written.interface() + foreign + written.enhanced(1, b"x"))
    del foreign
    assert len(packed) < 500_000
    file.write_bytes(packed)
    tracemalloc.start()
    got = whole(file, settings=Settings(buffer_bytes=65536, batch_records=1024))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [record.data for record in got.records] == [b"x"]
    assert peak < 12_000_000  # xz alone has a dictionary of 8 MiB
