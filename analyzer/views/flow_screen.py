"""The screen of one connection, opened from the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen

from analyzer.views import opened, panes
from analyzer.views.spans import filled
from analyzer.views.strips import Lines

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult

    from analyzer.frames.standing import OneFlow
    from analyzer.views.listed import Row
    from analyzer.views.spans import Line

_HEAD = 6  #: lines above what is listed: five of details, the tabs

_KEYS = (("Esc", "back"), ("Tab", "packets, states, anomalies"), ("Up Down Home End", "move"), ("p", "pause"))


def _sizes(flow: OneFlow) -> tuple[int, int, int]:
    """What grows when anything happens to a connection."""
    return flow.segments, len(flow.transitions), len(flow.anomalies)


class FlowScreen(Screen[None]):
    """Both ends as in the list's details, below it packets, state changes or anomalies; the end follows what comes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,backspace", "dismiss_flow", "back"),
        Binding("tab,right", "turn(1)", "next", priority=True),
        Binding("shift+tab,left", "turn(-1)", "previous", priority=True),
        Binding("up,k", "move(-1)"),
        Binding("down,j", "move(1)"),
        Binding("pageup,b", "page(-1)"),
        Binding("pagedown,f", "page(1)"),
        Binding("home,g", "edge(0)"),
        Binding("end,G", "edge(1)"),
    ]

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.row = row
        self.tab = opened.TABS[0]
        self._flow: OneFlow | None = None
        self._made: tuple[str, int, list[Line]] = ("", 0, [])  #: lines, for which tab and width
        #: The first line shown; None: the end, whatever comes.
        self._top: int | None = None if row.number is not None else 0

    def compose(self) -> ComposeResult:
        """Make the one widget that draws it all."""
        yield Lines(id="flow")

    def on_mount(self) -> None:
        """Draw what there is."""
        self.draw()

    def on_resize(self, _: events.Resize) -> None:
        """Draw it again."""
        self.draw()

    def show(self, row: Row | None, flow: OneFlow | None) -> None:
        """Take what is new of it; None: nothing is."""
        self.row = row or self.row
        if flow is not None and self._flow is None:
            self._top = None
        if flow is not None and (self._flow is None or _sizes(flow) != _sizes(self._flow)):
            self._flow, self._made = flow, ("", 0, [])
        if self.is_mounted:
            self.draw()

    def draw(self) -> None:
        """Put the lines where they belong."""
        width, height = self.app.size.width, self.app.size.height
        lines = panes.details(self.row, width)
        if self._flow is None and self.row.number is not None:
            lines.append(filled([("asking ...", "dim")], width))
        else:
            told = opened.tabs(self._flow, self.tab, width) if self._flow else opened.no_packets(self.row, width)
            lines.append(told)
            below = self._below(width)
            last = self._last(len(below))
            top = last if self._top is None else min(self._top, last)
            shown = below[top : top + self._room]
            lines += shown + [filled([], width)] * (self._room - len(shown))
        lines += [filled([], width)] * (height - 1 - len(lines))
        lines.append(panes.keys(width, _KEYS))
        self.query_one("#flow", Lines).put(lines)

    def _below(self, width: int) -> list[Line]:
        """The lines of what is looked at; made once for each thing and width. Without packets it is what the kernel says."""
        if self._flow is None:
            return opened.kernel(self.row, width)
        if self._made[:2] != (self.tab, width):
            self._made = (self.tab, width, opened.lines(self._flow, self.tab, width))
        return self._made[2]

    @property
    def _room(self) -> int:
        return max(1, self.app.size.height - _HEAD - 1)

    def _last(self, lines: int) -> int:
        return max(0, lines - self._room)

    def action_dismiss_flow(self) -> None:
        """Go back to the list."""
        self.dismiss()

    def action_turn(self, by: int) -> None:
        """Show the next of the three."""
        self.tab = opened.TABS[(opened.TABS.index(self.tab) + by) % len(opened.TABS)]
        self._top = None
        self.draw()

    def action_move(self, by: int) -> None:
        """Move by so many lines; at the end it follows again."""
        last = self._last(len(self._below(self.app.size.width)))
        top = (last if self._top is None else self._top) + by
        self._top = None if top >= last else max(0, top)
        self.draw()

    def action_page(self, by: int) -> None:
        """Move by a page."""
        self.action_move(by * self._room)

    def action_edge(self, end: int) -> None:
        """Go to the beginning or to the end."""
        self._top = None if end else 0
        self.draw()

    def on_mouse_scroll_up(self, _: events.MouseScrollUp) -> None:
        """Three lines, as terminals do."""
        self.action_move(-3)

    def on_mouse_scroll_down(self, _: events.MouseScrollDown) -> None:
        """Three lines, as terminals do."""
        self.action_move(3)
