"""Link layers: https://www.tcpdump.org/linktypes.html"""

from __future__ import annotations

import struct

import pytest

from tests import wire
from tests.decode.decoded import decoded, over_ipv4, over_ipv6, segment, whole

NOT_IP, CUT = "not IPv4 or IPv6", "link header cut by the snap length"
HEADERS = {1: 14, 113: 16, 276: 20, 0: 4, 108: 4, 101: 0, 12: 0, 14: 0}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("link", [0, 1, 12, 14, 101, 108, 113, 276])
def test_link_types(link, version):
    datagram, ethertype = (over_ipv4(), wire.IPV4) if version == 4 else (over_ipv6(), wire.IPV6)
    whole(decoded(wire.link_layer(link, ethertype, datagram), link), version=version)


def test_link_types_of_one_ip_version():
    whole(decoded(over_ipv4(), 228))
    whole(decoded(over_ipv6(), 229), version=6)


@pytest.mark.parametrize("family", [2, 10, 24, 28, 30])
@pytest.mark.parametrize("order", "<>")
def test_null_in_any_hosts_byte_order_and_with_any_systems_family(family, order):
    datagram, version = (over_ipv4(), 4) if family == 2 else (over_ipv6(), 6)
    whole(decoded(struct.pack(order + "I", family) + datagram, 0), version=version)


def test_an_unknown_link_type_is_counted():
    assert decoded(over_ipv4(), 147) == "link type not understood"


@pytest.mark.parametrize(("link", "header"), [item for item in HEADERS.items() if item[1]])
def test_a_cut_link_header(link, header):
    octets = wire.link_layer(link, wire.IPV4, over_ipv4())
    assert decoded(octets, link, captured=header - 1) == CUT
    assert decoded(octets, link, captured=0) == CUT


@pytest.mark.parametrize("link", [1, 113, 276])
def test_what_is_not_ip(link):
    assert decoded(wire.link_layer(link, wire.ARP, bytes(46)), link) == NOT_IP


def test_raw_of_no_known_version():
    assert decoded(b"\x75" + bytes(60), 101) == NOT_IP


# -------------------------------------------------------------------------------------------------- cooked captures


@pytest.mark.parametrize(("packet_type", "outgoing"), [(0, False), (1, False), (2, False), (3, False), (4, True)])
def test_directions_of_cooked_captures(packet_type, outgoing):
    """packet(7): 4 is PACKET_OUTGOING."""
    for link, cooked in ((113, wire.sll), (276, wire.sll2)):
        row = decoded(cooked(wire.IPV4, over_ipv4(), packet_type=packet_type), link)
        whole(row)
        assert row.outgoing is outgoing


def test_the_interface_of_sll2():
    assert decoded(wire.sll2(wire.IPV4, over_ipv4(), index=7), 276).interface == "7"


def test_ethernet_knows_no_direction_and_no_interface():
    row = decoded(wire.ethernet(wire.IPV4, over_ipv4()))
    assert (row.outgoing, row.interface, row.vlan) == (None, None, None)


# ----------------------------------------------------------------------------------------------------------- VLAN


@pytest.mark.parametrize("outer", [0x8100, 0x88A8, 0x9100, 0x9200])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_stacks_of_tags(outer, depth):
    """802.1Q, 802.1ad and its forerunners; the innermost tag is the VLAN."""
    tags = [(outer, 0x2000 | 100 + i) for i in range(depth)]  # priority bits are not the VLAN
    row = decoded(wire.ethernet(wire.IPV4, over_ipv4(), tags))
    whole(row)
    assert row.vlan == 100 + depth - 1


def test_vlan_0_and_4095_are_values():
    assert decoded(wire.ethernet(wire.IPV4, over_ipv4(), [(0x8100, 0)])).vlan == 0
    assert decoded(wire.ethernet(wire.IPV4, over_ipv4(), [(0x8100, 4095)])).vlan == 4095


@pytest.mark.parametrize("link", [113, 276])
def test_a_tag_behind_a_cooked_header(link):
    tagged = struct.pack(">HH", 42, wire.IPV6) + over_ipv6()
    row = decoded(wire.link_layer(link, 0x8100, tagged), link)
    whole(row, version=6)
    assert row.vlan == 42


def test_a_cut_tag():
    assert decoded(wire.ethernet(wire.IPV4, over_ipv4(), [(0x8100, 1)]), captured=17) == CUT


def test_an_endless_stack_of_tags():
    assert isinstance(decoded(wire.ethernet(wire.IPV4, over_ipv4(), [(0x8100, 1)] * 300)), str)


# ----------------------------------------------------------------------------------------------------------- 802.3


def test_snap():
    """A length instead of an EtherType: LLC and SNAP carry it on (RFC 1042)."""
    datagram = over_ipv4()
    frame = wire.ethernet(len(datagram) + 8, b"\xaa\xaa\x03\x00\x00\x00\x08\x00" + datagram)
    whole(decoded(frame))


def test_llc_without_snap_is_not_ip():
    assert decoded(wire.ethernet(50, b"\x42\x42\x03" + bytes(47))) == NOT_IP


@pytest.mark.parametrize("pad", [0, 1, 6, 40])
def test_padding_is_no_payload(pad):
    frame = wire.ethernet(wire.IPV4, over_ipv4(segment(".", b"")), pad_to=0) + b"\xaa" * pad
    assert decoded(frame).length == 0
