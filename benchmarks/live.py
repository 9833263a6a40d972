"""The live comparison: small packets into a virtual cable at rising rates, sniffed by tcpdump and by us in turn.

``python benchmarks/live.py`` (root): prints the table and writes ``docs/benchmark-live.md``. A packet generator of our own
sends whole connections (handshake, a few small segments each way, close) as Ethernet frames of some 70 octets into one end
of a veth pair, paced; at the other end, in a namespace of its own whose firewall drops them behind the capture point, one of

*   ``tcpdump -w FILE`` as it is, and with our buffer (``-B``, 64 MiB),
*   ``analyzer live --quiet -w FILE``, and without ``-w``,
*   ``analyzer live --plain -w FILE``, its lines to the null device,
*   a session of ``analyzer.live()`` that is asked for its flows and its sockets every second,

takes them. Lost is what was sent and not received, by the generator's own count; each sniffer's own word on drops stands
beside it. Sender, kernel and sniffer share the machine: the rates are what two cores give, not what the ring could take.

In pieces: ``--keep FILE`` keeps the results there beside those of earlier calls, and the table has them all; ``--rates`` and
``--sniffers`` say what this piece measures.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import datetime as dt
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measure import machine  # noqa: E402
from benchmarks.namespaces import CLIENT_LINK, SERVER_LINK, Wire  # noqa: E402

RATES = (50_000, 100_000, 200_000, 300_000, 400_000, 600_000, 800_000, 1_000_000, 0)
"""Packets a second; 0: as fast as it goes."""

FILTER = ("tcp", "port", "80")
"""What the hosts say to each other besides is not counted."""

CONNECTIONS, BATCH = 4096, 256
SETTLE_S = 1.5  #: after the last packet, until the sniffer is told to end
_ALIKE = 0.97  #: of the wanted rate: what was sent more slowly says nothing of that rate, and is tried again if nothing was lost
_TRIES = 3
_SOL_PACKET, _QDISC_BYPASS = 263, 20


@dataclasses.dataclass(frozen=True)
class Result:
    """One sniffer at one rate."""

    sniffer: str
    wanted: int
    sent: int
    seconds: float
    received: int
    dropped: int
    cpu_s: float
    memory_bytes: int

    @property
    def lost(self) -> int:
        """Packets that were sent and not received."""
        return self.sent - self.received

    @property
    def rate(self) -> float:
        """Packets a second, as sent."""
        return self.sent / self.seconds


# ------------------------------------------------------------------------------------------------------- what is sent


def _ones(octets: bytes) -> int:
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets)) if len(octets) % 2 == 0 else _ones(octets + b"\0")
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _frame(macs: bytes, port: int, line: tuple[bool, int, int, int, int], base: int) -> bytes:
    to_server, flags, seq, ack, size = line
    here, there = (
        (b"\x0a\x09\x01\x01", b"\x0a\x09\x00\x01") if to_server else (b"\x0a\x09\x00\x01", b"\x0a\x09\x01\x01")
    )
    ports = (port, 80) if to_server else (80, port)
    mine, its = (base, base * 3 & 0xFFFFFFFF) if to_server else (base * 3 & 0xFFFFFFFF, base)
    seq, ack = (mine + seq) & 0xFFFFFFFF, (its + ack) & 0xFFFFFFFF if flags & 16 else 0
    options = b"\x02\x04\x05\xb4\x01\x01\x01\x00" if flags & 2 else b""
    head = struct.pack("!HHIIBBHHH", *ports, seq, ack, (20 + len(options)) // 4 << 4, flags, 64240, 0, 0)
    tcp = head + options + b"x" * size
    total = _ones(here + there + struct.pack("!HH", 6, len(tcp)) + tcp)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    tcp = tcp[:16] + struct.pack("!H", ~total & 0xFFFF) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), port & 0xFFFF, 0x4000, 64, 6, 0, here, there)
    ip = ip[:10] + struct.pack("!H", ~_ones(ip) & 0xFFFF) + ip[12:]
    return macs + b"\x08\x00" + ip + tcp


_LIFE = (
    (True, 2, 0, 0, 0), (False, 18, 0, 1, 0), (True, 16, 1, 1, 0), (True, 24, 1, 1, 16), (False, 24, 1, 17, 16),
    (True, 24, 17, 17, 16), (False, 24, 17, 33, 16), (True, 17, 33, 33, 0), (False, 17, 33, 34, 0), (True, 16, 34, 34, 0),
)  # fmt: skip
"""To the server or not, flags, seq, ack, payload."""


class Generator:
    """Sends rounds of connections, each round's from another address."""

    def __init__(self, interface: str, macs: bytes) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((interface, 0))
        self._socket.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        frames = [
            _frame(macs, 1024 + number, line, 1_000_000 + 7919 * number)
            for line in _LIFE
            for number in range(CONNECTIONS)
        ]
        self._size = [len(frame) for frame in frames]
        start = np.concatenate([[0], np.cumsum(self._size)[:-1]])
        self._data = np.frombuffer(b"".join(frames), np.uint8).copy()
        to_server = np.repeat([line[0] for line in _LIFE], CONNECTIONS)
        self._address = start + np.where(to_server, 14 + 12 + 2, 14 + 16 + 2)  # the client's last two octets
        self._sums = start + 14 + 10, start + 14 + 20 + 16
        self._round = 0
        self._vector = self._vectors(start)

    def _vectors(self, start: Any) -> Any:
        """Build the mmsghdr of every frame (sendmmsg(2), x86-64 and arm64)."""
        base = self._data.ctypes.data
        parts = np.zeros((len(start), 2), np.uint64)  # struct iovec
        parts[:, 0], parts[:, 1] = base + start, self._size
        self._parts = parts
        heads = np.zeros((len(start), 8), np.uint64)  # struct mmsghdr: msghdr of 56 octets, and the length sent
        heads[:, 2] = parts.ctypes.data + 16 * np.arange(len(start), dtype=np.uint64)
        heads[:, 3] = 1
        return heads

    def _next_round(self) -> None:
        """Give the client its next address: ones' complement sums change by what the word changes."""
        old, new = self._round + 257, self._round + 258
        self._round += 1
        at = self._address
        self._data[at], self._data[at + 1] = new >> 8, new & 0xFF
        for sums in self._sums:
            total = (self._data[sums].astype(np.int64) << 8 | self._data[sums + 1]) ^ 0xFFFF
            total += (~old & 0xFFFF) + new
            total = (total & 0xFFFF) + (total >> 16)
            total = ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF
            self._data[sums], self._data[sums + 1] = total >> 8, total & 0xFF

    def send(self, rate: int, seconds: float) -> tuple[int, float]:
        """Send at this rate for so long; returns how many packets it took, and the time that it took."""
        library = ctypes.CDLL(None, use_errno=True)
        handle, sent, at = self._socket.fileno(), 0, 0
        begun = time.perf_counter()
        while (now := time.perf_counter() - begun) < seconds:
            if rate and sent > now * rate:
                time.sleep(0.0002)
                continue
            if at >= len(self._vector):
                self._next_round()
                at = 0
            count = min(BATCH, len(self._vector) - at)
            done = library.sendmmsg(handle, ctypes.c_void_p(self._vector.ctypes.data + 64 * at), count, 0)
            if done < 0:
                continue  # no buffers: again
            sent += done
            at += done
        return sent, time.perf_counter() - begun


