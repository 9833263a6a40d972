"""How connections open: RFC 9293, sections 3.5 and 3.10.7.2 to 3.10.7.4."""

from __future__ import annotations

import pytest

from tests.segments import parse
from tests.tracker.exchange import play
from tests.tracker.starts import established, syn_sent, synack_sent, talked

OPENED = "CLOSED>SYN_SENT>ESTABLISHED"
TAKEN = "LISTEN>SYN_RCVD>ESTABLISHED"


def test_three_segments():
    played = play(talked()).ends(
        OPENED, TAKEN, handshake="complete", close="still open", closed_by=None, role_evidence="syn",
        open_1=1, open_2=2, open_3=3, syn_attempts=1, synack_attempts=1,
    )  # fmt: skip
    assert played.changes("client") == ["1 CLOSED>SYN_SENT proven 1", "2 SYN_SENT>ESTABLISHED proven 3"]
    assert played.changes("server") == [
        "1 UNKNOWN>LISTEN proven 2",
        "2 LISTEN>SYN_RCVD proven 2",
        "3 SYN_RCVD>ESTABLISHED proven 5",
    ]


def test_times_and_offers_of_the_handshake():
    row = play(established()).flow()
    assert row["syn_rtt"] == pytest.approx(0.010)
    assert row["handshake_ack_rtt"] == pytest.approx(0.010)
    assert row["irtt"] == pytest.approx(0.020)
    assert (row["client_mss"], row["server_mss"], row["client_wscale"], row["server_wscale"]) == (1460, 1460, 7, 7)
    assert (row["sack"], row["timestamps"], row["fast_open"]) == (True, False, False)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("link", [0, 1, 101, 108, 113, 276])
def test_the_same_on_any_link(link, version):
    played = play(talked(), link=link, version=version).ends(OPENED, TAKEN, handshake="complete")
    assert played.flow()["client"] == {4: "10.0.0.1", 6: "fd00::1"}[version]


def test_syn_lost_and_sent_again():
    played = play(
        f"""{syn_sent()}
        1.000 C>S S  seq=0 mss=1460        | SYN_SENT LISTEN~ (open 1/3) ! syn-retransmitted
        1.010 S>C S. seq=0 ack=1 mss=1460  | ESTABLISHED~ SYN_RCVD open 2/3
        1.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        """
    )
    played.ends(OPENED, TAKEN, handshake="complete", syn_attempts=2)
    assert played.flow()["syn_rtt"] == pytest.approx(0.010)


def test_the_first_step_is_the_syn_that_was_answered():
    play(
        f"""{syn_sent()}
        1.000 C>S S  seq=0 mss=1460
        1.010 S>C S. seq=0 ack=1 mss=1460
        """
    ).ends(open_1=2, open_2=3)


def test_synack_lost_and_drawn_again_by_the_syn():
    """The client repeats its SYN: that it went to ESTABLISHED is refuted."""
    played = play(
        f"""{synack_sent()}
        1.000 C>S S  seq=0 mss=1460        | SYN_SENT SYN_RCVD (open 1/3) ! syn-retransmitted
        1.010 S>C S. seq=0 ack=1 mss=1460  | ESTABLISHED~ SYN_RCVD (open 2/3) ! synack-retransmitted
        1.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        """
    ).ends(OPENED, TAKEN, handshake="complete", syn_attempts=2, synack_attempts=2)
    assert played.changes("client") == [
        "1 CLOSED>SYN_SENT proven 1",
        "2 SYN_SENT>ESTABLISHED refuted 3",
        "4 SYN_SENT>ESTABLISHED proven 5",
    ]


def test_synack_repeated_by_its_timer():
    play(
        f"""{synack_sent()}
        1.010 S>C S. seq=0 ack=1 mss=1460  | ESTABLISHED~ SYN_RCVD (open 2/3) ! synack-retransmitted
        1.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        """
    ).ends(OPENED, TAKEN, handshake="complete", synack_attempts=2)


