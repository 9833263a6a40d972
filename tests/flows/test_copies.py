"""Copies: found where a packet is seen again, and nowhere else."""

from __future__ import annotations

import itertools
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

import analyzer
from tests import recordings, wire
from tests.exchanges import exchanges
from tests.twins import differences, records_of

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
V6 = {CLIENT: "fd00::1", SERVER: "fd00::2"}
START_NS = 1_700_000_000 * 10**9
IN, OUT = 0, 4
EXAMPLES = settings(deadline=None, max_examples=30, derandomize=True, suppress_health_check=list(HealthCheck))


@dataclass
class Packet:
    """A packet with 10 octets, acknowledging nothing new; what may differ between two of them."""

    seq: int = 1
    ack: int = 1
    flags: str = "P."
    payload: bytes = b"0123456789"
    ident: int = 7
    tsval: int | None = 100
    back: bool = False  #: from the server
    version: int = 4
    mss: int | None = None
    port: int = 40000


@dataclass
class Seen:
    """A packet, seen somewhere."""

    ms: float
    packet: Packet
    index: int = 2
    way: int = IN
    ttl: int = 64
    tag: int | None = None
    vni: int | None = None
    unsummed: bool = False  #: the checksum is left to the card


def frame(seen: Seen) -> bytes:
    packet = seen.packet
    ends = (SERVER, CLIENT) if packet.back else (CLIENT, SERVER)
    ports = (80, packet.port) if packet.back else (packet.port, 80)
    if packet.version == 6:
        ends = (V6[ends[0]], V6[ends[1]])
    options = b"" if packet.mss is None else wire.mss(packet.mss)
    options += b"" if packet.tsval is None else wire.timestamps(packet.tsval, 5)
    segment = wire.tcp(*ports, packet.seq, packet.ack, packet.flags, options=options, payload=packet.payload, ends=ends)
    if seen.unsummed:
        pseudo = wire.packed(ends[0]) + wire.packed(ends[1]) + struct.pack(">II", len(segment), wire.TCP)
        bare = ~wire.checksum(pseudo) & 0xFFFF
        segment = segment[:16] + struct.pack(">H", bare) + segment[18:]
    more = {"ttl": seen.ttl} | ({"ident": packet.ident} if packet.version == 4 else {})
    ethertype, datagram = wire.ip(*ends, segment, **more)
    if seen.vni is not None:
        vxlan = (8 << 56 | seen.vni << 8).to_bytes(8) + wire.ethernet(ethertype, datagram)
        ethertype, datagram = wire.ip("192.0.2.1", "192.0.2.2", wire.udp(50000, 4789, vxlan), protocol=wire.UDP)
    if seen.tag is not None:
        ethertype, datagram = 0x8100, struct.pack(">HH", seen.tag, ethertype) + datagram
    return wire.sll2(ethertype, datagram, packet_type=seen.way, index=seen.index)


def played(sights: Iterable[Seen], folder: Path, *, ethernet: bool = False, **options) -> analyzer.Analysis:
    """Read the sights; the twin says the same of them."""
    path = folder / "sights.pcap"
    records = []
    for seen in sights:
        data = frame(seen)
        if ethernet:  # the same without interface
            data = bytes(12) + data[:2] + data[20:]
        records.append(wire.record(START_NS + round(seen.ms * 1e6), data))
    path.write_bytes(wire.pcap(records, 1 if ethernet else 276))
    chosen = analyzer.Settings(**options)
    assert differences(path, chosen) == []
    return analyzer.read(path, settings=chosen)


def copies(sights: Iterable[Seen], folder: Path, **more) -> dict[int, int]:
    """frame -> frame of its first sight."""
    column = played(sights, folder, **more).packets["copy_of"].dropna()
    return {int(number): int(first) for number, first in column.items()}


def opened(*, index: int = 2, version: int = 4, port: int = 40000, tsval: int | None = 100) -> list[Seen]:
    """A handshake, seen once: three frames, one a millisecond, the last at 0 ms."""
    common = {"payload": b"", "version": version, "port": port, "tsval": tsval}
    syn = Packet(0, 0, "S", ident=5, mss=1460, **common)
    syn_ack = Packet(0, 1, "S.", ident=0, back=True, mss=1460, **common)
    return [
        Seen(ms, packet, index) for ms, packet in ((-2, syn), (-1, syn_ack), (0, Packet(1, 1, ".", ident=6, **common)))
    ]


