"""The sockets of this host as lines for people: ``analyzer sockets`` and ``analyzer sockstat``.

What processes call themselves is other people's data, as names in captures are: it is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyzer.frames.kernel_counters import CATALOGUE
from analyzer.views.printable import printable
from analyzer.views.text import align, folded, paint, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

HEADS = ("state", "recv-q", "send-q", "local", "peer", "timer", "retrans", "rtt", "user", "process")
_RIGHT = (1, 2, 6, 7)
_HOLDERS_SHOWN = 3
_ROWS_A_HEAD = 20  #: rows of sockstat before the heads stand again

SAR: dict[str, str] = {
    "sockets_used": "totsck", "tcp": "tcpsck", "udp": "udpsck", "raw": "rawsck", "fragments": "ip-frag",
    "time_wait": "tcp-tw", "tcp6": "tcp6sck", "orphans": "orphans", "established": "estab", "ActiveOpens": "active/s",
    "PassiveOpens": "passive/s", "RetransSegs": "retrans/s",
}  # fmt: skip
"""The columns of a line of sockstat: sar's names, as far as sar has them."""

_SARS_CELL, _SARS_TIME = 10, 10
_CELL, _TIME = 7, 9
"""Columns of a cell with the blank before it, and of the time: sar's, and the fewest that do."""

_LEFT_OUT = ("raw", "fragments", "udp", "tcp6", "orphans", "sockets_used")
"""What a narrow terminal has no room for, in this order."""

_EVERYDAY = {"InSegs", "OutSegs", "ActiveOpens", "PassiveOpens", "RetransSegs"}
"""Counters that move on every busy host, or stand in the line already."""


def end_text(address: Any, port: Any, interface: Any = None, only_ipv6: Any = None) -> str:
    """Write one end as ss does: ``10.0.0.1:80``, ``[::1]:80``, ``*:80`` for all addresses of both families."""
    if _absent(address):
        return "*"
    text = f"[{address}]" if ":" in address else str(address)
    if address == "::" and str(only_ipv6) == "False":
        text = "*"
    if isinstance(interface, str):
        text += f"%{printable(interface)}"
    return f"{text}:{port}"


def socket_lines(frame: pd.DataFrame, color: bool = False) -> Iterator[str]:
    """Yield a head line and a line a socket: listeners first, then by port."""
    order = frame.assign(_listens=frame["state"].isin(["LISTEN", "CLOSED"]))
    order = order.sort_values(["_listens", "port", "peer_port"], ascending=[False, True, True], kind="stable")
    cells = [list(HEADS)] + [_cells(row) for row in order.to_dict("records")]
    lines = align(cells, right=_RIGHT)
    yield lines[0]
    for line, row in zip(lines[1:], cells[1:], strict=True):
        yield paint(row[0], "state", color) + line[len(row[0]) :]


def _cells(row: dict[Any, Any]) -> list[str]:
    queues = ("accept_queue", "accept_limit") if row["state"] == "LISTEN" else ("receive_queue", "send_queue")
    retransmits = [row["retransmits"], row["retransmitted"]]
    return [
        str(row["state"]),
        *(_number(row[name]) for name in queues),
        end_text(row["address"], row["port"], row["interface"], row["only_ipv6"]),
        end_text(row["peer_address"], row["peer_port"]),
        f"{row['timer']} {seconds(row['timer_left'])}" if isinstance(row["timer"], str) else "-",
        "/".join(map(_number, retransmits)) if any(_number(value) not in "-0" for value in retransmits) else "-",
        seconds(row["rtt"]),
        printable(row["user"]) if isinstance(row["user"], str) else "-",
        _process(row),
    ]


def _number(value: Any) -> str:
    return "-" if _absent(value) else str(int(value))


def _absent(value: Any) -> bool:
    return value is None or str(value) in ("<NA>", "nan")


def _process(row: dict[Any, Any]) -> str:
    """Write ``nginx pid=12 fd=6`` and, where several processes hold it, how many more."""
    if _absent(row["pid"]):
        return "-"
    text = f"{printable(row['process'])} pid={row['pid']} fd={_number(row['fd'])}"
    others = [str(pid) for pid in list(row["pids"])[1:]]
    if not others:
        return text
    more = "" if len(others) <= _HOLDERS_SHOWN else f" and {len(others) - _HOLDERS_SHOWN} more"
    return f"{text}, also pid {', '.join(others[:_HOLDERS_SHOWN])}{more}"


class SockstatLines:
    """Turns rows of ``sockstat`` into lines as sar prints them, and under each the counters that moved, explained.

    Parameters
    ----------
    color : bool
        Whether to colour for a terminal.
    width : int
        Columns to fill; where sar's do not fit, they stand closer, and then some are left out.
    """

    def __init__(self, color: bool = False, width: int = 160) -> None:
        self._color, self._width = color, width
        self._rows: list[pd.DataFrame] = []
        self._time, self._cells = _SARS_TIME, dict.fromkeys(SAR, _SARS_CELL)
        if self._needs() > width:
            self._time, self._cells = _TIME, {name: max(_CELL, len(head) + 1) for name, head in SAR.items()}
        for name in _LEFT_OUT:
            if self._needs() > width:
                del self._cells[name]

    def _needs(self) -> int:
        return self._time + sum(self._cells.values())

    def of(self, row: pd.DataFrame) -> Iterator[str]:
        """Yield the lines of one row, the heads before every twentieth."""
        if len(self._rows) % _ROWS_A_HEAD == 0:
            yield paint(self._line("time", SAR), "title", self._color)
        self._rows.append(row[list(SAR)])
        said = row.iloc[0]
        clock = said["time"].tz_convert(_zone()).strftime("%H:%M:%S")
        yield self._line(clock, {name: _figure(name, said[name]) for name in SAR})
        for counter in CATALOGUE:
            if counter.name not in _EVERYDAY and said[counter.name] > 0:
                moved = f"{'':{self._time}}{said[counter.name]:>10.2f}/s {counter.name:24}  {counter.meaning}"
                yield from folded(moved, self._width)

    def average(self) -> Iterator[str]:
        """Yield sar's last line, where there were several rows."""
        if len(self._rows) > 1:
            import pandas as pd

            means = pd.concat(self._rows).astype("float64").mean()
            yield self._line("Average:", {name: _figure(name, means[name]) for name in SAR})

    def _line(self, first: str, cells: dict[str, str]) -> str:
        return f"{first:{self._time}}" + "".join(f" {cells[name]:>{cell - 1}}" for name, cell in self._cells.items())


def _figure(name: str, value: Any) -> str:
    if _absent(value):
        return "-"
    return f"{value:.2f}" if SAR[name].endswith("/s") else f"{value:.0f}"


def _zone() -> Any:
    """The local zone, as sar prints times."""
    import datetime as dt

    return dt.datetime.now().astimezone().tzinfo


def counter_lines(frame: pd.DataFrame, color: bool = False, width: int = 160) -> Iterator[str]:
    """Yield the counters that are not 0, by topic, with what each means."""
    counted = frame[frame["total"] > 0]
    for topic, part in counted.groupby("topic", sort=False):
        yield paint(str(topic), "title", color)
        cells = [[str(row.counter), f"{row.total:,}", str(row.meaning)] for row in part.itertuples()]
        for line in align(cells, right=(1,), indent="  "):
            yield from folded(line, width)
    yield f"{len(frame) - len(counted)} more are 0"
