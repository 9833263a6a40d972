"""A saved analysis: Parquet, one folder a frame, and ``capture.json``.

Everything comes back as it was: values, dtypes, the order of categories (also of those that no row has), the index.
Other tools read the same files: categoricals are written as dictionaries of text, nothing is pickled. What Parquet
cannot say stands beside the data: ``_categories-0.parquet`` in each frame's folder (names that begin with ``_`` are no
part of a dataset) and the index's kind in ``capture.json``, which is written last: a folder without it is not whole.
A session that saves while it runs (``archive.py``) writes each frame in several parts.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
from typing import TYPE_CHECKING, Any

from analyzer.errors import StoreError
from analyzer.frames import schema
from analyzer.frames.capture import Capture
from analyzer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from analyzer.frames.declared import Column

FORMAT = "tcp-handshake-analyzer"
VERSION = 3
STORED = ("packets", "options", "flows", "transitions", "anomalies", "findings", "live_sockets")
_INDEX = "__index__"
_SAID_AT_THE_END = ("syn-unanswered", "one-direction")  # tracker.outcome
_ROWS = 1 << 20  #: of one row group


@dataclasses.dataclass(frozen=True, slots=True)
class Saved:
    """What ``load`` finds."""

    frames: dict[str, pd.DataFrame]
    capture: Capture
    local_addresses: tuple[str, ...]
    settings: Settings


def save(
    folder: str | os.PathLike[str],
    frames: dict[str, pd.DataFrame],
    capture: Capture,
    local_addresses: Iterable[str],
    settings: Settings,
) -> pathlib.Path:
    """Write the frames; an earlier analysis in the same folder is replaced.

    Raises
    ------
    StoreError
        If the folder holds something else, or cannot be written.
    """
    target = pathlib.Path(folder)
    try:
        _clear(target)
        target.mkdir(parents=True, exist_ok=True)
        index = {name: _write(target / name, frames[name]) for name in STORED}
        _describe(target, capture, local_addresses, settings, index)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target


def check_unused(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Refuse a folder in which anything is: a session's parts come over hours, and would mix with it or replace it.

    Raises
    ------
    StoreError
        If something is there, an earlier analysis too.
    """
    target = pathlib.Path(folder)
    try:
        found = _found(target)
        if "capture.json" in found:
            raise StoreError(f"{target}: holds a saved analysis already; name a new folder, or remove that one first")
        if found and _foreign(target) is None:
            raise StoreError(
                f"{target}: holds what a session saved that was cut off ({found[0]}); name a new folder, or remove that first"
            )
        if found:
            raise StoreError(f"{target}: holds other things ({_foreign(target)}); name a new folder")
    except OSError as error:
        raise StoreError(f"{target}: cannot be read: {error.strerror or error}") from error
    return target


