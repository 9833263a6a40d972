"""Wireshark's language: which frames a display filter selects, asked of the installed tshark."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analyzer.errors import CaptureError, FilterError, MissingDependency

Path = str | os.PathLike[str]
_TOO_LONG_S = 3600.0


def frames_matching(paths: Path | Sequence[Path], display_filter: str) -> npt.NDArray[np.int64]:
    """Return the numbers of the frames that match, in their order.

    Parameters
    ----------
    paths : path
        One capture file: several would have other numbers in tshark, and a pipe can be read once only.
    display_filter : str
        As after ``tshark -Y``; two passes, so that fields of the second one can be asked for.

    Raises
    ------
    MissingDependency
        tshark is not installed.
    FilterError
        tshark does not know the filter; in tshark's words.
    CaptureError
        Not one file, or one that tshark cannot read.
    """
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if len(named) != 1 or os.fspath(named[0]) == "-" or os.path.isdir(named[0]):
        raise CaptureError("a display filter needs one capture file: mergecap makes one of several.")
    tshark = shutil.which("tshark")
    if tshark is None:
        raise MissingDependency("a display filter needs tshark: apt-get install tshark")
    command = [
        tshark,
        "-2",
        "-n",
        "-r",
        os.fspath(named[0]),
        "-Y",
        display_filter,
        "-T",
        "fields",
        "-e",
        "frame.number",
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TOO_LONG_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CaptureError(
            f"{named[0]}: tshark took longer than {_TOO_LONG_S:.0f} s for the display filter."
        ) from error
    if done.returncode and not done.stdout:
        said = done.stderr.partition("tshark: ")[2].strip() or f"exit code {done.returncode}"
        about_the_file = os.fspath(named[0]) in said
        if about_the_file and "cut short" not in said:
            raise CaptureError(f"{named[0]}: tshark cannot read it: {said}")
        if not about_the_file:
            raise FilterError(f"display filter {display_filter!r}: {said}")
    return np.array([int(word) for word in done.stdout.split() if word.isdigit()], np.int64)
