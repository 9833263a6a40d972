"""The parts of the live screen as lines: title, counts, list, details of one connection, newest anomalies, keys."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from analyzer.frames.schema import COUNTED_STATES
from analyzer.frames.vocabulary import STATES
from analyzer.views import figures, trouble
from analyzer.views.history import bars
from analyzer.views.printable import printable
from analyzer.views.selection import KEYS as SORTED_BY
from analyzer.views.spans import OF_STATE, Line, cut, filled, left, right, width_of, without_front, wrapped
from analyzer.views.text import amount, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analyzer.views.board import Board
    from analyzer.views.listed import End, Row
    from analyzer.views.newest import Newest
    from analyzer.views.selection import Selection

ASSUMED = "~"
MARK_OF = {"error": "!", "warning": "*"}
_STATE = 12  #: cells of a state: the longest, and the mark of an assumed one


class Traffic(NamedTuple):
    """What the title says of the session."""

    where: str
    records: int
    records_a_second: float
    drops: int | None
    paused: bool = False
    waiting: str = ""  #: what it waits for, before there is anything to show


def title(traffic: Traffic, width: int) -> Line:
    """Write what is sniffed, how much came, and above all what was lost."""
    drops = traffic.drops or 0
    lost = f" {drops:,} dropped by the kernel "
    line: Line = [(f" analyzer  {cut(traffic.where, max(8, width - 62))} ", "title")]
    came = f" {traffic.records:,} packets  {figures.count(traffic.records_a_second)}/s "
    said = traffic.waiting or came
    end: Line = [(lost, "title.alarm" if drops else "title.calm")]
    if traffic.paused:
        end.insert(0, (" paused ", "title.paused"))
    line.append((said, "title.calm"))
    room = width - sum(width_of(text) for text, _ in [*line, *end])
    return filled([*line, (" " * max(0, room), "title.calm"), *end], width, "title.calm")


# ------------------------------------------------------------------------------------------------------------- counts


def counts(board: Board, width: int, height: int, seen: set[str]) -> list[Line]:
    """Write the counts by state, of packets and of kernel, and how they went over the last minutes.

    seen: the states that have a place; it grows with those that occur, unless there is room for all.
    """
    packets, kernel = board.counts(), board.kernel_counts()
    here = {name for name in COUNTED_STATES if packets[STATES.index(name)]}
    if kernel is not None:
        here |= {name for name in COUNTED_STATES if kernel[STATES.index(name)]}
    seen |= here
    columns = max(1, min(4, width // 39))
    lines = -(-len(COUNTED_STATES) // columns)
    names = list(COUNTED_STATES) if lines < height else [name for name in COUNTED_STATES if name in seen]
    lines = min(max(1, -(-len(names) // columns)), max(1, height - 1))
    cell = width // columns
    room = max(4, (cell - 25) // 2)
    span = max(1, round(board.history.span(board.now) / 60))
    heads = left(f"over {span} min", 12) + left(" packets", 6 + room) + left(" kernel", 6 + room)
    found: list[Line] = [filled([(left(heads, cell), "head")] * columns, width, "head")]
    for line in range(lines):
        spans: Line = []
        for name in names[line::lines][:columns]:
            spans += _counted(board, name, room, cell)
        found.append(filled(spans, width))
    return found


def _counted(board: Board, name: str, room: int, cell: int) -> Line:
    state = STATES.index(name)
    packets, kernel = board.counts(), board.kernel_counts()
    of_packets, of_kernel = board.history.of(state, room, board.now)
    highest = max((value for value in [*of_packets, *of_kernel] if value is not None), default=1)
    here = int(packets[state])
    style = OF_STATE[name] if here or (kernel is not None and kernel[state]) else "dim"
    spans = [(left(name, 12), style), (right(figures.count(here), 5), "strong" if here else "dim")]
    spans += [(" " + bars(of_packets, highest), "bars")]
    if kernel is None:
        spans.append((right("-", 5), "dim"))
    else:
        there = int(kernel[state])
        spans.append((right(figures.count(there), 5), "strong" if there else "dim"))
    spans.append((" " + bars(of_kernel, highest), "bars.kernel"))
    return filled(spans, cell)


# --------------------------------------------------------------------------------------------------------------- list


class Column(NamedTuple):
    """A column of the list."""

    head: str
    width: int
    key: str  #: that it is sorted by; empty for none
    since: int  #: it is there on screens of so many cells
    flush_right: bool = True


COLUMNS: tuple[Column, ...] = (
    Column("client", _STATE, "state", 0, False),
    Column("server", _STATE, "", 0, False),
    Column("process", 7, "process", 0, False),
    Column("rate", 4, "rate", 0),
    Column("rtt", 5, "rtt", 0),
    Column("retr", 4, "retransmitted", 94),
    Column("age", 4, "start", 100),
    Column("octets", 6, "octets", 140),
    Column("trouble", 22, "trouble", 112, False),
)
"""Behind both ends' addresses, which take the rest; what a narrow screen has no room for stands in the details."""

