"""Sniffing all interfaces, the kernel's ring against plain reads, and what is written on the way, with real sockets."""

from __future__ import annotations

import pathlib
import socket
import struct
import subprocess
import threading
import time

import pandas as pd
import pytest

import analyzer
from analyzer.capture.live import LiveSource
from analyzer.capture.writer import Target
from analyzer.errors import CaptureError, FilterError
from analyzer.settings import Settings
from tests.capture.test_live import conversation, listener, needs_root, sniffed  # noqa: F401
from tests.capture.written import Whole

pytestmark = [pytest.mark.kernels, needs_root, pytest.mark.root]

_SLL2 = 20


def during(source: LiveSource, listener: socket.socket, payload: bytes = b"hello") -> Whole:  # noqa: F811
    result, thread = sniffed(source)
    conversation(listener, payload)
    time.sleep(0.2)
    source.stop()
    thread.join(5)
    return result[0]


@pytest.mark.parametrize("ring", [True, False], ids=["ring", "reads"])
@pytest.mark.parametrize("where", ["any", ("lo", "lo"), "lo"])
def test_each_packet_once(where: str | tuple[str, ...], ring: bool, listener: socket.socket) -> None:  # noqa: F811
    port = listener.getsockname()[1]
    got = during(LiveSource(where, port=port, ring=ring), listener)
    cooked = where != "lo"
    assert [interface.link for interface in got.info.interfaces] == [276 if cooked else 1]
    head = _SLL2 if cooked else 14
    flags = [record.data[head + 33] for record in got.records]
    assert flags[:3] == [0x02, 0x12, 0x10]
    assert flags.count(0x02) == 1
    if cooked:
        protocol, _, index, hardware, kind, octets = struct.unpack("!HHIHBB", got.records[0].data[:12])
        assert (protocol, index, hardware, kind, octets) == (0x800, socket.if_nametoindex("lo"), 772, 0, 6)
    assert all(record.wire == len(record.data) for record in got.records)
    times = [record.time_ns for record in got.records]
    assert times == sorted(times)
    assert abs(times[-1] - time.time_ns()) < 5e9


def test_ring_and_reads_and_tcpdump_see_the_same(tmp_path: pathlib.Path, listener: socket.socket) -> None:  # noqa: F811
    port = listener.getsockname()[1]
    path = tmp_path / "theirs.pcap"
    with subprocess.Popen(
        ["tcpdump", "-i", "any", "--immediate-mode", "-B", "65536", "-U", "-w", str(path), "tcp", "port", str(port)],
        stderr=subprocess.PIPE,
        text=True,
    ) as tcpdump:
        assert tcpdump.stderr is not None
        assert any("listening" in line for line in iter(tcpdump.stderr.readline, ""))
        reads = LiveSource("any", port=port, ring=False)
        result, thread = sniffed(reads)
        ring = during(LiveSource("any", port=port), listener, bytes(range(256)) * 1000)
        reads.stop()
        thread.join(5)
        size = -1
        while size != (size := path.stat().st_size):  # it writes as it comes
            time.sleep(0.2)
        tcpdump.terminate()
    theirs = analyzer.read(path).packets
    assert [record.data for record in ring.records] == [record.data for record in result[0].records]
    assert [record.wire for record in ring.records] == [record.wire for record in result[0].records]
    assert len(theirs) == len(ring.records)
    ours_ns = [record.time_ns for record in ring.records]  # each socket stamps a packet of its own
    assert all(abs(our - their) < 1e6 for our, their in zip(ours_ns, theirs["time"].astype("int64"), strict=True))


