"""The report as Markdown: goals first, then every series, then how it was measured."""

from __future__ import annotations

import datetime as dt
import resource
from typing import TYPE_CHECKING

import tools
from measure import machine

if TYPE_CHECKING:
    from goals import Goal, Key
    from measure import Series

MANNER = """\
Whole processes from start to end, output to the null device, captures in the page cache, kernels compiled before; \
medians of the runs, in alternating order; CPU is user and system time; the peak is that of the largest one process."""

COMMANDS = """\
analyzer: `analyzer.read(FILE)` and all five frames built. tcptrace: `-n FILE`. nfstream: `n_dissections=0, \
statistical_analysis=True`, all flows, its own number of workers. tshark: `-n -r FILE -T fields`"""


def report(series: dict[Key, Series], goals: list[Goal], notes: list[str], date: str) -> str:
    """Write the tables of one run."""
    there = {key: one for key, one in series.items() if one.runs}
    parts = [_goals(there, goals)] if goals else []
    parts += [_series(there), *_bytes(there), _conditions(there, notes, date)]
    return "\n\n".join(parts) + "\n"


def _rows(head: list[str], rows: list[list[str]]) -> str:
    """Lay out a Markdown table whose columns also line up as plain text; the first two columns are words."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    rule = ["-" * width if i < 2 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [head, rule, *rows]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    )


def _goals(series: dict[Key, Series], goals: list[Goal]) -> str:
    rows = []
    for goal in goals:
        earlier = any(series[key].earlier for key in goal.needs if key in series)
        rows.append([goal.text, goal.verdict(series), goal.shown(series) + (" *" if earlier else ""), goal.wanted()])
    return _rows(["goal", "verdict", "measured", "wanted"], rows)


def _series(series: dict[Key, Series]) -> str:
    head = ["process", "capture", "packets", "runs", "wall s", "from - to", "cpu s", "packets/s", "peak MB"]
    rows = []
    for (tool, capture), one in sorted(series.items(), key=lambda item: (item[0][1], item[1].wall_s)):
        if tool == "analyzer, bytes held":
            continue
        reads = capture != "ten"
        wall = sorted(run.wall_s for run in one.runs)
        rows.append(
            [
                tool + (" *" if one.earlier else ""),
                capture if "--help" not in tool and "import" not in tool else "",
                f"{one.packets:,}" if reads else "",
                str(len(wall)),
                f"{one.wall_s:.2f}",
                f"{wall[0]:.2f} - {wall[-1]:.2f}" if len(wall) > 1 else "",
                f"{one.cpu_s:.2f}",
                f"{one.rate:,.0f}" if reads else "",
                f"{one.peak_bytes / 1e6:,.0f}",
            ]
        )
    return _rows(head, rows)


def _bytes(series: dict[Key, Series]) -> list[str]:
    lines = []
    for (tool, capture), one in series.items():
        if tool == "analyzer, bytes held":
            held, pandas = one.said["bytes_a_packet"], one.said["bytes_a_packet_pandas"]
            lines.append(
                f"`packets` with `options` on {capture}: {held:.1f} bytes a packet held (each buffer once, the part "
                f"viewed); `memory_usage(index=True, deep=True)` says {pandas:.1f}."
            )
    return ["\n".join(f"- {line}" for line in lines)] if lines else []


def _conditions(series: dict[Key, Series], notes: list[str], date: str) -> str:
    here = machine()
    versions = ", ".join(f"{name} {version}" for name, version in tools.versions().items())
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    where = f"{here['cores']} cores ({here['processor']}), {here['memory']}, Linux {here['kernel']}"
    lines = [
        f"Measured {date[:10]} on {where}, Python {here['python']}; {versions}.",
        f"{MANNER} Peaks of up to {floor / 1000:.0f} MB are the benchmark's own, which a child inherits.",
        f"{COMMANDS} with {', '.join(tools.TSHARK_FIELDS)}.",
    ]
    once = sorted({tool for (tool, _), one in series.items() if tool in tools.PEERS and one.wall_s > 60})
    if once:
        lines.append(f"Runs of over 60 s were made once ({', '.join(once)}).")
    dates = sorted({one.earlier for one in series.values() if one.earlier})
    if dates:
        when = " and ".join(dt.datetime.fromisoformat(one).strftime("%Y-%m-%d %H:%M UTC") for one in dates)
        lines.append(f"\\* from an earlier run on the same machine and the same captures ({when}).")
    return "\n".join(f"- {line}" for line in [*lines, *notes])
