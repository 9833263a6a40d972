"""The socket that sniffs: scapy opens it and attaches the filter.

One interface is scapy's own listening socket. Several, or ``any``, are a socket of ours on scapy's SuperSocket: a cooked
one that is bound to no interface and tells with each packet where it passed; scapy's own refuses ``any``.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import pathlib
import re
import shlex
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

from analyzer.capture.bpf import compile_filter
from analyzer.errors import FilterError, InterfaceError, MissingDependency, PermissionDenied
from analyzer.ports import asked_port

ANY = "any"
ETHERNET, RAW, SLL2 = 1, 101, 276
LOOPBACK = 772
#: ARPHRD_ of ``linux/if_arp.h``, as in /sys/class/net/*/type, to the link type of what the socket gives.
_LINKS = {1: ETHERNET, LOOPBACK: ETHERNET, 65534: RAW, 768: RAW, 769: RAW, 776: RAW, 778: RAW}
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_SO_ATTACH_FILTER = 26

# Classic BPF (linux/filter.h): drop what goes out on a loopback interface, for there it comes in as well.
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_BYTE, _LOAD_HALF, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x28, 0x15, 0x06
_PACKET_TYPE, _HARDWARE_TYPE = 0xFFFFF004, 0xFFFFF01C  # SKF_AD_OFF + SKF_AD_PKTTYPE, SKF_AD_HATYPE
_PACKET_OUTGOING, _LONGEST = 4, 262144
_NOT_TWICE = b"".join(
    _INSTRUCTION.pack(*instruction)
    for instruction in (
        (_LOAD_BYTE, 0, 0, _PACKET_TYPE),
        (_JUMP_IF_EQUAL, 0, 3, _PACKET_OUTGOING),
        (_LOAD_HALF, 0, 0, _HARDWARE_TYPE),
        (_JUMP_IF_EQUAL, 0, 1, LOOPBACK),
        (_RETURN, 0, 0, 0),
    )
)


def interface_names() -> list[str]:
    """The interfaces of this host, in the kernel's order."""
    return [name for _, name in socket.if_nameindex()]


def those_here() -> str:
    """What can be named here, to be shown."""
    return ", ".join([*interface_names(), ANY])


def capture_filter(port: int | None, bpf: str | None) -> str | None:
    """The one filter that both ask for.

    Raises
    ------
    ValueError
        There is no such port.
    """
    bpf = bpf.strip() if bpf else None
    if asked_port(port) is None:
        return bpf or None
    return f"tcp port {port}" + (f" and ({bpf})" if bpf else "")


class Sniffer:
    """An open packet socket with its filter attached.

    Parameters
    ----------
    interfaces
        Names, or ``any`` among them.
    expression
        The capture filter.

    Attributes
    ----------
    socket : socket
        AF_PACKET; it has no ring yet.
    cooked : bool
        Whether it gives packets from their network header on.
    link : int
        LINKTYPE_ of what it gives (LINUX_SLL2 if cooked, once the header has been written).
    only : tuple of int
        Interface numbers to which a cooked one has to be held; empty for all.
    late_filter : bool
        The kernel could not attach the filter, for it looks for a VLAN tag, which is put back only later.

    Raises
    ------
    InterfaceError, FilterError, PermissionDenied, MissingDependency
        One clear sentence each; nothing stays open.
    """

    def __init__(self, interfaces: Sequence[str], expression: str | None) -> None:
        kinds = {name: _arphrd(name) for name in interfaces if name != ANY}
        self.cooked = len(interfaces) != 1 or ANY in interfaces
        self.link = SLL2 if self.cooked else _LINKS[next(iter(kinds.values()))]
        self.only = () if ANY in interfaces else tuple(socket.if_nametoindex(name) for name in kinds)
        self._watched = dict(zip(kinds, self.only, strict=False)) if self.cooked else {}
        self.late_filter = False
        name = ", ".join(interfaces)
        if expression:  # before anything is opened
            compile_filter(expression, RAW if self.cooked else self.link, live=True)
            self.late_filter = not self.cooked and re.search(r"\bvlan\b", expression) is not None
        attached = None if self.late_filter else expression
        self._scapy = _opened(
            name, expression, lambda: _cooked(attached) if self.cooked else _listening(name, attached)
        )
        self.socket: socket.socket = self._scapy.ins
        if LOOPBACK in kinds.values() and not self.cooked:
            with contextlib.suppress(OSError):  # an old kernel: whoever reads drops them too
                self.socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)

    def gone(self) -> list[str]:
        """Name those of several interfaces that are not there any more, each once; the socket, bound to none, does not tell.

        Of a single one its socket tells.
        """
        names = [name for name, number in self._watched.items() if not _exists(number)]
        for name in names:
            del self._watched[name]
        return names

    @property
    def left(self) -> bool:
        """Whether any of several interfaces is there still, as far as ``gone`` has looked."""
        return not (self.cooked and self.only) or bool(self._watched)

    def refuse(self) -> None:
        """Let no more packets come: what has come stays to be read."""
        with contextlib.suppress(OSError):
            _attach(self.socket, _INSTRUCTION.pack(_RETURN, 0, 0, 0))

    def close(self) -> None:
        """Close the socket."""
        self._scapy.close()


