"""Compiled kernels: plain Python over NumPy arrays, compiled by numba at first use and cached on disk.

``@kernel`` is for the entry points that Python calls: compiled once per signature, without the interpreter lock, cached.
``@part`` is for the small functions that read like the RFC and that kernels are composed of; they are compiled into
their callers and need no cache of their own.

The cache folder carries a hash of the sources of all kernels: numba looks only at the file of the entry point, so a part
changed in another module would otherwise go on living in a stale cache. With ``NUMBA_BOUNDSCHECK`` set the folder is
another one too, for a cached kernel does not see the switch.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

_HERE = pathlib.Path(__file__).resolve().parent
_ROOMS = ("capture", "decode", "flows", "tracker")


@functools.cache
def cache_folder() -> pathlib.Path:
    """The folder in which this version's compiled kernels lie.

    ``NUMBA_CACHE_DIR`` or else ``$XDG_CACHE_HOME/tcp-handshake-analyzer`` (``~/.cache``), then the hash of the sources.
    """
    named = os.environ.get("NUMBA_CACHE_DIR")
    base = pathlib.Path(named) if named else _user_cache() / "tcp-handshake-analyzer"
    digest = hashlib.sha256(f"{sys.version_info[:2]}{os.environ.get('NUMBA_BOUNDSCHECK', '')}".encode())
    sources = [pathlib.Path(__file__), *(source for room in _ROOMS for source in sorted((_HERE / room).glob("*.py")))]
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return base / digest.hexdigest()[:16]


def _user_cache() -> pathlib.Path:
    if sys.platform == "win32":
        return pathlib.Path(os.environ.get("LOCALAPPDATA") or pathlib.Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return pathlib.Path.home() / "Library" / "Caches"
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")


def is_warm() -> bool:
    """Whether compiled kernels of this version lie in the cache; else the first use compiles for some seconds."""
    folder = cache_folder()
    return folder.is_dir() and any(folder.rglob("*.nbc"))


import numba  # after the functions above, which the command line's notice uses

numba.config.CACHE_DIR = str(cache_folder())

Function = TypeVar("Function", bound=Callable[..., Any])

# No reference counts: kernels keep no arrays, and counting them took most of the time. No wrappers for C.
_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False, "no_cfunc_wrapper": True}


def kernel(function: Function) -> Function:
    """Compile an entry point: called from Python, without the interpreter lock, cached on disk."""
    return numba.njit(cache=True, **_OPTIONS)(function)  # type: ignore[no-any-return]


def part(function: Function) -> Function:
    """Compile a part of kernels: called from kernels only, compiled into them.

    There is no way into it from Python, which saves a quarter of the first use's compiling; ``.py_func`` is the plain
    function, to be tried out.
    """
    return numba.njit(no_cpython_wrapper=True, forceinline=True, **_OPTIONS)(function)  # type: ignore[no-any-return]


def seldom(function: Function) -> Function:
    """Compile a part that is called from many places and rarely: it stays a call, so that its callers stay small."""
    return numba.njit(no_cpython_wrapper=True, **_OPTIONS)(function)  # type: ignore[no-any-return]
