"""Sniffing an interface: scapy opens the socket and attaches the filter; from there on packets are bytes in a buffer.

scapy's own reading dissects nothing here: it costs some 150 microseconds a packet. The socket is read with
``recvmsg``, which also tells the packet's direction, the kernel's time stamp, its length on the wire and the VLAN tag
that the kernel took out; the tag is put back as libpcap does.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import pathlib
import re
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.capture.bpf import Filter, compile_filter
from analyzer.capture.interfaces import InterfaceTable
from analyzer.capture.reader import Columns
from analyzer.capture.records import CaptureInfo, Interface, Records
from analyzer.errors import FilterError, InterfaceError, MissingDependency, PermissionDenied
from analyzer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_ETHERNET, _RAW = 1, 101
#: ARPHRD_ of ``linux/if_arp.h``, as in /sys/class/net/*/type, to the link type of what the socket gives.
_LINKS = {1: _ETHERNET, 772: _ETHERNET, 65534: _RAW, 768: _RAW, 769: _RAW, 776: _RAW, 778: _RAW}
_LOOPBACK = 772

_SOL_PACKET, _PACKET_STATISTICS, _PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING = 263, 6, 8, 23
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_PACKET_OUTGOING = 4
_VLAN_VALID, _VLAN_TPID_VALID = 0x10, 0x40
_AUXDATA = struct.Struct("=IIIHHHH")
_TIMESPEC = struct.Struct("@qq")

#: Longest packet taken, as tcpdump's default snap length; and room for a VLAN tag.
_SNAP_LENGTH = 262144
_TAG = 4
_KERNEL_BUFFER = 64 * 1024 * 1024
#: The longest that a packet waits for others before its batch is handed on, and an empty batch for any.
_GATHER_S, _IDLE_S = 0.05, 0.1
#: How long until it is seen that somebody has called ``stop``.
_LOOK_S = 0.05


def interface_names() -> list[str]:
    """The interfaces of this host, in the kernel's order."""
    return [name for _, name in socket.if_nameindex()]