# ---------------------------------------------------------------------------------------------------- what is a copy


@pytest.mark.parametrize(
    "again",
    [
        Seen(5.02, Packet(), index=3),  # from a veth pair to its bridge
        Seen(5.02, Packet(), way=OUT),
        Seen(5.02, Packet(), ttl=63),  # routed
        Seen(5.02, Packet(), tag=7),
        Seen(5.02, Packet(), vni=7),
        Seen(5.02, Packet(), index=3, way=OUT, ttl=63, tag=7),
        Seen(905, Packet(), index=3),  # late, but with its own IP ID
        Seen(5, Packet(), index=3, unsummed=True),
        Seen(4.99, Packet(), index=3),  # two buffers, one of them read first
    ],
)
def test_a_packet_seen_at_another_place_is_a_copy(tmp_path, again):
    assert copies([*opened(), Seen(5, Packet()), again], tmp_path) == {5: 4}


@pytest.mark.parametrize(
    "change",
    [
        {"ident": 8},  # what Linux gives a retransmission
        {"tsval": 101},
        {"tsval": None},
        {"ack": 2},
        {"seq": 2},
        {"flags": "."},
        {"payload": b"012345678"},
        {"payload": b"0123456780"},  # another checksum
    ],
)
def test_what_differs_is_no_copy(tmp_path, change):
    assert copies([*opened(), Seen(5, Packet()), Seen(5.1, Packet(**change), index=3)], tmp_path) == {}


def test_five_sights_of_one_packet(tmp_path):
    sights = [
        Seen(5 + i / 100, Packet(), index, way)
        for i, (index, way) in enumerate(itertools.product((2, 3, 4), (IN, OUT)))
    ]
    analysis = played([*opened(), *sights[:5]], tmp_path)
    assert analysis.packets["copy_of"].dropna().to_dict() == {5: 4, 6: 4, 7: 4, 8: 4}
    assert analysis.capture.copies == 4
    assert analysis.flows.loc[0, ["client_packets", "client_bytes", "client_retransmitted"]].tolist() == [3, 10, 0]


def test_a_retransmission_passes_the_same_places_again(tmp_path):
    """Without an IP ID and a clock: both sights of the second sending belong together."""
    data = Packet(version=6, tsval=None)
    sights = [Seen(5, data), Seen(5.1, data, 3), Seen(9, data), Seen(9.1, data, 3)]
    analysis = played([*opened(version=6, tsval=None), *sights], tmp_path)
    assert analysis.packets["copy_of"].dropna().to_dict() == {5: 4, 7: 6}
    assert analysis.flows.loc[0, "client_retransmitted"] == 1


def test_a_retransmission_after_a_loss_between_the_places(tmp_path):
    """The first sending is lost between the two interfaces; the second one is seen at both."""
    data = Packet(version=6)
    sights = [Seen(5, data), Seen(5.5, Packet(version=6, tsval=101)), Seen(5.6, Packet(version=6, tsval=101), 3)]
    assert copies([*opened(version=6), *sights], tmp_path) == {6: 5}


def test_identical_acknowledgements_are_told_apart(tmp_path):
    """IPv6, three duplicate acknowledgements within a millisecond: each has its copy, and none is one of another."""
    ack = Packet(1, 1, ".", b"", version=6, tsval=101)
    sights = [Seen(5 + i / 100, ack, 2 if i < 3 else 3) for i in range(6)]
    assert copies([*opened(version=6), *sights], tmp_path) == {7: 4, 8: 5, 9: 6}


