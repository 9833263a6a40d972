"""Captures that are computed and not recorded: whole connections cut out, clones under other addresses, a SYN flood.

Everything here is arrays over one capture held in memory (microsecond pcap, little-endian, Ethernet, the addresses of
``namespaces.py``); what comes out is written in pieces.
"""

from __future__ import annotations

import dataclasses
import pathlib
import struct

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]

FILE_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
RECORD_HEADER = 16
ETHERNET = 14
PIECE = 200_000
"""Records that are gathered and written at a time."""


@dataclasses.dataclass(frozen=True)
class Records:
    """The records of a capture: where each lies, its time, and where in it stand the things that a clone changes.

    ``address``, ``ip_sum`` and ``tcp_sum`` count from the record's start; ``ip_sum`` is 0 for IPv6, which has none.
    """

    data: Bytes
    start: Numbers
    size: Numbers
    time_us: Numbers
    address: Numbers
    ip_sum: Numbers
    tcp_sum: Numbers
    connection: Numbers

    def __len__(self) -> int:
        return len(self.start)

    def take(self, which: npt.NDArray[np.int64]) -> tuple[Bytes, Numbers]:
        """Copy these records' bytes, one after the other; also where each now starts."""
        size = self.size[which]
        end = np.cumsum(size)
        start = end - size
        return self.data[np.repeat(self.start[which] - start, size) + np.arange(end[-1])], start


def word(data: Bytes, at: Numbers) -> Numbers:
    """Read big-endian 16-bit words."""
    return data[at].astype(np.int64) << 8 | data[at + 1]


def put_word(data: Bytes, at: Numbers, value: Numbers) -> None:
    """Write big-endian 16-bit words."""
    data[at] = value >> 8
    data[at + 1] = value & 0xFF


def record_starts(data: Bytes) -> Numbers:
    """Walk the record headers; a cut last record is left out."""
    view, starts, at = memoryview(data.tobytes()), [], len(FILE_HEADER)
    caplen = struct.Struct("<8xI4x").unpack_from
    while at + RECORD_HEADER <= len(view):
        end = at + RECORD_HEADER + caplen(view, at)[0]
        if end > len(view):
            break
        starts.append(at)
        at = end
    return np.array(starts, dtype=np.int64)


def count_records(path: pathlib.Path) -> int:
    """Count a capture's records, reading their headers only."""
    with path.open("rb") as file:
        head = file.read(len(FILE_HEADER))
        if head[:4] != FILE_HEADER[:4]:
            raise ValueError(f"{path} is no little-endian microsecond pcap")
        count = 0
        while len(header := file.read(RECORD_HEADER)) == RECORD_HEADER:
            file.seek(struct.unpack("<8xI4x", header)[0], 1)
            count += 1
    return count


def load(path: pathlib.Path) -> Records:
    """Read a capture of Ethernet frames with TCP right behind IPv4 or IPv6."""
    data = np.fromfile(path, dtype=np.uint8)
    start = record_starts(data)
    time = np.stack([data[start + i].astype(np.int64) << 8 * (i & 3) for i in range(8)])
    packet = start + RECORD_HEADER + ETHERNET
    ipv6 = word(data, packet - 2) == 0x86DD
    tcp = packet + np.where(ipv6, 40, (data[packet].astype(np.int64) & 15) * 4)
    # The server is 10.9.0.1 or fd00:9::1, the clients 10.9.1.x and fd00:9::1:x: one word tells them apart.
    source, length = packet + np.where(ipv6, 8, 12), np.where(ipv6, 16, 4)
    from_client = word(data, source + np.where(ipv6, 12, 2)) >> np.where(ipv6, 0, 8) == 1
    client = np.where(from_client, source, source + length)
    host = word(data, client + length - 2)
    client_port = word(data, np.where(from_client, tcp, tcp + 2))
    server_port = word(data, np.where(from_client, tcp + 2, tcp))
    return Records(
        data=data,
        start=start,
        size=np.diff(np.append(start, len(data))),
        time_us=time[:4].sum(axis=0) * 1_000_000 + time[4:].sum(axis=0),
        address=client + np.where(ipv6, 2, 0) - start,
        ip_sum=np.where(ipv6, 0, packet + 10 - start),
        tcp_sum=tcp + 16 - start,
        connection=ipv6.astype(np.int64) << 48 | host << 32 | client_port << 16 | server_port,
    )


def whole_connections(records: Records, wanted: int) -> Numbers:
    """Choose records: all of one connection after another, in order of their first packet, until there are enough."""
    _, first, of_record, packets = np.unique(
        records.connection, return_index=True, return_inverse=True, return_counts=True
    )
    by_start = np.argsort(first)
    enough = int(np.searchsorted(np.cumsum(packets[by_start]), wanted)) + 1
    chosen = np.zeros(len(first), dtype=bool)
    chosen[by_start[:enough]] = True
    return np.flatnonzero(chosen[of_record])


def one_connection(records: Records, packets: int) -> Numbers:
    """Choose the first connection that has exactly so many packets."""
    _, first, of_record, counts = np.unique(
        records.connection, return_index=True, return_inverse=True, return_counts=True
    )
    fitting = np.flatnonzero(counts == packets)
    return np.flatnonzero(of_record == fitting[np.argmin(first[fitting])])


