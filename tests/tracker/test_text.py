"""Text, acknowledgements, windows: numbers, lengths, and what went wrong on the way (RFC 9293, section 3.4)."""

from __future__ import annotations

import pytest

from tests.tracker.exchange import play
from tests.tracker.starts import synack_sent, talked

ALIVE = "ESTABLISHED ESTABLISHED"


@pytest.mark.parametrize("isn", [2**32 - 1, 2**32 - 2, 2**32 - 3, 2**32 - 6, 2**31 - 1, 0])
@pytest.mark.parametrize("end", ["C", "S"])
def test_numbers_wrap(isn, end):
    """A whole life across 2**32; ``play`` holds the relative numbers against the lines'."""
    played = play(
        f"""{talked()}
        1.000 C>S F. seq=6 ack=8           | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
        1.010 S>C F. seq=8 ack=7           | TIME_WAIT~ LAST_ACK close 2+3/4
        1.020 C>S .  seq=7 ack=9           | TIME_WAIT CLOSED~ close 4/4
        """,
        isns={"C": 1_000_000_000, "S": 3_000_000_000} | {end: isn},
    ).ends(close="orderly", client_bytes=5, server_bytes=7)
    assert played.kinds() == []
    assert played.flow()[{"C": "client_isn", "S": "server_isn"}[end]] == isn


def test_relative_numbers_do_not_wrap():
    """Over 12 GiB: 64 bits. The capture lost most of it, the acknowledgements carry the count."""
    step = 2**30 - 1
    lines = [synack_sent(), "0.020 C>S . seq=1 ack=1 win=65535"]
    for i in range(12):
        lines.append(f"{i + 1}.0 S>C P. seq={1 + i * step} ack=1 len=10")
        lines.append(f"{i + 1}.1 C>S . seq=1 ack={11 + i * step} win=65535")
    played = play("\n".join(lines).replace("wscale=7", "wscale=14"))
    assert played.analysis.packets["seq"].max() == 1 + 11 * step > 2**33


def test_sack_blocks_are_relative():
    played = play(
        f"""{talked()}
        1.000 C>S P. seq=16 ack=8 len=10   | {ALIVE} ! segment-not-captured
        1.010 S>C .  seq=8 ack=6 sack=16:26 | {ALIVE} ! ?
        """,
        isns={"C": 2**32 - 10, "S": 5},
    )
    assert list(played.analysis.options.loc[9, "sack"]) == [16, 26]


def test_windows_are_scaled_by_their_senders_shift():
    played = play(f"{talked()}\n 1.0 S>C . seq=8 ack=6 win=100 | {ALIVE}")
    assert list(played.analysis.packets["window"]) == [65535, 65535, *[65535 << 7] * 5, 100 << 7]


def test_windows_are_not_scaled_where_one_end_does_not_scale():
    played = play(
        """
        0.00 C>S S  seq=0 wscale=7
        0.01 S>C S. seq=0 ack=1
        0.02 C>S .  seq=1 ack=1 win=100
        """
    )
    assert list(played.analysis.packets["window"])[-1] == 100


def test_a_synack_that_its_peer_cannot_accept_says_nothing_of_scales():
    """RFC 9293, section 3.10.7.3: in SYN_SENT it is answered with an RST; the real one, which comes later, counts."""
    played = play(
        """
        0.00 C>S S  seq=0 mss=1460 wscale=10
        0.01 S>C S. seq=0 ack=1001 mss=9000
        0.02 C>S R  seq=1001
        0.03 C>S S  seq=0 mss=1460 wscale=10
        0.04 S>C S. seq=0 ack=1 mss=1400 wscale=7
        0.05 C>S .  seq=1 ack=1 win=63
        0.06 S>C .  seq=1 ack=1 win=63
        """
    )
    assert list(played.analysis.packets["window"])[-2:] == [63 << 10, 63 << 7]
    assert (played.flow()["server_mss"], played.flow()["server_wscale"]) == (1400, 7)


