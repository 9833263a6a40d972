"""Why a segment came again: exchanges with the answer that the RFC gives. The round trip is 20 ms, half of it on each side."""

from __future__ import annotations

import pandas as pd
import pytest

import analyzer
from analyzer.tracker.causes import CATALOGUE, EVIDENCE_WORDS, NEEDLESS, Cause, Evidence
from tests.tracker.exchange import Played, play
from tests.tracker.starts import syn_sent, synack_sent, talked

NO_SACK = """
0.000 C>S S  seq=0 mss=1460
0.010 S>C S. seq=0 ack=1 mss=1460
0.020 C>S .  seq=1 ack=1
0.030 C>S P. seq=1 ack=1 len=5
0.050 S>C .  seq=1 ack=6
0.050 S>C P. seq=1 ack=6 len=7
0.060 C>S .  seq=6 ack=8
"""
WINDOW = "".join(f"1.00{i} C>S . seq={6 + 100 * i} ack=8 len=100\n" for i in range(5))


def why(played: Played) -> dict[int, str]:
    """frame -> cause."""
    rows = played.analysis.anomalies
    rows = rows[rows["cause"].notna()]
    return dict(zip(rows["frame"], rows["cause"], strict=True))


def row(played: Played, frame: int) -> dict:
    rows = played.analysis.anomalies
    (found,) = rows[(rows["frame"] == frame) & rows["cause"].notna()].to_dict("records")
    return {name: None if pd.isna(value) else value for name, value in found.items()}


# --------------------------------------------------------------------------------------------------- the timer, 6298


def test_a_time_out_doubles():
    played = play(f"""{NO_SACK}
        1.000 C>S P. seq=6 ack=8 len=10
        1.230 C>S P. seq=6 ack=8 len=10
        1.690 C>S P. seq=6 ack=8 len=10
        2.610 C>S P. seq=6 ack=8 len=10
        """)
    assert why(played) == {9: "rto", 10: "rto", 11: "rto"}
    first, last = row(played, 9), row(played, 11)
    assert (first["related_frame"], first["waited"], first["evidence"]) == (
        8,
        pytest.approx(0.23),
        EVIDENCE_WORDS[Evidence.TIMER],
    )
    assert last["rto"] == pytest.approx(4 * first["rto"])


def test_the_time_out_counts_from_the_last_acknowledgement_of_something_new():
    """RFC 6298 (5.3): the timer starts anew then; the sender has it 10 ms later than the capture point."""
    played = play(f"""{NO_SACK}{WINDOW}
        1.020 S>C . seq=8 ack=106
        1.260 C>S . seq=106 ack=8 len=100
        """)
    assert row(played, 14)["cause"] == "rto"
    assert row(played, 14)["waited"] == pytest.approx(0.230)


def test_what_follows_a_time_out_belongs_to_its_recovery():
    played = play(f"""{NO_SACK}{WINDOW}
        1.250 C>S . seq=6   ack=8 len=100
        1.270 S>C . seq=8 ack=106
        1.281 C>S . seq=106 ack=8 len=100
        1.281 C>S . seq=206 ack=8 len=100
        """)
    assert why(played) == {13: "rto", 15: "rto-recovery", 16: "rto-recovery"}
    assert row(played, 15)["evidence_frame"] == 13


def test_a_fin_runs_into_the_timer_as_data_does():
    played = play(f"""{NO_SACK}
        1.000 C>S F. seq=6 ack=8
        1.240 C>S F. seq=6 ack=8
        """)
    assert row(played, 9)["kind"] == "fin-retransmitted"
    assert why(played) == {9: "rto"}


def test_a_syn_that_nobody_answers():
    played = play(f"""{syn_sent()}
        1.000 C>S S seq=0
        3.000 C>S S seq=0
        """)
    assert why(played) == {2: "rto", 3: "rto"}


def test_a_synack_answers_a_syn_that_comes_again_or_runs_into_its_own_timer():
    played = play(f"""{synack_sent()}
        1.000 C>S S  seq=0
        1.011 S>C S. seq=0 ack=1
        2.020 S>C S. seq=0 ack=1
        """)
    assert why(played) == {3: "rto", 4: "answer", 5: "rto"}
    assert row(played, 4)["evidence_frame"] == 3


# ------------------------------------------------------------------------------------------------ told of a loss, 5681


