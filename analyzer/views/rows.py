"""Frames as rows for people and programs: table, CSV, JSON, NDJSON, Parquet.

The machine formats carry every column, times as ISO 8601 in UTC with nanoseconds, "no value" as an empty cell or null.
The table carries the columns that a person asks for first, and fits a terminal.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from analyzer.views.printable import printable
from analyzer.views.text import align, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from analyzer.diagnosis.first_questions import Answers
    from analyzer.frames.capture import Capture

FORMATS = ("table", "csv", "json", "ndjson", "parquet")
_CHUNK = 50_000  #: rows that are text at one time

_TABLES: dict[str, tuple[str, ...]] = {
    "flows": (
        "flow", "start", "client", "client_port", "server", "server_port", "handshake", "close", "client_state",
        "server_state", "duration", "client_bytes", "server_bytes", "irtt",
    ),
    "anomalies": ("frame", "time", "flow", "endpoint", "severity", "kind", "related_frame", "cause", "evidence", "detail"),
}  # fmt: skip
_DURATIONS = frozenset({"duration", "irtt", "syn_rtt", "handshake_ack_rtt"})


def table(frame_name: str, frame: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of a frame's table: heads, then rows; widths are each thousand rows' own."""
    plain = frame.reset_index() if frame.index.name else frame
    wanted = _TABLES.get(frame_name, tuple(str(name) for name in plain.columns))
    plain = plain[list(wanted)]
    numbers = [i for i, name in enumerate(wanted) if plain[name].dtype.kind in "iuf"]
    for begin in range(0, max(1, len(plain)), 1000):
        part = plain.iloc[begin : begin + 1000]
        cells = [[_cell(name, value) for value in part[name]] for name in wanted]
        heads = [_head(name, plain[name].dtype.kind) for name in wanted]
        lines = align([heads, *map(list, zip(*cells, strict=True))], right=numbers)
        yield from lines if begin == 0 else lines[1:]


def _head(name: str, kind: str) -> str:
    if name.isupper():  # a state
        return name
    return name.removesuffix("_state").replace("_", " ") + (" (UTC)" if kind == "M" else "")


def _cell(name: str, value: Any) -> str:
    if str(value) in ("<NA>", "nan", "NaT"):
        return "-"
    if hasattr(value, "strftime"):
        return str(value.strftime("%Y-%m-%d %H:%M:%S.%f"))
    return seconds(value) if name in _DURATIONS else printable(value)


def write(frame_name: str, frame: pd.DataFrame, form: str, out: IO[bytes]) -> None:
    """Write all rows in one of ``FORMATS``; UTF-8."""
    if form == "parquet":
        _parquet(frame, out)
        return
    if form == "table":
        for line in table(frame_name, frame):
            out.write(line.encode() + b"\n")
        return
    opened = {"json": b"[", "csv": b"", "ndjson": b""}[form]
    out.write(opened)
    for begin in range(0, len(frame) or 1, _CHUNK):
        part = frame.iloc[begin : begin + _CHUNK]
        out.write(_text(part.reset_index() if frame.index.name else part, form, begin == 0).encode())
    if form == "json":
        out.write(b"\n]\n")


def _text(part: pd.DataFrame, form: str, first: bool) -> str:
    times = {str(name): _iso(part[name]) for name in part.columns if part[name].dtype.kind == "M"}
    lists = {str(name): part[name].astype(object) for name in part.columns if str(part[name].dtype).startswith("list<")}
    part = part.assign(**times, **lists)
    if form == "csv":
        return str(part.to_csv(index=False, header=first))
    lines = str(part.to_json(orient="records", lines=True, double_precision=15)) if len(part) else ""
    if form == "ndjson" or not lines:
        return lines
    return ("\n" if first else ",\n") + lines.rstrip("\n").replace("\n", ",\n")


def _iso(times: Any) -> Any:
    """ISO 8601 with nanoseconds; pandas' own writers stop at microseconds."""
    import numpy as np

    text = np.datetime_as_string(times.dt.tz_localize(None).to_numpy("datetime64[ns]"), unit="ns")
    filled = np.char.add(text, "Z").astype(object)
    filled[text == "NaT"] = None
    return filled


def _parquet(frame: pd.DataFrame, out: IO[bytes]) -> None:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=None if frame.index.name else False)
    described = json.loads(table.schema.metadata[b"pandas"])
    for column in described["columns"]:
        if str(column["numpy_type"]).startswith("list<"):
            column["numpy_type"] = "object"  # pandas writes its name of nested types, and cannot read it
    metadata = {**table.schema.metadata, b"pandas": json.dumps(described).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), out, compression="zstd")


def write_answers(
    answers: Answers, capture: Capture, local_addresses: tuple[str, ...], form: str, out: IO[bytes]
) -> None:
    """Write the answers to the first questions: JSON as one document, the others as rows."""
    import dataclasses
    import json

    if form != "json":
        write("answers", answers_frame(answers), form, out)
        return
    document = {
        **dataclasses.asdict(answers),
        "completed": answers.completed,
        "capture": {
            **capture.as_json(),
            **{
                name: None if time is None else time.isoformat()
                for name, time in (("first", capture.first), ("last", capture.last), ("ended", capture.ended))
            },
        },
        "local_addresses": list(local_addresses),
    }
    out.write(json.dumps(document, indent=1).encode() + b"\n")


def answers_frame(answers: Answers) -> pd.DataFrame:
    """Return the answers as rows: which question, what, how often, where to look."""
    import pandas as pd

    rows: list[dict[str, Any]] = [{"question": "connections", "item": "all", "count": answers.connections}]
    for question, counts in (
        ("handshake", answers.handshakes),
        ("close", answers.closes),
        ("closed by", answers.closed_by),
    ):
        rows += [{"question": question, "item": word, "count": count} for word, count in counts.items()]
    rows += [
        {
            "question": "waiting",
            "item": w.state,
            "count": w.count,
            "flow": w.flow,
            "text": f"{w.endpoint} of {w.service}",
        }
        for w in answers.waiting
    ]
    rows += [
        {"question": "trouble", "item": t.kind, "count": t.count, "flow": t.flow, "frame": t.frame, "text": t.meaning}
        for t in answers.troubles
    ]
    rows += [
        {"question": "socket", "item": s.verdict, "count": s.count, "flow": s.flow, "text": s.reason}
        for s in answers.sockets
    ]
    rows += [{"question": "capture", "item": r.severity, "text": r.text} for r in answers.remarks]
    columns = ["question", "item", "count", "flow", "frame", "text"]
    return pd.DataFrame(rows, columns=columns).astype({"count": "Int64", "flow": "Int64", "frame": "Int64"})