def write_cut(records: Records, which: Numbers, path: pathlib.Path) -> int:
    """Write these records as they are; returns how many."""
    with path.open("wb") as file:
        file.write(FILE_HEADER)
        for at in range(0, len(which), PIECE):
            file.write(records.take(which[at : at + PIECE])[0].data)
    return len(which)


def write_clones(records: Records, clones: int, path: pathlib.Path, *, shift_s: float = 1.7) -> int:
    """Write a capture several times over, each time with other client addresses and later, all in order of time.

    Clone k's clients are 10.(9+k).x.x and fd00:(9+k)::; its times are k * ``shift_s`` later. The IP and TCP checksums
    are adjusted as RFC 1624 says, so they are as right (or wrong) as in the original. Returns the number of records.
    """
    rising = np.maximum.accumulate(records.time_us)
    shift_us = int(shift_s * 1_000_000)
    order = np.argsort(np.concatenate([rising + k * shift_us for k in range(clones)]), kind="stable")
    with path.open("wb") as file:
        file.write(FILE_HEADER)
        for at in range(0, len(order), PIECE):
            clone, which = np.divmod(order[at : at + PIECE], len(records))
            out, start = records.take(which)
            _put_time(out, start, records.time_us[which] + clone * shift_us)
            address = start + records.address[which]
            old = word(out, address)
            put_word(out, address, old + clone)
            ipv4 = records.ip_sum[which] > 0
            _adjust(out, (start + records.ip_sum[which])[ipv4], old[ipv4], (old + clone)[ipv4])
            _adjust(out, start + records.tcp_sum[which], old, old + clone)
            file.write(out.data)
    return len(order)


def _put_time(out: Bytes, start: Numbers, time_us: Numbers) -> None:
    seconds, micros = np.divmod(time_us, 1_000_000)
    for i in range(4):
        out[start + i] = seconds >> 8 * i & 0xFF
        out[start + 4 + i] = micros >> 8 * i & 0xFF


def _adjust(out: Bytes, at: Numbers, old: Numbers, new: Numbers) -> None:
    """Adjust checksums for one changed word: HC' = ~(~HC + ~m + m') (RFC 1624, equation 3)."""
    put_word(out, at, ~_fold((~word(out, at) & 0xFFFF) + (~old & 0xFFFF) + new) & 0xFFFF)


def _fold(total: Numbers) -> Numbers:
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    return total


SYN_OPTIONS = bytes.fromhex("020405b4 0402 080a0000000000000000 01 030307")
"""MSS 1460, SACK permitted, timestamps, NOP, window scale 7: 20 bytes, as Linux sends them."""


def write_flood(path: pathlib.Path, packets: int, *, seed: int = 9293, rate: int = 200_000) -> int:
    """Write SYNs from random addresses and ports to port 80 of one server: 60-byte IP packets with options."""
    chance = np.random.default_rng(seed)
    ip = struct.pack("!BBHHHBBHI4s", 0x45, 0, 60, 0, 0x4000, 57, 6, 0, 0, bytes((10, 9, 0, 1)))
    tcp = struct.pack("!HHIIBBHHH", 0, 80, 0, 0, 0xA0, 0x02, 64240, 0, 0) + SYN_OPTIONS
    ethernet = bytes.fromhex("02000a090001 02000a0900fe 0800")
    template = np.frombuffer(struct.pack("<IIII", 0, 0, 74, 74) + ethernet + ip + tcp, dtype=np.uint8)
    time_us = 1_700_000_000_000_000
    with path.open("wb") as file:
        file.write(FILE_HEADER)
        for at in range(0, packets, PIECE):
            rows = _flood_piece(template, min(PIECE, packets - at), chance)
            times = time_us + np.cumsum(chance.exponential(1_000_000 / rate, len(rows))).astype(np.int64)
            time_us = int(times[-1])
            _put_time(rows.reshape(-1), np.arange(len(rows)) * rows.shape[1], times)
            file.write(rows.data)
    return packets


def _flood_piece(template: Bytes, count: int, chance: np.random.Generator) -> Bytes:
    rows = np.tile(template, (count, 1))
    ip, tcp = RECORD_HEADER + ETHERNET, RECORD_HEADER + ETHERNET + 20
    for at, width in ((ip + 4, 2), (ip + 12, 4), (tcp, 2), (tcp + 4, 4), (tcp + 28, 4)):  # id, source, port, seq, tsval
        rows[:, at : at + width] = chance.integers(0, 256, (count, width), dtype=np.uint8)
    rows[:, ip + 12] = chance.integers(1, 224, count)  # no multicast, no 0.0.0.0/8
    rows[:, tcp] |= 4  # source ports from 1024 on
    words = rows[:, ip:].reshape(count, -1, 2).astype(np.int64)
    words = words[:, :, 0] << 8 | words[:, :, 1]
    pseudo = words[:, 6:10].sum(axis=1) + 6 + 40  # both addresses, protocol, length
    every = np.arange(count) * rows.shape[1]
    flat = rows.reshape(-1)
    put_word(flat, every + ip + 10, ~_fold(words[:, :10].sum(axis=1)) & 0xFFFF)
    put_word(flat, every + tcp + 16, ~_fold(words[:, 10:].sum(axis=1) + pseudo) & 0xFFFF)
    return rows
