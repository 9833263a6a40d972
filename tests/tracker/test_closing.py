"""How connections close: RFC 9293, sections 3.6 and 3.10.7.4."""

from __future__ import annotations

from tests.tracker.exchange import play
from tests.tracker.starts import (
    close_wait,
    closed,
    closing,
    established,
    fin_wait_1,
    fin_wait_2,
    fins_exchanged,
    last_ack,
    synack_sent,
    talked,
    time_wait,
)

OPENED = "CLOSED>SYN_SENT>ESTABLISHED"
TAKEN = "LISTEN>SYN_RCVD>ESTABLISHED"
CLOSES = "FIN_WAIT_1>FIN_WAIT_2>TIME_WAIT"
FOLLOWS = "CLOSE_WAIT>LAST_ACK>CLOSED"


def test_closed_by_the_client():
    played = play(time_wait()).ends(
        f"{OPENED}>{CLOSES}", f"{TAKEN}>{FOLLOWS}", handshake="complete", close="orderly", closed_by="client",
        close_1=8, close_2=9, close_3=10, close_4=11, client_state="TIME_WAIT", server_state="CLOSED",
    )  # fmt: skip
    assert played.kinds() == []
    assert played.changes("client")[2:] == [
        "8 ESTABLISHED>FIN_WAIT_1 proven 8",
        "9 FIN_WAIT_1>FIN_WAIT_2 assumed",
        "10 FIN_WAIT_2>TIME_WAIT proven 11",
    ]
    assert played.changes("server")[3:] == [
        "8 ESTABLISHED>CLOSE_WAIT proven 9",
        "10 CLOSE_WAIT>LAST_ACK proven 10",
        "11 LAST_ACK>CLOSED assumed",
    ]


def test_closed_by_the_server():
    played = play(closed()).ends(
        f"{OPENED}>{FOLLOWS}", f"{TAKEN}>{CLOSES}", close="orderly", closed_by="server",
        close_1=8, close_2=9, close_3=10, close_4=11, client_state="CLOSED", server_state="TIME_WAIT",
    )  # fmt: skip
    assert played.kinds() == []
    assert played.changes("server")[-1] == "10 FIN_WAIT_2>TIME_WAIT proven 11"
    assert played.changes("client")[-1] == "11 LAST_ACK>CLOSED assumed"


def test_half_close_with_data():
    """The client has said all, the server has not: nothing that the client sends can prove FIN_WAIT_2."""
    play(
        f"""{fin_wait_2()}
        1.100 S>C P. seq=8 ack=7 len=100   | FIN_WAIT_2~ CLOSE_WAIT
        1.110 C>S .  seq=7 ack=108         | FIN_WAIT_2~ CLOSE_WAIT
        1.200 S>C P. seq=108 ack=7 len=100 | FIN_WAIT_2~ CLOSE_WAIT
        1.210 C>S .  seq=7 ack=208         | FIN_WAIT_2~ CLOSE_WAIT
        2.000 S>C F. seq=208 ack=7         | TIME_WAIT~ LAST_ACK close 3/4
        2.010 C>S .  seq=7 ack=209         | TIME_WAIT CLOSED~ close 4/4
        """
    ).ends(f"{OPENED}>{CLOSES}", f"{TAKEN}>{FOLLOWS}", close="orderly", server_bytes=207, client_bytes=5)


def test_half_closed_to_the_end_of_the_capture():
    play(fin_wait_2()).ends(
        f"{OPENED}>FIN_WAIT_1>FIN_WAIT_2", f"{TAKEN}>CLOSE_WAIT", close="half-closed", closed_by="client", close_3=None
    )
    play(close_wait()).ends(f"{OPENED}>CLOSE_WAIT", f"{TAKEN}>FIN_WAIT_1>FIN_WAIT_2", close="half-closed")


