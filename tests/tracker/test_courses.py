"""What happens between the handshake and the close, and what a capture may leave out: one test each.

The truth is a real kernel's where a kernel does such a thing, recorded with its own state changes beside it; else the
segments are written from the RFC. The complaints are what users of other tools have been hurt by.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

import analyzer
from tests import wire
from tests.tracker.exchange import play
from tests.tracker.recorded import Recorded, own, scenario
from tests.tracker.starts import established, fin_wait_2, synack_sent, talked

OPENED = "CLOSED>SYN_SENT>ESTABLISHED"
TAKEN = "LISTEN>SYN_RCVD>ESTABLISHED"


# -------------------------------------------------------------------------------------------- keep-alives and windows


def test_keep_alives():
    """Answered: both ends stay where they are, nothing was retransmitted.

    Complaint: "keep-alives counted as retransmissions" (ntopng#1711, PcapPlusPlus#995).
    """
    recorded = scenario("keepalive_answered").as_the_kernel()
    recorded.shows(
        """
        10 C>S . | ESTABLISHED ESTABLISHED ! keep-alive
        11 S>C . | ESTABLISHED ESTABLISHED
        18 C>S F. | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
        """
    ).ends(close="orderly", client_retransmitted=0, server_retransmitted=0, n_keep_alive=4, n_retransmission=0)
    assert {kind for _, kind in recorded.kinds()} == {"keep-alive"}


def test_keep_alives_that_nobody_answers():
    """The kernel gives up with an RST: the path ends with it."""
    recorded = scenario("keepalive_dead").as_the_kernel()
    recorded.shows(
        """
        14 C>S . | ESTABLISHED ESTABLISHED ! keep-alive
        15 C>S R. | CLOSED CLOSED~ reset ! reset
        """
    ).ends(close="reset", closed_by="client", client_path=f"{OPENED}>CLOSED", client_retransmitted=0)


@pytest.mark.parametrize("octets", [0, 1])
def test_a_keep_alive_with_an_octet_of_old_text(octets):
    """RFC 1122, 4.2.3.6: SND.NXT-1, with or without an octet. It moves nothing and is no text."""
    play(
        f"""{talked()}
        10.00 C>S . seq=5 ack=8 len={octets}  | ESTABLISHED ESTABLISHED ! keep-alive
        10.01 S>C . seq=8 ack=6               | ESTABLISHED ESTABLISHED
        """
    ).ends(client_bytes=5, client_retransmitted=0, close="still open")


def test_a_keep_alive_in_a_half_closed_connection():
    """The end that may still send probes the other, which is in FIN_WAIT_2: its answer refutes no state."""
    play(
        f"""{fin_wait_2()}
        30.00 S>C . seq=7 ack=7  | FIN_WAIT_2~ CLOSE_WAIT ! keep-alive
        30.01 C>S . seq=7 ack=8  | FIN_WAIT_2~ CLOSE_WAIT
        """
    ).ends(close="half-closed", n_fin_ack_lost=0)


def test_zero_window_and_probes():
    """The window closes, is probed and opens again: the states stay, the bytes are those that were sent."""
    recorded = scenario("zero_window").as_the_kernel()
    kinds = {kind for _, kind in recorded.kinds()}
    assert "zero-window" in kinds
    assert kinds <= {"zero-window", "window-probe", "keep-alive", "retransmission", "window-full"}
    recorded.ends(close="orderly", n_segment_not_captured=0, n_out_of_order=0, n_ack_of_unseen=0)
    states = recorded.analysis.packets.loc[13:22, ["client_state", "server_state"]]
    assert set(states.to_numpy().ravel()) == {"ESTABLISHED"}


def test_a_probe_with_an_octet_spoils_nothing_behind_it():
    """The probe's octet is refused and comes again with what follows: no hole, nothing out of order, no state moves.

    Complaint: "zero-window probe poisons what follows" (Wireshark GL#10745, GL#15427).
    """
    played = play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=100     | ESTABLISHED ESTABLISHED
        1.010 S>C .  seq=8 ack=106 win=0     | ESTABLISHED ESTABLISHED ! zero-window
        1.300 C>S .  seq=106 ack=8 len=1     | ESTABLISHED ESTABLISHED ! window-probe
        1.310 S>C .  seq=8 ack=106 win=0     | ESTABLISHED ESTABLISHED ! ?
        2.000 S>C .  seq=8 ack=106 win=9000  | ESTABLISHED ESTABLISHED
        2.001 C>S P. seq=106 ack=8 len=50    | ESTABLISHED ESTABLISHED ! ?
        2.011 S>C .  seq=8 ack=156           | ESTABLISHED ESTABLISHED
        2.020 C>S P. seq=156 ack=8 len=5     | ESTABLISHED ESTABLISHED
        """
    ).ends(client_bytes=160, n_segment_not_captured=0, n_out_of_order=0, n_ack_of_unseen=0, close="still open")
    assert played.kinds()[1] == (10, "window-probe")


def test_a_fin_behind_a_closed_window():
    """The kernel is in FIN_WAIT_1 while the FIN waits behind data: on the wire only what is sent can show."""
    recorded = scenario("zero_window_close").as_the_kernel()
    recorded.ends(close="orderly", closed_by="client", close_1=54, close_2=56, close_3=56, close_4=57)


# ---------------------------------------------------------------------------------------------------------- sequences


def test_sequence_numbers_beyond_4_gib():
    """A transfer of 5 GiB, each record cut to its headers: the 32-bit field wraps, the numbers go on, and so do the marks.

    Complaint: "relative numbers wrap" of every tool that counts in 32 bits.
    """
    size, count = 65_495, 82_000  # 5.37 GB
    isns = {"C": 4_000_000_000, "S": 7}
    addresses, ports = ("10.0.0.1", "10.0.0.2"), (40000, 80)
    start = 1_700_000_000 * 10**9
    records, sent = [], 0

    def add(source: int, seq: int, ack: int, flags: str, length: int = 0, **more: int) -> None:
        ends = addresses[source], addresses[1 - source]
        mine, its = isns["CS"[source]], isns["CS"[1 - source]]
        numbers = ((mine + seq) % 2**32, (its + ack) % 2**32 if "." in flags else 0)
        segment = wire.tcp(ports[source], ports[1 - source], *numbers, flags, ends=ends, **more)
        datagram = wire.ipv4(*ends, segment, length=20 + len(segment) + length)
        time_ns = start + len(records) * 100_000
        records.append(wire.Record(time_ns, wire.ethernet(wire.IPV4, datagram)[:54], 14 + 40 + length))

    add(0, 0, 0, "S")
    add(1, 0, 1, "S.")
    add(0, 1, 1, ".")
    for number in range(count):
        add(0, 1 + sent, 1, ".", size)
        sent += size
        if number % 64 == 63:
            add(1, 1, 1 + sent, ".")
    add(1, 1, 1 + sent, ".")
    add(0, 1 + sent, 1, "F.")
    add(1, 1, 2 + sent, ".")
    add(1, 1, 2 + sent, "F.")
    add(0, 2 + sent, 2, ".")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "long.pcap")
        path.write_bytes(wire.pcap(records, 1))
        recorded = Recorded(path, settings=analyzer.Settings(checksums=False))
    assert sent > 5 * 2**30
    recorded.ends(
        client_bytes=sent, client_retransmitted=0, close="orderly", closed_by="client", handshake="complete",
        client_path=f"{OPENED}>FIN_WAIT_1>FIN_WAIT_2>TIME_WAIT", server_path=f"{TAKEN}>CLOSE_WAIT>LAST_ACK>CLOSED",
        close_1=len(records) - 3, close_4=len(records), n_segment_not_captured=0, n_retransmission=0, n_out_of_order=0,
    )  # fmt: skip
    packets = recorded.analysis.packets
    assert packets["seq"].iloc[-1] == sent + 2
    assert packets["ack"].max() == sent + 2
    mine = packets[packets["from_client"]]
    assert mine["seq"].is_monotonic_increasing
    assert (mine["raw_seq"].astype("int64").diff() < 0).sum() == 2, "it wrapped twice"


