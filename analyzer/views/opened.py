"""One connection opened on the live screen: its packets, its state changes, its anomalies, as lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from analyzer.frames.vocabulary import ENDPOINTS
from analyzer.views.panes import MARK_OF, socket_text
from analyzer.views.printable import printable
from analyzer.views.spans import OF_STATE, Line, filled, left, right, wrapped
from analyzer.views.text import amount, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from analyzer.frames.standing import OneFlow
    from analyzer.views.listed import Row

TABS = ("packets", "state changes", "anomalies")
"""What may be looked at, in the order of the tabulator."""

_STATE = 12
_SHOWN = [
    "time", "from_client", "flags", "seq", "ack", "length", "window", "client_state", "server_state", "client_proven",
    "server_proven", "step", "step_repeat", "copy_of",
]  # fmt: skip
_WIDE = 112  #: from here on a packet's window and interface have room


def lines(flow: OneFlow, tab: str, width: int) -> list[Line]:
    """Write what was asked for; the newest last."""
    made = {"packets": _packets, "state changes": _transitions, "anomalies": _anomalies}[tab](flow, width)
    return made or [filled([(f"no {tab}", "dim")], width)]


def tabs(flow: OneFlow, tab: str, width: int) -> Line:
    """Write the heads of the three, the one that is shown marked."""
    sizes = (flow.segments, len(flow.transitions), len(flow.anomalies))
    line: Line = []
    for name, size in zip(TABS, sizes, strict=True):
        line.append((f" {name} {size:,} ", "head.sorted" if name == tab else "head"))
    shown = len(flow.packets)
    if tab == "packets" and shown < flow.segments:
        line.append((f" the last {shown:,} ", "head"))
    return filled(line, width, "head")


def no_packets(row: Row, width: int) -> Line:
    """Write the head over what the kernel says of a connection of which no packet was seen."""
    known = any(row.sockets) and not row.ended
    said = "this host's kernel says" if known else "this host's kernel has no socket of it any more"
    return filled([(f" no packet of it was seen since the start; {said} ", "head.sorted")], width, "head")


def kernel(row: Row, width: int) -> list[Line]:
    """A line for each thing that the kernel says of the sockets of this host's ends, as of the last snapshot."""
    found: list[Line] = []
    for name, end, socket in zip(ENDPOINTS, (row.client, row.server), row.sockets, strict=True):
        if not socket:
            continue
        found.append(filled([(f"{name} {socket_text(end.address, end.port)}", "strong")], width))
        for head, text in _of_socket(socket):
            for at, line in enumerate(wrapped(printable(text), width - 18, 4)):
                found.append(filled([(f"  {left('' if at else head, 16)}", "dim"), (line, "")], width))
    return found or [filled([("the kernel was not asked, or has nothing to say", "dim")], width)]


