"""Frames of one schema, one below the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyzer.frames import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


def stacked(frame_name: str, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put frames of the same schema below one another; rows numbered from 0. Categories are united in order of appearance.

    pandas' own concat turns categoricals into text where their categories differ.
    """
    import pandas as pd
    from pandas.api.types import union_categoricals

    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return schema.empty(frame_name)
    data: dict[str, Any] = {}
    for column in frames[0].columns:
        parts = [frame[column] for frame in frames]
        if len(parts) == 1:
            data[column] = parts[0].array
        elif isinstance(parts[0].dtype, pd.CategoricalDtype):
            data[column] = union_categoricals([part.array for part in parts])
        else:
            data[column] = pd.concat(parts, ignore_index=True).array
    return pd.DataFrame(data, index=pd.RangeIndex(len(next(iter(data.values())))))
