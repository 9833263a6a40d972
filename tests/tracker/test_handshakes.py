"""Openings of every kind, one test each: steps, states, marks and anomalies.

The truth is a real kernel's where a kernel does such a thing, recorded with its own state changes beside it; else the
segments are written from the RFC. Resets and refusals of attempts are here, those of connections in ``test_closes``.
"""

from __future__ import annotations

import itertools

import pytest

from tests import wire
from tests.recordings import capture
from tests.tracker.exchange import play
from tests.tracker.recorded import Recorded, own, scenario
from tests.tracker.starts import syn_sent, synack_sent, talked

OPENED = "CLOSED>SYN_SENT>ESTABLISHED"
TAKEN = "LISTEN>SYN_RCVD>ESTABLISHED"
COMPLETE = 1 | 2 | 4  # Wireshark's completeness: SYN, SYN-ACK, ACK
DATA, FIN, RST = 8, 16, 32


def test_tcp_fast_open():
    """The first connection asks for a cookie, the others send text with the SYN, which its SYN-ACK acknowledges (RFC 7413)."""
    recorded = scenario("tfo").as_the_kernel()
    recorded.shows(
        """
        3 C>S S   | SYN_SENT LISTEN~ open 1/3
        4 S>C S.  | ESTABLISHED~ SYN_RCVD open 2/3
        5 C>S P.  | ESTABLISHED ESTABLISHED~ open 3/3
        11 C>S S  | SYN_SENT LISTEN~ open 1/3
        12 S>C S. | ESTABLISHED~ SYN_RCVD open 2/3
        13 C>S .  | ESTABLISHED ESTABLISHED~ open 3/3
        """
    )
    for flow, first in enumerate((3, 11, 19)):
        recorded.ends(
            flow, handshake="complete", fast_open=True, open_1=first, open_2=first + 1, open_3=first + 2,
            client_bytes=120, server_bytes=700, completeness=COMPLETE | DATA | FIN,
        )  # fmt: skip
    assert recorded.kinds() == []
    packets = recorded.analysis.packets
    assert packets.loc[[11, 19], "length"].tolist() == [120, 120]
    assert packets.loc[[12, 20], "ack"].tolist() == [121, 121]


def test_data_in_the_syn():
    """Without the option (the server takes it without a cookie): the server answers and closes before the third segment.

    What it sent less than a round trip after that was under way: it did not yet have it, and went from SYN_RCVD to FIN_WAIT_1.
    """
    recorded = own("closed-in-syn-rcvd")
    recorded.shows(
        """
        1 C>S S  | SYN_SENT LISTEN~ open 1/3
        2 S>C S. | ESTABLISHED~ SYN_RCVD open 2/3
        3 C>S .  | ESTABLISHED ESTABLISHED~ open 3/3
        4 S>C P. | ESTABLISHED SYN_RCVD
        5 C>S .  | ESTABLISHED ESTABLISHED~
        6 S>C F. | CLOSE_WAIT~ FIN_WAIT_1 close 1/4
        7 C>S .  | CLOSE_WAIT FIN_WAIT_2~ close 2/4
        8 C>S F. | LAST_ACK TIME_WAIT~ close 3/4
        9 S>C .  | CLOSED~ TIME_WAIT close 4/4
        """
    ).ends(
        handshake="complete", open_1=1, open_2=2, open_3=3, client_bytes=7, server_bytes=10, close="orderly",
        closed_by="server", server_path="LISTEN>SYN_RCVD>FIN_WAIT_1>FIN_WAIT_2>TIME_WAIT", fast_open=False,
    )  # fmt: skip
    assert recorded.kinds() == []


def test_data_in_the_third_ack():
    recorded = scenario("data_in_third_ack").as_the_kernel()
    recorded.shows(
        """
        3 C>S S  | SYN_SENT LISTEN~ open 1/3
        4 S>C S. | ESTABLISHED~ SYN_RCVD open 2/3
        5 C>S P. | ESTABLISHED ESTABLISHED~ open 3/3
        6 S>C .  | ESTABLISHED ESTABLISHED
        """
    ).ends(handshake="complete", open_1=3, open_2=4, open_3=5, client_bytes=150, completeness=COMPLETE | DATA | FIN)
    assert recorded.kinds() == []


