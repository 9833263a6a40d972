"""Widgets that draw ready lines, and nothing else: what stands in them is never read as markup."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from analyzer.views.spans import GROUNDS, SELECTED, STYLES, joined

if TYPE_CHECKING:
    from analyzer.views.spans import Line


@functools.cache
def _style(name: str, ground: str, selected: bool) -> Style:
    style, plain = Style.parse(STYLES[name]), Style.parse(f"{STYLES['']} {GROUNDS[ground]}")
    if style.bgcolor is not None:
        return style
    if selected:  # nothing is dim there
        return (plain if name in ("dim", "over") else plain + style) + Style.parse(SELECTED)
    return plain + style


class Lines(Widget):
    """Lines one below the other.

    Parameters
    ----------
    ground : str
        What they stand on, of ``GROUNDS``.

    Attributes
    ----------
    chosen : int or None
        The line that is chosen.
    """

    chosen: int | None = None

    def __init__(self, *, id: str | None = None, ground: str = "") -> None:  # noqa: A002  # Textual's word
        super().__init__(id=id)
        self._ground = ground
        self._lines: list[Line] = []

    def put(self, lines: list[Line], chosen: int | None = None) -> None:
        """Show these lines from now on; what has not changed is not sent to the terminal again."""
        if lines != self._lines or chosen != self.chosen:
            self._lines, self.chosen = lines, chosen
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        width = self.size.width
        line = self._lines[y] if y < len(self._lines) else []
        selected = y == self.chosen and bool(line)
        strip = Strip([Segment(text, _style(name, self._ground, selected)) for text, name in line])
        return strip.adjust_cell_length(width, _style("", self._ground, selected))

    @property
    def text(self) -> str:
        """What stands there, also lines without anything."""
        return joined((self._lines + [[]] * self.size.height)[: self.size.height])
