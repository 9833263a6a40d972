"""The kernel's packet ring (TPACKET_V3): packets are read where the kernel has put them, blocks of them at a time.

``Documentation/networking/packet_mmap.rst`` and ``linux/if_packet.h``. A block goes to the kernel's side and back by one
word, its status; what a batch holds is the kernel's again once the next batch is asked for. Before each packet the kernel
leaves room (PACKET_RESERVE) into which its VLAN tag is put back, or the header of LINUX_SLL2 is written, both as libpcap
does.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.capture.reader import Columns
from analyzer.capture.words import u16, u32
from analyzer.kernel import kernel, part

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzer.capture.sniffer import Sniffer

_SOL_PACKET, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION, _PACKET_RESERVE = 263, 5, 6, 10, 12
_TPACKET_V3 = 2
_REQUEST = struct.Struct("=7I")  # tpacket_req3
_STATISTICS = struct.Struct("=3I")  # tpacket_stats_v3

BLOCK = 1 << 20  #: bytes; the longest packet (a super-segment of 64 KiB, a frame of 256 KiB) fits in one
_FRAME = 2048  # only asked for, not used by version 3
_RETIRE_MS = 50  #: a block that is not full is handed over after so long

SLL2_HEADER = 20
_TAG = 4

# tpacket_block_desc: words of its hdr_v1
_BLOCK_STATUS, _BLOCK_PACKETS, _BLOCK_FIRST = 8, 12, 16
_KERNELS, _OURS = 0, 1
# tpacket3_hdr, and sockaddr_ll behind it
_NEXT, _SECONDS, _NANOSECONDS, _CAPTURED, _WIRE, _STATUS, _MAC = 0, 4, 8, 12, 16, 20, 24
_VLAN, _VLAN_PROTOCOL = 32, 36
_PROTOCOL, _IFINDEX, _HARDWARE, _TYPE, _ADDRESS_LENGTH, _ADDRESS = 50, 52, 56, 58, 59, 60
_VLAN_VALID, _VLAN_PROTOCOL_VALID = 0x10, 0x40
_OUTGOING, _ARPHRD_LOOPBACK = 4, 772
_BIG = sys.byteorder == "big"


class PacketRing:
    """The ring of a sniffer's socket, set up once the socket has its filter; the socket stays its owner's.

    Parameters
    ----------
    sniffer
        Open, without a ring.
    held_bytes
        The ring's size: what the kernel holds while nobody reads. Packets beyond it are dropped and counted.
    snap_length
        Bytes to keep of each packet.

    Raises
    ------
    OSError
        The system has no such ring, or no memory for it.
    """

    gather_s = 0.0  #: how long a packet waits for others: the kernel has gathered them
    retire_s = 1.2e-3 * _RETIRE_MS  #: how long the last packets may be under way

    def __init__(self, sniffer: Sniffer, held_bytes: int, snap_length: int) -> None:
        self._socket = sniffer.socket
        self._cooked = sniffer.cooked
        self._only = np.array(sniffer.only, np.int64)
        self._snap_length = snap_length
        self._blocks = max(2, held_bytes // BLOCK)
        self._at = 0  #: the block whose turn it is
        self._next, self._left = 0, 0  #: in a block that was handed over: the next packet, and how many there are yet
        self._done: list[int] = []  #: blocks that go back to the kernel before the next are read
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_RESERVE, 32)
        frames = self._blocks * BLOCK // _FRAME
        request = _REQUEST.pack(BLOCK, self._blocks, _FRAME, frames, _RETIRE_MS, 0, 0)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
        self._memory = mmap.mmap(self._socket.fileno(), self._blocks * BLOCK)
        self.data: npt.NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8)
        self._status: npt.NDArray[np.uint32] = np.ndarray(
            (self._blocks,), np.uint32, self._memory, offset=_BLOCK_STATUS, strides=(BLOCK,)
        )
        self._walk(0, Columns(1), 0, 0)  # compiled before packets wait for it
        self._poll = select.poll()
        self._poll.register(self._socket.fileno(), select.POLLIN | select.POLLERR)

    @property
    def full(self) -> bool:
        """Whether nothing more can be taken before something is given back."""
        return len(self._done) == self._blocks

    def wait(self, seconds: float) -> None:
        """Wait for a packet, at most so long."""
        self._poll.poll(seconds * 1000)

    def take(self, columns: Columns, count: int, room: int) -> int:
        """Add the packets that are there to the columns from ``count`` on, up to ``room``; returns the new count.

        Raises
        ------
        OSError
            The interface has gone, or is down.
        """
        while count < room:
            if not self._left:
                if not int(self._status[self._at]) & _OURS or self.full:
                    error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if error and not count:
                        raise OSError(error, os.strerror(error))
                    break
                begin = self._at * BLOCK
                self._next = begin + self._word(begin + _BLOCK_FIRST)
                self._left = self._word(begin + _BLOCK_PACKETS)
            count, self._next, self._left = self._walk(self._left, columns, count, room)
            if not self._left:
                self._done.append(self._at)
                self._at = (self._at + 1) % self._blocks
        return count

    def give_back(self) -> None:
        """Hand the blocks that were read back to the kernel: what lies in them may change from now on."""
        for block in self._done:
            self._status[block] = _KERNELS
        self._done.clear()

    def drops(self) -> int:
        """How many packets the kernel had no room for since the last time."""
        counted = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        return int(_STATISTICS.unpack(counted)[1])

    def close(self) -> None:
        """Let go of the memory; before the socket is closed."""
        self.data = np.zeros(0, np.uint8)
        self._status = np.zeros(0, np.uint32)
        with contextlib.suppress(BufferError):  # somebody still looks at the last batch: it goes with that
            self._memory.close()

    def _walk(self, left: int, columns: Columns, count: int, room: int) -> tuple[int, int, int]:
        into = (columns.offset, columns.captured, columns.wire, columns.time_ns)
        return walk_block(self.data, self._next, left, self._cooked, self._only, self._snap_length, room, count, *into)

    def _word(self, at: int) -> int:
        return int.from_bytes(self._memory[at : at + 4], sys.byteorder)


@part
def _among(numbers: Any, wanted: int) -> bool:
    found = False
    for i in range(len(numbers)):
        found |= numbers[i] == wanted
    return found


@part
def _write_sll2(data: Any, begin: int, here: int) -> None:
    """Write the header of LINKTYPE_LINUX_SLL2 from the packet's address (sockaddr_ll), in network byte order."""
    data[begin] = data[here + _PROTOCOL]
    data[begin + 1] = data[here + _PROTOCOL + 1]
    data[begin + 2] = data[begin + 3] = 0
    ifindex = u32(data, here + _IFINDEX, _BIG)
    hardware = u16(data, here + _HARDWARE, _BIG)
    data[begin + 4] = ifindex >> 24
    data[begin + 5] = (ifindex >> 16) & 0xFF
    data[begin + 6] = (ifindex >> 8) & 0xFF
    data[begin + 7] = ifindex & 0xFF
    data[begin + 8] = hardware >> 8
    data[begin + 9] = hardware & 0xFF
    data[begin + 10] = data[here + _TYPE]
    data[begin + 11] = data[here + _ADDRESS_LENGTH]
    for i in range(8):
        data[begin + 12 + i] = data[here + _ADDRESS + i]


