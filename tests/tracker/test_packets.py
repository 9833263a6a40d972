"""The packets' columns between the replay and the frame: narrow until the end, and whose ends a segment has."""

from __future__ import annotations

import numpy as np
import pytest

import analyzer
from analyzer.tracker import packets
from tests import wire
from tests.tracker.exchange import play


def filled(rows: int) -> packets.PacketColumns:
    columns = packets.new_columns(2 * rows)
    for place, name in enumerate(packets.NARROW):
        getattr(columns, name)[:rows] = np.arange(rows) * (place + 1)
    return columns


@pytest.mark.parametrize("name", packets.NARROW)
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 1000])
def test_a_narrow_column_is_widened_where_it_lies_or_into_a_copy(name, rows):
    columns = filled(rows)
    narrow = getattr(columns, name)[:rows].astype(np.float64)
    wanted = np.where(narrow == 0, np.nan, narrow / 1e9) if name == "rtt" else narrow
    copied = packets.between(columns, 0, rows)
    for some in (copied, packets.taken(columns, np.arange(rows)), columns):
        wide = packets.widened(some, name, rows)
        assert wide.dtype == packets.NARROW[name]
        np.testing.assert_array_equal(wide, wanted)
    assert wide.base is getattr(columns, name).base  # the last one: in place
    np.testing.assert_array_equal(getattr(copied, name), narrow)  # and a copy stays what it was


def test_columns_are_shortened_to_what_they_hold():
    columns = filled(1000)
    columns.seq[:1000] = np.arange(1000)
    short = packets.trimmed(columns, 1000)
    assert {len(getattr(short, name)) for name in short._fields if name != "written"} == {1000}
    np.testing.assert_array_equal(short.seq, np.arange(1000))
    np.testing.assert_array_equal(packets.widened(short, "window", 1000), np.arange(1000))


def test_round_trips_that_a_narrow_column_has_no_room_for():
    """Longer than four seconds."""
    analysis = play("""
        0.000 C>S S  seq=0
        0.010 S>C S. seq=0 ack=1
        0.020 C>S .  seq=1 ack=1
        1.000 C>S P. seq=1 ack=1 len=10
        9.500 S>C .  seq=1 ack=11
        10.00 C>S P. seq=11 ack=1 len=10
    """).analysis
    assert analysis.packets["rtt"].tolist()[4] == 8.5
    assert np.isnan(analysis.packets["rtt"].tolist()[5])
    assert analysis.flows["rtt_max"].tolist() == [8.5]


@pytest.mark.parametrize("addresses", [3, 200, 40_000])
def test_whose_ends_a_segment_has_however_many_addresses_there_are(addresses, tmp_path):
    """Categories' codes are of eight, sixteen or thirty-two bits."""
    sent = []
    for number in range(addresses):
        there = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1000 + number % 60_000)
        here = ("192.0.2.1", 80)
        sent += [(*there, *here, "S"), (*here, *there, "R.")]
    path = tmp_path / "many.pcap"
    path.write_bytes(
        wire.pcap(
            wire.record(
                number, wire.ethernet(0x0800, wire.ipv4(source, target, wire.tcp(sport, dport, number, 1, flags)))
            )
            for number, (source, sport, target, dport, flags) in enumerate(sent)
        )
    )
    found = analyzer.read(path)
    told = found.packets[["src", "sport", "dst", "dport", "flags"]].astype(object)
    assert [tuple(row) for row in told.itertuples(index=False)] == sent
    of_client = found.transitions["endpoint"] == "client"
    clients = found.flows["client"].astype(str).to_numpy()[found.transitions["flow"]]
    assert (found.transitions["address"].astype(str)[of_client] == clients[of_client]).all()
    assert (found.transitions["port"][~of_client] == 80).all()
