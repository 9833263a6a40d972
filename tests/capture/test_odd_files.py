"""Old and odd files, written by Wireshark's own tools: the same records as tshark reads from them."""

from __future__ import annotations

import gzip
import lzma
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import lz4.frame
import pytest
import zstandard

from analyzer.capture.files import open_capture
from analyzer.errors import CaptureError
from tests.capture import conformance, written
from tests.capture.written import interface, option, pcap, section, whole

if TYPE_CHECKING:
    import pathlib

    from tests.capture.reference import Record

pytestmark = pytest.mark.kernels

START = 1_700_000_000 * 10**9
PACKETS = [(START + i * 1_234_000, bytes([i]) * (60 + i % 7)) for i in range(40)]


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "capture"


def run(*command: object) -> str:
    if not shutil.which(str(command[0])):
        pytest.skip(f"{command[0]} is not installed (apt install tshark)")
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout


def tshark(path: pathlib.Path) -> list[tuple[str, int, int]]:
    fields = ("-T", "fields", "-e", "frame.time_epoch", "-e", "frame.cap_len", "-e", "frame.len")
    rows = [line.split("\t") for line in run("tshark", "-r", path, *fields).splitlines()]
    return [(time, int(captured), int(wire)) for time, captured, wire in rows]


def as_tshark(records: list[Record]) -> list[tuple[str, int, int]]:
    return [(f"{one.time_ns // 10**9}.{one.time_ns % 10**9:09}", len(one.data), one.wire) for one in records]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("pcap", "pcap (microseconds, little-endian)"),
        ("nsecpcap", "pcap (nanoseconds, little-endian)"),
        ("modpcap", "pcap (modified, microseconds, little-endian)"),
        ("rh6_1pcap", "pcap (modified, Red Hat 6.1, microseconds, little-endian)"),
        ("suse6_3pcap", "pcap (modified, SuSE 6.3, microseconds, little-endian)"),
        ("nokiapcap", "pcap (Nokia, little-endian)"),
        ("snoop", "snoop (version 2)"),
        ("pcapng", "pcapng"),
    ],
)
def test_what_editcap_writes(file: pathlib.Path, kind: str, name: str) -> None:
    file.write_bytes(pcap(PACKETS))
    odd = file.with_name("odd")
    run("editcap", "-F", kind, "-s", "62", file, odd)
    got = whole(odd)
    assert [record.data for record in got.records] == [data[:62] for _, data in PACKETS]
    assert as_tshark(got.records) == tshark(odd)
    assert got.info.formats == [name]
    assert got.info.interfaces[0].link == 1
    assert got.info.damage == []


@pytest.mark.parametrize("kind", ["rh6_1pcap", "suse6_3pcap", "nokiapcap", "modpcap", "snoop"])
def test_other_peoples_captures_as_editcap_writes_them(tmp_path: pathlib.Path, kind: str) -> None:
    for number, path in enumerate(conformance.sample(1)[20:200:30]):
        odd = tmp_path / str(number)
        run("editcap", "-F", kind, path, odd)
        assert as_tshark(whole(odd).records) == tshark(odd), path


def test_snoop_of_other_people() -> None:
    paths = [path for path in conformance.FOLDER.rglob("*.snoop") if path.is_file()] if conformance.captures() else []
    assert paths
    for path in paths:
        assert as_tshark(whole(path).records) == tshark(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0x1C0001AB, 0x1C0001AC])
def test_ixia(file: pathlib.Path, order: str, magic: int) -> None:
    plain = pcap(PACKETS, order=order, nanoseconds=magic == 0x1C0001AC, magic=magic)
    file.write_bytes(plain[:24] + struct.pack(order + "I", len(plain) - 24) + plain[24:])
    got = whole(file)
    assert [(record.time_ns, record.data) for record in got.records] == PACKETS
    if magic == 0x1C0001AB:  # of the other one tshark 4.0 takes nanoseconds for microseconds; later ones do not
        assert as_tshark(got.records) == tshark(file)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("version", "swapped"),
    [((2, 0), True), ((2, 2), True), ((2, 3), True), ((2, 3), False), ((543, 0), True), ((2, 4), False)],
)
def test_swapped_lengths(file: pathlib.Path, order: str, version: tuple[int, int], swapped: bool) -> None:
    """As tcpdump reads them; only 2.3 is read in both ways."""
    header = pcap([], order=order, version=version)
    lengths = (100, 60) if swapped else (60, 100)
    frame = bytes(12) + b"\x99\x99" + bytes(46)
    file.write_bytes(header + 3 * (struct.pack(order + "IIII", 1_700_000_000, 5, *lengths) + frame))
    got = whole(file)
    assert [(len(record.data), record.wire) for record in got.records] == 3 * [(60, 100)]
    assert as_tshark(got.records) == tshark(file)
    printed = run("tcpdump", "-nn", "-tt", "-e", "-r", file)
    assert printed.count("1700000000.000005 ") == printed.count(", length 100:") == 3