@pytest.mark.parametrize("isn", [2**32 - 1, 2**32 - 3, 2**32 - 6, 2**31 - 3])
def test_numbers_that_wrap_within_the_handshake_and_the_close(isn):
    """The same marks whatever the ISN is; Wireshark's own verdicts may differ where its next number is 0."""
    text = f"""{fin_wait_2()}
        2.000 S>C F. seq=8 ack=7           | TIME_WAIT~ LAST_ACK close 3/4
        2.010 C>S .  seq=7 ack=9           | TIME_WAIT CLOSED~ close 4/4
        """
    played = play(text, isns={"C": isn, "S": isn})
    usual = play(text)
    for name in ("packets", "transitions"):
        one, other = (
            getattr(which.analysis, name).drop(columns=["raw_seq", "raw_ack", "analysis"], errors="ignore")
            for which in (played, usual)
        )
        assert one.equals(other)


def test_a_huge_gap_takes_no_memory():
    """What is missing is counted, not kept: a hole of 1 GiB less one is one row.

    Complaint: "huge gap, huge buffer" (scapy#4683, PR 3533).
    """
    played = play(
        f"""{talked()}
        1.000 C>S P. seq={2**30} ack=8 len=5 | ESTABLISHED ESTABLISHED ! segment-not-captured
        1.010 S>C .  seq=8 ack=6             | ESTABLISHED ESTABLISHED ! ?
        """
    )
    assert played.flow()["client_bytes"] == 10