@kernel
def walk_block(
    data: Any,
    at: int,
    left: int,
    cooked: bool,
    only: Any,
    snap_length: int,
    room: int,
    count: int,
    offset: Any,
    captured: Any,
    wire: Any,
    time_ns: Any,
) -> tuple[int, int, int]:
    """List the packets of a block that the kernel has handed over; returns (count, the next packet, how many are left).

    The kernel's own words are trusted, for they are not the sender's.
    """
    while left > 0 and count < room:
        here = at
        at += u32(data, here + _NEXT, _BIG)
        left -= 1
        kind = data[here + _TYPE]
        hardware = u16(data, here + _HARDWARE, _BIG)
        if kind == _OUTGOING and hardware == _ARPHRD_LOOPBACK:
            continue  # on loopback each packet comes twice, going out and coming in
        if len(only) and not _among(only, u32(data, here + _IFINDEX, _BIG)):
            continue
        begin = here + u16(data, here + _MAC, _BIG)
        length, whole = u32(data, here + _CAPTURED, _BIG), u32(data, here + _WIRE, _BIG)
        status, tag = u32(data, here + _STATUS, _BIG), u32(data, here + _VLAN, _BIG)
        if cooked:
            begin -= SLL2_HEADER
            length += SLL2_HEADER
            whole += SLL2_HEADER
            _write_sll2(data, begin, here)
        elif (tag != 0 or status & _VLAN_VALID) and length >= 12:
            begin -= _TAG
            length += _TAG
            whole += _TAG
            for i in range(begin, begin + 12):
                data[i] = data[i + _TAG]
            protocol = u16(data, here + _VLAN_PROTOCOL, _BIG) if status & _VLAN_PROTOCOL_VALID else 0x8100
            data[begin + 12] = protocol >> 8
            data[begin + 13] = protocol & 0xFF
            data[begin + 14] = (tag >> 8) & 0xFF
            data[begin + 15] = tag & 0xFF
        offset[count] = begin
        captured[count] = min(length, snap_length)
        wire[count] = whole
        seconds, nanoseconds = u32(data, here + _SECONDS, _BIG), u32(data, here + _NANOSECONDS, _BIG)
        time_ns[count] = seconds * 1_000_000_000 + nanoseconds
        count += 1
    return count, at, left
