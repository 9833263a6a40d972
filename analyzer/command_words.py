"""The words of a command line: which are captures, and which the filter behind them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

import click

from analyzer.errors import CaptureError

CAPTURE_SUFFIXES = (".pcap", ".pcapng", ".cap", ".dmp", ".snoop", ".gz", ".zst", ".xz", ".lz4")


def split(
    words: Sequence[str], after: Sequence[str] | None = None, *, keep_patterns: bool = False
) -> tuple[tuple[str, ...], str | None]:
    """Tell captures from the capture filter.

    The captures are the leading words that exist as files, folders or globs, or ``-``; the rest is the filter. Behind
    ``--`` everything is the filter, and before it nothing. The first word is always a capture. Who follows a rotated
    capture keeps its pattern, for there will be more files.
    """
    captures: list[str] = []
    rest = list(words)
    while rest:
        matches = [rest[0]] if rest[0] == "-" or os.path.exists(rest[0]) else sorted(glob.glob(rest[0]))
        if not matches and (not captures or after is not None):
            matches = [rest[0]]  # it is not there, and reading it will say so
        if not matches:
            break
        captures += rest[:1] if keep_patterns else matches
        rest.pop(0)
    if not captures:
        raise click.UsageError("name a capture: a file, a folder, or - for a pipe from tcpdump -w -")
    if rest and rest[0].endswith(CAPTURE_SUFFIXES):
        raise CaptureError(f"{rest[0]}: no such file")  # libpcap would ask the name server for it
    words_of_filter = rest + list(after or ())
    return tuple(captures), " ".join(words_of_filter) or None
