"""Following: files that grow, are rotated, renamed, written anew; by hand and by tcpdump."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from analyzer.capture import follow
from analyzer.capture.files import open_capture
from analyzer.capture.opened import open_raw
from analyzer.errors import CaptureError
from analyzer.settings import Settings
from tests.capture.written import drained, enhanced, interface, option, pcap, section, whole

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from analyzer.capture.records import Records, Source

pytestmark = pytest.mark.kernels

START = 1_700_000_000 * 10**9


def packets(first: int, count: int) -> list[tuple[int, bytes]]:
    """Each tells its number."""
    return [(START + number * 1000, number.to_bytes(4, "big") * 10) for number in range(first, first + count)]


def records(first: int, count: int) -> bytes:
    return pcap(packets(first, count))[24:]


class Follower:
    """Reads a source batch by batch, in this thread: nothing happens behind a test's back."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.numbers: list[int] = []
        self.file: list[int] = []
        self.file_frame: list[int] = []
        self.frame: list[int] = []
        self._batches: Iterator[Records] = source.batches()

    def step(self) -> int:
        batch = next(self._batches)
        for i in range(len(batch.frame)):
            begin = int(batch.offset[i])
            self.numbers.append(int.from_bytes(batch.data[begin : begin + 4].tobytes(), "big"))
        self.file += batch.file.tolist()
        self.file_frame += batch.file_frame.tolist()
        self.frame += batch.frame.tolist()
        return len(batch.frame)

    def idle(self) -> None:
        """Read until nothing comes."""
        while self.step():
            pass

    def until(self, met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5
        while not met():
            assert time.monotonic() < deadline, self.numbers
            self.step()

    def end(self) -> None:
        """Stop, read the rest, close."""
        self.source.stop()
        while True:
            try:
                self.step()
            except StopIteration:
                break
        self.source.close()


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "in"


@pytest.fixture(params=[None, 64], ids=["large", "tight"])
def chosen(request: pytest.FixtureRequest) -> Settings:
    return Settings(buffer_bytes=request.param, batch_records=3) if request.param else Settings()


def test_a_file_that_grows(file: pathlib.Path, chosen: Settings) -> None:
    """Byte by byte over one record's end, and in the middle of it nothing is lost or said twice."""
    file.write_bytes(pcap(packets(0, 5)))
    follower = Follower(open_capture(file, follow=True, settings=chosen))
    follower.idle()
    assert follower.numbers == list(range(5))
    assert follower.step() == 0
    more = records(5, 3)
    with file.open("ab", buffering=0) as out:
        for at in range(len(more)):
            out.write(more[at : at + 1])
            if at % 20 == 0:
                follower.idle()
    follower.until(lambda: len(follower.numbers) == 8)
    assert follower.frame == follower.file_frame == list(range(1, 9))
    follower.end()
    assert follower.numbers == list(range(8))
    assert follower.source.info.damage == []
    assert follower.source.info.records == 8
    assert follower.source.size_hint is follower.source.progress is None


def test_stopping_inside_a_record_is_no_damage(file: pathlib.Path) -> None:
    file.write_bytes(pcap(packets(0, 5))[:-3])
    follower = Follower(open_capture(file, follow=True))
    follower.end()
    assert follower.numbers == list(range(4))  # it was stopped before it began
    follower = Follower(open_capture(file, follow=True))
    follower.idle()
    follower.end()
    assert follower.numbers == list(range(4))
    assert follower.source.info.damage == []


def test_what_is_there_is_read_before_it_stops(file: pathlib.Path) -> None:
    file.write_bytes(pcap(packets(0, 1000)))
    follower = Follower(open_capture(file, follow=True, settings=Settings(batch_records=10)))
    follower.step()
    follower.end()
    assert follower.numbers == list(range(1000))


def test_what_is_there_in_later_files_is_read_before_it_stops(tmp_path: pathlib.Path, chosen: Settings) -> None:
    """Ctrl-C while it is behind: ``-C`` has begun more files meanwhile. What comes then is not waited for."""
    for number, name in enumerate(["in", "in1", "in2"]):
        (tmp_path / name).write_bytes(pcap(packets(100 * number, 100)))
    follower = Follower(open_capture(tmp_path / "in", follow=True, settings=chosen))
    follower.step()
    follower.source.stop()
    follower.step()
    (tmp_path / "in3").write_bytes(pcap(packets(300, 100)))
    with (tmp_path / "in2").open("ab") as out:
        out.write(records(500, 150_000))
    follower.end()
    assert follower.numbers[:300] == list(range(300))
    assert len(follower.numbers) < 100_000  # a buffer more than was there
    assert follower.source.info.damage == []


def test_a_backlog_is_read_before_it_stops(tmp_path: pathlib.Path) -> None:
    for number in range(4):
        (tmp_path / f"in{number}").write_bytes(pcap(packets(100 * number, 100)))
    follower = Follower(open_capture(f"{tmp_path}/in*", follow=True, settings=Settings(batch_records=10)))
    follower.step()
    follower.end()
    assert follower.numbers == list(range(400))


def test_a_later_file_that_is_cut_is_told(tmp_path: pathlib.Path) -> None:
    """Only the last file's end may come yet."""
    (tmp_path / "in").write_bytes(pcap(packets(0, 5)))
    (tmp_path / "in1").write_bytes(pcap(packets(5, 5))[:-3])
    (tmp_path / "in2").write_bytes(pcap(packets(10, 5))[:-3])
    for number, name in enumerate(["in", "in1", "in2"]):
        os.utime(tmp_path / name, (number, number))
    follower = Follower(open_capture(tmp_path / "in", follow=True))
    follower.end()
    assert follower.numbers == [*range(9), *range(10, 14)]
    assert [os.path.basename(damage.file) for damage in follower.source.info.damage] == ["in1"]


def test_files_changed_at_the_same_moment(tmp_path: pathlib.Path) -> None:
    """A file system's clock is coarse: the one that is named and the next may bear the same time."""
    for number, name in enumerate(["in", "in1", "in2"]):
        (tmp_path / name).write_bytes(pcap(packets(5 * number, 5)))
        os.utime(tmp_path / name, (0, 0))
    follower = Follower(open_capture(tmp_path / "in1", follow=True))
    follower.end()
    assert follower.numbers == list(range(5, 15))


def test_a_later_file_that_cannot_be_opened(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, and left out."""

    def refusing(path: str) -> object:
        if path.endswith("in1"):
            raise CaptureError(f"{path}: permission denied")
        return open_raw(path)

    monkeypatch.setattr(follow, "open_raw", refusing)
    for number, name in enumerate(["in", "in1", "in2"]):
        (tmp_path / name).write_bytes(pcap(packets(5 * number, 5)))
    follower = Follower(open_capture(tmp_path / "in", follow=True))
    follower.until(lambda: len(follower.numbers) == 10)
    follower.end()
    assert follower.numbers == [*range(5), *range(10, 15)]
    assert [damage.what for damage in follower.source.info.damage] == ["permission denied"]


def test_stop_wakes_it(file: pathlib.Path) -> None:
    # A pcapng description that never becomes whole: it waits inside the reader.
    file.write_bytes(section() + interface(options=option(2, b"eth0"))[:-4])
    source = open_capture(file, follow=True)
    timer = threading.Timer(0.1, source.stop)
    timer.start()
    begin = time.monotonic()
    got = drained(source)
    assert time.monotonic() - begin < 1
    assert got.records == []
    assert got.info.damage == []
    timer.join()


def test_pcapng_that_grows(file: pathlib.Path) -> None:
    pieces = [section(), interface(options=option(2, b"eth0")), enhanced(1, b"\0\0\0\0"), section(">")]
    pieces += [interface(order=">", options=option(2, b"eth1", ">")), enhanced(2, b"\0\0\0\1", order=">")]
    file.write_bytes(pieces[0])
    follower = Follower(open_capture(file, follow=True))
    for piece in pieces[1:]:
        for half in (piece[:10], piece[10:]):
            with file.open("ab") as out:
                out.write(half)
            if len(half) == 10 and piece[:4] not in (b"\6\0\0\0", b"\0\0\0\6"):
                continue  # a description is waited for
            follower.step()
    follower.until(lambda: len(follower.numbers) == 2)
    follower.end()
    assert follower.numbers == [0, 1]
    assert [one.name for one in follower.source.info.interfaces] == ["eth0", "eth1"]
    assert follower.source.info.damage == []


def test_a_file_that_is_still_empty(file: pathlib.Path) -> None:
    file.touch()
    follower = Follower(open_capture(file, follow=True))
    assert [follower.step(), follower.step()] == [0, 0]
    file.write_bytes(pcap(packets(0, 2)))
    follower.until(lambda: len(follower.numbers) == 2)
    follower.end()


def test_tcpdumps_numbered_files(tmp_path: pathlib.Path, chosen: Settings) -> None:
    """in, in1 .. in11: the next one is read when it has begun, after the last of the one before."""
    names = [tmp_path / ("in" + (str(number) if number else "")) for number in range(12)]
    names[0].write_bytes(pcap(packets(0, 2)))
    follower = Follower(open_capture(names[0], follow=True, settings=chosen))
    follower.idle()
    for number in range(1, 12):
        with names[number - 1].open("ab") as out:
            out.write(records(number * 10 - 3, 3))
        names[number].touch()
        if number % 3 == 0:
            follower.step()
        names[number].write_bytes(pcap(packets(number * 10, 2)))
        if number % 2:
            follower.until(lambda at=number: follower.numbers[-1] == at * 10 + 1)
    follower.until(lambda: follower.numbers[-1] == 111)
    follower.end()
    assert follower.numbers == sorted(follower.numbers)
    assert len(follower.numbers) == 2 * 12 + 3 * 11
    assert follower.source.info.files == [str(name) for name in names]
    assert follower.frame == list(range(1, 58))
    assert follower.file == sorted(follower.file)
    assert follower.file_frame[-2:] == [1, 2]
    assert follower.source.info.damage == []


def test_a_ring_is_written_over(tmp_path: pathlib.Path) -> None:
    """tcpdump -W 2: in0, in1, in0, in1, each truncated before it is written again."""
    ring = [tmp_path / "in0", tmp_path / "in1"]
    ring[0].write_bytes(pcap(packets(0, 5)))
    follower = Follower(open_capture(str(tmp_path / "in*"), follow=True))
    follower.until(lambda: len(follower.numbers) == 5)
    for turn in range(1, 6):
        with ring[turn % 2].open("wb", buffering=0) as out:
            follower.step()  # it is empty now
            # Less, the same and more than before: its size tells nothing.
            out.write(pcap(packets(turn * 100, 3 + turn)))
        follower.until(lambda at=turn: follower.numbers[-1] == at * 100 + 2 + at)
    follower.end()
    assert follower.numbers == list(range(5)) + [turn * 100 + i for turn in range(1, 6) for i in range(3 + turn)]
    assert follower.source.info.files == [str(ring[turn % 2]) for turn in range(6)]
    assert follower.source.info.damage == []


def test_one_name_written_anew(file: pathlib.Path) -> None:
    """As tcpdump -G does without a time in the name."""
    file.write_bytes(pcap(packets(0, 5)))
    follower = Follower(open_capture(file, follow=True))
    follower.idle()
    file.write_bytes(pcap(packets(10, 8)))  # longer than before: only its content tells
    follower.until(lambda: len(follower.numbers) == 13)
    file.write_bytes(pcap(packets(30, 1)))
    follower.until(lambda: len(follower.numbers) == 14)
    follower.end()
    assert follower.numbers == [*range(5), *range(10, 18), 30]


def test_one_name_moved_away(file: pathlib.Path) -> None:
    """As logrotate does; what the writer adds to the moved file still counts, and it is not read again."""
    file.write_bytes(pcap(packets(0, 5)))
    follower = Follower(open_capture(file, follow=True))
    follower.idle()
    moved = file.rename(file.with_name("in1"))
    with moved.open("ab") as out:
        out.write(records(5, 5))
    follower.until(lambda: len(follower.numbers) == 10)
    file.write_bytes(pcap(packets(20, 5)))
    follower.until(lambda: len(follower.numbers) == 15)
    for _ in range(3):
        follower.step()
    follower.end()
    assert follower.numbers == [*range(10), *range(20, 25)]
    assert follower.source.info.files == [str(file), str(file)]


def test_a_rotation_that_compresses(tmp_path: pathlib.Path) -> None:
    """tcpdump -z gzip: in.gz is in again, and not read twice; one that is all there is gets read."""
    (tmp_path / "rot1.pcap.gz").write_bytes(gzip.compress(pcap(packets(0, 5))))
    second = tmp_path / "rot2.pcap"
    second.write_bytes(pcap(packets(10, 5)))
    follower = Follower(open_capture(str(tmp_path / "rot*.pcap*"), follow=True))
    follower.idle()
    (tmp_path / "rot3.pcap").write_bytes(pcap(packets(20, 5)))
    second.with_name("rot2.pcap.gz").write_bytes(gzip.compress(second.read_bytes()))
    second.unlink()
    follower.until(lambda: len(follower.numbers) == 15)
    follower.step()
    follower.end()
    assert follower.numbers == [*range(5), *range(10, 15), *range(20, 25)]


def test_a_folder_with_other_things(tmp_path: pathlib.Path) -> None:
    for number in range(12):
        path = tmp_path / f"cap-{number}.pcap"
        path.write_bytes(pcap(packets(number * 10, 2)))
        os.utime(path, ns=(START + number, START + number))
    (tmp_path / "notes.txt").write_text("no capture, but newer than all of them")
    follower = Follower(open_capture(tmp_path, follow=True))
    follower.until(lambda: len(follower.numbers) == 24)
    follower.step()
    assert follower.numbers == [number * 10 + i for number in range(12) for i in range(2)]
    (tmp_path / "more.txt").write_text("no capture either, and long enough to be one")
    follower.step()
    (tmp_path / "cap-12.pcap").write_bytes(pcap(packets(120, 2)))
    follower.until(lambda: len(follower.numbers) == 26)
    follower.end()
    assert follower.source.info.damage == []


def test_what_cannot_be_followed(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CaptureError, match="pipe"):
        open_capture("-", follow=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CaptureError, match="pipe"):
        open_capture(tmp_path / "pipe", follow=True)
    with pytest.raises(CaptureError, match="no such file"):
        open_capture(tmp_path / "missing", follow=True)
    (tmp_path / "text").write_text("this is no capture at all, but text")
    with pytest.raises(CaptureError, match="neither pcap"):
        drained(open_capture(tmp_path / "text", follow=True))


def test_damage_in_a_followed_file(file: pathlib.Path) -> None:
    file.write_bytes(pcap(packets(0, 2)) + b"\xff" * 64)
    follower = Follower(open_capture(file, follow=True))
    follower.until(lambda: bool(follower.source.info.damage))
    file.with_name("in1").write_bytes(pcap(packets(10, 2)))
    follower.until(lambda: len(follower.numbers) == 4)
    follower.end()
    assert follower.numbers == [0, 1, 10, 11]
    assert len(follower.source.info.damage) == 1


def test_with_a_filter(file: pathlib.Path) -> None:
    file.write_bytes(pcap(packets(0, 10)))
    follower = Follower(open_capture(file, follow=True, bpf="ether[3] = 7"))
    follower.idle()
    with file.open("ab") as out:
        out.write(records(7, 1))
    follower.until(lambda: len(follower.numbers) == 2)
    follower.end()
    assert follower.source.info.filtered_out == 9


# --------------------------------------------------------------------------------------------------- a real tcpdump

needs_namespaces = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not all(map(shutil.which, ("tcpdump", "ip", "unshare"))),
    reason="needs root, tcpdump and iproute2's ip",
)


@needs_namespaces
@pytest.mark.root
@pytest.mark.parametrize(
    ("arguments", "name", "followed"),
    [
        (["-U"], "cap", "cap"),
        (["-C", "1"], "cap", "cap"),
        (["-C", "1", "-W", "2"], "cap", "cap*"),
        (["-G", "1"], "cap-%Y%m%d%H%M%S.pcap", "cap-*.pcap"),
    ],
    ids=["grows", "C", "ring", "G"],
)
def test_tcpdump(tmp_path: pathlib.Path, arguments: list[str], name: str, followed: str) -> None:
    """tcpdump writes on a loopback of its own while it is followed: the same records as in its files in the end."""
    tmp_path.chmod(0o777)
    talk = (
        "import socket, sys, time\n"
        "a = socket.socket(type=socket.SOCK_DGRAM); a.bind(('127.0.0.1', 9))\n"
        "b = socket.socket(type=socket.SOCK_DGRAM); b.connect(a.getsockname())\n"
        "for i in range(3000):\n"
        "    b.send(i.to_bytes(4, 'big') + bytes(996)); a.recv(2000)\n"
        "    if i % 300 == 299: time.sleep(0.2)\n"
    )
    script = (
        'ip link set lo up; cd "$1"; shift; tcpdump -Z root -i lo -n -s 0 "$@" udp 2>err & '
        f'until grep -q listening err; do sleep 0.02; done; {sys.executable} -c "$TALK"; '
        "sleep 0.3; kill -INT $!; wait $!"
    )
    writer = subprocess.Popen(
        ["timeout", "20", "unshare", "-n", "sh", "-c", script, "sh", tmp_path, *arguments, "-w", name],
        env={**os.environ, "TALK": talk},
    )
    try:
        deadline = time.monotonic() + 10
        while not list(tmp_path.glob("cap*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        source = open_capture(str(tmp_path / followed), follow=True)
        numbers = []
        for batch in source.batches():
            payloads = [batch.data[begin : begin + 4].tobytes() for begin in (batch.offset + 42).tolist()]
            numbers += [int.from_bytes(payload, "big") for payload in payloads]
            if writer.poll() is not None:
                source.stop()
        source.close()
    finally:
        writer.wait(20)
    assert source.info.damage == []
    assert numbers == list(range(3000))
    assert (len(source.info.files) >= 2) == (arguments != ["-U"])  # -G: as many as seconds were touched
    written = {
        str(path) for path in tmp_path.glob("cap*") if path.stat().st_size > 24
    }  # -G may write one without packets
    assert set(source.info.files) == written
    if "-W" in arguments:
        assert len(written) == 2  # the rest has been written over
    else:
        after = whole(str(tmp_path / "cap*"))
        assert [int.from_bytes(record.data[42:46], "big") for record in after.records] == numbers


def test_rotated_names_are_in_natural_order(tmp_path: pathlib.Path) -> None:
    """At equal times the file that was written first is first, in10 after in9; also for a ring that has gone round."""
    for number in range(12):
        times = [(START, bytes([number, i])) for i in range(3)]
        (tmp_path / ("in" + (str(number) if number else ""))).write_bytes(pcap(times))
    got = whole(str(tmp_path / "in*"))
    assert [record.data for record in got.records] == [bytes([number, i]) for number in range(12) for i in range(3)]
    assert [os.path.basename(file) for file in got.info.files][-3:] == ["in9", "in10", "in11"]
    by_shell = whole([tmp_path / f"in{number or ''}" for number in (0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9)])
    assert sorted(by_shell.records) == sorted(got.records)
    with pytest.raises(CaptureError, match="no file has such a name"):
        open_capture(str(tmp_path / "out*"))


def test_a_ring_that_has_gone_round(tmp_path: pathlib.Path) -> None:
    for number, begin in enumerate((20, 30, 0, 10)):
        last = [(START + (begin + 10) * 1000, b"last")]
        (tmp_path / f"ring{number}").write_bytes(pcap([*packets(begin, 10), *last]))
    got = whole(tmp_path)
    assert [record.data[3] for record in got.records if record.data != b"last"] == list(range(40))
    # The last of each file is as late as the first of the next one, and stands before it.
    assert [at for at, record in enumerate(got.records) if record.data == b"last"] == [10, 21, 32, 43]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a[1].pcap").write_bytes(pcap(packets(0, 2)))
    assert len(whole(tmp_path / "a[1].pcap").records) == 2


def test_a_conversation_followed_in_a_thread(file: pathlib.Path) -> None:
    """As a live session reads it: in another thread, stopped from this one."""
    file.write_bytes(pcap(packets(0, 100)))
    source = open_capture(file, follow=True)
    results = []
    thread = threading.Thread(target=lambda: results.append(drained(source)))
    thread.start()
    with socket.socket():  # the main thread is busy elsewhere
        time.sleep(0.2)
    source.stop()
    thread.join(2)
    assert not thread.is_alive()
    assert len(results[0].records) == 100