def _exists(number: int) -> bool:
    try:
        socket.if_indextoname(number)
    except OSError:
        return False
    return True


def _arphrd(interface: str) -> int:
    """The interface's hardware type, or an InterfaceError that says what to do."""
    pipe = f"tcpdump -i {interface} -w - | analyzer read -"
    if interface not in interface_names():
        raise InterfaceError(f"{interface}: no such interface. Those here: {those_here()}.")
    try:
        arphrd = int(pathlib.Path("/sys/class/net", interface, "type").read_text())
    except (OSError, ValueError):
        arphrd = 1
    if arphrd not in _LINKS:
        raise InterfaceError(f"{interface}: its packets are of a kind not read live (ARPHRD {arphrd}). Instead: {pipe}")
    return arphrd


def _attach(opened: socket.socket, program: bytes) -> None:
    """Attach a filter's instructions."""
    instructions = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(instructions))  # sock_fprog
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)


def _listening(interface: str, expression: str | None) -> Any:
    from scapy.config import conf

    return conf.L2listen(iface=interface, filter=expression)


def _cooked(expression: str | None) -> Any:
    from scapy.arch.common import compile_filter as scapy_compile
    from scapy.arch.common import free_filter
    from scapy.supersocket import SuperSocket

    class AnySocket(SuperSocket):  # type: ignore[misc]  # scapy is untyped
        """A cooked packet socket of all interfaces."""

        desc = "read packets of all interfaces from their network header on"

        def __init__(self) -> None:
            self.ins = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
            self.outs = None

    opened = AnySocket()
    try:
        program = _NOT_TWICE
        if expression:
            compiled = scapy_compile(expression, linktype=12)  # DLT_RAW: filters see what the socket gives
            program += ctypes.string_at(compiled.bf_insns, compiled.bf_len * _INSTRUCTION.size)
            free_filter(compiled)
        else:
            program += _INSTRUCTION.pack(_RETURN, 0, 0, _LONGEST)
        _attach(opened.ins, program)
    except BaseException:
        opened.close()
        raise
    return opened


def _opened(name: str, expression: str | None, opening: Callable[[], Any]) -> Any:
    """Open; what goes wrong is said in one sentence."""
    if not hasattr(socket, "AF_PACKET"):
        raise InterfaceError(f"{name}: sniffing needs Linux. Elsewhere: tcpdump -i {name} -w - | analyzer read -")
    try:
        import scapy.arch  # noqa: F401  # it chooses conf.L2listen
        from scapy.error import Scapy_Exception
    except ImportError as error:
        raise MissingDependency("sniffing needs scapy: pip install scapy") from error
    chatter = logging.getLogger("scapy.runtime")
    disabled, chatter.disabled = chatter.disabled, True  # it would dissect, and says that it does not know how
    try:
        return opening()
    except PermissionError as error:
        raise PermissionDenied(
            f"{name}: this user may not sniff. Three ways out: "
            f"sudo tcpdump -i {name} -w - | analyzer read -   or   sudo analyzer live -i {name}   or, once, "
            f"sudo setcap cap_net_raw,cap_net_admin+ep {shlex.quote(os.path.realpath(sys.executable))}"
        ) from error
    except Scapy_Exception as error:
        raise FilterError(f"capture filter '{expression}': {error}.") from error
    except OSError as error:
        raise InterfaceError(f"{name}: cannot be opened ({error.strerror}). Those here: {those_here()}.") from error
    finally:
        chatter.disabled = disabled
