"""Recording the trials now: one recorder for all workers of a test run, in the background; who needs a trial waits for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from captures.recorder.network import RecordingError
from captures.recorder.tracepoint import StateTrace
from captures.recorder.trials import TRIALS_FOLDER
from tests.host.stage import usable

RECORDER = Path(__file__).parents[2] / "captures" / "record.py"
AT_ONCE = 12  # they wait most of the time
PATIENCE_S = 300.0


def why_not() -> str:
    """Why nothing can be recorded here; empty where it can."""
    reason = usable()
    if reason:
        return reason
    if shutil.which("tcpdump") is None:
        return "needs tcpdump"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "needs /dev/net/tun"
    try:
        with StateTrace():
            return ""
    except (RecordingError, OSError) as error:
        return f"needs the kernel's tracepoints: {error}"


class Recorder:
    """The recorder of this run, which the first worker starts."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._folder = folder
        self._said = folder / "said"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            folder.mkdir()
        except FileExistsError:
            return
        with self._said.open("wb") as said:
            command = [sys.executable, str(RECORDER), "--into", str(folder), "--at-once", str(AT_ONCE)]
            names = [f"{TRIALS_FOLDER}/{name}" for name in names]
            self._process = subprocess.Popen([*command, *names], stdout=said, stderr=subprocess.STDOUT)

    def trial(self, name: str) -> Path:
        """The folder of a trial, when it is there."""
        recorded, failed = f"{TRIALS_FOLDER}/{name} ", f"record.py: {TRIALS_FOLDER}/{name}:"
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            said = self._said.read_text(encoding="utf-8") if self._said.exists() else ""
            for line in said.splitlines():
                assert not line.startswith(failed), line
                if line.startswith(recorded):
                    return self._folder / TRIALS_FOLDER / name
            assert self._process is None or self._process.poll() is None or said != self._said.read_text(), said
            time.sleep(0.05)
        raise AssertionError(f"not recorded in time: {said}")

    def close(self) -> None:
        """Others may wait for it: so it ends by itself, but not later than they give up."""
        if self._process is not None:
            try:
                self._process.wait(PATIENCE_S)
            finally:
                self._process.terminate()
                self._process.wait()
