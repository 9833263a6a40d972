"""The first use of a version: two processes compile the kernels, which takes each of them the time of the replay.

numba compiles under one lock, so that a thread would not help. This process compiles the replay, a second one the others,
and leaves them in the cache. Where no such process can be had, each kernel is compiled when it is called, as ever.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys

from analyzer import kernel

_LONGEST_S = 120.0


def compile_at_first_use() -> None:
    """Compile what a read needs, if nothing of this version is compiled yet."""
    if kernel.is_warm() or not sys.executable:
        return
    command = [sys.executable, "-m", "analyzer.frames.compiling"]
    nothing = subprocess.DEVNULL
    try:
        others = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)
    except OSError:
        return
    from analyzer.decode.batch import SegmentBatch
    from analyzer.frames.build import Tracking

    try:
        Tracking().replay(SegmentBatch())
        with contextlib.suppress(subprocess.TimeoutExpired):
            others.wait(_LONGEST_S)
    finally:
        others.terminate()
        others.wait()


def main() -> None:
    """Run all kernels but the readers' and the replay, on nothing."""
    import numpy as np

    from analyzer.capture.reader import Columns
    from analyzer.capture.records import CaptureInfo
    from analyzer.decode.batch import SegmentBatch
    from analyzer.frames.build import Tracking

    tracking, batch = Tracking(), SegmentBatch()
    numbers, indices = np.zeros(0, np.int64), np.zeros(0, np.int32)
    batch.decode(Columns(1).records(0, np.zeros(0, np.uint8), numbers, indices, numbers, indices))
    tracking.locate(batch)
    tracking.write(batch)
    tracking.judge(batch)
    tracking.frames(CaptureInfo())


if __name__ == "__main__":
    main()
