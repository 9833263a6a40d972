"""IPv4 (RFC 791) and IPv6 (RFC 8200): the length that counts, options, extension headers, fragments."""

from __future__ import annotations

import struct

import pytest

from tests import wire
from tests.decode.decoded import decoded, over_ipv4, over_ipv6, read, segment, whole

CUT, MALFORMED, NOT_TCP, FRAGMENT = (
    "IP header cut by the snap length",
    "IP header malformed",
    "not TCP",
    "IP fragment, not the last to come",
)
UNKNOWN = "IPv6 extension headers not understood"
RAW = 101


def test_identification_and_time_to_live():
    row = decoded(over_ipv4(ident=0xBEEF, ttl=3), RAW)
    assert (row.ip_id, row.ttl) == (0xBEEF, 3)
    row = decoded(over_ipv6(ttl=255), RAW)
    assert (row.ip_id, row.ttl) == (None, 255)


@pytest.mark.parametrize("words", range(1, 11))
def test_ipv4_options(words):
    whole(decoded(over_ipv4(options=b"\x01" * 4 * words), RAW))


@pytest.mark.parametrize("header", range(5))
def test_ipv4_header_length_below_its_least(header):
    assert decoded(over_ipv4(header=header), RAW) == MALFORMED


def test_ipv4_header_longer_than_the_datagram():
    assert decoded(over_ipv4(header=15, length=44), RAW) == MALFORMED


@pytest.mark.parametrize("length", [1, 19])
def test_ipv4_length_below_its_header(length):
    assert decoded(over_ipv4(length=length), RAW) == MALFORMED


@pytest.mark.parametrize("length", [20, 39])
def test_ipv4_length_that_holds_no_tcp_header(length):
    assert decoded(over_ipv4(length=length), RAW) == "TCP header cut below 20 bytes"


def test_ipv4_length_below_the_frame():
    """The rest is padding, whatever is in it."""
    assert decoded(over_ipv4(segment(payload=b"hello world"), length=45), RAW).length == 5


def test_ipv4_length_beyond_the_frame():
    """The IP header's figure, as tcpdump."""
    row = decoded(over_ipv4(length=1040), RAW)
    assert (row.length, row.truncated) == (1000, True)


def test_offload_leaves_a_length_of_zero():
    """TSO: the frame's own length counts then."""
    row = decoded(over_ipv4(segment(payload=bytes(3000)), length=0), RAW)
    assert (row.length, row.truncated) == (3000, False)
    row = decoded(over_ipv6(segment(payload=bytes(70000)), length=0), RAW)
    assert (row.length, row.truncated) == (70000, False)


def test_offload_and_a_short_snap_length():
    row = decoded(over_ipv4(segment(payload=bytes(3000)), length=0), RAW, captured=60)
    assert (row.length, row.truncated) == (3000, True)


@pytest.mark.parametrize(
    ("fragment", "is_one"), [(0x2000, True), (0x0001, True), (0x2010, True), (0x4000, False), (0, False)]
)
def test_ipv4_fragments_are_counted(fragment, is_one):
    row = decoded(over_ipv4(fragment=fragment), RAW)
    assert (row == FRAGMENT) is is_one
    if not is_one:
        whole(row)


@pytest.mark.parametrize("captured", [1, 19])
def test_a_cut_ipv4_header(captured):
    assert decoded(over_ipv4(), RAW, captured=captured) == CUT


def test_a_cut_ipv6_header():
    assert decoded(over_ipv6(), RAW, captured=39) == CUT


def test_what_is_not_tcp():
    assert decoded(over_ipv4(wire.udp(53, 53), protocol=wire.UDP), RAW) == NOT_TCP
    assert decoded(over_ipv6(wire.udp(53, 53), protocol=wire.UDP), RAW) == NOT_TCP
    assert decoded(over_ipv4(b"\x08\x00" + bytes(30), protocol=wire.ICMP), RAW) == NOT_TCP  # an echo request


