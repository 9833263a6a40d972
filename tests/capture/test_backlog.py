"""The backlog between the kernel and whoever follows the packets, with packets made here."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from analyzer.capture.backlog import SLAB_COST, SLAB_RECORDS, Backlog, Slab


class Made:
    """Gives numbered packets of eight octets, as many as are allowed so far."""

    retire_s = 0.01

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.given = 0
        self.dropped = 0
        self.error: OSError | None = None
        self.refuses = self.closed = False

    def take(self, slab: Slab) -> None:
        if self.error is not None and self.given == self.allowed:
            error, self.error = self.error, None
            raise error
        count = min(self.allowed - self.given, SLAB_RECORDS - slab.count)
        numbers = np.arange(self.given, self.given + count)
        slab.data[slab.used : slab.used + 8 * count] = numbers.view(np.uint8)
        slab.columns.offset[slab.count : slab.count + count] = slab.used + 8 * np.arange(count)
        self.given += count
        slab.used += 8 * count
        slab.count += count
        slab.full = slab.count == SLAB_RECORDS

    def wait(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.001))

    def refuse(self) -> None:
        self.refuses = True

    def drops(self) -> int:
        dropped, self.dropped = self.dropped, 0
        return dropped

    def close(self) -> None:
        self.closed = True


def carry_on(error: OSError) -> None:
    """Let it go on."""


def until(condition) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit, "it did not come to be"
        time.sleep(0.005)


def numbers(backlog: Backlog, most: int = 10_000) -> list[int]:
    """What is handed out until there is no more."""
    found: list[int] = []
    while (taken := backlog.take(most, 0.01)) is not None:
        slab, begin, count = taken
        assert count <= most
        offsets = slab.columns.offset[begin : begin + count].tolist()
        found += [int(slab.data[offset : offset + 8].view(np.int64)[0]) for offset in offsets]
    return found


def test_each_packet_once_and_in_order_though_nobody_looks_for_a_while():
    made = Made(5 * SLAB_RECORDS + 100)
    backlog = Backlog(made, 1 << 30, None, carry_on)
    until(lambda: backlog.waiting == made.allowed)
    backlog.stop()
    assert numbers(backlog) == list(range(made.allowed))
    assert backlog.waiting == 0
    assert made.refuses
    assert made.closed
    assert len(backlog._slabs) + len(backlog._spare) <= 3


def test_nothing_there_is_no_end():
    backlog = Backlog(Made(0), 1 << 30, None, carry_on)
    begun = time.monotonic()
    taken = backlog.take(10, 0.05)
    assert taken is not None
    assert taken[2] == 0
    assert time.monotonic() - begun >= 0.05
    backlog.close()
    assert backlog.take(10, 0.05) is None


def test_who_waits_is_told_at_once():
    made = Made(0)
    backlog = Backlog(made, 1 << 30, None, carry_on)
    threading.Timer(0.1, lambda: setattr(made, "allowed", 3)).start()
    begun = time.monotonic()
    taken = backlog.take(10, 20)
    assert taken is not None
    assert taken[2] == 3
    assert time.monotonic() - begun < 10
    backlog.close()


def test_a_full_backlog_leaves_the_packets_where_they_are_and_goes_on_when_there_is_room():
    made = Made(5 * SLAB_RECORDS)
    backlog = Backlog(made, 3 * SLAB_COST, None, carry_on)
    until(lambda: backlog.waiting == 3 * SLAB_RECORDS)
    made.dropped = 7
    until(lambda: backlog.drops == 7)
    assert made.given == 3 * SLAB_RECORDS
    backlog.stop()
    made.dropped = 2
    assert numbers(backlog) == list(range(made.allowed))
    assert backlog.drops == 9


def test_closing_a_full_backlog_waits_for_nobody():
    made = Made(5 * SLAB_RECORDS)
    backlog = Backlog(made, 0, None, carry_on)
    until(lambda: backlog.waiting == 2 * SLAB_RECORDS)
    backlog.close()
    assert made.closed


def test_what_came_before_an_error_is_handed_out():
    def ended(error: OSError) -> None:
        raise ValueError(str(error))

    made = Made(10)
    made.error = OSError("gone")
    backlog = Backlog(made, 1 << 30, None, ended)
    until(lambda: made.closed)
    taken = backlog.take(100, 1)
    assert taken is not None
    assert taken[2] == 10
    with pytest.raises(ValueError, match="gone"):
        backlog.take(100, 1)


def test_an_error_that_passes_ends_nothing():
    made = Made(10)
    made.error = OSError("down")
    backlog = Backlog(made, 1 << 30, None, carry_on)
    until(lambda: made.error is None)
    made.allowed = 20
    until(lambda: backlog.waiting == 20)
    backlog.stop()
    assert numbers(backlog) == list(range(20))


def test_it_ends_by_the_clock():
    backlog = Backlog(Made(10), 1 << 30, time.monotonic() + 0.1, carry_on)
    assert numbers(backlog) == list(range(10))
