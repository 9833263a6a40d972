"""What is recorded: one small function a phenomenon, its three lines of docstring become the folder's README.

A scenario opens the capture itself, acts, and leaves; what it left open stays open until the capture has ended.
The table at the end says on which network each is played and what the kernel's tracepoint must show of it.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from .network import RecordingError, alone, cable, routed
from .stage import PORT, Scenario, Stage
from .wire import slow_wire

if TYPE_CHECKING:
    from collections.abc import Callable

# include/net/tcp_states.h
ESTABLISHED, CLOSED, CLOSE_WAIT = 1, 7, 8


def life_of_a_connection(stage: Stage) -> None:
    """One host, tcpdump -i any: a client connects to 127.0.0.1 port 9502 and types a line; the server answers it.
    Once more each way; then the client closes, and the server closes when it has read the end.
    All four segments of the close are there; the client is left in TIME_WAIT."""
    stage.capture()
    client, server = stage.open()
    stage.pause()
    stage.type(client, b"hello\r\n", server)
    stage.type(server, b"Server: hello\r\n", client)
    stage.pause()
    stage.type(client, b"quit\r\n", server)
    stage.type(server, b"Server: bye\r\n", client)
    stage.pause()
    client.close()
    stage.see_end(server)
    stage.pause()  # the FIN's own ACK comes before the server's FIN
    server.close()


def closed_by_server(stage: Stage) -> None:
    """One host, tcpdump -i any: a client connects to 127.0.0.1 port 9502, types a line and gets an answer.
    Then the server closes first, and the client closes when it has read the end.
    TIME_WAIT is left on the server's side: port 9502."""
    stage.capture()
    client, server = stage.open()
    stage.type(client, b"time?\r\n", server)
    stage.type(server, b"14:12:45\r\n", client)
    server.close()
    stage.see_end(client)
    stage.pause()
    client.close()


def half_close(stage: Stage) -> None:
    """One host, tcpdump -i lo: a client connects to 127.0.0.1 port 9502, types a line and calls shutdown(SHUT_WR).
    The server reads the end, but sends three more lines, one every 0.2 s, which the client reads.
    Then the server closes, and the client too."""
    stage.capture("lo")
    client, server = stage.open()
    stage.type(client, b"list\r\n", server)
    client.shutdown(socket.SHUT_WR)
    stage.see_end(server)
    for line in (b"one\r\n", b"two\r\n", b"three\r\n"):
        stage.pause()
        stage.type(server, line, client)
    server.close()
    stage.see_end(client)
    client.close()


def simultaneous_close(stage: Stage) -> None:
    """Two hosts, 20 ms apart, tcpdump -i any at the client (10.95.3.1): it connects to 10.95.3.2 port 9502.
    A line each way; both close within a millisecond: the FINs cross on the way, and neither acknowledges the other.
    Both ends pass through CLOSING."""
    stage.capture()
    client, server = stage.open()
    stage.type(client, b"ping\r\n", server)
    stage.type(server, b"pong\r\n", client)
    stage.pause()
    client.close()
    server.close()


def refused(stage: Stage) -> None:
    """One host, tcpdump -i any: nobody listens on 127.0.0.1 port 9502.
    A client connects three times and is refused each time: the kernel answers its SYN with an RST.
    No server socket exists."""
    stage.capture()
    for _ in range(3):
        with contextlib.suppress(ConnectionRefusedError):
            stage.connect()
            raise RecordingError("somebody listens")
        stage.pause()


def unanswered_syn(stage: Stage) -> None:
    """Two hosts, tcpdump -i any at the client (10.95.2.1): 10.95.2.2 listens, but its iptables drop all to port 9502.
    The client's SYN is repeated after 1 s and 3 s (tcp_syn_retries 2, tcp_syn_linear_timeouts 0).
    After 7 s the kernel gives up, 4 s after the capture's last packet: the way to CLOSED is no packet's doing."""
    stage.client.sysctl("tcp_syn_retries", 2)
    stage.client.sysctl("tcp_syn_linear_timeouts", 0)
    stage.server.iptables("-A", "INPUT", "-p", "tcp", "--dport", str(PORT), "-j", "DROP")
    stage.listen()
    stage.capture()
    with contextlib.suppress(TimeoutError):
        stage.connect()
        raise RecordingError("somebody answered")


