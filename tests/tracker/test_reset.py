"""RST in every state: RFC 9293, section 3.10.7, and RFC 5961."""

from __future__ import annotations

import pytest

from tests.tracker.exchange import play
from tests.tracker.starts import (
    close_wait,
    closed,
    closing,
    established,
    fin_wait_1,
    fin_wait_2,
    last_ack,
    syn_sent,
    synack_sent,
    talked,
    time_wait,
)

# The client's state, how it gets there, its own and the server's next number, the server's state then.
SYNCHRONISED = [
    ("ESTABLISHED", talked, 6, 8, "ESTABLISHED"),
    ("FIN_WAIT_1", fin_wait_1, 7, 8, "CLOSE_WAIT"),
    ("FIN_WAIT_2", fin_wait_2, 7, 8, "CLOSE_WAIT"),
    ("CLOSE_WAIT", close_wait, 6, 9, "FIN_WAIT_2"),
    ("CLOSING", closing, 7, 9, "CLOSING"),
    ("LAST_ACK", last_ack, 7, 9, "TIME_WAIT"),
]


@pytest.mark.parametrize(("state", "start", "mine", "its", "other"), SYNCHRONISED)
def test_the_client_is_sent_a_reset(state, start, mine, its, other):
    """At RCV.NXT: the client must obey, the server has ended."""
    acked = {"CLOSE_WAIT": 6, "ESTABLISHED": 6, "FIN_WAIT_2": 7}.get(state, 6)
    played = play(
        f"""{start()}
        2.500 S>C R. seq={its} ack={acked} | CLOSED~ CLOSED reset ! reset
        """
    )
    row = played.ends(close="reset", client_state="CLOSED", server_state="CLOSED").flow()
    assert row["client_path"].endswith(f"{state}>CLOSED")
    assert row["closed_by"] == {"ESTABLISHED": "server", "CLOSE_WAIT": "server", "LAST_ACK": "server"}.get(
        state, "client"
    )
    assert played.changes("client")[-1].endswith(f"{state}>CLOSED assumed")
    assert played.changes("server")[-1].endswith(f">CLOSED proven {len(played.lines)}")


@pytest.mark.parametrize(("state", "start", "mine", "its", "other"), SYNCHRONISED)
def test_the_client_sends_a_reset(state, start, mine, its, other):
    """At its own next number: it has ended, the server must obey."""
    played = play(
        f"""{start()}
        2.500 C>S R. seq={mine} ack={its}  | CLOSED CLOSED~ reset ! reset
        """
    ).ends(close="reset", client_state="CLOSED", server_state="CLOSED")
    assert played.changes("client")[-1].endswith(f"{state}>CLOSED proven {len(played.lines)}")
    assert played.changes("server")[-1].endswith(f"{other}>CLOSED assumed")


@pytest.mark.parametrize(("state", "start", "mine", "its", "other"), SYNCHRONISED)
@pytest.mark.parametrize("away", [-1000, 20_000_000])
def test_a_reset_out_of_the_window_moves_nobody(state, start, mine, its, other, away):
    """Neither its receiver, who must not obey, nor the sender that it names: it is a late reply or forged."""
    before = play(start()).analysis.packets.iloc[-1]
    kept = [before[f"{end}_state"] + ("" if before[f"{end}_proven"] else "~") for end in ("client", "server")]
    played = play(
        f"""{start()}
        2.500 S>C R. seq={its + away} ack={mine} | {" ".join(kept)} ! reset-unacceptable
        """
    )
    assert played.flow()["close"] != "reset"


@pytest.mark.parametrize(
    ("state", "start", "its"),
    [(state, start, its) for state, start, _, its, _ in SYNCHRONISED if state != "FIN_WAIT_2"],
)
def test_a_reset_within_the_window_is_challenged(state, start, its):
    """RFC 5961, section 3.2: in the window does not suffice where all states but SYN_RCVD and an orphan's are concerned."""
    play(
        f"""{start()}
        2.500 S>C R  seq={its + 100}       | {state}? ? ! reset-unacceptable
        """
    ).ends(client_state=state)


