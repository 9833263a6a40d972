"""The analyzer and its twin over the same capture, and where they differ."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

import analyzer
from analyzer.capture.files import open_capture
from tests.reference import rows
from tests.reference.record import Record
from tests.reference.replay import Replay

FRAMES = ("packets", "options", "flows", "transitions", "anomalies")


def records_of(path: str | os.PathLike[str]) -> tuple[list[Record], list[str | None], list[str]]:
    """The records of a capture, the names of its interfaces, its files. What reads them has a twin of its own."""
    source = open_capture(path)
    records = []
    try:
        for batch in source.batches():
            whole = batch.data.tobytes()
            columns = (
                batch.offset, batch.captured, batch.wire, batch.time_ns, batch.links[batch.interface], batch.frame,
                batch.interface, batch.file, batch.file_frame,
            )  # fmt: skip
            for begin, length, *rest in zip(*(column.tolist() for column in columns), strict=True):
                records.append(Record(whole[begin : begin + length], *rest))
    finally:
        source.close()
    return records, [interface.name for interface in source.info.interfaces], source.info.files


def replayed(records: list[Record], settings: analyzer.Settings | None = None) -> Replay:
    settings = settings or analyzer.Settings()
    replay = Replay(settings)
    for begin in range(0, len(records), settings.batch_records):
        replay.feed(records[begin : begin + settings.batch_records])
    replay.conclude()
    return replay


def differences(path: Path, settings: analyzer.Settings | None = None) -> list[str]:
    """Where ``analyzer.read`` of a capture and the twin differ."""
    records, interfaces, files = records_of(path)
    replay = replayed(records, settings)
    expected = rows.frames(replay, interfaces, files)
    analysis = analyzer.read(path, settings=settings)
    found: list[str] = []
    for name in FRAMES:
        found += _of_frame(name, getattr(analysis, name), expected[name])
    others = {
        "skipped": (analysis.capture.skipped, rows.skipped(replay)),
        "copies": (analysis.capture.copies, replay.copies),
        "quality": ({name: getattr(analysis.capture, name) for name in rows.quality(replay)}, rows.quality(replay)),
        "local_addresses": (analysis.local_addresses, rows.local_addresses(replay)),
    }
    return found + [f"{name}: {kernel}, twin {twin}" for name, (kernel, twin) in others.items() if kernel != twin]


def _of_frame(name: str, frame: pd.DataFrame, expected: list[rows.Row]) -> list[str]:
    if len(frame) != len(expected):
        return [f"{name}: {len(frame)} rows, twin {len(expected)}", *_first_of(name, frame, expected)]
    if not expected:
        return []
    frame = frame.reset_index() if frame.index.name else frame
    if set(frame.columns) != set(expected[0]):
        return [f"{name}: only one has {sorted(set(frame.columns) ^ set(expected[0]))}"]
    return _first_of(name, frame, expected)


def _first_of(name: str, frame: pd.DataFrame, expected: list[rows.Row]) -> list[str]:
    """The first difference of each column."""
    found = []
    for column in frame.columns:
        for number, (kernel, row) in enumerate(zip(plain(frame[column]), expected, strict=False)):
            twin = row.get(column)
            if kernel != twin or type(kernel) is not type(twin):
                found.append(f"{name}.{column}[{number}]: {kernel!r}, twin {twin!r}")
                break
    return found


def plain(column: pd.Series[Any]) -> list[Any]:
    """A column as plain Python values, None for NA, times in nanoseconds."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return column.astype("int64").tolist()
    if isinstance(column.dtype, pd.ArrowDtype):
        return column.array._pa_array.to_pylist()
    values = column.astype(object)
    return values.where(column.notna(), None).tolist()
