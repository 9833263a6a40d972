"""Whose addresses and ports a segment has: its connection's, by its direction. So no row of the packets keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.kernel import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analyzer.tracker.packets import PacketColumns

_BLOCK = 1 << 15  # rows looked up before they are made narrow: what the processor's cache holds
_WORDS = 4

Array = npt.NDArray[Any]


class PacketEnds(NamedTuple):
    """An element a segment."""

    source: Array  #: numbers of the addresses
    destination: Array
    sport: npt.NDArray[np.uint16]
    dport: npt.NDArray[np.uint16]

    def renumbered(self, known: Array) -> PacketEnds:
        """The same, with the places of the addresses among the known ones, which are in order."""
        source, destination = (np.searchsorted(known, numbers) for numbers in (self.source, self.destination))
        return self._replace(source=source, destination=destination)


def ends_of_flows(flows: npt.NDArray[np.void], pairs: npt.NDArray[np.void]) -> npt.NDArray[np.int32]:
    """Of each flow its client's and its server's address number, and their ports: ``(flows, 4)``."""
    found = np.empty((len(flows), _WORDS), np.int32)
    fill_ends(flows, pairs, found)
    return found


def socket_ends(flow: Array, of_client: Array, of_flows: npt.NDArray[np.int32], dtype: Any) -> tuple[Array, Array]:
    """The address's number, of this dtype, and the port of one end of each of these flows; of_client: of which."""
    address, port = np.empty(len(flow), dtype), np.empty(len(flow), np.uint16)
    for rows, found in _in_blocks(flow, of_client, of_flows):
        address[rows], port[rows] = found[0], found[2]
    return address, port


def ends_of_some(
    columns: PacketColumns, rows: int, flows: npt.NDArray[np.void], pairs: npt.NDArray[np.void]
) -> PacketEnds:
    """As ``packet_ends``, at the cost of these rows: of the flows only those are looked at that they name."""
    numbers, places = np.unique(columns.flow[:rows], return_inverse=True)
    some = columns._replace(flow=places.astype(np.int32))
    return packet_ends(some, rows, ends_of_flows(flows[numbers], pairs))


@kernel
def fill_ends(flows: Any, pairs: Any, found: Any) -> None:
    """Fill in the ends of each flow."""
    for i in range(len(flows)):
        pair, turned = pairs[flows[i].pair], 0 if flows[i].client_side == 0 else 1
        found[i, turned], found[i, 1 - turned] = pair.a_address, pair.b_address
        found[i, 2 + turned], found[i, 3 - turned] = pair.a_port, pair.b_port


def packet_ends(
    columns: PacketColumns, rows: int, of_flows: npt.NDArray[np.int32], dtype: Any = np.int32
) -> PacketEnds:
    """The ends of the first rows; numbers of addresses have this dtype.

    of_flows: as ``ends_of_flows`` gives them, of the flows that the columns name.
    """
    ends = PacketEnds(*(np.empty(rows, kind) for kind in (dtype, dtype, np.uint16, np.uint16)))
    for some, found in _in_blocks(columns.flow[:rows], columns.from_client[:rows], of_flows):
        for column, values in zip(ends, found, strict=True):
            column[some] = values
    return ends


def _in_blocks(flow: Array, of_client: Array, of_flows: npt.NDArray[np.int32]) -> Iterator[tuple[slice, Array]]:
    """Give block by block its rows and what ``look_up_ends`` finds of them, in memory that is used again."""
    block = np.empty((_WORDS, min(len(flow), _BLOCK)), np.int32)
    for begin in range(0, len(flow), _BLOCK):
        rows = slice(begin, min(begin + _BLOCK, len(flow)))
        look_up_ends(np.ascontiguousarray(flow[rows]), np.ascontiguousarray(of_client[rows]), of_flows, block)
        yield rows, block[:, : rows.stop - begin]


@kernel
def look_up_ends(flow: Any, from_client: Any, of_flows: Any, found: Any) -> None:
    """Look up the ends of a block of segments."""
    for i in range(len(flow)):
        number, other = flow[i], 1 if from_client[i] else 0
        found[0, i], found[1, i] = of_flows[number, 1 - other], of_flows[number, other]
        found[2, i], found[3, i] = of_flows[number, 3 - other], of_flows[number, 2 + other]