def test_simultaneous_open():
    """RFC 9293, figure 7. Each SYN, each SYN-ACK is a step; nobody tried twice."""
    recorded = scenario("simultaneous_open").as_the_kernel()
    recorded.shows(
        """
        3 C>S S  | SYN_SENT LISTEN~ open 1/3
        4 S>C S  | SYN_RCVD~ SYN_RCVD~ simultaneous open 1/3
        5 C>S S. | SYN_RCVD ESTABLISHED~ simultaneous open 2/3
        6 S>C S. | ESTABLISHED~ ESTABLISHED~ simultaneous open 2/3
        7 C>S .  | ESTABLISHED ESTABLISHED~ open 3/3
        8 S>C .  | ESTABLISHED ESTABLISHED
        """
    ).ends(
        handshake="simultaneous", open_1=3, open_2=6, open_3=7, syn_attempts=1, synack_attempts=1,
        completeness=COMPLETE | DATA | FIN,
    )  # fmt: skip
    assert recorded.kinds() == []
    rows = recorded.analysis.transitions
    crossing = rows[rows["event"] == "RCV_SYN"]
    assert crossing[["frame", "endpoint", "old", "new", "evidence", "proven_by", "refuted_by"]].fillna(0).values.tolist() == [
        [3, "server", "UNKNOWN", "LISTEN", "refuted", 0, 4],
        [4, "server", "SYN_SENT", "SYN_RCVD", "proven", 6, 0],
        [4, "client", "SYN_SENT", "SYN_RCVD", "proven", 5, 0],
    ]  # fmt: skip


def test_split_handshake_in_four_segments():
    """The server answers with a SYN of its own, the client with a SYN-ACK: RFC 9293, 3.10.7.3, as to a crossing SYN.

    The server never sends a SYN-ACK: it did not pass SYN_RCVD.
    """
    played = play(
        """
        0.000 C>S S  seq=0 mss=1460        | SYN_SENT LISTEN~ open 1/3
        0.010 S>C S  seq=0 mss=1460        | SYN_RCVD~ SYN_RCVD~ simultaneous open 1/3
        0.011 C>S S. seq=0 ack=1 mss=1460  | SYN_RCVD ESTABLISHED~ simultaneous open 2/3
        0.021 S>C .  seq=1 ack=1           | ESTABLISHED~ ESTABLISHED open 3/3
        0.030 C>S P. seq=1 ack=1 len=5     | ESTABLISHED ESTABLISHED
        0.040 S>C .  seq=1 ack=6           | ESTABLISHED ESTABLISHED
        """
    ).ends(
        "CLOSED>SYN_SENT>SYN_RCVD>ESTABLISHED", OPENED, handshake="simultaneous", open_1=1, open_2=3, open_3=4,
        syn_attempts=1, synack_attempts=1, completeness=COMPLETE | DATA,
    )  # fmt: skip
    assert played.kinds() == []
    assert played.changes("server") == [
        "1 UNKNOWN>LISTEN refuted 2",
        "2 CLOSED>SYN_SENT proven 2",
        "2 SYN_SENT>SYN_RCVD refuted 4",
        "3 SYN_RCVD>ESTABLISHED refuted 4",
        "4 SYN_SENT>ESTABLISHED proven 4",
    ]


@pytest.mark.parametrize("guess", [1, 4711, 2**31], ids=["its own number", "another", "far away"])
def test_split_handshake_in_five_segments(guess):
    """First a bare acknowledgement of the SYN, then the SYN: whatever number that one had, they are one connection."""
    played = play(
        f"""
        0.000 C>S S  seq=0 mss=1460        | #0 SYN_SENT LISTEN~ open 1/3
        0.010 S>C .  seq={guess} ack=1     | #0 SYN_SENT ESTABLISHED~
        0.011 S>C S  seq=0 mss=1460        | #0 SYN_RCVD~ SYN_RCVD~ simultaneous open 1/3
        0.012 C>S S. seq=0 ack=1 mss=1460  | #0 SYN_RCVD ESTABLISHED~ simultaneous open 2/3
        0.022 S>C .  seq=1 ack=1           | #0 ESTABLISHED~ ESTABLISHED open 3/3
        0.030 C>S P. seq=1 ack=1 len=5     | #0 ESTABLISHED ESTABLISHED
        """,
        numbers=False,
    ).ends(
        "CLOSED>SYN_SENT>SYN_RCVD>ESTABLISHED", OPENED, handshake="simultaneous", open_1=1, open_2=4, open_3=5,
        syn_attempts=1,
    )  # fmt: skip
    assert len(played.analysis.flows) == 1
    assert played.kinds() == []
    assert played.analysis.packets["seq"].tolist()[2:] == [0, 0, 1, 1]


