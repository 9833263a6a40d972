"""Capture filters against tcpdump itself, and the small machine against libpcap's semantics in plain Python."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.capture import bpf
from analyzer.errors import FilterError, MissingDependency
from tests.capture import conformance, reference
from tests.capture.written import enhanced, interface, pcap, section, whole

if TYPE_CHECKING:
    import pathlib

pytestmark = pytest.mark.kernels

FILTERS = [
    "tcp port 80",
    "ip6",
    "vlan",
    "vlan and tcp",
    "tcp[tcpflags] & tcp-syn != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and not src port 80",
    "portrange 1-1023",
    "net 10.0.0.0/8",
    "host 10.0.0.1 or host 127.0.0.1 or host 192.168.0.1",
    "not tcp",
    "greater 100",
    "less 60",
    "ip[8] > 63 and ip[2:2] % 4 = 0",
    "ip6 protochain 6",
    "(ip[0] & 15) << 2 > 20 or tcp[12] >> 4 != 5",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    "len - 14 > ip[2:2]",
    "inbound",
    "outbound",
    "ether host 00:00:00:00:00:00",
    "icmp or udp port 53",
]
LINKS = {1: "Ethernet", 113: "SLL", 276: "SLL2", 0: "NULL", 101: "RAW", 228: "IPV4", 229: "IPV6"}


def tcpdump(path: pathlib.Path, expression: str, out: pathlib.Path) -> list[reference.Record] | None:
    """What tcpdump keeps; None where it refuses the filter."""
    try:
        # Its exit code tells of cut files too, which are no refusal.
        subprocess.run(["tcpdump", "-r", path, "-w", out, expression], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("tcpdump is not installed")
    return reference.read(out.read_bytes()).records if out.is_file() else None


def holds(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    everything = reference.read(path.read_bytes()).records
    for expression in FILTERS:
        out = tmp_path / "out"
        out.unlink(missing_ok=True)
        expected = tcpdump(path, expression, out)
        if expected is None:
            with pytest.raises(FilterError):
                whole(path, bpf=expression)
            continue
        got = whole(path, bpf=expression)
        assert [record[:2] for record in got.records] == [record[:2] for record in expected], (path, expression)
        assert [everything[frame - 1] for frame in got.frame] == got.records, (path, expression)
        assert got.info.filtered_out == len(everything) - len(expected)
        assert got.info.records == len(everything)
        assert got.info.bpf == expression


@pytest.mark.parametrize("link", LINKS, ids=LINKS.values())
def test_tcpdump_keeps_the_same(link: int, tmp_path: pathlib.Path) -> None:
    paths = conformance.sample(link)
    if not paths:
        pytest.skip(f"no capture of link type {LINKS[link]} among the shared ones")
    for path in paths[-1:] if len(paths) == 1 else (paths[len(paths) // 2], paths[-1]):
        holds(path, tmp_path)


def test_tcpdump_keeps_the_same_vlan_frames(tmp_path: pathlib.Path) -> None:
    inner = bytes.fromhex("08004500002800010000400600000a0000010a000002") + bytes.fromhex("00501f90") + bytes(16)
    ethernet = bytes(12)
    packets = [ethernet + inner, ethernet + b"\x81\0\0\x05" + inner, ethernet + b"\x88\xa8\0\x07\x81\0\0\x05" + inner]
    path = tmp_path / "capture"
    path.write_bytes(pcap([(i, data) for i, data in enumerate(packets)]))
    holds(path, tmp_path)
    assert [whole(path, bpf=text).frame for text in ("vlan 5", "vlan 7 and vlan 5 and tcp port 80")] == [[2], [3]]


@pytest.mark.parametrize(("link", "order"), [(0, "<"), (0, ">"), (108, "<"), (108, ">")])
def test_the_byte_order_of_loopback_files(link: int, order: str, tmp_path: pathlib.Path) -> None:
    """LINKTYPE_NULL's protocol family is in the writer's byte order, LINKTYPE_LOOP's in the network's."""
    packet = struct.pack((order if link == 0 else ">") + "I", 2) + bytes.fromhex(
        "4500001400010000400600007f0000017f000001"
    )
    path = tmp_path / "capture"
    path.write_bytes(pcap([(1, packet)], order=order, link=link))
    assert whole(path, bpf="host 127.0.0.1").frame == [1]
    holds(path, tmp_path)


def test_each_interface_has_its_own_program(tmp_path: pathlib.Path) -> None:
    ip = bytes.fromhex("45000028000100004006000001020304050607080050") + bytes(18)
    other = ip.replace(b"\0\x50", b"\0\x51")
    path = tmp_path / "capture"
    path.write_bytes(
        section()
        + interface(1)
        + interface(101)
        + interface(147)  # of no use to libpcap, and without packets
        + enhanced(1, bytes(12) + b"\x08\0" + ip)
        + enhanced(2, ip, number=1)
        + enhanced(3, other, number=1)
        + enhanced(4, bytes(12) + b"\x08\0" + other)
    )
    got = whole(path, bpf="tcp src port 80")
    assert got.frame == [1, 2]
    assert got.info.filtered_out == 2


def test_several_files_are_numbered_before_the_filter(tmp_path: pathlib.Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(pcap([(i * 1000, bytes(20 + i)) for i in range(4)]))
    got = whole(tmp_path, bpf="greater 22")
    assert got.frame == [5, 6, 7, 8]
    assert got.file_frame == [3, 3, 4, 4]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("port eighty", "illegal token|unknown port|syntax error"),
        ("tcp port", "syntax error"),
        ("((tcp", "syntax error"),
        ("inbound", "inbound/outbound not supported"),
        ("tcp\0", "zero byte"),
        ("\udcff", "."),
    ],
)
def test_refused_in_libpcap_s_words(expression: str, words: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(pcap([(1, bytes(60))]))
    with pytest.raises(FilterError, match=words) as caught:
        whole(path, bpf=expression)
    assert expression.strip("\0") in str(caught.value)


def test_without_libpcap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda _: "libpcap-that-is-not-there.so")
    bpf._libraries.cache_clear()
    with pytest.raises(MissingDependency, match="apt install libpcap"):
        bpf.compile_filter("tcp", 1)
    monkeypatch.undo()
    bpf._libraries.cache_clear()
    assert len(bpf.compile_filter("tcp", 1)) > 1


# ------------------------------------------------------------------------------------------------ the machine itself

WORD = 0xFFFFFFFF


def machine(program: list[tuple[int, int, int, int]], packet: bytes, wire: int) -> bool:
    """bpf_filter(), written to be read."""
    a = x = at = laps = 0
    memory = [0] * 16
    while True:
        code, jt, jf, k = program[at]
        at += 1
        size = {0x00: 4, 0x08: 2, 0x10: 1}.get(code & 0x18, 0)
        operand = x if code & 8 else k
        match code & 7, code & 0xE0 if code & 7 < 2 else code & 0xF0:
            case (0 | 1, 0x00):
                value = k
            case (0, 0x20 | 0x40):
                begin = k + (x if code & 0x40 else 0)
                if begin + size > len(packet):
                    return False
                value = int.from_bytes(packet[begin : begin + size], "big")
            case (0 | 1, 0x60):
                value = memory[k]
            case (0 | 1, 0x80):
                value = wire & WORD
            case (1, 0xA0):
                if k >= len(packet):
                    return False
                value = (packet[k] & 15) * 4
            case (2, _):
                memory[k] = a
                continue
            case (3, _):
                memory[k] = x
                continue
            case (4, 0x80):
                a = -a & WORD
                continue
            case (4, 0x30 | 0x90) if operand == 0:
                return False
            case (4, operation):
                a = {
                    0x00: lambda a, b: a + b,
                    0x10: lambda a, b: a - b,
                    0x20: lambda a, b: a * b,
                    0x30: lambda a, b: a // b,
                    0x40: lambda a, b: a | b,
                    0x50: lambda a, b: a & b,
                    0x60: lambda a, b: a << b if b < 32 else 0,
                    0x70: lambda a, b: a >> b if b < 32 else 0,
                    0x90: lambda a, b: a % b,
                    0xA0: lambda a, b: a ^ b,
                }[operation](a, operand) & WORD
                continue
            case (5, 0x00):
                at += k - 2**32 if k >> 31 else k
                laps += 1
                if laps > 65536:
                    return False
                continue
            case (5, operation):
                true = {0x10: a == operand, 0x20: a > operand, 0x30: a >= operand, 0x40: a & operand != 0}[operation]
                at += jt if true else jf
                continue
            case (6, _):
                return (a if code == 0x16 else k) != 0
            case (7, 0x00):
                x = a
                continue
            case _:
                a = x
                continue
        if code & 7:
            x = value
        else:
            a = value


CODES = sorted(bpf._PLAIN - {0x06, 0x16})
CODES += [4 | operation | source for operation in sorted(bpf._ARITHMETIC) for source in (0, 8)]
CODES += [5 | operation | source for operation in sorted(bpf._JUMPS) for source in (0, 8)]
constants = st.one_of(st.integers(0, 40), st.integers(0, WORD), st.sampled_from([WORD, WORD - 4096, 1 << 31]))


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    length = draw(st.integers(0, 14))
    program = []
    for i in range(length):
        code, k = draw(st.sampled_from(CODES)), draw(constants)
        jt = jf = 0
        if code == 0x05:
            k = draw(st.integers(-1 - i, length - 1 - i)) & WORD
        elif code & 7 == 5:
            jt, jf = (draw(st.integers(0, length - 1 - i)) for _ in range(2))
        if code in {0x02, 0x03, 0x60, 0x61}:
            k %= 16
        if code & 0xF7 in {0x34, 0x94} and not code & 8:
            k = k or 1
        program.append((code, jt, jf, k))
    return [*program, draw(st.sampled_from([(0x16, 0, 0, 0), (0x06, 0, 0, 1)]))]


@settings(deadline=None, max_examples=1000)
@given(programs(), st.binary(max_size=30), st.integers(0, WORD))
def test_the_machine_is_libpcap_s(program: list[tuple[int, int, int, int]], packet: bytes, wire: int) -> None:
    compiled = np.array(program, np.int64)
    assert bpf.verify(compiled) is None
    kept = np.zeros(1, np.int64)
    # The packet lies between foreign bytes, which must never be seen.
    data = np.frombuffer(bytearray(b"\xff" * 7 + packet + b"\xff" * 9), np.uint8)
    one = np.array([7]), np.array([len(packet)], np.int32), np.array([wire]), np.zeros(1, np.int32)
    passed = bpf.run_filter(compiled, np.zeros(1, np.int64), data, *one, np.zeros(16, np.int64), kept)
    assert bool(passed) == machine(program, packet, wire)


def test_a_filter_that_runs_in_circles_ends() -> None:
    program = np.array([(0x05, 0, 0, WORD), (0x06, 0, 0, 1)], np.int64)
    assert bpf.verify(program) is None
    one = np.zeros(1, np.int64), np.zeros(1, np.int32), np.zeros(1, np.int64), np.zeros(1, np.int32)
    memory, kept = np.zeros(16, np.int64), np.zeros(1, np.int64)
    data = np.zeros(1, np.uint8)
    assert bpf.run_filter(program, np.zeros(1, np.int64), data, *one, memory, kept) == 0


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ([], "return"),
        ([(0x07, 0, 0, 0)], "return"),
        ([(0x05, 0, 0, 1), (0x06, 0, 0, 0)], "jumps outside"),
        ([(0x05, 0, 0, WORD - 1), (0x06, 0, 0, 0)], "jumps outside"),
        ([(0x15, 0, 1, 0), (0x06, 0, 0, 0)], "jumps outside"),
        ([(0x60, 0, 0, 16), (0x06, 0, 0, 0)], "memory"),
        ([(0x34, 0, 0, 0), (0x06, 0, 0, 0)], "divides by zero"),
        ([(0xFF, 0, 0, 0), (0x06, 0, 0, 0)], "unknown"),
    ],
)
def test_a_program_that_could_run_astray_is_refused(program: list[tuple[int, int, int, int]], fault: str) -> None:
    assert fault in str(bpf.verify(np.array(program, np.int64).reshape(-1, 4)))