@pytest.mark.parametrize("where", ["any", "lo"])
def test_the_file_says_what_the_session_said(tmp_path: pathlib.Path, where: str, listener: socket.socket) -> None:  # noqa: F811
    path = tmp_path / "kept.pcapng"
    settings = analyzer.Settings(time_wait_s=0.1, snapshot_s=0)
    with analyzer.live(where, port=listener.getsockname()[1], write=path, settings=settings) as session:
        for _ in range(5):
            conversation(listener, b"payload" * 300)
        time.sleep(0.6)
    live, read = session.analysis(), analyzer.read(path, settings=settings)
    assert len(live.packets) > 5 * 8
    assert (live.transitions["frame"].isna() & (live.transitions["time"] > live.capture.last)).sum() == 5, "by a timer"
    assert live.capture.ended == read.capture.ended
    assert live.capture.began == read.capture.began
    assert live.capture.began < live.capture.first
    assert live.capture.listened_s > 0.6
    assert live.answers().waiting == read.answers().waiting
    for name in ("packets", "options", "flows", "transitions", "anomalies"):
        pd.testing.assert_frame_equal(getattr(live, name), getattr(read, name))
    assert live.local_addresses == read.local_addresses
    assert read.capture.kernel_drops == 0
    subprocess.run(["tshark", "-r", str(path), "-c", "1"], check=True, capture_output=True)


def test_what_is_left_in_a_state_is_so_up_to_the_end_of_the_session(
    tmp_path: pathlib.Path,
    listener: socket.socket,  # noqa: F811
) -> None:
    """Not up to its last packet; asked while it runs, up to now. What others have written ends with its last record."""
    path = tmp_path / "kept.pcapng"
    with (
        analyzer.live("lo", port=listener.getsockname()[1], write=path) as session,
        socket.create_connection(listener.getsockname()) as client,
    ):
        server, _ = listener.accept()
        with server:
            client.shutdown(socket.SHUT_WR)
            while len(session.analysis().packets) != 5:
                time.sleep(0.05)
            time.sleep(1.0)
            asked = session.analysis()
            time.sleep(0.5)
            session.stop()
    live = session.analysis()
    assert live.capture.ended - asked.capture.ended >= pd.Timedelta("0.4s")
    for analysis in (asked, live, analyzer.read(path)):
        assert {(left.state, left.endpoint) for left in analysis.answers().waiting} == {
            ("FIN_WAIT_2", "client"),
            ("CLOSE_WAIT", "server"),
        }
        waited = [left.longest_s for left in analysis.answers().waiting]
        since = (analysis.capture.ended - live.packets["time"].iloc[-1]).total_seconds()
        assert waited == pytest.approx([since, since], abs=0.01)
        assert min(waited) > (0.8 if analysis is asked else 1.4)
        assert analysis.state_counts("100ms").index[-1] >= analysis.capture.ended
    content = path.read_bytes()
    path.write_bytes(content.replace(b"tcp-handshake-analyzer", b"editcap of some others"))
    theirs = analyzer.read(path)
    assert theirs.capture.ended is None
    assert max(left.longest_s for left in theirs.answers().waiting) < 0.5


def test_a_session_that_a_count_ends_ends_with_that_packet(
    tmp_path: pathlib.Path,
    listener: socket.socket,  # noqa: F811
) -> None:
    """What came of the rest nobody knows: it is not said to have waited."""
    path = tmp_path / "kept.pcapng"
    session = analyzer.live("lo", port=listener.getsockname()[1], write=path, count=3)
    time.sleep(0.3)
    conversation(listener)
    time.sleep(0.3)
    session.stop()
    for analysis in (session.analysis(), analyzer.read(path)):
        assert analysis.capture.ended == analysis.capture.last == analysis.packets["time"].iloc[2]


def test_rotation_by_size(tmp_path: pathlib.Path, listener: socket.socket) -> None:  # noqa: F811
    target = Target(str(tmp_path / "part.pcapng"), rotate_bytes=2000, files=3)
    source = LiveSource("lo", port=listener.getsockname()[1], write=target)
    result, thread = sniffed(source)
    for _ in range(6):
        conversation(listener, bytes(1000))
        time.sleep(0.15)
    source.stop()
    thread.join(5)
    kept = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert len(kept) == 3
    read = analyzer.read(kept)
    assert list(read.packets["raw_seq"]) == [
        struct.unpack("!I", record.data[38:42])[0] for record in result[0].records[-len(read.packets) :]
    ]


