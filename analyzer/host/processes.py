"""Who holds a socket: inode -> processes, as lsof and ``ss -p`` find them, through ``/proc/PID/fd``.

Without root only one's own processes show their files. Names are what a program calls itself (any bytes): bytes that
are no UTF-8 stand as escapes here, control characters are left for the views to escape.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Collection

_SOCKET = "socket:["


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """One process that holds a socket, and where."""

    pid: int
    fd: int
    name: str


def holders(inodes: Collection[int]) -> dict[int, list[Holder]]:
    """Find the processes that hold these sockets, each with its lowest descriptor, the oldest first.

    A program that starts another has, for a moment, a child that holds all its sockets: which of them that is, the pids
    do not tell where their numbers have begun anew.

    Parameters
    ----------
    inodes : collection of int
        As the kernel numbers the sockets' files.
    """
    import psutil

    wanted = set(inodes)
    found: dict[int, list[Holder]] = {}
    begun: dict[int, float] = {}
    for pid in sorted(psutil.pids()) if wanted else ():
        held = _held(pid, wanted)
        if not held:
            continue
        begun[pid], name = _began(pid)
        for inode, fd in held.items():
            found.setdefault(inode, []).append(Holder(pid, fd, name))
    for those in found.values():
        those.sort(key=lambda holder: begun[holder.pid])
    return found


def _began(pid: int) -> tuple[float, str]:
    """Return when a process began, in seconds since the epoch, and what it calls itself."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.create_time(), clean(process.name())
    except psutil.Error:
        return float("inf"), ""  # it ended meanwhile


def _held(pid: int, wanted: set[int]) -> dict[int, int]:
    """Return the wanted sockets among a process's files: inode -> lowest descriptor."""
    held: dict[int, int] = {}
    folder = f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(folder)
    except OSError:  # another user's, or gone
        return held
    for descriptor in descriptors:
        try:
            target = os.readlink(f"{folder}/{descriptor}")
        except OSError:
            continue
        if target.startswith(_SOCKET):
            inode = int(target[len(_SOCKET) : -1])
            if inode in wanted:
                held[inode] = min(int(descriptor), held.get(inode, int(descriptor)))
    return held


@functools.cache
def user_name(uid: int) -> str:
    """Return the user's name, or the number where it has none."""
    try:
        import pwd

        return clean(pwd.getpwuid(uid).pw_name)
    except (ImportError, KeyError):
        return str(uid)


def clean(name: str) -> str:
    """Show the bytes that are no UTF-8 as escapes: pandas, JSON and Parquet take no halves of characters."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