def test_waiting_for_a_copy_ends(tmp_path):
    bare = Packet(version=6, tsval=None)
    handshake = opened(version=6, tsval=None)
    assert copies([*handshake, Seen(5, bare), Seen(24.9, bare, 3)], tmp_path) == {5: 4}
    assert copies([*handshake, Seen(5, bare), Seen(25.1, bare, 3)], tmp_path) == {}
    timed = Packet(version=6)
    assert copies([*opened(version=6), Seen(5, timed), Seen(204.9, timed, 3)], tmp_path) == {5: 4}
    assert copies([*opened(version=6), Seen(5, timed), Seen(205.1, timed, 3)], tmp_path) == {}
    assert copies([*opened(), Seen(5, Packet()), Seen(1005.1, Packet(), 3)], tmp_path) == {}


def test_an_ip_id_that_all_segments_have_tells_nothing(tmp_path):
    """Packet generators: an identical one 300 ms later is as good as a retransmission."""
    same = Packet(ident=6)  # the handshake's last segment has it too
    assert copies([*opened(), Seen(5, same), Seen(305, same, 3)], tmp_path) == {}
    assert copies([*opened(), Seen(5, same), Seen(12, same)], tmp_path) == {}


def test_a_clamped_mss_makes_no_other_syn(tmp_path):
    syn = Packet(0, 0, "S", b"", mss=1460)
    clamped = Packet(0, 0, "S", b"", mss=1400)
    assert copies([Seen(0, syn), Seen(0.1, clamped, 3, OUT, 63)], tmp_path) == {2: 1}


# -------------------------------------------------------------------------------------------- where nothing is known


def test_a_mirror_port_shows_each_frame_twice(tmp_path):
    handshake = [Seen(s.ms + late, s.packet) for s in opened() for late in (0, 0.004)]
    data = [Seen(5, Packet()), Seen(5.004, Packet())]
    found = copies([*handshake, *data], tmp_path, ethernet=True)
    assert found == {2: 1, 4: 3, 6: 5, 8: 7}


def test_in_one_place_a_retransmission_is_never_a_copy(tmp_path):
    """As early as it can be: without IP ID and with the same clock, 60 us after the answer that asked for it."""
    data = Packet(version=6)
    asked = Packet(1, 1, ".", b"", back=True, version=6)
    assert copies([*opened(version=6), Seen(5, data), Seen(5.05, asked), Seen(5.06, data)], tmp_path) == {}
    assert copies([*opened(version=6), Seen(5, data), Seen(7, data)], tmp_path) == {}  # a tail loss probe


def test_a_syn_ack_for_the_syn_again_and_one_by_its_timer(tmp_path):
    """Seen on a lossy link: the first answer was lost, a second later both ends' timers ran out within 20 microseconds."""
    syn, answer = Packet(0, 0, "S", b"", mss=1460), Packet(0, 1, "S.", b"", ident=0, back=True, mss=1460)
    sights = [Seen(0, syn), Seen(1000, syn), Seen(1000.011, answer), Seen(1000.03, answer)]
    analysis = played(sights, tmp_path)
    assert analysis.capture.copies == 0
    assert analysis.flows.loc[0, "synack_attempts"] == 2


def test_in_one_place_identical_acknowledgements_without_id_stay(tmp_path):
    ack = Packet(1, 1, ".", b"", version=6)
    assert copies([*opened(version=6), Seen(5, ack), Seen(5.001, ack)], tmp_path) == {}


def test_a_clock_that_stands_at_zero_says_nothing(tmp_path):
    """tcpdump's text printed with -t: everything happened at once."""
    text = tmp_path / "pasted.txt"
    line = "IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [P.], seq 1:11, ack 1, win 100, length 10\n"
    text.write_text(line * 3)
    assert analyzer.read(text).capture.copies == 0


# ------------------------------------------------------------------------------------------------- what comes of it


def by_vlan() -> list[Seen]:
    """A VLAN on an interface: out untagged and then tagged, in tagged and then untagged."""
    sights = []
    for i, seen in enumerate([*opened(), Seen(5, Packet())]):
        tags = (7, None) if seen.packet.back else (None, 7)
        way = IN if seen.packet.back else OUT
        sights += [
            Seen(i + late, seen.packet, 3 if tag else 4, way, tag=tag)
            for late, tag in zip((0, 0.01), tags, strict=True)
        ]
    return sights


