"""The kernel's TCP sockets, by netlink ``sock_diag``: what ``ss`` asks.

pyroute2 knows the messages: the request is its ``inet_diag_req``, and the answers are read by the field tables of its
``inet_diag_msg`` and ``tcp_info``. The netlink socket is our own, and NumPy reads all answers at once, for three reasons
(pyroute2 0.9.7): its socket runs an event loop and refuses to where one runs already, as in a notebook; it does not
show the kernel's errors on this protocol; and its ``tcp_info`` gives our own window scale for both ends.

The answer is of the network namespace of the calling thread. It is no snapshot at one instant: the kernel walks its
tables while sockets come and go.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

NETLINK_SOCK_DIAG = 4  #: linux/netlink.h; the socket module does not name it
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_ERROR = struct.Struct("=i")  # struct nlmsgerr's first field, and what NLMSG_DONE carries
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_BUFFER_BYTES = 1 << 18  # the kernel fills at most 32 KiB at a time (netlink_dump); room for what it may do later
_TIMEOUT_S = 10.0
_ALL_STATES = (1 << 14) - 1
"""Of include/net/tcp_states.h, up to TCP_BOUND_INACTIVE: sockets that are bound and no more (since Linux 6.8)."""

KERNEL_STATES: tuple[str, ...] = (
    "UNKNOWN", "ESTABLISHED", "SYN_SENT", "SYN_RCVD", "FIN_WAIT_1", "FIN_WAIT_2", "TIME_WAIT", "CLOSED", "CLOSE_WAIT",
    "LAST_ACK", "LISTEN", "CLOSING", "SYN_RCVD", "CLOSED",
)  # fmt: skip
"""Our word for each of include/net/tcp_states.h; 12 is TCP_NEW_SYN_RECV, 13 TCP_BOUND_INACTIVE."""

#: enum of include/uapi/linux/inet_diag.h
_INFO, _CONGESTION, _MEMORY, _SHUTDOWN, _ONLY_IPV6 = 2, 4, 7, 8, 11
_WANTED = sum(1 << (extension - 1) for extension in (_INFO, _CONGESTION, _MEMORY))

MEMORY_FIELDS = (
    "rmem_alloc", "rcvbuf", "wmem_alloc", "sndbuf", "fwd_alloc", "wmem_queued", "optmem", "backlog", "drops",
)  # fmt: skip
"""SK_MEMINFO_*, in order (include/uapi/linux/sock_diag.h)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the kernel said: rows of the same socket in all arrays."""

    time_ns: int
    message: npt.NDArray[np.void]  #: inet_diag_msg
    info: npt.NDArray[np.void]  #: tcp_info; zeros where the kernel gave less
    info_length: npt.NDArray[np.int64]  #: octets of it that the kernel gave: 0 for LISTEN, TIME_WAIT, SYN_RCVD
    memory: npt.NDArray[np.uint32]  #: a column each of MEMORY_FIELDS
    memory_known: npt.NDArray[np.bool_]
    shutdown: npt.NDArray[np.int8]  #: 1 receive, 2 send, 3 both; 0 neither, or not told
    only_ipv6: npt.NDArray[np.int8]  #: -1 where the kernel does not say
    congestion: list[str | None]


@functools.cache
def formats() -> tuple[npt.DTypeLike, np.dtype[np.void]]:
    """Return the layouts of inet_diag_msg and tcp_info, from pyroute2's field tables."""
    from pyroute2.netlink.diag import inet_diag_msg

    return _layout(inet_diag_msg.fields), _layout(inet_diag_msg.tcp_info.fields)


def _layout(fields: tuple[tuple[str, str], ...]) -> np.dtype[np.void]:
    """Turn a table of names and ``struct`` formats into a packed dtype; the kernel's layouts have no holes here."""
    columns: list[Any] = []
    for name, form in fields:
        order = form[0] if form[0] in "><" else "="
        count, kind = form.lstrip("><")[:-1], form[-1]
        size = struct.calcsize("=" + kind)
        columns.append((name, f"{order}u{size}", (int(count),)) if count else (name, f"{order}u{size}"))
    return np.dtype(columns)


def ask() -> Answer:
    """Ask the kernel for all TCP sockets of this network namespace.

    Raises
    ------
    HostError
        If this system, its kernel or a sandbox does not answer.
    """
    if not hasattr(socket, "AF_NETLINK"):
        raise HostError("no netlink here: only Linux tells queues, timers and round trips of its sockets")
    message, info = formats()
    collected = _Collected(np.dtype(message).itemsize, np.dtype(info).itemsize)
    time_ns = time.time_ns()
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as asking:
            asking.settimeout(_TIMEOUT_S)
            asking.bind((0, 0))
            for sequence, family in enumerate((socket.AF_INET, socket.AF_INET6), 1):
                try:
                    for body in _answers(asking, family, sequence):
                        collected.add(body)
                except OSError as error:
                    if family != socket.AF_INET6 or error.errno not in {errno.ENOENT, errno.EINVAL, errno.EAFNOSUPPORT}:
                        raise  # a kernel without IPv6 has no such sockets
    except OSError as error:
        raise HostError(
            f"the kernel does not list its sockets (netlink sock_diag: {error.strerror or error})"
        ) from error
    return collected.answer(time_ns, message, info)


