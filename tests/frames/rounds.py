"""A long capture of real traffic: the recordings of ``captures/``, again and again, each time from other addresses, later."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests import wire
from tests.recordings import CAPTURES

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

SLL2 = 276
_MAGIC = {b"\xd4\xc3\xb2\xa1": 1000, b"\x4d\x3c\xb2\xa1": 1}


def _records(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    data = path.read_bytes()
    unit = _MAGIC[data[:4]]
    at = 24
    while at < len(data):
        seconds, fraction, captured, _ = struct.unpack_from("<IIII", data, at)
        yield seconds * 10**9 + fraction * unit, data[at + 16 : at + 16 + captured]
        at += 16 + captured


def _link(path: pathlib.Path) -> int:
    return int(struct.unpack_from("<I", path.read_bytes(), 20)[0])


def _elsewhere(packet: bytes, number: int) -> bytes:
    """The packet with other addresses at both ends; its checksums are not those any more."""
    new, begin, kind = bytearray(packet), 20, packet[:2]
    if kind == b"\x81\x00":
        begin, kind = 24, packet[22:24]
    if kind not in (b"\x08\x00", b"\x86\xdd"):
        return packet
    while begin:
        version = new[begin] >> 4
        for at in (13, 17) if version == 4 else (12, 28):
            new[begin + at] = (new[begin + at] + number) & 0xFF
        icmp = (
            new[begin + 9] == 1 if version == 4 else new[begin + 6] == 58
        )  # it quotes another packet, of the same ends
        header = (new[begin] & 15) * 4 if version == 4 else 40
        begin = begin + header + 8 if icmp and new[begin + header] in (1, 2, 3, 4, 5, 11, 12) else 0
    return bytes(new)


def capture(rounds: int, step_s: float) -> bytes:
    """All recordings of ``-i any``, one beginning a second after another, so many rounds of them."""
    paths = sorted(
        path for path in CAPTURES.glob("*/any.pcap") if _link(path) == SLL2 and "tunnel" not in path.parent.name
    )
    records: list[wire.Record] = []
    for number in range(rounds):
        for at, path in enumerate(paths):
            packets = list(_records(path))
            begin = 1_700_000_000 * 10**9 + int((number * step_s + at) * 1e9) - packets[0][0]
            records += [wire.record(time + begin, _elsewhere(packet, number + 1)) for time, packet in packets]
    records.sort(key=lambda record: record.time_ns)
    return wire.pcap(records, SLL2)
