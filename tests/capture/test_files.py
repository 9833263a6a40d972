"""Opening: files, folders, pipes, and what is none of these."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from analyzer.capture.files import open_capture
from analyzer.errors import CaptureError
from analyzer.settings import Settings
from tests.capture import written
from tests.capture.privilege import unprivileged
from tests.capture.written import enhanced, interface, pcap, section, whole

if TYPE_CHECKING:
    import pathlib

pytestmark = pytest.mark.kernels


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "capture"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xd4\xc3\xb2\xa1", "ends inside its header"),
        (pcap([])[:23], "ends inside its header"),
        (b"hello, this is no capture", "neither pcap nor pcapng"),
        (b"PK\x03\x04 and so on", "a zip archive"),
        (b"snoop\0\0\0" + bytes(40), "a snoop capture of version 0"),
        (b"snoop\0\0\0\0\0\0\2\0\0\0\x1a", "a network that is not read here .datalink type 26"),
        (b"snoop\0\0\0\0\0\0\2", "ends inside its header"),
        (section()[:20], "pcapng header"),
        (section(version=9), "pcapng version 9"),
        (section().replace(b"\x4d\x3c\x2b\x1a", b"abcd"), "byte-order magic"),
        (b"\x1f\x8b\x08", "the gzip stream breaks off"),
        (b"\x28\xb5\x2f\xfd", "the zstd stream breaks off"),
        (b"\xfd7zXZ\0", "the xz stream breaks off"),
        (b"\x04\x22\x4d\x18", "the lz4 stream breaks off"),
    ],
)
def test_no_capture_is_one_sentence(file: pathlib.Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(CaptureError, match=message) as caught:
        open_capture(file)
    sentence = str(caught.value)
    assert sentence.startswith(f"{file}: ")
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_missing(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CaptureError, match="no such file"):
        open_capture(tmp_path / "missing")
    with pytest.raises(CaptureError, match="no capture named"):
        open_capture([])
    with pytest.raises(CaptureError, match="cannot be opened"):
        open_capture("a\0b")


def test_unreadable(file: pathlib.Path) -> None:
    file.write_bytes(pcap([]))
    file.chmod(0)
    with unprivileged(), pytest.raises(CaptureError, match="may not read"):
        open_capture(file)


def test_a_folder_is_its_captures_told_by_content(tmp_path: pathlib.Path) -> None:
    (tmp_path / "b.txt").write_bytes(pcap([(2000, b"b")]))
    (tmp_path / "a").write_bytes(gzip.compress(pcap([(3000, b"c")])))
    (tmp_path / "c.pcap").write_bytes(b"notes, in spite of the name")
    (tmp_path / "d.gz").write_bytes(gzip.compress(b"something else"))
    (tmp_path / "e").write_bytes(section() + interface() + enhanced(0, b"a"))
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "inner").mkdir()
    os.mkfifo(tmp_path / "pipe")
    got = whole(tmp_path)
    assert [record.data for record in got.records] == [b"a", b"b", b"c"]
    assert got.info.files == [str(tmp_path / name) for name in ("a", "b.txt", "e")]
    assert got.file == [2, 1, 0]


def test_a_folder_without_captures(tmp_path: pathlib.Path) -> None:
    (tmp_path / "notes").write_text("nothing here")
    with pytest.raises(CaptureError, match="no captures in this folder"):
        open_capture(tmp_path)


def test_one_unreadable_file_of_several_is_damage(tmp_path: pathlib.Path) -> None:
    good = [tmp_path / "1", tmp_path / "3"]
    good[0].write_bytes(pcap([(1000, b"a")]))
    good[1].write_bytes(pcap([(2000, b"b")]))
    (tmp_path / "2").write_bytes(b"no capture")
    got = whole([good[0], tmp_path / "2", good[1], tmp_path / "missing"])
    assert [record.data for record in got.records] == [b"a", b"b"]
    assert got.info.files == [str(path) for path in good]
    assert [damage.file for damage in got.info.damage] == [str(tmp_path / "2"), str(tmp_path / "missing")]
    assert "neither pcap nor pcapng" in got.info.damage[0].what
    with pytest.raises(CaptureError, match=r"none of 2 files.*neither"):
        whole([tmp_path / "2", tmp_path / "missing"])


def test_a_stand_in_for_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pcap([(1, b"a")]))))
    got = whole("-")
    assert [record.data for record in got.records] == [b"a"]
    assert got.info.files == ["-"]


def test_standard_input_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CaptureError, match=r"tcpdump -i any -w - \| analyzer read -"):
        whole("-")
    with pytest.raises(CaptureError, match="once"):
        open_capture(["-", "-"])


def test_an_empty_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading) as standard_input:
        monkeypatch.setattr(sys, "stdin", standard_input)
        with pytest.raises(CaptureError, match="nothing came through the pipe"):
            whole("-")


@pytest.mark.parametrize("non_blocking", [False, True])
def test_a_pipe_is_handed_on_as_it_comes(monkeypatch: pytest.MonkeyPatch, non_blocking: bool) -> None:
    """Each packet arrives before the next one is written: nothing waits for a batch to fill."""
    reading, writing = os.pipe()
    os.set_blocking(reading, not non_blocking)
    content = pcap([(i, bytes([i]) * 10) for i in range(20)])
    with os.fdopen(reading) as standard_input, os.fdopen(writing, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdin", standard_input)
        source = open_capture("-")
        assert source.size_hint is None
        assert source.progress is None
        pipe.write(content[:24])
        batches = source.batches()
        for i in range(20):
            # In two pieces: the cut one waits for its rest.
            record = content[24 + 26 * i : 50 + 26 * i]
            rest = threading.Timer(0.001, pipe.write, [record[20:]])
            pipe.write(record[:20])
            rest.start()
            assert next(batches).frame.tolist() == [i + 1]
            rest.join()
        pipe.write(content[24:40])
        pipe.close()
        assert list(batches) == []
        source.close()
        assert not standard_input.closed
    assert "ends inside a record: 16 of 26 bytes" in source.info.damage[0].what


def test_a_named_pipe(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    content = gzip.compress(pcap([(i, bytes(50)) for i in range(100)]))
    writer = threading.Thread(target=path.write_bytes, args=[content])
    source = open_capture(path)  # does not wait for the writer
    writer.start()
    assert len(written.drained(source).records) == 100
    writer.join()


def test_a_file_that_grows_while_it_is_read(file: pathlib.Path) -> None:
    content = pcap([(i, bytes(100)) for i in range(50)])
    file.write_bytes(content[:2000])
    source = open_capture(file, settings=Settings(buffer_bytes=300))
    batches = source.batches()
    seen = len(next(batches).frame)
    with file.open("ab") as out:
        out.write(content[2000:])
    assert seen + sum(len(batch.frame) for batch in batches) == 50
    assert not source.info.damage
    source.close()


def test_reading_needs_neither_pandas_nor_scapy() -> None:
    code = "import sys, analyzer.capture.files, analyzer.capture.live; print({'pandas', 'scapy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
