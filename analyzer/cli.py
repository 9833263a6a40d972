"""The command ``analyzer``: parse, call, print.

stdout is data, stderr is talk. Exit codes: 0 analysed (also with warnings), 1 run-time error, 2 usage (a filter that
does not compile included), 3 ``--fail-on`` matched, 4 ``--strict`` and the input was readable only in part; 130 when
interrupted. Nothing heavy is imported before a command runs: ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from analyzer import __version__
from analyzer.errors import AnalyzerError, FilterError
from analyzer.host_commands import print_states, sockets, sockstat
from analyzer.live_lines import shown, watched
from analyzer.live_options import listening, live_screen, open_session, say_counts, where_words
from analyzer.peer_commands import verify
from analyzer.request import (
    COPIES,
    Request,
    Stop,
    about_captures,
    analysed,
    chosen_part,
    following,
    stopped_by_interrupt,
    verdict,
)
from analyzer.views.terminal import (
    Output,
    announce,
    colored,
    ended_by_interrupt,
    forget_lost_terminal,
    talk,
    width,
    write_lines,
)

if TYPE_CHECKING:
    import pandas as pd


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    after: list[str] | None = None
    if "--" in words:  # behind it everything is the filter; click would swallow the mark
        cut = words.index("--")
        words, after = words[:cut], words[cut + 1 :]
    try:
        said = commands.main(args=words, prog_name="analyzer", standalone_mode=False, obj=after)
    except Stop as stop:
        return stop.code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except FilterError as error:
        return talk(error, 2)
    except AnalyzerError as error:
        return talk(error, 1)
    except (KeyboardInterrupt, click.Abort):
        return talk("interrupted", 130)
    except MemoryError:
        return talk("not enough memory for this capture: filter it (a BPF behind it), or cut it (editcap -c)", 1)
    except OSError as error:
        return talk(error, 1)
    except Exception as error:  # a user has no use for a traceback; python -X dev -m analyzer shows it
        if sys.flags.dev_mode:
            raise
        return talk(f"internal error: {type(error).__name__}: {error} ({_place(error)}): please report it", 1)
    return said if isinstance(said, int) else 0  # what a command has said to its context's exit


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"


# ---------------------------------------------------------------------------------------------------- read and print


def _print(request: Request, name: str, frame: pd.DataFrame) -> None:
    from analyzer.views import rows

    with Output(request.output) as out:
        rows.write(name, frame, request.form, out)


def _tcpdump_lines(request: Request) -> Iterator[str]:
    """Yield the records' lines in tcpdump's words; only the number of a flow needs an analysis."""
    from analyzer.decode.text_source import open_source
    from analyzer.peers import tcpdump

    chosen = request.flow is not None or request.display_filter is not None
    if chosen and request.follow:
        raise click.UsageError("--flow numbers come from an analysis of the whole: not with --follow and this format")
    if request.flow is not None and "-" in request.captures:
        raise click.UsageError(
            "--flow and this format read the capture twice, and a pipe can be read once: name a file"
        )
    frames = set(analysed(request).packets.index.tolist()) if chosen else None
    with stopped_by_interrupt(request) as stoppable:
        source = stoppable(open_source(request.captures, bpf=request.bpf, follow=request.follow))
        with contextlib.closing(source):
            yield from tcpdump.lines(source, port=request.port, frames=frames)
    for damage in source.info.damage:
        talk(f"{damage}; what stands before it is printed")
    if request.strict and source.info.damage:
        raise Stop(4)


def _print_lines(request: Request, lines: Iterator[str]) -> None:
    with Output(request.output) as out:
        write_lines(lines, out, flush=request.follow)


# ------------------------------------------------------------------------------------------------------ the commands


class Commands(click.Group):
    """A group for which a reader that has had enough (``| head``), or a lost terminal, is no error; click's own exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what is still buffered for who has left goes nowhere."""
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Stop(0) from None
        except OSError:
            if forget_lost_terminal():
                raise Stop(0) from None
            raise
        return done


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="analyzer")
def commands() -> None:
    """Read packet captures; say in which TCP state both ends of every connection are, and how that is known.

    CAPTURE is a pcap, pcapng or snoop file, plain or in gzip, zstd, xz or lz4; a folder of them, or a pattern; text that
    tcpdump printed; - for a pipe (tcpdump -w - | analyzer read -); or a folder that --save made. Several captures are read
    as one. What follows them is a capture filter in tcpdump's language; -- separates the two where a file has the name of
    a filter's word.

    Exit codes: 0 analysed, 1 run-time error, 2 usage, 3 --fail-on matched, 4 --strict and the input was damaged.
    """


@commands.command()
@about_captures
@click.option(
    "--save", metavar="FOLDER", help="Keep all frames there, as Parquet: a CAPTURE for later (analyzer.load)."
)
def read(request: Request, save: str | None) -> None:
    """Answer the first questions about captures, on one screen."""
    analysis = analysed(request)
    if request.form == "table":
        text = analysis.summary(color=request.color, width=width())
        _print_lines(request, iter(text.split("\n")))
    else:
        from analyzer.views import rows

        with Output(request.output) as out:
            rows.write_answers(analysis.answers(), analysis.capture, analysis.local_addresses, request.form, out)
    if save:
        analysis.save(save)
    verdict(request, analysis)


