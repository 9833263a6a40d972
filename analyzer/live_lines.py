"""What a session brings, printed as it comes or on the full screen, and the summary in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError
from analyzer.live_options import say_counts
from analyzer.views.terminal import Output, width, write_lines

if TYPE_CHECKING:
    from typing import IO

    from analyzer.analysis import Analysis
    from analyzer.session import LiveSession


def watched(
    session: LiveSession,
    request: Any,
    chosen: Callable[[Any, Analysis], Analysis],
    count: int | None = None,
    *,
    quiet: bool = False,
    lossless: bool = True,
) -> Analysis:
    """Print segments as they come, and the summary in the end; returns what came.

    Parameters
    ----------
    session : LiveSession
        It is stopped in the end.
    request : Request
        What the command was asked: flow, format, output, colours.
    chosen : callable
        Returns the part of an analysis that a request is about.
    count : int, optional
        End after so many segments' lines; a session that sniffs is told itself when to end.
    quiet : bool
        Print the summary only.
    lossless : bool
        Whether each segment has its line, however late; else only the newest of those that came meanwhile.

    Raises
    ------
    AnalyzerError
        What ended the session; what came before was printed.
    """
    ended: AnalyzerError | None = None
    with session, Output(request.output) as out:
        try:
            if quiet:
                while not session.wait(0.2):
                    session.verdicts()
            else:
                _print(session, request, count, out, lossless=lossless)
        except AnalyzerError as error:
            ended = error
        session.finish()
        analysis = chosen(request, session.analysis())
        if request.form == "table" and (ended is None or session.records):
            write_lines(["", *analysis.summary(color=request.color, width=width()).split("\n")], out)
    if ended is not None:
        if session.records:
            say_counts(session)
        raise ended
    return analysis


def shown(session: LiveSession, request: Any, screen: Callable[..., None], where: str) -> Analysis:
    """Show a session on the full screen, and print the summary in the end; returns what came.

    Parameters
    ----------
    session : LiveSession
        It is stopped in the end.
    request : Request
        What the command was asked: colours.
    screen : callable
        ``live_options.show_screen``.
    where : str
        What is sniffed, in words.

    Raises
    ------
    AnalyzerError
        What ended the session; what came before is in the summary.
    """
    ended: AnalyzerError | None = None
    with session:
        try:
            screen(session, where, color=request.color)
        except AnalyzerError as error:
            ended = error
        session.finish()
        analysis = session.analysis()
        if ended is None or session.records:
            with Output(None) as out:
                write_lines(analysis.summary(color=request.color, width=width()).split("\n"), out)
    if ended is not None:
        if session.records:
            say_counts(session)
        raise ended
    return analysis


def _print(session: LiveSession, request: Any, count: int | None, out: IO[bytes], *, lossless: bool) -> None:
    from analyzer.views import lines, rows
    from analyzer.views.verdicts import verdict_lines

    writer = lines.PacketLines(color=request.color)
    news = session.news(most=None if lossless else lines.MOST)
    for segments, troubles in lines.selected(news, request.flow, count):
        if request.form == "ndjson":
            rows.write("packets", segments, request.form, out)
        else:
            write_lines(writer.of(segments, troubles), out)
            told = session.verdicts()
            write_lines(verdict_lines(told, color=request.color, not_captured=request.bpf is None), out)
        out.flush()
