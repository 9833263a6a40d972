"""One record through the decode kernel: its row as plain values, or why there is none."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace
from typing import Any

import numpy as np

from analyzer.capture.records import Records
from analyzer.decode.records import decode
from analyzer.decode.segment import SEGMENT, SKIPPED_WORDS, Skipped
from tests import wire

SOURCE, DESTINATION = "192.0.2.1", "198.51.100.2"
SOURCE_6, DESTINATION_6 = "2001:db8::1", "2001:db8:ffff::2"


def segment(flags: str = "P.", payload: bytes = b"hello", **more: Any) -> bytes:
    """A TCP segment from port 40000 to 80."""
    return wire.tcp(40000, 80, 1000, 2000, flags, payload=payload, **more)


def over_ipv4(payload: bytes | None = None, **more: Any) -> bytes:
    return wire.ipv4(SOURCE, DESTINATION, segment() if payload is None else payload, **more)


def over_ipv6(payload: bytes | None = None, **more: Any) -> bytes:
    return wire.ipv6(SOURCE_6, DESTINATION_6, segment() if payload is None else payload, **more)


def records(batch: list[tuple[bytes, int]], link: int, around: bytes = b"\xff" * 64) -> Records:
    """Records of (octets captured, length on the wire); what lies around them must not be read."""
    data, offsets = bytearray(around), []
    for octets, _ in batch:
        offsets.append(len(data))
        data += octets + around
    count = len(batch)
    values = {
        "data": np.frombuffer(bytes(data), np.uint8),
        "offset": offsets,
        "captured": [len(octets) for octets, _ in batch],
        "wire": [length for _, length in batch],
        "time_ns": range(count),
        "frame": range(1, count + 1),
        "file": [0] * count,
        "file_frame": range(1, count + 1),
        "interface": [0] * count,
        "links": [link],
    }
    dtypes = {name: _dtype(kind) for name, kind in Records.__annotations__.items()}
    return Records(**{name: np.asarray(values[name], dtypes[name]) for name in Records._fields})


def _dtype(annotation: Any) -> Any:
    text = str(annotation)
    return next(kind for kind in ("uint8", "uint16", "uint32", "int32", "int64") if f".{kind}" in text)


def decoded(octets: bytes, link: int = 1, *, wire_length: int | None = None) -> SimpleNamespace | str:
    """The row that one record becomes, or the words of the reason why it is none."""
    batch = records([(octets, len(octets) if wire_length is None else wire_length)], link)
    rows, sacks = np.zeros(2, SEGMENT), np.zeros((2, 8), np.uint32)
    skipped = np.zeros(len(Skipped), np.int64)
    filled = decode(batch, rows, sacks, skipped)
    reasons = [SKIPPED_WORDS[reason] for reason in Skipped if skipped[reason]]
    if filled == 0:
        (reason,) = reasons
        return reason
    assert filled == 1
    row = SimpleNamespace(**{name: rows[0][name].item() for name in SEGMENT.names})
    row.src, row.dst = (_address(row.version, getattr(row, f"{e}_hi"), getattr(row, f"{e}_lo")) for e in ("src", "dst"))
    row.sack = sacks[0, : 2 * row.sack_blocks].tolist()
    row.reasons = reasons
    return row


def _address(version: int, high: int, low: int) -> str:
    return str(ipaddress.IPv4Address(low) if version == 4 else ipaddress.IPv6Address(high << 64 | low))
