"""Records by hand, read: what of them reaches the frames, or why nothing does."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

import analyzer
from tests import wire

SOURCE, DESTINATION = "192.0.2.1", "198.51.100.2"
SOURCE_6, DESTINATION_6 = "2001:db8::1", "2001:db8:ffff::2"
SEQ, ACK = 1000, 2000


def segment(flags: str = "P.", payload: bytes = b"hello", **more: Any) -> bytes:
    """A TCP segment from port 40000 to 80."""
    return wire.tcp(40000, 80, SEQ, ACK, flags, payload=payload, **more)


def over_ipv4(payload: bytes | None = None, **more: Any) -> bytes:
    return wire.ipv4(SOURCE, DESTINATION, segment() if payload is None else payload, **more)


def over_ipv6(payload: bytes | None = None, **more: Any) -> bytes:
    return wire.ipv6(SOURCE_6, DESTINATION_6, segment() if payload is None else payload, **more)


def read(records: list[wire.Record], link: int = 1) -> analyzer.Analysis:
    """A capture of these records, analysed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.pcap"
        path.write_bytes(wire.pcap(records, link))
        return analyzer.read(path)


def decoded(octets: bytes, link: int = 1, *, captured: int | None = None) -> SimpleNamespace | str:
    """The row that one record becomes, with its options, or the words of the reason why it is none."""
    analysis = read([wire.record(10**18, octets, captured)], link)
    if analysis.packets.empty:
        (reason,) = analysis.capture.skipped
        return reason
    assert not analysis.capture.skipped
    row = analysis.packets.iloc[0].to_dict()
    if len(analysis.options):
        row |= analysis.options.iloc[0].to_dict()
    return SimpleNamespace(**{name: _plain(value) for name, value in row.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, (str, bool)):
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
    return value if isinstance(value, list) or not pd.isna(value) else None


def whole(row: SimpleNamespace | str, *, version: int = 4) -> None:
    """Hold a row against ``segment()``: all of it is there."""
    assert not isinstance(row, str), row
    ends = (SOURCE, DESTINATION) if version == 4 else (SOURCE_6, DESTINATION_6)
    assert (row.src, row.sport, row.dst, row.dport) == (ends[0], 40000, ends[1], 80)
    assert (row.flags, row.flag_bits, row.raw_seq, row.raw_ack) == ("P.", 0x18, SEQ, ACK)
    assert (row.length, row.raw_window, row.truncated, row.ttl) == (5, 65535, False, 64)
