"""Held against the installed tcpdump, line by line: recordings, shared captures, and headers made to be odd."""

from __future__ import annotations

import dataclasses
import random
import re
import shutil
import socket
import struct
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analyzer
from analyzer.capture.files import open_capture
from analyzer.cli import main
from analyzer.peers import tcpdump
from tests.capture import conformance
from tests.recordings import CAPTURES

TCP = re.compile(r"(\S+ (?:\S+\s+(?:In|Out|B|M|P)\s+)?(?:IP6?: )?IP6? .*?: Flags \[[^\]]*\].*?, length \d+)")
LINKS = {0, 1, 9, 10, 12, 14, 50, 101, 104, 108, 113, 228, 229, 239, 276}

needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")


def theirs(path, *words: str) -> list[str]:
    done = subprocess.run(
        ["tcpdump", "-nn", "-tt", "-r", str(path), *words],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout.splitlines()


def ours(path, **options) -> list[str]:
    source = open_capture(path, bpf=options.pop("bpf", None))
    try:
        return list(tcpdump.lines(source, **options))
    finally:
        source.close()


def up_to_length(lines: list[str]) -> list[str]:
    return [found[1] for line in lines if (found := TCP.match(line))]


@needs_tcpdump
@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*/*.pcap")), ids=lambda path: path.parent.name)
def test_a_recording_prints_as_tcpdump_prints_it(path):
    lines = ours(path)
    assert lines
    assert lines == up_to_length(theirs(path))


@needs_tcpdump
def test_shared_captures_print_as_tcpdump_prints_them():
    wrong, total = [], 0
    for path in conformance.captures():
        source = open_capture(path)
        try:
            expected = [
                line
                for line in up_to_length(theirs(path))
                if re.match(r"\S+ (\S+\s+\w+\s+)?IP6? (truncated\S+ - \d+ bytes missing! ?)?\S+ > \S+: Flags", line)
            ]
            mine = set(tcpdump.lines(source))
        finally:
            source.close()
        if any(interface.link not in LINKS for interface in source.info.interfaces):
            continue
        total += len(expected)
        wrong += [(path.name, line) for line in expected if line not in mine]
    assert total > 5000
    assert wrong == []


# ------------------------------------------------------------------------------------------------------- odd headers


def pcap(path, link: int, packets: list[tuple[bytes, int]]):
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link))
        for i, (data, wire) in enumerate(packets):
            file.write(struct.pack("<IIII", 1_700_000_000 + i, i, len(data), wire) + data)
    return path


def segment(options: bytes = b"", *, flags: int = 16, payload: int = 0, seq: int = 1000, ack: int = 2000, offset=None):
    options += b"\1" * (-len(options) % 4)
    words = 5 + len(options) // 4 if offset is None else offset
    return struct.pack(">HHIIHHHH", 1234, 80, seq, ack, words << 12 | flags, 512, 0, 7) + options + bytes(payload)


def ipv4(payload: bytes, *, more: int = 0, length: int | None = None, fragment: int = 0) -> bytes:
    total = 20 + len(payload) if length is None else length
    ends = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2")
    return struct.pack(">BBHHHBBH", 0x45, 0, total, 7, more << 13 | fragment, 64, 6, 0) + ends + payload


def ipv6(payload: bytes, following: int = 6, extensions: bytes = b"") -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.9")
    return struct.pack(">IHBB", 6 << 28, len(extensions + payload), following, 64) + ends + extensions + payload


def held(path, link: int, packets: list[bytes | tuple[bytes, int]]) -> list[str]:
    """Ours, after holding them against tcpdump's; where tcpdump has a length, up to it."""
    whole = [(packet, len(packet)) if isinstance(packet, bytes) else packet for packet in packets]
    pcap(path, link, whole)
    expected = [found[1] if (found := TCP.match(line)) else line for line in theirs(path)]
    mine = ours(path)
    assert mine == expected
    return mine


OPTIONS = {
    "usual": "020405b4 0402 080a 00000001 00000002 01 030307",
    "sack": "0101 0512 00000bb8 00000fa0 00001388 00001770",
    "sack of a wrong size": "0507 0000000000 00",
    "end of options": "01 00 0000",
    "unknown": "fd06 11223344 4002",
    "bad length at once": "0201",
    "bad length later": "01 02ff 0000",
    "longer than its kind": "0206 05b4 0000",
    "shorter than its kind": "0203 05 01",
    "old ones": "0606 00000001 0706 00000002 0b06 00000003 0c06 00000004 0d06 00000005",
    "scps": "1404 0102",
    "user timeout": "1c04 0005 1c04 0004",
    "authentication": "1d10 0102 000102030405060708090a0b",
    "authentication, too short": "1d03 01",
    "signature": "1312 000102030405060708090a0b0c0d0e0f",
    "fast open": "2202 220a 0011223344556677 2205 010203",
    "fast open, experimental": "fe04 f989 fe0c f989 0011223344556677 fe04 abcd",
    "experimental, too short": "fe03 01",
    "mptcp capable": "1e0c 0181 0011223344556677",
    "mptcp capable with data": "1e16 0101 0011223344556677 8899aabbccddeeff 0102",
    "mptcp capable, keys": "1e14 0101 0011223344556677 8899aabbccddeeff",
    "mptcp capable, version": "1e0c 0781 0011223344556677",
    "mptcp join": "1e0c 1105 01020304 05060708",
    "mptcp join, answered": "1e10 1005 0011223344556677 05060708",
    "mptcp join, third": "1e18 1000 000102030405060708090a0b0c0d0e0f10111213",
    "mptcp dss": "1e14 2005 00000001 00000002 00000003 0004 0005",
    "mptcp dss, eight bytes": "1e1c 201f 0000000000000001 0000000000000002 00000003 0004 0005",
    "mptcp dss, wrong": "1e0a 2004 00000001 0000",
    "mptcp address": "1e08 3405 c0000201 1e0a 3005 c0000201 1f90",
    "mptcp address, signed": "1e10 3005 c0000201 0011223344556677",
    "mptcp address, v6": "1e16 3005 20010db8000000000000000000000001 1f90",
    "mptcp removed": "1e05 40 0102",
    "mptcp priority": "1e04 5101 1e03 50",
    "mptcp failed": "1e0c 6000 0011223344556677",
    "mptcp closed fast": "1e0c 7000 0011223344556677",
    "mptcp unknown": "1e04 9000",
    "mptcp, too short": "1e02",
}


@needs_tcpdump
@pytest.mark.parametrize("name", OPTIONS)
def test_options_in_tcpdumps_words(name, tmp_path):
    data = bytes.fromhex(OPTIONS[name])
    packets = [ipv4(segment(data, flags=flags)) for flags in (16, 2, 18, 0)]
    assert len(held(tmp_path / "options.pcap", 101, packets)) == 4


@needs_tcpdump
@pytest.mark.parametrize("name", ["usual", "sack", "signature", "mptcp join", "fast open"])
def test_options_cut_by_the_snap_length(name, tmp_path):
    whole = ipv4(segment(bytes.fromhex(OPTIONS[name]), flags=18, payload=10))
    packets = [(whole[:size], len(whole)) for size in range(22, len(whole))]
    held(tmp_path / "cut.pcap", 101, packets)


@needs_tcpdump
@settings(max_examples=40, deadline=None)
@given(data=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=60), seed=st.integers(0, 2**32))
def test_any_options(tmp_path_factory, data, seed):
    draw = random.Random(seed)
    kinds = (2, 3, 4, 5, 8, 19, 20, 28, 29, 30, 34, 254)
    packets: list[bytes | tuple[bytes, int]] = []
    for tail in data:
        options = bytes((draw.choice(kinds), draw.randrange(2, 24))) + tail
        packets.append(
            ipv4(segment(options[:40], flags=draw.choice((2, 16, 18, 24, 17, 4, 255)), payload=draw.randrange(3)))
        )
    held(tmp_path_factory.mktemp("any") / "any.pcap", 101, packets)


@needs_tcpdump
def test_odd_headers(tmp_path):
    whole = ipv4(segment(payload=100))
    packets: list[bytes | tuple[bytes, int]] = [
        ipv4(segment(offset=4)),
        ipv4(segment(offset=9)),
        ipv4(segment(flags=0)),
        ipv4(segment(flags=63 | 192)),
        (whole[:60], 60),  # the datagram says more than the wire had
        (whole[:60], len(whole)),
        ipv4(segment(payload=100), more=1),
        ipv4(segment(), length=39),
        ipv4(segment(), length=0),
        ipv4(segment(payload=4), length=40),  # padded
        ipv4(segment(seq=2**32 - 5, payload=10)),
    ]
    assert len(held(tmp_path / "odd.pcap", 101, packets)) == len(packets)


@needs_tcpdump
def test_ipv6(tmp_path):
    fragment = struct.pack(">BBHI", 6, 0, 1, 77)
    hop = bytes((6, 0, 1, 4, 0, 0, 0, 0))
    packets: list[bytes | tuple[bytes, int]] = [
        ipv6(segment(payload=5)),
        ipv6(segment(payload=5), 44, fragment),
        ipv6(segment(), 0, hop),
        ipv6(segment(), 60, hop),
    ]
    cut = ipv6(segment(payload=50))
    packets += [(cut[:70], 70), (cut[:42], 110)]
    assert len(held(tmp_path / "ipv6.pcap", 101, packets)) == len(packets)


@needs_tcpdump
def test_numbers_are_relative_by_tcpdumps_rule(tmp_path):
    def back(seq: int, ack: int, flags: int = 16, payload: int = 0) -> bytes:
        there = bytearray(ipv4(segment(seq=seq, ack=ack, flags=flags, payload=payload)))
        there[12:20] = there[16:20] + there[12:16]
        there[20:24] = there[22:24] + there[20:22]
        return bytes(there)

    packets = [
        ipv4(segment(flags=2, seq=10)),
        back(500, 11, 18),
        ipv4(segment(seq=11, ack=501, payload=3)),
        back(501, 14, payload=4),
        ipv4(segment(flags=4, seq=14)),  # without ACK: as it is
        ipv4(segment(flags=18, seq=99, ack=77)),  # a SYN begins anew
        back(77, 100),
    ]
    mine = held(tmp_path / "relative.pcap", 101, packets)
    assert ", seq 1:4, ack 1," in mine[2]
    assert ", seq 14," in mine[4]


@needs_tcpdump
def test_link_types(tmp_path):
    packet = ipv4(segment(payload=3))
    tag = bytes.fromhex("8100 0005".replace(" ", ""))
    mac = bytes(12)
    for link, header in {
        0: struct.pack("<I", 2), 108: struct.pack(">I", 2), 9: bytes.fromhex("ff030021"), 50: bytes.fromhex("ff030021"),
        104: bytes.fromhex("0f000800"), 113: struct.pack(">HHH8sH", 0, 1, 6, b"", 0x800),
        276: struct.pack(">HHIHBB8s", 0x800, 0, 1, 1, 4, 6, b""), 228: b"", 12: b"",
        10: b"\x50" + mac + bytes.fromhex("aaaa030000000800"),
    }.items():  # fmt: skip
        assert len(held(tmp_path / f"{link}.pcap", link, [header + packet])) == 1
    ethernet: list[bytes | tuple[bytes, int]] = [
        mac + b"\x08\x00" + packet,
        mac + tag + b"\x08\x00" + packet,
        mac + bytes.fromhex("88a80007") + tag + b"\x08\x00" + packet + bytes(6),
        mac + struct.pack(">H", 8 + len(packet)) + bytes.fromhex("aaaa030000000800") + packet,
        mac + b"\x86\xdd" + ipv6(segment()),
    ]
    assert len(held(tmp_path / "ethernet.pcap", 1, ethernet)) == len(ethernet)


def test_a_port_a_filter_and_frames_select_lines():
    path = CAPTURES / "many-connections" / "eth.pcap"
    everything = ours(path)
    port = int(re.search(r"\.(\d+) > ", everything[0])[1])
    chosen = ours(path, port=port)
    assert 0 < len(chosen) < len(everything)
    assert chosen == [line for line in everything if re.search(rf"\.{port}( >|:)", line)]
    assert ours(path, bpf=f"tcp port {port}") == chosen
    assert ours(path, frames={1, 3}) == [everything[0], everything[2]]


@pytest.mark.kernels
def test_one_connection_prints_its_own_lines(capsys, tmp_path):
    path = str(CAPTURES / "many-connections" / "eth.pcap")
    analysis = analyzer.read(path, bpf="ip")
    lines = analysis.flow(3).tcpdump()
    assert main(["packets", path, "ip", "--format", "tcpdump", "--flow", "3"]) == 0
    assert lines == capsys.readouterr().out.splitlines()
    assert len(lines) == len(analysis.flow(3).packets) > 0
    gone = tmp_path / "gone.pcap"
    shutil.copy(path, gone)
    analysis = analyzer.read(gone)
    gone.unlink()
    with pytest.raises(analyzer.CaptureError, match="no such file"):
        analysis.flow(3).tcpdump()
    analysis.capture = dataclasses.replace(analysis.capture, files=("-",))
    with pytest.raises(analyzer.CaptureError, match="through a pipe"):
        analysis.flow(3).tcpdump()


@pytest.mark.kernels
def test_one_connection_of_several_files():
    """Read again together, as they were read."""
    paths = [CAPTURES / name / "any.pcap" for name in ("reset", "refused")]
    analysis = analyzer.read(paths)
    everything = [line for path in paths for line in ours(path)]
    for number in analysis.flows.index:
        lines = analysis.flow(number).tcpdump()
        assert len(lines) == len(analysis.flow(number).packets)
        assert set(lines) <= set(everything)


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(max_size=120),
    link=st.sampled_from(sorted(LINKS)),
    wire=st.integers(0, 70000),
    begin=st.sampled_from([b"", b"\x45", b"\x60", b"\x02\0\0\0\x45", bytes(12) + b"\x08\0\x45"]),
)
def test_any_bytes_print_or_do_not(data, link, wire, begin):
    line = tcpdump.Printer().line(begin + data, wire, 1, link)
    assert line is None or line.startswith("0.000000 ")


def test_the_command_line_prints_them(capsys):
    path = str(CAPTURES / "many-connections" / "eth.pcap")
    everything = ours(path)
    assert main(["packets", path, "--format", "tcpdump"]) == 0
    assert capsys.readouterr().out.splitlines() == everything
    assert main(["packets", path, "--format", "tcpdump", "-c", "3", "--flow", "1"]) == 0
    chosen = capsys.readouterr().out.splitlines()
    ends = {frozenset(line.partition(": Flags")[0].split(" IP ")[1].split(" > ")) for line in chosen}
    assert len(chosen) == 3
    assert len(ends) == 1
    assert main(["flows", path, "--format", "tcpdump"]) == 2  # only segments have lines
