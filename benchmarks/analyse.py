"""What is measured of ours: one capture read, all five frames built.

``analyse.py CAPTURE [--memory] [--json]`` prints one JSON object: the rows of each frame; with ``--memory`` also the
bytes a packet that ``packets`` and ``options`` hold, counted twice: by buffers (each once, and of it only the part that
is viewed) and by pandas.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import analyzer

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def main() -> None:
    """Read the capture that the command line names."""
    analysis = analyzer.read(sys.argv[1])
    frames = {name: getattr(analysis, name) for name in ("packets", "options", "flows", "transitions", "anomalies")}
    said: dict[str, Any] = {"rows": {name: len(frame) for name, frame in frames.items()}}
    if "--memory" in sys.argv:
        held, packets = [frames["packets"], frames["options"]], max(len(frames["packets"]), 1)
        pandas_says = sum(int(frame.memory_usage(index=True, deep=True).sum()) for frame in held)
        said["bytes_a_packet"] = held_bytes(held) / packets
        said["bytes_a_packet_pandas"] = pandas_says / packets
        said["bytes_a_packet_by_column"] = {
            f"{name}.{column}": round(held_bytes([frames[name][[column]]], index=False) / packets, 3)
            for name in ("packets", "options")
            for column in frames[name].columns
        }
    print(json.dumps(said))
    gc.freeze()  # as the command does before it exits


def held_bytes(frames: list[pd.DataFrame], *, index: bool = True) -> int:
    """Count the memory that frames hold together: shared buffers once, of each only what is viewed."""
    buffers = Buffers()
    for frame in frames:
        parts = [frame[column].array for column in frame.columns] + ([frame.index] if index else [])
        for part in parts:
            for buffer in flat_arrays(part):
                buffers.add(buffer)
    return buffers.total()


class Buffers:
    """Stretches of memory that are in use, and single objects."""

    def __init__(self) -> None:
        self._stretches: list[tuple[int, int]] = []
        self._scattered: dict[tuple[Any, ...], int] = {}

    def add(self, array: np.ndarray | tuple[int, int]) -> None:
        """Count an array's memory, or a stretch (address, bytes); what strings and lists in it hold, too."""
        if isinstance(array, tuple):
            self._stretches.append((array[0], array[0] + array[1]))
            return
        address = array.__array_interface__["data"][0]
        if not any(array.strides):  # one value, shown as often as there are rows
            self._stretches.append((address, address + array.itemsize))
        elif array.flags.c_contiguous or array.flags.f_contiguous:
            self._stretches.append((address, address + array.nbytes))
        else:  # every n-th of a wider row: the bytes between belong to others
            self._scattered[(address, array.shape, array.strides, array.itemsize)] = array.nbytes
        if array.dtype == object:
            for item in array.ravel():
                self._scattered[(id(item),)] = sys.getsizeof(item)
                if hasattr(item, "__array_interface__"):
                    self.add(item)

    def total(self) -> int:
        """Add up the union of all stretches, and the rest."""
        total = reached = 0
        for start, end in sorted(self._stretches):
            total += max(0, end - max(start, reached))
            reached = max(reached, end)
        return total + sum(self._scattered.values())


def flat_arrays(column: Any) -> Iterator[np.ndarray | tuple[int, int]]:
    """Find the NumPy arrays and Arrow buffers behind a column or an index."""
    import numpy as np
    import pandas as pd

    if isinstance(column, pd.RangeIndex):
        return
    if isinstance(column, pd.MultiIndex):
        for part in (*column.codes, *column.levels):
            yield from flat_arrays(part)
    elif isinstance(column, pd.Index):
        yield from flat_arrays(column.array)
    elif isinstance(column, pd.Categorical):
        yield column.codes
        yield from flat_arrays(column.categories)
    elif isinstance(column, pd.arrays.ArrowExtensionArray):
        for chunk in column.__arrow_array__().chunks:
            yield from arrow_stretches(chunk)
    elif hasattr(column, "_mask"):
        yield column._data
        yield column._mask
    elif isinstance(column, np.ndarray):
        yield column
    elif hasattr(column, "_ndarray"):
        yield column._ndarray
    else:
        raise TypeError(f"no way known to count the memory of {type(column)}")


def arrow_stretches(chunk: Any) -> Iterator[tuple[int, int]]:
    """Give the buffers of an Arrow array, each shortened to the share of them that the array views."""
    buffers = [buffer for buffer in chunk.buffers() if buffer is not None]
    whole = sum(buffer.size for buffer in buffers)
    share = chunk.nbytes / whole if whole else 0.0
    for buffer in buffers:
        yield buffer.address, int(buffer.size * share)


if __name__ == "__main__":
    main()
