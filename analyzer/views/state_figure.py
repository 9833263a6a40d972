"""The state table as a figure, laid out as figure 5 of RFC 9293: docs/states.svg.

Every row of the literal is in it: as an arrow between two states or, where an event leads to CLOSED from several, in a line
below. Only the places are written here; a row that is added is drawn.
"""

from __future__ import annotations

from collections import defaultdict

from analyzer.tracker.states import TRANSITIONS, Event, State

_S = State
_WIDTH, _HEIGHT = 1060, 1040
_BOX = (150, 44)

#: The middle of each state's box. CLOSED stands twice, as in the RFC: where connections begin and where they end.
PLACES: dict[State, tuple[int, int]] = {
    _S.UNKNOWN: (110, 210),
    _S.CLOSED: (570, 70),
    _S.LISTEN: (360, 210),
    _S.SYN_SENT: (860, 210),
    _S.SYN_RCVD: (360, 340),
    _S.ESTABLISHED: (610, 470),
    _S.FIN_WAIT_1: (360, 600),
    _S.CLOSE_WAIT: (860, 600),
    _S.FIN_WAIT_2: (360, 740),
    _S.CLOSING: (610, 740),
    _S.LAST_ACK: (860, 740),
    _S.TIME_WAIT: (610, 870),
}
_END = (860, 870)

#: Corners of arrows for which a straight line would not do.
_CORNERS: dict[tuple[State, State], tuple[tuple[int, int], ...]] = {
    (_S.UNKNOWN, _S.ESTABLISHED): ((110, 470),),
}
#: Where the words of an arrow stand (of the first, and how they are anchored); else at its middle.
_WORDS: dict[tuple[State, State], tuple[int, int, str]] = {
    (_S.UNKNOWN, _S.ESTABLISHED): (122, 420, "start"),
    (_S.UNKNOWN, _S.LISTEN): (235, 200, "middle"),
    (_S.CLOSED, _S.SYN_SENT): (735, 130, "start"),
    (_S.LISTEN, _S.SYN_RCVD): (348, 282, "end"),
    (_S.LISTEN, _S.ESTABLISHED): (508, 352, "start"),
    (_S.SYN_SENT, _S.SYN_RCVD): (630, 290, "start"),
    (_S.SYN_SENT, _S.ESTABLISHED): (760, 360, "start"),
    (_S.SYN_RCVD, _S.ESTABLISHED): (372, 426, "start"),
    (_S.SYN_RCVD, _S.FIN_WAIT_1): (348, 530, "end"),
    (_S.ESTABLISHED, _S.FIN_WAIT_1): (500, 552, "start"),
    (_S.ESTABLISHED, _S.CLOSE_WAIT): (760, 540, "start"),
    (_S.FIN_WAIT_1, _S.FIN_WAIT_2): (348, 675, "end"),
    (_S.FIN_WAIT_1, _S.CLOSING): (500, 664, "start"),
    (_S.FIN_WAIT_2, _S.TIME_WAIT): (470, 822, "end"),
    (_S.CLOSING, _S.TIME_WAIT): (622, 810, "start"),
    (_S.CLOSE_WAIT, _S.LAST_ACK): (872, 675, "start"),
    (_S.LAST_ACK, _S.CLOSED): (872, 810, "start"),
    (_S.TIME_WAIT, _S.CLOSED): (735, 862, "middle"),
}

_STYLE = """
.paper{fill:#fff}.box{fill:#f6f8fa;stroke:#1b1f24;stroke-width:1.5}.box.unknown{stroke-dasharray:5 4}
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#1b1f24}
.name{font-size:15px;font-weight:600;text-anchor:middle}.title{font:600 17px system-ui,sans-serif}
.said{font:13px system-ui,sans-serif;fill:#57606a}
.way{fill:none;stroke-width:1.6}.way.SEND{stroke:#0550ae}.way.RCV{stroke:#116329}.way.TIME{stroke:#953800}
.SEND{fill:#0550ae}.RCV{fill:#116329}.TIME{fill:#953800}polyline.way{fill:none}
.dashed{stroke-dasharray:6 4}
"""


def arrows() -> dict[tuple[State, State], list[Event]]:
    """The rows that are drawn as arrows: the events, by the states that they lead from and to."""
    found: dict[tuple[State, State], list[Event]] = defaultdict(list)
    for row in TRANSITIONS:
        if row.event not in _gathered() and row.left is not row.new and row.event not in found[row.left, row.new]:
            found[row.left, row.new].append(row.event)
    return dict(found)