# ---------------------------------------------------------------------------------------------------- who receives it


_TCPDUMPS = ("tcpdump -w", "tcpdump -B 65536 -w")
_OURS = ("analyzer live -w", "analyzer live", "analyzer live --plain -w", "analyzer.live()")


def _sniffers(path: str) -> dict[str, list[str]]:
    ours = [sys.executable, "-m", "analyzer", "live", "-i", SERVER_LINK, "--color", "never"]
    silent = ["sh", "-c", 'exec "$0" "$@" > /dev/null']
    return {
        "tcpdump -w": ["tcpdump", "-i", SERVER_LINK, "-w", path, *FILTER],
        "tcpdump -B 65536 -w": ["tcpdump", "-i", SERVER_LINK, "-B", "65536", "-w", path, *FILTER],
        "analyzer live -w": [*ours, "--quiet", "-w", path, *FILTER],
        "analyzer live": [*ours, "--quiet", *FILTER],
        "analyzer live --plain -w": [*silent, *ours, "--plain", "-w", path, *FILTER],
        "analyzer.live()": [sys.executable, __file__, "--sniff"],
    }


def _sniff() -> None:
    """Sniff as a program does that looks at its session now and then; SIGINT ends it."""
    import analyzer

    ended = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    with analyzer.live(SERVER_LINK, bpf=" ".join(FILTER)) as session:
        session.ready.wait()
        print(f"listening on {SERVER_LINK}", file=sys.stderr, flush=True)
        while not ended.wait(1.0):
            session.flows()
            session.sockets()
    capture = session.analysis().capture
    print(f"{capture.records:,} packets received, {capture.kernel_drops:,} dropped by the kernel", file=sys.stderr)


