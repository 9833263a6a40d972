"""What a schema is made of: columns, declared."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

TIME = "datetime64[ns, UTC]"
NUMBERS = "list<item: int64>[pyarrow]"


class Column(NamedTuple):
    """One column of one frame."""

    name: str
    dtype: str  #: as pandas prints it
    unit: str
    meaning: str
    source: str = ""  #: whose rule it is: an RFC's section, Wireshark's field, a header's field
    vocabulary: tuple[
        str, ...
    ] = ()  #: a categorical's words, in the order of their codes; empty: what the capture gave
    open: bool = False  #: behind the words of the vocabulary there may be more, that the capture gave


@dataclasses.dataclass(frozen=True, slots=True)
class Schema:
    """One frame: its index and its columns, in order."""

    title: str
    index: Column
    columns: tuple[Column, ...]
