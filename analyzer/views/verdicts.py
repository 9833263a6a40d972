"""A line for a verdict on a socket of this host, between the lines of the segments.

``16:00:05.120000 10.0.0.2.80 < 10.0.0.1.51234 warning program-has-not-closed: kernel says CLOSE_WAIT: ... (flow 3, server)``
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyzer.views.lines import clock
from analyzer.views.printable import printable
from analyzer.views.text import paint

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

SHOWN = 50
"""Of the verdicts that one snapshot brings, so many have lines; the others are counted."""


def verdict_lines(rows: pd.DataFrame, *, color: bool = False, not_captured: bool = True) -> Iterator[str]:
    """Yield a line for each row of `live_sockets`.

    not_captured: whether connections are told of which the capture saw no packet; behind a capture filter that is no news.
    """
    if not not_captured:
        rows = rows[rows["flow"].notna() | rows["peer_port"].isna()]
    for row in rows.head(SHOWN).itertuples(index=False):
        yield _line(row, color)
    if len(rows) > SHOWN:
        yield f"... and {len(rows) - SHOWN:,} verdicts more"


def _line(row: Any, color: bool) -> str:
    time = clock(row.until.value)
    flow = "" if str(row.flow) == "<NA>" else f" (flow {row.flow}, {row.endpoint})"
    said = paint(f"{row.severity} {row.verdict}", str(row.severity), color)
    peer = "" if str(row.peer_port) == "<NA>" else f" < {row.peer_address}.{row.peer_port}"  # none where it listens
    return f"{time} {row.address}.{row.port}{peer} {said}: {printable(row.reason)}{flow}"
