"""``analyzer verify`` and ``Flow.dissect``: the tshark on this machine is asked."""

from __future__ import annotations

import asyncio
import json
import shutil

import pandas as pd
import pytest

import analyzer
from analyzer import cli
from analyzer.peers.agreement import FIELDS, agreement
from tests import recordings, wire
from tests.peers.test_verdicts import segment

pytestmark = [
    pytest.mark.kernels,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
LIFE = recordings.capture("life-of-a-connection")


@pytest.fixture(scope="module")
def life():
    return analyzer.read(LIFE, copies="keep")


def test_every_field_is_held_and_agrees(life):
    found = agreement(LIFE, life.packets, life.flows)
    assert set(found.fields["field"]) == {"frame.number", *FIELDS}
    assert (found.fields["same"] == found.fields["of"]).all()
    assert found.fields.set_index("field")["of"].loc[["tcp.seq", "tcp.ack", "tcp.analysis.ack_rtt"]].tolist() == [
        14,
        13,
        8,
    ]
    assert found.differences.empty


@pytest.mark.parametrize(
    ("column", "field", "value", "said"),
    [
        ("seq", "tcp.seq", 77, ("77", "1")),
        ("analysis", "tcp.analysis.keep_alive", 1 << 9, ("True", "False")),
        ("acks_frame", "tcp.analysis.acks_frame", 1, ("1", "-")),
        ("bytes_in_flight", "tcp.analysis.bytes_in_flight", pd.NA, ("-", "7")),
    ],
)
def test_a_difference_is_found_and_named(life, column, field, value, said):
    packets = life.packets.copy()
    packets.loc[4, column] = value
    found = agreement(LIFE, packets, life.flows)
    assert found.differences.to_dict("records") == [
        {"field": field, "frame": 4, "ours": said[0], "tshark": said[1]},
    ]
    row = found.fields.set_index("field").loc[field]
    assert row["of"] - row["same"] == 1


def test_a_segment_that_only_tshark_sees(life):
    found = agreement(LIFE, life.packets.drop(index=5), life.flows)
    assert found.differences.query("field == 'frame.number'")["frame"].tolist() == [5]


def test_a_completeness_that_differs(life):
    found = agreement(LIFE, life.packets, life.flows.assign(completeness=0))
    assert found.differences["field"].tolist() == ["tcp.completeness"]


def test_a_capture_without_segments(tmp_path):
    path = tmp_path / "empty.pcap"
    path.write_bytes(wire.pcap([]))
    empty = analyzer.read(path)
    found = agreement(path, empty.packets, empty.flows)
    assert (found.fields["of"] == 0).all()


def test_the_command(capfd, tmp_path):
    assert cli.main(["verify", str(LIFE), "--fail-under", "100"]) == 0
    table = capfd.readouterr().out
    assert "tcp.analysis.ack_rtt" in table
    assert "tcp.analysis.zero_window " not in table  # nobody has it there
    assert cli.main(["verify", str(LIFE), "--format", "json"]) == 0
    rows = {row["field"]: row for row in json.loads(capfd.readouterr().out)}
    assert rows["tcp.len"]["percent"] == 100
    assert rows["tcp.analysis.zero_window"]["percent"] is None
    assert cli.main(["verify", str(tmp_path / "none.pcap")]) == 1


def test_a_frame_that_is_shorter_than_its_header_says_differs(capfd, tmp_path):
    """docs/differences.md: tshark's length is the frame's, ours the header's."""
    whole = segment(0, 0, 1, 1, 100)
    path = tmp_path / "short.pcap"
    path.write_bytes(wire.pcap([wire.record(whole.time_ns, whole.data[:80])]))
    assert cli.main(["verify", str(path), "--fail-under", "100"]) == 3
    shown = capfd.readouterr().out.splitlines()
    assert shown[-1].split() == ["tcp.len", "1", "100", "26"]
    assert cli.main(["verify", str(path), "--differences", "--format", "csv"]) == 0
    assert capfd.readouterr().out.splitlines()[1] == "tcp.len,1,100,26"


def test_a_flow_dissected(life):
    packets = life.flow(0).dissect()
    assert [int(packet.number) for packet in packets] == life.packets.index.tolist()
    assert [int(packet.tcp.len) for packet in packets] == life.packets["length"].tolist()


def test_only_the_flow_is_dissected():
    many = analyzer.read(recordings.capture("many-connections"))
    flow = many.flow(3)
    assert [int(packet.number) for packet in flow.dissect()] == flow.packets.index.tolist()


def test_dissecting_in_a_running_event_loop(life):
    async def cell():
        return life.flow(0).dissect()

    assert len(asyncio.run(cell())) == 14


def test_several_files_cannot_be_dissected():
    two = analyzer.read([LIFE, LIFE])
    with pytest.raises(analyzer.CaptureError, match="one capture file"):
        two.flow(0).dissect()
