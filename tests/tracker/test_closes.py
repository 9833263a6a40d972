"""Ends of connections of every kind, one test each: steps, states, marks and anomalies.

The truth is a real kernel's where a kernel does such a thing, recorded with its own state changes beside it; else the
segments are written from the RFC.
"""

from __future__ import annotations

import pytest

from analyzer.tracker.states import State
from tests.tracker.exchange import play
from tests.tracker.recorded import own, scenario
from tests.tracker.starts import (
    close_wait,
    closing,
    fin_wait_1,
    fin_wait_2,
    fins_exchanged,
    last_ack,
    syn_sent,
    synack_sent,
    talked,
    time_wait,
)

OPENED = "CLOSED>SYN_SENT>ESTABLISHED"
TAKEN = "LISTEN>SYN_RCVD>ESTABLISHED"
CLOSES = "FIN_WAIT_1>FIN_WAIT_2>TIME_WAIT"
FOLLOWS = "CLOSE_WAIT>LAST_ACK>CLOSED"
OPEN, DATA, FIN, RST = 7, 8, 16, 32  # Wireshark's completeness


def test_simultaneous_close():
    """RFC 9293, figure 13: neither FIN acknowledges the other."""
    recorded = scenario("simultaneous_close").as_the_kernel()
    recorded.shows(
        """
        10 C>S F. | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
        11 S>C F. | CLOSING~ CLOSING~ simultaneous close 3/4
        12 C>S .  | CLOSING TIME_WAIT~ close 4/4
        13 S>C .  | TIME_WAIT~ TIME_WAIT~ close 2/4
        """
    ).ends(
        close="simultaneous", closed_by="client", close_1=10, close_2=13, close_3=11, close_4=12,
        completeness=OPEN | DATA | FIN,
    )  # fmt: skip
    assert recorded.kinds() == []
    own("simultaneous-close").ends(close="simultaneous")


#: What leads to each state of the client, the next numbers there, and the server's state.
RESETTABLE = [
    (State.SYN_SENT, syn_sent, 1, 0, "LISTEN"),
    (State.ESTABLISHED, talked, 6, 8, "ESTABLISHED"),
    (State.FIN_WAIT_1, fin_wait_1, 7, 8, "CLOSE_WAIT"),
    (State.FIN_WAIT_2, fin_wait_2, 7, 8, "CLOSE_WAIT"),
    (State.CLOSE_WAIT, close_wait, 6, 9, "FIN_WAIT_2"),
    (State.CLOSING, closing, 7, 9, "CLOSING"),
    (State.LAST_ACK, last_ack, 7, 9, "TIME_WAIT"),
    (State.TIME_WAIT, time_wait, 7, 9, "CLOSED"),
]


@pytest.mark.parametrize(
    ("state", "start", "mine", "its", "other"), RESETTABLE, ids=lambda value: getattr(value, "name", "")
)
def test_reset_in_each_state(state, start, mine, its, other):
    """It must obey what is at its next number; in SYN_SENT what acknowledges its SYN (3.10.7.3). It is CLOSED, whatever it was."""
    played = play(f"{start()}\n2.500 S>C R. seq={its} ack={mine} | CLOSED~ ? ? ! ?", numbers=False)
    frame = len(played.lines)
    assert played.changes("client")[-1] == f"{frame} {state.name}>CLOSED assumed"
    assert str(played.flow()["client_path"]).endswith(f"{state.name}>CLOSED")
    rows = played.analysis.packets
    assert rows.loc[frame, "step"] == "reset"
    assert played.flow()["close"] == ("orderly" if state is State.TIME_WAIT else "reset")
    kinds = {kind for at, kind in played.kinds() if at == frame}
    assert kinds == {"refused" if state is State.SYN_SENT else "reset"}
    completeness = played.flow()["completeness"]
    assert completeness & RST
    if state is not State.SYN_SENT:
        off = play(f"{start()}\n2.500 S>C R. seq={its + 20_000_000} ack={mine} | {state.name}? ? ! reset-unacceptable")
        assert off.flow()["client_state"] == state.name