def test_third_segment_lost_data_takes_its_place():
    """Not seen at all: the data acknowledges the SYN-ACK as well, and carries the step."""
    play(
        f"""{synack_sent()}
        0.500 C>S P. seq=1 ack=1 len=5     | ESTABLISHED ESTABLISHED~ open 3/3
        0.510 S>C .  seq=1 ack=6           | ESTABLISHED ESTABLISHED
        """
    ).ends(OPENED, TAKEN, handshake="complete", open_3=3)


def test_third_segment_with_fin():
    play(
        f"""{synack_sent()}
        0.020 C>S F. seq=1 ack=1           | FIN_WAIT_1 CLOSE_WAIT~ ?
        0.030 S>C .  seq=1 ack=2           | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        """
    ).ends("CLOSED>SYN_SENT>ESTABLISHED>FIN_WAIT_1>FIN_WAIT_2", f"{TAKEN}>CLOSE_WAIT", handshake="complete", open_3=3)


def test_third_segment_ignored():
    """The server repeats its SYN-ACK a round trip and more after the acknowledgement: it never took it."""
    played = play(
        f"""{established()}
        1.010 S>C S. seq=0 ack=1 mss=1460  | ESTABLISHED SYN_RCVD (open 2/3) ! handshake-ack-ignored, synack-retransmitted
        1.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ (open 3/3)
        1.030 S>C .  seq=1 ack=1           | ESTABLISHED ESTABLISHED
        """
    ).ends(OPENED, TAKEN, handshake="complete", open_3=3, synack_attempts=2)
    assert played.changes("server")[2:] == ["3 SYN_RCVD>ESTABLISHED refuted 4", "5 SYN_RCVD>ESTABLISHED proven 6"]


def test_synack_that_crosses_the_third_segment_refutes_nothing():
    play(
        f"""{synack_sent()}
        1.005 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        1.010 S>C S. seq=0 ack=1 mss=1460  | ESTABLISHED ESTABLISHED~ (open 2/3) ! synack-retransmitted
        1.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ (open 3/3)
        """
    ).ends(OPENED, TAKEN, handshake="complete")


def test_nobody_answers():
    repeats = "".join(
        f"{second}.0 C>S S seq=0 mss=1460 | SYN_SENT LISTEN~ (open 1/3) ! syn-retransmitted\n"
        for second in (1, 3, 7, 15, 31)
    )
    played = play(
        f"""{syn_sent().replace("open 1/3", "open 1/3 ! ?")}
        {repeats}
        63.0  C>S S  seq=0 mss=1460        | SYN_SENT LISTEN~ (open 1/3) ! ?
        126.9 timer                        | SYN_SENT LISTEN
        127.1 timer                        | CLOSED LISTEN
        """
    ).ends(
        "CLOSED>SYN_SENT>CLOSED", handshake="syn only", close="timed out", closed_by=None, syn_attempts=7,
        server_packets=0, n_syn_unanswered=1, n_syn_retransmitted=6,
    )  # fmt: skip
    assert played.changes("client")[-1] == "- SYN_SENT>CLOSED assumed"
    assert "SYN_RCVD" not in played.flow()["server_path"]


def test_the_last_syn_is_the_unanswered_one():
    played = play(
        f"""{syn_sent().replace("open 1/3", "open 1/3 ! ?")}
        1.000 C>S S  seq=0                 | SYN_SENT LISTEN~ (open 1/3) ! ?
        9.000 timer                        | SYN_SENT LISTEN
        """
    )
    assert [frame for frame, kind in played.kinds() if kind == "syn-unanswered"] == [2]


def test_an_attempt_is_as_old_as_its_first_syn():
    """The capture ends with a repetition: that one may be answered yet, but for three seconds nobody has."""
    played = play(
        f"""{syn_sent()}
        1.000 C>S S  seq=0                 | SYN_SENT LISTEN~ (open 1/3) ! syn-retransmitted
        3.000 C>S S  seq=0                 | SYN_SENT LISTEN~ (open 1/3) ! ?
        """
    )
    assert [frame for frame, kind in played.kinds() if kind == "syn-unanswered"] == [3]


