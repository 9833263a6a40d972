"""Flows that a forged SYN opened are no connections: what they have belongs to the connection that it was aimed at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]


def connections_of(forged: Rows, flows: Rows) -> Rows:
    """Return of each flow the place of the connection that it belongs to: its own, or that which a forged SYN was aimed at."""
    places = np.arange(len(flows), dtype=np.int32)
    places[forged] = flows["earlier"][forged]  # there is one: its goings-on are what shows the forgery
    while (aside := forged[places]).any():  # aimed at what another forged SYN seemed to open
        places[aside] = places[places[aside]]
    return places


def places(forged: Rows, flows: Rows) -> tuple[Rows, Rows]:
    """Leave flows out that a forged SYN opened: what they have belongs to the connection that it was aimed at.

    Returns of each flow the number that it has then, and whether its client is the server there.
    """
    connections = connections_of(forged, flows)
    numbers = (np.cumsum(~forged, dtype=np.int32) - np.int32(1))[connections]
    return numbers, flows["client_side"] != flows["client_side"][connections]


def move(rows: Rows, places: tuple[Rows, Rows]) -> None:
    """Give rows of the log the numbers and the ends that their flows have in the frames."""
    numbers, turned = places
    turn = turned[rows["flow"]] & (rows["endpoint"] >= 0)
    rows["endpoint"][turn] = 1 - rows["endpoint"][turn]
    rows["flow"] = np.where(rows["flow"] < 0, -1, numbers[rows["flow"]])  # a clock step is of no flow


def without(forged: Rows, flows: Rows, ends: Rows, numbers: Rows) -> tuple[Rows, Rows]:
    """The flows that no forged SYN opened, and their ends."""
    kept = flows[~forged]
    kept["earlier"] = np.where(kept["earlier"] < 0, -1, numbers[kept["earlier"]])
    return kept, ends[np.repeat(~forged, 2)]