def _ready(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if "listening on" in line:
            return
    raise RuntimeError("the sniffer did not start")


def _counted(talk: str) -> tuple[int, int]:
    """Return what a sniffer says that it received and what the kernel dropped."""
    ours = re.search(r"([\d,]+) packets received, ([\d,]+) dropped", talk)
    if ours:
        return int(ours[1].replace(",", "")), int(ours[2].replace(",", ""))
    received, dropped = re.search(r"(\d+) packets captured", talk), re.search(r"(\d+) packets dropped by kernel", talk)
    if not received or not dropped:
        raise RuntimeError(f"what the sniffer says of its counts is not understood: {talk[-300:]}")
    return int(received[1]), int(dropped[1])


def _cpu_s(pid: int) -> float:
    """Return the processor time that a process has used so far (proc(5): utime and stime)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> int:
    """Return the most memory that a process has had resident, in bytes (proc(5): VmHWM)."""
    told = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())
    return int(told[1]) * 1024 if told else 0


def _run(wire: Wire, name: str, command: list[str], rate: int, seconds: float) -> Result:
    environment = ["env", f"PYTHONPATH={ROOT}"]
    process = wire.start(wire.server, *environment, *command, stderr=subprocess.PIPE)
    try:
        _ready(process)
        time.sleep(1.0)
        before = _cpu_s(process.pid)
        sender = wire.start(wire.client, sys.executable, __file__, "--send", str(rate), "--seconds", str(seconds))
        said, _ = sender.communicate(timeout=seconds + 60)
        time.sleep(SETTLE_S)
        used_s, memory_bytes = _cpu_s(process.pid) - before, _memory(process.pid)
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    sent, took = said.split()
    received, dropped = _counted(talk)
    return Result(name, rate, int(sent), float(took), received, dropped, used_s, memory_bytes)


def measured(seconds: float, rates: list[int], sniffers: list[str]) -> list[Result]:
    """Run these sniffers at these rates."""
    results = []
    with Wire(loss=0.0) as wire, tempfile.TemporaryDirectory() as folder:
        for tool, table in (("iptables", "raw"), ("ip6tables", "raw")):
            wire.run(wire.server, tool, "-w", "-t", table, "-A", "PREROUTING", "-i", SERVER_LINK, "-j", "DROP")
        commands = _sniffers(str(pathlib.Path(folder, "kept.pcap")))
        for rate in rates:
            for name in sniffers:
                for _ in range(_TRIES):
                    one = _run(wire, name, commands[name], rate, seconds)
                    if one.lost or one.rate >= _ALIKE * rate:
                        break
                results.append(one)
                print(_line(one), file=sys.stderr, flush=True)
    return results


def _line(one: Result) -> str:
    wanted = f"{one.wanted:,}" if one.wanted else "all"
    return (
        f"{one.sniffer:24} {wanted:>8}/s: sent {one.sent:>10,} ({one.rate:>9,.0f}/s), lost {one.lost:>8,} "
        f"({100 * one.lost / one.sent:.3f} %), own word {one.dropped:>8,}, {one.cpu_s:.2f} s processor time"
    )


def report(results: list[Result], seconds: float) -> str:
    """Write docs/benchmark-live.md."""
    lines = [
        "# Live: what is lost at which rate",
        "",
        "Written by `benchmarks/live.py`; its first lines say what is measured. Lost: sent and not received, by the sender's",
        "count. Own word: what the sniffer says that the kernel dropped. CPU: processor time of the sniffer until a second and a",
        "half after the last packet, in parts of one core. MB: the most memory that it had resident then, the kernel's ring",
        "included (tcpdump 2 MB, with -B 64 MB, ours 64 MB). A run without loss whose sender did not reach its rate, for the",
        "machine was busy, was made again.",
        "",
        "| sniffer                  | wanted /s |   sent /s | packets sent |    lost | lost % | own word |  CPU |    MB |",
        "| ------------------------ | --------: | --------: | -----------: | ------: | -----: | -------: | ---: | ----: |",
    ]
    for one in results:
        wanted = f"{one.wanted:,}" if one.wanted else "all"
        lines.append(
            f"| {one.sniffer:24} | {wanted:>9} | {one.rate:>9,.0f} | {one.sent:>12,} | {one.lost:>7,} "
            f"| {100 * one.lost / one.sent:>6.3f} | {one.dropped:>8,} | {one.cpu_s / one.seconds:>4.2f} "
            f"| {one.memory_bytes / 1e6:>5,.0f} |"
        )
    lines += ["", *_verdicts(results), ""]
    here = machine()
    day = dt.datetime.now(dt.UTC).date()
    lines.append(
        f"Measured {day} on {here['cores']} cores ({here['processor']}), {here['memory']}, Linux {here['kernel']}, Python "
        f"{here['python']}, {seconds:g} s a rate; sender, veth and sniffer share the cores."
    )
    return "\n".join(lines) + "\n"


def _verdicts(results: list[Result]) -> list[str]:
    """Say at which rates who lost nothing."""
    by = {(one.sniffer, one.wanted): one for one in results}
    rates = list(dict.fromkeys(one.wanted for one in results))
    said = []
    for ours in _OURS:
        fell = []
        for rate in rates:
            theirs = [by[name, rate] for name in _TCPDUMPS if (name, rate) in by]
            if (ours, rate) in by and by[ours, rate].lost > 0 and any(one.lost <= 0 for one in theirs):
                fell.append(f"{rate:,}/s" if rate else "as fast as it goes")
        said.append(
            f"`{ours}` loses nothing at any rate at which tcpdump loses nothing."
            if not fell
            else f"`{ours}` loses packets where a tcpdump loses none: {', '.join(fell)}."
        )
    return said


def _with_earlier(kept: pathlib.Path, results: list[Result]) -> list[Result]:
    """Add the results to those that are kept, in place of those of the same sniffer and rate; returns all."""
    all_of_them = [Result(**one) for one in json.loads(kept.read_text())] if kept.exists() else []
    by = {(one.sniffer, one.wanted): one for one in (*all_of_them, *results)}
    kept.write_text(json.dumps([dataclasses.asdict(one) for one in by.values()], indent=1))
    return list(by.values())


def main() -> None:
    """Measure, or, called by itself in the client's namespace, send."""
    names = (*_TCPDUMPS, *_OURS)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument(
        "--rates", type=int, nargs="*", default=list(RATES), help="packets a second; 0: as fast as it goes"
    )
    parser.add_argument(
        "--sniffers", nargs="*", choices=names, default=list(names), metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--keep", type=pathlib.Path, help="JSON: add the results to those that are there")
    parser.add_argument("--output", default=str(ROOT / "docs" / "benchmark-live.md"))
    parser.add_argument("--send", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--sniff", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.sniff:
        _sniff()
        return
    if asked.send is not None:
        address = pathlib.Path(f"/sys/class/net/{CLIENT_LINK}/address").read_text().strip()
        macs = b"\xff" * 6 + bytes.fromhex(address.replace(":", ""))
        generator = Generator(CLIENT_LINK, macs)
        print(*generator.send(asked.send, asked.seconds))
        return
    if os.geteuid() != 0:
        sys.exit("namespaces and sniffing need root: sudo python benchmarks/live.py")
    results = measured(asked.seconds, asked.rates, asked.sniffers)
    if asked.keep:
        results = _with_earlier(asked.keep, results)
    results.sort(key=lambda one: (one.wanted or sys.maxsize, names.index(one.sniffer)))
    pathlib.Path(asked.output).write_text(report(results, asked.seconds), encoding="utf-8")
    print(pathlib.Path(asked.output).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
