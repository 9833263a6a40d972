"""The kernel's packet ring (TPACKET_V3): packets are taken out of it blocks at a time, as many as there are.

``Documentation/networking/packet_mmap.rst`` and ``linux/if_packet.h``. A block goes to the kernel's side and back by one
word, its status. As the packets are copied, a VLAN tag that the kernel took out is put back, or the header of LINUX_SLL2
written, both as libpcap does.
"""

from __future__ import annotations

import errno
import mmap
import os
import select
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.capture.backlog import Slab
from analyzer.capture.words import u16, u32
from analyzer.kernel import kernel, part

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzer.capture.sniffer import Sniffer

_SOL_PACKET, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 263, 5, 6, 10
_TPACKET_V1, _TPACKET_V3 = 0, 2
_REQUEST = struct.Struct("=7I")  # tpacket_req3
_STATISTICS = struct.Struct("=3I")  # tpacket_stats_v3

BLOCK = 1 << 20  #: bytes; the longest packet (a super-segment of 64 KiB, a frame of 256 KiB) fits in one
_FRAME = 2048  # only asked for, not used by version 3
_RETIRE_MS = 50  #: a block that is not full is handed over after so long

SLL2_HEADER = 20
_MACS, _TAG = 12, 4

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
    """The ring of a sniffer's socket, set up once the socket has its filter.

    Parameters
    ----------
    sniffer
        Open, without a ring; from now on this one's.
    held_bytes
        The ring's size: what the kernel holds while nobody reads. Packets beyond it are dropped and counted.
    snap_length
        Bytes to keep of each packet.

    Raises
    ------
    OSError
        The system has no such ring, or no memory for it.
    """

    retire_s = 1.2e-3 * _RETIRE_MS

    def __init__(self, sniffer: Sniffer, held_bytes: int, snap_length: int) -> None:
        self._sniffer, self._socket = sniffer, sniffer.socket
        self._cooked = sniffer.cooked
        self._only = np.array(sniffer.only, np.int64)
        self._snap_length = snap_length
        self._blocks = max(2, held_bytes // BLOCK)
        self._place = np.array([0, 0, -1], np.int64)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        frames = self._blocks * BLOCK // _FRAME
        request = _REQUEST.pack(BLOCK, self._blocks, _FRAME, frames, _RETIRE_MS, 0, 0)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
        try:
            self._memory = mmap.mmap(self._socket.fileno(), self._blocks * BLOCK)
        except (OSError, ValueError) as error:  # the kernel would go on filling what nobody can read
            self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, bytes(_REQUEST.size))
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V1)
            raise OSError(errno.ENOMEM, f"the ring cannot be mapped ({error})") from error
        self._data: npt.NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8)
        self._status: npt.NDArray[np.uint32] = np.ndarray(
            (self._blocks,), np.uint32, self._memory, offset=_BLOCK_STATUS, strides=(BLOCK,)
        )
        self._copy(0, Slab())  # compiled before packets wait for it
        self._poll = select.poll()
        self._poll.register(self._socket.fileno(), select.POLLIN | select.POLLERR)

    def wait(self, seconds: float) -> None:
        """Wait for a packet, at most so long."""
        self._poll.poll(seconds * 1000)

    def take(self, slab: Slab) -> None:
        """Add the packets that are there to a slab, up to its being full, and give their blocks back to the kernel.

        Raises
        ------
        OSError
            The interface has gone, or is down.
        """
        at, ready = int(self._place[0]), 0
        while ready < self._blocks and int(self._status[(at + ready) % self._blocks]) & _OURS:
            ready += 1
        if not ready:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            return
        for block in range(at, at + self._copy(ready, slab)):
            self._status[block % self._blocks] = _KERNELS

    def refuse(self) -> None:
        """Let no more packets come than have come."""
        self._sniffer.refuse()

    def drops(self) -> int:
        """How many packets the kernel had no room for since the last time."""
        counted = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        return int(_STATISTICS.unpack(counted)[1])

    def close(self) -> None:
        """Let go of the memory, and close the socket."""
        self._data = np.zeros(0, np.uint8)
        self._status = np.zeros(0, np.uint32)
        self._memory.close()
        self._sniffer.close()

    def _copy(self, ready: int, slab: Slab) -> int:
        """Copy the packets of so many blocks behind those in a slab; returns how many blocks are done."""
        it = slab.columns
        into = (slab.data, it.offset, it.captured, it.wire, it.time_ns)
        wanted = (self._cooked, self._only, self._snap_length)
        done, used, count, slab.full = copy_packets(self._data, ready, self._place, wanted, into, slab.used, slab.count)
        slab.used, slab.count = used, count
        return int(done)


@part
def _among(numbers: Any, wanted: int) -> bool:
    found = False
    for i in range(len(numbers)):
        found |= numbers[i] == wanted
    return found


