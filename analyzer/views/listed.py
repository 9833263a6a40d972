"""A connection as the live screen lists it: texts of one row, made only of those that are shown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.frames.vocabulary import STATES
from analyzer.views import trouble
from analyzer.views.board import MARKED_S, Board
from analyzer.views.slots import NOBODY
from analyzer.views.text import seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analyzer.views.trouble import Trouble


class End(NamedTuple):
    """One end of a row."""

    address: str
    port: int
    state: str
    proven: bool
    before: str  #: the state before, while the change is marked; else empty
    kernel: str  #: what the kernel says; empty where it has nothing to say
    process: str
    pid: int | None


class Row(NamedTuple):
    """One connection, as it is shown."""

    id: int
    number: int | None  #: as in the frames; None: the kernel's socket alone
    client: End
    server: End
    age_s: float | None
    midstream: bool  #: it had begun before the capture: it is older than that
    rates: tuple[float, float]  #: octets of payload a second, sent by the client and by the server
    octets: tuple[int, int]
    segments: tuple[int, int]
    retransmitted: int
    rtt_s: float  #: NaN: not known
    trouble: Trouble | None
    reason: str
    new: bool
    ended: bool
    #: What the kernel's snapshot has of the client and of the server.
    sockets: tuple[Mapping[Any, Any], Mapping[Any, Any]]


def listed(board: Board, place: int) -> Row:
    """Make the row of a slot."""
    slots, now = board.slots, board.now
    cell = {name: slots[name][place].item() for name in (
        "id", "flow", "start_ns", "noticed", "ended", "rtt", "irtt", "trouble", "client_rate", "server_rate",
        "client_bytes", "server_bytes", "client_packets", "server_packets", "retransmitted", "midstream",
    )}  # fmt: skip
    sockets = {end: board.socket(int(slots[f"{end}_joined"][place])) for end in ("client", "server")}
    alone = cell["flow"] == NOBODY
    number = None if alone else board.number(cell["flow"])
    worst = trouble.ORDER[cell["trouble"]] if cell["trouble"] < trouble.NONE else None
    rtt = next((value for value in (cell["rtt"], cell["irtt"]) if not math.isnan(value)), math.nan)
    if math.isnan(rtt):
        rtt = next((said["rtt"] for said in sockets.values() if said.get("rtt") is not None), math.nan)
    return Row(
        id=cell["id"],
        number=number,
        client=_end(board, place, "client", sockets["client"]),
        server=_end(board, place, "server", sockets["server"]),
        age_s=None if alone else max(0.0, now - cell["start_ns"] * 1e-9),
        midstream=cell["midstream"],
        rates=(cell["client_rate"], cell["server_rate"]),
        octets=(cell["client_bytes"], cell["server_bytes"]),
        segments=(cell["client_packets"], cell["server_packets"]),
        retransmitted=cell["retransmitted"],
        rtt_s=rtt,
        trouble=worst,
        reason=_reason(board, number, worst, sockets, place),
        new=now - cell["noticed"] < MARKED_S,
        ended=cell["ended"] <= now,
        sockets=(sockets["client"], sockets["server"]),
    )


def _end(board: Board, place: int, end: str, socket: Mapping[Any, Any]) -> End:
    slots = board.slots
    before, kernel = int(slots[f"{end}_before"][place]), int(slots[f"{end}_kernel"][place])
    marked = before != NOBODY and board.now - float(slots[f"{end}_since"][place]) < MARKED_S
    pid = socket.get("pid")
    known = slots["flow"][place] != NOBODY or bool(socket)  # the other end of the kernel's socket alone: nobody knows
    return End(
        address=board.address(int(slots[end][place])),
        port=int(slots[f"{end}_port"][place]),
        state=STATES[int(slots[f"{end}_state"][place])] if known else "",
        proven=bool(slots[f"{end}_proven"][place] or slots["flow"][place] == NOBODY),
        before=STATES[before] if marked else "",
        kernel=STATES[kernel] if kernel != NOBODY else "",
        process=socket.get("process") or "",
        pid=None if pid is None else int(pid),
    )


def _reason(
    board: Board, number: int | None, worst: Trouble | None, sockets: Mapping[str, Mapping[Any, Any]], place: int
) -> str:
    """Say why: what the kernel's verdict says, or the anomaly; without trouble what the kernel has to say."""
    if worst is None or worst.of == "verdict":
        said = {end: it["reason"] for end, it in sockets.items() if it.get("reason")}
        if worst is not None:
            said = {end: reason for end, reason in said.items() if sockets[end].get("verdict") == worst.name}
        text = "; ".join(dict.fromkeys(said.values()))
        return f"for {_lasted(board, place, list(said))} {text}" if worst and said and number is None else text
    if worst.of == "state":
        ends = [end for end in ("client", "server") if STATES[board.slots[f"{end}_state"][place]] == worst.name]
        return f"{trouble.meaning(worst)} (the {' and the '.join(ends)}, for {_lasted(board, place, ends)})"
    text = trouble.meaning(worst)
    last = None if number is None else board.newest.last_of(number, worst.name)
    if last is None:
        return text
    if isinstance(last["detail"], str):
        text += f": {last['detail']}"
    return text if str(last["frame"]) == "<NA>" else f"{text} (frame {last['frame']})"


def _lasted(board: Board, place: int, ends: list[str]) -> str:
    """Say how long the longest of these ends is in its state: of one that was in it before anybody looked, at least that."""
    longest = min(ends, key=lambda end: float(board.slots[f"{end}_since"][place]))
    least = "at least " if any(board.slots[f"{end}_older"][place] for end in ends) else ""
    return least + seconds(board.now - float(board.slots[f"{longest}_since"][place]))