def lines() -> list[str]:
    """The rows that are lines below the figure."""
    found = []
    for event in _gathered():
        olds = {row.old for row in TRANSITIONS if row.event is event}
        others = [state.name for state in State if state not in olds]
        names = [state.name for state in State if state in olds]
        said = ", ".join(names) if len(names) <= len(others) else f"every state but {', '.join(others)}"
        found.append(f"{event.name}: from {said}, to CLOSED")
    return found + [f"{row.event.name}: {row.note}" for row in TRANSITIONS if row.left is row.new]


def as_svg() -> str:
    """Draw it."""
    boxes = [_box(state, place) for state, place in PLACES.items()]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
            "<title>The states of a TCP connection's end, and what leads from one to another</title>",
            f"<style>{_STYLE}</style>",
            "<defs>",
            *(_head(kind) for kind in _KINDS),
            "</defs>",
            f'<rect class="paper" width="{_WIDTH}" height="{_HEIGHT}"/>',
            *(part for (old, new), events in arrows().items() for part in _arrow(old, new, events)),
            *boxes,
            _box(State.CLOSED, _END),
            *_legend(),
            "</svg>",
        ]
    )


_KINDS = ("SEND", "RCV", "TIME")


def _gathered() -> list[Event]:
    """The events that lead to CLOSED from many states, or from two where a line says more than an arrow."""
    ends = [row.event for row in TRANSITIONS if row.new is State.CLOSED and row.left is not row.new]
    return [event for event in Event if ends.count(event) > 1]


def _kind(event: Event) -> str:
    """Whether the end sends it, is sent it, or time passes: SEND, RCV or TIME."""
    first = event.name.partition("_")[0]
    return first if first in _KINDS else "TIME"


def _head(kind: str) -> str:
    return (
        f'<marker id="{kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" orient="auto">'
        f'<path class="head {kind}" d="M0 1 10 5 0 9z"/></marker>'
    )


def _box(state: State, place: tuple[int, int]) -> str:
    (x, y), (width, height) = place, _BOX
    unknown = " unknown" if state is State.UNKNOWN else ""
    return (
        f'<rect class="box{unknown}" x="{x - width // 2}" y="{y - height // 2}" width="{width}" height="{height}" rx="6"/>'
        f'<text class="name" x="{x}" y="{y + 5}">{state.name}</text>'
    )


def _arrow(old: State, new: State, events: list[Event]) -> list[str]:
    """An arrow from the edge of one box to that of the other, with its words."""
    way = [PLACES[old], *_CORNERS.get((old, new), ()), _END if new is State.CLOSED else PLACES[new]]
    way[0], way[-1] = _edge(way[0], way[1]), _edge(way[-1], way[-2])
    kind = _kind(events[0])
    middle = ((way[0][0] + way[-1][0]) // 2, (way[0][1] + way[-1][1]) // 2, "middle")
    x, y, anchor = _WORDS.get((old, new), middle)
    points = " ".join(f"{x},{y}" for x, y in way)
    dashed = " dashed" if old is State.UNKNOWN else ""
    return [
        f'<polyline class="way {kind}{dashed}" points="{points}" marker-end="url(#{kind})"/>',
        *(
            f'<text class="{_kind(event)}" x="{x}" y="{y + 17 * number}" text-anchor="{anchor}">{event.name}</text>'
            for number, event in enumerate(events)
        ),
    ]


def _edge(place: tuple[int, int], towards: tuple[int, int]) -> tuple[int, int]:
    """Where the line from a box's middle leaves the box."""
    (x, y), (width, height) = place, _BOX
    dx, dy = towards[0] - x, towards[1] - y
    scale = min(width / 2 / abs(dx) if dx else 9e9, height / 2 / abs(dy) if dy else 9e9)
    return round(x + dx * scale), round(y + dy * scale)


def _legend() -> list[str]:
    said = [("SEND", "the end sends it"), ("RCV", "it is sent to the end"), ("TIME", "time passes")]
    parts = ['<text class="title" x="30" y="40">The states, after figure 5 of RFC 9293</text>']
    for number, (kind, words) in enumerate(said):
        y = 68 + 20 * number
        parts.append(f'<line class="way {kind}" x1="30" y1="{y - 5}" x2="66" y2="{y - 5}" marker-end="url(#{kind})"/>')
        parts.append(f'<text class="said" x="76" y="{y}">{words}</text>')
    parts += [
        f'<text class="{_kind(Event[line.partition(":")[0]])}" x="30" y="{935 + 18 * number}">{line}</text>'
        for number, line in enumerate(lines())
    ]
    return parts


if __name__ == "__main__":
    print(as_svg())  # noqa: T201