TWO_SYNACKS = """
    0.000 C>S S  seq=0 mss=1460        | SYN_SENT LISTEN~ open 1/3
    0.010 S>C S. seq=0 ack=1 mss=1460  | ESTABLISHED~ SYN_RCVD open 2/3
    0.012 S>C S. seq=5000 ack=1 mss=1460 | ESTABLISHED~ SYN_RCVD (open 2/3) ! synack-isn-changed
"""


@pytest.mark.parametrize(("isn", "open_2"), [(0, 2), (5000, 3)], ids=["the first", "the second"])
def test_several_synacks_with_different_isns(isn, open_2):
    """Which one the client took, its acknowledgement tells; numbers, marks and states go on from that one."""
    played = play(
        f"""{TWO_SYNACKS}
        0.020 C>S .  seq=1 ack={isn + 1}   | ESTABLISHED ESTABLISHED~ open 3/3
        0.030 C>S P. seq=1 ack={isn + 1} len=5 | ESTABLISHED ESTABLISHED~
        0.040 S>C P. seq={isn + 1} ack=6 len=7 | ESTABLISHED ESTABLISHED
        0.050 C>S .  seq=6 ack={isn + 8}   | ESTABLISHED ESTABLISHED
        """,
        numbers=False,
    ).ends(
        OPENED, TAKEN, handshake="complete", open_1=1, open_2=open_2, open_3=4, synack_attempts=2, server_bytes=7,
        completeness=COMPLETE | DATA,
    )  # fmt: skip
    assert played.analysis.packets["seq"].tolist()[3:] == [1, 1, 1, 6]
    assert played.analysis.packets["ack"].tolist()[3:] == [1, 1, 6, 8]
    assert [kind for _, kind in played.kinds()] == ["synack-isn-changed"]


def test_a_synack_of_another_isn_behind_the_third_ack():
    """The client has taken the first: what is in other numbers is of no connection that it has."""
    played = play(
        f"""{synack_sent()}
        0.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        0.022 S>C S. seq=5000 ack=1        | ESTABLISHED ? ! ?
        0.030 C>S P. seq=1 ack=1 len=5     | ESTABLISHED ESTABLISHED~
        0.040 S>C P. seq=1 ack=6 len=7     | ESTABLISHED ESTABLISHED
        0.050 C>S .  seq=6 ack=8           | ESTABLISHED ESTABLISHED
        """,
        numbers=False,
    ).ends(OPENED, TAKEN, handshake="complete", open_2=2, open_3=3, server_bytes=7)
    assert [kind for _, kind in played.kinds()] == ["synack-isn-changed"]
    assert played.analysis.packets["step"].isna().tolist() == [False, False, False, True, True, True, True]


def test_a_synack_that_does_not_acknowledge_the_syn():
    """Spoilt on the way: the client refuses it by RST and stays in SYN_SENT; the one that it takes is step two."""
    recorded = scenario("wrong_ack_in_syn_sent")
    recorded.shows(
        """
        3 C>S S  | SYN_SENT LISTEN~ open 1/3
        4 S>C S. | SYN_SENT SYN_RCVD
        5 C>S R  | SYN_SENT CLOSED~ reset ! reset
        7 C>S S  | SYN_SENT CLOSED~ (open 1/3) ! syn-retransmitted
        9 S>C S. | ESTABLISHED~ SYN_RCVD open 2/3 ! synack-retransmitted
        10 C>S . | ESTABLISHED ESTABLISHED~ open 3/3
        11 C>S P. | ESTABLISHED ESTABLISHED~
        """
    ).ends(handshake="complete", open_1=7, open_2=9, open_3=10, syn_attempts=2, synack_attempts=2, client_path=(
        f"{OPENED}>FIN_WAIT_1>FIN_WAIT_2>TIME_WAIT"))  # fmt: skip