def reset(stage: Stage) -> None:
    """One host, tcpdump -i any: a client connects to 127.0.0.1 port 9502 and types a line, which the server answers.
    Then the client calls close() with SO_LINGER 0: it sends an RST and no FIN.
    Both ends go from ESTABLISHED to CLOSED at once."""
    stage.capture()
    client, server = stage.open()
    stage.type(client, b"hello\r\n", server)
    stage.type(server, b"Server: hello\r\n", client)
    stage.pause()
    stage.abort(client)
    stage.wait_for_state(server, CLOSED)


def syn_lost(stage: Stage) -> None:
    """Two hosts, tcpdump -i any at the client (10.95.2.1): iptables at the server drop the first SYN to port 9502.
    The client sends it again after 1 s; this one arrives, and all is well.
    A line each way; the client closes, then the server."""
    rule = ("INPUT", "-p", "tcp", "--dport", str(PORT), "-j", "DROP")
    listener = stage.listen()
    stage.server.iptables("-I", *rule)
    stage.capture()
    client = stage.endpoint(stage.client)
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        client.connect(listener.getsockname())
    stage.pause()
    stage.server.iptables("-D", *rule)
    server = stage.accept(listener)
    client.settimeout(1)
    stage.type(client, b"late\r\n", server)
    stage.type(server, b"never mind\r\n", client)
    client.close()
    stage.see_end(server)
    stage.pause()
    server.close()


def deferred_accept(stage: Stage) -> None:
    """Two hosts, tcpdump -i any at the client (10.95.2.1): 10.95.2.2 port 9502 listens with TCP_DEFER_ACCEPT of one second.
    The client says nothing: its third segment is ignored, until the SYN-ACK has been repeated and acknowledged once more.
    Then a line each way; the client closes, then the server."""
    listener = stage.listen()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
    stage.capture()
    client, server = stage.open(listener)
    stage.type(client, b"at last\r\n", server)
    stage.type(server, b"never mind\r\n", client)
    client.close()
    stage.see_end(server)
    stage.pause()
    server.close()


def closed_in_syn_rcvd(stage: Stage) -> None:
    """Two hosts, 20 ms apart, tcpdump -i any at the client (10.95.3.1): fast open without a cookie, a line in the SYN.
    10.95.3.2 port 9502 accepts it in SYN_RCVD, answers and closes at once: its FIN is sent before the third segment comes.
    So the server never is in ESTABLISHED; the client closes when it has read the end."""
    for host in stage.hosts:
        host.sysctl("tcp_fastopen", 0x207)  # both sides, data in the SYN taken without a cookie
    listener = stage.listen()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    stage.capture()
    client = stage.endpoint(stage.client)
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        client.sendto(b"time?\r\n", socket.MSG_FASTOPEN, listener.getsockname())
    server = stage.accept(listener)
    client.settimeout(1)
    if server.recv(100) != b"time?\r\n":
        raise RecordingError("something else arrived")
    server.sendall(b"14:12:45\r\n")
    server.close()
    if client.recv(100) != b"14:12:45\r\n":
        raise RecordingError("something else arrived")
    stage.see_end(client)
    stage.pause()
    client.close()


def close_wait(stage: Stage) -> None:
    """One host, tcpdump -i any: three clients connect to 127.0.0.1 port 9502, type a line, and close after the answer.
    The server reads the end of each but never closes.
    When the capture ends it has three sockets in CLOSE_WAIT, and the clients' remains are in FIN_WAIT_2."""
    stage.capture()
    listener = stage.listen()
    for _ in range(3):
        client, server = stage.open(listener)
        stage.type(client, b"hello\r\n", server)
        stage.type(server, b"Server: hello\r\n", client)
        client.close()
        stage.see_end(server)
        stage.pause()


def midstream(stage: Stage) -> None:
    """One host, tcpdump -i any: begun when a client had connected to 127.0.0.1 port 9502, and a line had gone each way.
    The capture has no handshake: one more line each way.
    Then the client closes, and the server closes when it has read the end."""
    client, server = stage.open()
    stage.type(client, b"early\r\n", server)
    stage.type(server, b"unseen\r\n", client)
    stage.pause()
    stage.capture()
    stage.type(client, b"hello\r\n", server)
    stage.type(server, b"Server: hello\r\n", client)
    stage.pause()
    client.close()
    stage.see_end(server)
    stage.pause()
    server.close()


def offload(stage: Stage) -> None:
    """Two hosts, tcpdump -i eth0 at the client (10.95.2.1): it asks 10.95.2.2 port 9502 and is sent 20,000 bytes; it closes.
    Checksums and segmentation are left to the cards, which a veth pair never does: all checksums that the kernel wrote
    are the pseudo-header's sum only, and some segments are larger than the MSS of 1460."""
    stage.capture("eth0")
    client, server = stage.open()
    stage.type(client, b"list\r\n", server)
    stage.type(server, b"x" * 20_000, client)
    client.close()
    stage.see_end(server)
    stage.pause()
    server.close()


