"""The compiled kernels and their twin in plain Python (``tests/reference``) say the same, bit for bit."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from analyzer.capture.records import Records
from analyzer.decode import segment as kernels
from analyzer.decode.checksum import IP_WRONG, WHICH
from analyzer.decode.fragments import new_fragments
from analyzer.decode.records import decode
from analyzer.decode.segment import SEGMENT, Skipped
from analyzer.settings import Settings
from analyzer.tracker import zeek_outcome
from tests import recordings, wire
from tests.capture import conformance
from tests.exchanges import exchanges
from tests.formats import LINKS, batches
from tests.reference import decode as reference
from tests.reference.fragments import Fragments
from tests.reference.record import Record
from tests.reference.replay import stack_key
from tests.reference.segment import Segment
from tests.twins import differences

pytestmark = pytest.mark.kernels

# The same examples each time; TWIN_EXAMPLES=5000 in the environment searches among so many others.
SEARCH = int(os.environ.get("TWIN_EXAMPLES", "0"))
EXAMPLES = settings(
    deadline=None, max_examples=SEARCH or 250, derandomize=not SEARCH, suppress_health_check=list(HealthCheck)
)

# --------------------------------------------------------------------------------------------------------- captures


@pytest.mark.parametrize("name", recordings.NAMES)
def test_our_own_captures(name):
    assert differences(recordings.capture(name)) == []


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("zeek_timeouts", [False, True])
def test_the_shared_captures(part, zeek_timeouts):
    settings = Settings(zeek_timeouts=zeek_timeouts, zeek_checksums=zeek_timeouts)
    found = {str(path): differences(path, settings) for path in conformance.captures()[part::4]}
    assert {path: what for path, what in found.items() if what} == {}


# -------------------------------------------------------------------------------------------------------- exchanges


@EXAMPLES
@given(exchanges(), st.sampled_from([1, 2, 7, 16384]))
def test_generated_exchanges(exchange, batch_records):
    link, records = exchange
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "generated.pcap")
        path.write_bytes(wire.pcap(records, link))
        assert differences(path, Settings(batch_records=batch_records)) == []


@EXAMPLES
@given(exchanges(), st.sampled_from([2, 16384]))
def test_generated_exchanges_split_as_zeek_does(exchange, batch_records):
    link, records = exchange
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "generated.pcap")
        path.write_bytes(wire.pcap(records, link))
        assert differences(path, Settings(batch_records=batch_records, zeek_timeouts=True, zeek_checksums=True)) == []


@EXAMPLES
@given(exchanges(), st.booleans())
def test_what_zeek_has_forgotten_is_forgotten_at_once(exchange, splits):
    """The rows of closed connections are used again whenever a batch is through; else that waits until there are many."""
    link, records = exchange
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(zeek_outcome, "spare", zeek_outcome.forget_closed):
        path = Path(folder, "generated.pcap")
        path.write_bytes(wire.pcap(records, link))
        assert differences(path, Settings(batch_records=2, zeek_timeouts=splits)) == []


# ----------------------------------------------------------------------------------------------------------- decode


def as_batch(records: list[Record], between: bytes) -> Records:
    """The records as a source hands them on; what lies between them is nobody's."""
    offsets, content = [], between
    for record in records:
        offsets.append(len(content))
        content += record.data + between
    count = len(records)
    frame = np.array([record.frame for record in records], np.int64)
    return Records(
        data=np.frombuffer(content, np.uint8),
        offset=np.array(offsets, np.int64),
        captured=np.array([len(record.data) for record in records], np.int32),
        wire=np.array([record.wire for record in records], np.int64),
        time_ns=np.array([record.time_ns for record in records], np.int64),
        interface=np.array([record.interface for record in records], np.int32),
        frame=frame,
        file=np.zeros(count, np.int32),
        file_frame=frame,
        process=np.full(count, -1, np.int32),
        links=np.array(LINKS, np.int32),
    )


@settings(EXAMPLES, max_examples=SEARCH or 400)
@given(batches(), st.sampled_from([b"", b"\xff" * 100, b"\x08\x0a\x14\x05" * 30]))
def test_decode_of_any_bytes(records, between):
    count = len(records)
    rows, sacks, skipped = np.zeros(count, SEGMENT), np.zeros((count, 8), np.uint32), np.zeros(len(Skipped), np.int64)
    filled = decode(as_batch(records, between), rows, sacks, skipped, new_fragments(), True)

    pieces = Fragments()
    decoded = [reference.decode(record, pieces) for record in records]
    expected = [one.segment for one in decoded if one.segment is not None]
    assert skipped.tolist() == [sum(one.skipped == reason for one in decoded) for reason in Skipped]
    kernel = [as_kernel_says(row, edges) for row, edges in zip(rows[:filled], sacks, strict=False)]
    assert kernel == [as_twin_says(segment) for segment in expected]