def test_tagged_and_untagged_are_one_connection(tmp_path):
    analysis = played(by_vlan(), tmp_path)
    assert len(analysis.flows) == 1
    assert analysis.flows.loc[0, "handshake"] == "complete"
    assert analysis.packets["copy_of"].dropna().to_dict() == {2: 1, 4: 3, 6: 5, 8: 7}
    assert analysis.packets["vlan"].fillna(0).tolist() == [0, 7, 7, 0, 0, 7, 0, 7]
    assert set(analysis.packets["flow"]) == {0}
    assert analysis.packets["stream"].tolist() == [0] * 8


def test_a_copys_row_says_what_its_first_sight_says(tmp_path):
    packets = played(by_vlan(), tmp_path).packets
    same = [
        "flow",
        "from_client",
        "seq",
        "ack",
        "window",
        "client_state",
        "server_state",
        "client_proven",
        "server_proven",
        "step",
        "step_repeat",
    ]
    first, again = packets[0::2][same].reset_index(drop=True), packets[1::2][same].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, again)


def test_one_anomaly_a_connection_says_so(tmp_path):
    anomalies = played(by_vlan(), tmp_path).anomalies
    assert anomalies["kind"].tolist() == ["copies"]
    assert anomalies.loc[0, ["frame", "flow", "related_frame"]].tolist() == [2, 0, 1]


def test_dropped_copies_are_only_counted(tmp_path):
    analysis = played(by_vlan(), tmp_path, copies="drop")
    assert analysis.packets.index.tolist() == [1, 3, 5, 7]
    assert analysis.capture.copies == 4
    assert analysis.options.index.tolist() == [1, 3]
    assert played(by_vlan(), tmp_path).options.index.tolist() == [1, 2, 3, 4]


def test_kept_copies_are_packets_like_any_other(tmp_path):
    analysis = played(by_vlan(), tmp_path, copies="keep")
    assert analysis.capture.copies == 0
    assert analysis.packets["copy_of"].isna().all()
    assert len(analysis.flows) == 2  # by VLAN


def test_the_summary_says_it_in_a_few_words(tmp_path):
    assert "4 packets seen again" in played(by_vlan(), tmp_path).summary()
    assert "copies" not in played(opened(), tmp_path).summary()


def test_the_same_connection_in_another_vlan_stays_another_one(tmp_path):
    """Tenants with the same addresses: other numbers, so nothing is joined."""
    other = [Packet(500, 0, "S", b"", ident=9), Packet(900, 501, "S.", b"", back=True, ident=0)]
    sights = [*opened(), *(Seen(5 + i, packet, tag=9) for i, packet in enumerate(other))]
    analysis = played(sights, tmp_path)
    assert len(analysis.flows) == 2
    assert analysis.capture.copies == 0


# ---------------------------------------------------------------------------------------- any capture, and its copies


def copied(data: bytes, link: int, how: str) -> bytes:
    """The packet as it is seen elsewhere."""
    at = 20 if link == 276 else 14
    ethertype = data[:2] if link == 276 else data[12:14]
    if how == "ttl":
        at += 8 if ethertype == b"\x08\x00" else 7
        return data[:at] + bytes([data[at] - 1]) + data[at + 1 :]
    if link == 276:
        return data[:4] + (77).to_bytes(4) + data[8:]
    return data[:12] + b"\x81\x00\x00\x07" + data[12:]


