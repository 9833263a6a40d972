"""The interfaces of a capture: one table that all its files share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Container

    from analyzer.capture.records import CaptureInfo, Interface

#: A capture with more interfaces than this is made to exhaust memory: a host has some thousands at most.
INTERFACE_LIMIT = 65536


class InterfaceTable:
    """The interfaces of ``info`` seen so far: ``info.interfaces`` for people, ``links`` for kernels."""

    def __init__(self, info: CaptureInfo) -> None:
        self.info = info
        self._links = np.zeros(8, np.int32)
        self._known: dict[tuple[int, str | None, int, bool], list[int]] = {}

    @property
    def links(self) -> npt.NDArray[np.int32]:
        """LINKTYPE_ of each interface, in order."""
        return self._links[: len(self.info.interfaces)]

    def add(self, interface: Interface, used: Container[int] = ()) -> int | None:
        """Enter an interface and return its index, or None where the table is full.

        Rotated files and later sections describe the same interfaces again: one with the same link type, name and snap
        length is the same, unless its own section (``used``) has it already.
        """
        alike = (interface.link, interface.name, interface.snap_length, interface.big_endian)
        known = self._known.setdefault(alike, [])
        for index in known:
            if index not in used:
                return index
        index = len(self.info.interfaces)
        if index >= INTERFACE_LIMIT:
            return None
        if index == len(self._links):
            self._links = np.concatenate([self._links, np.zeros(index, np.int32)])
        self._links[index] = interface.link
        self.info.interfaces.append(interface)
        known.append(index)
        return index
