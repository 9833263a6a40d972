"""Reading pcap files, in both resolutions and byte orders.

The format: draft-ietf-opsawg-pcap. A 24-byte file header, then records of a 16-byte header and the packet. Alexey
Kuznetsov's "modified" pcap has 8 more bytes in each record header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.capture.reader import DAMAGE, FULL, MORE, Reader
from analyzer.capture.records import Interface
from analyzer.capture.words import u32
from analyzer.kernel import kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from analyzer.capture.interfaces import InterfaceTable
    from analyzer.capture.window import Window

FILE_HEADER = 24

#: magic number: nanoseconds a tick, bytes of a record header, name
_KINDS = {
    0xA1B2C3D4: (1000, 16, "microseconds"),
    0xA1B23C4D: (1, 16, "nanoseconds"),
    0xA1B2CD34: (1000, 24, "modified, microseconds"),
}
MAGICS = {magic.to_bytes(4, order): order for magic in _KINDS for order in ("big", "little")}


@kernel
def walk_pcap(
    data: npt.NDArray[np.uint8],
    begin: int,
    end: int,
    big: bool,
    tick_ns: int,
    header: int,
    limit: int,
    offset: npt.NDArray[np.int64],
    captured: npt.NDArray[np.int32],
    wire: npt.NDArray[np.int64],
    time_ns: npt.NDArray[np.int64],
) -> tuple[int, int, int, int]:
    """Walk the whole records in ``data[begin:end]``.

    Returns the count, where the first unread record begins, what the walk stopped at, and that record's bytes.
    """
    at = begin
    count = 0
    while count < len(offset):
        if end - at < header:
            return count, at, MORE, header
        length = u32(data, at + 8, big)
        if length > limit:
            return count, at, DAMAGE, length
        if end - at - header < length:
            return count, at, MORE, header + length
        offset[count] = at + header
        captured[count] = length
        wire[count] = u32(data, at + 12, big)
        time_ns[count] = u32(data, at, big) * 1_000_000_000 + u32(data, at + 4, big) * tick_ns
        at += header + length
        count += 1
    return count, at, FULL, 0


class PcapReader(Reader):
    """The records of a pcap file whose 24-byte header lies whole in the window."""

    def __init__(self, window: Window, table: InterfaceTable, room: int, limit: int) -> None:
        super().__init__(window, table, room, limit)
        header = window.data[window.begin : window.begin + FILE_HEADER].tobytes()
        order = MAGICS[header[:4]]
        self._big = order == "big"
        self._tick_ns, self._header, name = _KINDS[int.from_bytes(header[:4], order)]  # type: ignore[arg-type]
        self.format = f"pcap ({name}, {order}-endian)"
        snap_length = int.from_bytes(header[16:20], order)  # type: ignore[arg-type]
        # The upper half tells of frame check sequences; the lower one is the link type.
        link = int.from_bytes(header[20:24], order) & 0xFFFF  # type: ignore[arg-type]
        index = table.add(Interface(link, None, snap_length, self._big))
        if index is None:
            self._spoil("the capture has too many interfaces")
        else:
            self.columns.interface[:] = index
        window.begin += FILE_HEADER

    def _walk(self) -> tuple[int, int, int]:
        window, columns = self.window, self.columns
        count, window.begin, status, amount = walk_pcap(
            window.data,
            window.begin,
            window.end,
            self._big,
            self._tick_ns,
            self._header,
            self._limit,
            columns.offset,
            columns.captured,
            columns.wire,
            columns.time_ns,
        )
        return count, status, amount

    def _stop_at(self, status: int, amount: int) -> None:
        if status == DAMAGE:
            self._spoil(f"a record claims {amount:,} bytes, more than any packet has: garbage, or another file's end")