def test_reset_in_syn_rcvd():
    """The third segment is lost behind the client, its RST is not: the request dies; the listener is another socket."""
    recorded = scenario("rst_in_syn_recv", "server").as_the_kernel()
    recorded.shows(
        """
        4 S>C S. | ESTABLISHED~ SYN_RCVD open 2/3
        5 C>S R. | CLOSED CLOSED~ reset ! reset
        """
    ).ends(handshake="reset", close="reset", closed_by="client", server_path="LISTEN>SYN_RCVD>CLOSED", open_3=None)


def test_reset_of_real_connections():
    """close() with SO_LINGER 0, and close() with something unread: RST with ACK, both ends CLOSED at once."""
    own("reset").shows("8 C>S R. | CLOSED CLOSED~ reset ! reset").ends(
        close="reset", closed_by="client", client_path=f"{OPENED}>CLOSED", server_path=f"{TAKEN}>CLOSED", close_1=None
    )
    for name in ("rst_linger0_client", "rst_close_unread", "port_reuse_after_rst"):
        scenario(name).as_the_kernel()


def test_half_close_with_data():
    recorded = scenario("half_close_by_client").as_the_kernel()
    recorded.shows(
        """
        10 C>S F. | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
        11 S>C .  | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        12 S>C P. | FIN_WAIT_2~ CLOSE_WAIT
        13 C>S .  | FIN_WAIT_2~ CLOSE_WAIT
        20 S>C F. | TIME_WAIT~ LAST_ACK close 3/4
        21 C>S .  | TIME_WAIT CLOSED~ close 4/4
        """
    ).ends(close="orderly", closed_by="client", server_bytes=2600, close_1=10, close_2=11, close_3=20, close_4=21)
    assert recorded.kinds() == []
    own("half-close").ends(close="orderly", closed_by="client")


def test_fin_with_data():
    """The FIN stands behind its segment's payload, and is acknowledged with it."""
    recorded = scenario("data_and_fin_together").as_the_kernel()
    recorded.shows(
        """
        6 C>S FP. | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
        7 S>C FP. | TIME_WAIT~ LAST_ACK close 2+3/4
        8 C>S .   | TIME_WAIT CLOSED~ close 4/4
        """
    ).ends(
        close="orderly", close_1=6, close_2=7, close_3=7, close_4=8, client_bytes=250, server_bytes=350,
        completeness=OPEN | DATA | FIN,
    )  # fmt: skip
    assert recorded.kinds() == []


def test_fin_out_of_order():
    """It takes effect at its place in the sequence: the server is in CLOSE_WAIT when the data before it has come.

    Complaint: "FIN out of order closes too early" (PcapPlusPlus PR 2002).
    """
    recorded = scenario("fin_before_data", "server").as_the_kernel()
    recorded.shows(
        """
        10 C>S F. | FIN_WAIT_1 ESTABLISHED close 1/4 ! segment-not-captured
        11 S>C .  | FIN_WAIT_1 ESTABLISHED ! duplicate-ack
        """
    )
    packets = recorded.analysis.packets
    assert packets.loc[[12, 13], "server_state"].tolist() == ["CLOSE_WAIT", "CLOSE_WAIT"]
    recorded.ends(close="orderly", closed_by="client", close_1=10, close_2=13, close_3=16, close_4=17, client_bytes=533)


