"""Sniffing loopback, with real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from analyzer.capture.live import LiveSource
from analyzer.capture.sniffer import interface_names
from analyzer.errors import FilterError, InterfaceError, PermissionDenied
from analyzer.settings import Settings
from tests.capture.privilege import unprivileged
from tests.capture.written import Whole, drained

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(
    not hasattr(socket, "AF_PACKET") or os.geteuid() != 0, reason="sniffing needs Linux and root"
)
pytestmark = [pytest.mark.kernels]


def conversation(listener: socket.socket, payload: bytes = b"hello") -> None:
    """One connection: opened, some bytes each way, closed by both."""
    with socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            client.sendall(payload)
            assert server.recv(len(payload), socket.MSG_WAITALL) == payload
            server.sendall(payload)
            assert client.recv(len(payload), socket.MSG_WAITALL) == payload


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def sniffed(source: LiveSource) -> tuple[list[Whole], threading.Thread]:
    """Read a source in another thread; the list is filled when it ends."""
    result: list[Whole] = []
    thread = threading.Thread(target=lambda: result.append(drained(source)))
    thread.start()
    return result, thread


@needs_root
@pytest.mark.root
def test_loopback(listener: socket.socket) -> None:
    """Each packet once, as the kernel sent it, in order, with times of now."""
    port = listener.getsockname()[1]
    before = time.time_ns()
    source = LiveSource("lo", port=port)
    assert source.size_hint is None
    assert source.progress is None
    conversation(listener)
    result, thread = sniffed(source)
    time.sleep(0.3)
    stopped = time.monotonic()
    source.stop()
    thread.join(5)
    assert time.monotonic() - stopped < 0.2
    after = time.time_ns()
    (got,) = result
    ports = [struct.unpack("!HH", record.data[34:38]) for record in got.records]
    flags = [record.data[47] for record in got.records]
    assert all(port in pair for pair in ports)
    assert flags[:3] == [0x02, 0x12, 0x10]
    assert flags.count(0x02) == 1
    assert flags.count(0x18) == 2
    assert [record.data[-5:] for record, flag in zip(got.records, flags, strict=True) if flag == 0x18] == [b"hello"] * 2
    times = [record.time_ns for record in got.records]
    assert before < times[0]
    assert times == sorted(times)
    assert times[-1] < after
    assert got.frame == got.file_frame == list(range(1, len(got.records) + 1))
    assert all(record.wire == len(record.data) for record in got.records)
    assert got.info.kernel_drops == 0
    assert got.info.records == len(got.records)
    assert [(one.link, one.name) for one in got.info.interfaces] == [(1, "lo")]
    assert got.info.bpf == f"tcp port {port}"


@needs_root
@pytest.mark.root
def test_count_and_filter(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    source = LiveSource("lo", port=port, bpf="tcp[tcpflags] & tcp-syn != 0", count=3)
    for _ in range(2):
        conversation(listener)
    got = drained(source)
    assert [record.data[47] for record in got.records] == [0x02, 0x12, 0x02]


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("late", [False, True])
def test_what_comes_after_the_last_one_counts_nowhere(listener: socket.socket, late: bool) -> None:
    """Also where the kernel could not have the filter (for its VLAN tag), and the batch holds what it refuses."""
    port = listener.getsockname()[1]
    source = LiveSource("lo", bpf=f"tcp port {port}" + (" or vlan 7" if late else ""), count=5)
    for _ in range(3):
        conversation(listener)
    time.sleep(0.3)
    got = drained(source)
    assert [len(got.records), got.info.records - got.info.filtered_out] == [5, 5]
    assert got.info.records == got.frame[-1]
    assert late or got.info.bytes == sum(len(record.data) for record in got.records)


@needs_root
@pytest.mark.root
def test_batches_no_larger_than_asked(listener: socket.socket) -> None:
    source = LiveSource("lo", port=listener.getsockname()[1], count=6, settings=Settings(batch_records=2))
    conversation(listener)
    assert drained(source).batches == [2, 2, 2]


@needs_root
@pytest.mark.root
def test_idle_gives_empty_batches_and_large_packets_come_whole(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    source = LiveSource("lo", port=port)
    batches = source.batches()
    begun = time.monotonic()
    assert len(next(batches).frame) == 0
    assert 0.05 < time.monotonic() - begun < 1
    payload = bytes(range(256)) * 200
    conversation(listener, payload)
    seen = b""
    while len(seen) < 2 * len(payload):
        batch = next(batches)
        for i in range(len(batch.frame)):
            begin, length = int(batch.offset[i]), int(batch.captured[i])
            packet = batch.data[begin : begin + length].tobytes()
            seen += packet[14 + 20 + (packet[46] >> 4) * 4 :]
    assert seen == 2 * payload
    source.close()
    source.close()
    source.stop()


@needs_root
@pytest.mark.root
def test_what_the_kernel_had_no_room_for_is_counted() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("127.0.0.1", 0))
        expression = f"udp port {receiver.getsockname()[1]} and inbound"
        source = LiveSource("lo", bpf=expression, ring=False, settings=Settings(backlog_bytes=0))
        source._sniffer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        for _ in range(500):
            sender.sendto(bytes(60_000), receiver.getsockname())
    source.stop()
    got = drained(source)
    assert 0 < len(got.records) < 500
    assert got.info.kernel_drops == 500 - len(got.records)


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Two ends of a virtual cable, both here."""
    name = f"cap{uuid.uuid4().hex[:8]}"
    try:
        subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", name + "p"], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no virtual cable can be made here")
    for end in (name, name + "p"):
        subprocess.run(["ip", "link", "set", end, "up"], check=True)
    yield name, name + "p"
    subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def wait_until_up(name: str) -> None:
    with open(f"/sys/class/net/{name}/operstate", encoding="ascii") as state:
        while state.read().strip() != "up":
            time.sleep(0.01)
            state.seek(0)


