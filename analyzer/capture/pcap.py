"""Reading pcap files: both resolutions and byte orders, and the variants that went before or aside.

The format: draft-ietf-opsawg-pcap. A 24-byte file header, then records of a 16-byte header and the packet. The others,
after libpcap's ``sf-pcap.c`` and Wireshark's ``wiretap/libpcap.c``:

- before version 2.3 the two lengths stand the other way round; with 2.3, which programs wrote in both ways, the larger
  one is the wire's; DG/UX's tcpdump calls its version 543.0 and has the old order;
- Alexey Kuznetsov's "modified" pcap has 8 more bytes in each record header (12 in SuSE 6.3), mostly with a magic number
  of its own, but Red Hat 6.1 with the standard one, and so has Nokia's with 4 more: the first records tell which it is;
- AIX counts nanoseconds, under version 2.2 and the numbers of SNMP's ifType for the link;
- Ixia has magic numbers of its own and 4 more bytes in the file header; Navtel a magic number, and nanoseconds.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

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
_LONGEST_FILE_HEADER = 28


@dataclasses.dataclass(frozen=True, slots=True)
class _Kind:
    """A variant of the format."""

    name: str
    tick_ns: int = 1000
    record_header: int = 16
    file_header: int = FILE_HEADER


_STANDARD = _Kind("microseconds")
_KINDS = {
    0xA1B2C3D4: _STANDARD,
    0xA1B23C4D: _Kind("nanoseconds", 1),
    0xA1B2CD34: _Kind("modified, microseconds", record_header=24),
    0xA12B3C4D: _Kind("Navtel, nanoseconds", 1),
    0x1C0001AB: _Kind("Ixia, microseconds", file_header=_LONGEST_FILE_HEADER),
    0x1C0001AC: _Kind("Ixia, nanoseconds", 1, file_header=_LONGEST_FILE_HEADER),
}
MAGICS = {magic.to_bytes(4, order): order for magic in _KINDS for order in ("big", "little")}
#: What a file may be instead, magic number for magic number, if its records say so.
_DISGUISED = {
    0xA1B2C3D4: (_Kind("modified, Red Hat 6.1, microseconds", record_header=24), _Kind("Nokia", record_header=20)),
    0xA1B2CD34: (_Kind("modified, SuSE 6.3, microseconds", record_header=28),),
}

#: How the lengths of a record stand: captured first, wire first, or the smaller one is captured.
_IN_ORDER, _SWAPPED, _UNSURE = range(3)
_LENGTHS = {(2, 0): _SWAPPED, (2, 1): _SWAPPED, (2, 2): _SWAPPED, (2, 3): _UNSURE, (543, 0): _SWAPPED}

#: AIX: ifType to link type (Ethernet, Token Ring, FDDI, loopback); a frame of FDDI has so much padding before it.
_AIX = {6: 1, 9: 6, 15: 10, 24: 0}
_FDDI, _FDDI_PADDING = 10, 3

#: The first records are looked at; what no sound header of one has: such lengths, a time so far from the first one's.
_TRIED = 3
_MOST_CAPTURED, _MOST_ON_WIRE, _LONGEST_S = 262144, 128 * 1024 * 1024, 10 * 365 * 86400


@kernel
def walk_pcap(
    data: npt.NDArray[np.uint8],
    begin: int,
    end: int,
    big: bool,
    tick_ns: int,
    header: int,
    lengths: int,
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
        original = u32(data, at + 12, big)
        if lengths == _SWAPPED or (lengths == _UNSURE and length > original):
            length, original = original, length
        if length > limit:
            return count, at, DAMAGE, length
        if end - at - header < length:
            return count, at, MORE, header + length
        offset[count] = at + header
        captured[count] = length
        wire[count] = original
        time_ns[count] = u32(data, at, big) * 1_000_000_000 + u32(data, at + 4, big) * tick_ns
        at += header + length
        count += 1
    return count, at, FULL, 0


class PcapReader(Reader):
    """The records of a pcap file whose 24-byte header lies whole in the window."""

    def __init__(self, window: Window, table: InterfaceTable, room: int, limit: int) -> None:
        super().__init__(window, table, room, limit)
        header = window.data[window.begin : window.begin + FILE_HEADER].tobytes()
        order: Literal["little", "big"] = MAGICS[header[:4]]  # type: ignore[assignment]
        self._order = order
        self._big = order == "big"

        def word(at: int, size: int = 4) -> int:
            return int.from_bytes(header[at : at + size], order)

        magic, version, snap_length = word(0), (word(4, 2), word(6, 2)), word(16)
        # The upper half tells of frame check sequences; the lower one is the link type.
        link = word(20) & 0xFFFF
        self._kind = _KINDS[magic]
        self._lengths = _LENGTHS.get(version, _IN_ORDER)
        self._padding = 0
        if magic == 0xA1B2C3D4 and version == (2, 2) and link in _AIX:
            self._kind, link = _Kind("AIX, nanoseconds", 1), _AIX[link]
            self._padding = _FDDI_PADDING if link == _FDDI else 0
        missing = self._kind.file_header - FILE_HEADER
        window.begin += FILE_HEADER
        if not self._have(missing):
            self._spoil("the file ends inside its header")
        window.begin += min(missing, window.end - window.begin)
        if self._lengths == _IN_ORDER:
            self._kind = self._undisguised(magic)
        self.format = f"pcap ({self._kind.name}, {order}-endian)"
        index = table.add(Interface(link, None, snap_length, self._big))
        if index is None:
            self._spoil("the capture has too many interfaces")
        else:
            self.columns.interface[:] = index

    def _have(self, need: int) -> bool:
        """Have ``need`` bytes in the window, if the file has them."""
        while self.window.end - self.window.begin < need:
            if not self.window.fill(need):
                return False
        return True

    def _undisguised(self, magic: int) -> _Kind:
        """The kind that the first records speak for; without a doubt the one that the magic number names."""
        kinds = (self._kind, *_DISGUISED.get(magic, ()))
        if len(kinds) > 1:
            records, sound = self._sound_records(self._kind.record_header, strict=False)
            for kind in kinds[1:] if not sound else ():
                others, sound = self._sound_records(kind.record_header, strict=True)
                if sound and others > max(1, records):
                    return kind
        return self._kind

    def _sound_records(self, header: int, *, strict: bool) -> tuple[int, bool]:
        """How many of the first records make sense with headers of that size, and whether none makes none.

        ``strict``: neither zeros, of which captures are full, nor times far apart speak for a variant; but they are no
        reason to doubt what the magic number says. A pipe is not waited for: what it has given already has to do.
        """
        window = self.window
        at, first_s = 0, 0
        for number in range(_TRIED):
            if not self._in_sight(at + header):
                return number, True
            begin = window.begin + at
            words = window.data[begin : begin + header].tobytes()
            seconds, ticks, captured, wire = (int.from_bytes(words[i : i + 4], self._order) for i in (0, 4, 8, 12))
            first_s = first_s if number else seconds
            if ticks >= 1_000_000 or not strict <= captured <= min(wire, _MOST_CAPTURED) or wire > _MOST_ON_WIRE:
                return number, False
            if strict and abs(seconds - first_s) > _LONGEST_S:
                return number, False
            at += header + captured
        return _TRIED, True

    def _in_sight(self, need: int) -> bool:
        if self.window.stream.waits:
            return self.window.end - self.window.begin >= need
        return self._have(need)

    def _walk(self) -> tuple[int, int, int]:
        window, columns = self.window, self.columns
        count, window.begin, status, amount = walk_pcap(
            window.data,
            window.begin,
            window.end,
            self._big,
            self._kind.tick_ns,
            self._kind.record_header,
            self._lengths,
            self._limit,
            columns.offset,
            columns.captured,
            columns.wire,
            columns.time_ns,
        )
        if self._padding:
            padding = columns.captured[:count].clip(max=self._padding)
            columns.offset[:count] += padding
            columns.captured[:count] -= padding
            columns.wire[:count] -= padding
        return count, status, amount

    def _stop_at(self, status: int, amount: int) -> None:
        if status == DAMAGE:
            self._spoil(f"a record claims {amount:,} bytes, more than any packet has: garbage, or another file's end")