def test_syn_sent_obeys_a_reset_that_acknowledges_its_syn_only():
    play(
        f"""{syn_sent()}
        0.010 S>C R. seq=0 ack=4711        | SYN_SENT ? ! reset-unacceptable
        """,
        numbers=False,
    ).ends(client_state="SYN_SENT", handshake="syn only", close="still open")


def test_syn_sent_does_not_obey_a_bare_reset():
    play(
        f"""{syn_sent()}
        0.010 S>C R  seq=0                 | SYN_SENT ? ! reset-unacceptable
        """,
        numbers=False,
    ).ends(client_state="SYN_SENT")


def test_syn_rcvd_is_reset():
    """The client aborts before its third segment: a scanner. SYN_RCVD goes to CLOSED, the listener is another socket."""
    play(
        f"""{synack_sent()}
        0.020 C>S R  seq=1                 | CLOSED CLOSED~ reset ! reset
        """
    ).ends("CLOSED>SYN_SENT>CLOSED", "LISTEN>SYN_RCVD>CLOSED", handshake="reset", close="reset", closed_by="client")


def test_syn_rcvd_obeys_a_reset_within_the_window():
    play(
        f"""{synack_sent()}
        0.020 C>S R. seq=101 ack=1         | ? CLOSED~ reset ! reset
        """
    ).ends(server_path="LISTEN>SYN_RCVD>CLOSED", handshake="reset")


def test_the_third_segment_answered_by_a_bare_reset():
    """A reply for a connection that the server does not have: ESTABLISHED is refuted."""
    played = play(
        f"""{established()}
        0.030 S>C R  seq=1                 | CLOSED~ CLOSED reset ! reset
        """
    ).ends("CLOSED>SYN_SENT>ESTABLISHED>CLOSED", "LISTEN>SYN_RCVD>CLOSED", handshake="complete", close="reset")
    assert played.changes("server")[2:] == ["3 SYN_RCVD>ESTABLISHED refuted 4", "4 SYN_RCVD>CLOSED proven 4"]


def test_the_third_segment_answered_by_an_abort():
    """RST with ACK: the server was ESTABLISHED, and aborts."""
    play(
        f"""{established()}
        0.030 S>C R. seq=1 ack=1           | CLOSED~ CLOSED reset ! reset
        """
    ).ends("CLOSED>SYN_SENT>ESTABLISHED>CLOSED", "LISTEN>SYN_RCVD>ESTABLISHED>CLOSED", close="reset")


def test_an_abort_proves_that_the_third_segment_had_come():
    """The server's next segment that is no SYN-ACK and comes after the acknowledgement."""
    played = play(f"{established()}\n 0.030 S>C R. seq=1 ack=1")
    assert played.changes("server")[2:] == ["3 SYN_RCVD>ESTABLISHED proven 4", "4 ESTABLISHED>CLOSED proven 4"]


def test_an_orphan_answers_data_with_a_reset():
    """FIN_WAIT_2, its program gone: data reaches it, and it sends RST (Linux; RFC 9293 3.6.1)."""
    play(
        f"""{fin_wait_2()}
        1.500 S>C P. seq=8 ack=7 len=5     | FIN_WAIT_2~ CLOSE_WAIT
        1.510 C>S R  seq=7                 | CLOSED CLOSED~ reset ! reset
        """
    ).ends(
        "CLOSED>SYN_SENT>ESTABLISHED>FIN_WAIT_1>FIN_WAIT_2>CLOSED",
        "LISTEN>SYN_RCVD>ESTABLISHED>CLOSE_WAIT>CLOSED",
        close="reset",
        closed_by="client",
    )


def test_a_fin_answered_by_a_bare_reset_refutes_time_wait():
    """The client's FIN meets nobody: the server was in FIN_WAIT_2 no longer, and never in TIME_WAIT."""
    played = play(
        f"""{last_ack()}
        2.010 S>C R  seq=9                 | CLOSED~ CLOSED reset ! reset
        """
    ).ends("CLOSED>SYN_SENT>ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSED", close="reset", closed_by="server")
    assert played.flow()["server_path"] == "LISTEN>SYN_RCVD>ESTABLISHED>FIN_WAIT_1>FIN_WAIT_2>CLOSED"