@needs_root
@pytest.mark.root
def test_the_vlan_tag_is_put_back(pair: tuple[str, str]) -> None:
    """The kernel takes the tag out of the bytes; libpcap and we put it back, and filters see it."""
    here, there = pair
    wait_until_up(here)
    tagged = bytes(12) + b"\x81\0\x20\x05\x08\0" + b"\x45" + bytes(60)
    plain = bytes(12) + b"\x08\0" + b"\x45" + bytes(60)
    everything, filtered = LiveSource(there, bpf="ip or vlan"), LiveSource(there, bpf="vlan 5")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((here, 0))
        sender.send(tagged)
        sender.send(plain)
    results = [sniffed(source) for source in (everything, filtered)]
    time.sleep(0.2)
    for source, (_, thread) in zip((everything, filtered), results, strict=True):
        source.stop()
        thread.join(5)
    assert tagged in [record.data for record in results[0][0][0].records]
    assert plain in [record.data for record in results[0][0][0].records]
    assert [record.data for record in results[1][0][0].records] == [tagged]
    assert results[1][0][0].records[0].wire == len(tagged)


@needs_root
@pytest.mark.root
def test_an_interface_that_goes_away(pair: tuple[str, str]) -> None:
    source = LiveSource(pair[0])
    batches = source.batches()
    next(batches)
    subprocess.run(["ip", "link", "del", pair[0]], check=True)
    with contextlib.closing(source), pytest.raises(InterfaceError, match=r"gone away.*lo"):
        sum(len(batch.frame) for batch in batches)


def test_interfaces_that_cannot_be() -> None:
    with pytest.raises(InterfaceError, match="no such interface.*" + interface_names()[0] + ".*, any"):
        LiveSource("not-there")


def test_a_bad_filter_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr("analyzer.capture.sniffer._opened", opened)
    with pytest.raises(FilterError, match="syntax error"):
        LiveSource("lo", bpf="tcp port")
    with pytest.raises(ValueError, match="65535"):
        LiveSource("lo", port=70000)


def test_without_the_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the very program that runs, as a virtual environment's link has it: the path's python3 may be a script."""
    import scapy.arch.linux  # noqa: F401  # while it can still be read

    monkeypatch.setattr(sys, "executable", "/bin/sh")  # a link on most systems, and to be read by anybody
    said = r"tcpdump -i lo -w - \| analyzer read -.*sudo.*setcap"
    with unprivileged(), pytest.raises(PermissionDenied, match=said) as refused:
        LiveSource("lo")
    assert str(refused.value).split()[-1] == os.path.realpath("/bin/sh")