def test_a_syn_that_may_be_answered_yet_is_not_unanswered():
    play(f"{syn_sent()}\n0.5 timer | SYN_SENT LISTEN").ends(handshake="syn only", close="still open")


def test_refused():
    """Nobody was listening: LISTEN is refuted, the server was CLOSED (3.10.7.1)."""
    played = play(
        f"""{syn_sent()}
        0.010 S>C R. seq=0 ack=1           | CLOSED~ CLOSED reset ! refused
        """,
        numbers=False,  # an RST at the number 0 of the wire is no ISN
    ).ends("CLOSED>SYN_SENT>CLOSED", handshake="refused", close="reset", closed_by="server", server_state="CLOSED")
    assert played.changes("client") == ["1 CLOSED>SYN_SENT proven 1", "2 SYN_SENT>CLOSED assumed"]
    assert played.changes("server")[0] == "1 UNKNOWN>LISTEN refuted 2"
    assert "LISTEN" not in (played.flow()["server_path"] or "")


@pytest.mark.parametrize(("version", "icmp"), [(4, "3/3"), (4, "3/2"), (6, "1/4")])
def test_refused_by_icmp(version, icmp):
    """A hard error in SYN_SENT (RFC 1122 4.2.3.9)."""
    played = play(
        f"""{syn_sent()}
        0.010 S>C icmp={icmp} seq=0        | CLOSED ? ! icmp-error, refused
        """,
        version=version,
    ).ends("CLOSED>SYN_SENT>CLOSED", handshake="refused", client_state="CLOSED")
    assert played.analysis.capture.skipped == {"ICMP error quoting a TCP segment": 1}


def test_refused_by_icmp_nobody_was_listening():
    play(f"{syn_sent()}\n 0.010 S>C icmp=3/3 seq=0").ends(server_state="CLOSED")


def test_an_icmp_error_of_another_number_ends_nothing():
    """RFC 5927: a quoted number that is not in flight is forged."""
    play(
        f"""{syn_sent()}
        0.010 S>C icmp=3/3 seq=4711        | SYN_SENT LISTEN ! icmp-error
        """
    ).ends(client_state="SYN_SENT")


def test_simultaneous_open():
    """RFC 9293, figure 7: both ends pass SYN_RCVD."""
    played = play(
        """
        0.000 C>S S  seq=0 mss=1460        | SYN_SENT LISTEN~ open 1/3
        0.001 S>C S  seq=0 mss=1460        | SYN_RCVD~ SYN_RCVD~ simultaneous open 1/3
        0.010 C>S S. seq=0 ack=1           | SYN_RCVD ESTABLISHED~ simultaneous open 2/3
        0.011 S>C S. seq=0 ack=1           | ESTABLISHED~ ESTABLISHED? simultaneous open 2/3
        0.020 C>S P. seq=1 ack=1 len=5     | ESTABLISHED ESTABLISHED? ?
        0.030 S>C .  seq=1 ack=6           | ESTABLISHED ESTABLISHED
        """
    )
    path = "CLOSED>SYN_SENT>SYN_RCVD>ESTABLISHED"
    played.ends(path, path, handshake="simultaneous", close="still open")
    assert played.changes("server")[0] == "1 UNKNOWN>LISTEN refuted 2"


def test_a_synack_proves_syn_rcvd_only():
    """Simultaneous open: the other SYN-ACK need not have arrived when this one was sent."""
    play(
        """
        0.000 C>S S  seq=0
        0.001 S>C S  seq=0
        0.010 C>S S. seq=0 ack=1           | SYN_RCVD ESTABLISHED~ simultaneous open 2/3
        0.011 S>C S. seq=0 ack=1           | ESTABLISHED~ ESTABLISHED~ simultaneous open 2/3
        """
    )