def _answers(asking: socket.socket, family: int, sequence: int) -> Iterator[memoryview]:
    """Send the request and yield the body of each answer: inet_diag_msg and attributes."""
    asking.send(_request(family, sequence))
    buffer = bytearray(_BUFFER_BYTES)
    while True:
        length, _, flags, _ = asking.recvmsg_into([buffer])
        if flags & socket.MSG_TRUNC:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        view = memoryview(buffer)[:length]
        place = 0
        while place + _HEADER.size <= length:
            size, kind, _, number, _ = _HEADER.unpack_from(view, place)
            if size < _HEADER.size or place + size > length:
                raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
            body = view[place + _HEADER.size : place + size]
            place += size + 3 & ~3
            if number != sequence:
                continue
            if kind in {_NLMSG_ERROR, _NLMSG_DONE}:
                failed = -_ERROR.unpack_from(body)[0] if len(body) >= _ERROR.size else 0
                if failed > 0:
                    raise OSError(failed, os.strerror(failed))
                return
            yield body


def _request(family: int, sequence: int) -> bytes:
    from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
    from pyroute2.netlink.diag import SOCK_DIAG_BY_FAMILY, inet_diag_req

    request = inet_diag_req()
    request["header"]["type"] = SOCK_DIAG_BY_FAMILY
    request["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
    request["header"]["sequence_number"] = sequence
    request["sdiag_family"] = family
    request["sdiag_protocol"] = socket.IPPROTO_TCP
    request["idiag_ext"] = _WANTED
    request["idiag_states"] = _ALL_STATES
    request["idiag_src"] = request["idiag_dst"] = 0
    request.encode()
    return bytes(request.data)


class _Collected:
    """The answers' bytes, side by side until NumPy reads them."""

    def __init__(self, message_bytes: int, info_bytes: int) -> None:
        self._sizes = message_bytes, info_bytes
        self._messages, self._infos, self._memories = bytearray(), bytearray(), bytearray()
        self._lengths: list[int] = []
        self._shutdowns: list[int] = []
        self._only_ipv6: list[int] = []
        self._congestion: list[str | None] = []
        self._memory_known: list[bool] = []

    def add(self, body: memoryview) -> None:
        message_bytes, info_bytes = self._sizes
        memory_bytes = 4 * len(MEMORY_FIELDS)
        if len(body) < message_bytes:
            return
        info, memory, shutdown, only_ipv6, congestion = b"", b"", 0, -1, None
        place = message_bytes
        while place + 4 <= len(body):
            size, kind = _ATTRIBUTE.unpack_from(body, place)
            if size < 4:
                break
            value = body[place + 4 : place + size]
            if kind == _INFO:
                info = bytes(value[:info_bytes])
            elif kind == _MEMORY:
                memory = bytes(value[:memory_bytes])
            elif kind == _SHUTDOWN:
                shutdown = value[0] & 3
            elif kind == _ONLY_IPV6:
                only_ipv6 = value[0]
            elif kind == _CONGESTION:
                congestion = bytes(value).rstrip(b"\0").decode("ascii", "backslashreplace")
            place += size + 3 & ~3
        self._messages += body[:message_bytes]
        self._infos += info.ljust(info_bytes, b"\0")
        self._memories += memory.ljust(memory_bytes, b"\0")
        self._lengths.append(len(info))
        self._memory_known.append(bool(memory))
        self._shutdowns.append(shutdown)
        self._only_ipv6.append(only_ipv6)
        self._congestion.append(congestion)

    def answer(self, time_ns: int, message: npt.DTypeLike, info: npt.DTypeLike) -> Answer:
        return Answer(
            time_ns=time_ns,
            message=np.frombuffer(bytes(self._messages), message),
            info=np.frombuffer(bytes(self._infos), info),
            info_length=np.array(self._lengths, np.int64),
            memory=np.frombuffer(bytes(self._memories), np.uint32).reshape(-1, len(MEMORY_FIELDS)),
            memory_known=np.array(self._memory_known, np.bool_),
            shutdown=np.array(self._shutdowns, np.int8),
            only_ipv6=np.array(self._only_ipv6, np.int8),
            congestion=self._congestion,
        )
