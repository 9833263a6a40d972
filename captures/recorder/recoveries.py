"""Segments that come again, each for a reason of its own: two hosts, and a wire between them that does what it is told.

Both ends are captured, ``client.pcap`` and ``server.pcap``: before the loss and behind it. What the kernels counted stands
beside (``counted.csv``): how often a timer ran out, a probe was sent, a segment went again because the peer told of a loss.
"""

from __future__ import annotations

import contextlib
import csv
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .network import Host, RecordingError
from .stage import PORT, Stage, Tcpdump
from .wire import Passing, Wire, slow_wire

MSS = 500  # what a write sends: TCP_NODELAY
COUNTED = {
    "Tcp": ("RetransSegs",),
    "TcpExt": (
        "TCPTimeouts", "TCPLossProbes", "TCPLossProbeRecovery", "TCPFastRetrans", "TCPSlowStartRetrans", "TCPSynRetrans",
        "TCPSpuriousRTOs", "TCPDSACKRecv", "TCPDSACKOldSent", "TCPDSACKUndo", "TCPSACKReorder", "TCPTSReorder",
        "TCPKeepAlive", "TCPWinProbe",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Recovery:
    """A row of the table below. The client sends the data."""

    act: Callable[[Stage, Wire], None]

    @property
    def name(self) -> str:
        return self.act.__name__.replace("_", "-")

    @property
    def readme(self) -> str:
        return "".join(f"{line.strip()}\n" for line in (self.act.__doc__ or "").strip().splitlines())


# -------------------------------------------------------------------------------------------------------- scenarios


def again_after_an_outage(stage: Stage, wire: Wire) -> None:
    """Two hosts 20 ms apart, tcpdump at both: the wire is cut for 0.9 s while ten segments are under way.
    The client probes the tail, then its timer runs out, three times; the third one arrives, and the others come again behind it.
    Its kernel counts 1 loss probe, 3 time-outs, and 5 segments sent again in slow start."""
    client, server = _open(stage)
    wire.obey(lambda _: ())
    for _ in range(10):
        client.sendall(bytes(MSS))
    stage.pause(0.9)
    wire.carry_all()
    _read(server, 10 * MSS)
    _close(stage, client, server)


def again_without_sack(stage: Stage, wire: Wire) -> None:
    """Two hosts 20 ms apart without SACK, timestamps and loss probes, tcpdump at both: two losses.
    A single segment is lost, and its first two repetitions: three time-outs, each wait twice the one before.
    Then one of twelve is lost: three duplicate ACKs, a fast retransmission."""
    for host in stage.hosts:
        for name in ("tcp_sack", "tcp_timestamps", "tcp_early_retrans"):
            host.sysctl(name, 0)
    client, server = _open(stage)
    wire.obey(lambda segment: () if _data(segment, 1, 2, 3) else (0.0,))
    client.sendall(bytes(MSS))
    _read(server, MSS)
    stage.pause()
    _send(stage, client, 12)
    _read(server, 12 * MSS)
    stage.pause()
    _lose(wire, 3)
    _send(stage, client, 12)
    _read(server, 12 * MSS)
    _close(stage, client, server)


def again_fast(stage: Stage, wire: Wire) -> None:
    """Two hosts 20 ms apart, tcpdump at both: two of sixteen segments are lost, and come again at once.
    The server's SACK tells which are missing.
    The client's kernel counts 2 fast retransmissions."""
    client, server = _open(stage)
    _lose(wire, 3, 6)
    _send(stage, client, 16)
    _read(server, 16 * MSS)
    _close(stage, client, server)


def again_as_a_probe(stage: Stage, wire: Wire) -> None:
    """Two hosts 20 ms apart, tcpdump at both: the last of five segments is lost, so that nothing tells of it.
    After two round trips the client sends it again, to hear something (RFC 8985): a tail loss probe.
    Its kernel counts 1 loss probe and no time-out."""
    client, server = _open(stage)
    _lose(wire, 5)
    _send(stage, client, 5)
    _read(server, 5 * MSS)
    stage.pause()
    _close(stage, client, server)


def again_for_nothing(stage: Stage, wire: Wire) -> None:
    """Two hosts 20 ms apart, tcpdump at both: nothing is lost, but for a while the way to the server takes half a second more.
    The client probes the tail, and its timer runs out; then all arrives, in order, the first sendings and the repetitions.
    DSACK and the timestamps' echo show that there was no need."""
    client, server = _open(stage)
    wire.obey(lambda segment: (0.5,) if segment.to_server else (0.0,))
    for _ in range(6):
        client.sendall(bytes(MSS))
    _read(server, 6 * MSS)
    stage.pause(1.2)
    wire.carry_all()
    _close(stage, client, server)


def again_though_only_late(stage: Stage, wire: Wire) -> None:
    """Two hosts 20 ms apart, tcpdump at both: one of sixteen segments takes 30 ms more, and twelve overtake it.
    The client is told of a loss and sends it again at once; the server gets it twice and says so (DSACK).
    The client's kernel counts 1 fast retransmission, and the DSACK."""
    client, server = _open(stage)
    wire.obey(lambda segment: (0.03,) if _data(segment, 3) else (0.0,))
    _send(stage, client, 16)
    _read(server, 16 * MSS)
    stage.pause()
    _close(stage, client, server)


def overtaken_by_its_own_repetition(stage: Stage, wire: Wire) -> None:
    """Two hosts 20 ms apart, tcpdump at both: six segments take half a second more, what the client sends later 0.2 s.
    Its loss probe overtakes all of them, and tells the server that something is missing, and the client so.
    At the server the first sendings come behind the repetition: only the timestamps show which was which."""
    client, server = _open(stage)
    wire.obey(lambda segment: (0.2 if segment.again else 0.5,) if _data(segment) else (0.0,))
    for _ in range(6):
        client.sendall(bytes(MSS))
    _read(server, 6 * MSS)
    stage.pause(0.4)
    wire.carry_all()
    _close(stage, client, server)


def overtaken(stage: Stage, wire: Wire) -> None:
    """Two hosts 20 ms apart, tcpdump at both: one segment of eight takes 3 ms more, and two overtake it.
    The server sees it out of order; the client is told, but waits, and nothing comes again.
    Once more without timestamps: only the IP ID shows the order then."""
    for timestamps in (1, 0):
        for host in stage.hosts:
            host.sysctl("tcp_timestamps", timestamps)
        client, server = _open(stage)
        wire.obey(lambda segment: (0.003,) if _data(segment, 3) else (0.0,))
        _send(stage, client, 8)
        _read(server, 8 * MSS)
        stage.pause(0.1)
        _close(stage, client, server)


def doubled_by_the_network(stage: Stage, wire: Wire) -> None:
    """Two hosts 20 ms apart, tcpdump at both: the wire carries the second and the fourth of five segments twice.
    The server sees them twice, with the same IP ID, and answers with DSACK.
    The client sent each of them once; its kernel counts no retransmission."""
    client, server = _open(stage)
    wire.obey(lambda segment: (0.0, 0.0005) if _data(segment, 2, 4) else (0.0,))
    _send(stage, client, 5)
    _read(server, 5 * MSS)
    stage.pause(0.1)
    _close(stage, client, server)


def kept_alive(stage: Stage, _wire: Wire) -> None:
    """Two hosts 20 ms apart, tcpdump at both: a line, then nothing for 3.5 s.
    The client asks every second whether the server is still there (SO_KEEPALIVE, TCP_KEEPIDLE 1), and gets an answer.
    What Linux sends for that takes no number and has none of its own: SND.NXT - 1."""
    client, server = _open(stage)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    stage.type(client, b"hello\r\n", server)
    stage.pause(3.5)
    _close(stage, client, server)


def window_closed(stage: Stage, _wire: Wire) -> None:
    """Two hosts 20 ms apart, tcpdump at both: the server does not read, its window closes, data waits at the client.
    The client probes the window, after 0.2 s, 0.4 s, 0.8 s ...; after 2 s the server reads.
    What Linux sends for a probe looks as a keep-alive does: no octet, SND.UNA - 1."""
    client, server = _open(stage, buffer=2304)
    client.setblocking(False)
    size = 40 * MSS
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < size:
            sent += client.send(bytes(min(MSS, size - sent)))
    stage.pause(2.0)
    _read(server, sent)
    _close(stage, client, server)


def lost_twice(stage: Stage, wire: Wire) -> None:
    """Two hosts 20 ms apart, tcpdump at both: one of forty segments is lost, and so is its fast retransmission.
    What is SACKed of what was sent behind that tells of the second loss, too (RFC 8985).
    The client's kernel counts 2 fast retransmissions."""
    client, server = _open(stage)
    wire.obey(_losing_twice(3))
    _send(stage, client, 40)
    _read(server, 40 * MSS)
    _close(stage, client, server)


RECOVERIES = tuple(
    Recovery(act)
    for act in (
        again_after_an_outage,
        again_without_sack,
        again_fast,
        again_as_a_probe,
        again_for_nothing,
        again_though_only_late,
        overtaken_by_its_own_repetition,
        overtaken,
        doubled_by_the_network,
        kept_alive,
        window_closed,
        lost_twice,
    )
)


# ------------------------------------------------------------------------------------------------------------ parts


def _open(stage: Stage, buffer: int = 0) -> tuple[socket.socket, socket.socket]:
    """A connection over which some segments have gone: both ends know the round trip."""
    listener = stage.listen()
    if buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client, server = stage.open(listener)
    listener.close()
    if not buffer:
        for _ in range(3):
            stage.type(client, bytes(MSS), server)
            stage.pause(0.06)
    return client, server


def _send(stage: Stage, client: socket.socket, segments: int) -> None:
    for _ in range(segments):
        client.sendall(bytes(MSS))
        stage.pause(0.001)


def _read(server: socket.socket, octets: int) -> None:
    while octets:
        got = len(server.recv(octets))
        if not got:
            raise RecordingError("the connection ended too early")
        octets -= got


def _close(stage: Stage, client: socket.socket, server: socket.socket) -> None:
    stage.pause(0.1)
    client.close()
    stage.see_end(server)
    server.close()
    stage.pause(0.1)


def _lose(wire: Wire, *numbers: int) -> None:
    wire.obey(lambda segment: () if _data(segment, *numbers) else (0.0,))


def _data(segment: Passing, *numbers: int) -> bool:
    """One of these of what the client sends, or any."""
    return segment.to_server and segment.kind == "data" and (not numbers or segment.number in numbers)


def _losing_twice(which: int) -> Callable[[Passing], tuple[float, ...]]:
    lost: list[int] = []

    def rule(segment: Passing) -> tuple[float, ...]:
        if _data(segment, which) or (_data(segment) and segment.again and len(lost) == 1):
            lost.append(segment.number)
            return ()
        return (0.0,)

    return rule


# -------------------------------------------------------------------------------------------------------- recording


def record_recovery(recovery: Recovery, into: Path) -> str:
    """Play one and put its folder in place."""
    with contextlib.ExitStack() as cleaning:
        folder = Path(cleaning.enter_context(tempfile.TemporaryDirectory(prefix="record-")))
        wire = Wire()
        hosts = cleaning.enter_context(slow_wire(wire=wire))
        stage = Stage(hosts, folder, cleaning)
        dumps = []
        for host in hosts:
            dumps.append(Tcpdump(host, "any", f"tcp port {PORT}", folder / f"{host.label}.pcap"))
            cleaning.callback(dumps[-1].kill)
        recovery.act(stage, wire)
        counts = [dump.stop() for dump in dumps]
        with (folder / "counted.csv").open("w", newline="", encoding="ascii") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["host", "counter", "value"])
            for host in hosts:
                writer.writerows([host.label, name, value] for name, value in _counted(host))
        (folder / "README").write_text(recovery.readme, encoding="ascii")
        target = into / recovery.name
        target.mkdir(parents=True, exist_ok=True)
        for new in folder.iterdir():
            shutil.copyfile(new, target / new.name)
    return f"{counts[0]:4} packets at the client, {counts[1]} at the server"


def _counted(host: Host) -> list[tuple[str, int]]:
    """What the kernel counted in this namespace since it was made."""
    lines = []
    with host.inside():
        for name in ("snmp", "netstat"):
            lines += Path("/proc/thread-self/net", name).read_text(encoding="ascii").splitlines()
    found = []
    for heads, values in zip(lines[::2], lines[1::2], strict=True):
        group, *names = heads.split()
        for name, value in zip(names, values.split()[1:], strict=True):
            if name in COUNTED.get(group.removesuffix(":"), ()):
                found.append((name, int(value)))
    return found