def test_fin_retransmitted():
    """Lost before the server twice: its CLOSE_WAIT is assumed, refuted and assumed anew, and proven by the acknowledgement."""
    recorded = scenario("fin_lost").as_the_kernel()
    recorded.shows(
        """
        10 C>S F. | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
        11 C>S F. | FIN_WAIT_1 CLOSE_WAIT~ (close 1/4) ! fin-retransmitted
        12 C>S F. | FIN_WAIT_1 CLOSE_WAIT~ (close 1/4) ! fin-retransmitted
        13 S>C .  | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        """
    ).ends(close="orderly", close_1=10, close_2=13, close_3=14, close_4=15, n_fin_retransmitted=2)
    rows = recorded.analysis.transitions
    moves = rows[(rows["endpoint"] == "server") & (rows["new"] == "CLOSE_WAIT")]
    assert moves[["frame", "evidence"]].values.tolist() == [[10, "refuted"], [11, "refuted"], [12, "proven"]]


def test_fin_retransmitted_because_its_acknowledgement_was_lost():
    """At the server's host the acknowledgement was seen, and is taken back when the FIN comes again."""
    recorded = scenario("fin_ack_lost", "server").as_the_kernel()
    assert [kind for _, kind in recorded.kinds()] == ["fin-ack-lost", "fin-retransmitted"]
    recorded.ends(close="orderly", closed_by="client")


def test_three_segment_close():
    """One segment is acknowledgement and FIN: two events, in the RFC's order, two rows at the client."""
    kernel = scenario("data_in_third_ack").as_the_kernel()
    kernel.shows("9 S>C F. | TIME_WAIT~ LAST_ACK close 2+3/4").ends(close_1=8, close_2=9, close_3=9, close_4=10)
    played = play(
        f"""{fin_wait_1()}
        1.010 S>C F. seq=8 ack=7           | TIME_WAIT~ LAST_ACK close 2+3/4
        1.020 C>S .  seq=7 ack=9           | TIME_WAIT CLOSED~ close 4/4
        """
    ).ends(close="orderly", close_1=8, close_2=9, close_3=9, close_4=10)
    assert played.changes("client")[3:] == ["9 FIN_WAIT_1>FIN_WAIT_2 assumed", "9 FIN_WAIT_2>TIME_WAIT proven 10"]


def test_close_from_syn_rcvd():
    """Without passing ESTABLISHED (3.10.4): the kernel did it, and where the client's capture has the third segment first."""
    own("closed-in-syn-rcvd").ends(server_path=f"LISTEN>SYN_RCVD>{CLOSES}", closed_by="server", close="orderly")
    play(
        f"""{synack_sent()}
        0.015 S>C F. seq=1 ack=1           | CLOSE_WAIT~ FIN_WAIT_1 close 1/4
        0.025 C>S .  seq=1 ack=2           | CLOSE_WAIT FIN_WAIT_2~ close 2/4
        """
    ).ends(f"{OPENED}>CLOSE_WAIT", "LISTEN>SYN_RCVD>FIN_WAIT_1>FIN_WAIT_2", handshake="complete", open_3=4)


def test_time_wait_acknowledges_again():
    """3.10.7.4: the last acknowledgement is lost behind the client; the FIN comes again, and is acknowledged from TIME_WAIT."""
    recorded = scenario("last_ack_lost").as_the_kernel()
    recorded.shows(
        """
        13 C>S . | TIME_WAIT CLOSED~ close 4/4
        14 S>C F. | TIME_WAIT LAST_ACK (close 3/4) ! fin-ack-lost, fin-retransmitted
        15 C>S . | TIME_WAIT CLOSED~ (close 4/4)
        16 S>C F. | TIME_WAIT LAST_ACK (close 3/4) ! fin-ack-lost, fin-retransmitted
        17 C>S . | TIME_WAIT CLOSED~ (close 4/4)
        """
    ).ends(close="orderly", close_3=12, close_4=13, completeness=OPEN | DATA | FIN)


def test_time_wait_assassination():
    """RFC 1337: an RST ends TIME_WAIT. The close stays the orderly one that it was; the bare RST proves that its sender is CLOSED."""
    recorded = scenario("timewait_assassinated").as_the_kernel()
    recorded.shows(
        """
        12 C>S . | TIME_WAIT CLOSED~ close 4/4
        13 S>C R | CLOSED~ CLOSED reset ! reset
        """
    ).ends(close="orderly", client_path=f"{OPENED}>{CLOSES}>CLOSED", completeness=OPEN | DATA | FIN | RST)


