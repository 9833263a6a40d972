"""The programs that talk in ``captures.py``: many short connections of every ending, or a few long ones at full speed.

Run by ``captures.py`` inside its namespaces, never by hand::

    traffic.py web-server | traffic.py web-client CONNECTIONS SEED
    traffic.py bulk-server | traffic.py bulk-client BYTES_A_STREAM

A request is a head (``HEAD``) and padding; the head says how long both are, how long the server should think, and who
is to end the connection in which way.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import resource
import socket
import struct
import sys
import threading

from namespaces import CLIENTS_IPV4, CLIENTS_IPV6, REFUSED_PORT, SERVER_IPV4, SERVER_IPV6, SILENT_PORT

HEAD = struct.Struct("!BxHHxxI")
"""Ending, thinking time in ms, bytes of padding, bytes of the response."""

ENDINGS = {
    "client closes": 48,
    "server closes": 20,
    "keep-alive, client closes": 10,
    "client resets": 6,
    "server resets": 4,
    "client half-closes": 4,
    "unanswered": 3,
    "refused": 5,
}
"""Each ending's share of the connections in percent."""

NAMES = list(ENDINGS)
PORTS = (80, 443, 8080, 5432, 9502)
BULK_PORT = 5201
IPV6_SHARE = 0.12
AT_ONCE = 160
PATIENCE_S = 6
IP_BIND_ADDRESS_NO_PORT = 24
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
FILL = bytes(range(32, 127)) * 1000


async def serve_one(connection: socket.socket) -> None:
    """Answer requests until one side ends the connection."""
    loop = asyncio.get_running_loop()
    with connection, contextlib.suppress(OSError):
        while head := await read_exactly(connection, HEAD.size):
            ending, think_ms, padding, response = HEAD.unpack(head)
            await read_exactly(connection, padding)
            name = NAMES[ending]
            if name == "client half-closes":
                await loop.sock_recv(connection, 1)
            if think_ms:
                await asyncio.sleep(think_ms / 1000)
            await loop.sock_sendall(connection, FILL[:response])
            if name == "server resets":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            if name.startswith(("server", "client half")):
                return


async def read_exactly(connection: socket.socket, wanted: int) -> bytes:
    """Read so many bytes; fewer (or none) when the other side has closed."""
    loop = asyncio.get_running_loop()
    got = b""
    while len(got) < wanted:
        more = await loop.sock_recv(connection, min(wanted - len(got), 65536))
        if not more:
            break
        got += more
    return got


async def web_server() -> None:
    """Listen on every port of both families and serve each connection in its own task."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def accept(listener: socket.socket) -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            task = loop.create_task(serve_one(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    listeners = [listen(family, address, port) for family, address in families() for port in PORTS]
    print("ready", flush=True)
    await asyncio.gather(*map(accept, listeners))


def families() -> list[tuple[socket.AddressFamily, str]]:
    """The server's addresses with their families."""
    return [(socket.AF_INET, SERVER_IPV4), (socket.AF_INET6, SERVER_IPV6)]


def listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    """Open a listening socket that does not block."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(4096)
    listener.setblocking(False)
    return listener


async def ask(ending: str, chance: random.Random) -> None:
    """Make one connection with this ending."""
    loop = asyncio.get_running_loop()
    with contextlib.closing(open_socket(chance)) as connection:
        target = SERVER_IPV6 if connection.family == socket.AF_INET6 else SERVER_IPV4
        if ending == "unanswered":
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(loop.sock_connect(connection, (target, SILENT_PORT)), chance.choice((0.3, 2, 5)))
            return
        port = REFUSED_PORT if ending == "refused" else chance.choice(PORTS)
        # The time-out is for a reset or a FIN that was lost: such a peer is gone and says nothing more.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await loop.sock_connect(connection, (target, port))
                await talk(connection, ending, chance)


async def talk(connection: socket.socket, ending: str, chance: random.Random) -> None:
    """Send the requests of one connection and read their responses."""
    for _ in range(chance.randint(2, 6) if ending.startswith("keep-alive") else 1):
        await exchange(connection, ending, chance)


def open_socket(chance: random.Random) -> socket.socket:
    """Open a socket bound to one of the client's many addresses; its port is chosen at connect."""
    ipv6 = chance.random() < IPV6_SHARE
    connection = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    connection.bind((chance.choice(CLIENTS_IPV6 if ipv6 else CLIENTS_IPV4), 0))
    return connection


