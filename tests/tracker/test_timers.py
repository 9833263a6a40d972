"""States that no packet ends: RFC 9293, sections 3.4.2, 3.8.3 and 3.10.8; the durations are Linux's."""

from __future__ import annotations

import pandas as pd
import pytest

from analyzer import Settings
from tests.segments import START_NS
from tests.tracker.exchange import Played, play
from tests.tracker.starts import (
    close_wait,
    closed,
    fin_wait_1,
    fin_wait_2,
    last_ack,
    synack_sent,
    talked,
    time_wait,
)


def ended(played: Played, endpoint: str = "client") -> tuple[float, str, str]:
    """When a timer ended the endpoint's state, by which event, on what evidence; the row has no frame."""
    rows = played.analysis.transitions
    (row,) = rows[rows["frame"].isna() & (rows["endpoint"] == endpoint)].itertuples()
    return (row.time.value - START_NS) / 1e9, row.event, row.evidence


def test_time_wait_ends_after_two_segment_lifetimes():
    """It entered with the server's FIN at 2.0 s; a datagram of others moves the clock."""
    played = play(
        f"""{time_wait()}
        61.9  timer                        | TIME_WAIT CLOSED
        62.1  timer                        | CLOSED CLOSED
        """
    ).ends(client_state="CLOSED", close="orderly")
    assert played.flow()["client_path"].endswith(">TIME_WAIT>CLOSED")
    assert ended(played) == (62.0, "TIMEOUT_2MSL", "assumed")


def test_another_connections_segment_moves_the_clock():
    played = play(
        f"""{time_wait()}
        70.0  C>S S  seq=0 port=40001      | #1 SYN_SENT LISTEN~ open 1/3
        """
    ).ends(client_state="CLOSED")
    assert ended(played)[0] == 62.0


def test_the_capture_ends_before_the_timer():
    played = play(time_wait()).ends(client_state="TIME_WAIT")
    assert played.analysis.transitions["frame"].notna().all()


def test_time_wait_of_the_server():
    assert ended(play(f"{closed()}\n 100.0 timer | CLOSED CLOSED"), "server") == (62.0, "TIMEOUT_2MSL", "assumed")


def test_the_fin_again_starts_time_wait_anew():
    """3.10.7.4: acknowledge it, restart the timer."""
    played = play(
        f"""{time_wait()}
        30.00 S>C F. seq=8 ack=7           | TIME_WAIT LAST_ACK (close 3/4) ! fin-ack-lost, fin-retransmitted
        30.01 C>S .  seq=7 ack=9           | TIME_WAIT CLOSED~ (close 4/4)
        89.9  timer                        | TIME_WAIT CLOSED
        90.1  timer                        | CLOSED CLOSED
        """
    )
    assert ended(played)[0] == pytest.approx(90.0, abs=0.011)


def test_an_orphan_in_fin_wait_2():
    """tcp_fin_timeout, from the acknowledgement of its FIN at 1.01 s on."""
    played = play(
        f"""{fin_wait_2()}
        61.00 timer                        | FIN_WAIT_2 CLOSE_WAIT
        61.02 timer                        | CLOSED CLOSE_WAIT
        """
    ).ends(client_state="CLOSED", server_state="CLOSE_WAIT", closed_by="client")
    assert ended(played) == (61.01, "GIVE_UP", "assumed")


def test_fin_wait_2_was_no_orphan():
    """A program still held it: it acknowledges data after its time was over, and the timer's row is refuted."""
    played = play(
        f"""{fin_wait_2()}
        100.0 S>C P. seq=8 ack=7 len=5     | CLOSED~ CLOSE_WAIT
        100.1 C>S .  seq=7 ack=13          | FIN_WAIT_2? CLOSE_WAIT
        """
    ).ends(client_state="FIN_WAIT_2", close="half-closed")
    assert ended(played) == (61.01, "GIVE_UP", "refuted")


def test_close_wait_has_no_timer():
    """A program that does not close: the socket stays for ever."""
    play(f"{close_wait()}\n 3600.0 timer | CLOSE_WAIT CLOSED").ends(client_state="CLOSE_WAIT")


REPEATED = """
    1.0   C>S P. seq=6 ack=8 len=5     | ESTABLISHED ESTABLISHED
    1.2   C>S P. seq=6 ack=8 len=5     | ESTABLISHED ESTABLISHED ! retransmission
    1.6   C>S P. seq=6 ack=8 len=5     | ESTABLISHED ESTABLISHED ! retransmission
"""


def test_an_end_that_repeats_its_text_gives_up():
    """3.8.3: R2 (``tcp_retries2``). When nothing was repeated for the longest time-out, it had ended."""
    played = play(
        f"""{talked()}{REPEATED}
        121.5 timer                        | ESTABLISHED ESTABLISHED
        121.7 timer                        | CLOSED ESTABLISHED
        """
    ).ends(client_state="CLOSED", server_state="ESTABLISHED", close="timed out", handshake="complete")
    assert ended(played) == (pytest.approx(121.6), "GIVE_UP", "assumed")


