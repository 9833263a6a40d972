"""Analysis and Flow over a capture of this repository."""

from __future__ import annotations

import asyncio
import pathlib
import struct

import pandas as pd
import pytest

import analyzer
from analyzer.capture.records import Comment, Damage
from analyzer.frames import schema, store
from analyzer.frames.addresses import absent
from tests import wire
from tests.capture.written import block, enhanced, interface, option, section, simple
from tests.frames import made

ROOT = pathlib.Path(__file__).parents[1]
LIFE = ROOT / "captures" / "life-of-a-connection" / "any.pcap"
MANY = ROOT / "captures" / "many-connections" / "eth.pcap"

pytestmark = pytest.mark.kernels


@pytest.fixture(scope="module")
def many():
    return analyzer.read(MANY)


def test_all_frames_have_their_schema(many):
    for name in store.STORED:
        schema.check(name, many.frames[name])
    schema.check("state_counts", many.state_counts())


def test_a_connection(many):
    flow = many.flow(3)
    assert set(flow.packets["flow"]) == {3}
    assert len(flow.packets) == flow.row["client_packets"] + flow.row["server_packets"]
    assert set(flow.transitions["flow"]) == {3}
    assert set(flow.anomalies["flow"]) <= {3}
    assert "flow 3:" in repr(flow)
    assert repr(flow).count("Flags [") == len(flow.packets)
    with pytest.raises(KeyError, match="no flow 10000; there are 60"):
        many.flow(10_000)


def test_select_keeps_numbers_and_takes_all_frames_along(many):
    part = many.select(port=9503)
    assert set(part.flows["server_port"]) == {9503}
    for name in ("packets", "transitions", "anomalies"):
        assert set(getattr(part, name)["flow"]) <= set(part.flows.index)
        schema.check(name, getattr(part, name))
    pd.testing.assert_frame_equal(part.packets, many.packets.loc[part.packets.index])
    assert analyzer.read(MANY, port=9503).summary() == part.summary()
    assert many.select() is many
    assert "No TCP connections" in many.select(port=1).summary()


def test_hosts_of_the_state_counts(many):
    every = many.state_counts("100ms")
    by_host = [many.state_counts("100ms", host=host) for host in sorted({*many.flows["client"], *many.flows["server"]})]
    assert sum(by_host).equals(every)
    assert many.state_counts("100ms", host=list(map(str, many.flows["client"].cat.categories))).equals(every)
    with pytest.raises(ValueError, match="does not tell which addresses are local"):
        many.state_counts(host="local")


def test_an_address_is_one_however_it_is_written(tmp_path):
    syn = wire.ipv6("fe80::1", "fe80::2", wire.tcp(40000, 80, 1, 0, "S"))
    (tmp_path / "six.pcap").write_bytes(wire.pcap([wire.record(10**18, wire.ethernet(wire.IPV6, syn))]))
    analysis = analyzer.read(tmp_path / "six.pcap")
    written = ["fe80::1", "FE80:0::0001", "fe80::1%eth0"]
    assert absent([*written, "2001:db8::1", "10.0.0.1"], analysis.flows) == ["2001:db8::1", "10.0.0.1"]
    for host in written:
        assert analysis.states_at(analysis.capture.last, host)["SYN_SENT"] == 1
    with pytest.raises(ValueError, match="host='www': it is an address"):
        analysis.state_counts(host=["www"])


def test_local_ends_by_default_where_the_capture_tells():
    analysis = analyzer.read(LIFE)
    assert analysis.local_addresses == ("127.0.0.1",)
    assert analysis.state_counts("100ms").equals(analysis.state_counts("100ms", host="local"))
    assert analysis.state_counts("100ms", port=1).to_numpy().sum() == 0
    moment = analysis.capture.last
    assert analysis.states_at(moment).to_dict() == analysis.state_counts("1ms").iloc[-1].to_dict()


def test_save_and_load(many, tmp_path):
    loaded = analyzer.load(many.save(tmp_path / "kept"))
    for name, frame in many.frames.items():
        pd.testing.assert_frame_equal(loaded.frames[name], frame, check_exact=True)
    assert loaded.state_counts("10ms").equals(many.state_counts("10ms"))
    assert loaded._repr_html_() == many._repr_html_()


def test_progress_is_told(tmp_path):
    told = []
    analyzer.read(MANY, progress=lambda part, records: told.append((part, records)))
    assert told[-1][1] == analyzer.read(MANY).capture.records
    assert all(0 <= part <= 1 for part, _ in told)


def test_reading_works_inside_a_running_event_loop():
    async def cell() -> int:
        return len(analyzer.read(LIFE).packets)

    assert asyncio.run(cell()) > 0


