"""Compiled kernels: where their cache lies, and that array bounds are checked where that is asked for."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from analyzer import kernel
from analyzer.frames import compiling

ROOT = pathlib.Path(__file__).parents[1]
BEYOND = """
import numpy as np
from analyzer.kernel import kernel, part, seldom

@kernel
def read(array, index):
    return array[index]

@WHICH
def inner(array, index):
    return array[index]

@kernel
def outer(array, index):
    return inner(array, index) + inner(array, 1) + inner(array, 2)

print(read(np.arange(4), 2), outer(np.arange(4), 2))
print(len(inner.compiled.overloads))
for function in (read, outer):
    try:
        function(np.arange(4), 4)
    except IndexError as error:
        print(error)
"""


def python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    names = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, env=names | environment, check=False
    )


def folder(**environment: str) -> str:
    script = "from analyzer.kernel import cache_folder, is_warm; print(cache_folder(), is_warm())"
    return python(script, **environment).stdout


@pytest.mark.parametrize("which", ["part", "seldom"])
def test_reading_beyond_an_array_is_an_error_where_bounds_are_checked(which, tmp_path):
    """In kernels and in their parts; these are compiled once for a type, whatever constants they are called with.

    The second process loads what the first one has compiled.
    """
    script = tmp_path / "beyond.py"  # numba caches what lies in a file only
    script.write_text(BEYOND.replace("WHICH", which))
    names = {
        **os.environ,
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    for compiled in (1, 0):
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=names, check=False)
        assert done.stdout == f"2 5\n{compiled}\n" + 2 * "index is out of bounds\n", done.stderr


def test_the_cache_knows_the_bounds_switch_and_where_the_user_wants_it(tmp_path):
    plain = folder(XDG_CACHE_HOME=str(tmp_path))
    assert plain.startswith(str(tmp_path / "tcp-handshake-analyzer"))
    assert plain.endswith(" False\n")
    checked = folder(XDG_CACHE_HOME=str(tmp_path), NUMBA_BOUNDSCHECK="1")
    assert checked != plain
    assert folder(NUMBA_CACHE_DIR=str(tmp_path / "own")).startswith(str(tmp_path / "own"))


@pytest.mark.kernels
def test_the_first_use_says_so_once(tmp_path):
    capture = ROOT / "captures" / "life-of-a-connection" / "any.pcap"
    script = (
        f"import sys; from analyzer.cli import main; sys.exit(main(['flows', {str(capture)!r}, '--format', 'csv']))"
    )
    first, second = (python(script, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(first.stderr.splitlines()) == 1
    assert "first use" in first.stderr
    assert second.stderr == ""
    assert first.stdout == second.stdout


@pytest.mark.kernels
def test_what_is_compiled_is_loaded_without_all_that_compiling_takes():
    """Neither numba's knowledge of NumPy's functions, nor a function of numba's for each part."""
    capture = ROOT / "captures" / "life-of-a-connection" / "any.pcap"
    read = f"import sys, analyzer; analyzer.read({str(capture)!r})"
    python(read)  # compiles it, if nobody has
    asked = (
        "from analyzer.tracker.machine import move; print('numba.np.npyimpl' in sys.modules, 'compiled' in vars(move))"
    )
    done = python(f"{read}; {asked}")
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path):
    """Kernels are compiled anew then, not looked for beside the sources, where nothing tells whose they are."""
    script = tmp_path / "beyond.py"
    script.write_text(BEYOND.replace("WHICH", "part"))
    names = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": "/proc/nowhere", "PYTHONPATH": str(ROOT)}
    for _ in range(2):
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=names, check=False)
        assert done.stdout == "2 5\n1\n" + 2 * "index is out of bounds\n", done.stderr
    assert not list(tmp_path.rglob("*.nb[ic]"))
    script = "from analyzer.views.terminal import announce; announce()"
    assert (
        "compiling, half a minute each time: /proc/nowhere cannot be written"
        in python(script, NUMBA_CACHE_DIR="/proc/nowhere").stderr
    )


def test_rooms_with_kernels_are_in_the_cache_folders_name():
    """Whatever a kernel is compiled of: another version must not find it."""
    rooms = {
        path.relative_to(ROOT / "analyzer").parts[0]
        for path in (ROOT / "analyzer").rglob("*/*.py")
        if "from analyzer.kernel import" in path.read_text(encoding="utf-8")
    }
    assert rooms <= set(kernel._ROOMS)


def test_the_second_compiling_process_takes_no_package_from_the_working_directory(tmp_path, monkeypatch):
    commands = []

    def popen(command, **_):
        commands.append(command)
        raise OSError

    monkeypatch.setattr(kernel, "is_warm", lambda: False)
    monkeypatch.setattr(compiling.subprocess, "Popen", popen)
    compiling.compile_at_first_use()
    monkeypatch.undo()
    (command,) = commands
    assert command[-1] == compiling.__name__
    other = tmp_path / "analyzer"
    other.mkdir()
    (other / "__init__.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    (other / "errors.py").touch()
    names = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command[:-1], "analyzer.errors"], cwd=tmp_path, env=names, check=True)  # compiling takes its time
    assert not (tmp_path / "ran").exists()
