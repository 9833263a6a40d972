"""From the kernels' arrays to pandas columns, without copies where pandas lets us.

A column that has one value from top to bottom is a broadcast of that value: it takes no memory. Strided views of the
kernels' rows serve as columns as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analyzer.tracker.packets import PacketColumns, is_written

if TYPE_CHECKING:
    from pandas.api.extensions import ExtensionArray

Array = npt.NDArray[Any]
_TIME = pd.DatetimeTZDtype("ns", "UTC")


def constant(value: Any, rows: int, dtype: Any) -> Array:
    """An array of one value that takes no memory."""
    return np.broadcast_to(np.array(value, dtype), (rows,))


def optional(columns: PacketColumns, name: str, rows: int) -> Array:
    """A column that is mostly zero: itself, or a constant where nothing was written."""
    values: Array = getattr(columns, name)
    return values[:rows] if is_written(columns, name) else constant(0, rows, values.dtype)


def is_constant(values: Array) -> bool:
    """Whether the array is one of ``constant``'s."""
    return values.strides == (0,)


def times(nanoseconds: Array) -> Any:
    """Nanoseconds since 1970 as UTC times, in place."""
    return pd.arrays.DatetimeArray._from_sequence(nanoseconds, dtype=_TIME, copy=False)  # type: ignore[attr-defined]


def words(codes: Array, vocabulary: tuple[str, ...]) -> pd.Categorical:
    """Codes (-1 for none) as a categorical with these words."""
    return categorical(codes, pd.CategoricalDtype(pd.Index(vocabulary, dtype="str")))


def categorical(codes: Array, dtype: pd.CategoricalDtype) -> pd.Categorical:
    """Codes as a categorical; they are known to be within bounds."""
    return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)


def integers(values: Array, missing: Array) -> ExtensionArray:
    """A nullable integer column; the mask may be a constant."""
    return pd.arrays.IntegerArray(values, missing)


def no_integers(rows: int, dtype: Any) -> ExtensionArray:
    """A nullable integer column that is all NA."""
    return integers(constant(0, rows, dtype), constant(True, rows, bool))


def frames_or_na(frames: Array) -> ExtensionArray:
    """Frame numbers; 0 stands for none."""
    return integers(frames, frames == 0)


def narrow(codes: Array, categories: int) -> Array:
    """Codes in the narrowest dtype that pandas would give them."""
    for dtype in (np.int8, np.int16):
        if categories <= np.iinfo(dtype).max:
            return codes.astype(dtype)
    return codes


def frame(data: dict[str, Any], index: pd.Index) -> pd.DataFrame:
    """Put columns together without a copy."""
    return pd.DataFrame(data, index=index, copy=False)