def wrong_checksum(stage: Stage) -> None:
    """Two hosts, tcpdump -i eth0 at the client (10.95.2.1): it types a line to 10.95.2.2 port 9502, which answers.
    Then an RST of a raw socket, in the client's name and at its next number, with a wrong checksum: the server ignores it.
    One more line each way; the client closes, then the server."""
    stage.capture("eth0")
    client, server = stage.open()
    stage.type(client, b"hello\r\n", server)
    stage.type(server, b"Server: hello\r\n", client)
    stage.pause()
    stage.forge_reset(client, stage.client, 0x1234)
    stage.pause()
    stage.type(client, b"still there?\r\n", server)
    stage.type(server, b"Server: yes\r\n", client)
    client.close()
    stage.see_end(server)
    stage.pause()
    server.close()


def lost_by_the_capture(stage: Stage) -> None:
    """One host, tcpdump -i any, which leaves out the datagrams of 152 bytes: two of the four lines that a client types to
    127.0.0.1 port 9502 have 100 bytes. The server reads and acknowledges them all the same.
    Then the client closes, and the server closes when it has read the end."""
    stage.capture("any", f"tcp port {PORT} and ip[2:2] != 152")
    client, server = stage.open()
    for size in (10, 100, 20, 100):
        stage.type(client, b"x" * size, server)
        stage.pause()
    client.close()
    stage.see_end(server)
    stage.pause()
    server.close()


def one_direction(stage: Stage) -> None:
    """One host, tcpdump -i any, which takes only what comes from port 9502: the client at 127.0.0.1 is not seen.
    It types two lines, which the server answers; the server's acknowledgements show how much it had.
    Then the client closes, and the server closes when it has read the end."""
    stage.capture("any", f"tcp src port {PORT}")
    _two_lines(stage)


def only_syn_fin_rst(stage: Stage) -> None:
    """One host, tcpdump -i any, which takes only segments with SYN, FIN or RST of port 9502 on 127.0.0.1.
    A client types two lines, which the server answers: none of that is in the capture, but the numbers go on.
    Then the client closes, and the server closes when it has read the end."""
    stage.capture("any", f"tcp port {PORT} and tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0")
    _two_lines(stage)


def _two_lines(stage: Stage) -> None:
    client, server = stage.open()
    for line in (b"hello\r\n", b"quit\r\n"):
        stage.type(client, line, server)
        stage.type(server, b"Server: " + line, client)
    client.close()
    stage.see_end(server)
    stage.pause()
    server.close()


def many_connections(stage: Stage) -> None:
    """Two hosts, tcpdump -i eth0 at the client (10.95.2.1, fd95:2::1): 60 connections to port 9502, half of them IPv6.
    Ten endings take turns: closed by client, by server, half-closed, in three segments, reset by client, by server,
    refused (port 9503), data after the client's close() answered by RST, left in CLOSE_WAIT, left open."""
    stage.capture("eth0", f"tcp portrange {PORT}-{PORT + 1}")
    listeners = {version: stage.listen(version) for version in (4, 6)}
    for _ in range(3):
        for version, listener in listeners.items():
            for end in ENDINGS:
                if end is not None:
                    client, server = stage.open(listener, version)
                    stage.type(client, b"hello\r\n", server)
                    stage.type(server, b"Server: hello\r\n", client)
                    end(stage, client, server)
                else:
                    with contextlib.suppress(ConnectionRefusedError):
                        stage.connect(version, PORT + 1)
                        raise RecordingError("somebody listens")


WITH_ICMP = f"tcp port {PORT} or icmp or (icmp6 and ip6[40] < 128)"  # errors; no neighbour discovery


def rejected(stage: Stage) -> None:
    """Two hosts, tcpdump -i eth0 at the client (10.95.2.1): 10.95.2.2 listens, but its iptables REJECT all to port 9502.
    Ten attempts, each with another ICMP error: port, protocol, host, net unreachable, three prohibitions; then three of
    ICMPv6. Whichever it is, it ends the attempt; one that finds connect() busy is lost, and the SYN is sent again."""
    for version in (4, 6):
        stage.listen(version)
    stage.capture("eth0", WITH_ICMP)
    for version, words in ((4, REJECTIONS), (6, REJECTIONS_6)):
        tables = stage.server.iptables if version == 4 else stage.server.ip6tables
        for word in words:
            tables("-F", "INPUT")
            tables("-A", "INPUT", "-p", "tcp", "--dport", str(PORT), "-j", "REJECT", "--reject-with", word)
            _fail(stage, version)