def test_what_a_proven_move_was_built_on_is_proven():
    """An old duplicate of its SYN takes the server back to SYN_SENT, from a state that it has shown to be in."""
    played = play(
        """
        0.000 C>S S  seq=0
        0.001 S>C S  seq=0                 | ? SYN_RCVD~ simultaneous open 1/3
        0.010 S>C P. seq=1 ack=1 len=5     | ? ESTABLISHED ?
        0.011 S>C S  seq=0                 | ? ESTABLISHED ? ! ?
        """,
        chains=False,
    )
    assert played.changes("server")[2] == "2 SYN_SENT>SYN_RCVD proven 3"


def test_a_synack_of_another_isn_is_not_a_retransmission():
    play(
        f"""{synack_sent()}
        0.500 S>C S. seq=7777 ack=1        | ESTABLISHED~ SYN_RCVD ? ! synack-isn-changed
        """,
        numbers=False,
    )


def test_data_with_the_syn_taken():
    """Fast open (RFC 7413): the SYN's octets are acknowledged with it; the server may send before the third segment."""
    play(
        """
        0.000 C>S S  seq=0 len=5 mss=1460 tfo=0011223344556677 | SYN_SENT LISTEN~ open 1/3
        0.010 S>C S. seq=0 ack=6 mss=1460  | ESTABLISHED~ SYN_RCVD open 2/3
        0.011 S>C P. seq=1 ack=6 len=7     | ESTABLISHED~ SYN_RCVD
        0.020 C>S .  seq=6 ack=8           | ESTABLISHED ESTABLISHED~ open 3/3
        0.030 S>C P. seq=8 ack=6 len=7     | ESTABLISHED ESTABLISHED
        """
    ).ends(OPENED, TAKEN, handshake="complete", fast_open=True, client_bytes=5, server_bytes=14)


def test_data_with_the_syn_not_taken():
    play(
        """
        0.000 C>S S  seq=0 len=5 mss=1460 tfo=0011223344556677 | SYN_SENT LISTEN~ open 1/3
        0.010 S>C S. seq=0 ack=1 mss=1460  | ESTABLISHED~ SYN_RCVD open 2/3
        0.020 C>S P. seq=1 ack=1 len=5     | ESTABLISHED ESTABLISHED~ open 3/3 ! retransmission
        0.030 S>C .  seq=1 ack=6           | ESTABLISHED ESTABLISHED
        """
    ).ends(OPENED, TAKEN, handshake="complete", client_bytes=5)


def test_an_acknowledgement_of_a_request_socket_proves_nothing():
    """What the server sends between SYN-ACK and third segment leaves it in SYN_RCVD."""
    play(
        f"""{synack_sent()}
        0.015 S>C .  seq=1 ack=1           | ESTABLISHED~ SYN_RCVD
        0.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        """
    )


def test_a_synack_of_another_number_does_not_open():
    """3.10.7.3: an acknowledgement of what was never sent draws an RST, and the client stays in SYN_SENT."""
    play(
        f"""{syn_sent()}
        0.010 S>C S. seq=0 ack=4711        | SYN_SENT SYN_RCVD ? ! ?
        0.020 C>S R  seq=4711              | SYN_SENT ? ? ! ?
        """,
        numbers=False,
    )


def test_the_capture_begins_with_the_synack():
    play(
        """
        0.000 S>C S. seq=0 ack=1 mss=1460  | ESTABLISHED~ SYN_RCVD open 2/3
        0.010 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        0.020 S>C P. seq=1 ack=1 len=7     | ESTABLISHED ESTABLISHED
        """
    ).ends(role_evidence="syn-ack", handshake="complete", client="10.0.0.1", client_port=40000, open_2=1, open_3=2)


def test_the_notation_counts_times_from_the_line_before():
    lines = parse("1.0 C>S S seq=0\n+0.25 S>C S. seq=0 ack=1 | SYN_SENT SYN_RCVD\n3 timer")
    assert [line.time_ns for line in lines] == [1_000_000_000, 1_250_000_000, 3_000_000_000]
    assert [line.expected for line in lines] == [None, "SYN_SENT SYN_RCVD", None]
    assert [line.is_segment for line in lines] == [True, True, False]
