"""Twins on both sides of an address translation; and what only looks like one."""

from __future__ import annotations

import itertools
from pathlib import Path

import analyzer
from tests import wire
from tests.twins import differences

START_NS = 1_700_000_000 * 10**9
INSIDE, TRANSLATOR, SERVER = "192.168.0.2", "203.0.113.1", "198.51.100.9"


def handshake(
    ms: float, client: tuple[str, int], server: tuple[str, int], *, isns=(1000, 5000), answered=True, wscale=7, tag=None
) -> list[wire.Record]:
    """SYN, SYN-ACK and ACK, 10 ms apart."""
    options = wire.mss(1460) + wire.wscale(wscale)
    segments = [
        (client, server, isns[0], 0, "S"),
        (server, client, isns[1], isns[0] + 1, "S."),
        (client, server, isns[0] + 1, isns[1] + 1, "."),
    ]
    records = []
    for number, (source, target, seq, ack, flags) in enumerate(segments if answered else segments[:1]):
        ends = (source[0], target[0])
        segment = wire.tcp(source[1], target[1], seq, ack, flags, options=options if "S" in flags else b"", ends=ends)
        frame = wire.ethernet(
            *wire.ip(*ends, segment, ident=number + round(ms)), [] if tag is None else [(0x8100, tag)]
        )
        records.append(wire.record(START_NS + round((ms + 10 * number) * 1e6), frame))
    return records


def nat_of(*connections: list[wire.Record], folder: Path) -> list[int | None]:
    path = folder / "nat.pcap"
    path.write_bytes(wire.pcap(sorted(itertools.chain(*connections), key=lambda record: record.time_ns)))
    assert differences(path) == []
    return [
        None if number is None else int(number)
        for number in analyzer.read(path).flows["nat_of"].astype(object).where(lambda s: s.notna(), None)
    ]


def test_source_destination_both_and_ports(tmp_path):
    plain = handshake(0, (INSIDE, 40000), (SERVER, 80))
    for client, server in (
        ((TRANSLATOR, 40000), (SERVER, 80)),
        ((TRANSLATOR, 1024), (SERVER, 80)),
        ((INSIDE, 40000), (TRANSLATOR, 8080)),
        ((TRANSLATOR, 1024), ("10.0.0.9", 8080)),
        ((INSIDE, 40001), (SERVER, 80)),
    ):
        assert nat_of(plain, handshake(0.1, client, server), folder=tmp_path) == [None, 0]


def test_a_chain_of_translators_leads_to_the_first_sight(tmp_path):
    ends = [(INSIDE, 40000), ("10.1.1.1", 3000), (TRANSLATOR, 1024)]
    chain = [handshake(number / 10, client, (SERVER, 80)) for number, client in enumerate(ends)]
    assert nat_of(*chain, folder=tmp_path) == [None, 0, 0]


def test_one_isn_alone_pairs_nothing(tmp_path):
    """A scanner sends one ISN to everybody, and each answers with its own; a proxy has its own in front of one server."""
    scan = [handshake(i, (INSIDE, 40000), (f"198.51.100.{i}", 80), isns=(1000, 5000 + i)) for i in range(5)]
    assert nat_of(*scan, folder=tmp_path) == [None] * 5
    unanswered = [handshake(i, (INSIDE, 40000), (f"198.51.100.{i}", 80), answered=False) for i in range(5)]
    assert nat_of(*unanswered, folder=tmp_path) == [None] * 5


def test_what_is_later_or_offers_something_else_is_another_connection(tmp_path):
    plain = handshake(0, (INSIDE, 40000), (SERVER, 80))
    assert nat_of(plain, handshake(1000.1, (TRANSLATOR, 1024), (SERVER, 80)), folder=tmp_path) == [None, None]
    assert nat_of(plain, handshake(0.1, (TRANSLATOR, 1024), (SERVER, 80), wscale=8), folder=tmp_path) == [None, None]


def test_the_same_addresses_in_another_vlan_are_not_translated(tmp_path):
    """The packets are others, so they are no copies either."""
    plain = handshake(0, (INSIDE, 40000), (SERVER, 80), tag=7)
    assert nat_of(plain, handshake(500, (INSIDE, 40000), (SERVER, 80), tag=8), folder=tmp_path) == [None, None]


def test_ten_thousand_connections_with_the_same_numbers_are_paired_at_once(tmp_path):
    """Whatever somebody prepares: sorted and gone through once."""
    path = tmp_path / "many.pcap"
    records = [r for i in range(10_000) for r in handshake(i / 100, (f"10.{i >> 8}.{i & 255}.1", 40000), (SERVER, 80))]
    path.write_bytes(wire.pcap(sorted(records, key=lambda record: record.time_ns)))
    assert analyzer.read(path).flows["nat_of"].fillna(-1).tolist() == [-1] + [0] * 9999