REJECTIONS = (
    "icmp-port-unreachable", "icmp-proto-unreachable", "icmp-host-unreachable", "icmp-net-unreachable",
    "icmp-host-prohibited", "icmp-net-prohibited", "icmp-admin-prohibited",
)  # fmt: skip
REJECTIONS_6 = ("icmp6-port-unreachable", "icmp6-addr-unreachable", "icmp6-adm-prohibited")


def _fail(stage: Stage, version: int, hops: int = 0) -> None:
    """Try to connect, and have an ICMP error end the attempt."""
    client = stage.endpoint(stage.client, version)
    if hops and version == 4:
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
    elif hops:
        client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    with contextlib.suppress(OSError):
        client.connect((stage.server.address(version), PORT))
        raise RecordingError("somebody answered")
    client.close()
    stage.pause(0.02)


def unreachable(stage: Stage) -> None:
    """Two hosts, a router between, tcpdump -i any at the client (10.95.4.1, fd95:4::1): no attempt gets to port 9502.
    The router says why, in ICMP and in ICMPv6: its route is unreachable, is prohibited, there is none; the time to live
    of 1 is exceeded; the server does not answer ARP and neighbour solicitations. An error while connect() is busy is lost."""
    router = stage.hosts[1]
    nets = {4: "10.95.5.0/24", 6: "fd95:5::/64"}
    stage.capture("any", WITH_ICMP)
    for version, net in nets.items():
        for kind in ("unreachable", "prohibit"):
            router.ip(f"-{version}", "route", "add", kind, stage.server.address(version))
            _fail(stage, version)
            router.ip(f"-{version}", "route", "del", kind, stage.server.address(version))
        router.ip(f"-{version}", "route", "del", net, "dev", "eth1")
        _fail(stage, version)
        router.ip(f"-{version}", "route", "add", net, "dev", "eth1")
        _fail(stage, version, hops=1)
        router.ip("neighbour", "del", stage.server.address(version), "dev", "eth1")
    stage.server.ip("link", "set", "eth0", "arp", "off", "down")
    for version in nets:
        _fail(stage, version)


def unreachable_for_a_while(stage: Stage) -> None:
    """Two hosts, a router between, tcpdump -i any at the client (10.95.4.1) that connects to port 9502; a line each way.
    Then the router's route is unreachable for 0.5 s: what the client sends meets ICMP host unreachable, and is sent again.
    The connection lives; a line back, the client closes, then the server."""
    stage.capture("any", WITH_ICMP)
    client, server = stage.open()
    stage.type(client, b"hello\r\n", server)
    stage.type(server, b"Server: hello\r\n", client)
    stage.hosts[1].ip("route", "add", "unreachable", "10.95.5.1/32")
    client.sendall(b"anybody?\r\n")
    stage.pause(0.5)
    stage.hosts[1].ip("route", "del", "unreachable", "10.95.5.1/32")
    if server.recv(100) != b"anybody?\r\n":
        raise RecordingError("something else arrived")
    stage.type(server, b"here\r\n", client)
    client.close()
    stage.see_end(server)
    stage.pause()
    server.close()


def path_mtu(stage: Stage) -> None:
    """Two hosts, a router between, tcpdump -i any at the client (10.95.4.1, fd95:4::1); behind the router the MTU is 1400.
    Two connections to port 9502, IPv4 and IPv6: the client's first full segments are too big, as the router says, and are
    sent again in smaller ones. Then the client closes, and the server."""
    stage.hosts[1].ip("link", "set", "eth1", "mtu", "1400")
    stage.capture("any", WITH_ICMP)
    for version in (4, 6):
        client, server = stage.open(version=version)
        stage.type(client, bytes(5000), server)
        client.close()
        stage.see_end(server)
        stage.pause(0.06)
        server.close()


def _by_client(stage: Stage, client: socket.socket, server: socket.socket) -> None:
    client.close()
    stage.see_end(server)
    stage.pause(0.06)  # for the FIN's own ACK, which the kernel delays by 40 ms
    server.close()


def _by_server(stage: Stage, client: socket.socket, server: socket.socket) -> None:
    _by_client(stage, server, client)


