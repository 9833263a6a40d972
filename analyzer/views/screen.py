"""The live screen: ``top`` for connections, in Textual.

It only draws. What is shown is the ``Board``'s, the lines are ``panes``', and ``Asking`` brings what is new; here are the keys
and the places of the parts. Only the rows on the screen are made.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input

from analyzer.views import panes
from analyzer.views.asking import POLL_S, Asking
from analyzer.views.flow_screen import FlowScreen
from analyzer.views.help_screen import HelpScreen
from analyzer.views.listed import Row, listed
from analyzer.views.selection import KEYS, Selection
from analyzer.views.strips import Lines

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult
    from textual.driver import Driver

    from analyzer.frames.standing import OneFlow
    from analyzer.views.asking import Answer, Watched
    from analyzer.views.board import Board

BUSY_S = 3.0
"""A session that has not answered for so long is said to be busy."""

_DETAILS, _LOW = 5, 30  #: lines of details; a screen lower than this has two lines of anomalies, else five


_OF_LIST = frozenset({
    "ask_filter", "clear_filter", "sort", "reverse", "ended", "part", "help", "open", "move", "page", "edge",
})  # fmt: skip


class LiveScreen(App[None]):
    """The application.

    Parameters
    ----------
    session : Watched
        Which runs already; it is not ended here.
    board : Board
        The model.
    where : str
        What is sniffed, in words.
    waiting : str
        What to say until the first answer comes.
    asks : bool
        Whether it asks the session; else somebody gives it the answers (``take``).
    """

    CSS = """
    Screen { background: #0d1117; color: #c9d1d9; overflow: hidden; }
    Lines { width: 100%; height: 1; }
    #flow, #help { height: 100%; }
    #list { height: 1fr; }
    #filter { display: none; height: 1; border: none; padding: 0; background: #1b222b; }
    #filter.asked { display: block; }
    """
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None  # the filter gets the keys when it is asked for, and not before
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c,ctrl+q", "quit", "quit", priority=False),
        Binding("slash", "ask_filter"),
        Binding("escape", "clear_filter"),
        Binding("s", "sort(1)"),
        Binding("S", "sort(-1)"),
        Binding("r", "reverse"),
        Binding("p,space", "pause"),
        Binding("e", "ended"),
        Binding("1", "part('counts')"),
        Binding("2", "part('details')"),
        Binding("3", "part('anomalies')"),
        Binding("question_mark,h,f1", "help"),
        Binding("enter", "open"),
        Binding("up,k", "move(-1)"),
        Binding("down,j", "move(1)"),
        Binding("pageup", "page(-1)"),
        Binding("pagedown", "page(1)"),
        Binding("home", "edge(0)"),
        Binding("end", "edge(1)"),
        Binding("ctrl+z", "suspend_process"),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While another screen lies over the list, its keys do nothing but end and pause."""
        del parameters
        return len(self.screen_stack) <= 1 or action not in _OF_LIST

    def __init__(
        self,
        session: Watched,
        board: Board,
        where: str,
        *,
        waiting: str = "",
        asks: bool = True,
    ) -> None:
        super().__init__()
        self._session, self.board, self._where = session, board, where
        self._waiting = waiting
        self.selection = Selection()
        self.paused = False
        self.rows: list[Row] = []  #: those on the screen
        self._places: Any = ()
        self._chosen: int | None = None  #: the id of the row; None: the first one, whichever that is
        self._top = 0
        self._seen_states: set[str] = set()
        self._rate, self._records, self._asked_at = 0.0, 0, 0.0
        self._taken_at = time.monotonic()
        self._asking, self._asks = Asking(self, session), asks
        self.opened: FlowScreen | None = None

    def get_driver_class(self) -> type[Driver]:
        """Return the platform's own, or what survives that its terminal is lost."""
        usual = super().get_driver_class()
        if usual.__name__ != "LinuxDriver":
            return usual
        from analyzer.views.driver import LosableDriver

        return LosableDriver

    # ------------------------------------------------------------------------------------------------------- parts

    def compose(self) -> ComposeResult:
        """Make the parts, from top to bottom."""
        with Vertical():
            for name in ("title", "counts", "head", "list", "details", "anomalies"):
                yield Lines(id=name, ground="raised" if name in ("counts", "details") else "")
            yield Input(
                id="filter", placeholder="address, port, state, process, trouble", compact=True, select_on_focus=False
            )
            yield Lines(id="keys")

    def on_mount(self) -> None:
        """Begin to ask."""
        self.set_interval(1.0, self._look_at_the_clock)
        if self._asks:
            self._asking.start()
        self.draw()

    def on_unmount(self) -> None:
        """Ask no more."""
        self._asking.end()

    def _look_at_the_clock(self) -> None:
        """Say so if the session does not answer: it compiles its kernels at the first packets of a first use."""
        silent = time.monotonic() - self._taken_at
        if not self.paused and silent > BUSY_S:
            self._waiting = f" busy for {silent:.0f} s: the first use compiles "
            self.draw()

    def on_resize(self, _: events.Resize) -> None:
        """Draw it for the new size, which is not set yet."""
        self.call_later(self.draw)

    # --------------------------------------------------------------------------------------------------- the session

    def asked_flow(self) -> OneFlow | None:
        """Return the connection that is open on the screen, if one is; to be asked where the session is."""
        number = None if self.opened is None else self.opened.row.number
        return None if number is None else self._session.one_flow(number)

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join(part.text for part in self.screen.query(Lines) if part.display)

    def take(self, answer: Answer) -> None:
        """Take in what the session said, and draw."""
        self._taken_at, elapsed = time.monotonic(), answer.at - self._asked_at
        if self._asked_at and elapsed > 0:
            self._rate += (1 - 0.5 ** (elapsed / POLL_S)) * ((answer.records - self._records) / elapsed - self._rate)
        self._records, self._asked_at, self._waiting = answer.records, answer.at, ""
        self.board.update(answer.standing, answer.sockets, answer.at)
        self.draw()
        if self.opened is not None:
            self.opened.show(self._opened_now(self.opened.row), answer.flow)

    def _opened_now(self, row: Row) -> Row:
        """Return the row of the opened connection as it is now; one without packets may have got some, and is another then."""
        places = self._place_of(row.id)
        if not places and row.number is None:
            places = self.board.between(*((end.address, end.port) for end in (row.client, row.server)))
        return listed(self.board, places[-1]) if places else row._replace(ended=True)

    # ------------------------------------------------------------------------------------------------------- drawing

    def draw(self) -> None:
        """Put all lines where they belong; rows are made for the lines there are."""
        if not self.is_running:
            return
        base = self.screen_stack[0]
        width, height = self.size
        parts = {name: base.query_one(f"#{name}", Lines) for name in (
                "title", "counts", "head", "list", "details", "anomalies", "keys",
        )}  # fmt: skip
        asked = base.query_one("#filter", Input).has_class("asked")
        left = height - 3 - asked  # title, head, keys
        if parts["counts"].display:
            lines = panes.counts(self.board, width, 6 if height < _LOW else 11, self._seen_states)
            parts["counts"].styles.height = len(lines)
            parts["counts"].put(lines)
            left -= len(lines)
        if parts["details"].display:
            parts["details"].styles.height = _DETAILS
            left -= _DETAILS
        if parts["anomalies"].display:
            some = 2 if height < _LOW else 5
            parts["anomalies"].styles.height = some
            session = self._session
            said = panes.anomalies(self.board.newest.first(some), session.damage, session.remark, width, some)
            parts["anomalies"].put(said)
            left -= some
        self._list(max(1, left))
        traffic = panes.Traffic(self._where, self._records, self._rate, self._session.drops, self.paused, self._waiting)
        parts["title"].put([panes.title(traffic, width)])
        parts["head"].put([panes.head(len(self._places), len(self.board.slots), self.selection, width)])
        chosen = self._line()
        parts["list"].put([panes.row(row, width) for row in self.rows], chosen)
        if parts["details"].display:
            parts["details"].put(panes.details(self.rows[chosen] if chosen is not None else None, width))
        parts["keys"].put([panes.keys(width)])

    def _list(self, room: int) -> None:
        """Find the rows that are to be seen; the chosen one stays where the eye has it, as far as there is room."""
        self._places = self.selection.of(self.board)
        ids = self.board.slots["id"][self._places]
        if self._chosen is not None:
            at = (ids == self._chosen).nonzero()[0]
            if len(at):
                self._top = min(max(self._top, int(at[0]) - room + 1), int(at[0]))
            else:
                self._chosen = None
        if self._chosen is None:
            self._top = 0
        self._top = max(0, min(self._top, len(ids) - room))
        self._room = room
        self.rows = [listed(self.board, int(place)) for place in self._places[self._top : self._top + room]]

    def _line(self) -> int | None:
        """The chosen row's line."""
        if self._chosen is None:
            return 0 if self.rows else None
        return next((line for line, row in enumerate(self.rows) if row.id == self._chosen), None)

    def _place_of(self, number: int) -> list[int]:
        return [int(place) for place in (self.board.slots["id"] == number).nonzero()[0]]

    # ---------------------------------------------------------------------------------------------------------- keys

    def action_move(self, by: int) -> None:
        """Choose the row so many lines further."""
        if not len(self._places):
            return
        line = self._line()
        at = max(0, min(len(self._places) - 1, self._top + (line or 0) + by))
        self._choose(at)

    def _choose(self, at: int) -> None:
        self._chosen = int(self.board.slots["id"][self._places[at]])
        if at == 0:
            self._chosen = None
        self.draw()

    def action_page(self, by: int) -> None:
        """Choose the row a page further."""
        self.action_move(by * max(1, self._room - 1))

    def action_edge(self, end: int) -> None:
        """Choose the first or the last row."""
        if len(self._places):
            self._choose(len(self._places) - 1 if end else 0)

    def action_sort(self, by: int) -> None:
        """Sort by the next key."""
        names = [key.name for key in KEYS]
        name = names[(names.index(self.selection.key) + by) % len(names)]
        self._select(key=name, reverse=False)

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._select(reverse=not self.selection.reverse)

    def action_ended(self) -> None:
        """List those that have ended, or not."""
        self._select(ended=not self.selection.ended)

    def _select(self, **changes: Any) -> None:
        self.selection = dataclasses.replace(self.selection, **changes)
        self.draw()

    def action_pause(self) -> None:
        """Keep what is shown, or go on."""
        self.paused = not self.paused
        self.draw()

    def action_part(self, name: str) -> None:
        """Show or hide a part."""
        part = self.query_one(f"#{name}", Lines)
        part.display = not part.display
        self.draw()

    def action_ask_filter(self) -> None:
        """Ask for the filter."""
        asked = self.query_one("#filter", Input)
        asked.add_class("asked")
        asked.value = self.selection.words
        asked.cursor_position = len(asked.value)
        asked.focus()
        self.draw()

    def on_input_changed(self, event: Input.Changed) -> None:
        """List what fits, while it is typed."""
        if event.input.has_class("asked"):
            self._select(words=event.value)

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Keep the filter."""
        self._close_filter()

    def action_clear_filter(self) -> None:
        """Take the filter away."""
        self._select(words="")
        self._close_filter()

    def _close_filter(self) -> None:
        asked = self.query_one("#filter", Input)
        asked.remove_class("asked")
        self.set_focus(None)
        self.draw()

    def action_open(self) -> None:
        """Open the chosen connection."""
        line = self._line()
        if line is None:
            return
        self.opened = FlowScreen(self.rows[line])
        self.push_screen(self.opened, self._flow_closed)
        self._asking.hurry()

    def _flow_closed(self, _: None) -> None:
        self.opened = None
        self.draw()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(HelpScreen())

    def on_click(self, event: events.Click) -> None:
        """Choose the row that was clicked; once more opens it."""
        if getattr(event.widget, "id", None) == "list" and self._top + event.y < len(self._places):
            line = self._line()
            if line == event.y:
                self.action_open()
            else:
                self._choose(self._top + event.y)

    def on_mouse_scroll_up(self, _: events.MouseScrollUp) -> None:
        """Three rows, as terminals do."""
        self.action_move(-3)

    def on_mouse_scroll_down(self, _: events.MouseScrollDown) -> None:
        """Three rows, as terminals do."""
        self.action_move(3)