def test_the_synack_captured_before_its_syn(tmp_path):
    """A real handshake, its first two records swapped: a mirror port's two directions. The path is the kernel's all the same."""
    content = capture("life-of-a-connection").read_bytes()
    records, at = [], 24
    while at < len(content):
        size = 16 + int.from_bytes(content[at + 8 : at + 12], "little")
        records.append(content[at : at + size])
        at += size
    records[:2] = records[1::-1]
    path = tmp_path / "swapped.pcap"
    path.write_bytes(content[:24] + b"".join(records))
    usual = own("life-of-a-connection").analysis.flows.loc[0]
    recorded = Recorded(path)
    recorded.shows(
        """
        1 S>C S. | ESTABLISHED~ SYN_RCVD open 2/3
        2 C>S S  | ESTABLISHED~ SYN_RCVD open 1/3
        3 C>S .  | ESTABLISHED ESTABLISHED~ open 3/3
        """
    ).ends(
        handshake="complete", open_1=2, open_2=1, open_3=3, role_evidence="syn-ack", client_path=usual["client_path"],
        server_path=usual["server_path"], close="orderly",
    )  # fmt: skip
    assert recorded.kinds() == []


def test_syn_cookies():
    """Between SYN-ACK and third segment the server has no state at all: SYN_RCVD is what can be said. Nothing is repeated."""
    recorded = scenario("syn_flood_cookies", "server")
    flows = recorded.analysis.flows
    done = flows[flows["handshake"] == "complete"]
    assert len(done) == 2
    assert set(done["server_path"].str.startswith(TAKEN)) == {True}
    assert (done["open_1"] < done["open_2"]).all()
    assert (done["open_2"] < done["open_3"]).all()
    assert done["synack_attempts"].tolist() == [1] * len(done)
    flood = flows[flows["handshake"] == "syn-ack only"]
    assert len(flood) > 100
    assert set(flood["server_path"]) <= {"LISTEN>SYN_RCVD", "LISTEN>SYN_RCVD>CLOSED"}
    assert set(flood["completeness"]) == {1 | 2}


def test_deferred_accept():
    """TCP_DEFER_ACCEPT: the bare third segment is ignored; the one after the SYN-ACK's repetition is taken."""
    recorded = own("deferred-accept")
    recorded.shows(
        """
        1 C>S S  | SYN_SENT LISTEN~ open 1/3
        2 S>C S. | ESTABLISHED~ SYN_RCVD open 2/3
        3 C>S .  | ESTABLISHED ESTABLISHED~ open 3/3
        4 S>C S. | ESTABLISHED SYN_RCVD (open 2/3) ! handshake-ack-ignored, synack-retransmitted
        5 C>S .  | ESTABLISHED ESTABLISHED~ (open 3/3)
        6 C>S P. | ESTABLISHED ESTABLISHED~
        7 S>C .  | ESTABLISHED ESTABLISHED
        """
    ).ends(handshake="complete", open_1=1, open_2=2, open_3=3, syn_attempts=1, synack_attempts=2)
    rows = recorded.analysis.transitions
    moves = rows[(rows["endpoint"] == "server") & (rows["new"] == "ESTABLISHED")]
    assert moves[["frame", "evidence"]].values.tolist() == [[3, "refuted"], [5, "proven"]]


def test_half_open_rediscovery():
    """RFC 9293, figure 9: SYN into a living connection, its challenge ACK, RST, and the SYN again: one story in two flows."""
    recorded = scenario("half_open_reconnect").as_the_kernel()
    recorded.shows(
        """
        11 C>S S | SYN_SENT LISTEN~ open 1/3 ! port-reused
        12 S>C . | SYN_SENT ESTABLISHED ! challenge-ack
        13 C>S R | SYN_SENT CLOSED~ (reset) ! half-open, reset
        14 C>S S | SYN_SENT LISTEN~ (open 1/3) ! syn-retransmitted
        15 S>C S. | ESTABLISHED~ SYN_RCVD open 2/3
        16 C>S . | ESTABLISHED ESTABLISHED~ open 3/3
        """
    )
    recorded.ends(0, handshake="complete", close="reset", closed_by="client", server_path=f"{TAKEN}>CLOSED")
    recorded.ends(1, handshake="complete", reused_from=0, open_1=14, open_2=15, open_3=16, syn_attempts=2)
    rows = recorded.analysis.anomalies.set_index("frame")
    related = {
        kind: rows.loc[rows["kind"] == kind, "related_frame"].tolist() for kind in ("challenge-ack", "half-open")
    }
    assert related == {"challenge-ack": [11], "half-open": [11]}