def test_a_reset_kills_time_wait():
    """RFC 1337: the repeated acknowledgement meets no socket, the answer ends TIME_WAIT; the close stays orderly."""
    play(
        f"""{time_wait()}
        2.020 S>C R  seq=9                 | CLOSED~ CLOSED? ? ! ?
        """
    ).ends("CLOSED>SYN_SENT>ESTABLISHED>FIN_WAIT_1>FIN_WAIT_2>TIME_WAIT>CLOSED", close="orderly", client_state="CLOSED")


def test_the_server_in_time_wait_is_reset():
    play(
        f"""{closed()}
        2.020 C>S R  seq=7                 | CLOSED? CLOSED~ ? ! ?
        """
    ).ends(close="orderly", server_state="CLOSED")


def test_a_reset_again():
    play(
        f"""{talked()}
        1.000 C>S R. seq=6 ack=8           | CLOSED CLOSED~ reset ! reset
        1.001 C>S R. seq=6 ack=8           | CLOSED CLOSED~ (reset)
        """
    ).ends(close="reset", closed_by="client")


def test_an_end_that_goes_on_was_not_reset():
    """The RST was lost behind the capture point, or forged: CLOSED is refuted."""
    played = play(
        f"""{talked()}
        1.000 C>S R. seq=6 ack=8           | CLOSED CLOSED~ reset ! reset
        1.500 S>C P. seq=8 ack=6 len=5     | CLOSED ESTABLISHED
        """
    ).ends(server_state="ESTABLISHED", server_path="LISTEN>SYN_RCVD>ESTABLISHED")
    assert played.changes("server")[-1] == "8 ESTABLISHED>CLOSED refuted 9"


def test_a_reset_tells_that_the_fin_had_not_come():
    """It acknowledges less: the FIN was lost, or is on its way to nobody. Seen in the trial reset-in-last-ack, at the server."""
    played = play(
        f"""{last_ack()}
        2.020 S>C R. seq=9 ack=6           | CLOSED~ CLOSED reset ! reset
        """
    ).ends("CLOSED>SYN_SENT>ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSED")
    assert played.changes("server")[-2:] == ["10 FIN_WAIT_2>TIME_WAIT refuted 11", "11 FIN_WAIT_2>CLOSED proven 11"]


def test_a_reset_tells_that_the_fin_had_not_come_but_its_acknowledgement_had():
    """The FINs seemed to cross, CLOSING, TIME_WAIT; the one was lost: FIN_WAIT_2. Seen in the trial reset-in-closing."""
    played = play(
        f"""{closing()}
        1.002 C>S .  seq=7 ack=9           | CLOSING TIME_WAIT~ close 4/4
        1.030 S>C R. seq=9 ack=6           | CLOSED~ CLOSED reset ! reset
        """
    )
    assert played.flow()["server_path"] == "LISTEN>SYN_RCVD>ESTABLISHED>FIN_WAIT_1>FIN_WAIT_2>CLOSED"


def test_a_reset_at_the_number_of_the_fin_does_not_end_time_wait():
    """Linux takes it in CLOSE_WAIT, CLOSING and LAST_ACK; what answers late data has it. Seen in the trial fin-before-data."""
    play(
        f"""{time_wait()}
        2.020 S>C R  seq=8                 | TIME_WAIT CLOSED ! reset-unacceptable
        """
    ).ends(close="orderly", client_state="TIME_WAIT")


def test_an_end_that_has_gone_answers_at_the_number_that_it_is_asked_for():
    """Its last data never came: the peer does not know its next number. Seen in the trial patience-ends, at the client."""
    play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=5     | ESTABLISHED ESTABLISHED
        2.000 S>C P. seq=8 ack=6 len=5     | ESTABLISHED ESTABLISHED
        2.010 C>S R  seq=6                 | CLOSED CLOSED~ reset ! reset
        """
    ).ends("CLOSED>SYN_SENT>ESTABLISHED>CLOSED", close="reset", closed_by="client")
