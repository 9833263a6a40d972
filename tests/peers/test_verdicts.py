"""Wireshark's verdicts against the installed tshark's, field by field, on sequences that nobody would send."""

from __future__ import annotations

import os
import shutil
import subprocess

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

import analyzer
from analyzer.frames.vocabulary import ANALYSIS_NAMES
from tests import recordings, wire
from tests.capture import conformance
from tests.peers.sequences import ENDS, START_NS, capture, stories
from tests.twins import differences

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

SEARCH = int(os.environ.get("TWIN_EXAMPLES", "0"))
EXAMPLES = settings(
    deadline=None, max_examples=SEARCH or 20, derandomize=not SEARCH, suppress_health_check=list(HealthCheck)
)
NUMBERS = ("frame.number", "tcp.stream", "tcp.analysis.acks_frame", "tcp.analysis.bytes_in_flight")
FLAGS = tuple(f"tcp.analysis.{name}" for name in ANALYSIS_NAMES)


def as_tshark_says(path, empty) -> list[tuple]:
    """Frame, stream, frame acknowledged, octets in flight, round trip, flags."""
    fields = (*NUMBERS, "tcp.analysis.ack_rtt", *FLAGS)
    command = [
        "tshark",
        "-2",
        "-n",
        "-r",
        str(path),
        "-Y",
        "tcp && !icmp && !icmpv6",
        "-T",
        "fields",
        "-E",
        "occurrence=l",
    ]
    for field in fields:
        command += ["-e", field]
    environment = {**os.environ, "WIRESHARK_CONFIG_DIR": str(empty)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    told = []
    for line in done.stdout.splitlines():
        cells = line.split("\t")
        numbers = tuple(int(cell) if cell else None for cell in cells[: len(NUMBERS)])
        rtt = round(float(cells[len(NUMBERS)]), 9) if cells[len(NUMBERS)] else None
        names = {name for name, cell in zip(ANALYSIS_NAMES, cells[len(NUMBERS) + 1 :], strict=True) if cell}
        told.append((*numbers, rtt, names))
    return told


def as_we_say(path) -> list[tuple]:
    packets = analyzer.read(path, copies="keep").packets.reset_index()
    columns = ["frame", "stream", "acks_frame", "bytes_in_flight", "rtt", "analysis"]
    told = packets[columns].astype(object)
    told = told.where(packets[columns].notna(), None)
    return [
        (*numbers, None if rtt is None else round(rtt, 9), set(analyzer.analysis_names(mask)))
        for *numbers, rtt, mask in told.itertuples(index=False)
    ]


@pytest.mark.kernels
@EXAMPLES
@given(st.lists(stories, min_size=1, max_size=60))
def test_generated_stories(tmp_path_factory, told):
    path = tmp_path_factory.mktemp("stories") / "stories.pcap"
    path.write_bytes(capture(told))
    assert as_we_say(path) == as_tshark_says(path, path.parent)
    assert differences(path) == []


@pytest.mark.parametrize("name", recordings.NAMES)
def test_our_own_captures(name, tmp_path):
    path = recordings.capture(name)
    assert as_we_say(path) == as_tshark_says(path, tmp_path)


@pytest.mark.parametrize("part", range(4))
def test_the_shared_captures(part, tmp_path):
    """All but the segments that one of us does not have: headers cut off, nested ones."""
    for path in conformance.captures()[part::4]:
        theirs = {told[0]: told for told in as_tshark_says(path, tmp_path)}
        ours = [told for told in as_we_say(path) if told[0] in theirs]
        assert ours == [theirs[told[0]] for told in ours], path


def segment(number: int, side: int, seq: int, ack: int, text: int = 0) -> wire.Record:
    ports = (40000, 9) if side == 0 else (9, 40000)
    data = wire.tcp(*ports, seq, ack, ".", payload=b"\xff" * text)
    packet = wire.ipv4(ENDS[side], ENDS[1 - side], data)
    return wire.record(START_NS + number * 10**6, wire.ethernet(wire.IPV4, packet))


@pytest.mark.parametrize("step", [2, -2])  # in order, and each before the last
def test_more_is_open_than_wireshark_keeps(step, tmp_path):
    """10,000 segments of a direction are kept; what comes then is in flight and never acknowledged."""
    begin = 1000 if step > 0 else 2**30
    records = [segment(i, 0, begin + i * step, 1, 2) for i in range(10_050)]
    acknowledged = [begin + place * step + 2 for place in (3, 3, 9_000, 10_020, 5_000, 10_049)]
    records += [segment(11_000 + i, 1, 1, number) for i, number in enumerate(acknowledged)]
    records += [segment(12_000 + i, 0, begin + (10_050 + i) * step, 1, 2) for i in range(5)]
    path = tmp_path / "open.pcap"
    path.write_bytes(wire.pcap(records))
    assert as_we_say(path) == as_tshark_says(path, tmp_path)