# ------------------------------------------------------------------------------------------------ what was not captured


def test_midstream():
    """Both ends begin UNKNOWN; what they send shows what they are. The client closes first, for the server was sending still.

    Complaint: "capture starts mid-stream: roles swapped" (suricata PR 1383, ntopng#5745).
    """
    recorded = scenario("capture_starts_midstream")
    recorded.shows(
        """
        1 C>S P. | ESTABLISHED~ ESTABLISHED~ ! midstream
        2 S>C P. | ESTABLISHED~ ESTABLISHED
        3 C>S .  | ESTABLISHED ESTABLISHED
        4 C>S F. | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
        5 S>C .  | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        6 S>C F. | TIME_WAIT~ LAST_ACK close 3/4
        7 C>S .  | TIME_WAIT CLOSED~ close 4/4
        """
    ).ends(
        handshake="not captured", role_evidence="port", close="orderly", closed_by="client", completeness=4 | 8 | 16,
        client_path="UNKNOWN>ESTABLISHED>FIN_WAIT_1>FIN_WAIT_2>TIME_WAIT", open_1=None, client_isn=None,
    )  # fmt: skip
    own("midstream").ends(handshake="not captured", close="orderly")


def test_midstream_behind_a_fin_that_was_not_captured():
    """The first FIN may be the second one of the close: FIN_WAIT_1 is assumed, until the other end says more."""
    play("0.0 C>S F. seq=1000 ack=2000 | FIN_WAIT_1~ CLOSE_WAIT~ close 1/4 ! midstream, one-direction", numbers=False)
    play(
        """
        0.000 C>S .  seq=1000 ack=2000       | ESTABLISHED~ ESTABLISHED~ ! midstream
        0.010 S>C .  seq=2000 ack=1000       | ESTABLISHED~ ESTABLISHED~
        0.020 C>S F. seq=1000 ack=2000       | FIN_WAIT_1~ CLOSE_WAIT~ close 1/4
        0.030 S>C P. seq=2000 ack=1001 len=5 | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        0.040 C>S .  seq=1001 ack=2005       | FIN_WAIT_2~ CLOSE_WAIT
        """,
        numbers=False,
    )


