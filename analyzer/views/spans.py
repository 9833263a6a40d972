"""Lines of a screen: pieces of text with the name of a style each, cut and filled to cells of a terminal.

Nothing here is markup, and what a capture or a process calls itself goes through ``printable`` before it comes here: names
cannot move the cursor, colour a line or push others out of their column. A cell is counted as terminals count it: some
characters take two, some none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from analyzer.views.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

Span = tuple[str, str]
"""Text, and the name of its style in ``STYLES``; empty for the plain one."""

Line = list[Span]

STYLES: dict[str, str] = {
    "": "#c9d1d9",
    "title": "bold #ffffff on #1f3a5f",
    "title.calm": "#b8c7d9 on #1f3a5f",
    "title.alarm": "bold #ffffff on #b3261e",
    "title.paused": "bold #000000 on #e3b341",
    "head": "bold #8b98a5 on #1b222b",
    "head.sorted": "bold #58a6ff on #1b222b",
    "dim": "#6e7b88",
    "strong": "bold #ffffff",
    "error": "bold #ff7b72",
    "warning": "#e3b341",
    "note": "#8b98a5",
    "change": "bold #000000 on #e3b341",
    "new": "#7ee787",
    "key": "bold #58a6ff on #1b222b",
    "key.word": "#8b98a5 on #1b222b",
    "bars": "#58a6ff",
    "bars.kernel": "#d2a8ff",
    "opening": "#79c0ff",
    "open": "#7ee787",
    "closing": "#d2a8ff",
    "left": "#ffa657",
    "over": "#6e7b88",
}
"""Each style's colours; on a terminal without colour what they say stands there in characters too."""

GROUNDS: dict[str, str] = {"": "on #0d1117", "raised": "on #151b23"}
"""What lines stand on."""

SELECTED = "on #2d4a6b"
"""Behind the line that is chosen."""

OF_STATE: dict[str, str] = {
    "UNKNOWN": "over", "CLOSED": "over", "LISTEN": "over", "SYN_SENT": "opening", "SYN_RCVD": "opening",
    "ESTABLISHED": "open", "FIN_WAIT_1": "closing", "FIN_WAIT_2": "closing", "CLOSE_WAIT": "left", "CLOSING": "closing",
    "LAST_ACK": "closing", "TIME_WAIT": "over",
}  # fmt: skip
"""The style of each state."""


def width_of(text: str) -> int:
    """How many cells a text takes."""
    return cell_len(text)


def cut(text: object, width: int) -> str:
    """Return the text, printable and no wider than so many cells; what was cut off is shown by an ellipsis."""
    shown = printable(text)
    if cell_len(shown) <= width:
        return shown
    return set_cell_size(shown, width - 1).rstrip() + "…" if width > 0 else ""


def left(text: object, width: int) -> str:
    """Return the text in exactly so many cells, at their left."""
    return set_cell_size(cut(text, width), width)


def right(text: object, width: int) -> str:
    """Return the text in exactly so many cells, at their right."""
    shown = cut(text, width)
    return " " * (width - cell_len(shown)) + shown


def without_front(text: str, width: int) -> str:
    """Cut at the front: of an address its end tells more."""
    shown = printable(text)
    while cell_len(shown) > width and len(shown) > 1:
        shown = "…" + shown[2:]
    return shown


def filled(line: Line, width: int, style: str = "") -> Line:
    """Return a line of exactly so many cells."""
    done: Line = []
    room = width
    for text, name in line:
        shown = cut(text, room)
        if shown:
            done.append((shown, name))
            room -= cell_len(shown)
    return [*done, (" " * room, style)] if room > 0 else done


def wrapped(text: str, width: int, lines: int) -> list[str]:
    """Break a text into lines at blanks, the last one cut."""
    words, found = printable(text).split(" "), [""]
    for word in words:
        if len(found) < lines and cell_len(found[-1]) + 1 + cell_len(word) > width and found[-1]:
            found.append(word)
        else:
            found[-1] += (" " if found[-1] else "") + word
    return [cut(line, width) for line in found]


def joined(lines: Iterable[Line]) -> str:
    """Return the bare text of lines."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)
