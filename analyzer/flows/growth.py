"""Arrays that grow with the capture.

Room that stays unused costs nothing: the system makes a page when it is first touched, and nothing here touches more than
what is in use. Copying what has grown does cost; so an array grows at least twofold, or at once to what is to come.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Item = TypeVar("Item", bound=np.generic)


def room_for(used: int, more: int, room: int, ahead: float = 0.0) -> int:
    """The room that an array with so many rows in use needs for more; as it is, where that suffices.

    ahead: how many times as many rows the whole capture may have as there are now, where that is known.
    """
    return room if used + more <= room else max(used + more, 2 * room, int(used * ahead) + more)


def grown(rows: npt.NDArray[Item], used: int, room: int, *, zeroed: bool = False) -> npt.NDArray[Item]:
    """Return the array with room for so many rows, those in use copied; the same one where it has the room.

    zeroed: whether the rows beyond those in use have to be zero; else they are anything.
    """
    if room <= len(rows):
        return rows
    bigger = np.zeros(room, rows.dtype) if zeroed else np.empty(room, rows.dtype)
    bigger[:used] = rows[:used]
    return bigger