def test_three_duplicate_acknowledgements():
    played = play(f"""{NO_SACK}{WINDOW}
        1.021 S>C . seq=8 ack=6
        1.022 S>C . seq=8 ack=6
        1.023 S>C . seq=8 ack=6
        1.034 C>S . seq=6 ack=8 len=100
        """)
    found = row(played, 16)
    assert (found["cause"], found["duplicate_acks"], found["evidence_frame"]) == ("fast", 3, 15)


def test_two_duplicate_acknowledgements_are_not_enough():
    played = play(f"""{NO_SACK}{WINDOW}
        1.021 S>C . seq=8 ack=6
        1.022 S>C . seq=8 ack=6
        1.033 C>S . seq=6 ack=8 len=100
        """)
    assert why(played) == {15: "unknown"}
    assert row(played, 15)["evidence"] == EVIDENCE_WORDS[Evidence.NO_SIGN]


def test_a_partial_acknowledgement_goes_on_with_the_recovery():
    """RFC 6582: what was outstanding when it began is sent again as the acknowledgements show it missing."""
    played = play(f"""{NO_SACK}{WINDOW}
        1.021 S>C . seq=8 ack=6
        1.022 S>C . seq=8 ack=6
        1.023 S>C . seq=8 ack=6
        1.034 C>S . seq=6 ack=8 len=100
        1.055 S>C . seq=8 ack=206
        1.066 C>S . seq=206 ack=8 len=100
        """)
    assert why(played) == {16: "fast", 18: "fast"}
    assert (row(played, 18)["evidence"], row(played, 18)["evidence_frame"]) == (
        EVIDENCE_WORDS[Evidence.IN_RECOVERY],
        16,
    )


def test_sack_tells_without_counting():
    """RFC 6675, RFC 8985: octets behind it arrived."""
    played = play(f"""{talked()}{WINDOW}
        1.021 S>C . seq=8 ack=106 sack=206:506
        1.033 C>S . seq=106 ack=8 len=100
        """)
    found = row(played, 14)
    assert (found["cause"], found["sacked"], found["evidence"]) == ("fast", 300, EVIDENCE_WORDS[Evidence.SACK])


# ------------------------------------------------------------------------------------------------- the tail, 8985


def test_a_probe_of_the_tail():
    played = play(f"""{talked()}{WINDOW}
        1.050 C>S . seq=406 ack=8 len=100
        """)
    assert why(played) == {13: "tail-loss-probe"}


def test_a_probe_is_never_later_than_the_time_out():
    """A sender with a least time-out of a second, as RFC 6298 has it, and no probes."""
    played = play(f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=10
        2.000 C>S P. seq=6 ack=8 len=10
        """)
    assert why(played) == {9: "rto"}


def test_no_probe_where_a_loss_was_told():
    """RFC 8985 section 7.3: a single SACK will do."""
    played = play(f"""{talked()}{WINDOW}
        1.021 S>C . seq=8 ack=6 sack=106:206
        1.260 C>S . seq=406 ack=8 len=100
        """)
    assert why(played)[14] != "tail-loss-probe"


def test_the_same_without_sack_is_a_time_out_or_not_known():
    played = play(f"""{NO_SACK}{WINDOW}
        1.050 C>S . seq=406 ack=8 len=100
        """)
    assert why(played) == {13: "unknown"}


def test_a_second_sending_that_waits_twice_as_long_shows_two_time_outs():
    played = play(f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=10
        1.230 C>S P. seq=6 ack=8 len=10
        1.690 C>S P. seq=6 ack=8 len=10
        """)
    assert why(played) == {9: "rto", 10: "rto"}


