"""What goes wrong in a session is said, and what two ask of it at once stays apart."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import sys
import threading

import numpy as np
import pandas as pd
import pytest

from analyzer.capture import live
from analyzer.decode.text_source import open_source
from analyzer.errors import CaptureError
from analyzer.flows.numbering import Numbering
from analyzer.frames import build, eviction, schema
from analyzer.session import LiveSession
from analyzer.settings import Settings
from tests.capture.test_live import conversation, listener, needs_root, sniffed  # noqa: F401  # a fixture
from tests.frames import rounds
from tests.recordings import CAPTURES

pytestmark = [pytest.mark.kernels]
LIFE = CAPTURES / "life-of-a-connection" / "any.pcap"


class Held:
    """A file's source whose batches come when they are let through."""

    def __init__(self, path=LIFE, **settings) -> None:
        self._source = open_source(path, settings=Settings(**settings))
        self.info = self._source.info
        self.size_hint = self.progress = None
        self.let = threading.Semaphore(0)

    def batches(self):
        for records in self._source.batches():
            self.let.acquire()
            yield records

    def stop(self) -> None:
        """It goes on: what is there is read."""

    def close(self) -> None:
        self._source.close()


def test_an_error_after_the_stop_is_said():
    """What was still to be read is missing then."""
    source = Held(batch_records=3)
    session = LiveSession(source, Settings())
    session._tracking.feed = lambda _: 1 / 0
    session.finish()
    source.let.release(10)
    with pytest.raises(ZeroDivisionError):
        session.wait(60)


def test_a_file_that_cannot_be_completed_is_said():
    source = Held()
    closed, close = [], source.close

    def fails() -> None:
        close()
        closed.append(True)
        raise CaptureError("out.pcapng: no space left on the device")

    source.close = fails
    session = LiveSession(source, Settings(snapshot_s=0.2), live=True)
    source.let.release(10)
    with pytest.raises(CaptureError, match="no space"):
        session.wait(120)
    assert closed
    session._watcher._thread.join(60)
    assert not session._watcher._thread.is_alive()


def test_a_session_without_numbers_left_ends_and_says_so():
    source = Held(batch_records=3)
    session = LiveSession(source, Settings())
    source.let.release(2)
    for news, _ in session.news():
        if news.index[-1] == 6:
            break
    session._tracking.flow_numbers = Numbering(np.zeros(1, np.int32), np.iinfo(np.int32).max)
    source.let.release(10)
    with pytest.raises(CaptureError, match=r"numbers for 2,147,483,647 connections\. Begin another one"):
        session.wait(60)
    assert session.counts.segments == 6


def test_two_who_have_come_as_far_are_two(tmp_path, monkeypatch):
    """When one of them leaves, the other's place is kept right when rows go."""
    monkeypatch.setattr(eviction, "_FEWEST", 150)
    path = tmp_path / "rounds.pcap"
    path.write_bytes(rounds.capture(2, 200.0))
    limits = {"batch_records": 100, "buffer_bytes": 1 << 26, "live_packets": 600, "snapshot_s": 0.0}
    source = Held(path, **limits)
    session = LiveSession(source, Settings(**limits), live=True)
    stays, leaves = session.news(0.01), session.news(0.01)
    source.let.release()
    told = [next(stays)[0], next(leaves)[0]]
    pd.testing.assert_frame_equal(*told)
    leaves.close()
    told.pop()
    source.let.release(10**6)
    told += [packets for packets, _ in stays]
    assert session.let_go["packets"]
    index = np.concatenate([packets.index for packets in told])
    assert len(np.unique(index)) == len(index)
    assert len(index) + session.passed_over == session.counts.segments
    assert not session._tracking.readers


def test_a_verdict_that_nobody_takes_is_told_once():
    source = Held()
    session = LiveSession(source, Settings())
    session._tell(schema.empty("live_sockets"))
    session._tell(schema.empty("live_sockets"))
    news = session.news(0.01)
    assert [len(frame) for frame in next(news)] == [0, 0]
    source.let.release(10)
    assert [len(packets) for packets, _ in news if len(packets)] == [len(session.analysis().packets)]
    for _ in range(5000):
        session._tell(schema.empty("live_sockets"))
    assert len(session._told) == 1000


def test_threads_that_make_frames_at_once_give_the_usual_turns_back():
    usual = sys.getswitchinterval()
    inside, leave = threading.Barrier(2), threading.Event()

    def first() -> None:
        with build._short_turns():
            inside.wait(60)
            leave.wait(60)

    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        done = beside.submit(first)
        inside.wait(60)
        with build._short_turns():
            leave.set()
            done.result()
            assert sys.getswitchinterval() == pytest.approx(1e-4)
    assert sys.getswitchinterval() == usual


@needs_root
@pytest.mark.root
def test_a_ring_that_cannot_be_mapped_leaves_the_packets_to_plain_reads(listener, monkeypatch):  # noqa: F811
    from analyzer.capture import ring

    def no_room(descriptor, length):
        if descriptor == -1:  # the backlog's
            return real(descriptor, length)
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    real = ring.mmap.mmap
    monkeypatch.setattr(ring.mmap, "mmap", no_room)
    source = live.LiveSource("lo", port=listener.getsockname()[1], count=7)
    result, thread = sniffed(source)
    conversation(listener)
    thread.join(60)
    assert len(result[0].records) == 7


@needs_root
@pytest.mark.root
def test_a_duration_begins_when_packets_can_come(monkeypatch):
    """Not before scapy and the ring's kernel were loaded, or compiled."""
    made, until = [], []

    def ring(*arguments):
        made.append(live.time.monotonic())
        return real(*arguments)

    def backlog(packets, most_bytes, until_s, failed):
        until.append(until_s)
        return kept(packets, most_bytes, until_s, failed)

    real, kept = live.PacketRing, live.Backlog
    monkeypatch.setattr(live, "PacketRing", ring)
    monkeypatch.setattr(live, "Backlog", backlog)
    source = live.LiveSource("lo", duration_s=0.5)
    source.stop()
    source.close()
    assert until[0] >= made[0] + 0.5
