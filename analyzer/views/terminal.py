"""The terminal: what goes to stdout and what to stderr, colour or not, how wide, the progress bar, and Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import click

FORMATS = ("table", "csv", "json", "ndjson", "parquet")

_OF_TEXT = ("", "txt", "text", "log", "out")

PROGRESS_AFTER_S = 0.5
"""Work that takes less shows no bar."""


def talk(what: object, code: int = 0) -> int:
    """Say one line on stderr and hand the exit code back."""
    from analyzer.views.printable import printable

    print(f"analyzer: {printable(what)}", file=sys.stderr)  # noqa: T201
    return code


def announce() -> None:
    """Say that the first use takes its time, if this is it."""
    from analyzer import kernel

    if kernel.is_warm():
        return
    if not kernel.can_keep():
        where = kernel.cache_folder().parent
        talk(f"compiling, half a minute each time: {where} cannot be written (NUMBA_CACHE_DIR names another folder)")
    else:
        talk("first use of this version: compiling takes about half a minute, once")


def colored(wish: str, output: str | None) -> bool:
    """Whether to colour: as wished, else on a terminal that can, unless NO_COLOR is set (https://no-color.org)."""
    if wish != "auto":
        return wish == "always"
    quiet = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return output is None and sys.stdout.isatty() and not quiet


def chosen_format(form: str | None, output: str | None) -> str:
    """Return the format: as wished, else as the output's suffix says, else a table.

    Raises
    ------
    click.UsageError
        For a suffix of something else, and for bytes that would go to a terminal.
    """
    if form is None:
        suffix = os.path.splitext(output or "")[1][1:].lower()
        if suffix not in (*FORMATS, *_OF_TEXT):
            raise click.UsageError(
                f"-o {output}: {suffix} is none of {', '.join(FORMATS)}; --format says which is meant"
            )
        form = suffix if suffix in FORMATS else "table"
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("parquet is not for a terminal: name a file with -o")
    return form


def width() -> int:
    """Return the columns to fill: the terminal's, or generously many where there is none."""
    return max(60, min(160, shutil.get_terminal_size((100, 24)).columns)) if sys.stdout.isatty() else 160


@contextlib.contextmanager
def ended_by_interrupt(finish: Callable[[], None]) -> Iterator[None]:
    """Have the first Ctrl-C, SIGTERM or SIGHUP call this and go on; the second one interrupts.

    SIGHUP that was ignored before (nohup) stays so. Of a terminal that is lost it comes twice, from the shell and from the
    kernel: what the first one has asked for is done all the same.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number in numbers:
            signal.signal(number, before[number])

    def handle(number: int, _: object) -> None:
        restore()
        if number not in (signal.SIGINT, signal.SIGTERM):
            before[signal.Signals(number)] = signal.SIG_IGN
            signal.signal(number, signal.SIG_IGN)
            forget_lost_terminal()
        finish()

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()


def forget_lost_terminal() -> bool:
    """Let what would go to a terminal that has hung up go nowhere; returns whether there is such a one."""
    lost = [number for number in (1, 2) if _is_lost(number)]
    for number in lost:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return bool(lost)


def _is_lost(number: int) -> bool:
    try:
        import termios
    except ImportError:  # Windows
        return False
    try:
        termios.tcgetattr(number)
    except termios.error as error:  # of what never was a terminal it is ENOTTY
        return bool(error.args[0] == errno.EIO)
    return False


class Progress:
    """A bar on stderr, where stderr is a terminal and the work is long."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._begun = time.monotonic()

    def __enter__(self) -> Callable[[float | None, int], None] | None:
        return self._show if sys.stderr.isatty() else None

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self, part: float | None, records: int) -> None:
        if self._bar is None:
            if time.monotonic() - self._begun < PROGRESS_AFTER_S:
                return
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (BarColumn(), TextColumn("{task.fields[records]:,} records"), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("read", total=None if part is None else 1.0, records=records)
            self._bar.start()
        self._bar.update(self._task, completed=part or 0.0, records=records)


class Output:
    """The file of ``-o``, or stdout, as bytes."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> IO[bytes]:
        if self._path is None:
            return sys.stdout.buffer
        self._file = open(self._path, "wb")
        return self._file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        else:
            sys.stdout.buffer.flush()


def write_lines(lines: Iterable[str], out: IO[bytes], *, flush: bool = False) -> None:
    """Write lines as they are; flush: each at once."""
    for line in lines:
        out.write(line.encode("utf-8", "backslashreplace") + b"\n")
        if flush:
            out.flush()
