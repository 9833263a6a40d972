"""Connections that follow one another on the same addresses and ports: RFC 9293, sections 3.4.1 and 3.5.1, and RFC 6191."""

from __future__ import annotations

import pytest

from tests.tracker.exchange import Played, play
from tests.tracker.starts import closed, talked, time_wait

OPENED = "CLOSED>SYN_SENT>ESTABLISHED"
TAKEN = "LISTEN>SYN_RCVD>ESTABLISHED"

AGAIN = """
    3.000 C'>S' S  seq=0               | #1 SYN_SENT ? open 1/3 ! port-reused
    3.010 S'>C' S. seq=0 ack=1         | #1 ESTABLISHED~ SYN_RCVD open 2/3
    3.020 C'>S' .  seq=1 ack=1         | #1 ESTABLISHED ESTABLISHED~ open 3/3
    3.030 C'>S' P. seq=1 ack=1 len=5   | #1 ESTABLISHED ESTABLISHED~
    3.040 S'>C' .  seq=1 ack=6         | #1 ESTABLISHED ESTABLISHED
"""


def second(played: Played) -> Played:
    return played.ends(OPENED, TAKEN, flow=1, handshake="complete", close="still open", reused_from=0, open_1=12)


def test_the_client_reuses_its_port_in_time_wait():
    """It sends the SYN itself: its own TIME_WAIT is over (RFC 6191; Linux: tcp_tw_reuse)."""
    played = second(play(time_wait() + AGAIN))
    assert played.flow(0)["client_path"].endswith(">TIME_WAIT>CLOSED")
    played.ends(flow=0, close="orderly", client_state="CLOSED", server_state="CLOSED", reused_from=None)
    assert played.changes("client")[-1] == "12 TIME_WAIT>CLOSED assumed"
    assert list(played.analysis.packets["flow"]) == [0] * 11 + [1] * 5
    assert list(played.analysis.packets["stream"]) == [0] * 11 + [1] * 5


def test_the_server_takes_a_new_syn_in_time_wait():
    """3.10.7.4: its answer decides."""
    played = second(play(closed() + AGAIN))
    assert played.flow(0)["server_path"].endswith(">TIME_WAIT>CLOSED")
    assert played.changes("server")[-1] == "13 TIME_WAIT>CLOSED proven 13"


def test_a_port_used_again_after_time_wait_is_over():
    played = play(
        f"""{time_wait()}
        100.0 C'>S' S  seq=0               | #1 SYN_SENT LISTEN~ open 1/3 ! port-reused
        100.1 S'>C' S. seq=0 ack=1         | #1 ESTABLISHED~ SYN_RCVD open 2/3
        """
    ).ends(flow=1, reused_from=0)
    assert played.changes("client")[-1] == "- TIME_WAIT>CLOSED assumed"


def test_a_port_used_again_after_a_reset():
    play(
        f"""{talked()}
        1.000 C>S R. seq=6 ack=8           | CLOSED CLOSED~ reset ! reset
        2.000 C'>S' S  seq=0               | #1 SYN_SENT LISTEN~ open 1/3 ! port-reused
        2.010 S'>C' S. seq=0 ack=1         | #1 ESTABLISHED~ SYN_RCVD open 2/3
        2.020 C'>S' .  seq=1 ack=1         | #1 ESTABLISHED ESTABLISHED~ open 3/3
        """
    ).ends(flow=0, close="reset").ends(OPENED, TAKEN, flow=1, reused_from=0)


def test_three_incarnations():
    played = play(
        """
        0.0   C>S   S  seq=0               | #0 SYN_SENT LISTEN~ open 1/3
        0.1   S>C   R. seq=0 ack=1         | #0 CLOSED~ CLOSED reset ! refused
        1.0   C'>S' S  seq=0               | #1 SYN_SENT ? open 1/3 ! port-reused
        1.1   S'>C' R. seq=0 ack=1         | #1 CLOSED~ CLOSED reset ! refused
        2.0   C''>S'' S  seq=0             | #2 SYN_SENT ? open 1/3 ! port-reused
        2.1   S''>C'' R. seq=0 ack=1       | #2 CLOSED~ CLOSED reset ! refused
        """,
        numbers=False,
    )
    assert [played.flow(n)["reused_from"] for n in range(3)] == [None, 0, 1]
    assert [played.flow(n)["handshake"] for n in range(3)] == ["refused"] * 3


def test_late_segments_stay_with_their_flow():
    """A retransmission of the first connection comes behind the second one's handshake."""
    played = play(
        f"""{time_wait()}{AGAIN}
        3.100 S>C P. seq=1 ack=6 len=7     | #0 ? ? ! retransmission
        3.200 C'>S' P. seq=6 ack=1 len=5   | #1 ESTABLISHED ESTABLISHED
        """
    )
    assert list(played.analysis.packets["flow"])[-2:] == [0, 1]
    played.ends(flow=0, close="orderly", server_retransmitted=1).ends(OPENED, TAKEN, flow=1, close="still open")


def test_an_old_duplicate_of_the_syn_stays_with_its_flow():
    """Complaint: "port reuse missed or invented" (Wireshark GL#19771, peafowl#5): a SYN is known by its ISN."""
    played = play(
        f"""{time_wait()}{AGAIN}
        3.100 C>S S seq=0                  | #0 ? ? ? ! ?
        """
    )
    assert len(played.analysis.flows) == 2
    played.ends(OPENED, TAKEN, flow=1, close="still open")


