"""The TCP header and each of its options, and lengths that lie."""

from __future__ import annotations

import random
import struct

import pytest

from tests import wire
from tests.decode.decoded import ACK, decoded, over_ipv4, over_ipv6, read, segment, whole

RAW = 101


def with_options(options: bytes, flags: str = "S", **more: object):
    return decoded(over_ipv4(segment(flags, b"", options=options, **more)), RAW)


@pytest.mark.parametrize(
    ("flags", "bits"),
    [
        ("S", 0x02), ("S.", 0x12), (".", 0x10), ("P.", 0x18), ("F.", 0x11), ("FP.", 0x19), ("R", 0x04), ("R.", 0x14),
        ("F", 0x01), ("P.U", 0x38), ("SEW", 0xC2), ("S.E", 0x52), ("FSRP.UEW", 0xFF), (".e", 0x110), ("none", 0),
    ],
)  # fmt: skip
def test_flags(flags, bits):
    """tcpdump's letters, and the bits as on the wire."""
    row = decoded(over_ipv4(segment(flags)), RAW)
    assert (row.flags, row.flag_bits) == (flags, bits)
    assert (row.ack is None) == (not bits & 0x10)


def test_reserved_bits_are_kept():
    octets = bytearray(segment("."))
    octets[12] |= 0x0E
    assert decoded(over_ipv4(bytes(octets)), RAW).flag_bits == 0xE10


@pytest.mark.parametrize("window", [0, 1, 65535])
def test_window(window):
    assert decoded(over_ipv4(segment(window=window)), RAW).raw_window == window


# --------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("size", [0, 536, 1460, 65495])
def test_mss(size):
    row = with_options(wire.mss(size))
    assert (row.mss, row.wscale, row.sack_permitted, row.fast_open, row.mptcp, row.sack) == (
        size, None, False, False, False, None,
    )  # fmt: skip


@pytest.mark.parametrize("shift", [0, 7, 14, 15, 127])
def test_window_scale(shift):
    """As on the wire; RFC 7323 caps what is done with it at 14."""
    assert with_options(wire.wscale(shift)).wscale == shift


def test_sack_permitted():
    assert with_options(wire.SACK_PERMITTED).sack_permitted is True


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_sack_blocks(count):
    """Relative to the other end's base: the first acknowledgement less 1."""
    blocks = [(ACK + 100 * i + 100, ACK + 100 * i + 150) for i in range(count)]
    row = with_options(wire.sack(blocks), ".")
    assert row.sack == [edge - ACK + 1 for block in blocks for edge in block]


def test_timestamps():
    row = with_options(wire.timestamps(2**32 - 1, 7), ".")
    assert (row.tsval, row.tsecr) == (2**32 - 1, 7)
    row = with_options(b"", ".")
    assert (row.tsval, row.tsecr) == (None, None)


@pytest.mark.parametrize("cookie", [b"", bytes(4), bytes(8), bytes(16)])
def test_fast_open(cookie):
    assert with_options(wire.fast_open(cookie)).fast_open is True


@pytest.mark.parametrize("kind", [253, 254])
def test_fast_open_as_an_experiment(kind):
    """RFC 7413's magic number in RFC 6994's shared option; another one is somebody else's."""
    assert with_options(wire.mss(1) + wire.option(kind, struct.pack(">H", 0xF989) + bytes(8))).fast_open is True
    assert with_options(wire.mss(1) + wire.option(kind, struct.pack(">H", 0x1234) + bytes(8))).fast_open is False


@pytest.mark.parametrize("subtype", range(9))
def test_mptcp(subtype):
    assert with_options(wire.mptcp(subtype), ".").mptcp is True


def test_all_options_of_a_syn():
    options = (
        wire.mss(1460)
        + wire.SACK_PERMITTED
        + wire.timestamps(1, 0)
        + wire.NOP
        + wire.wscale(7)
        + wire.fast_open(bytes(8))
    )
    row = with_options(options)
    assert (row.mss, row.sack_permitted, row.tsval, row.wscale, row.fast_open) == (1460, True, 1, 7, True)


@pytest.mark.parametrize(
    "other",
    [wire.MD5, wire.option(29, bytes(14)), wire.option(28, b"\x80\x05"), wire.option(200, bytes(6)), wire.NOP * 5],
    ids=["MD5", "AO", "user timeout", "unknown", "NOP"],
)
def test_options_behind_others_are_found(other):
    row = with_options(other + wire.mss(1234))
    assert row.mss == 1234


def test_nothing_behind_the_end_of_options_counts():
    assert with_options(wire.wscale(3) + wire.END_OF_OPTIONS + wire.mss(1234)).mss is None


@pytest.mark.parametrize(
    "options",
    [
        b"\x02\x03\x05\x01",  # an MSS of three octets
        b"\x03\x04\x07\x00",  # a window scale of four
        b"\x04\x03\x00\x01",
        b"\x05\x0b" + bytes(9) + b"\x01",  # half a SACK block
        b"\x08\x06" + bytes(4) + b"\x01\x01",
    ],
)
def test_an_option_of_a_wrong_length_is_not_taken(options):
    row = with_options(options + wire.mss(1234))
    assert (row.wscale, row.sack_permitted, row.sack, row.tsval) == (None, False, None, None)
    assert row.mss == 1234  # what stands behind it is


