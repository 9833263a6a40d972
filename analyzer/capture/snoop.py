"""Reading snoop files (RFC 1761), as Solaris writes them, and the Surveyor's, which look the same at first.

A 16-byte file header, then records of a 24-byte header, the packet and padding; all in network byte order. The link
types are numbers of their own (IANA's "snoop Datalink Types"); those that libpcap's list does not know are not read.
The Surveyor (Shomiti, later Finisar) numbers links in its own way and adds 16 bytes or more to each record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.capture.reader import DAMAGE, FULL, MORE, Reader
from analyzer.capture.records import Interface
from analyzer.capture.words import u32
from analyzer.errors import CaptureError
from analyzer.kernel import kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from analyzer.capture.interfaces import InterfaceTable
    from analyzer.capture.window import Window

MAGIC = b"snoop\0\0\0"
FILE_HEADER, RECORD_HEADER = 16, 24

_ETHERNET, _TOKEN_RING, _FDDI, _NULL, _IP_OVER_FC, _SUNATM, _IPNET = 1, 6, 10, 0, 122, 123, 226
_LINKS = {0: _ETHERNET, 2: _TOKEN_RING, 4: _ETHERNET, 8: _FDDI, 9: _NULL, 14: _NULL, 16: _IP_OVER_FC, 18: _SUNATM}
_LINKS |= {25: _ETHERNET, 0x80000005: _IPNET}
_SURVEYOR_LINKS = {0: _ETHERNET, 2: _TOKEN_RING, 4: _ETHERNET, 8: _FDDI, 10: _ETHERNET, 11: _TOKEN_RING}
_SURVEYOR_LINKS |= {12: _ETHERNET, 13: _TOKEN_RING, 14: _TOKEN_RING, 19: _ETHERNET}
_SURVEYOR_TRAILER = 16

#: Room for a record's padding beside the packet.
_PADDING_ROOM = 65536


@kernel
def walk_snoop(
    data: npt.NDArray[np.uint8],
    begin: int,
    end: int,
    limit: int,
    offset: npt.NDArray[np.int64],
    captured: npt.NDArray[np.int32],
    wire: npt.NDArray[np.int64],
    time_ns: npt.NDArray[np.int64],
) -> tuple[int, int, int, int, int]:
    """Walk the whole records in ``data[begin:end]``.

    Returns the count, where the first unread record begins, what the walk stopped at, that record's bytes, and how
    many packets the last record says were dropped before it (-1 without a record).
    """
    at = begin
    count = 0
    drops = -1
    while count < len(offset):
        if end - at < RECORD_HEADER:
            return count, at, MORE, RECORD_HEADER, drops
        taken = u32(data, at + 4, True)
        length = u32(data, at + 8, True)
        if taken > limit or length > limit + _PADDING_ROOM or length < RECORD_HEADER + taken:
            return count, at, DAMAGE, length, drops
        if end - at < length:
            return count, at, MORE, length, drops
        offset[count] = at + RECORD_HEADER
        captured[count] = taken
        wire[count] = u32(data, at, True)
        time_ns[count] = u32(data, at + 16, True) * 1_000_000_000 + u32(data, at + 20, True) * 1000
        drops = u32(data, at + 12, True)
        at += length
        count += 1
    return count, at, FULL, 0, drops


class SnoopReader(Reader):
    """The records of a snoop file whose header lies whole in the window.

    Raises
    ------
    CaptureError
        It is of an unknown version or of a link that libpcap's list does not know; the message lacks the path.
    """

    def __init__(self, window: Window, table: InterfaceTable, room: int, limit: int) -> None:
        super().__init__(window, table, room, limit)
        version, network = self._word(8), self._word(12)
        window.begin += FILE_HEADER
        surveyor = self._is_surveyor()
        name = "Surveyor" if surveyor else "snoop"
        self.format = f"{name} (version {version})"
        if not 2 <= version <= 5:
            raise CaptureError(f"a {name} capture of version {version}, which nobody has described. Capture again.")
        link = (_SURVEYOR_LINKS if surveyor else _LINKS).get(network)
        if link is None:
            raise CaptureError(f"a {name} capture of a network that is not read here (datalink type {network}).")
        index = table.add(Interface(link, None, 0, big_endian=True))
        if index is None:
            self._spoil("the capture has too many interfaces")
        else:
            self.columns.interface[:] = index

    def _word(self, at: int) -> int:
        begin = self.window.begin + at
        return int.from_bytes(self.window.data[begin : begin + 4].tobytes(), "big")

    def _is_surveyor(self) -> bool:
        """Whether the first record has the Surveyor's trailer; a pipe that has given none yet is snoop's."""
        window = self.window
        while window.end - window.begin < RECORD_HEADER:
            if window.stream.waits or not window.fill(RECORD_HEADER):
                return False
        return self._word(8) - RECORD_HEADER - self._word(4) >= _SURVEYOR_TRAILER

    def _walk(self) -> tuple[int, int, int]:
        window, columns = self.window, self.columns
        count, window.begin, status, amount, drops = walk_snoop(
            window.data,
            window.begin,
            window.end,
            self._limit,
            columns.offset,
            columns.captured,
            columns.wire,
            columns.time_ns,
        )
        if drops >= 0:
            self.notes.drops(None, None, drops)
        return count, status, amount

    def _stop_at(self, status: int, amount: int) -> None:
        if status == DAMAGE:
            self._spoil(f"a record claims {amount:,} bytes, too many or too few: garbage, or another file's end")
