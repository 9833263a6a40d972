"""ICMP errors and the connection whose segment they quote: RFC 1122 4.2.3.9, RFC 5461, RFC 5927, and what Linux does."""

from __future__ import annotations

import pytest

from analyzer.tracker.icmp import EFFECT_WORDS, ERRORS, RULES, Class, Effect, error
from tests import wire
from tests.decode.decoded import over_ipv4, over_ipv6, read
from tests.tracker.exchange import Played, play
from tests.tracker.starts import established, syn_sent, synack_sent, talked, time_wait

STRAY = "ICMP error quoting a segment of a connection that is not here"
QUOTING = "ICMP error quoting a TCP segment"
RAW = 101


def errors(played: Played) -> list[str]:
    """What the details say of the ICMP errors."""
    rows = played.analysis.anomalies
    return [str(detail) for detail in rows.loc[rows["kind"] == "icmp-error", "detail"]]


def related(played: Played) -> list[int]:
    rows = played.analysis.anomalies
    return [int(frame) for frame in rows.loc[rows["kind"] == "icmp-error", "related_frame"].fillna(0)]


# ---------------------------------------------------------------------------------------------------------- SYN_SENT


@pytest.mark.parametrize(
    ("version", "icmp", "name"),
    [
        (4, "3/0", "ICMP net unreachable"),
        (4, "3/1", "ICMP host unreachable"),
        (4, "3/13", "ICMP communication administratively prohibited"),
        (4, "11/0", "ICMP time to live exceeded in transit"),
        (4, "12/0", "ICMP parameter problem"),
        (6, "1/0", "ICMPv6 no route to destination"),
        (6, "1/3", "ICMPv6 address unreachable"),
        (6, "3/0", "ICMPv6 hop limit exceeded in transit"),
    ],
)
def test_any_error_ends_an_attempt(version, icmp, name):
    """Linux: tcp_v4_err, tcp_v6_err; RFC 5461 section 4. Nothing is known then of the server's end."""
    played = play(
        f"""{syn_sent()}
        0.010 S>C icmp={icmp} seq=0 by=router | CLOSED UNKNOWN ! icmp-error, refused
        """,
        version=version,
    ).ends("CLOSED>SYN_SENT>CLOSED", handshake="refused", close="reset", client_state="CLOSED", server_state="UNKNOWN")
    assert played.changes("client")[-1] == "2 SYN_SENT>CLOSED assumed"
    assert played.changes("server") == ["1 UNKNOWN>LISTEN refuted 2"]
    router = "10.0.0.254" if version == 4 else "fd00::fe"
    assert errors(played) == [f"{name} ({icmp}) from {router} (router): the attempt ends"]
    assert related(played) == [1]


def test_eight_octets_are_enough():
    played = play(f"{syn_sent()}\n 0.010 S>C icmp=3/3 seq=0 quote=8 | CLOSED ? ! icmp-error, refused")
    played.ends(server_state="CLOSED")
    assert errors(played) == ["ICMP port unreachable (3/3) from 10.0.0.2 (the peer): the attempt ends"]


def test_seven_are_not():
    played = play(f"{syn_sent()}\n 0.010 S>C icmp=3/3 seq=0 quote=7 | SYN_SENT LISTEN")
    assert played.analysis.capture.skipped == {"not TCP": 1}


def test_port_unreachable_from_a_router_tells_nothing_of_the_host():
    play(f"{syn_sent()}\n 0.010 S>C icmp=3/3 seq=0 by=router | CLOSED UNKNOWN ! icmp-error, refused")


def test_the_host_itself_finds_no_way():
    played = play(f"{syn_sent()}\n 0.010 S>C icmp=3/1 seq=0 by=itself | CLOSED UNKNOWN ! icmp-error, refused")
    assert errors(played) == ["ICMP host unreachable (3/1) from 10.0.0.1 (the host itself): the attempt ends"]


def test_a_host_that_goes_on_was_not_ended():
    """RFC 1122 has it send its SYN again: that refutes what was assumed; then all goes its way."""
    played = play(
        f"""{syn_sent()}
        0.010 S>C icmp=3/1 seq=0 by=router | ? ? ! icmp-error, refused
        1.000 C>S S  seq=0                 | SYN_SENT LISTEN~ (open 1/3) ! syn-retransmitted
        1.010 S>C S. seq=0 ack=1           | ESTABLISHED~ SYN_RCVD open 2/3
        1.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        """
    ).ends(handshake="complete", close="still open", closed_by=None)
    assert "2 SYN_SENT>CLOSED refuted 3" in played.changes("client")


