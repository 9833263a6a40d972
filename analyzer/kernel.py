"""Compiled kernels: plain Python over NumPy arrays, compiled by numba at first use and cached on disk.

``@kernel`` is for the entry points that Python calls: compiled once per signature, without the interpreter lock, cached.
``@part`` is for the small functions that read like the RFC and that kernels are composed of; they are compiled into
their callers and need no cache of their own.

The cache folder carries a hash of the sources of all kernels: numba looks only at the file of the entry point, so a part
changed in another module would otherwise go on living in a stale cache. With ``NUMBA_BOUNDSCHECK`` set the folder is
another one too, for a cached kernel does not see the switch.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

_HERE = pathlib.Path(__file__).resolve().parent
_ROOMS = ("capture", "decode", "flows", "tracker", "frames")


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
    """Whether compiled kernels of this version lie in the cache; else the first use compiles for half a minute."""
    folder = cache_folder()
    with contextlib.suppress(OSError):  # another user's
        return folder.is_dir() and any(folder.rglob("*.nbc"))
    return False


def can_keep() -> bool:
    """Whether compiled kernels can be written to the cache; else every run compiles."""
    folder = cache_folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK | os.X_OK)


import numba  # after the functions above, which the command line's notice uses
from llvmlite.binding import parse_assembly
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.typing.typeof import typeof_impl

numba.config.CACHE_DIR = str(cache_folder())

Function = TypeVar("Function", bound=Callable[..., Any])

# No reference counts: kernels keep no arrays, and counting them took most of the time. No wrappers for C.
_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False, "no_cfunc_wrapper": True}


class _KernelFolder(CompileResultCacheImpl._locator_classes[0]):  # type: ignore[misc]  # that of ``CACHE_DIR``
    """Where kernels are kept, also if nothing can be written there: numba would go on with folders that know no hash."""

    def ensure_cache_path(self) -> None:
        """Make the folder, if that can be."""
        with contextlib.suppress(OSError):
            super().ensure_cache_path()


class _KernelFiles(CompileResultCacheImpl):  # type: ignore[misc]  # numba has no types
    """What is kept of a kernel: its machine code, and of the code that others could be linked with the names alone."""

    _locator_classes = (_KernelFolder,)

    def reduce(self, cres: Any) -> Any:
        """Return what is written to the disk."""
        (name, kind, (machine_code, _)), *rest = super().reduce(cres)
        defined = [it.name for it in cres.library._get_module_for_linking().functions if not it.is_declaration]
        names = parse_assembly("\n".join(f'define void @"{symbol}"() {{ ret void }}' for symbol in defined))
        return (name, kind, (machine_code, names.as_bitcode())), *rest


class _KernelCache(FunctionCache):  # type: ignore[misc]
    """Compiled kernels on disk, as numba keeps them, but loaded without all that compiling takes.

    numba first gathers what it knows of types and functions, which takes five times as long as loading every kernel.
    """

    _impl_class = _KernelFiles

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel of a signature, None where there is none yet, or none that may be read."""
        with contextlib.suppress(OSError):
            return self._load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled kernel, if that can be: the disk may be full, or not ours."""
        with contextlib.suppress(OSError):
            self._save_overload(sig, data)


class _PartLibrary(JITCodeLibrary):  # type: ignore[misc]
    """The code of a part, to be linked into kernels only: these are optimised, and made machine code, as a whole."""

    @property
    def codegen(self) -> Any:
        """Who is told of the part's environment, which nothing in a part looks at."""
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: see ``codegen``."""

    def get_pointer_to_function(self, _: str) -> int:
        """There is no machine code of a part."""
        self._ensure_finalized()
        return 0

    def _optimize_final_module(self) -> None:
        """Leave it to the kernel."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


class _PartCompiler(Compiler):  # type: ignore[misc]
    """Compiles a part as numba's own compiler does, but into such a library."""

    def define_pipelines(self) -> Any:
        """Give the passes, which write into the library that is there."""
        self.state.library = _PartLibrary(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()


_PART_OPTIONS: dict[str, Any] = {**_OPTIONS, "no_cpython_wrapper": True, "pipeline_class": _PartCompiler}


def kernel(function: Function) -> Function:
    """Compile an entry point: called from Python, without the interpreter lock, cached on disk."""
    entry: Any = numba.njit(**_OPTIONS)(function)
    entry._cache = _KernelCache(function)
    return entry  # type: ignore[no-any-return]


def part(function: Function) -> Function:
    """Compile a part of kernels: called from kernels only, compiled into them.

    There is no way into it from Python, which saves a quarter of the first use's compiling; ``.py_func`` is the plain
    function, to be tried out.
    """
    part: Any = _Part(function, {"forceinline": True, **_PART_OPTIONS})
    return part  # type: ignore[no-any-return]


def seldom(function: Function) -> Function:
    """Compile a part that is called from many places and rarely: it stays a call, so that its callers stay small."""
    called: Any = _Part(function, _PART_OPTIONS)
    return called  # type: ignore[no-any-return]


class _Part:
    """What stands for a part in its module; numba's function is made of it where a kernel is compiled, which few runs do."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        itself: Any = self
        functools.update_wrapper(itself, function)
        self.py_func = function
        self._options = options

    @functools.cached_property
    def compiled(self) -> Any:
        """Compiled for the types of its arguments, not anew for each constant that it is called with.

        A constant has a type of its own to numba, so that ``move`` would be compiled for each event. Where it is compiled into
        its caller it sees the constant all the same.
        """
        dispatcher: Any = numba.njit(**self._options)(self.py_func)
        resolve = dispatcher.get_call_template

        def get_call_template(args: Any, kws: Any) -> Any:
            plain = numba.types.unliteral
            return resolve(tuple(map(plain, args)), {name: plain(kind) for name, kind in kws.items()})

        dispatcher.get_call_template = get_call_template
        return dispatcher


@typeof_impl.register(_Part)  # type: ignore[untyped-decorator]
def _(part: _Part, _: Any) -> Any:
    """Tell a kernel that is compiled what the part is."""
    return numba.types.Dispatcher(part.compiled)
