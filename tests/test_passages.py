"""Captures at hosts that packets pass through, held against what both ends sent: all copies found, nothing else.

``captures/copies-*`` has the truth beside it: each packet stands once at the interface of the end that sent it, and the
kernels counted their retransmissions. It is read here with the standard library only.
"""

from __future__ import annotations

import csv
import ipaddress
import struct
from collections import Counter
from pathlib import Path

import pytest

import analyzer
from captures.recorder.passages import PASSAGES
from tests.recordings import CAPTURES
from tests.twins import differences

SIGHTS = {
    "copies-on-a-bridge": 2,
    "copies-on-a-veth-pair": 4,
    "copies-at-a-router": 2,
    "copies-in-a-vlan": 3,
    "copies-in-a-tunnel": 3,
}
"""How often each packet is seen."""

TRANSLATED = {"copies-and-snat", "copies-and-dnat"}
each = pytest.mark.parametrize("name", sorted({*SIGHTS, *TRANSLATED, "copies-and-losses"}))
Packet = tuple


def datagram(frame: bytes, cooked: bool) -> tuple[int, bytes]:
    """EtherType and what follows, behind a tag."""
    ethertype, rest = (frame[:2], frame[20:]) if cooked else (frame[12:14], frame[14:])
    while ethertype == b"\x81\x00":
        ethertype, rest = rest[2:4], rest[4:]
    return int.from_bytes(ethertype), rest


def packet(ethertype: int, data: bytes) -> tuple[str, Packet] | None:
    """Source, and all that no host on the way changes, but for addresses and ports."""
    if ethertype == 0x0800:
        header, protocol, ident = 4 * (data[0] & 15), data[9], int.from_bytes(data[4:6])
        data, source = data[: int.from_bytes(data[2:4])], str(ipaddress.ip_address(data[12:16]))
    elif ethertype == 0x86DD:
        header, protocol, ident = 40, data[6], 0
        data, source = data[: 40 + int.from_bytes(data[4:6])], str(ipaddress.ip_address(data[8:24]))
    else:
        return None
    data = data[header:]
    if protocol == 17 and data[2:4] == (4789).to_bytes(2):
        return packet(*datagram(data[16:], cooked=False))
    if protocol != 6:
        return None
    return source, (ethertype, ident, *struct.unpack(">IIHH", data[4:16]), data[20:])


def packets(path: Path) -> dict[int, tuple[str, Packet]]:
    """frame -> source and packet."""
    content = path.read_bytes()
    cooked = struct.unpack_from("<I", content, 20) == (276,)
    found, at, number = {}, 24, 0
    while at < len(content):
        size = int.from_bytes(content[at + 8 : at + 12], "little")
        number += 1
        if (read := packet(*datagram(content[at + 16 : at + 16 + size], cooked))) is not None:
            found[number] = read
        at += 16 + size
    return found


def sent(name: str) -> Counter[Packet]:
    """What both ends sent, each packet as often as it was."""
    truth: Counter[Packet] = Counter()
    for host in ("client", "server"):
        seen = packets(CAPTURES / name / f"{host}.pcap").values()
        net = {"client": ("10.95.4.2", "fd95:4::2"), "server": ("10.95.4.3", "fd95:4::3", "10.95.5.2", "fd95:5::2")}
        truth.update(one for source, one in seen if source in net[host])
    return truth


def first_sights(name: str, flows: set[int] | None = None) -> Counter[Packet]:
    """What the analyzer takes for packets of their own."""
    frame = analyzer.read(CAPTURES / name / "any.pcap").packets
    frame = frame[frame["copy_of"].isna()]
    if flows is not None:
        frame = frame[frame["flow"].isin(flows)]
    seen = packets(CAPTURES / name / "any.pcap")
    return Counter(seen[number][1] for number in frame.index)


def test_there_is_a_recording_of_each_passage():
    assert {passage.name for passage in PASSAGES} == {*SIGHTS, *TRANSLATED, "copies-and-losses"}