@pytest.mark.parametrize(("network", "link", "padding"), [(6, 1, 0), (9, 6, 0), (15, 10, 3), (24, 0, 0)])
def test_aix(file: pathlib.Path, network: int, link: int, padding: int) -> None:
    content = pcap([], order=">", version=(2, 2), link=network)
    for _, data in PACKETS:
        content += struct.pack(">IIII", 1_700_000_000, 999_999_999, *2 * [len(data) + padding]) + bytes(padding) + data
    file.write_bytes(content)
    got = whole(file)
    assert [record.data for record in got.records] == [data for _, data in PACKETS]
    assert {(record.time_ns, record.link) for record in got.records} == {(START + 999_999_999, link)}
    assert as_tshark(got.records) == tshark(file)


def test_a_modified_pcap_through_a_pipe(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has come already tells what it is; nothing is waited for."""
    content = pcap(PACKETS, more=bytes(8))
    reading = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reading.stdin is not None
    assert reading.stdout is not None
    reading.stdin.write(content)
    reading.stdin.close()
    reading.wait()
    monkeypatch.setattr("sys.stdin", type("Standard", (), {"buffer": reading.stdout}))
    reading.stdout.isatty = lambda: False
    assert [record.data for record in whole("-").records] == [data for _, data in PACKETS]
    reading.stdout.close()


@pytest.mark.parametrize(
    ("pack", "name"),
    [
        (gzip.compress, "gzip"),
        (lzma.compress, "xz"),
        (zstandard.ZstdCompressor().compress, "zstd"),
        (lz4.frame.compress, "lz4"),
    ],
)
def test_odd_and_compressed(file: pathlib.Path, pack: object, name: str) -> None:
    file.write_bytes(pack(pcap(PACKETS, more=bytes(4))))  # type: ignore[operator]
    got = whole(file)
    assert [record.data for record in got.records] == [data for _, data in PACKETS]
    assert got.info.formats == [f"pcap (Nokia, little-endian) in {name}"]


def snoop(packets: list[tuple[int, bytes]], network: int = 4, drops: int = 0, padding: int = 0) -> bytes:
    content = b"snoop\0\0\0" + struct.pack(">II", 2, network)
    for time, data in packets:
        lengths = len(data), len(data), 24 + len(data) + padding, drops
        content += struct.pack(">IIIIII", *lengths, time // 10**9, time % 10**9 // 1000) + data + bytes(padding)
    return content


def test_snoops_drops_and_padding(file: pathlib.Path) -> None:
    file.write_bytes(snoop(PACKETS, drops=17, padding=6))
    got = whole(file)
    assert [(record.time_ns, record.data) for record in got.records] == PACKETS
    assert got.info.kernel_drops == 17
    assert got.info.interfaces[0].big_endian


def test_the_surveyors_own_numbers(file: pathlib.Path) -> None:
    file.write_bytes(snoop(PACKETS, network=12, padding=16))
    got = whole(file)
    assert {record.link for record in got.records} == {1}
    assert got.info.formats == ["Surveyor (version 2)"]
    assert as_tshark(got.records) == tshark(file)
    file.write_bytes(snoop(PACKETS, network=12))
    with pytest.raises(CaptureError, match="datalink type 12"):
        open_capture(file)


@pytest.mark.parametrize("length", [0, 23, 80, 2**32 - 1])
def test_a_wrong_length_in_snoop(file: pathlib.Path, length: int) -> None:
    good = snoop(PACKETS[:3])
    bad = struct.pack(">IIIIII", 60, 60, length, 0, 0, 0) + bytes(60)
    file.write_bytes(good + bad)
    got = whole(file)
    assert len(got.records) == 3
    assert got.info.damage[0].offset == len(good)
    for cut in range(len(good)):
        file.write_bytes(good[:cut])
        if cut >= 16:
            assert len(whole(file).records) == sum(cut >= end for end in (100, 185, 271))


# -------------------------------------------------------------------------------------- what pcapng says besides


def test_processes_of_packets(file: pathlib.Path) -> None:
    """epb_processid_threadid in both byte orders, and macOS's process blocks, counted anew in each section."""
    content = b""
    for order, first in (("<", 100), (">", 200)):
        content += section(order) + interface(order=order)
        for number in (first, first + 1):
            name = option(2, f"tool{number}".encode(), order)
            content += written.block(0x80000001, struct.pack(order + "I", number) + name, order)
        for code, value in ((8, (first + 50, 7)), (8, (0, 0)), (0x8001, (1,)), (0x8001, (2,)), (2, (1,))):
            words = struct.pack(order + "I" * len(value), *value)
            content += written.enhanced(
                1, b"x", order=order, options=option(code, words, order) + option(0, b"", order)
            )
        content += written.simple(b"x", order=order)
    file.write_bytes(content)
    got = whole(file)
    assert [record.process for record in got.records] == [150, -1, 101, -1, -1, -1, 250, -1, 201, -1, -1, -1]
    assert got.info.processes == {100: "tool100", 101: "tool101", 200: "tool200", 201: "tool201"}
    assert got.info.timeless == 2
    assert whole([file, file]).info.timeless == 4


def test_comments(file: pathlib.Path) -> None:
    """As editcap writes them; a merged capture names the file and the packet's number there."""
    plain = file.with_name("plain")
    plain.write_bytes(pcap(PACKETS))
    run(
        "editcap",
        "-F",
        "pcapng",
        "-a",
        "3:first sight",
        "-a",
        "40:überall",
        "--capture-comment",
        "a ticket",
        plain,
        file,
    )
    got = whole(file).info.comments
    assert [(one.frame, one.interface, one.text) for one in got] == [
        (None, None, "a ticket"),
        (3, None, "first sight"),
        (40, None, "überall"),
    ]
    merged = whole([plain, file]).info.comments
    assert [(one.file, one.frame) for one in merged] == [(str(file), None), (str(file), 3), (str(file), 40)]
    shown = run(
        "tshark", "-r", file, "-Y", "frame.comment", "-T", "fields", "-e", "frame.number", "-e", "frame.comment"
    )
    assert shown.splitlines() == ["3\tfirst sight", "40\tüberall"]
    file.write_bytes(section() + interface() + interface(options=option(1, b"the uplink")))
    assert [(one.interface, one.text) for one in whole(file).info.comments] == [(1, "the uplink")]


def test_comments_are_bounded(file: pathlib.Path) -> None:
    packet = written.enhanced(1, b"x", options=option(1, b"c" * 20_000))
    file.write_bytes(section() + interface() + 1500 * packet)
    got = whole(file)
    assert len(got.info.comments) == 1000
    assert got.info.comments_left_out == 500
    assert {len(one.text) for one in got.info.comments} == {10_000}


def test_statistics(file: pathlib.Path) -> None:
    """The last count of each interface, added up; capinfos has no opinion on what was lost."""

    def lost(number: int, *counts: tuple[int, int]) -> bytes:
        options = b"".join(option(code, struct.pack("<Q", count)) for code, count in counts)
        return written.block(5, struct.pack("<III", number, 0, 0) + options)

    start = section() + interface() + interface(snap_length=1)
    file.write_bytes(start + lost(0, (5, 3)) + lost(0, (5, 8), (4, 99)) + lost(1, (5, 10), (7, 4)))
    info = whole(file).info
    assert (info.interface_drops, info.kernel_drops) == (18, 4)
    file.write_bytes(2 * (start + lost(0, (7, 3)) + written.enhanced(1, b"x") + lost(0, (7, 5))))
    info = whole(file).info
    assert (info.interface_drops, info.kernel_drops) == (None, 10)
    assert whole([file, file]).info.kernel_drops == 20


def test_names_of_addresses(file: pathlib.Path) -> None:
    def names(*records: tuple[int, bytes], order: str = "<") -> bytes:
        return written.block(4, b"".join(option(code, value, order) for code, value in records), order)

    six = bytes.fromhex("20010db8000000000000000000000001")
    four = bytes([192, 0, 2, 1])
    file.write_bytes(
        section()
        + names((1, four + b"www.example\0web\0"), (2, six + b"six.example\0"), (7, b"unknown"), (0, b""))
        + names((1, b"\x01\x02"), (1, four + b"third"))
        + section(">")
        + names((1, four + b"web\0"), order=">")
    )
    assert whole(file).info.names == {"192.0.2.1": ("www.example", "web", "third"), "2001:db8::1": ("six.example",)}


def test_mergecap_of_both_byte_orders(file: pathlib.Path) -> None:
    """Sections one after another, of either order, with clocks of their own."""
    pieces = []
    for order in "<><":
        clock = option(9, b"\x09", order) + option(2, b"eth0", order)
        packets = [written.enhanced(time, data, order=order) for time, data in PACKETS]
        pieces.append(section(order) + interface(order=order, options=clock) + b"".join(packets))
    file.write_bytes(b"".join(pieces))
    got = whole(file)
    assert [(record.time_ns, record.data) for record in got.records] == 3 * PACKETS
    assert as_tshark(got.records) == tshark(file)
    assert [one.big_endian for one in got.info.interfaces] == [False, True]