def test_old_duplicates_in_time_wait():
    """Data and FIN again, long after: answered, and no end comes back to life for them."""
    recorded = scenario("timewait_old_duplicates").as_the_kernel()
    recorded.shows(
        """
        14 S>C P. | TIME_WAIT CLOSED~ ! retransmission
        15 C>S . | TIME_WAIT CLOSED~
        16 S>C R | CLOSED~ CLOSED reset ! reset
        17 S>C F. | CLOSED~ CLOSED (close 3/4) ! fin-retransmitted
        18 C>S R | CLOSED CLOSED (reset)
        """
    ).ends(close="orderly", server_path=f"{TAKEN}>{FOLLOWS}")


def test_reuse_in_time_wait():
    """RFC 6191: the same four-tuple again at once, twice: three flows, each with its own marks, chained.

    Complaint: "port reuse missed or invented" (arkime PR 4019, aboutsip/pkts PR 148): an incarnation begins with another ISN.
    """
    recorded = scenario("port_reuse_timewait_client").as_the_kernel()
    assert len(recorded.analysis.flows) == 3
    for flow, first in enumerate((3, 13, 23)):
        recorded.ends(
            flow, handshake="complete", close="orderly", open_1=first, open_2=first + 1, open_3=first + 2,
            close_1=first + 7, close_4=first + 9, reused_from=flow - 1 if flow else None,
        )  # fmt: skip
    assert recorded.kinds() == [(13, "port-reused"), (23, "port-reused")]
    rows = recorded.analysis.transitions
    ended = rows[rows["event"] == "NEW_INCARNATION"]
    assert ended[["frame", "endpoint", "old"]].values.tolist() == [
        [13, "client", "TIME_WAIT"],
        [23, "client", "TIME_WAIT"],
    ]


def test_a_listener_ignores_a_reset():
    """3.10.7.2, first: it could not be an answer to anything. The presumed listener stays."""
    played = play(f"{syn_sent()}\n0.5 C>S R. seq=1 ack=0 | CLOSED LISTEN~ ? ! ?", numbers=False)
    assert played.changes("server") == ["1 UNKNOWN>LISTEN assumed"]


def test_a_bare_reset_shows_that_its_sender_has_no_connection():
    """The last acknowledgement came: LAST_ACK>CLOSED, which nothing else can show, is proven; an old FIN changes it no more."""
    played = play(
        f"""{fins_exchanged()}
        2.010 C>S .  seq=7 ack=9           | TIME_WAIT CLOSED~ close 4/4
        2.500 S>C R  seq=9                 | CLOSED~ CLOSED reset ! reset
        2.600 S>C F. seq=8 ack=7           | CLOSED~ CLOSED (close 3/4) ! fin-retransmitted
        """
    )
    assert played.changes("server")[-1] == "11 LAST_ACK>CLOSED proven 12"


def test_the_same_ports_in_two_vlans():
    """One is closed and the other is not: no mark goes over.

    Complaint: "same 5-tuple in VLANs or tunnels merged or doubled" (suricata PR 456, zeek#2500, arkime PR 3786).
    """

    def tagged(text: str, vlan: int) -> str:
        text = text.replace("C>S", "C'>S'").replace("S>C", "S'>C'") if vlan == 7 else text
        lines = [line.partition("|")[0] for line in text.splitlines() if line.strip()]
        return "\n".join(f"{line} vlan={vlan}" for line in lines)

    played = play(f"{tagged(talked(), 3)}\n{tagged(time_wait(), 7)}", numbers=False)
    assert played.analysis.flows["close"].tolist() == ["still open", "orderly"]
    assert played.analysis.flows["close_4"].fillna(0).tolist() == [0, 18]
