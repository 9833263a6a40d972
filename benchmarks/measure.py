"""What one process costs: wall time, processor time and peak memory, as the kernel counts them (``wait4``)."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import threading
import time
from typing import Any, Self

LIMIT_S = 3600.0
"""A process that runs longer is killed and counts as failed."""


class ProcessError(Exception):
    """A measured process ended with an error; the message carries the end of what it said."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One process from start to end.

    ``cpu_s`` is user and system time, of its waited-for children too. ``peak_bytes`` is the resident memory of the
    largest single process among them.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int


@dataclasses.dataclass
class Series:
    """Several runs of one tool on one capture.

    ``earlier`` is the date of the runs where they were not made in this session; ``said`` is the JSON that the process
    printed, ``talk`` the last line of its stderr.
    """

    tool: str
    capture: str
    packets: int
    runs: list[Run] = dataclasses.field(default_factory=list)
    said: dict[str, Any] = dataclasses.field(default_factory=dict)
    talk: str = ""
    earlier: str = ""

    @property
    def wall_s(self) -> float:
        """Median wall time."""
        return statistics.median(run.wall_s for run in self.runs)

    @property
    def cpu_s(self) -> float:
        """Median processor time."""
        return statistics.median(run.cpu_s for run in self.runs)

    @property
    def peak_bytes(self) -> float:
        """Median peak memory."""
        return statistics.median(run.peak_bytes for run in self.runs)

    @property
    def rate(self) -> float:
        """Packets a second, the process's start included."""
        return self.packets / self.wall_s

    def add(self, command: list[str], environment: dict[str, str] | None = None) -> Run:
        """Run the process once more."""
        run, said, self.talk = measure(command, environment)
        self.runs.append(run)
        self.said = said or self.said
        return run

    def as_json(self) -> dict[str, Any]:
        """Give plain values for a JSON file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Take back what :meth:`as_json` gave."""
        return cls(**{**values, "runs": [Run(**run) for run in values["runs"]]})


#: Python's own among them keep their bytecode, as on a user's machine: some shells of developers forbid it.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def measure(command: list[str], environment: dict[str, str] | None = None) -> tuple[Run, dict[str, Any], str]:
    """Run a process to its end; its stdout goes nowhere unless it is one JSON object.

    Returns
    -------
    The costs, the JSON object on stdout (or an empty one), and the last line of stderr.

    Raises
    ------
    ProcessError
        It could not be started, ended with another status than 0, or ran longer than ``LIMIT_S``.
    """
    wants_output = command[-1].endswith("--json")
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as talk:
        began = time.perf_counter()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out if wants_output else subprocess.DEVNULL,
                stderr=talk,
                env={**_ENVIRONMENT, **(environment or {})},
            )
        except OSError as error:
            raise ProcessError(f"{command[0]}: {error.strerror}") from error
        guard = threading.Timer(LIMIT_S, process.kill)
        guard.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            guard.cancel()
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        talk.seek(0)
        lines = [line for line in talk.read().decode(errors="replace").splitlines() if line.strip()]
        if process.returncode:
            raise ProcessError(f"{' '.join(command[:4])} ... ended with {process.returncode}: {' / '.join(lines[-3:])}")
        said = json.loads(out.read()) if wants_output else {}
    run = Run(round(wall_s, 4), round(usage.ru_utime + usage.ru_stime, 4), usage.ru_maxrss * 1024)
    return run, said, lines[-1] if lines else ""


def machine() -> dict[str, str]:
    """Describe what the figures were measured on, so that they are never compared across machines."""
    model = [line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "kernel": ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
    }