@each
def test_the_readme_is_the_passages(name):
    (passage,) = (one for one in PASSAGES if one.name == name)
    assert (CAPTURES / name / "README").read_text(encoding="ascii") == passage.readme
    assert passage.readme.count("\n") == 3


@each
def test_the_twin_says_the_same(name):
    for path in sorted((CAPTURES / name).glob("*.pcap")):
        assert differences(path) == []


@pytest.mark.parametrize("name", [*SIGHTS, "copies-and-losses"])
def test_what_is_left_is_what_was_sent(name):
    """No copy among it, and nothing that was sent, or sent again, is missing.

    Complaint: "duplicates from `any`, bond, SPAN shown as retransmissions" (Wireshark GL MR 10956, sngrep#505).
    """
    assert first_sights(name) == sent(name)


@pytest.mark.parametrize("name", SIGHTS)
def test_each_packet_has_all_its_copies(name):
    analysis = analyzer.read(CAPTURES / name / "any.pcap")
    numbers = analysis.packets["copy_of"].dropna().value_counts()
    assert set(numbers) == {SIGHTS[name] - 1}
    assert len(numbers) == sent(name).total()
    assert len(analysis.flows) == 2
    assert set(analysis.flows["handshake"]) == {"complete"}
    assert set(analysis.flows["close"]) == {"orderly"}
    assert set(analysis.anomalies["kind"]) == {"copies"}


@pytest.mark.parametrize("name", SIGHTS)
def test_a_copy_is_of_the_packet_that_it_is_a_copy_of(name):
    seen = packets(CAPTURES / name / "any.pcap")
    column = analyzer.read(CAPTURES / name / "any.pcap").packets["copy_of"].dropna()
    assert all(seen[int(number)][1] == seen[int(first)][1] for number, first in column.items())


def test_real_retransmissions_survive():
    """As many as both kernels counted: data, SYNs, SYN-ACKs and FINs that were sent again."""
    flows = analyzer.read(CAPTURES / "copies-and-losses" / "any.pcap").flows
    with (CAPTURES / "copies-and-losses" / "retransmitted.csv").open(encoding="ascii") as file:
        counted = {row["host"]: int(row["segments"]) for row in csv.DictReader(file)}
    assert sum(counted.values()) > 20
    for host, count in counted.items():
        assert flows[f"{host}_retransmitted"].sum() > 0
        assert retransmitted(host) == count
    assert set(flows["handshake"]) == {"complete"}


def retransmitted(host: str) -> int:
    """Segments of this end that begin below what it has sent, of those that are no copies; keep-alives there are none."""
    frame = analyzer.read(CAPTURES / "copies-and-losses" / "any.pcap").packets
    frame = frame[frame["copy_of"].isna() & (frame["from_client"] == (host == "client"))]
    count, sent_to = 0, {}
    for row in frame.itertuples():
        size = row.length + ("S" in row.flags) + ("F" in row.flags)
        if size:
            count += row.seq < sent_to.get(row.flow, 0)
            sent_to[row.flow] = max(sent_to.get(row.flow, 0), row.seq + size)
    return count


@pytest.mark.parametrize("name", sorted(TRANSLATED))
def test_both_sides_of_an_address_translation(name):
    analysis = analyzer.read(CAPTURES / name / "any.pcap")
    flows = analysis.flows
    assert flows["nat_of"].fillna(-1).tolist() == [-1, 0]
    assert flows.loc[0, ["client", "client_port"]].tolist() != flows.loc[1, ["client", "client_port"]].tolist() or (
        flows.loc[0, ["server", "server_port"]].tolist() != flows.loc[1, ["server", "server_port"]].tolist()
    )
    assert set(flows["close"]) == {"orderly"}
    for number in (0, 1):
        assert first_sights(name, {number}) == sent(name)
    assert analysis.capture.copies == sent(name).total()  # the container's side is seen twice
    assert "1 connection seen on both sides of an address translation" in analysis.summary()


def test_the_loopback_interface_shows_one_sight_only():
    for name in ("life-of-a-connection", "closed-by-server", "refused"):
        assert analyzer.read(CAPTURES / name / "any.pcap").capture.copies == 0