def _half_closed(stage: Stage, client: socket.socket, server: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    stage.see_end(server)
    stage.type(server, b"more\r\n", client)
    server.close()
    stage.see_end(client)
    client.close()


def _three_segments(stage: Stage, client: socket.socket, server: socket.socket) -> None:
    """The server's FIN overtakes the delayed ACK of the client's FIN, and acknowledges it."""
    client.close()
    stage.see_end(server)
    server.close()


def _reset_by_client(stage: Stage, client: socket.socket, server: socket.socket) -> None:
    stage.abort(client)
    stage.wait_for_state(server, CLOSED)


def _reset_by_server(stage: Stage, client: socket.socket, server: socket.socket) -> None:
    """close() while something is unread sends an RST."""
    client.sendall(b"unread\r\n")
    stage.pause(0.005)
    server.close()
    stage.wait_for_state(client, CLOSED)


def _abandoned(stage: Stage, client: socket.socket, server: socket.socket) -> None:
    """Nobody is there any more to read what comes after close()."""
    client.close()
    stage.see_end(server)
    stage.pause(0.06)
    server.sendall(b"too late\r\n")
    stage.wait_for_state(server, CLOSED)


def _left_in_close_wait(stage: Stage, client: socket.socket, server: socket.socket) -> None:
    client.close()
    stage.see_end(server)
    stage.wait_for_state(server, CLOSE_WAIT)


def _left_open(stage: Stage, client: socket.socket, server: socket.socket) -> None:
    stage.wait_for_state(client, ESTABLISHED)
    stage.wait_for_state(server, ESTABLISHED)


ENDINGS: tuple[Callable[[Stage, socket.socket, socket.socket], None] | None, ...] = (
    _by_client,
    _by_server,
    _half_closed,
    _three_segments,
    _reset_by_client,
    _reset_by_server,
    None,  # refused
    _abandoned,
    _left_in_close_wait,
    _left_open,
)

# What the tracepoint shows; FIN_WAIT_2>CLOSED and CLOSING>CLOSED are minisockets (see tracepoint.py).
OPENS = "CLOSED>SYN_SENT>ESTABLISHED"
ANSWERS = "LISTEN>SYN_RCVD>ESTABLISHED"
CLOSES_FIRST = "FIN_WAIT_1>FIN_WAIT_2>CLOSED"
CLOSES_LAST = "CLOSE_WAIT>LAST_ACK>CLOSED"
CROSSES = "FIN_WAIT_1>CLOSING>CLOSED"

# fmt: off
SCENARIOS = (
    #        what happens          where      the client's path             the server's path
    Scenario(life_of_a_connection, alone,     f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
    Scenario(closed_by_server,     alone,     f"{OPENS}>{CLOSES_LAST}",     f"{ANSWERS}>{CLOSES_FIRST}"),
    Scenario(half_close,           alone,     f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
    Scenario(simultaneous_close,   slow_wire, f"{OPENS}>{CROSSES}",         f"{ANSWERS}>{CROSSES}"),
    Scenario(refused,              alone,     "CLOSED>SYN_SENT>CLOSED",     None),
    Scenario(unanswered_syn,       cable,     "CLOSED>SYN_SENT>CLOSED",     None),
    Scenario(reset,                alone,     f"{OPENS}>CLOSED",            f"{ANSWERS}>CLOSED"),
    Scenario(syn_lost,             cable,     f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
    Scenario(deferred_accept,      cable,     f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
    Scenario(closed_in_syn_rcvd,   slow_wire, f"{OPENS}>{CLOSES_LAST}",     f"LISTEN>SYN_RCVD>{CLOSES_FIRST}"),
    Scenario(close_wait,           alone,     f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>CLOSE_WAIT"),
    Scenario(midstream,            alone,     f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
    Scenario(offload,              cable,     f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
    Scenario(wrong_checksum,       cable,     f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
    Scenario(lost_by_the_capture,  alone,     f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
    Scenario(one_direction,        alone,     f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
    Scenario(only_syn_fin_rst,     alone,     f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
    Scenario(many_connections,     cable,     None,                         None),
    Scenario(rejected,             cable,     "CLOSED>SYN_SENT>CLOSED",     None),
    Scenario(unreachable,          routed,    "CLOSED>SYN_SENT>CLOSED",     None),
    Scenario(unreachable_for_a_while, routed, f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
    Scenario(path_mtu,             routed,    f"{OPENS}>{CLOSES_FIRST}",    f"{ANSWERS}>{CLOSES_LAST}"),
)
# fmt: on