def test_three_segments_closed_by_the_client():
    """FIN and acknowledgement in one segment: two events, two rows at the client (3.10.7.4)."""
    played = play(
        f"""{fin_wait_1()}
        1.010 S>C F. seq=8 ack=7           | TIME_WAIT~ LAST_ACK close 2+3/4
        1.020 C>S .  seq=7 ack=9           | TIME_WAIT CLOSED~ close 4/4
        """
    ).ends(
        f"{OPENED}>{CLOSES}", f"{TAKEN}>{FOLLOWS}", close="orderly", closed_by="client",
        close_1=8, close_2=9, close_3=9, close_4=10,
    )  # fmt: skip
    assert played.changes("client")[3:] == ["9 FIN_WAIT_1>FIN_WAIT_2 assumed", "9 FIN_WAIT_2>TIME_WAIT proven 10"]
    assert played.changes("server")[3:] == [
        "8 ESTABLISHED>CLOSE_WAIT proven 9",
        "9 CLOSE_WAIT>LAST_ACK proven 9",
        "10 LAST_ACK>CLOSED assumed",
    ]


def test_three_segments_closed_by_the_server():
    play(
        f"""{talked()}
        1.000 S>C F. seq=8 ack=6           | CLOSE_WAIT~ FIN_WAIT_1 close 1/4
        1.010 C>S F. seq=6 ack=9           | LAST_ACK TIME_WAIT~ close 2+3/4
        1.020 S>C .  seq=9 ack=7           | CLOSED~ TIME_WAIT close 4/4
        """
    ).ends(f"{OPENED}>{FOLLOWS}", f"{TAKEN}>{CLOSES}", close="orderly", closed_by="server")


def test_simultaneous_close():
    """RFC 9293, figure 13: the FINs cross; the server's shows that the client's had not arrived."""
    played = play(
        f"""{closing()}
        1.011 C>S .  seq=7 ack=9           | CLOSING TIME_WAIT~ close 4/4
        1.012 S>C .  seq=9 ack=7           | TIME_WAIT~ TIME_WAIT~ close 2/4
        """
    ).ends(
        f"{OPENED}>FIN_WAIT_1>CLOSING>TIME_WAIT", f"{TAKEN}>FIN_WAIT_1>CLOSING>TIME_WAIT",
        close="simultaneous", closed_by="client", close_1=8, close_2=11, close_3=9, close_4=10,
    )  # fmt: skip
    assert played.kinds() == []
    assert played.changes("server")[3:] == [
        "8 ESTABLISHED>CLOSE_WAIT refuted 9",
        "9 ESTABLISHED>FIN_WAIT_1 proven 9",
        "9 FIN_WAIT_1>CLOSING proven 11",
        "10 CLOSING>TIME_WAIT assumed",
    ]


def test_data_after_the_peers_fin_that_does_not_acknowledge_it():
    """A segment that was under way when the FIN was sent: CLOSE_WAIT was assumed too early."""
    played = play(
        f"""{fin_wait_1()}
        1.001 S>C P. seq=8 ack=6 len=5     | FIN_WAIT_1 ESTABLISHED
        1.002 S>C P. seq=13 ack=6 len=5    | FIN_WAIT_1 ESTABLISHED
        1.010 S>C .  seq=18 ack=7          | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        """
    )
    assert played.changes("server")[3:5] == [
        "8 ESTABLISHED>CLOSE_WAIT refuted 9",
        "11 ESTABLISHED>CLOSE_WAIT proven 11",
    ]


def test_fin_with_data():
    """The FIN stands behind its segment's payload."""
    play(
        f"""{talked()}
        1.000 C>S FP. seq=6 ack=8 len=20   | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
        1.010 S>C .  seq=8 ack=26          | FIN_WAIT_1 ?
        1.011 S>C .  seq=8 ack=27          | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        2.000 S>C FP. seq=8 ack=27 len=30  | TIME_WAIT~ LAST_ACK close 3/4
        2.010 C>S .  seq=27 ack=39         | TIME_WAIT CLOSED~ close 4/4
        """
    ).ends(f"{OPENED}>{CLOSES}", f"{TAKEN}>{FOLLOWS}", close="orderly", client_bytes=25, server_bytes=37)