def test_an_attempt_that_was_refused_by_rst_and_opens_later_is_not_refused():
    play(
        f"""{syn_sent()}
        0.010 S>C R. seq=0 ack=1           | CLOSED~ CLOSED reset ! refused
        1.000 C>S S  seq=0                 | SYN_SENT CLOSED (open 1/3) ! syn-retransmitted
        1.010 S>C S. seq=0 ack=1           | ESTABLISHED~ SYN_RCVD open 2/3
        1.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        """,
        numbers=False,
        chains=False,
    ).ends(handshake="complete", close="still open", closed_by=None)


def test_an_error_that_a_late_answer_belies():
    """The client ignored it, and the server's SYN-ACK was on its way: the client's ACK shows."""
    play(
        f"""{syn_sent()}
        0.010 S>C icmp=3/1 seq=0 by=router | ? ? ! icmp-error, refused
        0.500 S>C S. seq=0 ack=1           | CLOSED~ SYN_RCVD open 2/3
        0.510 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        """
    ).ends(handshake="complete", close="still open")


@pytest.mark.parametrize("icmp", ["4/0", "5/1", "11/1", "3/4", "3/77"])
def test_errors_that_end_no_attempt(icmp):
    play(f"{syn_sent()}\n 0.010 S>C icmp={icmp} seq=0 | SYN_SENT LISTEN ! icmp-error").ends(handshake="syn only")


# ---------------------------------------------------------------------------------------------------------- SYN_RCVD


@pytest.mark.parametrize(
    ("version", "icmp", "state"),
    [(4, "3/1", "CLOSED"), (4, "3/3", "SYN_RCVD"), (6, "1/4", "CLOSED"), (6, "1/3", "SYN_RCVD")],
)
def test_a_request_is_dropped_by_some_errors(version, icmp, state):
    """Linux: tcp_req_err. Which errors these are differs between IPv4 and IPv6."""
    played = play(
        f"""{synack_sent()}
        0.015 C>S icmp={icmp} seq=0 by=router | ESTABLISHED {state} ! icmp-error
        """,
        version=version,
    )
    assert ("request is dropped" in errors(played)[0]) == (state == "CLOSED")
    assert related(played) == [2]


def test_crossing_syns_are_sockets():
    play(
        """
        0.000 C>S S  seq=0 mss=1460        | SYN_SENT LISTEN~ open 1/3
        0.001 S>C S  seq=0 mss=1460        | SYN_RCVD~ SYN_RCVD~ simultaneous open 1/3
        0.010 S>C icmp=3/3 seq=0           | CLOSED ? ! icmp-error, refused
        """
    )


# -------------------------------------------------------------------------------------------------------- ESTABLISHED


@pytest.mark.parametrize("icmp", ["3/0", "3/1", "3/2", "3/3", "3/13", "11/0", "12/0"])
def test_nothing_ends_a_connection(icmp):
    """RFC 5927 section 5.2: not even what RFC 1122 calls hard errors."""
    played = play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=9     | ESTABLISHED ESTABLISHED
        1.005 S>C icmp={icmp} seq=6        | ESTABLISHED ESTABLISHED ! icmp-error
        1.300 C>S P. seq=6 ack=8 len=9     | ESTABLISHED ESTABLISHED ! retransmission
        1.310 S>C .  seq=8 ack=15          | ESTABLISHED ESTABLISHED
        """
    ).ends(handshake="complete", close="still open")
    assert errors(played)[0].endswith("a soft error, nothing changes")
    assert related(played) == [8]


@pytest.mark.parametrize(("seq", "stale"), [(5, True), (6, False), (15, False), (16, True), (10**9, True)])
def test_the_number_must_be_in_flight(seq, stale):
    """From SND.UNA to SND.NXT, both included (RFC 5927 section 4.1, Linux)."""
    played = play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=9     | ESTABLISHED ESTABLISHED
        1.005 S>C icmp=3/1 seq={seq}       | ESTABLISHED ESTABLISHED ! icmp-error
        """
    )
    assert ("not in flight" in errors(played)[0]) == stale


def test_an_end_of_which_nothing_was_heard_has_no_numbers_to_hold_against():
    played = play(
        """
        0.000 S>C P. seq=1 ack=1 len=5
        0.010 S>C icmp=3/1 seq=900 by=router
        """,
        numbers=False,
    )
    assert errors(played)[0].endswith("a soft error, nothing changes")


