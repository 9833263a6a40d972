"""Hosts that packets pass through: captures in which ``tcpdump -i any`` shows each packet several times.

Client, host in the middle, server, each a namespace. The capture is made in the middle; what the ends sent is captured
beside it at their own interfaces, where each packet stands once. That, and how often the kernels of both ends say that they
retransmitted, is the truth to hold the middle against.
"""

from __future__ import annotations

import contextlib
import csv
import os
import select
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .network import Host, RecordingError, namespaces, run
from .stage import PORT, Stage, Tcpdump

PUBLISHED = 8080  # the port that is translated to PORT
TAG = 7
LINES = 40
SETTLED_S = 2.5  # IPv6 asks whether its own link-local addresses are taken, a bridge port listens first
FILTER = "not arp and not icmp and not icmp6"  # no more: libpcap cannot look behind a tag in a cooked capture


@dataclass(frozen=True)
class Passage:
    """A row of the table below."""

    act: Callable[[Stage], None]
    network: Callable[[], contextlib.AbstractContextManager[list[Host]]]

    @property
    def name(self) -> str:
        return self.act.__name__.replace("_", "-")

    @property
    def readme(self) -> str:
        return "".join(f"{line.strip()}\n" for line in (self.act.__doc__ or "").strip().splitlines())


# --------------------------------------------------------------------------------------------------------- networks


def cable(one: Host, name: str, other: Host, its_name: str) -> None:
    """A veth pair, both ends up."""
    run(
        "ip",
        "link",
        "add",
        name,
        "netns",
        one.namespace,
        "type",
        "veth",
        "peer",
        "name",
        its_name,
        "netns",
        other.namespace,
    )
    one.ip("link", "set", name, "up")
    other.ip("link", "set", its_name, "up")


def bridge(host: Host, name: str, *ports: str) -> None:
    host.ip("link", "add", name, "type", "bridge")
    host.ip("link", "set", name, "up")
    for port in ports:
        host.ip("link", "set", port, "master", name)


def address(host: Host, device: str, number: str, gateway: str | None = None) -> None:
    """``4.2`` is 10.95.4.2/24 and fd95:4::2/64; the gateway likewise."""
    net, own = number.split(".")
    host.ip("address", "add", f"10.95.{number}/24", "dev", device)
    host.ip("-6", "address", "add", f"fd95:{net}::{own}/64", "dev", device, "nodad")
    if gateway is not None:
        net, own = gateway.split(".")
        host.ip("route", "add", "default", "via", f"10.95.{gateway}")
        host.ip("-6", "route", "add", "default", "via", f"fd95:{net}::{own}")


def forward(host: Host) -> None:
    host.sysctl("ip_forward", 1)
    with host.inside():
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1", encoding="ascii")


@contextlib.contextmanager
def three(client_at: str, server_at: str) -> Iterator[list[Host]]:
    """Client and server, each with its eth0 on a cable to the host in the middle: its cl0 and sv0."""
    described = [("client", client_at), ("host", "0.1"), ("server", server_at)]
    ends = [(label, f"10.95.{at}", "fd95:{}::{}".format(*at.split("."))) for label, at in described]
    with namespaces(*ends) as made:
        client, host, server = made
        cable(client, "eth0", host, "cl0")
        cable(server, "eth0", host, "sv0")
        yield made


@contextlib.contextmanager
def bridged() -> Iterator[list[Host]]:
    with three("4.2", "4.3") as made:
        client, host, server = made
        bridge(host, "br0", "cl0", "sv0")
        address(client, "eth0", "4.2")
        address(server, "eth0", "4.3")
        yield made


@contextlib.contextmanager
def two_bridges() -> Iterator[list[Host]]:
    """A veth pair joins two bridges of one host."""
    with three("4.2", "4.3") as made:
        client, host, server = made
        cable(host, "left", host, "right")
        bridge(host, "br0", "cl0", "left")
        bridge(host, "br1", "right", "sv0")
        address(client, "eth0", "4.2")
        address(server, "eth0", "4.3")
        yield made