def test_fin_lost_and_sent_again():
    """No acknowledgement between the two: the receiver's CLOSE_WAIT is refuted, and assumed anew."""
    played = play(
        f"""{fin_wait_1()}
        1.200 C>S F. seq=6 ack=8           | FIN_WAIT_1 CLOSE_WAIT~ (close 1/4) ! fin-retransmitted
        1.210 S>C .  seq=8 ack=7           | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        """
    ).ends(f"{OPENED}>FIN_WAIT_1>FIN_WAIT_2", f"{TAKEN}>CLOSE_WAIT", close_1=8, close_2=10)
    assert played.changes("server")[3:] == ["8 ESTABLISHED>CLOSE_WAIT refuted 9", "9 ESTABLISHED>CLOSE_WAIT proven 10"]


def test_acknowledgement_of_the_fin_lost():
    """The FIN comes again a round trip and more after its acknowledgement: FIN_WAIT_2 is refuted."""
    played = play(
        f"""{fin_wait_2()}
        1.200 C>S F. seq=6 ack=8           | FIN_WAIT_1 CLOSE_WAIT (close 1/4) ! fin-ack-lost, fin-retransmitted
        1.210 S>C .  seq=8 ack=7           | FIN_WAIT_2~ CLOSE_WAIT (close 2/4)
        """
    ).ends(f"{OPENED}>FIN_WAIT_1>FIN_WAIT_2", f"{TAKEN}>CLOSE_WAIT", close_1=8, close_2=9)
    assert played.changes("client")[3:] == [
        "9 FIN_WAIT_1>FIN_WAIT_2 refuted 10",
        "11 FIN_WAIT_1>FIN_WAIT_2 assumed",
    ]


def test_a_fin_that_crosses_its_acknowledgement_refutes_nothing():
    play(
        f"""{fin_wait_1()}
        1.195 S>C .  seq=8 ack=7           | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        1.200 C>S F. seq=6 ack=8           | FIN_WAIT_2~ CLOSE_WAIT (close 1/4) ! fin-retransmitted
        """
    )


def test_last_acknowledgement_lost():
    """The server repeats its FIN, the client acknowledges it from TIME_WAIT."""
    played = play(
        f"""{time_wait()}
        2.200 S>C F. seq=8 ack=7           | TIME_WAIT LAST_ACK (close 3/4) ! fin-ack-lost, fin-retransmitted
        2.210 C>S .  seq=7 ack=9           | TIME_WAIT CLOSED~ (close 4/4)
        """
    ).ends(f"{OPENED}>{CLOSES}", f"{TAKEN}>{FOLLOWS}", close="orderly", close_3=10, close_4=11)
    assert played.changes("server")[5:] == ["11 LAST_ACK>CLOSED refuted 12", "13 LAST_ACK>CLOSED assumed"]


def test_second_fin_lost():
    """The client never had it: TIME_WAIT was assumed too early, and is assumed anew."""
    played = play(
        f"""{fins_exchanged()}
        2.200 S>C F. seq=8 ack=7           | TIME_WAIT~ LAST_ACK (close 3/4) ! fin-retransmitted
        2.210 C>S .  seq=7 ack=9           | TIME_WAIT CLOSED~ close 4/4
        """
    ).ends(f"{OPENED}>{CLOSES}", f"{TAKEN}>{FOLLOWS}", close="orderly")
    assert played.changes("client")[4:] == ["10 FIN_WAIT_2>TIME_WAIT refuted 11", "11 FIN_WAIT_2>TIME_WAIT proven 12"]


def test_a_fin_ahead_of_a_gap_takes_effect_when_it_is_filled():
    played = play(
        f"""{talked()}
        1.000 C>S F. seq=11 ack=8          | FIN_WAIT_1 ESTABLISHED close 1/4 ! segment-not-captured
        1.001 C>S P. seq=6 ack=8 len=5     | FIN_WAIT_1 CLOSE_WAIT~ ! out-of-order
        1.010 S>C .  seq=8 ack=12          | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        """
    )
    assert played.changes("server")[3:] == ["9 ESTABLISHED>CLOSE_WAIT proven 10"]