def test_refused_by_rst():
    recorded = scenario("connect_refused")
    recorded.shows(
        """
        3 C>S S  | SYN_SENT LISTEN~ open 1/3
        4 S>C R. | CLOSED~ CLOSED reset ! refused
        """
    ).ends(
        handshake="refused", close="reset", closed_by="server", client_path="CLOSED>SYN_SENT>CLOSED", server_path=None,
        server_state="CLOSED", open_1=3, open_2=None, completeness=1 | 4 | RST,
    )  # fmt: skip


def test_refused_by_icmp():
    """The server's own word that nobody listens there: an error of connect(), no RST."""
    recorded = scenario("icmp_port_unreachable")
    recorded.shows("3 C>S S | SYN_SENT LISTEN~ open 1/3").ends(
        handshake="refused", client_path="CLOSED>SYN_SENT>CLOSED", client_state="CLOSED", open_1=3, completeness=1
    )
    kinds = [kind for _, kind in recorded.kinds()]
    assert kinds == ["icmp-error", "refused"]
    assert recorded.analysis.transitions["event"].tolist() == ["SEND_SYN", "RCV_SYN", "RCV_ICMP_ERROR"]


def test_mptcp_subflows():
    """RFC 8684: the first subflow has MP_CAPABLE, another one of the same connection MP_JOIN; each is a TCP connection."""
    scenario("mptcp_basic").as_the_kernel().ends(handshake="complete", mptcp=True, close="orderly")

    def subflow(port: int, at: float, subtype: int, flow: int) -> str:
        return f"""
        {at:.3f} C>S S  seq=0 mss=1460 mptcp={subtype} port={port} | #{flow} SYN_SENT LISTEN~ open 1/3
        {at + 0.01:.3f} S>C S. seq=0 ack=1 mss=1460 mptcp={subtype} port={port} | #{flow} ESTABLISHED~ SYN_RCVD open 2/3
        {at + 0.02:.3f} C>S .  seq=1 ack=1 mptcp={subtype} port={port} | #{flow} ESTABLISHED ESTABLISHED~ open 3/3
        {at + 0.03:.3f} S>C .  seq=1 ack=1 mptcp={subtype} port={port} | #{flow} ESTABLISHED ESTABLISHED
        {at + 0.04:.3f} C>S P. seq=1 ack=1 len=5 mptcp=2 port={port} | #{flow} ESTABLISHED ESTABLISHED
        {at + 0.05:.3f} S>C .  seq=1 ack=6 mptcp=2 port={port} | #{flow} ESTABLISHED ESTABLISHED
        """

    played = play(subflow(40000, 0, 0, 0) + subflow(40001, 1, 1, 1))
    for flow in (0, 1):
        played.ends(OPENED, TAKEN, flow=flow, handshake="complete", mptcp=True)
    assert played.kinds() == []


#: RFC 9768, table 2: what an AccECN client and each kind of server say, as (AE, CWR, ECE).
NEGOTIATIONS = [
    ("arrived Not-ECT", "SEWe", "S.W", True, True),
    ("arrived ECT(1)", "SEWe", "S.WE", True, True),
    ("arrived ECT(0)", "SEWe", "S.e", True, True),
    ("arrived CE", "SEWe", "S.We", True, True),
    ("a server with the nonce", "SEWe", "S.Ee", True, False),
    ("a server of RFC 3168", "SEWe", "S.E", True, False),
    ("a server without ECN", "SEWe", "S.", False, False),
    ("a broken server", "SEWe", "S.EWe", False, False),
    ("a client of RFC 3168", "SEW", "S.E", True, False),
    ("... and no ECN", "SEW", "S.", False, False),
    ("... and an answer that it did not ask for", "SEW", "S.W", False, False),
    ("a client without ECN", "S", "S.E", False, False),
]


