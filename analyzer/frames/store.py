"""A saved analysis: Parquet, one folder a frame, and ``capture.json``.

Everything comes back as it was: values, dtypes, the order of categories (also of those that no row has), the index.
Other tools read the same files: categoricals are written as dictionaries of text, nothing is pickled. What Parquet
cannot say stands beside the data: ``_categories.parquet`` in each frame's folder (names that begin with ``_`` are no
part of a dataset) and the index's kind in ``capture.json``, which is written last: a folder without it is not whole.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import TYPE_CHECKING, Any

from analyzer.errors import StoreError
from analyzer.frames import schema
from analyzer.frames.capture import Capture
from analyzer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

FORMAT = "tcp-handshake-analyzer"
VERSION = 1
STORED = ("packets", "options", "flows", "transitions", "anomalies", "findings")
_INDEX = "__index__"
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
        if target.exists():
            _clear(target)
        target.mkdir(parents=True, exist_ok=True)
        index = {name: _write(target / name, frames[name]) for name in STORED}
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
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target


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


def _clear(target: pathlib.Path) -> None:
    """Take an earlier analysis away; refuse anything else."""
    if not target.is_dir():
        raise StoreError(f"{target}: is a file; name a folder")
    known = {*STORED, "capture.json", "capture.json.partial"}
    others = sorted(entry.name for entry in target.iterdir() if entry.name not in known)
    if others:
        raise StoreError(f"{target}: holds other things ({others[0]}); name a new folder")
    for name in ("capture.json", "capture.json.partial"):
        (target / name).unlink(missing_ok=True)
    for name in STORED:
        for part in (target / name).glob("*.parquet"):
            part.unlink()


def _write(folder: pathlib.Path, frame: pd.DataFrame) -> dict[str, Any]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    columns: dict[str, Any] = {}
    words: list[tuple[str, str]] = []
    for name in frame.columns:
        series = frame[name]
        if isinstance(series.dtype, pd.CategoricalDtype):
            words += [(name, word) for word in series.cat.categories]
            codes = pa.array(series.cat.codes.to_numpy(), mask=(series.cat.codes < 0).to_numpy())
            known = pa.array(series.cat.categories.to_list(), pa.string())
            columns[name] = pa.DictionaryArray.from_arrays(codes, known)
        else:
            columns[name] = pa.array(series.array, from_pandas=not _is_float(series))
    described: dict[str, Any] = {"name": frame.index.name}
    if isinstance(frame.index, pd.RangeIndex):
        described["range"] = [frame.index.start, frame.index.stop, frame.index.step]
    else:
        columns[_INDEX] = pa.array(frame.index.to_numpy())
    pq.write_table(pa.table(columns), folder / "part-0.parquet", compression="zstd", row_group_size=_ROWS)
    spoken = {"column": [column for column, _ in words], "word": [word for _, word in words]}
    kinds = pa.schema([("column", pa.string()), ("word", pa.string())])
    pq.write_table(pa.table(spoken, kinds), folder / "_categories.parquet", compression="zstd")
    return described


def _is_float(series: pd.Series[Any]) -> bool:
    return series.dtype == "float64"  # its NaN is a value; from_pandas would make it null


def _read(folder: pathlib.Path, frame_name: str, described: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "part-0.parquet", partitioning=None)
    spoken = pq.read_table(folder / "_categories.parquet", partitioning=None).to_pydict()
    words: dict[str, list[str]] = {}
    for column, word in zip(spoken["column"], spoken["word"], strict=True):
        words.setdefault(column, []).append(word)
    if "range" in described:
        start, stop, step = described["range"]
        index: Any = pd.RangeIndex(start, stop, step, name=described["name"])
        if len(index) != table.num_rows:
            raise ValueError(f"{frame_name} has {table.num_rows} rows, not {len(index)}")
    else:
        index = pd.Index(table.column(_INDEX).to_numpy(), name=described["name"])
    data = {
        name: pd.Series(
            _restored(table.column(name), schema.column(frame_name, name), words.get(name, [])), index, copy=False
        )
        for name in table.column_names
        if name != _INDEX
    }
    return pd.DataFrame(data, index=index, copy=False)


def _restored(column: Any, declared: schema.Column, words: list[str]) -> Any:
    """Return an Arrow column as the pandas array that it was."""
    import numpy as np
    import pandas as pd

    if declared.dtype == "category":
        arrow = column.unify_dictionaries().combine_chunks()
        chunks = arrow.chunks if hasattr(arrow, "chunks") else [arrow]
        categories = pd.Index(words, dtype="str")
        codes = [np.empty(0, np.int8)]
        for chunk in chunks:
            place = categories.get_indexer(pd.Index(chunk.dictionary.to_pylist(), dtype="str"))
            if (place < 0).any():
                raise ValueError(f"column {declared.name} has words that are not among its categories")
            codes.append(np.append(place, -1)[chunk.indices.fill_null(len(place)).to_numpy(zero_copy_only=False)])
        return pd.Categorical.from_codes(np.concatenate(codes), categories=categories)
    dtype = pd.api.types.pandas_dtype(schema.pandas_dtype(declared))
    if hasattr(dtype, "__from_arrow__"):
        return dtype.__from_arrow__(column)
    values = column.to_numpy()
    return values if values.flags.writeable else values.copy()