# ------------------------------------------------------------------------------------------------------- anomalies


def test_keep_alive():
    """RFC 9293, section 3.8.4: nothing or one octet at SND.NXT - 1."""
    play(
        f"""{talked()}
        60.00 C>S .  seq=5 ack=8           | {ALIVE} ! keep-alive
        60.01 S>C .  seq=8 ack=6           | {ALIVE}
        120.0 S>C .  seq=7 ack=6 len=1     | {ALIVE} ! keep-alive
        120.1 C>S .  seq=6 ack=8           | {ALIVE}
        """
    ).ends(client_retransmitted=0, server_retransmitted=0, server_bytes=7, n_keep_alive=2)


def test_zero_window_and_its_probe():
    play(
        f"""{talked()}
        1.000 S>C .  seq=8 ack=6 win=0     | {ALIVE} ! zero-window
        1.500 C>S .  seq=6 ack=8 len=1     | {ALIVE} ! window-probe
        1.510 S>C .  seq=8 ack=6 win=0     | {ALIVE} ! ?
        1.600 S>C .  seq=8 ack=7 win=500   | {ALIVE}
        """
    ).ends(n_zero_window=2, n_window_probe=1, n_keep_alive=0, n_retransmission=0)


def test_a_reset_has_no_window():
    play(f"{talked()}\n 1.0 C>S R. seq=6 ack=8 win=0 | CLOSED CLOSED~ reset ! reset")


def test_duplicate_acknowledgements():
    """RFC 5681: no payload, the same acknowledgement and window, while data is outstanding."""
    play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=10    | {ALIVE}
        1.001 C>S P. seq=26 ack=8 len=10   | {ALIVE} ! segment-not-captured
        1.010 S>C .  seq=8 ack=16          | {ALIVE}
        1.011 S>C .  seq=8 ack=16          | {ALIVE} ! duplicate-ack
        1.012 C>S P. seq=36 ack=8 len=10   | {ALIVE}
        1.020 S>C .  seq=8 ack=16          | {ALIVE} ! duplicate-ack
        1.300 C>S P. seq=16 ack=8 len=10   | {ALIVE} ! retransmission
        1.310 S>C .  seq=8 ack=46          | {ALIVE}
        """
    ).ends(n_duplicate_ack=2, client_retransmitted=1, client_bytes=45)


def test_acknowledgements_that_are_not_duplicates():
    play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=10    | {ALIVE}
        1.010 S>C .  seq=8 ack=6 win=9000  | {ALIVE}
        1.011 S>C P. seq=8 ack=6 len=5 win=9000 | {ALIVE}
        1.020 C>S .  seq=16 ack=13         | {ALIVE}
        1.030 S>C .  seq=13 ack=16 win=9000 | {ALIVE}
        2.000 S>C .  seq=13 ack=16 win=9000 | {ALIVE}
        """
    ).ends(n_duplicate_ack=0)


def test_out_of_order():
    """Behind a later one, within a round trip: it took another way."""
    play(
        f"""{talked()}
        1.000 C>S P. seq=16 ack=8 len=10   | {ALIVE} ! segment-not-captured
        1.001 C>S P. seq=6 ack=8 len=10    | {ALIVE} ! out-of-order
        1.010 S>C .  seq=8 ack=26          | {ALIVE}
        """
    ).ends(client_retransmitted=0, client_bytes=25)


def test_retransmission_of_what_was_seen():
    play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=10    | {ALIVE}
        1.300 C>S P. seq=6 ack=8 len=10    | {ALIVE} ! retransmission
        1.310 S>C .  seq=8 ack=16          | {ALIVE}
        """
    ).ends(client_retransmitted=1, client_retransmitted_bytes=10, client_bytes=15)


def test_retransmission_of_what_was_acknowledged():
    played = play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=10    | {ALIVE}
        1.010 S>C .  seq=8 ack=16          | {ALIVE}
        1.300 C>S P. seq=6 ack=8 len=10    | {ALIVE} ! retransmission
        """
    )
    assert played.analysis.anomalies["detail"].iloc[-1] == "all of it was acknowledged before"