@EXAMPLES
@given(st.sampled_from(recordings.NAMES), st.sampled_from(["ttl", "elsewhere"]), st.data())
def test_a_capture_with_delayed_copies_of_itself_says_the_same(name, how, data):
    """The same connections, states and times; marked are exactly the copies."""
    path = recordings.capture(name)
    records, _, _ = records_of(path)
    once = analyzer.read(path)
    delays_us = data.draw(st.lists(st.integers(0, 19_000), min_size=len(records), max_size=len(records)))
    shown = [(record.time_ns, 0, record.frame, record.data) for record in records]
    shown += [
        (record.time_ns + 1000 * delay, 1, record.frame, copied(record.data, record.link, how))
        for record, delay in zip(records, delays_us, strict=True)
        if record.frame in once.packets.index  # an ICMP error is an anomaly each time
    ]
    shown.sort(key=lambda one: one[:3])
    with tempfile.TemporaryDirectory() as folder:
        both = Path(folder, "both.pcap")
        both.write_bytes(
            wire.pcap([wire.record(time_ns, content) for time_ns, _, _, content in shown], records[0].link)
        )
        assert differences(both) == []
        twice = analyzer.read(both)
    number = {(frame, again): place for place, (_, again, frame, _) in enumerate(shown, 1)}
    found = {int(copy): int(of) for copy, of in twice.packets["copy_of"].dropna().items()}
    assert set(found) == {number[frame, 1] for frame in once.packets.index}
    content = {record.frame: record.data for record in records}
    for copy, of in found.items():  # of several identical packets it may be another
        assert content[shown[copy - 1][2]] == content[shown[of - 1][2]]
    frames = [*(f"open_{i}" for i in range(1, 4)), *(f"close_{i}" for i in range(1, 5)), "n_copies"]
    pd.testing.assert_frame_equal(once.flows.drop(columns=frames), twice.flows.drop(columns=frames))
    changed = ["time", "flow", "endpoint", "old", "new", "event", "evidence"]
    at_end = once.transitions["frame"].isna()  # timers: the last record came later
    pd.testing.assert_frame_equal(
        once.transitions[~at_end][changed].reset_index(drop=True),
        twice.transitions[twice.transitions["frame"].notna()][changed].reset_index(drop=True),
    )
    first = twice.packets[twice.packets["copy_of"].isna()]
    states = ["time", "flow", "seq", "ack", "client_state", "server_state", "step", "step_repeat", "stream"]
    pd.testing.assert_frame_equal(
        once.packets[states].reset_index(drop=True), first[states].reset_index(drop=True), check_categorical=False
    )


@EXAMPLES
@given(exchanges(), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=12))
def test_the_twin_agrees_on_anything_repeated(exchange, again):
    link, records = exchange
    for which, later in again:
        if records:
            one = records[which % len(records)]
            records.insert(which % len(records) + later, one)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "again.pcap")
        path.write_bytes(wire.pcap(records, link))
        assert differences(path, analyzer.Settings(batch_records=7)) == []
        assert differences(path, analyzer.Settings(copies="drop")) == []
        assert differences(path, analyzer.Settings(copies="keep")) == []


@pytest.mark.parametrize("batch_records", [1, 2, 3, 100])
def test_pairs_are_joined_where_the_first_copy_stands(tmp_path, batch_records):
    """Begun in the middle, and both ways on the way at once: what was before the first copy stays in its own connection."""
    sights = [
        Seen(0, Packet(), 4, OUT),
        Seen(0.01, Packet(back=True, ident=30), 3, tag=7),  # tagged first, and its copy is still to come
        Seen(0.02, Packet(), 3, OUT, tag=7),
        Seen(0.03, Packet(back=True, ident=30), 4),
        Seen(1, Packet(back=True, ident=31, seq=11), 3, tag=7),
    ]
    analysis = played(sights, tmp_path, batch_records=batch_records)
    assert analysis.packets["copy_of"].dropna().to_dict() == {3: 1, 4: 2}
    assert analysis.packets["flow"].tolist() == [0, 1, 0, 1, 0]


def test_what_an_icmp_error_asked_for_is_no_copy(tmp_path):
    """IPv6, one place, the same clock: too big, and sent again at once as it was (path MTU not known yet to all of it)."""
    big = Packet(version=6)
    too_big = frame(Seen(0, big))[20:]
    message = wire.unreachable(too_big, 2, 0, version=6)
    error = wire.sll2(*wire.ip("fd00::ff", V6[CLIENT], message, protocol=wire.ICMPV6))
    records = [wire.record(START_NS + round(seen.ms * 1e6), frame(seen)) for seen in opened(version=6)]
    for ms, data in ((5, frame(Seen(5, big))), (5.03, error), (5.06, frame(Seen(5.06, big)))):
        records.append(wire.record(START_NS + round(ms * 1e6), data))
    path = tmp_path / "too-big.pcap"
    path.write_bytes(wire.pcap(records, 276))
    assert differences(path) == []
    assert analyzer.read(path).capture.copies == 0