def test_an_end_that_repeats_its_text_in_close_wait_gives_up():
    played = play(
        f"""{close_wait()}
        2.0   C>S P. seq=6 ack=9 len=5     | CLOSE_WAIT FIN_WAIT_2~
        2.2   C>S P. seq=6 ack=9 len=5     | CLOSE_WAIT FIN_WAIT_2~ ! retransmission
        130.0 timer                        | CLOSED ?
        """
    ).ends(client_state="CLOSED", close="timed out")
    assert ended(played) == (pytest.approx(122.2), "GIVE_UP", "assumed")


@pytest.mark.parametrize(
    "then", ["2.0 S>C . seq=8 ack=11", "100.0 C>S P. seq=6 ack=8 len=5"], ids=["acknowledged", "goes on"]
)
def test_an_end_that_may_go_on_has_not_given_up(then):
    assert play(f"{talked()}{REPEATED}\n{then}\n 200.0 timer | ESTABLISHED ESTABLISHED").flow()["close"] == "still open"


def test_what_was_sent_once_may_have_been_acknowledged_unseen():
    play(f"{talked()}\n 1.0 C>S P. seq=6 ack=8 len=5\n 500.0 timer | ESTABLISHED ESTABLISHED")


def test_established_has_no_timer():
    play(f"{talked()}\n 86400.0 timer | ESTABLISHED ESTABLISHED").ends(close="still open")


def test_a_request_is_dropped_when_its_synacks_end():
    """tcp_synack_retries 5: 63 s after the first SYN-ACK."""
    repeats = "".join(
        f"{second}.01 S>C S. seq=0 ack=1 mss=1460 | ESTABLISHED~ SYN_RCVD (open 2/3) ! synack-retransmitted\n"
        for second in (1, 3, 7, 15, 31)
    )
    played = play(
        f"""{synack_sent()}
        {repeats}
        63.0  timer                        | ESTABLISHED SYN_RCVD
        63.1  timer                        | ESTABLISHED CLOSED
        """
    ).ends(server_path="LISTEN>SYN_RCVD>CLOSED", handshake="syn-ack only", close="timed out", synack_attempts=6)
    assert ended(played, "server") == (63.01, "GIVE_UP", "assumed")


@pytest.mark.parametrize(
    ("start", "state"), [(fin_wait_1, "FIN_WAIT_1"), (last_ack, "LAST_ACK")], ids=["FIN_WAIT_1", "LAST_ACK"]
)
def test_a_fin_that_nobody_acknowledges(start, state):
    """tcp_orphan_retries: the program is gone, the FIN's retransmissions end."""
    began = {"FIN_WAIT_1": 1.0, "LAST_ACK": 2.0}[state]
    played = play(
        f"""{start()}
        {began + 102.1} timer              | {state} ?
        {began + 102.3} timer              | CLOSED ?
        """
    ).ends(client_state="CLOSED", close="timed out")
    assert ended(played) == (pytest.approx(began + 102.2), "GIVE_UP", "assumed")


def test_durations_are_settings():
    settings = Settings(time_wait_s=1.0)
    played = play(f"{time_wait()}\n 3.1 timer | CLOSED CLOSED", settings=settings)
    assert ended(played)[0] == 3.0
    settings = Settings(fin_wait_2_s=5.0)
    assert ended(play(f"{fin_wait_2()}\n 7.0 timer | CLOSED CLOSE_WAIT", settings=settings))[0] == 6.01


def test_timers_rows_stand_in_order_of_time():
    rows = play(
        f"""{time_wait()}
        70.0  C>S S  seq=0 port=40001      | #1 SYN_SENT LISTEN~ open 1/3
        """
    ).analysis.transitions
    assert rows["time"].is_monotonic_increasing
    assert list(rows["frame"].isna()).index(True) == len(rows) - 3  # before the two rows of the SYN


def test_state_counts_follow_the_timers():
    """``netstat -nat`` at any moment of the capture, both ends counted."""
    counts = play(
        f"""{time_wait()}
        70.0  C>S S  seq=0 port=40001      | #1 SYN_SENT LISTEN~ open 1/3
        """
    ).analysis.state_counts("1s")
    start = pd.Timestamp(START_NS, unit="ns", tz="UTC")

    def at(second: int) -> dict[str, int]:
        row = counts.loc[start + pd.Timedelta(seconds=second)]
        return {state: int(count) for state, count in row.items() if count}

    assert at(1) == {"LISTEN": 1, "FIN_WAIT_1": 1, "CLOSE_WAIT": 1}
    assert at(2) == {"LISTEN": 1, "TIME_WAIT": 1, "LAST_ACK": 1}
    assert at(3) == {"LISTEN": 1, "TIME_WAIT": 1}
    assert at(61) == {"LISTEN": 1, "TIME_WAIT": 1}
    assert at(63) == {"LISTEN": 1}
    assert at(70) == {"LISTEN": 1, "SYN_SENT": 1}