def test_a_gap_before_the_fin_that_the_capture_lost():
    """The receiver acknowledges what was not seen, and the FIN: it had it all."""
    play(
        f"""{talked()}
        1.000 C>S F. seq=11 ack=8          | FIN_WAIT_1 ESTABLISHED close 1/4 ! segment-not-captured
        1.010 S>C .  seq=8 ack=12          | FIN_WAIT_2~ CLOSE_WAIT close 2/4 ! ack-of-unseen
        """
    )


def test_data_beyond_the_fin_does_not_count():
    """Data beyond a FIN does not advance RCV.NXT; the FIN stays where it was."""
    play(
        f"""{fin_wait_2()}
        1.020 C>S P. seq=7 ack=8 len=5     | FIN_WAIT_2~ CLOSE_WAIT ! ?
        2.000 S>C F. seq=8 ack=7           | TIME_WAIT~ LAST_ACK close 3/4
        2.010 C>S .  seq=7 ack=9           | TIME_WAIT CLOSED~ close 4/4
        """
    ).ends(close="orderly")


def test_the_server_closes_before_the_third_segment():
    """SYN_RCVD>FIN_WAIT_1, without passing ESTABLISHED (3.10.4)."""
    play(
        f"""{synack_sent()}
        0.015 S>C F. seq=1 ack=1           | CLOSE_WAIT~ FIN_WAIT_1 close 1/4
        0.025 C>S .  seq=1 ack=2           | CLOSE_WAIT FIN_WAIT_2~ ?
        """
    ).ends(f"{OPENED}>CLOSE_WAIT", "LISTEN>SYN_RCVD>FIN_WAIT_1>FIN_WAIT_2", closed_by="server")


def test_no_data_at_all():
    """The server's first segment after the handshake acknowledges the FIN: it proves ESTABLISHED and CLOSE_WAIT."""
    played = play(
        f"""{established()}
        0.030 C>S F. seq=1 ack=1           | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
        0.040 S>C F. seq=1 ack=2           | TIME_WAIT~ LAST_ACK close 2+3/4
        0.050 C>S .  seq=2 ack=2           | TIME_WAIT CLOSED~ close 4/4
        """
    ).ends(f"{OPENED}>{CLOSES}", f"{TAKEN}>{FOLLOWS}", close="orderly", client_bytes=0, server_bytes=0)
    assert played.changes("server")[2:4] == ["3 SYN_RCVD>ESTABLISHED proven 5", "4 ESTABLISHED>CLOSE_WAIT proven 5"]


def test_the_last_acknowledgement_is_not_seen():
    play(last_ack()).ends(f"{OPENED}>CLOSE_WAIT>LAST_ACK", f"{TAKEN}>{CLOSES}", close="half-closed", close_4=None)


def test_a_fin_overtaken_by_the_acknowledgement_of_the_other():
    """What it acknowledges tells that it was sent before the other FIN came: they crossed. Seen in the trial fins-cross."""
    played = play(
        f"""{talked()}
        1.000 S>C F. seq=8 ack=6           | CLOSE_WAIT~ FIN_WAIT_1 close 1/4
        1.010 C>S .  seq=7 ack=9           | CLOSE_WAIT FIN_WAIT_2~ close 2/4 ! ?
        1.200 C>S F. seq=6 ack=8           | CLOSING~ TIME_WAIT~ simultaneous close 3/4 ! ?
        1.201 S>C .  seq=9 ack=7           | TIME_WAIT~ TIME_WAIT close 4/4
        """
    ).ends("CLOSED>SYN_SENT>ESTABLISHED>FIN_WAIT_1>CLOSING>TIME_WAIT", close="simultaneous")
    assert played.flow()["server_path"] == "LISTEN>SYN_RCVD>ESTABLISHED>FIN_WAIT_1>FIN_WAIT_2>TIME_WAIT"
