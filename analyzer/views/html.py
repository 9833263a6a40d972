"""HTML cards for notebooks: small, everything escaped, light and dark, no script."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analyzer.diagnosis.first_questions import Answers, socket_name
from analyzer.views.lines import ASSUMED
from analyzer.views.printable import printable
from analyzer.views.text import FLOWS_SHOWN, ROWS_SHOWN, amount, listened, seconds, since

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.frames.capture import Capture

STYLE = """<style>
.tcp-card{font:13px/1.45 system-ui,sans-serif;color:#1b1f24;background:#fff;border:1px solid #d0d7de;border-radius:8px;
padding:12px 16px;max-width:72em;overflow-x:auto}
.tcp-card h3{font-size:15px;margin:0 0 2px}.tcp-card h4{font-size:13px;margin:12px 0 4px}
.tcp-card p{margin:2px 0}.tcp-card .dim{color:#57606a}
.tcp-card table{border-collapse:collapse;margin:2px 0}
.tcp-card th,.tcp-card td{padding:2px 10px 2px 0;text-align:left;vertical-align:top;white-space:nowrap;border:0}
.tcp-card td.n{text-align:right;font-variant-numeric:tabular-nums}.tcp-card td.long{white-space:normal}
.tcp-card code{font:12px ui-monospace,monospace;background:none;color:inherit}
.tcp-card .error{color:#b42318;font-weight:600}.tcp-card .warning{color:#8a5300}.tcp-card .note{color:#57606a}
@media (prefers-color-scheme:dark){.tcp-card{color:#e6edf3;background:#0d1117;border-color:#30363d}
.tcp-card .dim,.tcp-card .note{color:#9198a1}.tcp-card .error{color:#ff8b80}.tcp-card .warning{color:#e3b341}}
</style>"""


def escaped(text: object) -> str:
    """Return other people's text as HTML that shows it and does nothing else."""
    return html.escape(printable(text), quote=True)


def card(answers: Answers, capture: Capture, flows: pd.DataFrame) -> str:
    """Draw the summary of an analysis."""
    files = ", ".join(capture.files[:3]) + (f" and {len(capture.files) - 3} more" if len(capture.files) > 3 else "")
    kinds = ", ".join(dict.fromkeys([*capture.formats, *capture.link_types]))
    head = (
        f"{answers.segments:,} TCP segments of {capture.records:,} records, {amount(answers.payload_bytes)} of payload"
    )
    head += f" in {seconds(answers.duration_s)}{since(capture)}"
    head += f"; {heard}" if (heard := listened(capture)) else ""
    parts = [f"<h3>{escaped(files or 'live')}</h3>", f'<p class="dim">{escaped(kinds)}</p>', f"<p>{escaped(head)}</p>"]
    parts += _section(f"{answers.connections:,} connection{'' if answers.connections == 1 else 's'}", _counts(answers))
    if 0 < len(flows) <= FLOWS_SHOWN:
        parts += _section("Connections", _flows(flows))
    waiting = [
        [
            f"{w.count:,}",
            w.state,
            f"{w.endpoint} of {w.service}",
            "at least " * w.at_least + seconds(w.longest_s),
            f"flow {w.flow}",
        ]
        for w in answers.waiting[:ROWS_SHOWN]
    ]
    parts += _section("Left in a state at the end", _table(["ends", "state", "of", "longest", "example"], waiting))
    troubles = [
        [t.severity, f"{t.count:,}", t.kind, "" if t.frame is None else f"frame {t.frame}", t.meaning]
        for t in answers.troubles[:ROWS_SHOWN]
    ]
    parts += _section("What went wrong", _table(["", "times", "what", "first", "meaning"], troubles))
    remarks = [[remark.severity, remark.text] for remark in answers.remarks[:ROWS_SHOWN]]
    parts += _section("About the capture", _table(["", ""], remarks))
    return _card(parts)


def flow_card(number: int, row: Any, packets: pd.DataFrame, anomalies: pd.DataFrame) -> str:
    """Draw one connection: its ends, its segments with both ends' states, what went wrong."""
    client = socket_name(row["client"], row["client_port"])
    server = socket_name(row["server"], row["server_port"])
    parts = [
        f"<h3>flow {number}: <code>{escaped(client)}</code> &rarr; <code>{escaped(server)}</code></h3>",
        f"<p>handshake {escaped(row['handshake'])}, close {escaped(row['close'])}</p>",
    ]
    shown = packets.head(200)
    start = row["start"]
    rows = [
        [
            str(frame),
            f"{(p.time - start).total_seconds():.6f}",
            "client →" if p.from_client else "← server",
            str(p.flags),
            str(p.seq),
            "" if str(p.ack) == "<NA>" else str(p.ack),
            str(p.length),
            str(p.client_state) + ("" if p.client_proven else ASSUMED),
            str(p.server_state) + ("" if p.server_proven else ASSUMED),
            str(p.step) if isinstance(p.step, str) else "",
        ]
        for frame, p in zip(shown.index, _tuples(shown), strict=True)
    ]
    heads = ["frame", "s", "", "flags", "seq", "ack", "length", "client", "server", "step"]
    parts += _section(f"{len(packets):,} segments", _table(heads, rows))
    if len(packets) > len(shown):
        parts.append(f'<p class="dim">{len(packets) - len(shown):,} more in .packets</p>')
    parts.append(f'<p class="dim">{ASSUMED} assumed: not yet proven by what that end itself sent</p>')
    wrong = [
        [
            str(a.severity),
            str(a.kind),
            "" if str(a.frame) == "<NA>" else f"frame {a.frame}",
            str(a.cause),
            str(a.evidence),
            str(a.detail),
        ]
        for a in _tuples(anomalies.head(ROWS_SHOWN))
    ]
    wrong = [[cell if cell != "nan" else "" for cell in cells] for cells in wrong]
    parts += _section("What went wrong", _table(["", "what", "where", "cause", "shown by", ""], wrong))
    return _card(parts)


def _tuples(frame: pd.DataFrame) -> Any:
    return frame.itertuples(index=False, name="Row")


def _card(parts: Sequence[str]) -> str:
    return STYLE + '<div class="tcp-card">' + "\n".join(parts) + "</div>"


def _section(title: str, body: str) -> list[str]:
    return [f"<h4>{escaped(title)}</h4>", body or '<p class="dim">nothing</p>']


def _counts(answers: Answers) -> str:
    rows = [
        [name, ", ".join(f"{count:,} {word}" for word, count in counts.items())]
        for name, counts in (
            ("handshake", answers.handshakes),
            ("close", answers.closes),
            ("closed by", answers.closed_by),
        )
        if counts
    ]
    return _table(["", ""], rows)


def _flows(flows: pd.DataFrame) -> str:
    rows = [
        [
            str(number),
            f"{socket_name(f.client, f.client_port)} → {socket_name(f.server, f.server_port)}",
            f"{f.client_bytes:,} + {f.server_bytes:,}",
            str(f.handshake),
            str(f.close),
            f"{f.client_state} / {f.server_state}",
        ]
        for number, f in zip(flows.index, _tuples(flows), strict=True)
    ]
    return _table(["flow", "client → server", "payload bytes", "handshake", "close", "last states"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escaped(cell)}</th>" for cell in heads) if any(heads) else ""
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return f"<table>{'<thead><tr>' + head + '</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _cell(cell: str) -> str:
    if cell in ("error", "warning", "note"):
        return f'<td class="{cell}">{cell}</td>'
    kind = "n" if cell.replace(",", "").replace(".", "").isdigit() else "long" if len(cell) > 60 else ""
    return f"<td{' class=' + chr(34) + kind + chr(34) if kind else ''}>{escaped(cell)}</td>"
