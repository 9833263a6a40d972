"""Which captures are pipes: somebody else decides when they go on."""

from __future__ import annotations

import os
import stat
import sys

STDIN = "-"


def waits(path: str) -> bool:
    """Whether reading may wait for somebody else: a pipe, a socket; not a file, also as standard input."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode if path == STDIN else os.stat(path).st_mode
    except (OSError, ValueError, AttributeError):  # missing, or standard input is closed or a stand-in
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