def test_one_direction_only():
    """Only what the client sent: its acknowledgements prove what the server sent; what that was then, stays assumed.

    Complaint: "asymmetric capture" (zeek#2934, ntopng#5745).
    """
    recorded = scenario("capture_one_direction")
    recorded.shows(
        """
        3 C>S S | SYN_SENT LISTEN~ open 1/3 ! one-direction
        4 C>S . | ESTABLISHED ESTABLISHED~ open 3/3
        5 C>S P. | ESTABLISHED ESTABLISHED~
        7 C>S F. | FIN_WAIT_1~ CLOSE_WAIT~ close 1/4
        """
    ).ends(
        handshake="complete", open_1=3, open_2=None, open_3=4, close="half-closed", server_packets=0,
        server_path=f"{TAKEN}>CLOSE_WAIT", synack_attempts=0, n_ack_of_unseen=0, n_segment_not_captured=0,
    )  # fmt: skip
    assert recorded.kinds() == [(3, "one-direction")]
    rows = recorded.analysis.transitions
    assert rows.loc[rows["event"] == "SEND_SYN_ACK", ["frame", "endpoint", "evidence"]].values.tolist() == [
        [4, "server", "proven"]
    ]


def test_capture_loss():
    """tcpdump left two segments out that the server has acknowledged: a gap in the capture, no loss, and no mark is missing.

    Complaint: "false 'ACKed unseen segment'" (Wireshark GL#18558, GL#8404): not captured is not the same as not sent.
    """
    recorded = own("lost-by-the-capture")
    recorded.ends(
        handshake="complete", close="orderly", closed_by="client", open_3=3, close_1=10, close_2=11, close_3=12,
        close_4=13, client_retransmitted=0, n_retransmission=0,
    )  # fmt: skip
    assert {kind for _, kind in recorded.kinds()} == {"ack-of-unseen"}
    assert recorded.analysis.capture.lost_segments == 2


def test_capture_loss_of_the_handshakes_parts():
    """Each of the three left out: the others keep their places, and both ends come to ESTABLISHED."""
    lines = [line for line in talked().splitlines() if line.strip()]
    for lost, paths in {
        0: ("UNKNOWN>ESTABLISHED", TAKEN),
        1: (OPENED, TAKEN),
        2: (OPENED, TAKEN),
    }.items():
        kept = [line.partition("|")[0] for at, line in enumerate(lines) if at != lost]
        played = play("\n".join(kept)).ends(*paths, close="still open")
        marks = [played.flow()[name] for name in ("open_1", "open_2", "open_3")]
        assert [mark is not None for mark in marks] == [lost != 0, lost != 1, True]
        assert played.flow()["handshake"] == "complete"


def test_capture_loss_of_the_closes_parts():
    """Each of the four left out: what the others acknowledge shows it."""
    text = f"""{fin_wait_2()}
        2.000 S>C F. seq=8 ack=7
        2.010 C>S .  seq=7 ack=9
        2.500 C>S .  seq=7 ack=9
        """
    lines = [line.partition("|")[0] for line in text.splitlines() if line.strip()]
    first = next(at for at, line in enumerate(lines) if "C>S F." in line)
    ends = {}
    for lost in range(4):
        flow = play("\n".join(line for at, line in enumerate(lines) if at != first + lost), chains=False).flow()
        ends[lost] = (flow["client_state"], flow["server_state"])
    assert ends[1] == ends[3] == ("TIME_WAIT", "CLOSED")


# ----------------------------------------------------------------------------------------------------- other complaints


def test_a_segment_under_way_from_the_syn_on():
    """Data and FIN in order, but the reader timed out between: there is no time-out of a connection's analysis.

    Complaint: "flow direction flips after a timeout cut" (nfstream#125): roles are decided once.
    """
    played = play(
        f"""{talked()}
        90000.0 S>C P. seq=8 ack=6 len=5   | ESTABLISHED ESTABLISHED
        90000.1 C>S .  seq=6 ack=13        | ESTABLISHED ESTABLISHED
        """
    )
    assert len(played.analysis.flows) == 1
    played.ends(client="10.0.0.1", role_evidence="syn", server_bytes=12)