def test_half_open():
    """The client has restarted (RFC 9293, figure 9): its SYN meets the living end, which answers in the old numbers."""
    played = play(
        f"""{talked()}
        10.00 C'>S S  seq=0                | #1 SYN_SENT ? open 1/3 ! port-reused
        10.01 S>C .  seq=8 ack=6           | #0 ? ESTABLISHED ! ?
        10.02 C>S R  seq=6                 | #0 ? CLOSED~ reset ! ?
        11.00 C'>S S  seq=0                | #1 SYN_SENT ? (open 1/3) ! syn-retransmitted
        11.01 S'>C' S. seq=0 ack=1         | #1 ESTABLISHED~ SYN_RCVD open 2/3
        11.02 C'>S' . seq=1 ack=1          | #1 ESTABLISHED ESTABLISHED~ open 3/3
        """
    )
    played.ends(flow=0, close="reset", closed_by="client", client_state="CLOSED", server_state="CLOSED")
    played.ends(OPENED, TAKEN, flow=1, handshake="complete", reused_from=0, syn_attempts=2)
    assert [kind for frame, kind in played.kinds() if frame == 9] == ["challenge-ack"]
    assert sorted(kind for frame, kind in played.kinds() if frame == 10) == ["half-open", "reset"]


def test_a_living_end_does_not_move_for_a_syn():
    """A new SYN has no effect on the server until it answers."""
    played = play(
        f"""{talked()}
        10.00 C'>S S  seq=0                | #1 SYN_SENT ? open 1/3 ! ?
        """
    )
    assert played.state("server", 10.0) == "ESTABLISHED"
    played.ends(flow=0, server_state="ESTABLISHED", server_path=TAKEN)


def test_a_forged_syn_moves_nothing():
    """The sender goes on in the old numbers."""
    played = play(
        f"""{talked()}
        10.00 C'>S S  seq=0                | #0 ? ? ? ! ?
        10.01 S>C .  seq=8 ack=6           | #0 ? ESTABLISHED ! ?
        10.50 C>S P. seq=6 ack=8 len=5     | #0 ? ESTABLISHED ! ?
        10.51 S>C .  seq=8 ack=11          | #0 ? ESTABLISHED ! ?
        """
    )
    assert len(played.analysis.flows) == 1
    assert [kind for _, kind in played.kinds()] == ["port-reused", "challenge-ack", "forged-segment"]
    played.ends(OPENED, TAKEN, flow=0, close="still open", client_state="ESTABLISHED", server_state="ESTABLISHED")


def test_what_a_forged_syn_proved_is_withdrawn():
    play(
        f"""{talked()}
        10.00 C'>S S  seq=0
        10.01 S>C .  seq=8 ack=6
        10.50 C>S P. seq=6 ack=8 len=5     | #0 ESTABLISHED ESTABLISHED ! ?
        10.51 S>C .  seq=8 ack=11          | #0 ESTABLISHED ESTABLISHED
        """
    )


def test_two_vlans_are_two_flows_and_one_stream():
    def tagged(vlan: int, at: float, flow: int) -> str:
        return f"""
        {at + 0.00} C>S S  seq=0 vlan={vlan}       | #{flow} SYN_SENT LISTEN~ open 1/3
        {at + 0.01} S>C S. seq=0 ack=1 vlan={vlan} | #{flow} ESTABLISHED~ SYN_RCVD open 2/3
        {at + 0.02} C>S .  seq=1 ack=1 vlan={vlan} | #{flow} ESTABLISHED ESTABLISHED~ open 3/3
        """

    played = play(tagged(10, 1.0, 0) + tagged(20, 1.1, 1))
    packets = played.analysis.packets
    assert list(packets["vlan"]) == [10] * 3 + [20] * 3
    assert list(packets["stream"]) == [0] * 6
    assert played.flow(1)["reused_from"] is None


def test_a_tag_is_part_of_the_key():
    """Tagged and untagged are two."""
    played = play(
        "1.0 C>S S seq=0 | #0 SYN_SENT LISTEN~ open 1/3\n 1.1 C>S S seq=0 vlan=7 | #1 SYN_SENT LISTEN~ open 1/3"
    )
    assert list(played.analysis.flows["syn_attempts"]) == [1, 1]


def test_other_ports_are_other_connections():
    played = play(
        """
        1.0 C>S S seq=0 port=40001         | #0 SYN_SENT LISTEN~ open 1/3
        1.1 C>S S seq=0 port=40002         | #1 SYN_SENT LISTEN~ open 1/3
        1.2 S>C S. seq=0 ack=1 port=40001  | #0 ESTABLISHED~ SYN_RCVD open 2/3
        """
    )
    assert list(played.analysis.flows["client_port"]) == [40001, 40002]


@pytest.mark.parametrize("near", [1, 70_000, 2**31 - 1])
def test_isns_may_be_near_each_other_or_far(near):
    """ISNs come from a clock (RFC 6528): those of two incarnations may be close."""
    text = f"""
        0.00 C>S S  seq=0                 | #0 SYN_SENT LISTEN~ open 1/3
        0.01 S>C S. seq=0 ack=1           | #0 ESTABLISHED~ SYN_RCVD open 2/3
        0.02 C>S R. seq=1 ack=1           | #0 ? CLOSED~ ? ! ?
        1.00 C>S S  seq={near}            | #1 SYN_SENT ? open 1/3 ! port-reused
        """
    assert list(play(text, numbers=False).analysis.packets["flow"]) == [0, 0, 0, 1]
