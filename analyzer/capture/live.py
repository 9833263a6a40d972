"""Sniffing: the kernel's ring of packets on scapy's socket, or its socket read packet by packet where there is no ring.

scapy's own reading dissects nothing here: it costs some 150 microseconds a packet.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import numpy as np

from analyzer.capture.backlog import Backlog, Packets
from analyzer.capture.bpf import Filter
from analyzer.capture.interfaces import InterfaceTable
from analyzer.capture.raw_reads import RawReads
from analyzer.capture.records import CaptureInfo, Damage, Interface, Records
from analyzer.capture.ring import PacketRing
from analyzer.capture.sniffer import ANY, Sniffer, capture_filter, interface_names, those_here
from analyzer.capture.writer import CaptureWriter, Target
from analyzer.errors import CaptureError, InterfaceError
from analyzer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


#: Longest packet taken, as tcpdump's default snap length.
SNAP_LENGTH = 262144
#: What the kernel may hold while nobody reads.
_KERNEL_BUFFER = 64 * 1024 * 1024
#: The longest that an empty batch waits for a packet.
_IDLE_S = 0.1
#: So often somebody looks whether the interfaces are there still.
_LOOK_S = 0.5
#: The backlog takes no more than this part of the machine's memory.
_SHARE = 1 / 4


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
    tell
        Told at once, in a sentence, that one of several interfaces has gone away; by whoever takes the batches.
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
    ValueError
        There is no such port.
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
        tell: Callable[[str], object] | None = None,
        ring: bool = True,
    ) -> None:
        self._settings = settings or Settings()
        names = [interface] if isinstance(interface, str) else list(interface)
        self._names, self._name = names, ", ".join(names)
        self._left = count
        self._tell, self._began_s, self._looked_s = tell, time.monotonic(), 0.0
        expression = capture_filter(port, bpf)
        self._sniffer = Sniffer(names, expression)
        self._filter = Filter(expression) if expression and self._sniffer.late_filter else None
        self.info = CaptureInfo(files=[self._name], formats=["live"], kernel_drops=0, bpf=expression)
        self.info.began_ns = began_ns = time.time_ns()
        self._table = InterfaceTable(self.info)
        snap_length = snap_length or SNAP_LENGTH
        here = Interface(self._sniffer.link, self._name, snap_length)
        self._table.add(here)
        try:
            self._writer = CaptureWriter(write, here, began_ns) if write else None
        except CaptureError:
            self._sniffer.close()
            raise
        packets: Packets
        try:
            if not ring:
                raise OSError(errno.ENOPROTOOPT, "not asked for")
            packets = PacketRing(self._sniffer, _KERNEL_BUFFER, snap_length)
        except OSError:  # an old kernel, or no memory
            packets = RawReads(self._sniffer, _KERNEL_BUFFER, snap_length)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        most_bytes = min(self._settings.backlog_bytes, int(_SHARE * memory))
        # The duration begins now: until here scapy was loaded, and perhaps the ring's kernel compiled.
        until_s = None if duration_s is None else time.monotonic() + duration_s
        self._backlog = Backlog(packets, most_bytes, until_s, self._failed)
        self._closed = False

    @property
    def size_hint(self) -> int | None:
        """Nobody can tell."""
        return None

    @property
    def progress(self) -> float | None:
        """Nobody can tell."""
        return None

    @property
    def waiting(self) -> int:
        """How many packets have come and were not handed on yet."""
        return self._backlog.waiting

    def stop(self) -> None:
        """Let ``batches`` end after what is there; from any thread, also from a signal handler."""
        self._backlog.stop()

    def close(self) -> None:
        """Close the socket; may be called again."""
        if self._closed:
            return
        self._closed = True
        self._backlog.close()
        self.info.kernel_drops = self._backlog.drops
        if self._writer is not None:
            self._writer.close(self.info.ended_ns, self.info.kernel_drops)

    def batches(self) -> Iterator[Records]:
        """Yield what came; an empty batch every 100 ms while nothing does.

        Raises
        ------
        InterfaceError
            The interface has gone away, or all of several have; what came before has been handed on.
        """
        room = self._settings.batch_records
        numbers = np.arange(1, room + 1)
        frame = np.zeros(room, np.int64)
        file = np.zeros(room, np.int32)
        while self._left != 0:
            asked_ns = time.time_ns()
            taken = self._backlog.take(room, _IDLE_S)
            if taken is None:
                self.info.ended_ns = self._backlog.ended_ns
                return
            slab, begin, count = taken
            self._look()
            if not count and not self._sniffer.left:
                raise InterfaceError(f"{self._name}: the interfaces have gone away. Those here now: {those_here()}.")
            if not count:  # for longer than the kernel keeps a packet to itself: up to then none has come
                self.info.ended_ns = asked_ns
            self.info.kernel_drops = self._backlog.drops
            np.add(numbers[:count], self.info.records, out=frame[:count])
            records = slab.columns.records(count, slab.data, frame, file, frame, self._table.links, begin)
            records = self._selected(records)
            if self._writer is not None:
                self._writer.write(records)
            yield records

    def _selected(self, records: Records) -> Records:
        """What of a batch is wanted: by a filter that the kernel could not have, and by the count."""
        looked_at = len(records.frame)
        wanted = self._filter.apply(records, self.info.interfaces) if self._filter else records
        if self._left is not None:
            if len(wanted.frame) >= self._left:  # what comes after the last one has not come: it counts nowhere
                wanted = Records._make([wanted.data, *(column[: self._left] for column in wanted[1:-1]), wanted.links])
                looked_at = int(wanted.frame[-1]) - self.info.records
                self.info.ended_ns = int(wanted.time_ns[-1])
            self._left -= len(wanted.frame)
        self.info.records += looked_at
        self.info.bytes += int(records.captured[:looked_at].sum(dtype=np.int64))
        self.info.filtered_out += looked_at - len(wanted.frame)
        return wanted

    def _look(self) -> None:
        """Note which of several interfaces have gone away; the others go on."""
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        for name in self._sniffer.gone():
            what = f"the interface has gone away, {now_s - self._began_s:.0f} s after the beginning"
            self.info.damage.append(Damage(name, None, what))
            if self._tell is not None:
                self._tell(f"{name}: {what}" + ("; the others go on" if self._sniffer.left else ""))

    def _failed(self, error: OSError) -> None:
        """Say what has ended the reading, if anything did: an interface that is merely down may come back."""
        if error.errno not in (errno.ENETDOWN, errno.ENODEV, errno.ENXIO):
            raise InterfaceError(f"{self._name}: reading stopped ({error.strerror}). Start again.") from error
        there = interface_names()
        if not any(name == ANY or name in there for name in self._names):
            raise InterfaceError(f"{self._name}: the interface has gone away. Those here now: {those_here()}.")
