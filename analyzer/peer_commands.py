"""The command that asks a peer: ``verify`` holds our verdicts against those of the tshark on this machine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from analyzer.views.terminal import FORMATS, Output, Progress, announce, chosen_format, talk, write_lines

if TYPE_CHECKING:
    from analyzer.peers.agreement import Agreement


@click.command()
@click.argument("capture", metavar="CAPTURE")
@click.option("--differences", is_flag=True, help="A row for each difference instead of one for each field.")
@click.option(
    "--show", type=click.IntRange(0), default=5, show_default=True, help="In the table: of each field so many."
)
@click.option(
    "--fail-under", type=click.FloatRange(0, 100), metavar="PERCENT", help="Exit 3 if a field agrees in fewer."
)
@click.option("--format", "form", type=click.Choice(FORMATS), help="table if nothing else is said.")
@click.option("-o", "--output", metavar="FILE", help="Write there; its suffix names the format.")
@click.pass_context
def verify(
    context: click.Context,
    capture: str,
    differences: bool,
    show: int,
    fail_under: float | None,
    form: str | None,
    output: str | None,
) -> None:
    """Hold our verdicts against the installed tshark's: field by field, and the frames that differ.

    tshark reads twice and goes by its defaults. A flag is counted where either of us sets it. Where Wireshark is known to
    be wrong we differ on purpose: docs/differences.md.
    """
    from analyzer.peers.agreement import agreement
    from analyzer.reading import read
    from analyzer.views import rows

    form = chosen_format(form, output)
    announce()
    with Progress() as progress:
        analysis = read(capture, copies="keep", progress=progress)
    found = agreement(capture, analysis.packets, analysis.flows)
    with Output(output) as out:
        if form == "table" and not differences:
            write_lines(_lines(found, show), out)
        else:
            rows.write("agreement", found.differences if differences else found.fields, form, out)
    for damage in analysis.capture.damage:
        talk(f"{damage}; what stands before it is compared")
    if fail_under is not None and (found.fields["percent"] < fail_under).any():
        context.exit(3)


def _lines(found: Agreement, show: int) -> Iterator[str]:
    """The fields that were met, then the first differences of each."""
    from analyzer.views import rows

    met = found.fields[found.fields["of"] > 0]
    absent = len(found.fields) - len(met)
    percent = met["percent"].map("{:.3f}".format)
    parts = [rows.table("agreement", met.assign(percent=percent))]
    if absent:
        parts.append(iter([f"({absent} fields that neither of us has here)"]))
    if len(found.differences) and show:
        shown = found.differences.groupby("field", sort=False).head(show)
        parts += [iter([""]), rows.table("differences", shown)]
        if len(shown) < len(found.differences):
            parts.append(iter([f"(and {len(found.differences) - len(shown)} more: --differences)"]))
    return itertools.chain(*parts)