HEADER = ("frame", "version", "source", "destination", "sport", "dport", "seq", "flags", "outgoing", "ifindex")
"""What is read of a quoted segment too."""


TROUBLES = {0: "", kernels.HEADER_CUT: "cut", kernels.HEADER_BOGUS: "bogus", kernels.HEADER_LONG: "long"}


def as_twin_says(segment: Segment) -> dict[str, object]:
    said = {name: getattr(segment, name) for name in HEADER}
    said |= {"vlan_key": stack_key(segment.tags), "tunnel": segment.tunnel or 0, "in_a_tunnel": bool(segment.path)}
    if segment.icmp is not None:
        return said | {f"icmp_{name}": value for name, value in vars(segment.icmp).items()}
    names = (
        "ack",
        "window",
        "length",
        "seglen",
        "header_trouble",
        "ip_id",
        "ttl",
        "truncated",
        "overlapping",
        "checksum",
        "ip_checksum_wrong",
    )
    said |= {name: getattr(segment, name) for name in names} | vars(segment.options)
    loopback = segment.loopback if segment.outgoing is not None else None
    return said | {"vlan": segment.tags[-1] if segment.tags else None, "loopback": loopback}


def as_kernel_says(row: np.void, edges: np.ndarray) -> dict[str, object]:
    values = {name: row[name].item() for name in row.dtype.names}
    options = values["options"]

    def unless_negative(name: str) -> int | None:
        return None if values[name] < 0 else values[name]

    outgoing = None if values["outgoing"] < 0 else bool(values["outgoing"])
    said = {name: values[name] for name in ("frame", "version", "sport", "dport", "seq", "flags")}
    said |= {
        "source": values["src_hi"] << 64 | values["src_lo"],
        "destination": values["dst_hi"] << 64 | values["dst_lo"],
        "outgoing": outgoing,
        "ifindex": unless_negative("ifindex"),
        "vlan_key": unless_negative("vlan_key"),
        "tunnel": values["tunnel"],
        "in_a_tunnel": values["tunnel_key"] != 0,
    }
    if values["quoted"]:
        reporter = (values["reporter_version"], values["reporter_hi"] << 64 | values["reporter_lo"])
        said |= {name: values[name] for name in ("icmp_version", "icmp_type", "icmp_code")}
        return said | {"icmp_mtu": values["mtu"], "icmp_reporter": reporter}
    has_timestamps, has_sack = options & kernels.OPTION_TIMESTAMPS, options & kernels.OPTION_SACK
    return said | {
        **{name: values[name] for name in ("ack", "window", "length", "ttl")},
        "ip_id": values["ip_id"] if values["version"] == 4 else None,
        "truncated": bool(values["truncated"]),
        "overlapping": bool(values["overlapping"]),
        "checksum": values["checksum"] & WHICH,
        "ip_checksum_wrong": values["checksum"] & IP_WRONG != 0,
        "vlan": unless_negative("vlan"),
        "loopback": bool(values["loopback"]) if outgoing is not None else None,
        "mss": unless_negative("mss"),
        "wscale": unless_negative("wscale"),
        "sack_permitted": bool(options & kernels.OPTION_SACK_PERMITTED),
        "sack": edges[: 2 * values["sack_blocks"]].tolist() if has_sack else None,
        "timestamps": (values["tsval"], values["tsecr"]) if has_timestamps else None,
        "seglen": unless_negative("seglen"),
        "header_trouble": TROUBLES[values["header_trouble"]],
        "fast_open": bool(options & kernels.OPTION_FAST_OPEN),
        "fast_open_cookie": bool(options & kernels.OPTION_COOKIE),
        "mptcp_key": bool(options & kernels.OPTION_MPTCP_KEY),
        "mptcp": {subtype for subtype in range(16) if values["mptcp"] >> subtype & 1},
        "md5": bool(options & kernels.OPTION_MD5),
        "ao": bool(options & kernels.OPTION_AO),
        "user_timeout_s": unless_negative("user_timeout"),
        "malformed": bool(options & kernels.OPTION_MALFORMED),
    }