def _of_socket(socket: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    yield "state", str(socket["kernel_state"])
    held = socket["inode"] is not None or socket["pid"] is not None
    who = f"{socket['process']} (pid {socket['pid']})" if socket["pid"] is not None else "not visible"
    yield "process", who if held else "none: not accepted yet, or the program has closed it"
    if socket["user"] is not None:
        yield "user", socket["user"]
    for name in ("receive_queue", "send_queue"):
        if socket[name] is not None:
            yield name.replace("_", " "), amount(int(socket[name]))
    if socket["timer"] is not None:
        yield "timer", f"{socket['timer']}, {seconds(socket['timer_left'] or 0.0)} left"
    if socket["retransmits"] is not None:
        times = "" if socket["retransmitted"] is None else f", {int(socket['retransmitted']):,} in all"
        yield "sent again", f"{int(socket['retransmits']):,} without an answer{times}"
    if socket["rtt"] is not None:
        yield "round trip", seconds(socket["rtt"])
    if socket["cwnd"] is not None:
        yield "window", f"{int(socket['cwnd']):,} segments (congestion)"
    if socket["verdict"] is not None:
        yield "verdict", f"{socket['verdict']} ({socket['severity']}): {socket['reason']}"


def _packets(flow: OneFlow, width: int) -> list[Line]:
    """A line a segment: frame, time since the first, direction, tcpdump's words, states, step; anomalies on lines below."""
    troubles: dict[int, list[Any]] = {}
    for row in flow.anomalies.to_dict("records"):
        if not _absent(row["frame"]):
            troubles.setdefault(int(row["frame"]), []).append(row)
    found: list[Line] = []
    packets = flow.packets
    if not len(packets):
        return found
    first = packets["time"].iloc[0].value
    before: tuple[Any, Any] = ("", "")
    frames = [str(frame) for frame in packets.index.tolist()]
    times = [f"{(time.value - first) * 1e-9:.6f}" for time in packets["time"]]
    places = max(map(len, frames)), max(map(len, times))
    for frame, after, row in zip(frames, times, packets[_SHOWN].to_dict("records"), strict=True):
        states = (row["client_state"], row["server_state"])
        begin = f"{right(frame, places[0])} {right(after, places[1])} "
        found.append(_packet(begin, row, states, before, width))
        before = states
        found += [_trouble(it, len(begin), width) for it in troubles.get(int(frame), ())]
    return found


def _packet(begin: str, row: dict[Any, Any], states: tuple[Any, Any], before: tuple[Any, Any], width: int) -> Line:
    copy = not _absent(row["copy_of"])
    calm = "over" if copy else ""
    said = f"{'>' if row['from_client'] else '<'} {row['flags']:<4}{_numbers(row, width)}"
    line: Line = [(begin, "dim")]
    step = row["step"] if isinstance(row["step"], str) else ""
    if row["step_repeat"]:
        step = f"({step})"
    if copy:
        step = f"copy of {row['copy_of']}"
    room = width - sum(len(text) for text, _ in line) - 2 * (_STATE + 1) - 11 - 1
    line.append((left(said, room) + " ", "opening" if row["from_client"] and not copy else calm))
    for state, proven, earlier in zip(states, (row["client_proven"], row["server_proven"]), before, strict=True):
        text = state + ("" if proven else "~")
        line += [(left(text, _STATE), "change" if state != earlier and earlier else OF_STATE.get(state, "")), (" ", "")]
    line.append((left(step, 11), "over" if copy or row["step_repeat"] else "strong"))
    return filled(line, width)


def _numbers(row: dict[Any, Any], width: int) -> str:
    numbers = f" seq {row['seq']}" + (f":{row['seq'] + row['length']}" if row["length"] else "")
    if width < _WIDE:
        numbers = f" {row['seq']}" + (f":{row['seq'] + row['length']}" if row["length"] else "")
        return numbers + ("" if _absent(row["ack"]) else f" ack {row['ack']}")
    acknowledged = "" if _absent(row["ack"]) else f" ack {row['ack']}"
    return f"{numbers}{acknowledged} win {row['window']} len {row['length']}"


def _trouble(row: dict[Any, Any], indent: int, width: int) -> Line:
    said = f"{row['kind']}: {row['detail']}" if isinstance(row["detail"], str) else row["kind"]
    about = "" if _absent(row["related_frame"]) else f" (see frame {row['related_frame']})"
    mark = f"{' ' * indent}{MARK_OF.get(row['severity'], ' ')} "
    return filled([(mark, row["severity"]), (printable(said) + about, row["severity"])], width)


def _transitions(flow: OneFlow, width: int) -> list[Line]:
    """A line a state change: time, end, from, to, by which event, how sure."""
    return [_transition(row, width) for row in flow.transitions.to_dict("records")]


def _transition(row: dict[Any, Any], width: int) -> Line:
    struck = row["evidence"] == "refuted"
    evidence = str(row["evidence"])
    other = row["refuted_by"] if struck else row["proven_by"]
    if not _absent(other) and other != row["frame"]:
        evidence += f" by frame {other}" if width >= _WIDE else f" {other}"
    where = "timer" if _absent(row["frame"]) else f"frame {row['frame']}"
    line: Line = [
        (_clock(row), "dim"),
        (left(row["endpoint"], 7), "over" if struck else ""),
        (left(row["old"], _STATE), "over" if struck else OF_STATE.get(row["old"], "")),
        ("> ", "dim"),
        (left(row["new"], _STATE), "over" if struck else OF_STATE.get(row["new"], "")),
        (left(where, 12), "dim"),
        (left(row["event"], 15) + " ", "over" if struck else "note"),
        (evidence, "over" if struck else "note"),
    ]
    return filled(line, width)


def _clock(row: dict[Any, Any]) -> str:
    """Local time to the millisecond, as the list of newest anomalies has it."""
    return (
        time.strftime("%H:%M:%S", time.localtime(row["time"].value // 10**9))
        + f".{row['time'].value // 10**6 % 1000:03} "
    )


def _anomalies(flow: OneFlow, width: int) -> list[Line]:
    """A line an anomaly."""
    found: list[Line] = []
    for row in flow.anomalies.to_dict("records"):
        where = "" if _absent(row["frame"]) else f"frame {row['frame']}"
        line: Line = [
            (_clock(row), "dim"),
            (left(where, 13), "dim"),
            (left(row["severity"], 8), row["severity"]),
        ]
        said = row["kind"] + (f" of the {row['endpoint']}" if isinstance(row["endpoint"], str) else "")
        line.append((said, row["severity"]))
        if isinstance(row["detail"], str):
            line.append((f": {printable(row['detail'])}", "note"))
        found.append(filled(line, width))
    return found


def _absent(value: Any) -> bool:
    return str(value) in ("<NA>", "nan", "NaT", "None")