def test_over():
    played = play(f"{time_wait()}\n 2.020 S>C icmp=3/3 seq=6 | TIME_WAIT CLOSED ! icmp-error")
    assert errors(played)[0].endswith("ignored: the connection was over")


def test_the_quoted_segment_is_the_last_one_with_that_number():
    played = play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=9     | ESTABLISHED ESTABLISHED
        1.001 C>S P. seq=15 ack=8 len=9    | ESTABLISHED ESTABLISHED
        1.005 S>C icmp=3/1 seq=15          | ESTABLISHED ESTABLISHED ! icmp-error
        1.006 S>C icmp=3/1 seq=6           | ESTABLISHED ESTABLISHED ! icmp-error
        1.300 C>S P. seq=6 ack=8 len=9     | ESTABLISHED ESTABLISHED ! retransmission
        1.305 S>C icmp=3/1 seq=6           | ESTABLISHED ESTABLISHED ! icmp-error
        1.306 C>S P. seq=6 ack=8 len=9     | ESTABLISHED ESTABLISHED ! retransmission
        """
    )
    assert related(played) == [9, 8, 12]


def test_it_belongs_to_the_connection_whose_numbers_it_quotes():
    played = play(
        f"""{established()}
        1.000 C'>S S  seq=0                | #1 SYN_SENT ? ? ! port-reused
        1.005 S>C icmp=3/1 seq=1           | ? ? ! icmp-error
        """,
        chains=False,
        numbers=False,
    )
    rows = played.analysis.anomalies
    assert rows.loc[rows["kind"] == "icmp-error", "flow"].tolist() == [0]


# ----------------------------------------------------------------------------------------------------------- path MTU


@pytest.mark.parametrize(
    ("version", "icmp", "mtu", "said"),
    [
        (4, "3/4", 1400, "the segment was too big, path MTU 1400"),
        (4, "3/4", 0, "the segment was too big, path MTU not told"),
        (6, "2/0", 1400, "the segment was too big, path MTU 1400"),
        (6, "2/0", 1279, "ignored"),
    ],
)
def test_path_mtu(version, icmp, mtu, said):
    played = play(
        f"""{talked()}
        1.000 C>S .  seq=6 ack=8 len=1460  | ESTABLISHED ESTABLISHED
        1.005 S>C icmp={icmp} seq=6 by=router mtu={mtu} | ESTABLISHED ESTABLISHED ! icmp-error
        """,
        version=version,
    )
    assert errors(played)[0].endswith(f"(router): {said}")
    assert related(played) == [8]


def test_black_hole():
    """What is still too big when the timer has run out tells that nobody heeds the error; a burst does not."""
    played = play(
        f"""{talked()}
        1.000 C>S .  seq=6 ack=8 len=1460  | ESTABLISHED ESTABLISHED
        1.005 S>C icmp=3/4 seq=6 by=router mtu=1400 | ESTABLISHED ESTABLISHED ! icmp-error
        1.006 C>S .  seq=6 ack=8 len=1460  | ESTABLISHED ESTABLISHED ! retransmission
        1.007 S>C icmp=3/4 seq=6 by=router mtu=1400 | ESTABLISHED ESTABLISHED ! icmp-error
        1.400 C>S .  seq=6 ack=8 len=1460  | ESTABLISHED ESTABLISHED ! retransmission
        1.405 S>C icmp=3/4 seq=6 by=router mtu=1400 | ESTABLISHED ESTABLISHED ! icmp-error
        """
    )
    assert [detail.partition("(router): ")[2] for detail in errors(played)] == [
        "the segment was too big, path MTU 1400",
        "the segment was too big, path MTU 1400",
        "still too big, earlier errors were not heeded, path MTU 1400",
    ]


# ---------------------------------------------------------------------------------------------------------- the quote


def test_an_error_about_a_connection_that_is_not_here_is_counted():
    played = play("0.000 S>C icmp=3/3 seq=0")
    assert len(played.analysis.flows) == len(played.analysis.packets) == len(played.analysis.anomalies) == 0
    assert played.analysis.capture.skipped == {STRAY: 1}


def reported(quoted: bytes, *, kind: int = 3, code: int = 1, rest: int = 0, carried: bytes | None = None):
    """A segment (in this packet, if it is another than the usual one), and an error from a router that quotes something."""
    version = 4 if quoted[0] >> 4 == 4 else 6
    message = wire.unreachable(quoted, kind, code, version=version, rest=rest)
    if version == 4:
        about = wire.ipv4("203.0.113.9", "192.0.2.1", message, protocol=wire.ICMP)
    else:
        about = wire.ipv6("2001:db8::9", "2001:db8::1", message, protocol=wire.ICMPV6)
    return read([wire.record(0, carried or quoted), wire.record(10**9, about)], RAW)


def joined(analysis) -> str:
    """The detail of the error that was joined to its segment."""
    assert analysis.capture.skipped == {QUOTING: 1}
    assert len(analysis.flows) == len(analysis.packets) == 1
    rows = analysis.anomalies[analysis.anomalies["kind"] == "icmp-error"]
    assert rows["related_frame"].tolist() == [1]
    return str(rows["detail"].iloc[0])


def test_extension_headers_lie_before_the_segment():
    chain = [(0, bytes([0]) + bytes(6)), (60, bytes([0]) + bytes(6))]
    assert joined(reported(over_ipv6(extensions=chain), kind=1, code=3)).startswith("ICMPv6 address unreachable (1/3)")


def test_a_packet_in_a_tunnel():
    """A router between the ends of an IP-in-IP tunnel: the flow is the one in this tunnel."""
    inner = over_ipv4()
    outer = wire.ipv4("198.18.0.1", "198.18.0.2", inner, protocol=4)
    assert "from 203.0.113.9 (router)" in joined(reported(outer))
    assert reported(outer, carried=inner).capture.skipped == {STRAY: 1}  # the same ends, not in a tunnel


def test_a_packet_in_gre_and_vxlan():
    gre = wire.ipv4("198.18.0.1", "198.18.0.2", bytes.fromhex("00000800") + over_ipv4(), protocol=47)
    assert joined(reported(gre))
    frame = wire.ethernet(wire.IPV4, over_ipv4())
    vxlan = wire.udp(50000, 4789, bytes.fromhex("0800000000000700") + frame)
    assert joined(reported(wire.ipv4("198.18.0.1", "198.18.0.2", vxlan, protocol=wire.UDP)))


def test_extensions_follow_the_quote():
    """RFC 4884: the quote, padded to 128 octets, as many words; then a label stack. A length that cuts the quote does cut it."""
    padded = over_ipv4().ljust(128, b"\0") + bytes.fromhex("2000beef 0008 0101 00065140".replace(" ", ""))
    assert joined(reported(padded, kind=11, code=0, rest=32 << 16, carried=over_ipv4()))
    assert reported(padded, kind=11, code=0, rest=6 << 16, carried=over_ipv4()).capture.skipped == {"not TCP": 1}


def test_the_first_piece_of_a_datagram_has_the_ports():
    """Reassembly that ran out of time quotes it (RFC 792)."""
    piece = over_ipv4(fragment=0x2000)
    assert "(11/1)" in joined(reported(piece, kind=11, code=1, carried=over_ipv4()))
    later = over_ipv4(fragment=0x2004)
    assert reported(later, kind=11, code=1, carried=over_ipv4()).capture.skipped == {"not TCP": 1}


def test_a_spoiled_length_is_not_asked():
    assert joined(reported(over_ipv4(length=1), carried=over_ipv4()))


def test_an_error_about_an_error_is_none():
    inner = wire.ipv4("192.0.2.1", "203.0.113.9", wire.unreachable(over_ipv4(), 3, 3), protocol=wire.ICMP)
    assert reported(inner, carried=over_ipv4()).capture.skipped == {"not TCP": 1}


# ---------------------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize("row", ERRORS, ids=lambda row: f"{row.version}-{row.type}-{row.code}")
def test_each_row_is_found(row):
    assert error(row.version, row.type, 255 if row.code is None else row.code) == row


def test_no_row_stands_twice():
    keys = [row[:3] for row in ERRORS]
    assert len(keys) == len(set(keys))


def test_rules_are_the_tables():
    for version in (4, 6):
        for kind in sorted({row.type for row in ERRORS if row.version == version}):
            for code in range(256):
                row, bits = error(version, kind, code), RULES[int(version == 6), kind, code]
                ends = row.kind not in (Class.TOO_BIG, Class.REDIRECT) and row.errno != ""
                assert bool(bits & 1) == ends
                assert bool(bits & 2) == (ends and row.request)


def test_an_unknown_type_has_no_row():
    with pytest.raises(KeyError):
        error(4, 8, 0)


def test_every_effect_has_words_of_its_own():
    assert len({EFFECT_WORDS[effect] for effect in Effect}) == len(Effect)