@pytest.mark.parametrize(
    ("_", "offer", "answer", "ecn", "accurate"), NEGOTIATIONS, ids=[row[0] for row in NEGOTIATIONS]
)
def test_accurate_ecn_bits(_, offer, answer, ecn, accurate):
    """The flags are bits of the header like others: they change no step and no state."""
    flags = {letters: sum(wire.FLAG_BITS[letter] for letter in letters) for letters in (offer, answer)}
    played = play(
        f"""
        0.000 C>S {offer}  seq=0 mss=1460    | SYN_SENT LISTEN~ open 1/3
        0.010 S>C {answer} seq=0 ack=1 mss=1460 | ESTABLISHED~ SYN_RCVD open 2/3
        0.020 C>S .e seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        0.030 C>S P.EWe seq=1 ack=1 len=5  | ESTABLISHED ESTABLISHED~
        0.040 S>C .We seq=1 ack=6          | ESTABLISHED ESTABLISHED
        """
    ).ends(OPENED, TAKEN, handshake="complete", ecn=ecn, accurate_ecn=accurate, completeness=COMPLETE | DATA)
    assert played.analysis.packets["flag_bits"].tolist()[:2] == [flags[offer], flags[answer]]
    assert played.kinds() == []


def test_an_unanswered_synack_repeated_after_a_lost_reset():
    """The client aborts in SYN_SENT's answer and its RST is lost: the SYN-ACK comes again, the request lives."""
    played = play(
        f"""{synack_sent()}
        0.020 C>S R  seq=1                 | CLOSED CLOSED~ reset ! reset
        1.010 S>C S. seq=0 ack=1 mss=1460  | CLOSED SYN_RCVD (open 2/3) ! synack-retransmitted
        1.020 C>S R  seq=1                 | CLOSED CLOSED~ (reset) ! reset
        """
    ).ends("CLOSED>SYN_SENT>CLOSED", "LISTEN>SYN_RCVD>CLOSED", handshake="reset", synack_attempts=2)
    assert played.changes("server")[2:] == ["3 SYN_RCVD>CLOSED refuted 4", "5 SYN_RCVD>CLOSED assumed"]


def test_the_times_are_of_the_syn_and_the_synack_that_were_taken():
    """SYN-ACK lost: the SYN comes again, and its answer is the one that opens."""
    played = play(
        f"""{synack_sent()}
        1.000 C>S S  seq=0 mss=1460        | SYN_SENT SYN_RCVD (open 1/3) ! syn-retransmitted
        1.010 S>C S. seq=0 ack=1 mss=1460  | ESTABLISHED~ SYN_RCVD (open 2/3) ! synack-retransmitted
        1.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
        1.030 C>S P. seq=1 ack=1 len=5     | ESTABLISHED ESTABLISHED~
        """
    ).ends(open_1=3, open_2=4, open_3=5)
    row = played.flow()
    assert (row["syn_rtt"], row["handshake_ack_rtt"], row["irtt"]) == tuple(map(pytest.approx, (0.01, 0.01, 0.02)))


@pytest.mark.parametrize("flags", ["none", "F", "FPU", "P", "U"])
def test_a_segment_without_ack_opens_nothing(flags):
    """A port scan: 3.10.7.4, fifth: if the ACK bit is off, drop the segment. Nothing is known of either end."""
    played = play(f"0.0 C>S {flags} seq=0 | UNKNOWN~ UNKNOWN~ ! midstream", numbers=False)
    assert len(played.analysis.transitions) == 0
    played.ends(handshake="not captured", close="still open", close_1=None)
    played = play(f"0.0 C>S {flags} seq=0\n0.1 S>C R. seq=0 ack=0", numbers=False)
    assert played.flow()["server_state"] == "CLOSED"


def test_syn_sent_is_not_left_by_what_does_not_answer():
    """Every flag but those of 3.10.7.3, in SYN_SENT: no segment of the server without SYN or RST moves the client."""
    for flags, ack in itertools.product([".", "P.", "F."], ["", " ack=0", " ack=4711"]):
        played = play(f"{syn_sent()}\n0.010 S>C {flags} seq=7{ack}", numbers=False, chains=False)
        assert played.flow()["client_state"] == "SYN_SENT"


def test_the_handshake_is_not_seen_again_in_old_duplicates():
    """Retransmissions of all three segments behind the handshake change no mark."""
    usual = play(talked()).flow()
    again = play(
        f"""{talked()}
        0.100 C>S S  seq=0
        0.110 S>C S. seq=0 ack=1
        0.120 C>S .  seq=6 ack=8
        """,
        chains=False,
    ).flow()
    marks = ("handshake", "open_1", "open_2", "open_3", "client_path", "server_path", "completeness", "syn_rtt", "irtt")
    assert {name: again[name] for name in marks} == {name: usual[name] for name in marks}
