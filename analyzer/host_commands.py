"""The commands about this host: ``sockets``, ``sockstat``, and ``states`` without a capture.

They take the place of ``lsof -i:PORT``, ``ss -tanp``, ``netstat -nat`` and ``sar -n SOCK``; they read no capture. What was
not visible is said on stderr in a line; the exit codes are those of ``cli``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from analyzer.views.terminal import FORMATS, Output, chosen_format, colored, talk, width, write_lines

if TYPE_CHECKING:
    import pandas as pd


def _printing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of how to print."""
    options = (
        click.option("--format", "form", type=click.Choice(FORMATS), help="table if nothing else is said."),
        click.option("--json", "as_json", is_flag=True, help="The same as --format json."),
        click.option("-o", "--output", metavar="FILE", help="Write there; its suffix names the format."),
        click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True),
    )
    for option in reversed(options):
        command = option(command)
    return command


def print_states(port: int | None, form: str, output: str | None) -> None:
    """Count this host's sockets by state and print that."""
    from analyzer.host.sockets import socket_states
    from analyzer.views import rows

    with Output(output) as out:
        rows.write("socket_states", socket_states(port), form, out)


@click.command()
@click.argument("ports", nargs=-1, metavar="[:PORT]...")
@click.option("--state", "states", multiple=True, metavar="STATE", help="Only sockets in it: CLOSE_WAIT, LISTEN ...")
@_printing
def sockets(
    ports: tuple[str, ...],
    states: tuple[str, ...],
    form: str | None,
    as_json: bool,
    output: str | None,
    color: str,
) -> None:
    """Print this host's TCP sockets as its kernel has them now, and the processes that hold them.

    Of PORT only, at either end, as lsof -i:PORT shows: a number or a service's name. Of LISTEN, recv-q is the accept
    queue and send-q its limit, as in ss. retrans is: without an answer so far / in all.
    """
    wanted = [_port(word) for word in ports]
    chosen = _states(states)
    form = chosen_format("json" if as_json else form, output)

    from analyzer.host.sockets import limits
    from analyzer.host.sockets import sockets as ask
    from analyzer.views import rows
    from analyzer.views.sockets import socket_lines

    frame = ask(wanted[0] if len(wanted) == 1 else None)
    if len(wanted) > 1:
        frame = frame[frame["port"].isin(wanted) | frame["peer_port"].isin(wanted)]
    if chosen:
        frame = frame[frame["state"].isin(chosen)]
    frame = frame.reset_index(drop=True)
    with Output(output) as out:
        if form == "table":
            write_lines(socket_lines(frame, colored(color, output)), out)
        else:
            rows.write("sockets", frame, form, out)
    for said in limits(frame):
        talk(said)


@click.command()
@click.argument("interval", type=click.FloatRange(0, 86400, min_open=True), required=False)
@click.argument("count", type=click.IntRange(1), required=False)
@click.option("--totals", is_flag=True, help="The counters as they stand, since boot (nstat -az), explained.")
@_printing
def sockstat(
    interval: float | None,
    count: int | None,
    totals: bool,
    form: str | None,
    as_json: bool,
    output: str | None,
    color: str,
) -> None:
    """Print socket totals every INTERVAL seconds, COUNT times, as sar -n SOCK, and the TCP counters that move.

    Without COUNT until Ctrl-C; without both, once over a second. Counters are increases a second, each with what it
    means; docs/counters.md has them all. A narrow terminal gets fewer totals; the other formats have them all.
    """
    form = chosen_format("json" if as_json else form, output)
    painted = colored(color, output)
    if totals:
        _print_totals(form, output, painted)
        return
    if count is None and interval is not None and form in ("json", "parquet"):
        raise click.UsageError(f"{form} is written at the end: give a COUNT, or take ndjson")

    from analyzer.host.sockstat import readings, rows
    from analyzer.views import rows as written
    from analyzer.views.sockets import SockstatLines

    lines = SockstatLines(painted, width() if output is None else 160)
    said: list[pd.DataFrame] = []
    before = None
    with Output(output) as out:
        try:
            for reading in readings(interval or 1.0, count or (1 if interval is None else None)):
                if before is not None:
                    row = rows([(before, reading)])
                    if form == "table":
                        write_lines(lines.of(row), out)
                    elif form == "ndjson" or (form == "csv" and not said):
                        written.write("sockstat", row, form, out)
                    elif form == "csv":
                        out.write(row.to_csv(index=False, header=False).encode())
                    else:
                        said.append(row)
                    if form == "csv":
                        said = [row]
                    out.flush()
                before = reading
        except KeyboardInterrupt:
            if form == "table":
                click.echo("", err=True)
        if form == "table":
            write_lines(lines.average(), out)
        elif form in ("json", "parquet"):
            import pandas as pd

            whole = pd.concat(said, ignore_index=True) if said else rows([])
            written.write("sockstat", whole, form, out)


def _print_totals(form: str, output: str | None, color: bool) -> None:
    from analyzer.host.sockstat import counters
    from analyzer.views import rows
    from analyzer.views.sockets import counter_lines

    frame = counters()
    with Output(output) as out:
        if form == "table":
            write_lines(counter_lines(frame, color, width() if output is None else 160), out)
        else:
            rows.write("counters", frame, form, out)


def _port(word: str) -> int:
    """Return the port of ``:443``, ``443`` or ``:https``."""
    name = word.removeprefix(":")
    if name.isascii() and name.isdigit():
        if int(name) <= 65535:
            return int(name)
    else:
        try:
            return socket.getservbyname(name, "tcp")
        except OSError:
            pass
    raise click.BadParameter(f"{word}: neither a port (0 to 65535) nor a service's name", param_hint="PORT")


_OTHER_WORDS = {"SYN_RECV": "SYN_RCVD", "FIN_WAIT1": "FIN_WAIT_1", "FIN_WAIT2": "FIN_WAIT_2", "CLOSE": "CLOSED"}
"""As netstat, ss and lsof have them."""


def _states(words: tuple[str, ...]) -> list[str]:
    if not words:
        return []
    from analyzer.frames.vocabulary import STATES

    chosen = [_OTHER_WORDS.get(word, word) for word in (word.upper().replace("-", "_") for word in words)]
    unknown = [word for word in chosen if word not in STATES]
    if unknown:
        raise click.BadParameter(f"no such state: {', '.join(unknown)}. There are {', '.join(STATES)}")
    return chosen