def test_a_hole_filled_after_more_than_a_round_trip():
    played = play(
        f"""{talked()}
        1.000 C>S P. seq=16 ack=8 len=10   | {ALIVE} ! segment-not-captured
        1.300 C>S P. seq=6 ack=8 len=10    | {ALIVE} ! retransmission
        """
    ).ends(client_retransmitted=1, client_bytes=25)
    assert "fills a hole" in played.analysis.anomalies["detail"].iloc[-1]


def test_retransmission_with_a_tail_of_new_data():
    """Repacketised: octets are counted once."""
    play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=10    | {ALIVE}
        1.300 C>S P. seq=6 ack=8 len=25    | {ALIVE} ! retransmission
        1.310 S>C .  seq=8 ack=31          | {ALIVE}
        """
    ).ends(client_bytes=30, client_retransmitted_bytes=10)


def test_acknowledgement_of_what_was_not_captured():
    """The capture lost it: the receiver has it."""
    play(
        f"""{talked()}
        1.000 S>C .  seq=8 ack=1006        | {ALIVE} ! ack-of-unseen
        1.010 C>S P. seq=1006 ack=8 len=10 | {ALIVE}
        1.020 S>C .  seq=8 ack=1016        | {ALIVE}
        """
    )


# --------------------------------------------------------------------------------------------------------- lengths


@pytest.mark.parametrize("length", range(7))
def test_padding_is_never_payload(length):
    """Short Ethernet frames are padded; ``play`` holds the lengths against the lines'."""
    played = play(f"{talked()}\n 1.0 C>S P. seq=6 ack=8 len={length} | {ALIVE}")
    assert played.flow()["client_bytes"] == 5 + length


def test_padding_behind_a_fin_does_not_move_it():
    play(
        """
        0.00 C>S S  seq=0
        0.01 S>C S. seq=0 ack=1
        0.02 C>S .  seq=1 ack=1
        0.03 C>S F. seq=1 ack=1            | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
        0.04 S>C .  seq=1 ack=2            | FIN_WAIT_2~ CLOSE_WAIT close 2/4
        """
    )


@pytest.mark.parametrize("version", [4, 6])
def test_a_segment_to_be_cut_up_by_the_card(version):
    """TSO: the IP header says 0, the frame's own length counts."""
    play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=70000 iplen=0 | {ALIVE}
        1.010 S>C .  seq=8 ack=70006       | {ALIVE}
        """,
        version=version,
    ).ends(client_bytes=70005, n_ack_of_unseen=0)


@pytest.mark.parametrize("captured", [54, 60, 100])
def test_a_short_snap_length_loses_no_length(captured):
    played = play(
        f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=1000 cap={captured} | {ALIVE} ! ?
        1.010 S>C .  seq=8 ack=1006        | {ALIVE}
        """
    ).ends(client_bytes=1005, n_ack_of_unseen=0, n_segment_not_captured=0)
    assert list(played.analysis.packets["truncated"]) == [False] * 7 + [True, False]
    assert played.analysis.capture.truncated == 1


def test_a_snap_length_within_the_options():
    """The header is there, the options are cut: what was read of them stays."""
    played = play(
        """
        0.00 C>S S  seq=0 mss=1460 wscale=7 cap=58 | SYN_SENT LISTEN~ open 1/3 ! ?
        0.01 S>C S. seq=0 ack=1 mss=1400   | ESTABLISHED~ SYN_RCVD open 2/3
        """
    )
    assert (played.flow()["client_mss"], played.flow()["client_wscale"]) == (1460, None)


def test_a_snap_length_within_the_tcp_header():
    played = play(f"{talked()}\n 1.0 C>S P. seq=6 ack=8 len=5 cap=53", numbers=False)
    assert len(played.analysis.packets) == 7
    assert played.analysis.capture.skipped == {"TCP header cut below 20 bytes": 1}