async def exchange(connection: socket.socket, ending: str, chance: random.Random) -> None:
    """Send one request and read its response, as far as the ending lets it come."""
    loop = asyncio.get_running_loop()
    padding = chance.choice((40, 150, 400, 400, 900, 2500))
    response = chance.choice((0, 20, 300, 300, 1200, 1200, 1200, 4000, 4000, 16000))
    think_ms = chance.choice((0, 0, 0, 0, 5, 60))
    request = HEAD.pack(NAMES.index(ending), think_ms, padding, response) + FILL[:padding]
    await loop.sock_sendall(connection, request)
    if ending == "client half-closes":
        connection.shutdown(socket.SHUT_WR)
    if ending == "client resets":
        await read_exactly(connection, response // chance.choice((1, 2, 50)))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        return
    await read_exactly(connection, response)
    if ending.startswith("server"):
        await loop.sock_recv(connection, 1)


async def web_client(connections: int, seed: int) -> None:
    """Make so many connections, a fixed number of them at once; prints how many of each ending."""
    chance = random.Random(seed)
    endings = chance.choices(NAMES, weights=list(ENDINGS.values()), k=connections)
    waiting = iter(endings)
    unanswered: set[asyncio.Task[None]] = set()

    async def work() -> None:
        for ending in waiting:
            if ending == "unanswered":  # they wait for seconds: not at the cost of the others
                task = asyncio.create_task(ask(ending, chance))
                unanswered.add(task)
                task.add_done_callback(unanswered.discard)
            else:
                await ask(ending, chance)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    await asyncio.gather(*unanswered)
    print(", ".join(f"{name} {count}" for name, count in collections.Counter(endings).most_common()))


BULK_STREAMS = {b"u": 4, b"d": 2}
"""Long connections that send up and that send down."""


def send_many(connection: socket.socket, wanted: int) -> None:
    """Send so many bytes and say that there are no more."""
    block = FILL[:65536]
    for sent in range(0, wanted, len(block)):
        connection.sendall(block[: wanted - sent])
    connection.shutdown(socket.SHUT_WR)


def swallow(connection: socket.socket) -> None:
    """Read to the end of the stream into one buffer."""
    block = bytearray(1 << 20)
    while connection.recv_into(block):
        pass


def bulk_server() -> None:
    """Serve long connections, a thread each: the first bytes say the direction and the length."""

    def serve(connection: socket.socket) -> None:
        with connection:
            way, wanted = struct.unpack("!cQ", connection.recv(9, socket.MSG_WAITALL))
            if way == b"d":
                send_many(connection, wanted)
            swallow(connection)

    with socket.create_server((SERVER_IPV4, BULK_PORT)) as listener:
        print("ready", flush=True)
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def bulk_client(wanted: int) -> None:
    """Make the long connections at the same time and wait for their ends."""

    def run(way: bytes, source: str) -> None:
        with socket.create_connection((SERVER_IPV4, BULK_PORT), source_address=(source, 0)) as connection:
            connection.sendall(struct.pack("!cQ", way, wanted))
            if way == b"u":
                send_many(connection, wanted)
            swallow(connection) if way == b"d" else connection.shutdown(socket.SHUT_WR)
            swallow(connection)

    ways = [way for way, streams in BULK_STREAMS.items() for _ in range(streams)]
    threads = [
        threading.Thread(target=run, args=(way, source)) for way, source in zip(ways, CLIENTS_IPV4, strict=False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{len(ways)} streams of {wanted} bytes")


def main() -> None:
    """Play the part that the command line names."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    match sys.argv[1:]:
        case ["web-server"]:
            asyncio.run(web_server())
        case ["web-client", connections, seed]:
            asyncio.run(web_client(int(connections), int(seed)))
        case ["bulk-server"]:
            bulk_server()
        case ["bulk-client", wanted]:
            bulk_client(int(wanted))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
