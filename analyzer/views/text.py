"""Text for terminals and logs: aligned columns, colours where asked for, nothing that a capture could smuggle in.

Names in captures (interfaces, files) are other people's data: they go through ``printable``.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from analyzer.diagnosis.first_questions import Answers, socket_name
from analyzer.views.printable import printable

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.frames.capture import Capture

STYLES = {"title": "1", "error": "1;31", "warning": "33", "note": "2", "state": "36", "good": "32"}
FLOWS_SHOWN = 8
"""Up to so many connections the summary lists each."""

ROWS_SHOWN = 10
"""Rows of one answer before the rest is only counted."""


_LEAST_BROKEN = 28
"""Columns that a cell must have to be broken within them."""


def paint(text: str, style: str, color: bool) -> str:
    """Colour a text (ANSI), or leave it."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if color and text and style in STYLES else text


def align(rows: Iterable[Sequence[str]], *, right: Sequence[int] = (), gap: str = "  ", indent: str = "") -> list[str]:
    """Set rows of cells in columns; those of ``right`` flush right, no blanks at the ends of lines."""
    table = [list(row) for row in rows]
    if not table:
        return []
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + gap.join(cells)).rstrip())
    return lines


def seconds(value: float) -> str:
    """Write a duration with three figures or so and its unit."""
    if math.isnan(value):
        return "-"
    for limit, factor, unit, digits in ((1e-3, 1e6, "us", 0), (1.0, 1e3, "ms", 1), (120.0, 1.0, "s", 1)):
        if abs(value) < limit:
            return f"{value * factor:.{digits}f} {unit}"
    if value < 7200:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{value / 3600:.1f} h"


def amount(octets: int) -> str:
    """Write a number of octets for people."""
    if octets < 10_000:
        return f"{octets:,} bytes"
    size = float(octets)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.95 or unit == "TB":
            break
    return f"{size:.1f} {unit}"


def summary(answers: Answers, capture: Capture, flows: pd.DataFrame, *, color: bool = False, width: int = 100) -> str:
    """Write the answers to the first questions, for one screen.

    Parameters
    ----------
    answers : Answers
        Of ``diagnosis.first_questions``.
    capture : Capture
        What was read.
    flows : DataFrame
        The frame; listed where it is short.
    color : bool
        Whether to colour for a terminal.
    width : int
        Columns; longer lines are broken.
    """
    sections = [
        _head(answers, capture),
        _connections(answers),
        _listed(flows) if 0 < len(flows) <= FLOWS_SHOWN else [],
        _waiting(answers),
        _troubles(answers),
        _sockets(answers),
        _remarks(answers),
    ]
    lines: list[str] = []
    for section in sections:
        if not section:
            continue
        if lines:
            lines.append("")
        title, *rest = section
        lines += [paint(line, "title", color) for line in folded(printable(title), width)]
        for line in rest:
            first, *others = folded(printable(line), width)
            lines += [_coloured(first, color), *others]
    return "\n".join(lines)


def folded(line: str, width: int) -> list[str]:
    """Break a line that is too long: within its last cell, under itself; where that has no room, before it."""
    if len(line) <= width:
        return [line]
    begin = len(line) - len(line.lstrip())
    cells = line[begin:].rstrip().rpartition("  ")  # they are two blanks apart
    under = len(line.rstrip()) - len(cells[2])
    if cells[0] and under > width - _LEAST_BROKEN:
        return folded(" " * begin + cells[0].rstrip(), width) + folded(" " * (begin + 4) + cells[2], width)
    indent = under if cells[0] else begin + 2
    return textwrap.wrap(line, width, subsequent_indent=" " * indent, break_on_hyphens=False)


def _coloured(line: str, color: bool) -> str:
    words = line.split(maxsplit=1)
    if color and words and words[0] in ("error", "warning", "note"):
        return line.replace(words[0], paint(words[0], words[0], True), 1)
    return line


def _head(answers: Answers, capture: Capture) -> list[str]:
    files = capture.files
    title = files[0] if len(files) == 1 else f"{len(files)} files: {files[0]} ... {files[-1]}" if files else "live"
    kinds = ", ".join(dict.fromkeys([*capture.formats, *capture.link_types]))
    lines = [title + (f" ({kinds})" if kinds else "")]
    said = f"  {answers.segments:,} TCP segments of {capture.records:,} records"
    if answers.segments or capture.listened_s is None:
        said += f", {amount(answers.payload_bytes)} of payload in {seconds(answers.duration_s)}{since(capture)}"
    lines.append(said)
    if heard := listened(capture):
        lines.append(f"  {heard}")
    if capture.bpf:  # live, the kernel leaves them out and does not count them
        left_out = "" if "live" in capture.formats else f" ({capture.filtered_out:,} records left out)"
        lines.append(f"  capture filter: {capture.bpf}{left_out}")
    return lines


