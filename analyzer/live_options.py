"""What ``analyzer live`` can be told, in tcpdump's letters where they mean the same, and the session that it asks for."""

from __future__ import annotations

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
    click.option("--duration", "duration_s", type=click.FloatRange(0), metavar="SECONDS", help="Stop after so long."),
    click.option("-w", "--write", metavar="FILE", help="Write what comes to this file, too (pcapng)."),
    click.option("-C", "--rotate-size", "megabytes", type=click.FloatRange(0, min_open=True), metavar="MB",
                 help="With -w: begin FILE1, FILE2, ... when one has so many million bytes."),
    click.option("-G", "--rotate-time", "rotate_s", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
                 help="With -w: begin another file so often; FILE may have strftime's letters."),
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
    duration_s: float | None,
    write: str | None,
    megabytes: float | None,
    rotate_s: float | None,
    files: int | None,
    copies: Copies | None,
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
    from analyzer.session import live

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
        duration_s=duration_s,
        settings=Settings(copies=copies or "mark"),
    )
    talk(f"listening on {', '.join(names)}, Ctrl-C ends")
    return session


def say_counts(session: LiveSession) -> None:
    """Say what was received and what was lost, as tcpdump does in the end."""
    talk(f"{session.records:,} packets received, {session.drops or 0:,} dropped by the kernel")
