"""Textual's terminal that may be lost: a closed window, a connection that broke."""

from __future__ import annotations

import contextlib
from typing import IO, Any

from textual.drivers.linux_driver import LinuxDriver


class LosableDriver(LinuxDriver):
    """Draws, and draws into the void once the terminal has hung up.

    Textual's thread that writes dies of the error, and its application waits for that thread when it ends: for ever.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._file: Any = _Losable(self._file)


class _Losable:
    """A terminal's file, of which Textual asks no more than this."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()
