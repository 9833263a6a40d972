"""The first use of a version: two processes compile the kernels, which takes each of them the time of the replay.

numba compiles under one lock, so that a thread would not help. This process compiles the replay and the second pass over what
came again, which is half of all, a second one the others, and leaves them in the cache. Where no such process can be had, each
kernel is compiled when it is called, as ever.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

from analyzer import kernel

if TYPE_CHECKING:
    from analyzer.capture.records import Records
    from analyzer.frames.tracking import Tracking

_LONGEST_S = 120.0


def compile_at_first_use() -> None:
    """Compile what a read needs, if nothing of this version is compiled yet."""
    if kernel.is_warm() or not sys.executable or not kernel.can_keep():
        return
    command = [sys.executable, "-P", "-m", "analyzer.frames.compiling"]  # -P: not what lies in the working directory
    nothing = subprocess.DEVNULL
    try:
        others = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)
    except OSError:
        return
    from analyzer.decode.batch import SegmentBatch
    from analyzer.frames.tracking import Tracking
    from analyzer.tracker import explanation

    try:
        Tracking().replay(SegmentBatch())
        explanation.compiled()
        with contextlib.suppress(subprocess.TimeoutExpired):
            others.wait(_LONGEST_S)
    finally:
        others.terminate()
        others.wait()


def load_for_session() -> None:
    """Compile, or load from the cache, what a session runs: packets would wait for it."""
    from analyzer.frames import eviction
    from analyzer.frames.tracking import Tracking

    compile_at_first_use()
    tracking = Tracking()
    tracking.feed(_no_records())
    _no_deadlines(tracking)
    eviction.compile_kernels()


def _no_deadlines(tracking: Tracking) -> None:
    """Ask when the states of no ends end: a screen and the snapshots of sockets ask it, a read does not."""
    import numpy as np

    from analyzer.tracker.timers import deadlines, timers

    deadlines(tracking.connections.ends, np.zeros(0, np.int64), timers(tracking.settings))


def _no_records() -> Records:
    import numpy as np

    from analyzer.capture.reader import Columns

    numbers, indices = np.zeros(0, np.int64), np.zeros(0, np.int32)
    return Columns(1).records(0, np.zeros(0, np.uint8), numbers, indices, numbers, indices)


def main() -> None:
    """Run all kernels but the readers' and those that the first process compiles, on nothing."""
    from analyzer.capture.records import CaptureInfo
    from analyzer.decode.batch import SegmentBatch
    from analyzer.frames import eviction
    from analyzer.frames.build import frames_so_far
    from analyzer.frames.tracking import Tracking
    from analyzer.tracker import packets, zeek_outcome
    from analyzer.tracker.round_trips import round_trips

    tracking, batch = Tracking(), SegmentBatch()
    batch.decode(_no_records())
    tracking.locate(batch)
    tracking.write(batch)
    tracking.judge(batch)
    frames_so_far(tracking, CaptureInfo())
    _no_deadlines(tracking)
    zeek_outcome.forget_closed(tracking.words)
    none = packets.new_columns(0)
    for name in ("acks_frame", "rtt"):  # no frame of nothing needs these three
        packets.widened(none, name, 0)
    one = packets.new_columns(1)
    round_trips(one.rtt, one.long_rtt, one.flow, 1)
    eviction.compile_kernels()


if __name__ == "__main__":
    main()