def test_a_version_that_contradicts_the_ethertype():
    assert decoded(wire.ethernet(wire.IPV6, over_ipv4() + bytes(40))) == MALFORMED
    assert decoded(wire.ethernet(wire.IPV4, over_ipv6())) == MALFORMED


# ------------------------------------------------------------------------------------------------- IPv6 extensions

HOP_BY_HOP, ROUTING, FRAGMENT_HEADER, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60


def extension(kind: int, eights: int = 0) -> tuple[int, bytes]:
    """An extension header of 8 * (eights + 1) octets, without its first one."""
    return kind, bytes([eights]) + bytes(6 + 8 * eights)


@pytest.mark.parametrize("kind", [HOP_BY_HOP, ROUTING, DESTINATION, 135, 139, 140])
@pytest.mark.parametrize("eights", [0, 1, 5])
def test_ipv6_extension_headers(kind, eights):
    whole(decoded(over_ipv6(extensions=[extension(kind, eights)]), RAW), version=6)


def test_ipv6_authentication_header_counts_in_fours():
    whole(decoded(over_ipv6(extensions=[(AUTHENTICATION, bytes([4]) + bytes(22))]), RAW), version=6)


def test_ipv6_chain_of_extension_headers():
    chain = [extension(HOP_BY_HOP), extension(DESTINATION, 2), extension(ROUTING, 1), extension(DESTINATION)]
    whole(decoded(over_ipv6(extensions=chain), RAW), version=6)


def fragment_header(offset: int, more: bool) -> tuple[int, bytes]:
    return FRAGMENT_HEADER, struct.pack(">BHI", 0, offset << 3 | more, 4711)


def test_ipv6_fragments_are_counted():
    assert decoded(over_ipv6(extensions=[fragment_header(0, True)]), RAW) == FRAGMENT
    assert decoded(over_ipv6(extensions=[fragment_header(185, False)]), RAW) == FRAGMENT


def test_an_atomic_fragment_is_none():
    """RFC 6946."""
    whole(decoded(over_ipv6(extensions=[fragment_header(0, False)]), RAW), version=6)


def test_ipv6_extension_beyond_the_datagram():
    assert decoded(over_ipv6(extensions=[(HOP_BY_HOP, bytes([255]) + bytes(6))]), RAW) == MALFORMED


def test_ipv6_extension_cut_by_the_snap_length():
    assert decoded(over_ipv6(extensions=[extension(HOP_BY_HOP)]), RAW, captured=47) == CUT


def test_ipv6_endless_chain():
    assert decoded(over_ipv6(extensions=[extension(DESTINATION)] * 100), RAW) == UNKNOWN


def test_ipv6_encrypted_or_empty_is_not_tcp():
    assert decoded(over_ipv6(bytes(40), protocol=50), RAW) == NOT_TCP
    assert decoded(over_ipv6(b"", protocol=59, length=8), RAW) == NOT_TCP


# ----------------------------------------------------------------------------------------------------------- ICMP


def test_an_error_quotes_a_segment():
    """Eight octets of it suffice (RFC 792); it is counted, and makes no row."""
    quoted = over_ipv4(segment())[:28]
    error = wire.ipv4("198.51.100.2", "192.0.2.1", wire.unreachable(quoted, 3, 3), protocol=wire.ICMP)
    analysis = read([wire.record(0, over_ipv4()), wire.record(10**9, error)], RAW)
    assert len(analysis.packets) == 1
    assert analysis.capture.skipped == {"ICMP error quoting a TCP segment": 1}
    assert "icmp-error" in set(analysis.anomalies["kind"])


@pytest.mark.parametrize("left", [0, 8, 27, 35])
def test_an_error_cut_short_quotes_nothing(left):
    error = wire.unreachable(over_ipv4(segment()), 3, 3)
    assert decoded(over_ipv4(error[:left], protocol=wire.ICMP), RAW) == NOT_TCP


def test_an_error_that_quotes_something_else():
    error = wire.unreachable(over_ipv4(wire.udp(53, 53), protocol=wire.UDP), 3, 3)
    assert decoded(over_ipv4(error, protocol=wire.ICMP), RAW) == NOT_TCP
