"""Captures that begin within a connection, or see one of its directions only: nothing is invented."""

from __future__ import annotations

import pytest

from tests.tracker.exchange import play


def test_data_first():
    """Its sender may send data: ESTABLISHED, or CLOSE_WAIT; so does its receiver, as far as can be told."""
    played = play(
        """
        0.000 C>S P. seq=1000 ack=2000 len=5 | ESTABLISHED~ ESTABLISHED~ ! midstream
        0.010 S>C .  seq=2000 ack=1005       | ESTABLISHED~ ESTABLISHED?
        0.020 S>C P. seq=2000 ack=1005 len=7 | ESTABLISHED~ ESTABLISHED?
        0.030 C>S .  seq=1005 ack=2007       | ESTABLISHED? ESTABLISHED?
        """,
        numbers=False,
    ).ends(handshake="not captured", close="still open", role_evidence="port", client_port=40000, open_1=None)
    assert list(played.analysis.packets["seq"]) == [1, 1, 1, 6]  # relative to the first number seen less 1
    assert [int(ack) for ack in played.analysis.packets["ack"]] == [1, 6, 6, 8]
    assert played.flow()["client_path"].startswith("UNKNOWN>")


def test_no_isn_is_invented():
    play("0.0 C>S P. seq=1000 ack=2000 len=5", numbers=False).ends(client_isn=None, server_isn=None)


def test_roles_by_port_whoever_is_first():
    play("0.0 S>C P. seq=5 ack=9 len=3 | ESTABLISHED~ ESTABLISHED~ ! midstream, one-direction", numbers=False).ends(
        role_evidence="port", client="10.0.0.1", server="10.0.0.2", server_packets=1, client_packets=0
    )


def test_fin_first():
    play(
        """
        0.000 C>S F. seq=1000 ack=2000     | FIN_WAIT_1? ? close 1/4 ! midstream
        0.010 S>C .  seq=2000 ack=1001     | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        1.000 S>C F. seq=2000 ack=1001     | TIME_WAIT~ LAST_ACK close 3/4
        1.010 C>S .  seq=1001 ack=2001     | TIME_WAIT CLOSED~ close 4/4
        """,
        numbers=False,
    ).ends(handshake="not captured", close="orderly", closed_by="client", client_state="TIME_WAIT")


def test_fin_first_moves_its_receiver():
    play("0.0 C>S F. seq=1000 ack=2000 | FIN_WAIT_1? CLOSE_WAIT~ close 1/4 ! ?", numbers=False)


def test_reset_first():
    play("0.0 C>S R. seq=1000 ack=2000 | CLOSED CLOSED~ reset ! midstream, reset", numbers=False).ends(
        handshake="not captured", close="reset", closed_by="client"
    )


def test_a_close_seen_from_data_on():
    play(
        """
        0.000 S>C P. seq=2000 ack=1000 len=7 | ESTABLISHED~ ESTABLISHED~ ! midstream
        0.010 C>S .  seq=1000 ack=2007     | ESTABLISHED? ESTABLISHED~
        1.000 S>C F. seq=2007 ack=1000     | CLOSE_WAIT~ FIN_WAIT_1~ close 1/4
        1.010 C>S F. seq=1000 ack=2008     | LAST_ACK TIME_WAIT~ close 2+3/4
        1.020 S>C .  seq=2008 ack=1001     | CLOSED~ TIME_WAIT close 4/4
        """,
        numbers=False,
    ).ends(close="orderly", closed_by="server", handshake="not captured")


def test_no_anomaly_but_midstream():
    """What lies before the capture's beginning is neither lost nor out of order."""
    played = play(
        """
        0.000 S>C P. seq=2000 ack=1000 len=7
        0.010 C>S .  seq=1000 ack=2007
        0.020 C>S P. seq=1000 ack=2007 len=5
        0.030 S>C .  seq=2007 ack=1005
        """,
        numbers=False,
    )
    assert played.kinds() == [(1, "midstream")]


CLIENT_SIDE = """
    0.000 C>S S  seq=0 mss=1460        | SYN_SENT LISTEN~ open 1/3 ! one-direction
    0.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
    0.030 C>S P. seq=1 ack=1 len=5     | ESTABLISHED ESTABLISHED~
"""


def test_the_clients_side_only():
    """Its acknowledgement proves that a SYN-ACK was sent: LISTEN>SYN_RCVD, and it is sent the third segment."""
    played = play(CLIENT_SIDE).ends(
        "CLOSED>SYN_SENT>ESTABLISHED", "LISTEN>SYN_RCVD>ESTABLISHED", client_packets=3, server_packets=0,
        close="still open", open_1=1, open_3=2,
    )  # fmt: skip
    assert played.changes("client") == ["1 CLOSED>SYN_SENT proven 1", "2 SYN_SENT>ESTABLISHED proven 2"]
    assert played.changes("server")[:2] == ["1 UNKNOWN>LISTEN proven 2", "2 LISTEN>SYN_RCVD proven 2"]


def test_the_clients_side_of_a_close():
    played = play(
        f"""{CLIENT_SIDE}
        0.060 C>S .  seq=6 ack=8           | ESTABLISHED ESTABLISHED?
        1.000 C>S F. seq=6 ack=8           | FIN_WAIT_1~ CLOSE_WAIT~ close 1/4
        2.010 C>S .  seq=7 ack=9           | ? ?
        """
    ).ends(closed_by="client", close_1=5)
    assert played.kinds() == [(1, "one-direction")]


def test_the_servers_side_only():
    """It acknowledges the client's data: it was ESTABLISHED, so the third segment had come."""
    play(
        """
        0.000 S>C S. seq=0 ack=1 mss=1460  | ESTABLISHED~ SYN_RCVD open 2/3 ! one-direction
        0.030 S>C .  seq=1 ack=6           | ESTABLISHED? ?
        0.040 S>C P. seq=1 ack=6 len=7     | ESTABLISHED? ESTABLISHED
        1.000 S>C F. seq=8 ack=6           | CLOSE_WAIT~ FIN_WAIT_1~ close 1/4
        """
    ).ends(role_evidence="syn-ack", closed_by="server", client_packets=0)


def test_an_acknowledgement_of_data_proves_established():
    """3.10.7.4: text is taken in ESTABLISHED; only fast open takes it before, and no SYN here asks for it."""
    play(
        """
        0.000 S>C S. seq=0 ack=1 mss=1460
        0.030 S>C .  seq=1 ack=6           | ESTABLISHED? ESTABLISHED
        """
    )


@pytest.mark.parametrize("data", ["P.", "."])
def test_one_direction_of_data(data):
    """Numbers go on, nothing is missing, nothing is acknowledged: one word says so."""
    played = play(
        f"""
        0.000 S>C {data} seq=2000 ack=1000 len=700
        0.001 S>C {data} seq=2700 ack=1000 len=700
        0.002 S>C {data} seq=3400 ack=1020 len=700
        """,
        numbers=False,
    )
    assert {kind for _, kind in played.kinds()} <= {"midstream", "one-direction"}
    assert played.flow()["server_bytes"] == 2100
