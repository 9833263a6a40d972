"""What ``analyzer live`` can be told, in tcpdump's letters where they mean the same, and the session that it asks for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from analyzer.settings import Copies, Settings
from analyzer.views.terminal import talk

if TYPE_CHECKING:
    from analyzer.session import LiveSession


def _list_interfaces(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from analyzer.capture.sniffer import ANY, interface_names

    for number, name in enumerate([*interface_names(), ANY], 1):
        click.echo(f"{number}.{name}")
    context.exit()


_OPTIONS = (
    click.option("-i", "--interface", "interfaces", multiple=True, default=("any",), show_default=True,
                 help="Where to listen; may be given several times."),
    click.option("-D", "--list-interfaces", is_flag=True, is_eager=True, expose_value=False, callback=_list_interfaces,
                 help="Print the interfaces that there are."),
    click.option("-s", "--snapshot-length", "snap_length", type=click.IntRange(0), default=0,
                 help="Keep so many bytes of each packet; 0 for all."),
    click.option("-c", "--count", type=click.IntRange(1), help="Stop after so many packets, as tcpdump does."),
    click.option("--duration", "duration_s", type=click.FloatRange(0), metavar="SECONDS", help="Stop after so long."),
    click.option("-w", "--write", metavar="FILE", help="Write what comes to this file, too (pcapng)."),
    click.option("-C", "--rotate-size", "megabytes", type=click.FloatRange(0, min_open=True), metavar="MB",
                 help="With -w: begin FILE1, FILE2, ... when one has so many million bytes."),
    click.option("-G", "--rotate-time", "rotate_s", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
                 help="With -w: begin another file so often; FILE may have strftime's letters."),
    click.option("--save", metavar="FOLDER",
                 help="Keep all frames there, as Parquet (analyzer.load): as memory lets go of them, the rest at the end."),
    click.option("-q", "--quiet", is_flag=True, help="No line a segment: only what the end shows."),
    click.option("--sockets", "snapshot_s", type=click.FloatRange(0), default=1.0, show_default=True, metavar="SECONDS",
                 help="Ask the kernel for this host's sockets so often, and lay them beside the packets; 0: not."),
    click.option("-W", "--files", type=click.IntRange(1), help="With -C or -G: keep so many files, the newest."),
)  # fmt: skip


def listening(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def open_session(
    *,
    interfaces: tuple[str, ...],
    port: int | None,
    bpf: str | None,
    snap_length: int,
    count: int | None,
    duration_s: float | None,
    write: str | None,
    megabytes: float | None,
    rotate_s: float | None,
    files: int | None,
    copies: Copies | None,
    snapshot_s: float,
    save: str | None,
) -> LiveSession:
    """Sniff as the options say.

    Raises
    ------
    click.UsageError
        Options that contradict each other.
    AnalyzerError
        As ``session.live`` does.
    """
    from analyzer.capture.writer import Target
    from analyzer.start import live

    if not write and (megabytes or rotate_s or files):
        raise click.UsageError("-C, -G and -W say how to write: name the file with -w")
    if files and not (megabytes or rotate_s):
        raise click.UsageError("-W keeps the newest of several files: say with -C or -G when to begin another")
    target = Target(write, int(megabytes * 1e6) if megabytes else None, rotate_s, files) if write else None
    names = list(dict.fromkeys(interfaces))
    session = live(
        names if len(names) > 1 else names[0],
        port=port,
        bpf=bpf,
        write=target,
        snap_length=snap_length,
        count=count,
        duration_s=duration_s,
        save=save,
        tell=talk,
        settings=Settings(copies=copies or "mark", snapshot_s=snapshot_s),
    )
    session.ready.wait()
    talk(f"listening on {', '.join(names)}, Ctrl-C ends")
    return session


def say_counts(session: LiveSession) -> None:
    """Say what was received and what was lost, as tcpdump does in the end."""
    talk(f"{session.records:,} packets received, {session.drops or 0:,} dropped by the kernel")
    for what, count in session.let_go.items():
        talk(f"{count:,} {what} are not in memory any more (Settings.live_packets, live_flows)")
    if session.passed_over:
        talk(f"{session.passed_over:,} segments have no line: they came faster than lines are printed")
    if session.remark and (os.geteuid() != 0 or not session.counts.snapshots):
        talk(session.remark)


def where_words(interfaces: tuple[str, ...], port: int | None, bpf: str | None) -> str:
    """Say in a few words what is sniffed."""
    return " ".join(
        [",".join(dict.fromkeys(interfaces)), *([f":{port}"] if port is not None else []), bpf or ""]
    ).strip()


def live_screen() -> Callable[..., None] | None:
    """Return what shows a session on the full screen; None where lines are all that can be shown.

    Textual draws on stderr: where that goes to a file, the screen would.
    """
    streams = (sys.stdin, sys.stdout, sys.stderr)
    if not all(stream.isatty() for stream in streams) or os.environ.get("TERM") == "dumb":
        return None
    try:
        import textual  # noqa: F401
    except ImportError:
        talk("the live screen needs Textual: pip install 'tcp-handshake-analyzer[screen]'; here are lines instead")
        return None
    return show_screen


def show_screen(session: LiveSession, where: str, *, color: bool) -> None:
    """Show a session until somebody quits, or it ends.

    Raises
    ------
    AnalyzerError
        What ended the session, if anything did.
    """
    from analyzer import kernel
    from analyzer.host.addresses import own_addresses
    from analyzer.views.board import Board
    from analyzer.views.screen import LiveScreen

    waiting = "" if kernel.is_warm() else " compiling, once: about half a minute "
    if not color:
        os.environ["NO_COLOR"] = "1"  # Textual's way to be told; it takes it out again
    LiveScreen(session, Board(own_addresses()), where, waiting=waiting).run()
    if not session.running:
        session.wait()