def test_one_that_waits_as_long_shows_a_probe_and_a_time_out():
    played = play(f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=10
        1.230 C>S P. seq=6 ack=8 len=10
        1.460 C>S P. seq=6 ack=8 len=10
        """)
    assert why(played) == {9: "tail-loss-probe", 10: "rto"}


# ------------------------------------------------------------------------------------------------------- for nothing


def test_a_dsack_shows_that_the_receiver_had_it():
    """RFC 2883 section 4: the first block lies below the acknowledgement."""
    played = play(f"""{talked()}{WINDOW}
        1.260 C>S . seq=6 ack=8 len=100
        1.265 S>C . seq=8 ack=506
        1.280 S>C . seq=8 ack=506 sack=6:106
        """)
    found = row(played, 13)
    assert (found["cause"], found["evidence"], found["evidence_frame"]) == (
        "spurious-rto",
        EVIDENCE_WORDS[Evidence.DSACK],
        15,
    )


def test_a_dsack_above_the_acknowledgement():
    """RFC 2883 section 4.2: the first block lies within the second one."""
    played = play(f"""{talked()}{WINDOW}
        1.021 S>C . seq=8 ack=106 sack=206:506
        1.260 C>S . seq=406 ack=8 len=100
        1.270 S>C . seq=8 ack=106 sack=406:506,206:506
        """)
    assert row(played, 14)["cause"].startswith("spurious")


def test_a_dsack_of_something_else_shows_nothing():
    played = play(f"""{talked()}{WINDOW}
        1.260 C>S . seq=6 ack=8 len=100
        1.265 S>C . seq=8 ack=506
        1.280 S>C . seq=8 ack=506 sack=106:206
        """)
    assert why(played)[13] == "rto"


@pytest.mark.parametrize(("echo", "cause"), [(500, "spurious-rto"), (750, "rto")])
def test_the_echo_of_the_first_sending(echo, cause):
    """RFC 3522: the acknowledgement that takes the head echoes the segment that brought it."""
    played = play(f"""{NO_SACK}
        1.000 C>S P. seq=6 ack=8 len=10 ts=500/1
        1.250 C>S P. seq=6 ack=8 len=10 ts=750/1
        1.260 S>C .  seq=8 ack=16 ts=9/{echo}
        """)
    assert why(played) == {9: cause}


def test_what_was_acknowledged_before_the_capture_saw_it_again():
    played = play(f"""{NO_SACK}
        1.000 C>S P. seq=6 ack=8 len=10
        1.010 S>C .  seq=8 ack=16
        1.250 C>S P. seq=6 ack=8 len=10
        """)
    found = row(played, 10)
    assert (found["cause"], found["evidence_frame"]) == ("spurious-rto", 9)


# -------------------------------------------------------------------------------------------------- late, or again


@pytest.mark.parametrize(
    ("stamp", "kind", "cause"), [(99, "out-of-order", "reordered"), (300, "retransmission", "unknown")]
)
def test_timestamps_tell_late_from_again(stamp, kind, cause):
    """Half a second is no reordering by any clock, and 1 ms no retransmission: but the sender says when it sent."""
    wait = 1.5 if kind == "out-of-order" else 1.002
    played = play(f"""{talked()}
        1.000 C>S . seq=6   ack=8 len=100 ts=98/1
        1.001 C>S . seq=206 ack=8 len=100 ts=100/1
        {wait} C>S . seq=106 ack=8 len=100 ts={stamp}/1
        """)
    found = row(played, 10)
    assert (found["kind"], found["cause"]) == (kind, cause)
    if kind == "out-of-order":
        assert (found["related_frame"], found["evidence"]) == (9, EVIDENCE_WORDS[Evidence.OLDER_TIMESTAMP])
        assert played.flow()["client_retransmitted"] == 0
        assert played.flow()["client_bytes"] == 5 + 300


def test_behind_a_stream_what_fills_a_hole_is_sent_again():
    """Wireshark looks at the segment just before it, and calls it out of order; the hole is a round trip old."""
    stream = "".join(f"1.{2 + 2 * i:03} C>S . seq={206 + 100 * i} ack=8 len=100\n" for i in range(20))
    acks = "".join(f"1.{3 + 2 * i:03} S>C . seq=8 ack=106 sack=206:{306 + 100 * i}\n" for i in range(20))
    both = "\n".join(sorted((stream + acks).splitlines()))
    played = play(f"""{talked()}
        1.000 C>S . seq=6 ack=8 len=100
        {both}
        1.042 C>S . seq=106 ack=8 len=100
        """)
    found = row(played, 49)
    assert (found["kind"], found["cause"]) == ("retransmission", "fast")
    assert played.flow()["client_retransmitted"] == 1


def test_nothing_told_the_sender():
    """An ACK came, but no sign of a loss: nobody sends again for that, after 30 ms."""
    played = play(f"""{talked()}
        1.000 C>S . seq=6   ack=8 len=100
        1.001 C>S . seq=206 ack=8 len=100
        1.015 S>C . seq=8 ack=106
        1.031 C>S . seq=106 ack=8 len=100
        """)
    found = row(played, 11)
    assert (found["kind"], found["cause"], found["evidence"]) == (
        "out-of-order",
        "reordered",
        EVIDENCE_WORDS[Evidence.NOTHING_TOLD],
    )


# ------------------------------------------------------------------------------------------------- probes and others


def test_a_window_probe_without_an_octet():
    """Linux's: at SND.UNA - 1, as its keep-alive."""
    played = play(f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=10
        1.010 S>C .  seq=8 ack=16 win=0
        1.250 C>S .  seq=15 ack=8
        """)
    found = row(played, 10)
    assert (found["kind"], found["cause"], found["evidence_frame"]) == ("window-probe", "window-probe", 9)


def test_a_window_probe_of_an_octet_again_and_again():
    """Its octet is new data once, and not sent again by its repetition."""
    played = play(f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=10
        1.010 S>C .  seq=8 ack=16 win=0
        1.250 C>S .  seq=16 ack=8 len=1
        1.260 S>C .  seq=8 ack=16 win=0
        1.750 C>S .  seq=16 ack=8 len=1
        """)
    assert why(played) == {10: "window-probe", 12: "window-probe"}
    assert played.flow()["client_retransmitted"] == 0


def test_the_octet_of_a_window_probe_goes_again_when_the_window_opens():
    """The probe was not taken, so the text begins with its octet: nothing was lost, and no timer ran out."""
    played = play(f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=10
        1.010 S>C .  seq=8 ack=16 win=0
        1.250 C>S .  seq=16 ack=8 len=1
        1.260 S>C .  seq=8 ack=16 win=0
        1.900 S>C .  seq=8 ack=16 win=500
        1.920 C>S .  seq=16 ack=8 len=100
        """)
    assert why(played) == {10: "window-probe", 13: "answer"}
    assert row(played, 13)["evidence_frame"] == 12


def test_data_that_rode_in_a_syn_and_was_not_taken():
    """RFC 7413 section 3: it goes again as ordinary data."""
    played = play("""
        0.000 C>S S  seq=0 len=10 tfo mss=1460
        0.010 S>C S. seq=0 ack=1 mss=1460
        0.020 C>S P. seq=1 ack=1 len=10
        """)
    assert why(played) == {3: "answer"}


def test_a_packet_too_big():
    played = play(f"""{talked()}
        1.000 C>S P. seq=6 ack=8 len=1400
        1.001 S>C icmp=3/4 seq=6 by=router mtu=1300
        1.002 C>S .  seq=6 ack=8 len=1260
        """)
    assert why(played) == {10: "path-mtu"}
    assert row(played, 10)["evidence_frame"] == 9


# ------------------------------------------------------------------------------------------- what is not to be known


def test_the_first_sending_is_before_the_capture():
    played = play(
        """
        1.000 C>S . seq=1006 ack=8 len=100
        1.010 S>C . seq=8 ack=906
        1.200 C>S . seq=906 ack=8 len=100
        """,
        numbers=False,
    )
    found = row(played, 3)
    assert (found["kind"], found["cause"]) == ("retransmission", "rto")
    assert found["related_frame"] is None


def test_one_direction_only():
    """Without the other one nobody knows what the sender was told; a second is a time-out to anybody."""
    for later, cause in ((2.1, "rto"), (1.25, "unknown")):
        played = play(f"1.0 C>S . seq=6 ack=8 len=100\n{later} C>S . seq=6 ack=8 len=100", numbers=False)
        assert why(played) == {2: cause}


def test_every_cause_and_evidence_is_in_the_catalogue():
    assert set(CATALOGUE) == set(Cause) - {Cause.NONE}
    assert set(EVIDENCE_WORDS) == set(Evidence)
    assert len({entry.name for entry in CATALOGUE.values()}) == len(CATALOGUE)
    assert {CATALOGUE[cause].name for cause in NEEDLESS.values()} == {
        entry.name for entry in CATALOGUE.values() if entry.name.startswith("spurious")
    }


def test_the_screen_says_the_causes():
    played = play(f"""{NO_SACK}
        1.000 C>S P. seq=6 ack=8 len=10
        1.230 C>S P. seq=6 ack=8 len=10
        1.690 C>S P. seq=6 ack=8 len=10
        """)
    assert "2 rto: data that was sent before" in played.analysis.summary()
    assert isinstance(played.analysis, analyzer.Analysis)
