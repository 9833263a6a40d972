"""The live screen driven without a terminal: keys pressed, what is on the screen read as text from its SVG export."""

from __future__ import annotations

import asyncio
import contextlib
import html
import re
import time
from collections.abc import Callable

from analyzer.frames.standing import Follower
from analyzer.views.asking import Answer
from analyzer.views.board import Board
from analyzer.views.played import Played
from analyzer.views.screen import LiveScreen

_TEXT = re.compile(r'<text class="[^"]*" x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"[^>]*>(.*?)</text>')
_CELL, _LINE = 12.2, 24.4  # Rich's export: so many units a cell


def on_screen(app: LiveScreen) -> str:
    """What a terminal would show: the characters of the SVG export, each in its cell."""
    svg = app.export_screenshot()
    lines: dict[int, dict[int, str]] = {}
    body = svg[svg.index(f'<g class="{re.search("terminal-[0-9]+-matrix", svg)[0]}">') :]
    for x, y, _, text in _TEXT.findall(body):
        place = round(float(x) / _CELL)
        for character in html.unescape(text).replace("\xa0", " "):
            lines.setdefault(int(float(y) / _LINE), {})[place] = character
            place += 1
    return "\n".join(
        "".join(lines[y].get(place, " ") for place in range(max(lines[y]) + 1)).rstrip() if y in lines else ""
        for y in range(app.size.height)
    )


def driven(app: LiveScreen, size: tuple[int, int], drive: Callable) -> None:
    """Run the application at this size while ``drive`` does things to it."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await drive(pilot)

    asyncio.run(run())


async def until(pilot, condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until it holds."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come to be:\n" + on_screen(pilot.app)
        await pilot.pause(0.05)


async def press(pilot, *keys: str) -> str:
    """Press keys, and return what is on the screen then."""
    for key in keys:
        await pilot.press(key)
    await pilot.pause()
    return on_screen(pilot.app)


class Recorded:
    """A capture on the screen, which moves on when it is told, not by the clock."""

    def __init__(self, path: str, kernel=None, own=()) -> None:
        self.played = Played([path], kernel, own)
        self.app = LiveScreen(self.played, Board(own), "eth0 :9502", asks=False)
        self._seen = Follower()

    def to(self, seconds: float, step: float = 0.5) -> None:
        """Show what was to be seen at each step up to then."""
        begin = self.played.now - self.played.start if self.played.now else 0.0
        steps = max(1, round((seconds - begin) / step))
        for number in range(1, steps + 1):
            self.played.play(begin + (seconds - begin) * number / steps)
            said = self.played.standing(self._seen)
            self.app.take(
                Answer(said, self.played.sockets(), self.played.now, self.played.records, self.app.asked_flow())
            )


@contextlib.contextmanager
def recorded(path, kernel=None, own=()):
    shown = Recorded(str(path), kernel, own)
    try:
        yield shown
    finally:
        shown.played.close()