def test_an_unknown_wish_for_copies_is_refused_not_ignored():
    with pytest.raises(ValueError, match="copies='forget'"):
        analyzer.read(LIFE, copies="forget")


@pytest.mark.parametrize("port", [65536, -1, "https", "80"])
def test_a_port_that_there_cannot_be_is_refused_not_empty(many, port):
    """By everybody who is asked for one, before anything is read or opened."""
    asked = (
        lambda: analyzer.read(LIFE, port=port),
        lambda: analyzer.follow(LIFE, port=port),
        lambda: analyzer.live("lo", port=port),
        lambda: analyzer.sockets(port),
        lambda: analyzer.socket_states(port),
        lambda: many.select(port=port),
        lambda: many.state_counts(port=port),
        lambda: many.states_at(many.capture.first, port=port),
    )
    for ask in asked:
        with pytest.raises(ValueError, match=f"port={port!r}: it is a number from 0 to 65535"):
            ask()


def test_settings_are_used_and_kept():
    settings = analyzer.Settings(time_wait_s=0.1)
    analysis = analyzer.read(MANY, settings=settings)
    assert analysis.settings is settings
    assert analysis.flows.loc[0, "client_state"] == "CLOSED"
    assert analyzer.read(MANY).flows.loc[0, "client_state"] == "TIME_WAIT"


def test_the_capture_as_html_is_short_and_other_peoples_text_stays_text():
    shown = made.capture(
        files=("<b>.pcap",), comments=(Comment("<b>.pcap", 1, None, "<script>"),), skipped={"not TCP": 1234}, kernel_drops=0,
        names={f"10.0.0.{n}": ("a",) for n in range(12)}, damage=(Damage("<b>.pcap", 1000, "it ends"),),
    )._repr_html_()  # fmt: skip
    assert "<b>" not in shown
    assert "<script>" not in shown
    for text in ("&lt;b&gt;.pcap", "&lt;script&gt;", "not TCP: 1,234", "; 2 more", "byte 1,000: it ends", "2025-"):
        assert text in shown
    assert "kernel drops" not in shown
    assert "bpf" not in shown


def test_what_pcapng_says_besides_packets(tmp_path):
    """Processes, comments, names, drops, packets without a time: told, and saved exactly; without any, no column."""
    ends = ("10.0.0.1", "10.0.0.2")
    syn, answer = (
        wire.ethernet(0x0800, wire.ipv4(*order, wire.tcp(*ports, 1, 2, flags)))
        for order, ports, flags in ((ends, (1000, 80), "S"), (ends[::-1], (80, 1000), "S."))
    )
    name = option(1, bytes([10, 0, 0, 1]) + b"client.example\0") + option(0, b"")
    lost = option(4, struct.pack("<Q", 100)) + option(5, struct.pack("<Q", 3))
    marked = option(1, b"look \x1b[2J here") + option(8, struct.pack("<II", 4711, 1)) + option(0, b"")
    file = tmp_path / "said.pcapng"
    file.write_bytes(
        section()
        + interface()
        + block(0x80000001, struct.pack("<I", 4711) + option(2, b"curl"))
        + enhanced(10**12, syn, options=marked)
        + simple(answer)
        + block(4, name)
        + block(5, struct.pack("<III", 0, 0, 0) + lost)
    )
    read = analyzer.read(file)
    schema.check("packets", read.packets)
    assert list(read.packets["process"].isna()) == [False, True]
    assert read.packets["process"].iloc[0] == 4711
    assert (read.capture.processes, read.capture.timeless) == ({4711: "curl"}, 1)
    assert read.capture.names == {"10.0.0.1": ("client.example",)}
    assert read.capture.interface_drops == 3
    comments = pd.DataFrame(read.capture.comments).set_index("frame")
    assert read.packets.loc[comments.index, "flags"].tolist() == ["S"]
    read.save(tmp_path / "kept")
    loaded = analyzer.load(tmp_path / "kept")
    assert loaded.capture == read.capture
    pd.testing.assert_frame_equal(loaded.packets, read.packets)
    assert "\\x1b[2J here" in read.summary()
    assert "\x1b" not in read.summary() + read._repr_html_()
    assert "process" not in analyzer.read(LIFE).packets.columns


def test_printed_text_is_not_called_cut(tmp_path):
    """tcpdump prints no payload: that is no snap length."""
    ticket = tmp_path / "ticket.txt"
    ticket.write_text("14:12:45.1 IP 10.0.0.1.1000 > 10.0.0.2.80: Flags [P.], seq 1:8, ack 1, win 99, length 7\n")
    read = analyzer.read(ticket)
    assert (read.capture.truncated, read.capture.printed, read.packets["length"].tolist()) == (0, True, [7])
    assert not read.packets["truncated"].any()
    assert "snap length" not in read.summary()
    assert "printed by tcpdump" in read.summary()