_PROCESS_GROWS = 130  #: on wider screens a process has twice the room


def columns(width: int) -> list[Column]:
    """Return the columns of a screen so wide."""
    there = [column for column in COLUMNS if column.since <= width]
    return [c._replace(width=15) if c.head == "process" and width >= _PROCESS_GROWS else c for c in there]


def head(shown: int, known: int, selection: Selection, width: int) -> Line:
    """Write the heads of the list; the first says how many there are, and what was asked for."""
    there = columns(width)
    room = _ends_room(width, there)
    several = f"{known:,}" if shown == known else f"{shown:,} of {known:,}"
    arrow = "▲" if selection.reverse else "▼"
    said = f" {several} by {selection.key}{arrow}" + (f" /{selection.words}" if selection.words else "")
    line: Line = [(left(said, room + _mark(width)), "head.sorted")]
    for column in there:
        place = right if column.flush_right else left
        line.append((" " + place(column.head, column.width), "head.sorted" if column.key == selection.key else "head"))
    return filled(line, width, "head")


def row(it: Row, width: int) -> Line:
    """Write one connection."""
    there = columns(width)
    worst = trouble.severity(it.trouble) if it.trouble else ""
    mark = MARK_OF.get(worst, "+" if it.new else "-" if it.ended else " ")
    style = "over" if it.ended else worst if it.trouble else "new" if it.new else ""
    room = _ends_room(width, there)
    line: Line = [(mark + " " * (_mark(width) - 1), worst or style), (left(ends(it, room), room), style)]
    for column in there:
        text, name = _cell(it, column)
        place = right if column.flush_right else left
        line += [(" ", ""), (place(text, column.width), name)]
    return filled(line, width)


def _cell(it: Row, column: Column) -> tuple[str, str]:
    calm = "over" if it.ended else ""
    if column.head in ("client", "server"):
        end = it.client if column.head == "client" else it.server
        return end.state + ("" if end.proven or not end.state else ASSUMED), _of_end(end, it.ended)
    if column.head == "process":
        return process(it), calm
    if column.head == "rate":
        return figures.rate(sum(it.rates)), calm
    if column.head == "rtt":
        return figures.round_trip(it.rtt_s), calm
    if column.head == "retr":
        return figures.count(it.retransmitted) if it.retransmitted else "", "warning" if it.retransmitted else calm
    if column.head == "age":
        return "" if it.age_s is None else figures.age(it.age_s), calm
    if column.head == "octets":
        return figures.count(sum(it.octets)), calm
    return (it.trouble.name, trouble.severity(it.trouble)) if it.trouble else ("", "")


def _of_end(end: End, ended: bool) -> str:
    if end.before:
        return "change"
    return "over" if ended else OF_STATE.get(end.state, "")


def process(it: Row) -> str:
    """Name the processes: of the end on this host; of both, client first, where both are."""
    names = [end.process for end in (it.client, it.server) if end.process]
    return ">".join(dict.fromkeys(names))