@contextlib.contextmanager
def routed(rules: tuple[str, ...] = ()) -> Iterator[list[Host]]:
    """rules: for iptables in the middle, and ip6tables where they name no address."""
    with three("4.2", "5.2") as made:
        client, host, server = made
        address(client, "eth0", "4.2", "4.1")
        address(host, "cl0", "4.1")
        address(host, "sv0", "5.1")
        address(server, "eth0", "5.2", "5.1")
        forward(host)
        for rule in rules:
            host.iptables(*rule.split())
            if "10.95" not in rule:
                run("ip", "netns", "exec", host.namespace, "ip6tables", "-w", *rule.split())
        yield made


@contextlib.contextmanager
def containers(rule: str) -> Iterator[list[Host]]:
    """As Docker does: the container behind a bridge that routes, and addresses translated."""
    with three("4.2", "5.2") as made:
        client, host, server = made
        bridge(host, "br0", "cl0")
        address(client, "eth0", "4.2", "4.1")
        address(host, "br0", "4.1")
        address(host, "sv0", "5.1")
        address(server, "eth0", "5.2")
        forward(host)
        host.iptables(*rule.split())
        yield made


@contextlib.contextmanager
def tunnelled() -> Iterator[list[Host]]:
    """Behind the bridge a VXLAN to the server's host."""
    with three("4.2", "4.3") as made:
        client, host, server = made
        address(host, "sv0", "5.1")
        address(server, "eth0", "5.2")
        for end, device, here, there in ((host, "sv0", "5.1", "5.2"), (server, "eth0", "5.2", "5.1")):
            end.ip("link", "add", "vxlan5", "type", "vxlan", "id", "5", "dstport", "4789", "dev", device,
                   "local", f"10.95.{here}", "remote", f"10.95.{there}")  # fmt: skip
            end.ip("link", "set", "vxlan5", "up")
        bridge(host, "br0", "cl0", "vxlan5")
        address(client, "eth0", "4.2")
        address(server, "vxlan5", "4.3")
        yield made


@contextlib.contextmanager
def tagged() -> Iterator[list[Host]]:
    """The way to the server is VLAN 7 on sv0: its device is vlan7, at the server eth0 is tagged likewise."""
    with three("4.2", "5.2") as made, contextlib.ExitStack() as cleaning:
        client, host, server = made
        for end, device in ((host, "sv0"), (server, "eth0")):
            cleaning.enter_context(vlan(end, device, "vlan7"))
        address(client, "eth0", "4.2", "4.1")
        address(host, "cl0", "4.1")
        address(host, "vlan7", "5.1")
        address(server, "vlan7", "5.2", "5.1")
        forward(host)
        yield made


@contextlib.contextmanager
def vlan(host: Host, lower: str, name: str) -> Iterator[None]:
    """A VLAN device on another one. A tap device and a thread, for 802.1Q is not in every kernel."""
    import fcntl
    import struct

    with host.inside():
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x0002 | 0x1000))  # TUNSETIFF, TAP, NO_PI
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        wire.bind((lower, 3))
    host.ip("link", "set", name, "up")
    stop_read, stop_write = os.pipe()

    def carry() -> None:
        header = bytes.fromhex("8100") + TAG.to_bytes(2)
        while True:
            ready = select.select([tap, wire, stop_read], [], [])[0]
            if stop_read in ready:
                return
            if tap in ready:
                frame = os.read(tap, 65536)
                wire.send(frame[:12] + header + frame[12:])
            if wire in ready:
                frame, sender = wire.recvfrom(65536)
                if sender[2] != socket.PACKET_OUTGOING:  # the kernel has taken the tag off already
                    os.write(tap, frame[:12] + frame[16:] if frame[12:14] == header[:2] else frame)

    carrier = threading.Thread(target=carry)
    carrier.start()
    try:
        yield
    finally:
        os.close(stop_write)
        carrier.join()
        wire.close()
        for descriptor in (tap, stop_read):
            os.close(descriptor)