def begin(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Make a new folder, or an empty one, ready for parts.

    Raises
    ------
    StoreError
        If something is in it, or it cannot be written.
    """
    target = check_unused(folder)
    try:
        for name in STORED:
            (target / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target


def add_part(target: pathlib.Path, frames: dict[str, pd.DataFrame], part: int) -> None:
    """Write some rows of each frame.

    Raises
    ------
    StoreError
        If they cannot be written.
    """
    try:
        for name in STORED:
            _write(target / name, frames[name], part)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error


def finish(
    target: pathlib.Path, parts: int, capture: Capture, local_addresses: Iterable[str], settings: Settings
) -> None:
    """Say that all parts are there: from now on ``load`` reads them.

    Raises
    ------
    StoreError
        If that cannot be written.
    """
    index: dict[str, Any] = {name: {"name": schema.SCHEMAS[name].index.name or None, "parts": parts} for name in STORED}
    try:
        _describe(target, capture, local_addresses, settings, index)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error


def _describe(
    target: pathlib.Path,
    capture: Capture,
    local_addresses: Iterable[str],
    settings: Settings,
    index: dict[str, Any],
) -> None:
    described = {
        "format": FORMAT,
        "version": VERSION,
        "capture": capture.as_json(),
        "local_addresses": list(local_addresses),
        "settings": dataclasses.asdict(settings),
        "frames": index,
    }
    partial = target / "capture.json.partial"
    partial.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    partial.replace(target / "capture.json")


def is_saved(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder looks like what ``save`` wrote; whether it is whole, ``load`` says."""
    target = pathlib.Path(folder)
    return (target / "capture.json").is_file() and (target / "packets").is_dir()


def load(folder: str | os.PathLike[str]) -> Saved:
    """Read what ``save`` wrote.

    Raises
    ------
    StoreError
        If the folder holds no saved analysis, a damaged one, or one of another version.
    """
    source = pathlib.Path(folder)
    described = _described(source)
    if described.get("version") != VERSION:
        raise StoreError(
            f"{source}: saved in version {described.get('version')} of the store, this program reads {VERSION}: "
            "analyse the capture again"
        )
    try:
        frames = {name: _read(source / name, name, described["frames"][name]) for name in STORED}
        for name, frame in frames.items():
            schema.check(name, frame)
        settings = Settings(**described["settings"])
        return Saved(frames, Capture.from_json(described["capture"]), tuple(described["local_addresses"]), settings)
    except (OSError, KeyError, TypeError, ValueError) as error:  # pyarrow's errors are ValueErrors and OSErrors
        raise StoreError(f"{source}: damaged, or not all there: {error}; analyse the capture again") from error


def _described(source: pathlib.Path) -> dict[str, Any]:
    try:
        described = json.loads((source / "capture.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{source}: no saved analysis here (no capture.json); Analysis.save() makes one") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{source}/capture.json: cannot be read: {error}") from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise StoreError(f"{source}/capture.json is not of a saved analysis")
    return described


def _found(target: pathlib.Path) -> list[str]:
    """What is in a folder, without its empty frames' folders."""
    if not target.exists():
        return []
    if not target.is_dir():
        raise StoreError(f"{target}: is a file; name a folder")
    names = []
    for entry in sorted(target.iterdir()):
        if entry.name in STORED and entry.is_dir():
            names += [f"{entry.name}/{part.name}" for part in sorted(entry.iterdir())]
        else:
            names.append(entry.name)
    return names


def _foreign(target: pathlib.Path) -> str | None:
    """The first thing in a folder that is no part of a saved analysis."""
    known = {"capture.json", "capture.json.partial"}
    return next((name for name in _found(target) if name not in known and not _is_part(name)), None)


def _is_part(name: str) -> bool:
    return re.fullmatch(r"\w+/(part|_categories)-\d+\.parquet", name) is not None


def _clear(target: pathlib.Path) -> None:
    """Take an earlier analysis away; refuse anything else, before anything is touched."""
    if other := _foreign(target):
        raise StoreError(f"{target}: holds other things ({other}); name a new folder")
    for name in sorted(_found(target), key=_is_part):  # capture.json first: without it the folder is not whole
        (target / name).unlink()


def _write(folder: pathlib.Path, frame: pd.DataFrame, part: int | None = None) -> dict[str, Any]:
    """Write one frame; part: its number, if there are several: then the index is a column, whatever it is."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    columns: dict[str, Any] = {}
    words: list[Any] = []  # tables of (column, word), a column's in the order of its codes
    kinds = pa.schema([("column", pa.dictionary(pa.int32(), pa.string())), ("word", pa.large_string())])
    for name in frame.columns:
        series = frame[name]
        if isinstance(series.dtype, pd.CategoricalDtype):
            known = pa.array(series.cat.categories.array, pa.large_string())
            named = pa.DictionaryArray.from_arrays(pa.array([0] * len(known), pa.int32()), pa.array([name]))
            words.append(pa.Table.from_arrays([named, known], schema=kinds))
            codes = series.cat.codes.to_numpy()
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), known)
        else:
            columns[name] = pa.array(series.array, from_pandas=not _is_float(series))
    described: dict[str, Any] = {"name": frame.index.name}
    if part is not None:
        if frame.index.name is not None:
            columns[_INDEX] = pa.array(frame.index.to_numpy())
    elif isinstance(frame.index, pd.RangeIndex):
        described["range"] = [frame.index.start, frame.index.stop, frame.index.step]
    else:
        columns[_INDEX] = pa.array(frame.index.to_numpy())
    pq.write_table(pa.table(columns), folder / f"part-{part or 0}.parquet", compression="zstd", row_group_size=_ROWS)
    spoken = pa.concat_tables(words).unify_dictionaries() if words else kinds.empty_table()
    pq.write_table(spoken, folder / f"_categories-{part or 0}.parquet", compression="zstd")
    return described


def _is_float(series: pd.Series[Any]) -> bool:
    return series.dtype == "float64"  # its NaN is a value; from_pandas would make it null


def _read(folder: pathlib.Path, frame_name: str, described: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, spoken = (
        pa.concat_tables(
            pq.read_table(folder / f"{kind}-{part}.parquet", partitioning=None)
            for part in range(described.get("parts", 1))
        )
        for kind in ("part", "_categories")
    )
    if "parts" in described and described["name"] is None:
        index: Any = pd.RangeIndex(table.num_rows)
    elif "range" in described:
        start, stop, step = described["range"]
        index = pd.RangeIndex(start, stop, step, name=described["name"])
        if len(index) != table.num_rows:
            raise ValueError(f"{frame_name} has {table.num_rows} rows, not {len(index)}")
    else:
        index = pd.Index(table.column(_INDEX).to_numpy(), name=described["name"])
    data = {
        name: pd.Series(_restored(table.column(name), schema.column(frame_name, name), spoken), index, copy=False)
        for name in table.column_names
        if name != _INDEX
    }
    frame = pd.DataFrame(data, index=index, copy=False)
    return _ordered(frame_name, frame) if described.get("parts", 1) > 1 else frame


def _ordered(frame_name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Put the rows of several parts into the order that they would have had in one: a flow's were written when it was over."""
    import numpy as np

    if frame.index.name is not None:
        return frame.sort_index(kind="stable")
    if "time" not in frame:
        return frame
    time = frame["time"].dt.tz_localize(None).to_numpy("datetime64[ns]")
    if frame_name == "live_sockets":
        keys = [frame["until"].dt.tz_localize(None).to_numpy("datetime64[ns]"), time]
    else:
        at = frame["frame"].to_numpy(np.int64, na_value=np.iinfo(np.int64).max)
        keys = [at, time]
        if frame_name == "anomalies":  # what only the end shows stands behind the others, by flow
            late = frame["kind"].isin(_SAID_AT_THE_END).to_numpy()
            flow = frame["flow"].to_numpy(np.int64, na_value=-1)
            keys = [np.where(late, 0, at), np.where(late, flow, 0), late]
        elif frame_name == "transitions":  # a SYN ends an earlier connection before it opens another
            keys = [frame["event"].ne("NEW_INCARNATION").to_numpy(), *keys]
    return frame.iloc[np.lexsort(keys)].reset_index(drop=True)


def _restored(column: Any, declared: Column, spoken: Any) -> Any:
    """Return an Arrow column as the pandas array that it was; spoken are the words of the frame's categoricals."""
    import pandas as pd

    if declared.dtype == "category":
        return _categorical(column, declared.name, spoken)
    dtype = pd.api.types.pandas_dtype(schema.pandas_dtype(declared))
    if hasattr(dtype, "__from_arrow__"):
        return dtype.__from_arrow__(column)
    values = column.to_numpy()
    return values if values.flags.writeable else values.copy()


def _categorical(column: Any, name: str, spoken: Any) -> Any:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    words = (
        spoken.filter(pc.equal(spoken.column("column").cast(pa.string()), name))
        .column("word")
        .combine_chunks()
        .unique()
    )
    text: Any = pd.api.types.pandas_dtype("str")
    dtype = pd.CategoricalDtype(pd.Index(text.__from_arrow__(words)))
    parts = [np.empty(0, np.int8)]
    dictionary, lookup = None, np.empty(0, np.int32)
    for chunk in column.chunks:
        if dictionary is None or not chunk.dictionary.equals(dictionary):  # most often all chunks have the same one
            dictionary = chunk.dictionary
            place = pc.index_in(dictionary.cast(pa.large_string()), value_set=words)
            if place.null_count:
                raise ValueError(f"column {name} has words that are not among its categories")
            lookup = np.append(place.to_numpy(zero_copy_only=False), -1)
        parts.append(lookup[chunk.indices.fill_null(len(dictionary)).to_numpy(zero_copy_only=False)])
    return pd.Categorical.from_codes(np.concatenate(parts), dtype=dtype)