def socket_text(address: str, port: int) -> str:
    """Write an end as ss does: ``10.0.0.1:80``, ``[::1]:80``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def ends(it: Row, room: int) -> str:
    """Write both ends; where there is no room the addresses lose their beginnings, never the ports."""
    client, server = (socket_text(end.address, end.port) for end in (it.client, it.server))
    over = len(client) + len(server) + 3 - room
    if over <= 0:
        return f"{client} > {server}"
    half = (room - 1) // 2
    server_room = max(half, room - 1 - len(client))
    server = without_front(server, server_room)
    return f"{without_front(client, room - 1 - width_of(server))}>{server}"


def _ends_room(width: int, there: list[Column]) -> int:
    return width - _mark(width) - sum(column.width + 1 for column in there)


def _mark(width: int) -> int:
    return 1 if width < 100 else 2


# ------------------------------------------------------------------------------------------------------------ details


def details(it: Row | None, width: int) -> list[Line]:
    """Write all there is to say of one connection: a line an end, a line of figures, two lines why."""
    if it is None:
        return [filled([("nothing to show yet", "dim")], width)] + [filled([], width)] * 4
    old = f"{'at least ' * it.midstream}{seconds(it.age_s or 0.0)} old"
    said = ["no packets seen"] if it.number is None else [f"flow {it.number}", old]
    said.append(f"rtt {seconds(it.rtt_s)}")
    if it.number is not None:
        said.append(f"{amount(it.octets[0])} + {amount(it.octets[1])}")
        said.append(f"{it.segments[0]:,} + {it.segments[1]:,} segments  retr {it.retransmitted:,}")
    lines = [_end_line("client", it.client, width), _end_line("server", it.server, width)]
    lines.append(filled([("  ".join(said), "")], width))
    if it.trouble is None:
        reason, style = it.reason, "note"
    else:
        reason, style = f"{it.trouble.name}: {it.reason}", trouble.severity(it.trouble)
    why = wrapped(reason, width, 2)
    return lines + [filled([(line, style)], width) for line in (*why, "")[:2]]


def _end_line(name: str, end: End, width: int) -> Line:
    line: Line = [(f"{name} ", "dim"), (socket_text(end.address, end.port) + " ", "strong")]
    if end.before:
        line.append((f"{end.before} -> {end.state} ", "change"))
    elif end.state:
        line.append((end.state + ("" if end.proven else ASSUMED) + " ", OF_STATE.get(end.state, "")))
    if end.kernel:
        line += [("kernel ", "dim"), (end.kernel + " ", OF_STATE.get(end.kernel, ""))]
    if end.process or end.pid is not None:
        line.append((printable(end.process) + (f" (pid {end.pid})" if end.pid is not None else ""), ""))
    return filled(line, width)


# ---------------------------------------------------------------------------------------------------------- anomalies


def anomalies(newest: list[Newest], damage: list[str], remark: str, width: int, height: int) -> list[Line]:
    """Write what is lost, and the newest warnings and errors; where there are none, what the kernel did not tell, and why."""
    lines = [filled([(printable("; ".join(reversed(damage))), "error")], width)] if damage else []
    for it in newest[: height - len(lines)]:
        clock = time.strftime("%H:%M:%S", time.localtime(it.at.timestamp()))
        where = "" if it.number is None else f" flow {it.number}"
        times = f" x{it.times}" if it.times > 1 else ""
        said = f"{it.kind}{times}{where}" + (f" {it.endpoint}" if it.endpoint else "")
        line: Line = [(clock + " ", "dim"), (said, it.severity)]
        if it.detail:
            line.append((f": {printable(it.detail)}", "dim"))
        lines.append(filled(line, width))
    if not lines:
        lines = [filled([(f"no warnings, no errors so far; {remark}".rstrip("; "), "dim")], width)]
    return lines + [filled([], width)] * (height - len(lines))


# --------------------------------------------------------------------------------------------------------------- keys

KEYS: tuple[tuple[str, str, str], ...] = (
    ("q", "quit", "end, and print the summary (Ctrl-C too)"),
    ("/", "filter", "list what has all these words: address, port, state, process, trouble; Esc takes it away"),
    ("s", "sort", f"sort by the next of {', '.join(key.name for key in SORTED_BY)}; S: by the one before"),
    ("r", "reverse", "turn the order round"),
    ("Enter", "open", "open the chosen connection: its packets, state changes, anomalies; Esc goes back"),
    ("p", "pause", "keep what is shown, or go on; packets are taken in all the same"),
    ("e", "ended", "list those that have ended in the last minute, or leave them out"),
    ("1 2 3", "parts", "show or hide the counts, the details, the newest anomalies"),
    ("?", "help", "show these keys, and what the marks mean"),
)
"""Key, word, what it does: the line of keys, the help and docs/screen.md."""

_IN_LINE = tuple((key, word) for key, word, _ in KEYS if key != "1 2 3")


def keys(width: int, words: Iterable[tuple[str, str]] = _IN_LINE) -> Line:
    """Write a line of keys, each with its word."""
    line: Line = []
    for key, word in words:
        line += [(f" {key}", "key"), (f" {word} ", "key.word")]
    return filled(line, width, "key.word")


MARKS: tuple[tuple[str, str], ...] = (
    ("!", "trouble that is an error; the details say which, and why"),
    ("*", "trouble that is a warning"),
    ("+", "new"),
    ("-", "ended: both ends have closed"),
    (ASSUMED, "this state is assumed: nothing that this end has sent proves it yet"),
)
"""What stands before a connection or behind a state. A state that has just changed stands on yellow."""