def test_late_segments_stay_with_a_closed_connection():
    """Complaint: "FIN/RST does not end a flow" (nfstream#40): it ends it; what comes late is of it, and marked."""
    played = play(
        f"""{talked()}
        1.000 C>S R. seq=6 ack=8           | CLOSED CLOSED~ reset ! reset
        1.001 C>S P. seq=1 ack=8 len=5     | CLOSED CLOSED~ ! retransmission
        """
    ).ends(close="reset", client_state="CLOSED", server_state="CLOSED")
    assert len(played.analysis.flows) == 1


def test_an_acknowledgement_captured_before_its_data():
    """Complaint: "one direction captured late: ACK before data" (zeek#1564): a swap of the capture's, not a loss."""
    played = play(
        f"""{talked()}
        1.0000 S>C .  seq=8 ack=11          | ESTABLISHED ESTABLISHED
        1.0001 C>S P. seq=6 ack=8 len=5     | ESTABLISHED ESTABLISHED
        """
    ).ends(client_bytes=10, client_retransmitted=0)
    assert played.kinds() == []
    assert played.analysis.capture.lost_bytes == 0


def test_padding_is_no_payload():
    """Frames are padded to 60 octets: an ACK carries nothing, the numbers go on.

    Complaint: "Ethernet padding taken for payload, false retransmissions" (rustnet PR 479).
    """
    played = play(established())
    assert played.analysis.packets["length"].tolist() == [0, 0, 0]
    assert played.kinds() == []


def test_segments_cut_by_the_snap_length():
    """Complaint: "snaplen cuts confuse sequence analysis" (etl2pcapng PR 28): lengths are the IP header's."""
    text = f"""{talked()}
        1.0 C>S P. seq=6 ack=8 len=1000{{cap}} | ESTABLISHED ESTABLISHED
        1.1 S>C .  seq=8 ack=1006             | ESTABLISHED ESTABLISHED
        """
    whole, short = play(text.format(cap="")), play(text.format(cap=" cap=60"))
    assert short.analysis.packets["truncated"].tolist() == [False] * 7 + [True, False]
    assert short.flow() == whole.flow() | {"history": short.flow()["history"]}
    assert short.kinds() == whole.kinds() == []


def test_a_segment_of_unknown_length():
    """Complaint: "TSO: ip.len 0, payload lost" (zeek PR 1831, tcpflow#142): the frame's length stands in."""
    played = play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=5000 iplen=0 | ESTABLISHED ESTABLISHED
        1.010 S>C .  seq=8 ack=5006               | ESTABLISHED ESTABLISHED
        """
    )
    assert played.flow()["client_bytes"] == 5005
    assert played.kinds() == []


def test_a_clock_that_goes_back_moves_no_timer():
    """Complaint: "clock steps" (zeek#3921, tcpdump#139): order is the file's, no duration is negative in silence."""
    played = play(
        f"""{synack_sent().replace("0.000", "100.000").replace("0.010", "100.010")}
        5.000 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3 ! clock-step
        5.010 C>S P. seq=1 ack=1 len=5     | ESTABLISHED ESTABLISHED~
        """
    ).ends(handshake="complete")
    assert played.analysis.transitions["frame"].notna().all()


def test_the_way_to_a_verdict_can_be_followed():
    """Complaint: "verdict not explained" (Wireshark GL#18911): each move names its event, its evidence and its frames."""
    rows = play(fin_wait_2()).analysis.transitions
    assert rows["event"].notna().all()
    assert rows["evidence"].notna().all()
    assert (rows["proven_by"].notna() == (rows["evidence"] == "proven")).all()