@pytest.mark.parametrize(
    "options", [b"\x02\x00\x05\xb4", b"\x02\x01\x05\xb4", b"\x02\xff\x05\xb4", b"\x01\x01\x01\x02"]
)
def test_an_option_whose_length_lies_ends_the_walk(options):
    """0 and 1 would stand still, the others run out of the header."""
    row = decoded(over_ipv4(segment("S", b"payload", options=wire.wscale(7) + wire.NOP + options)), RAW)
    assert (row.wscale, row.mss, row.length) == (7, None, 7)


def test_options_end_where_the_header_does():
    """What would be an option lies in the payload."""
    row = decoded(over_ipv4(segment("S", wire.mss(1234))), RAW)
    assert (row.length, getattr(row, "mss", None)) == (4, None)


def test_options_cut_by_the_snap_length():
    octets = over_ipv4(segment("S", b"", options=wire.mss(1460) + wire.NOP + wire.wscale(7)))
    row = decoded(octets, RAW, captured=20 + 20 + 6)
    assert (row.mss, row.wscale, row.truncated) == (1460, None, True)


# --------------------------------------------------------------------------------------------------------- lengths


@pytest.mark.parametrize("header", range(5))
def test_a_header_length_below_its_least(header):
    """Where the text begins is not known: there is none."""
    row = decoded(over_ipv4(segment(header=header)), RAW)
    assert (row.length, row.sport, row.dport) == (0, 40000, 80)


def test_a_header_longer_than_the_datagram():
    assert decoded(over_ipv4(segment(header=15)), RAW).length == 0


def test_options_do_not_run_into_padding():
    """The header claims 60 octets, the datagram has 20, and the frame is padded with what looks like options."""
    frame = wire.ethernet(wire.IPV4, over_ipv4(segment("S", b"", header=15)), pad_to=0) + wire.mss(1234) * 10
    row = decoded(frame)
    assert (row.length, getattr(row, "mss", None)) == (0, None)


@pytest.mark.parametrize("captured", [20, 39])
def test_a_cut_header_is_counted(captured):
    assert decoded(over_ipv4(), RAW, captured=captured) == "TCP header cut below 20 bytes"


@pytest.mark.parametrize("captured", [40, 44])
def test_a_header_and_no_payload_captured(captured):
    row = decoded(over_ipv4(), RAW, captured=captured)
    assert (row.length, row.truncated) == (5, True)


def test_largest_payloads():
    assert decoded(over_ipv4(segment(payload=bytes(65495))), RAW).length == 65495
    assert decoded(over_ipv6(segment(payload=bytes(65515))), RAW).length == 65515


# --------------------------------------------------------------------------------------------------------- hostile


@pytest.mark.parametrize("link", [0, 1, 101, 108, 113, 276])
def test_every_record_is_counted_whatever_is_in_it(link):
    """Octets flipped, cut and made up: each record is a row or counted by a reason, and the whole ones are whole."""
    dice = random.Random(link)
    good = [
        wire.link_layer(link, wire.IPV4, over_ipv4(segment("S", b"", options=wire.mss(1460) + wire.wscale(7)))),
        wire.link_layer(link, wire.IPV6, over_ipv6(segment(".", b"", options=wire.sack([(5000, 6000)])))),
        wire.link_layer(link, wire.IPV4, over_ipv4(wire.unreachable(over_ipv4(), 3, 3), protocol=wire.ICMP)),
        wire.link_layer(link, wire.IPV6, over_ipv6(extensions=[(0, bytes(7)), (43, bytes(7))])),
    ]
    records = []
    for i in range(2000):
        octets = bytearray(good[i % len(good)])
        for _ in range(dice.randrange(4)):
            octets[dice.randrange(len(octets))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        records.append(wire.record(i * 1000, bytes(octets), dice.choice([None, None, dice.randrange(len(octets))])))
    records.append(wire.record(10**9, wire.link_layer(link, wire.IPV4, over_ipv4())))
    analysis = read(records, link)
    assert len(analysis.packets) + sum(analysis.capture.skipped.values()) == len(records)
    assert (analysis.packets["length"] >= 0).all()
    last = analysis.packets.iloc[-1]
    assert (last["src"], last["sport"], last["length"], last["raw_seq"]) == ("192.0.2.1", 40000, 5, 1000)


def test_nothing_but_noise():
    dice = random.Random(1)
    records = [wire.record(i, dice.randbytes(dice.randrange(200))) for i in range(500)]
    analysis = read(records, RAW)
    assert len(analysis.packets) + sum(analysis.capture.skipped.values()) == 500


def test_a_whole_segment():
    whole(decoded(over_ipv4(), RAW))
    whole(decoded(over_ipv6(), RAW), version=6)
