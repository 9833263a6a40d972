"""Reading pcapng files: sections in either byte order, interfaces with their own clocks, packet blocks.

The format: draft-ietf-opsawg-pcapng. The walk over packet blocks is compiled; section and interface descriptions come
back to Python, and so do names, statistics and macOS's processes, up to a number; all other blocks are passed over
whole, without being kept in memory.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from analyzer.capture.notes import NAMES
from analyzer.capture.reader import DAMAGE, DESCRIPTION, FULL, MORE, SKIP, Reader
from analyzer.capture.records import OWN_NAME, Interface
from analyzer.capture.ticks import ticks_to_ns
from analyzer.capture.words import u16, u32
from analyzer.kernel import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analyzer.capture.interfaces import InterfaceTable
    from analyzer.capture.window import Window

SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 6
NAME_RESOLUTION, STATISTICS, PROCESS = 4, 5, 0x80000001
MAGIC = SECTION.to_bytes(4, "big")
_BYTE_ORDER_MAGIC = 0x1A2B3C4D

#: Options: of any block; of a section; of an interface description; of its statistics; of a packet and of a process, the
#: latter two with a number of Apple's own (its libpcap, ``pcap-ng.h``).
_END_OF_OPTIONS, _COMMENT = 0, 1
_APPLICATION = 4
_NAME, _RESOLUTION, _TIME_OFFSET = 2, 9, 14
_BEGAN, _ENDED, _INTERFACE_DROPS, _SYSTEM_DROPS = 2, 3, 5, 7
_PROCESS_AND_THREAD, _PROCESS_INDEX = 8, 0x8001
_PROCESS_NAME = 2
#: Records of a name resolution block, and the octets of their addresses.
_NAMES_OF = {1: 4, 2: 16}

#: What a section's block has at least.
_SECTION_FIXED = 28
#: Room that a packet block's options get beside the packet.
_OPTIONS_ROOM = 65536
#: So many blocks of names, statistics and processes are looked into; a file of nothing else would take hours.
_NOTED_BLOCKS = 200_000
#: A number that no process has, and the highest that the column of processes holds.
_UNKNOWN, _HIGHEST_PROCESS = -1, int(np.iinfo(np.int32).max)
#: What ``noted`` says of a record: nothing, or that it has no time of its own; else where its block with a comment is.
_NOTHING, _TIMELESS = -1, -2

#: Why a block is damage, by the number that the walk returns for it.
_WRONG_LENGTH, _WRONG_TRAILER, _WRONG_PACKET, _NO_INTERFACE = range(1, 5)
_WORDS = {
    _WRONG_LENGTH: "a block has an impossible length",
    _WRONG_TRAILER: "a block's two lengths differ",
    _WRONG_PACKET: "a packet claims more bytes than its block has or than any packet has",
    _NO_INTERFACE: "a packet names an interface that the section does not describe",
}


class _Section:
    """What the interfaces of the current section mean, as arrays for the walk."""

    def __init__(self) -> None:
        self.count = 0
        self.index = np.zeros(8, np.int32)
        self.resolution = np.zeros(8, np.uint8)
        self.offset_s = np.zeros(8, np.int64)
        self.snap_length = np.zeros(8, np.int64)
        self.processes = 0
        self.process = np.full(8, -1, np.int32)
        self.ours = False  #: written by a live session of ours

    def add(self, index: int, resolution: int, offset_s: int, snap_length: int) -> None:
        if self.count == len(self.index):
            for name in ("index", "resolution", "offset_s", "snap_length"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        at = self.count
        self.index[at], self.resolution[at] = index, resolution
        self.offset_s[at], self.snap_length[at] = offset_s, snap_length
        self.count += 1

    def add_process(self, number: int) -> None:
        if self.processes == len(self.process):
            self.process = np.concatenate([self.process, np.full_like(self.process, -1)])
        self.process[self.processes] = number
        self.processes += 1


@kernel
def walk_pcapng(  # noqa: PLR0917  # a kernel takes its arrays one by one
    data: npt.NDArray[np.uint8],
    begin: int,
    end: int,
    big: bool,
    limit: int,
    interfaces: int,
    index: npt.NDArray[np.int32],
    resolution: npt.NDArray[np.uint8],
    offset_s: npt.NDArray[np.int64],
    snap_length: npt.NDArray[np.int64],
    processes: npt.NDArray[np.int32],
    looks: bool,
    last_ns: int,
    offset: npt.NDArray[np.int64],
    captured: npt.NDArray[np.int32],
    wire: npt.NDArray[np.int64],
    time_ns: npt.NDArray[np.int64],
    interface: npt.NDArray[np.int32],
    process: npt.NDArray[np.int32],
    noted: npt.NDArray[np.int64],
) -> tuple[int, int, int, int]:
    """Walk the whole blocks in ``data[begin:end]`` up to the first that needs Python.

    ``noted`` gets where the block of a packet with a comment begins, -2 for one without a time, else -1.

    Returns the count of records, where the first unread block begins, what the walk stopped at, and that block's bytes
    (for ``DAMAGE``: which).
    """
    at = begin
    count = 0
    while count < len(offset):
        if end - at < 12:
            return count, at, MORE, 12
        kind = u32(data, at, big)
        if kind == SECTION:  # reads the same in both orders; its length may be in the other one
            return count, at, DESCRIPTION, 0
        length = u32(data, at + 4, big)
        if length < 12 or length & 3:
            return count, at, DAMAGE, _WRONG_LENGTH
        if kind == INTERFACE or (looks and (kind == NAME_RESOLUTION or kind == STATISTICS or kind == PROCESS)):
            return count, at, DESCRIPTION, length
        if kind in (ENHANCED_PACKET, OLD_PACKET):
            fixed = 32
        elif kind == SIMPLE_PACKET:
            fixed = 16
        else:
            if end - at < length:
                return count, at, SKIP, length
            if u32(data, at + length - 4, big) != length:
                return count, at, DAMAGE, _WRONG_TRAILER
            at += length
            continue
        if length < fixed:
            return count, at, DAMAGE, _WRONG_LENGTH
        if length > limit + _OPTIONS_ROOM:
            return count, at, DAMAGE, _WRONG_PACKET
        if end - at < length:
            return count, at, MORE, length
        if u32(data, at + length - 4, big) != length:
            return count, at, DAMAGE, _WRONG_TRAILER
        local = 0
        if kind == ENHANCED_PACKET:
            local = u32(data, at + 8, big)
        elif kind == OLD_PACKET:
            local = u16(data, at + 8, big)
        if local >= interfaces:
            return count, at, DAMAGE, _NO_INTERFACE
        if kind == SIMPLE_PACKET:
            original = u32(data, at + 8, big)
            taken = min(original, length - 16)
            if snap_length[local] > 0:
                taken = min(taken, snap_length[local])
            offset[count] = at + 12
            noted[count] = _TIMELESS
        else:
            taken = u32(data, at + 20, big)
            original = u32(data, at + 24, big)
            last_ns = ticks_to_ns(u32(data, at + 12, big), u32(data, at + 16, big), resolution[local], offset_s[local])
            offset[count] = at + 28
            noted[count] = _NOTHING
        if taken > limit or taken > length - fixed:
            return count, at, DAMAGE, _WRONG_PACKET
        captured[count] = taken
        wire[count] = original
        time_ns[count] = last_ns
        interface[count] = index[local]
        process[count] = -1
        if kind != SIMPLE_PACKET:
            option = at + 28 + (taken + 3 & ~3)
            stop = at + length - 4
            while stop - option >= 4:
                code = u16(data, option, big)
                size = u16(data, option + 2, big)
                option += 4
                if code == _END_OF_OPTIONS or size > stop - option:
                    break
                if code == _COMMENT:
                    noted[count] = at
                elif code == _PROCESS_AND_THREAD or code == _PROCESS_INDEX:
                    word = u32(data, option, big) if size >= 4 else _UNKNOWN
                    if code == _PROCESS_INDEX:
                        word = int(processes[word]) if word < len(processes) else _UNKNOWN
                    elif word == 0:
                        word = _UNKNOWN
                    if 0 <= word <= _HIGHEST_PROCESS:
                        process[count] = word
                option += size + 3 & ~3
        at += length
        count += 1
    return count, at, FULL, 0


class PcapngReader(Reader):
    """The records of a pcapng file; a Simple Packet Block, which has no time, takes the previous record's."""

    format = "pcapng"

    def __init__(self, window: Window, table: InterfaceTable, room: int, limit: int) -> None:
        super().__init__(window, table, room, limit)
        self._big = False
        self._section = _Section()
        self._sections = 0
        self._used: set[int] = set()
        self._last_ns = 0
        self._noted = np.zeros(max(1, room), np.int64)
        self._blocks_left = _NOTED_BLOCKS
        self._stop_at(DESCRIPTION, 0)

    def _walk(self) -> tuple[int, int, int]:
        """Walk on across descriptions that lie whole in the window, so that many small sections make one batch."""
        count, status, amount = self._walk_packets(0)
        while count and status == DESCRIPTION and self._lies_here(amount):
            self._stop_at(status, amount)
            if self._done:
                break
            more, status, amount = self._walk_packets(count)
            count += more
        return count, status, amount

    def _walk_packets(self, first: int) -> tuple[int, int, int]:
        """Walk the whole packets up to the next description; their columns begin at ``first``."""
        window, columns, section = self.window, self.columns, self._section
        count, window.begin, status, amount = walk_pcapng(
            window.data,
            window.begin,
            window.end,
            self._big,
            self._limit,
            section.count,
            section.index,
            section.resolution,
            section.offset_s,
            section.snap_length,
            section.process,
            self._blocks_left > 0,
            self._last_ns,
            columns.offset[first:],
            columns.captured[first:],
            columns.wire[first:],
            columns.time_ns[first:],
            columns.interface[first:],
            columns.process[first:],
            self._noted[first:],
        )
        if count:
            self._last_ns = int(columns.time_ns[first + count - 1])
            self._note_packets(first, count)
        return count, status, amount

    def _lies_here(self, length: int) -> bool:
        """Whether the first unread block is whole in the window; the length of a section's is not known yet (0)."""
        there = self.window.end - self.window.begin
        if not length and there >= _SECTION_FIXED:
            block = self.window.data[self.window.begin : self.window.begin + 12].tobytes()
            order: Literal["big", "little"] = "big" if block[8:] == _BYTE_ORDER_MAGIC.to_bytes(4, "big") else "little"
            length = int.from_bytes(block[4:8], order)
        return 0 < length <= there

    def _stop_at(self, status: int, amount: int) -> None:
        if status == DAMAGE:
            self._spoil(_WORDS[amount])
        elif status == SKIP:
            self._skip(amount)
        elif not amount:
            self._begin_section()
        elif self._word(0) == INTERFACE:
            self._describe_interface(amount)
        else:
            self._note_block(amount)

    def _note_packets(self, first: int, count: int) -> None:
        """Take up what the walk has noted of the records just read."""
        records = first + np.flatnonzero(self._noted[first : first + count] != _NOTHING)
        if not len(records):
            return
        places = self._noted[records]
        self.notes.timeless += int(np.count_nonzero(places == _TIMELESS))
        commented = places >= 0
        left = int(np.count_nonzero(commented))
        for record, place in zip(records[commented].tolist(), places[commented].tolist(), strict=True):
            if self.notes.full:
                self.notes.uncommented(left)
                return
            left -= 1
            at = place - self.window.begin  # negative: the walk has passed it
            options = at + 28 + (self._word(at + 20) + 3 & ~3)
            for code, value in self._options(options, at + self._word(at + 4) - 4):
                if code == _COMMENT:
                    self.notes.comment(value, frame=self.taken + record + 1)

    def _word(self, at: int, size: int = 4) -> int:
        """A word of the window's first unread block."""
        first = self.window.begin + at
        return int.from_bytes(self.window.data[first : first + size].tobytes(), "big" if self._big else "little")

    def _whole(self, need: int) -> bool:
        """Have ``need`` bytes of the first unread block in the window, or end."""
        while self.window.end - self.window.begin < need:
            if not self.window.fill(need):
                self._end(need)
                return False
        return True

    def _skip(self, length: int) -> bool:
        """Pass over the first unread block; its end must repeat its length."""
        start = self.window.offset
        if not self.window.skip(length - 4) or not self._whole(4):
            self._done = True
            what = self.window.stream.damage or f"the file ends inside a block of {length:,} bytes"
            self.damage = (start, what)
            return False
        if self._word(0) != length:
            self._done = True
            self.damage = (start, _WORDS[_WRONG_TRAILER])
            return False
        self.window.begin += 4
        return True

    def _begin_section(self) -> None:
        if not self._whole(_SECTION_FIXED):
            return None
        for big in (False, True):
            self._big = big
            if self._word(8) == _BYTE_ORDER_MAGIC:
                break
        else:
            return self._spoil("a section begins without the byte-order magic")
        length = self._word(4)
        if length < _SECTION_FIXED or length & 3:
            return self._spoil(_WORDS[_WRONG_LENGTH])
        if self._word(12, 2) != 1:
            return self._spoil(f"a section is of pcapng version {self._word(12, 2)}, which nobody has defined yet")
        self._section = _Section()
        self._sections += 1
        self._used.clear()
        if length <= self._limit + _OPTIONS_ROOM and self._whole(length):
            for code, value in self._options(24, length - 4):
                if code == _COMMENT:
                    self.notes.comment(value)
                elif code == _APPLICATION:
                    self._section.ours = value == OWN_NAME
        if not self._done:
            self._skip(length)
        return None

    def _describe_interface(self, length: int) -> None:
        if length < 20:
            return self._spoil(_WORDS[_WRONG_LENGTH])
        if length > self._limit + _OPTIONS_ROOM:
            return self._spoil(f"an interface description claims {length:,} bytes")
        if not self._whole(length):
            return None
        if self._word(length - 4) != length:
            return self._spoil(_WORDS[_WRONG_TRAILER])
        name, resolution, offset_s = None, 6, 0
        comments = []
        for code, value in self._options(16, length - 4):
            if code == _COMMENT:
                comments.append(value)
            elif code == _NAME:
                name = value.rstrip(b"\0").decode("utf-8", "replace") or None
            elif code == _RESOLUTION and len(value) == 1:
                resolution = value[0]
            elif code == _TIME_OFFSET and len(value) == 8:
                offset_s = int.from_bytes(value, "big" if self._big else "little", signed=True)
        snap_length = self._word(12)
        index = self._table.add(Interface(self._word(8, 2), name, snap_length, self._big), self._used)
        if index is None or self._section.count > 65535:
            return self._spoil("the capture describes too many interfaces")
        for comment in comments:
            self.notes.comment(comment, interface=index)
        self._used.add(index)
        self._section.add(index, resolution, offset_s, snap_length)
        self.window.begin += length
        return None

    def _note_block(self, length: int) -> None:
        """Take up names, statistics or a process; what is malformed inside says nothing."""
        self._blocks_left -= 1
        if length > self._limit + _OPTIONS_ROOM:
            self._skip(length)
            return None
        if not self._whole(length):
            return None
        if self._word(length - 4) != length:
            return self._spoil(_WORDS[_WRONG_TRAILER])
        kind = self._word(0)
        if kind == NAME_RESOLUTION:
            for code, value in self._options(8, length - 4):
                octets = _NAMES_OF.get(code)
                if octets and len(value) > octets:
                    names = [
                        name.decode("utf-8", "replace") for name in value[octets:].split(b"\0", NAMES)[:NAMES] if name
                    ]
                    self.notes.name(str(ipaddress.ip_address(value[:octets])), names)
        elif kind == STATISTICS and length >= 24:
            counts: dict[int, int] = {}
            for code, value in self._options(20, length - 4):
                if len(value) == 8:
                    counts[code] = int.from_bytes(value, "big" if self._big else "little")
                if code in (_BEGAN, _ENDED) and len(value) == 8 and self._section.ours:
                    # Of others it is not believed: a piece that was cut out may have the whole's. Written in nanoseconds.
                    note = self.notes.begin if code == _BEGAN else self.notes.end
                    note(int.from_bytes(value[4:] + value[:4], "little"))
            self.notes.drops((self._sections, self._word(8)), counts.get(_INTERFACE_DROPS), counts.get(_SYSTEM_DROPS))
        elif kind == PROCESS and length >= 16:
            number = self._word(8)
            if number <= _HIGHEST_PROCESS:
                for code, value in self._options(12, length - 4):
                    if code == _PROCESS_NAME:
                        self.notes.process(number, value.rstrip(b"\0").decode("utf-8", "replace"))
            self._section.add_process(number if number <= _HIGHEST_PROCESS else -1)
        self.window.begin += length
        return None

    def _options(self, at: int, end: int) -> Iterator[tuple[int, bytes]]:
        """The options of the first unread block; a malformed one ends them."""
        while end - at >= 4:
            code, length = self._word(at, 2), self._word(at + 2, 2)
            at += 4
            if code == _END_OF_OPTIONS or length > end - at:
                return
            first = self.window.begin + at
            yield code, self.window.data[first : first + length].tobytes()
            at += length + 3 & ~3
