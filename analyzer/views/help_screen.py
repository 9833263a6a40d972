"""The live screen's help: keys, marks, and the order of troubles."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen

from analyzer.views import panes, trouble
from analyzer.views.spans import Line, filled, left, wrapped
from analyzer.views.strips import Lines

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult


def help_lines(width: int) -> list[Line]:
    """Write the keys, the marks, and the order of troubles."""
    lines: list[Line] = [filled([(" Keys", "head")], width, "head")]
    for key, _, what in panes.KEYS:
        lines += _entry(key, "strong", what, 8, width)
    lines.append(filled([(" Marks", "head")], width, "head"))
    for mark, what in panes.MARKS:
        lines += _entry(mark, "warning", what, 8, width)
    lines.append(filled([(" Troubles, the worst first, and why they stand there", "head")], width, "head"))
    for row in trouble.ORDER:
        lines += _entry(row.name, trouble.severity(row), row.why, 24, width)
    return lines


def _entry(name: str, style: str, what: str, room: int, width: int) -> list[Line]:
    first, *rest = wrapped(what, width - room - 2, 9)
    lines: list[Line] = [filled([(" " + left(name, room), style), (" " + first, "")], width)]
    return lines + [filled([(" " * (room + 2) + more, "")], width) for more in rest]


class HelpScreen(Screen[None]):
    """Any key that does not move goes back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss_help", "back"),
        Binding("up,k", "move(-1)"),
        Binding("down,j", "move(1)"),
        Binding("pageup", "move(-20)"),
        Binding("pagedown,space", "move(20)"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._top = 0

    def compose(self) -> ComposeResult:
        """Make the one widget that draws it."""
        yield Lines(id="help")

    def on_mount(self) -> None:
        """Draw it."""
        self.draw()

    def on_resize(self, _: events.Resize) -> None:
        """Draw it again."""
        self.draw()

    def draw(self) -> None:
        """Put the lines where they belong."""
        width, room = self.app.size.width, self.app.size.height - 1
        lines = help_lines(width)
        self._top = max(0, min(self._top, len(lines) - room))
        shown = lines[self._top : self._top + room]
        shown += [filled([], width)] * (room - len(shown))
        more = "  Up Down: there is more" if len(lines) > room else ""
        self.query_one("#help", Lines).put([*shown, filled([(f" Esc goes back{more}", "key.word")], width, "key.word")])

    def action_dismiss_help(self) -> None:
        """Go back."""
        self.dismiss()

    def action_move(self, by: int) -> None:
        """Move by so many lines."""
        self._top += by
        self.draw()