class LiveSource:
    """A ``Source`` over an interface; it captures from the moment that it is made.

    Parameters
    ----------
    interface
        Its name, such as ``lo`` or ``eth0``.
    port
        Only TCP from or to this port.
    bpf
        A capture filter, besides ``port``.
    count
        End after this many packets.

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
    """

    def __init__(
        self,
        interface: str,
        *,
        port: int | None = None,
        bpf: str | None = None,
        count: int | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or Settings()
        self._interface = interface
        self._left = count
        arphrd = _arphrd(interface)
        self._loopback = arphrd == _LOOPBACK
        link = _LINKS[arphrd]
        expression = _expression(port, bpf)
        if expression:
            compile_filter(expression, link, live=True)
        # The kernel filters before the tag is put back: a filter that looks for one has to run behind that.
        late = expression is not None and re.search(r"\bvlan\b", expression) is not None
        self._filter = Filter(expression) if late and expression else None
        self.info = CaptureInfo(files=[interface], formats=["live"], kernel_drops=0, bpf=expression)
        self._table = InterfaceTable(self.info)
        self._table.add(Interface(link, interface, _SNAP_LENGTH))
        self._sniffer = _open(interface, None if late else expression)
        self._socket: socket.socket = self._sniffer.ins
        _enlarge(self._socket)
        if self._loopback:
            with contextlib.suppress(OSError):  # an old kernel: _receive drops them too
                self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
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
        self._sniffer.close()

    def batches(self) -> Iterator[Records]:
        """Yield what came, every 50 ms while packets come; an empty batch every 100 ms while none do.

        Raises
        ------
        InterfaceError
            The interface has gone away; what came before has been handed on.
        """
        slot = _SNAP_LENGTH + _TAG
        room = self._settings.batch_records
        data = np.empty(max(self._settings.buffer_bytes, 2 * slot), np.uint8)
        view = memoryview(data)  # type: ignore[arg-type]
        columns = Columns(room)
        frame = np.zeros(room, np.int64)
        file = np.zeros(room, np.int32)
        gone = False
        while not gone:
            count, at = 0, 0
            deadline = time.monotonic() + _IDLE_S
            while True:
                while count < room and at + slot <= len(data) and self._left != count:
                    try:
                        length = self._receive(view[at : at + slot], columns, count)
                    except BlockingIOError:
                        break
                    except OSError as error:
                        gone = self._is_gone(error)
                        break
                    if length:
                        if count == 0:
                            deadline = min(deadline, time.monotonic() + _GATHER_S)
                        columns.offset[count] += at
                        at += length
                        count += 1
                else:
                    break  # full
                if gone or self._stopped or not self._wait(deadline):
                    break
            self._count_drops()
            np.add(np.arange(1, count + 1), self.info.records, out=frame[:count])
            self.info.records += count
            self.info.bytes += int(columns.captured[:count].sum(dtype=np.int64))
            records = Records(
                data,
                columns.offset[:count],
                columns.captured[:count],
                columns.wire[:count],
                columns.time_ns[:count],
                columns.interface[:count],
                frame[:count],
                file[:count],
                frame[:count],
                columns.process[:count],
                self._table.links,
            )
            if self._filter:
                records = self._filter.apply(records, self.info.interfaces)
                self.info.filtered_out += count - len(records.frame)
            if self._left is not None:
                self._left -= len(records.frame)
            yield records
            if self._stopped or self._left == 0:
                return
        raise InterfaceError(f"{self._interface}: the interface has gone away. Those here now: {_those_here()}.")

    def _wait(self, deadline: float) -> bool:
        """Wait for a packet, at most until it is time to look around; False when the time is up or ``stop`` was called."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        select.select([self._socket.fileno()], [], [], min(left, _LOOK_S))
        return not self._stopped

    def _receive(self, view: memoryview, columns: Columns, index: int) -> int:
        """Take one packet into the view, leaving room for a tag before it.

        Returns the bytes used, 0 for a packet that is not wanted. ``columns.offset`` is counted from the view's begin.
        """
        length, ancillary, _, sender = self._socket.recvmsg_into([view[_TAG:]], 128, socket.MSG_DONTWAIT)
        if self._loopback and sender[2] == _PACKET_OUTGOING:
            return 0  # on loopback each packet comes twice, going out and coming in
        begin, wire = _TAG, length
        time_ns = 0
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(value) >= _TIMESPEC.size:
                seconds, rest_ns = _TIMESPEC.unpack_from(value)
                time_ns = seconds * 1_000_000_000 + rest_ns
            elif level == _SOL_PACKET and kind == _PACKET_AUXDATA and len(value) >= _AUXDATA.size:
                status, wire, _, _, _, tag, protocol = _AUXDATA.unpack_from(value)
                if (tag or status & _VLAN_VALID) and length >= 12:
                    begin = 0
                    view[:12] = bytes(view[_TAG : _TAG + 12])
                    view[12:16] = struct.pack("!HH", protocol if status & _VLAN_TPID_VALID else 0x8100, tag)
        tagged = _TAG - begin
        columns.offset[index] = begin
        columns.captured[index] = length + tagged
        columns.wire[index] = max(wire, length) + tagged
        columns.time_ns[index] = time_ns or time.time_ns()
        return _TAG + length

    def _count_drops(self) -> None:
        """Add what the kernel had no room for since the last time; reading the counter resets it."""
        if self._closed:
            return
        with contextlib.suppress(OSError):
            counted = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self.info.kernel_drops = (self.info.kernel_drops or 0) + struct.unpack("=II", counted)[1]

    def _is_gone(self, error: OSError) -> bool:
        """Whether the interface has gone for good; one that is merely down may come back."""
        if error.errno not in (errno.ENETDOWN, errno.ENODEV, errno.ENXIO):
            raise InterfaceError(f"{self._interface}: reading stopped ({error.strerror}). Start again.") from error
        return self._interface not in interface_names()


def _expression(port: int | None, bpf: str | None) -> str | None:
    """The one filter that both arguments ask for."""
    bpf = bpf.strip() if bpf else None
    if port is None:
        return bpf or None
    if not 0 <= port <= 65535:
        raise FilterError(f"port {port}: ports go from 0 to 65535.")
    return f"tcp port {port}" + (f" and ({bpf})" if bpf else "")


def _arphrd(interface: str) -> int:
    """The interface's hardware type, or an InterfaceError that says what to do."""
    pipe = f"tcpdump -i {interface} -w - | analyzer read -"
    if interface == "any":
        raise InterfaceError(f"any: sniffing all interfaces at once is not here yet. Meanwhile: {pipe}")
    if not hasattr(socket, "AF_PACKET"):
        raise InterfaceError(f"{interface}: sniffing needs Linux. Elsewhere: {pipe}")
    if interface not in interface_names():
        raise InterfaceError(f"{interface}: no such interface. Those here: {_those_here()}.")
    try:
        arphrd = int(pathlib.Path("/sys/class/net", interface, "type").read_text())
    except (OSError, ValueError):
        arphrd = 1
    if arphrd not in _LINKS:
        raise InterfaceError(f"{interface}: its packets are of a kind not read live (ARPHRD {arphrd}). Instead: {pipe}")
    return arphrd


def _those_here() -> str:
    return ", ".join(interface_names()) or "none"


def _open(interface: str, expression: str | None) -> Any:
    """Return scapy's listening socket with the filter attached."""
    try:
        import scapy.arch  # noqa: F401  # it chooses conf.L2listen
        from scapy.config import conf
        from scapy.error import Scapy_Exception
    except ImportError as error:
        raise MissingDependency("sniffing needs scapy: pip install scapy") from error
    chatter = logging.getLogger("scapy.runtime")
    disabled, chatter.disabled = chatter.disabled, True  # it would dissect, and says that it does not know how
    try:
        return conf.L2listen(iface=interface, filter=expression)
    except PermissionError as error:
        raise PermissionDenied(
            f"{interface}: this user may not sniff. Three ways out: "
            f"sudo tcpdump -i {interface} -w - | analyzer read -   or   sudo analyzer live -i {interface}   or, once, "
            "sudo setcap cap_net_raw,cap_net_admin+ep $(readlink -f $(command -v python3))"
        ) from error
    except Scapy_Exception as error:
        raise FilterError(f"capture filter '{expression}': {error}.") from error
    except OSError as error:
        raise InterfaceError(
            f"{interface}: cannot be opened ({error.strerror}). Those here: {_those_here()}."
        ) from error
    finally:
        chatter.disabled = disabled


def _enlarge(sniffer: socket.socket) -> None:
    """Give the kernel room for a burst; beyond its own limit only as root."""
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            sniffer.setsockopt(socket.SOL_SOCKET, option, _KERNEL_BUFFER)
        except OSError:
            continue
        return
