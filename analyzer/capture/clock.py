"""The capture's clock: where it was set back.

Records come a little out of order where several queues, processors or interfaces write one capture: some milliseconds at
most. More than that between two records of one interface is a clock that was set (ntpd steps from 128 ms on).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.kernel import kernel

if TYPE_CHECKING:
    from analyzer.capture.records import Records

STEP_NS = 100_000_000
MOST_STEPS = 1000  #: that are named; the others are only counted

STEP = np.dtype([("time_ns", np.int64), ("frame", np.int64)])
"""The first record after a step."""

_PLACE = np.dtype([("time_ns", np.int64), ("file", np.int32), ("interface", np.int32)])
_PLACES = 1024  # of interfaces whose last time is kept


class Clock:
    """The last time of each interface of each file.

    Attributes
    ----------
    steps : int
        How often time went back by more than ``STEP_NS``.
    disordered : int
        How often it went back by less.
    """

    def __init__(self) -> None:
        self._last = np.zeros(_PLACES, _PLACE)
        self._last["file"] = -1
        self._found = np.zeros(MOST_STEPS, STEP)
        self._counts = np.zeros(2, np.int64)

    @property
    def steps(self) -> int:
        """How often time went back by more than ``STEP_NS``."""
        return int(self._counts[0])

    @property
    def disordered(self) -> int:
        """How often it went back by less."""
        return int(self._counts[1])

    def take(self, records: Records) -> npt.NDArray[np.void]:
        """Take in a batch; returns its steps."""
        before = min(self.steps, MOST_STEPS)
        _compare(records.time_ns, records.file, records.interface, records.frame, self._last, self._found, self._counts)
        return self._found[before : min(self.steps, MOST_STEPS)]


@kernel
def _compare(time_ns: Any, file: Any, interface: Any, frame: Any, last: Any, found: Any, counts: Any) -> None:
    for i in range(len(time_ns)):
        before = last[(file[i] * 31 + interface[i]) & (_PLACES - 1)]
        if before.file == file[i] and before.interface == interface[i] and time_ns[i] < before.time_ns:
            if time_ns[i] < before.time_ns - STEP_NS:
                if counts[0] < MOST_STEPS:
                    found[counts[0]].time_ns = time_ns[i]
                    found[counts[0]].frame = frame[i]
                counts[0] += 1
            else:
                counts[1] += 1
        before.time_ns, before.file, before.interface = time_ns[i], file[i], interface[i]