def test_snap_length_and_duration(listener: socket.socket) -> None:  # noqa: F811
    begun = time.monotonic()
    source = LiveSource("lo", port=listener.getsockname()[1], snap_length=68, duration_s=0.5)
    conversation(listener, bytes(5000))
    result, thread = sniffed(source)
    thread.join(5)
    assert 0.4 < time.monotonic() - begun < 1.5
    assert max(len(record.data) for record in result[0].records) == 68
    assert max(record.wire for record in result[0].records) > 5000


def test_bad_filter_and_bad_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FilterError, match="ether"):
        LiveSource("any", bpf="ether host 00:00:00:00:00:01")
    with pytest.raises(CaptureError, match="cannot be written"):
        LiveSource("lo", write=Target(str(tmp_path / "not there" / "x.pcapng")))


def test_a_flood_is_counted(listener: socket.socket) -> None:  # noqa: F811
    """What passes and what the kernel had no room for add up, while nobody looks and afterwards."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        settings = Settings(backlog_bytes=0)  # the least there is
        source = LiveSource("any", bpf=f"udp port {receiver.getsockname()[1]}", settings=settings)
        sent = 0
        payload = bytes(60_000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(2500):
                sent += sender.sendto(payload, receiver.getsockname()) > 0
        result, thread = sniffed(source)
        time.sleep(0.3)
        source.stop()
        thread.join(5)
    assert len(result[0].records) + (result[0].info.kernel_drops or 0) == sent
    assert result[0].info.kernel_drops


@pytest.mark.parametrize("where", ["any", "lo"])
def test_a_flood_that_nobody_looks_at_waits(where: str) -> None:
    """More than the kernel's ring holds."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        source = LiveSource(where, bpf=f"udp port {receiver.getsockname()[1]}")
        for number in range(100_000):
            sender.sendto(struct.pack("!I", number) + bytes(1000), receiver.getsockname())
    source.stop()
    time.sleep(0.3)
    assert source.waiting == 100_000
    found = [
        struct.unpack("!I", batch.data[end - 1004 : end - 1000].tobytes())[0]
        for batch in source.batches()
        for end in (batch.offset + batch.captured).tolist()
    ]
    assert found == list(range(100_000))
    assert source.info.kernel_drops == 0
    source.close()


def test_it_ends_while_packets_go_on_coming() -> None:
    """What came before the stop is read, and no more."""
    sent, enough = 0, threading.Event()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))

        def send() -> None:
            nonlocal sent
            while not enough.is_set():
                sent += sender.sendto(bytes(1), receiver.getsockname())

        source = LiveSource("lo", bpf=f"udp port {receiver.getsockname()[1]}")
        sending = threading.Thread(target=send)
        sending.start()
        result, thread = sniffed(source)
        time.sleep(0.3)
        before = sent
        source.stop()
        thread.join(20)
        enough.set()
        sending.join()
    assert before <= len(result[0].records) + (result[0].info.kernel_drops or 0) < sent


def test_stopping_takes_no_time_without_traffic() -> None:
    source = LiveSource("any", bpf="tcp port 1 and host 203.0.113.1")
    thread = threading.Thread(target=lambda: [None for _ in source.batches()])
    thread.start()
    time.sleep(0.3)
    begun = time.monotonic()
    source.stop()
    thread.join(5)
    assert time.monotonic() - begun < 0.2
    source.close()


def test_rotation_by_size_within_one_batch(tmp_path: pathlib.Path, listener: socket.socket) -> None:  # noqa: F811
    """What came meanwhile is one batch, however much it is; a file ends with the packet that reaches the size."""
    target = Target(str(tmp_path / "part.pcapng"), rotate_bytes=3000)
    source = LiveSource("lo", port=listener.getsockname()[1], write=target)
    for _ in range(12):
        conversation(listener, bytes(500))
    result, thread = sniffed(source)
    time.sleep(0.3)
    source.stop()
    thread.join(5)
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)]
    assert len(sizes) > 4
    assert all(3000 <= size < 3000 + 800 for size in sizes[:-1])
    read = analyzer.read(tmp_path)
    assert read.capture.records == len(result[0].records) > 100
