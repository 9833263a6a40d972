"""Wireshark's language, spoken with the installed tshark: which frames a display filter selects, what it says of each.

tshark reads twice (``-2``), so that what only the second pass knows can be asked for, and resolves no names (``-n``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.errors import CaptureError, FilterError, MissingDependency

if TYPE_CHECKING:
    import pandas as pd

Path = str | os.PathLike[str]
_TOO_LONG_S = 3600.0


def frames_matching(paths: Path | Sequence[Path], display_filter: str) -> npt.NDArray[np.int64]:
    """Return the numbers of the frames that match, in their order.

    Parameters
    ----------
    paths : path
        One capture file: several would have other numbers in tshark, and a pipe can be read once only.
    display_filter : str
        As after ``tshark -Y``; fields of the second pass can be asked for.

    Raises
    ------
    MissingDependency
        tshark is not installed.
    FilterError
        tshark does not know the filter; in tshark's words.
    CaptureError
        Not one file, or one that tshark cannot read.
    """
    said = _said(one_file(paths), "-Y", display_filter, "-T", "fields", "-e", "frame.number")
    return np.array([int(word) for word in said.split() if word.isdigit()], np.int64)


def fields(paths: Path | Sequence[Path], names: Sequence[str], display_filter: str) -> pd.DataFrame:
    """Return these fields of the frames that match, as text, NA where tshark prints none; of several the last.

    tshark goes by its defaults, not by the user's preferences. Errors as ``frames_matching``.
    """
    import io

    import pandas as pd

    wanted = [word for name in names for word in ("-e", name)]
    with tempfile.TemporaryDirectory() as defaults:
        said = _said(
            one_file(paths), "-Y", display_filter, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=l", *wanted,
            preferences=defaults,
        )  # fmt: skip
    if not said:
        return pd.DataFrame(columns=list(names), dtype="str")
    text: Any = {"sep": "\t", "names": list(names), "dtype": "str", "keep_default_na": False, "na_values": [""]}
    told: pd.DataFrame = pd.read_csv(io.StringIO(said), quoting=3, skip_blank_lines=False, **text)
    return told


def dissected(path: Path, display_filter: str) -> Iterator[Any]:
    """Yield the frames that match as pyshark's packets.

    pyshark's own reading runs an event loop: it fails in a notebook, where one runs already, and on Python 3.14, which
    has no child watchers any more. Its parser of what tshark prints needs none, so tshark is run from here.
    Errors as ``frames_matching``.
    """
    try:
        from pyshark.tshark.output_parser.tshark_xml import packet_from_xml_packet
    except ImportError as error:
        raise MissingDependency("dissecting needs pyshark: pip install pyshark") from error
    said = _said(one_file(path), "-Y", display_filter, "-T", "pdml")
    for part in said.split("</packet>")[:-1]:
        yield packet_from_xml_packet((part[part.index("<packet>") :] + "</packet>").encode())


def one_file(paths: Path | Sequence[Path]) -> str:
    """Return the name of the one file that tshark can be asked of."""
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if len(named) == 1 and os.fspath(named[0]) == "-":
        raise CaptureError(
            "tshark, and a display filter, reads twice, which a pipe cannot: name a file (tcpdump -w FILE)."
        )
    if len(named) != 1 or os.path.isdir(named[0]):
        raise CaptureError("tshark, and a display filter, needs one capture file: mergecap makes one of several.")
    return os.fspath(named[0])


def _said(path: str, *words: str, preferences: str | None = None) -> str:
    """Run tshark over a file; what it prints."""
    tshark = shutil.which("tshark")
    if tshark is None:
        raise MissingDependency("this needs tshark: apt-get install tshark")
    command = [tshark, "-2", "-n", "-r", path, *words]
    environment = None if preferences is None else {**os.environ, "WIRESHARK_CONFIG_DIR": preferences}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TOO_LONG_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise CaptureError(f"{path}: tshark took longer than {_TOO_LONG_S:.0f} s.") from error
    if done.returncode and not done.stdout:
        said = done.stderr.partition("tshark: ")[2].strip() or f"exit code {done.returncode}"
        about_the_file = path in said
        if about_the_file and "cut short" not in said:
            raise CaptureError(f"{path}: tshark cannot read it: {said}")
        if not about_the_file:
            raise FilterError(
                f"display filter {words[1]!r}: {said.partition(chr(10))[0]}"
            )  # behind it: where, by a caret
    return done.stdout