def listened(capture: Capture) -> str:
    """Say how long a session listened, that nothing came can be told from nobody having waited; empty where nobody knows."""
    if capture.listened_s is None:
        return ""
    return f"listened for {seconds(capture.listened_s)}, from {capture.began:%Y-%m-%d %H:%M:%S} UTC"


def since(capture: Capture) -> str:
    """Say when it begins, as the end of a sentence; of printed text without a date only the time of day."""
    if capture.first is None:
        return ""
    if capture.printed and capture.first.year == 1970:  # from where times without a date are counted
        return f", from {capture.first:%H:%M:%S}, the day unknown"
    return f", from {capture.first:%Y-%m-%d %H:%M:%S} UTC"


def _connections(answers: Answers) -> list[str]:
    total = answers.connections
    if not total:
        return ["No TCP connections"]
    lines = [f"{total:,} connection" + ("" if total == 1 else "s")]
    lines.append(f"  handshake completed by {answers.completed:,} of {total:,}" + _share(answers.completed, total))
    lines.append("  handshake  " + _listing(answers.handshakes))
    lines.append("  close      " + _listing(answers.closes))
    if answers.closed_by:
        lines.append("  closed by  " + _listing(answers.closed_by))
    return lines


def _share(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.1f} %)" if whole > 1 else ""


def _listing(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {word}" for word, count in counts.items())


def _listed(flows: pd.DataFrame) -> list[str]:
    rows: list[list[str]] = []
    for number, flow in zip(flows.index, flows.itertuples(index=False), strict=True):
        row: Any = flow
        rows.append(
            [
                f"flow {number}",
                f"{socket_name(row.client, row.client_port)} > {socket_name(row.server, row.server_port)}",
                f"{row.client_bytes:,}+{row.server_bytes:,} bytes",
                str(row.handshake),
                str(row.close),
                f"{row.client_state} / {row.server_state}",
            ]
        )
    heads = ["", "client > server", "payload", "handshake", "close", "last states"]
    return ["Connections", *align([heads, *rows], indent="  ")]


def _waiting(answers: Answers) -> list[str]:
    if not answers.waiting:
        return ["Left in a state at the end of the capture", "  nobody"] if answers.connections else []
    rows = [
        [
            f"{w.count:,}",
            w.state,
            f"{w.endpoint} of {w.service}",
            f"{'longest ' if w.count > 1 else ''}{'at least ' * w.at_least}{seconds(w.longest_s)}",
            f"flow {w.flow}",
        ]
        for w in answers.waiting[:ROWS_SHOWN]
    ]
    lines = ["Left in a state at the end of the capture", *align(rows, right=(0,), indent="  ")]
    return lines + _rest(len(answers.waiting), "more groups: analyzer flows")


def _troubles(answers: Answers) -> list[str]:
    if not answers.troubles:
        return ["What went wrong", "  nothing that the packets show"] if answers.connections else []
    rows = [
        [
            t.severity,
            f"{t.count:,}",
            t.kind,
            f"in {t.flows:,} connection" + ("" if t.flows == 1 else "s"),
            f"frame {t.frame}" if t.frame is not None else "",
            t.meaning,
        ]
        for t in answers.troubles[:ROWS_SHOWN]
    ]
    lines = ["What went wrong", *align(rows, right=(1,), indent="  ")]
    return lines + _rest(len(answers.troubles), "more kinds: analyzer anomalies")


def _sockets(answers: Answers) -> list[str]:
    if not answers.sockets:
        return []
    rows = [
        [
            s.severity,
            f"{s.count:,}",
            s.verdict,
            s.process or "",
            f"{s.still:,} still" if s.still else "over",
            f"{'longest ' if s.count > 1 else ''}{'at least ' * s.at_least}{seconds(s.longest_s)}",
            s.reason,
        ]
        for s in answers.sockets[:ROWS_SHOWN]
    ]
    lines = ["Sockets of this host, beside the packets", *align(rows, right=(1,), indent="  ")]
    return lines + _rest(len(answers.sockets), "more: Analysis.sockets")


def _remarks(answers: Answers) -> list[str]:
    if not answers.remarks:
        return ["About the capture", "  whole, nothing missing, nothing skipped"]
    rows = [[remark.severity, remark.text] for remark in answers.remarks[:ROWS_SHOWN]]
    lines = ["About the capture", *align(rows, indent="  ")]
    return lines + _rest(len(answers.remarks), "more remarks")


def _rest(total: int, what: str) -> list[str]:
    return [f"  ... {total - ROWS_SHOWN} {what}"] if total > ROWS_SHOWN else []