# --------------------------------------------------------------------------------------------------------- passages


def copies_on_a_bridge(stage: Stage) -> None:
    """A host with a bridge, tcpdump -i any: client and server hang on its veth ports cl0 and sv0.
    A connection by IPv4, one by IPv6: three lines each way, closed by the client, then by the server.
    Each packet is there twice: In on one port, Out on the other."""
    _talk(stage, 4)
    _talk(stage, 6)


def copies_on_a_veth_pair(stage: Stage) -> None:
    """A host with two bridges joined by a veth pair, tcpdump -i any: a packet passes four interfaces.
    A connection by IPv4, one by IPv6: three lines each way, closed by the client, then by the server.
    Each packet is there four times, twice In and twice Out."""
    _talk(stage, 4)
    _talk(stage, 6)


def copies_at_a_router(stage: Stage) -> None:
    """A router, tcpdump -i any: a packet comes In on one interface and goes Out on the other, its TTL one less.
    A connection by IPv4, one by IPv6: three lines each way, closed by the client, then by the server.
    Each packet is there twice."""
    _talk(stage, 4)
    _talk(stage, 6)


def copies_in_a_vlan(stage: Stage) -> None:
    """A router, tcpdump -i any: the server is behind VLAN 7 on sv0, so its side shows each packet with the tag and without.
    A connection by IPv4, one by IPv6: three lines each way, closed by the client, then by the server.
    Each packet is there three times: on cl0, on vlan7, and tagged on sv0."""
    _talk(stage, 4)
    _talk(stage, 6)


def copies_in_a_tunnel(stage: Stage) -> None:
    """A host with a bridge that goes on in a VXLAN, tcpdump -i any: sv0 shows each packet inside the tunnel.
    A connection by IPv4, one by IPv6: three lines each way, closed by the client, then by the server.
    Each packet is there three times: on cl0, on vxlan5, and inside UDP port 4789 on sv0."""
    _talk(stage, 4)
    _talk(stage, 6)


def copies_and_snat(stage: Stage) -> None:
    """A container behind a bridge, tcpdump -i any on its host, whose iptables MASQUERADE what leaves (source 10.95.5.1).
    A connection by IPv4: three lines each way, closed by the client, then by the server.
    Each packet is there twice under the container's address (cl0, br0), once under the host's (sv0)."""
    _talk(stage, 4)


def copies_and_dnat(stage: Stage) -> None:
    """A container behind a bridge, tcpdump -i any on its host, whose iptables publish its port 9502 as 10.95.5.1:8080 (DNAT).
    A connection by IPv4 from outside: three lines each way, closed by the client, then by the server.
    Each packet is there once under the published address (sv0), twice under the container's (br0, cl0)."""
    with stage.client.inside():
        listener = stage.listen(host=stage.client)
    outside = stage.endpoint(stage.server)
    outside.connect(("10.95.5.1", PUBLISHED))
    _converse(stage, outside, stage.accept(listener))


def copies_and_losses(stage: Stage) -> None:
    """A router, tcpdump -i any, whose iptables drop one packet in ten at random between its interfaces.
    Four connections, IPv4 and IPv6, with timestamps and without: forty lines each way, 3 ms apart, closed by both.
    What was dropped is there once, In; what came through twice; each retransmission is a packet of its own."""
    listeners = {version: stage.listen(version) for version in (4, 6)}
    for timestamps in (1, 0):
        for end in (stage.client, stage.server):
            end.sysctl("tcp_timestamps", timestamps)
        for version, listener in listeners.items():
            client, server = stage.open(listener, version)
            for number in range(LINES):
                client.sendall(b"ask %02d\r\n" % number)
                server.sendall(b"answer %02d\r\n" % number)
                time.sleep(0.003)
            for reader, size in ((server, LINES * 8), (client, LINES * 11)):
                left = size
                while left:
                    left -= len(reader.recv(left))
            client.close()
            stage.see_end(server)
            server.close()
            time.sleep(1.0)  # lost FINs come again


