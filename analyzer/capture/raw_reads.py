"""A packet socket read packet by packet, where the kernel's ring cannot be had.

``recvmsg`` also tells the packet's direction, the kernel's time stamp, its length on the wire and the VLAN tag that the
kernel took out; the tag is put back, or the header of LINUX_SLL2 written, as libpcap does.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from typing import TYPE_CHECKING

from analyzer.capture.ring import SLL2_HEADER
from analyzer.capture.sniffer import LOOPBACK

if TYPE_CHECKING:
    from analyzer.capture.backlog import Slab
    from analyzer.capture.sniffer import Sniffer

_SOL_PACKET, _PACKET_STATISTICS, _PACKET_AUXDATA = 263, 6, 8
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_OUTGOING = 4
_VLAN_VALID, _VLAN_TPID_VALID = 0x10, 0x40
_AUXDATA = struct.Struct("=IIIHHHH")
_TIMESPEC = struct.Struct("@qq")
_SLL2 = struct.Struct("!HHIHBB8s")
_TAG = 4
_LONGEST = 262144
_GATHER_S = 0.05


class RawReads:
    """Reads a sniffer's socket into slabs.

    Parameters
    ----------
    sniffer
        Open; from now on this one's.
    held_bytes
        What the kernel may hold while nobody reads.
    snap_length
        Bytes to keep of each packet.
    """

    retire_s = 0.0

    def __init__(self, sniffer: Sniffer, held_bytes: int, snap_length: int) -> None:
        self._sniffer, self._socket = sniffer, sniffer.socket
        self._cooked, self._only = sniffer.cooked, sniffer.only
        self._snap_length = snap_length
        self._head = SLL2_HEADER if sniffer.cooked else _TAG
        self._slot = self._head + _LONGEST
        if sniffer.cooked:
            for level, option in ((_SOL_PACKET, _PACKET_AUXDATA), (socket.SOL_SOCKET, _SO_TIMESTAMPNS)):
                self._socket.setsockopt(level, option, 1)
        for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):  # beyond the system's limit only as root
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, held_bytes)
                break

    def wait(self, seconds: float) -> None:
        """Wait for a packet, and a little for others that come with it."""
        if select.select([self._socket.fileno()], [], [], seconds)[0]:
            time.sleep(min(seconds, _GATHER_S))

    def take(self, slab: Slab) -> None:
        """Add the packets that are there to a slab, up to its being full.

        Raises
        ------
        OSError
            The interface has gone, or is down.
        """
        while not slab.full:
            try:
                self._receive(slab)
            except BlockingIOError:
                break
            slab.full = slab.count == len(slab.columns.offset) or slab.used + self._slot > len(slab.data)

    def refuse(self) -> None:
        """Let no more packets come than have come."""
        self._sniffer.refuse()

    def drops(self) -> int:
        """How many packets the kernel had no room for since the last time; reading the counter resets it."""
        counted = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", counted)[1])

    def close(self) -> None:
        """Close the socket."""
        self._sniffer.close()

    def _receive(self, slab: Slab) -> None:
        """Take one packet behind room for a tag or header; not one that is not wanted."""
        at, head, columns, index = slab.used, self._head, slab.columns, slab.count
        view = slab.memory[at : at + self._slot]
        length, ancillary, _, sender = self._socket.recvmsg_into([view[head:]], 128, socket.MSG_DONTWAIT)
        name, protocol, kind, hardware, address = sender
        if kind == _OUTGOING and hardware == LOOPBACK:
            return  # on loopback each packet comes twice, going out and coming in
        begin, wire, time_ns = head, length, 0
        for level, what, value in ancillary:
            if level == socket.SOL_SOCKET and what == _SO_TIMESTAMPNS and len(value) >= _TIMESPEC.size:
                seconds, rest_ns = _TIMESPEC.unpack_from(value)
                time_ns = seconds * 1_000_000_000 + rest_ns
            elif level == _SOL_PACKET and what == _PACKET_AUXDATA and len(value) >= _AUXDATA.size:
                status, wire, _, _, _, tag, tag_protocol = _AUXDATA.unpack_from(value)
                if (tag or status & _VLAN_VALID) and length >= 12 and not self._cooked:
                    begin = 0
                    view[:12] = bytes(view[_TAG : _TAG + 12])
                    view[12:16] = struct.pack("!HH", tag_protocol if status & _VLAN_TPID_VALID else 0x8100, tag)
        if self._cooked:
            begin, ifindex = 0, _index(name)
            if self._only and ifindex not in self._only:
                return
            _SLL2.pack_into(view, 0, protocol, 0, ifindex, hardware, kind, len(address), address[:8])
        more = head - begin
        columns.offset[index] = at + begin
        columns.captured[index] = min(length + more, self._snap_length)
        columns.wire[index] = max(wire, length) + more
        columns.time_ns[index] = time_ns or time.time_ns()
        slab.used = at + head + length
        slab.count = index + 1


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:  # it went away with its last packets
        return 0