@commands.command()
@about_captures
@click.option("-c", "--count", type=click.IntRange(1), help="Only so many.")
def packets(request: Request, count: int | None) -> None:
    """Print one line a segment, as tcpdump does, with both ends' states; ~ marks a state that is assumed.

    --format tcpdump prints what tcpdump -nn -tt -r prints for TCP, up to the length, and no states. With --follow table,
    ndjson and tcpdump come as the segments do, the other formats when Ctrl-C ends it.
    """
    if request.form == "tcpdump":
        if request.fail_on:
            raise click.UsageError("--fail-on goes by the anomalies, which this format does not look for")
        _print_lines(request, itertools.islice(_tcpdump_lines(request), count))
        return
    if request.follow and request.form in ("table", "ndjson"):
        session = following(request)
        with ended_by_interrupt(session.finish):
            verdict(request, watched(session, request, chosen_part, count))
        return
    analysis = analysed(request)
    chosen = analysis.packets if count is None else analysis.packets.head(count)
    if request.form == "table":
        from analyzer.views.lines import PacketLines

        writer = PacketLines(color=request.color, several_flows=len(analysis.flows) > 1)
        _print_lines(request, writer.of(chosen, analysis.anomalies))
    else:
        _print(request, "packets", chosen)
    verdict(request, analysis)


@commands.command()
@about_captures
def flows(request: Request) -> None:
    """Print one row a connection: its ends, how it opened, how it closed, the last states."""
    analysis = analysed(request)
    _print(request, "flows", analysis.flows)
    verdict(request, analysis)


@commands.command()
@about_captures
@click.option("--at", metavar="TIME", help="At this time only: +12.5 (seconds from the start) or ISO 8601.")
@click.option("--every", metavar="STEP", help="A row every 100ms, 1s, 5min ... By default what fits a screen.")
@click.option("--host", multiple=True, help="An address whose sockets to count, or local. By default the local ones.")
def states(request: Request, at: str | None, every: str | None, host: tuple[str, ...]) -> None:
    """Count sockets per state over time, as netstat -nat would have shown them.

    Without a capture: this host's sockets, now.
    """
    from analyzer.views import moments

    if not request.captures:
        if any((at, every, host, request.display_filter, request.flow is not None, request.follow, request.fail_on)):
            raise click.UsageError("that is a question to a capture: name one")
        print_states(request.port, request.form, request.output)
        return
    try:
        moment = moments.parsed(at) if at else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from error
    analysis = analysed(request)
    hosts: Any = None if not host else "local" if host == ("local",) else list(host)
    unseen: list[str] = []
    try:
        if hosts and hosts != "local":
            from analyzer.frames.addresses import absent

            unseen = absent(hosts, analysis.flows)
            for address in unseen:
                talk(f"{address}: this address has no sockets in the capture; analyzer flows shows which have")
        if moment is not None:
            asked = moments.when(moment, analysis.capture.first)
            if said := moments.outside(asked, analysis.capture.first, analysis.capture.end):
                talk(said)
            counts = analysis.states_at(asked, hosts)
            table = counts[counts > 0].rename_axis("state").to_frame()
        else:
            table = analysis.state_counts(every or moments.step(analysis.capture.first, analysis.capture.end), hosts)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if request.form == "table" and moment is None:
        table = table.loc[:, table.any()]
    if request.form == "table" and table.empty:  # there would be heads, or times, and no figures
        if not unseen:
            talk("no socket is in any state here" + (" then" if moment is not None else ""))
    else:
        _print(request, "state_counts", table)
    verdict(request, analysis)


@commands.command()
@about_captures
def anomalies(request: Request) -> None:
    """Print one row for each thing that went wrong."""
    analysis = analysed(request)
    _print(request, "anomalies", analysis.anomalies)
    verdict(request, analysis)


@commands.command()
@listening
@click.option("--port", type=click.IntRange(0, 65535), help="Only connections with this port at either end.")
@COPIES
@click.option("--strict", is_flag=True, help="Exit 4 if one of several interfaces has gone away.")
@click.option(
    "--plain",
    is_flag=True,
    help="A line a segment; where stdin, stdout or stderr is no terminal, or without Textual, so anyway.",
)
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
@click.argument("words", nargs=-1, metavar="[BPF...]")
@click.pass_obj
def live(after: list[str] | None, /, words: tuple[str, ...], color: str, strict: bool, **asked: Any) -> None:
    """Sniff and show connections as they are now, like top: both ends' states, the kernel's sockets, what goes wrong.

    --plain prints a line a segment instead, as tcpdump does. Ctrl-C (or q) ends with the summary.
    """
    announce()
    plain, quiet = asked.pop("plain"), asked.pop("quiet")
    screen = None if plain or quiet else live_screen()
    bpf = " ".join([*words, *(after or ())]) or None
    session = open_session(bpf=bpf, **asked)
    request = Request((), bpf, None, None, None, "table", None, colored(color, None), strict=strict, fail_on=())
    with ended_by_interrupt(session.finish):
        try:
            if screen is None:
                lossless = asked["count"] is not None
                analysis = watched(session, request, chosen_part, quiet=quiet, lossless=lossless)
            else:
                analysis = shown(session, request, screen, where_words(asked["interfaces"], asked["port"], bpf))
        finally:  # whatever ended it: what came is kept
            if asked["save"]:
                talk(f"all frames are in {session.save()}")
    say_counts(session)
    verdict(request, analysis)


commands.add_command(sockets)
commands.add_command(sockstat)
commands.add_command(verify)
