"""Sniffing: the kernel's ring of packets on scapy's socket, or its socket read packet by packet where there is no ring.

scapy's own reading dissects nothing here: it costs some 150 microseconds a packet.
"""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING

import numpy as np

from analyzer.capture.bpf import Filter
from analyzer.capture.interfaces import InterfaceTable
from analyzer.capture.raw_reads import RawReads
from analyzer.capture.reader import Columns
from analyzer.capture.records import CaptureInfo, Interface, Records
from analyzer.capture.ring import PacketRing
from analyzer.capture.sniffer import ANY, Sniffer, capture_filter, interface_names, those_here
from analyzer.capture.writer import CaptureWriter, Target
from analyzer.errors import CaptureError, InterfaceError
from analyzer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


#: Longest packet taken, as tcpdump's default snap length.
SNAP_LENGTH = 262144
#: What the kernel may hold while nobody reads.
_KERNEL_BUFFER = 64 * 1024 * 1024
#: The longest that an empty batch waits for a packet.
_IDLE_S = 0.1
#: How long until it is seen that somebody has called ``stop``.
_LOOK_S = 0.05


class LiveSource:
    """A ``Source`` over interfaces; it captures from the moment that it is made.

    Parameters
    ----------
    interface
        A name, such as ``lo`` or ``eth0``, several of them, or ``any``. Of several and of ``any`` each packet carries a
        LINUX_SLL2 header, which tells where and in which direction it passed.
    port
        Only TCP from or to this port.
    bpf
        A capture filter, besides ``port``.
    count, duration_s
        End after so many packets, or so long.
    snap_length
        Bytes to keep of each packet; 0 for all.
    write
        Write all that comes to a file, too.
    ring
        Whether to ask for the kernel's ring.

    Raises
    ------
    InterfaceError
        There is no such interface, or it cannot be sniffed here.
    FilterError
        libpcap does not compile the filter; nothing has been opened then.
    PermissionDenied
        The system does not let this user sniff.
    MissingDependency
        scapy or libpcap is missing.
    CaptureError
        The file cannot be written.
    """

    def __init__(
        self,
        interface: str | Sequence[str],
        *,
        port: int | None = None,
        bpf: str | None = None,
        count: int | None = None,
        duration_s: float | None = None,
        snap_length: int = 0,
        write: Target | None = None,
        settings: Settings | None = None,
        ring: bool = True,
    ) -> None:
        self._settings = settings or Settings()
        names = [interface] if isinstance(interface, str) else list(interface)
        self._names, self._name = names, ", ".join(names)
        self._left = count
        self._until_s = None if duration_s is None else time.monotonic() + duration_s
        expression = capture_filter(port, bpf)
        self._sniffer = Sniffer(names, expression)
        self._filter = Filter(expression) if expression and self._sniffer.late_filter else None
        self.info = CaptureInfo(files=[self._name], formats=["live"], kernel_drops=0, bpf=expression)
        self._table = InterfaceTable(self.info)
        snap_length = snap_length or SNAP_LENGTH
        here = Interface(self._sniffer.link, self._name, snap_length)
        self._table.add(here)
        try:
            self._writer = CaptureWriter(write, here) if write else None
        except CaptureError:
            self._sniffer.close()
            raise
        self._packets: PacketRing | RawReads
        try:
            if not ring:
                raise OSError(errno.ENOPROTOOPT, "not asked for")
            self._packets = PacketRing(self._sniffer, _KERNEL_BUFFER, snap_length)
        except OSError:  # an old kernel, or no memory
            self._packets = RawReads(self._sniffer, _KERNEL_BUFFER, snap_length, self._settings.buffer_bytes)
        self._stopped = False
        self._closed = False

    @property
    def size_hint(self) -> int | None:
        """Nobody can tell."""
        return None

    @property
    def progress(self) -> float | None:
        """Nobody can tell."""
        return None

    def stop(self) -> None:
        """Let ``batches`` end after what is there; from any thread, also from a signal handler."""
        self._stopped = True

    def close(self) -> None:
        """Close the socket; may be called again."""
        if self._closed:
            return
        self._count_drops()
        self._closed = self._stopped = True
        self._packets.close()
        self._sniffer.close()
        if self._writer is not None:
            self._writer.close(self.info.kernel_drops)

    def batches(self) -> Iterator[Records]:
        """Yield what came, every 50 ms while packets come; an empty batch every 100 ms while none do.

        Raises
        ------
        InterfaceError
            The interface has gone away; what came before has been handed on.
        """
        room = self._settings.batch_records
        columns = Columns(room)
        frame = np.zeros(room, np.int64)
        file = np.zeros(room, np.int32)
        gone = last = False
        while not gone and not last and self._left != 0:
            self._packets.give_back()
            last = self._over()
            try:
                count = self._gather(columns, room)
            except OSError as error:
                count, gone = 0, self._is_gone(error)
            self._count_drops()
            np.add(np.arange(1, count + 1), self.info.records, out=frame[:count])
            records = self._selected(columns.records(count, self._packets.data, frame, file, frame, self._table.links))
            if self._writer is not None:
                self._writer.write(records)
            yield records
        if gone:
            raise InterfaceError(f"{self._name}: the interface has gone away. Those here now: {those_here()}.")

    def _gather(self, columns: Columns, room: int) -> int:
        """Take packets until the batch is full, or its time is up."""
        count, deadline = 0, time.monotonic() + _IDLE_S
        while not self._over():
            before, count = count, self._packets.take(columns, count, room)
            now = time.monotonic()
            if count and not before:
                deadline = min(deadline, now + self._packets.gather_s)
            if count == room or self._packets.full or now >= deadline:
                return count
            if count == before:
                self._packets.wait(min(deadline - now, _LOOK_S))
        # What the kernel still has in its hands when it is over.
        deadline = time.monotonic() + self._packets.retire_s
        while (count := self._packets.take(columns, count, room)) < room and not self._packets.full:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._packets.wait(left)
        return count

    def _over(self) -> bool:
        return self._stopped or (self._until_s is not None and time.monotonic() >= self._until_s)

    def _selected(self, records: Records) -> Records:
        """What of a batch is wanted: by a filter that the kernel could not have, and by the count."""
        count = len(records.frame)
        self.info.records += count
        self.info.bytes += int(records.captured.sum(dtype=np.int64))
        if self._filter:
            records = self._filter.apply(records, self.info.interfaces)
            self.info.filtered_out += count - len(records.frame)
        if self._left is not None:
            wanted = min(self._left, len(records.frame))
            records = Records._make([records.data, *(column[:wanted] for column in records[1:-1]), records.links])
            self._left -= wanted
        return records

    def _count_drops(self) -> None:
        """Add what the kernel had no room for since the last time."""
        if not self._closed:
            with contextlib.suppress(OSError):
                self.info.kernel_drops = (self.info.kernel_drops or 0) + self._packets.drops()

    def _is_gone(self, error: OSError) -> bool:
        """Whether the interface has gone for good; one that is merely down may come back."""
        if error.errno not in (errno.ENETDOWN, errno.ENODEV, errno.ENXIO):
            raise InterfaceError(f"{self._name}: reading stopped ({error.strerror}). Start again.") from error
        there = interface_names()
        return not any(name == ANY or name in there for name in self._names)