@part
def _write_sll2(out: Any, begin: int, data: Any, here: int) -> None:
    """Write the header of LINKTYPE_LINUX_SLL2 from the packet's address (sockaddr_ll), in network byte order."""
    out[begin] = data[here + _PROTOCOL]
    out[begin + 1] = data[here + _PROTOCOL + 1]
    out[begin + 2] = out[begin + 3] = 0
    ifindex = u32(data, here + _IFINDEX, _BIG)
    hardware = u16(data, here + _HARDWARE, _BIG)
    out[begin + 4] = ifindex >> 24
    out[begin + 5] = (ifindex >> 16) & 0xFF
    out[begin + 6] = (ifindex >> 8) & 0xFF
    out[begin + 7] = ifindex & 0xFF
    out[begin + 8] = hardware >> 8
    out[begin + 9] = hardware & 0xFF
    out[begin + 10] = data[here + _TYPE]
    out[begin + 11] = data[here + _ADDRESS_LENGTH]
    for i in range(8):
        out[begin + 12 + i] = data[here + _ADDRESS + i]


@part
def _write_tag(out: Any, begin: int, data: Any, here: int) -> None:
    """Write the VLAN tag that the kernel took out."""
    status, tag = u32(data, here + _STATUS, _BIG), u32(data, here + _VLAN, _BIG)
    protocol = u16(data, here + _VLAN_PROTOCOL, _BIG) if status & _VLAN_PROTOCOL_VALID else 0x8100
    out[begin] = protocol >> 8
    out[begin + 1] = protocol & 0xFF
    out[begin + 2] = (tag >> 8) & 0xFF
    out[begin + 3] = tag & 0xFF


@kernel
def copy_packets(
    data: Any,
    ready: int,
    place: Any,
    wanted: tuple[bool, Any, int],
    into: tuple[Any, Any, Any, Any, Any],
    used: int,
    count: int,
) -> tuple[int, int, int, bool]:
    """Copy the packets of blocks that the kernel has handed over, and list them.

    The kernel's own words are trusted, for they are not the sender's.

    Parameters
    ----------
    data, ready
        The ring, and how many blocks are handed over.
    place
        The block whose turn it is, the next packet in it, and how many are left there: -1 in a block not begun.
    wanted
        Whether cooked, of which interfaces only, and how many bytes of each.
    into, used, count
        The slab: its memory, the columns ``offset``, ``captured``, ``wire`` and ``time_ns``, and what is in it.

    Returns
    -------
    tuple
        How many blocks are done, the bytes and packets in the slab now, and whether it has no room for the next.
    """
    cooked, only, snap_length = wanted
    out, offset, captured, wire, time_ns = into
    done = 0
    while done < ready:
        if place[2] < 0:
            begin = place[0] * BLOCK
            place[1] = begin + u32(data, begin + _BLOCK_FIRST, _BIG)
            place[2] = u32(data, begin + _BLOCK_PACKETS, _BIG)
        here, left = place[1], place[2]
        while left > 0:
            length = np.int64(u32(data, here + _CAPTURED, _BIG))
            if count == len(offset) or used + length + SLL2_HEADER > len(out):
                place[1], place[2] = here, left
                return done, used, count, True
            at = here
            here += u32(data, at + _NEXT, _BIG)
            left -= 1
            hardware = u16(data, at + _HARDWARE, _BIG)
            if data[at + _TYPE] == _OUTGOING and hardware == _ARPHRD_LOOPBACK:
                continue  # on loopback each packet comes twice, going out and coming in
            if len(only) and not _among(only, u32(data, at + _IFINDEX, _BIG)):
                continue
            begin, more, kept = at + u16(data, at + _MAC, _BIG), 0, 0  # written besides, and copied before that
            if cooked:
                more = SLL2_HEADER
                _write_sll2(out, used, data, at)
            elif (u32(data, at + _VLAN, _BIG) or u32(data, at + _STATUS, _BIG) & _VLAN_VALID) and length >= _MACS:
                more, kept = _TAG, _MACS
                for i in range(_MACS):
                    out[used + i] = data[begin + i]
                _write_tag(out, used + _MACS, data, at)
            offset[count] = used
            captured[count] = min(length + more, snap_length)
            wire[count] = np.int64(u32(data, at + _WIRE, _BIG)) + more
            seconds, nanoseconds = u32(data, at + _SECONDS, _BIG), u32(data, at + _NANOSECONDS, _BIG)
            time_ns[count] = seconds * 1_000_000_000 + nanoseconds
            for i in range(kept + more, captured[count]):
                out[used + i] = data[begin + i - more]
            used += captured[count]
            count += 1
        place[0] = (place[0] + 1) % (len(data) // BLOCK)
        place[2] = -1
        done += 1
    return done, used, count, False