def _talk(stage: Stage, version: int) -> None:
    client, server = stage.open(version=version)
    _converse(stage, client, server)


def _converse(stage: Stage, client: socket.socket, server: socket.socket) -> None:
    for line in (b"hello\r\n", b"how are you?\r\n", b"bye\r\n"):
        stage.type(client, line, server)
        stage.type(server, b"you said: " + line, client)
        stage.pause(0.05)
    client.close()
    stage.see_end(server)
    stage.pause(0.06)
    server.close()


DROPS = tuple(
    f"-A FORWARD -p tcp -{way} {interface} -m statistic --mode random --probability 0.1 -j DROP"
    for way, interface in (("i", "cl0"), ("i", "sv0"))
)
SNAT = f"-t nat -A POSTROUTING -o sv0 -p tcp --dport {PORT} -j MASQUERADE"
DNAT = f"-t nat -A PREROUTING -i sv0 -p tcp --dport {PUBLISHED} -j DNAT --to-destination 10.95.4.2:{PORT}"

PASSAGES = (
    Passage(copies_on_a_bridge, bridged),
    Passage(copies_on_a_veth_pair, two_bridges),
    Passage(copies_at_a_router, routed),
    Passage(copies_in_a_vlan, tagged),
    Passage(copies_in_a_tunnel, tunnelled),
    Passage(copies_and_snat, lambda: containers(SNAT)),
    Passage(copies_and_dnat, lambda: containers(DNAT)),
    Passage(copies_and_losses, lambda: routed(DROPS)),
)


# -------------------------------------------------------------------------------------------------------- recording


def record_passage(passage: Passage, into: Path) -> str:
    """Play one passage and put its folder in place; one line that says what was recorded.

    ``any.pcap`` is the middle's, ``client.pcap`` and ``server.pcap`` the ends' own, ``retransmitted.csv`` what the ends'
    kernels counted (``TcpRetransSegs``).
    """
    with contextlib.ExitStack() as cleaning:
        folder = Path(cleaning.enter_context(tempfile.TemporaryDirectory(prefix="record-")))
        client, host, server = cleaning.enter_context(passage.network())
        time.sleep(SETTLED_S)
        for version in (4, 6):  # neighbours know each other before the first SYN
            with contextlib.suppress(RecordingError):
                run("ip", "netns", "exec", client.namespace, "ping", "-c", "1", "-W", "1", server.address(version))
        stage = Stage([client, server], folder, cleaning)
        dumps = [Tcpdump(host, "any", FILTER, folder / "any.pcap")]
        cleaning.callback(dumps[0].kill)
        for end in (client, server):
            inner = "vxlan5" if passage.network is tunnelled and end is server else "eth0"
            inner = "vlan7" if passage.network is tagged and end is server else inner
            dumps.append(Tcpdump(end, inner, FILTER, folder / f"{end.label}.pcap"))
            cleaning.callback(dumps[-1].kill)
        passage.act(stage)
        counts = [dump.stop() for dump in dumps]
        with (folder / "retransmitted.csv").open("w", newline="", encoding="ascii") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["host", "segments"])
            writer.writerows([end.label, _retransmitted(end)] for end in (client, server))
        (folder / "README").write_text(passage.readme, encoding="ascii")
        target = into / passage.name
        target.mkdir(parents=True, exist_ok=True)
        for new in folder.iterdir():
            shutil.copyfile(new, target / new.name)
    return f"{counts[0]:4} packets in the middle, {counts[1]} and {counts[2]} at the ends"


def _retransmitted(host: Host) -> int:
    with host.inside():
        lines = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text(encoding="ascii").splitlines()]
    names, values = (line for line in lines if line[0] == "Tcp:")
    return int(values[names.index("RetransSegs")])
