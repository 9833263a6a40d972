"""What all commands that read captures are asked alike: the captures, the filter, the options, and how the analysis ends."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from analyzer.capture.pipes import waits
from analyzer.command_words import split
from analyzer.errors import CaptureError
from analyzer.settings import Settings
from analyzer.views.terminal import FORMATS, Progress, announce, chosen_format, colored, ended_by_interrupt, talk

if TYPE_CHECKING:
    from analyzer.analysis import Analysis
    from analyzer.capture.records import Source
    from analyzer.session import LiveSession

COPIES = click.option("--copies", type=click.Choice(["mark", "keep", "drop"]), help="Packets seen again [mark].")


class Stop(Exception):  # noqa: N818  # no error: the way out of click with an exit code
    """The command has an exit code other than 0."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What all commands that read captures have in common."""

    captures: tuple[str, ...]
    bpf: str | None
    display_filter: str | None
    port: int | None
    flow: int | None
    form: str
    output: str | None
    color: bool
    strict: bool
    fail_on: tuple[str, ...]
    follow: bool = False
    copies: Any = None


def about_captures(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the captures, the filter and the options that all have; it gets them as one Request."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        words, after = given.pop("words"), click.get_current_context().obj
        of_this_host = command.__name__ == "states" and not words and not after
        captures, bpf = ((), None) if of_this_host else split(words, after, keep_patterns=given["follow"])
        output, wish = given.pop("output"), given.pop("form")
        wish = "json" if given.pop("as_json") else wish
        request = Request(
            captures=captures,
            bpf=bpf,
            port=given.pop("port"),
            display_filter=given.pop("display_filter"),
            flow=given.pop("flow"),
            form=chosen_format(wish, output),
            output=output,
            color=colored(given.pop("color"), output),
            strict=given.pop("strict"),
            fail_on=given.pop("fail_on"),
            follow=given.pop("follow"),
            copies=given.pop("copies"),
        )
        if request.follow and request.display_filter:
            raise click.UsageError("-Y asks tshark, which reads whole captures only: not with --follow")
        command(request, **given)

    forms = (*FORMATS, "tcpdump") if command.__name__ == "packets" else FORMATS
    options = (
        click.argument("words", nargs=-1, metavar="CAPTURE... [BPF...]"),
        click.option("--port", type=click.IntRange(0, 65535), help="Only connections with this port at either end."),
        click.option(
            "-Y", "--display-filter", metavar="FILTER", help="Only what this Wireshark filter selects (tshark)."
        ),
        click.option("--flow", type=click.IntRange(0), help="Only the connection of this number."),
        click.option(
            "--follow", is_flag=True, help="Go on as the capture grows or is rotated (-C, -G, -W); Ctrl-C ends."
        ),
        COPIES,
        click.option("--format", "form", type=click.Choice(forms), help="table if nothing else is said."),
        click.option("--json", "as_json", is_flag=True, help="The same as --format json."),
        click.option("-o", "--output", metavar="FILE", help="Write there; its suffix names the format."),
        click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True),
        click.option("--strict", is_flag=True, help="Exit 4 if the input could be read only in part."),
        click.option("--fail-on", callback=_kinds, metavar="KIND,...", help="Exit 3 if there are such anomalies."),
    )
    decorated: Callable[..., None] = wrapped
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def _kinds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    if not value:
        return ()
    from analyzer.frames.vocabulary import ANOMALY_KINDS

    kinds = tuple(kind.strip() for kind in value.split(",") if kind.strip())
    unknown = [kind for kind in kinds if kind not in ANOMALY_KINDS]
    if unknown:
        raise click.BadParameter(f"no such anomaly: {', '.join(unknown)}. There are {', '.join(ANOMALY_KINDS)}")
    return kinds


def analysed(request: Request) -> Analysis:
    """Read what is asked for, or follow it until it ends."""
    if request.follow:
        session = following(request)
        with ended_by_interrupt(session.finish), Progress() as progress:
            while not session.wait(0.2):
                if progress:
                    progress(None, session.records)
        return chosen_part(request, session.analysis())
    if (saved := _saved(request)) is not None:
        return chosen_part(request, saved)
    with stopped_by_interrupt(request) as stoppable, Progress() as progress:
        from analyzer.decode.text_source import open_source
        from analyzer.peers.wireshark import frames_matching
        from analyzer.reading import read_source

        announce()
        matching = frames_matching(request.captures, request.display_filter) if request.display_filter else None
        settings = Settings(copies=request.copies or "mark")
        source = stoppable(open_source(request.captures, bpf=request.bpf, settings=settings))
        analysis = read_source(source, settings=settings, matching=matching, port=request.port, progress=progress)
    return chosen_part(request, analysis)


@contextlib.contextmanager
def stopped_by_interrupt(request: Request) -> Iterator[Callable[[Source], Source]]:
    """Let Ctrl-C end a pipe or what is followed, with what came so far, as it ends tcpdump; a file it interrupts.

    Yields what the source is to be handed through once it is open.
    """
    opened: list[Source] = []
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        for source in opened:
            source.stop()

    def stoppable(source: Source) -> Source:
        opened.append(source)
        if stopped:
            source.stop()
        return source

    waiting = request.follow or any(map(waits, request.captures))
    with ended_by_interrupt(stop) if waiting else contextlib.nullcontext():
        try:
            yield stoppable
        except CaptureError as error:
            if stopped:  # before anything came
                raise KeyboardInterrupt from error
            raise


def _saved(request: Request) -> Analysis | None:
    """What an analysis or a session saved, where a folder of that is named: its frames as they are."""
    from analyzer.frames import store

    folder = request.captures[0]
    if len(request.captures) > 1 or not store.is_saved(folder):
        return None
    if request.bpf or request.display_filter or request.copies:
        raise click.UsageError(
            f"{folder}: saved frames are not analysed again: --port and --flow choose of them; no filter, -Y or --copies"
        )
    from analyzer.reading import load

    return load(folder).select(port=request.port)


def following(request: Request) -> LiveSession:
    """Begin to follow captures that grow."""
    from analyzer.start import follow

    announce()
    session = follow(
        request.captures, port=request.port, bpf=request.bpf, settings=Settings(copies=request.copies or "mark")
    )
    talk(f"following {', '.join(request.captures)}, Ctrl-C ends")
    return session


def chosen_part(request: Request, analysis: Analysis) -> Analysis:
    """The connection that is asked for, or all; says what could not be read."""
    if request.flow is not None:
        if request.flow not in analysis.flows.index:
            raise click.UsageError(f"no flow {request.flow} here: see analyzer flows")
        analysis = analysis.select(flow=request.flow)
    for damage in analysis.capture.damage:
        talk(f"{damage}; what stands before it is analysed")
    return analysis


def verdict(request: Request, analysis: Analysis) -> None:
    """End with the exit code that the switches ask for."""
    seen = set(analysis.anomalies["kind"].dropna().unique())
    if seen & set(request.fail_on):
        raise Stop(3)
    if request.strict and not analysis.capture.whole:
        raise Stop(4)
