"""From the kernels' arrays to pandas columns, without copies where pandas lets us.

A column that has one value from top to bottom is a broadcast of that value: it takes no memory. Strided views of the
kernels' rows serve as columns as they are.

The functions here only say what pandas shall make of an array; ``made`` makes it. So the arrays are worked out while
another thread still imports pandas, which takes as long as they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.tracker.packets import PacketColumns, is_written

if TYPE_CHECKING:
    import pandas as pd
    from pandas.api.extensions import ExtensionArray

    from analyzer.frames.addresses import AddressWords

Array = npt.NDArray[Any]
Made = Callable[[], Any]
"""What makes a pandas column or index once pandas is there."""


class Plan(NamedTuple):
    """A frame before pandas makes it: arrays that are columns as they are, what makes the others, and the index."""

    data: dict[str, Array | Made]
    row_index: Made


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


def times(nanoseconds: Array) -> Made:
    """Nanoseconds since 1970 as UTC times, in place."""

    def make() -> ExtensionArray:
        import pandas as pd

        utc = pd.DatetimeTZDtype("ns", "UTC")
        column: ExtensionArray = pd.arrays.DatetimeArray._from_sequence(nanoseconds, dtype=utc, copy=False)  # type: ignore[attr-defined]
        return column

    return make


def words(codes: Array, vocabulary: tuple[str, ...]) -> Made:
    """Codes (-1 for none) as a categorical with these words."""

    def make() -> pd.Categorical:
        import pandas as pd

        dtype = pd.CategoricalDtype(pd.Index(vocabulary, dtype="str"))
        return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)

    return make


def addresses(numbers: Array, names: AddressWords) -> Made:
    """Numbers of addresses as a categorical of their texts."""
    codes = narrow(numbers, names.count)

    def make() -> pd.Categorical:
        import pandas as pd

        return pd.Categorical.from_codes(codes, dtype=names.dtype, validate=False)

    return make


def factorized(values: Array, word: Callable[[int], str]) -> Made:
    """Values as a categorical of the word of each, in order of appearance; NA for those without one."""

    def make() -> pd.Categorical:
        import pandas as pd

        codes, found = pd.factorize(values)
        labels = tuple(word(int(value)) for value in found)
        if "" in labels:
            gap = labels.index("")
            codes = np.where(codes == gap, -1, codes - (codes > gap))
            labels = labels[:gap] + labels[gap + 1 :]
        column: pd.Categorical = words(narrow(codes, len(labels)), labels)()
        return column

    return make


def integers(values: Array, missing: Array) -> Made:
    """A nullable integer column; the mask may be a constant."""

    def make() -> ExtensionArray:
        import pandas as pd

        return pd.arrays.IntegerArray(values, missing)

    return make


def booleans(values: Array, missing: Array) -> Made:
    """A nullable column of truth values; both may be constants."""

    def make() -> ExtensionArray:
        import pandas as pd

        return pd.arrays.BooleanArray(values, missing)

    return make


def no_integers(rows: int, dtype: Any) -> Made:
    """A nullable integer column that is all NA."""
    return integers(constant(0, rows, dtype), constant(True, rows, bool))


def frames_or_na(frames: Array) -> Made:
    """Frame numbers; 0 stands for none."""
    return integers(frames, frames == 0)


def numbered(rows: int, name: str | None = None, first: int = 0) -> Made:
    """An index that counts the rows; it takes no memory."""

    def make() -> pd.Index:
        import pandas as pd

        return pd.RangeIndex(first, first + rows, name=name)

    return make


def indexed(values: Array, name: str) -> Made:
    """An index of these values."""

    def make() -> pd.Index:
        import pandas as pd

        index: pd.Index = pd.Index(values, name=name, copy=False)
        return index

    return make


def numbers_or_na(numbers: Array) -> Made:
    """An optional column of which 0 stands for none."""
    if is_constant(numbers):
        return no_integers(len(numbers), numbers.dtype)
    return frames_or_na(numbers)


def code_dtype(categories: int) -> type[np.signedinteger[Any]]:
    """The narrowest dtype for codes of so many categories, which is the one that pandas would give them."""
    return next((dtype for dtype in (np.int8, np.int16) if categories <= np.iinfo(dtype).max), np.int32)


def narrow(codes: Array, categories: int) -> Array:
    """Codes in the narrowest dtype."""
    return codes.astype(code_dtype(categories), copy=False)


def made(plan: Plan) -> pd.DataFrame:
    """Make the frame, without a copy."""
    import pandas as pd

    data = {name: column() if callable(column) else column for name, column in plan.data.items()}
    return pd.DataFrame(data, index=plan.row_index(), copy=False)
