"""Which files are meant: folders, patterns, and sets that were rotated.

``tcpdump -C`` writes ``in``, ``in1``, ``in2`` and so on up to ``in10``, with ``-W`` a ring ``in00`` to ``in10``, ``-G``
names by strftime; dumpcap writes ``in_00001_20240131120000.pcap``. In natural order, numbers by their value, all of
them stand as they were written.
"""

from __future__ import annotations

import glob
import os
import re
from typing import TYPE_CHECKING

import numpy as np

from analyzer.capture import pcap, pcapng, snoop
from analyzer.capture.compressed import is_compressed
from analyzer.capture.interfaces import InterfaceTable
from analyzer.capture.opened import OpenedFile
from analyzer.capture.pipes import STDIN
from analyzer.capture.records import CaptureInfo
from analyzer.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS = re.compile(r"(\d+)")
_PACKED = re.compile(r"\.(gz|xz|zst|lz4|bz2|Z)$")


def natural(path: str) -> list[str | int]:
    """A key to sort by: numbers inside a name by their value, so that in2 stands before in10."""
    return [int(piece) if at % 2 else piece for at, piece in enumerate(_DIGITS.split(path))]


def is_rotated(paths: Sequence[str]) -> bool:
    """Whether these look like one capture in several files: they differ in numbers only, and have a name besides."""
    stems = {_DIGITS.sub("", _PACKED.sub("", path)) for path in paths}
    return len(paths) > 1 and len(stems) == 1 and os.path.basename(stems.pop()) not in ("", ".pcap", ".pcapng", ".cap")


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern for the names of files, as a shell takes it, and not a file of that name."""
    return glob.has_magic(path) and path != STDIN and not os.path.lexists(path)


def expand(path: str) -> list[str]:
    """The files that a path means, in natural order: a folder's captures, a pattern's files, or itself.

    Raises
    ------
    CaptureError
        There are none, or the folder cannot be read.
    """
    if path == STDIN:
        return [path]
    if is_pattern(path):
        matching = sorted((one for one in glob.glob(path) if not os.path.isdir(one)), key=natural)
        if not matching:
            raise CaptureError(f"{path}: no file has such a name. Check the pattern and the folder ({os.getcwd()}).")
        return matching
    if not os.path.isdir(path):
        return [path]
    try:
        entries = [entry.path for entry in os.scandir(path) if entry.is_file()]
    except OSError as error:
        raise CaptureError(
            f"{path}: the folder cannot be read ({error.strerror}). Try sudo, or name the files."
        ) from error
    found = [one for one in sorted(entries, key=natural) if is_capture(one)]
    if not found and os.path.exists(os.path.join(path, "capture.json")):
        raise CaptureError(f"{path}: saved frames, and no packets to read: analyzer.load() opens them.")
    if not found:
        raise CaptureError(
            f"{path}: no captures in this folder ({len(entries)} other files). Name one that holds pcap or pcapng."
        )
    return found


def is_capture(path: str) -> bool:
    """Whether a file in a folder is meant: a capture by its content, or one that cannot be looked into."""
    try:
        with open(path, "rb", buffering=0) as file:
            start = file.read(len(snoop.MAGIC))
    except OSError:
        return True  # opening it again will say why not
    if not is_compressed(start):
        return start[:4] in pcap.MAGICS or start.startswith((pcapng.MAGIC, snoop.MAGIC))
    try:
        OpenedFile(path, InterfaceTable(CaptureInfo()), 1, 65536, np.empty(4096, np.uint8)).close()
    except CaptureError:
        return False
    return True


class RotatedSet:
    """The files that a capture which is still being written has, and those that it will get.

    Of a single file these are the ones that tcpdump writes after it: of ``in`` and ``in3`` alike ``in``, ``in1`` and so
    on. Files that a rotation has compressed are left out while the original is known: it has been read.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)
        first = self._paths[0]
        self._single = len(self._paths) == 1 and not is_pattern(first) and not os.path.isdir(first)

    def files(self) -> list[str]:
        """Those that are there now, in natural order; never raises."""
        if self._single:
            path = self._paths[0]
            stem = path.rstrip("0123456789")
            digits = re.compile(re.escape(os.path.basename(stem)) + r"\d*")
            folder = os.path.dirname(path)
            names = [name for name in self._names(folder or ".") if digits.fullmatch(name)]
            found = [os.path.join(folder, name) for name in names]
        else:
            found = []
            for path in self._paths:
                if is_pattern(path):
                    found += [one for one in glob.glob(path) if not os.path.isdir(one)]
                elif os.path.isdir(path):
                    inside = [os.path.join(path, name) for name in self._names(path)]
                    found += [one for one in inside if os.path.isfile(one)]
                elif os.path.lexists(path):
                    found.append(path)
        return sorted(dict.fromkeys(found), key=natural)

    @staticmethod
    def _names(folder: str) -> list[str]:
        try:
            return os.listdir(folder)
        except OSError:
            return []


def unpacked(path: str) -> str:
    """The name that a file had before a rotation compressed it."""
    return _PACKED.sub("", path)
