"""A line a segment: tcpdump's words, then both ends' states."""

from __future__ import annotations

import time

import pytest

from analyzer.views.lines import PacketLines, flow_text
from tests.frames import made


@pytest.fixture(autouse=True)
def zone(monkeypatch):
    """Lines print local time: here, one hour and a half east of UTC."""
    monkeypatch.setenv("TZ", "XYZ-1:30")
    time.tzset()
    from analyzer.views import lines

    lines._clock.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    lines._clock.cache_clear()


SYN = made.segment(
    0.000125, flags="S", seq=0, ack=None, length=0, client_state="SYN_SENT", server_state="LISTEN", server_proven=False,
    step="open 1/3",
)  # fmt: skip
DATA = made.segment(0.5, seq=1, ack=1, length=10)
ACK = made.segment(
    0.6, from_client=False, src="10.0.0.2", sport=80, dst="10.0.0.1", dport=40000, flags=".", seq=1, ack=11, length=0
)


def lines(rows, anomalies=(), **how):
    frame = made.frame("packets", rows, list(range(1, len(rows) + 1)))
    return list(PacketLines(**how).of(frame, made.frame("anomalies", list(anomalies))))


def test_the_words_are_tcpdumps_and_the_states_follow():
    syn, data, ack = lines([SYN, DATA, ACK], several_flows=False)
    words = "     1 13:30:00.000125 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 0, win 65535, length 0"
    assert syn.startswith(words)
    assert syn[len(words) :].split() == ["SYN_SENT", "LISTEN~", "open", "1/3"]
    assert "Flags [P.], seq 1:11, ack 1, win 65535, length 10" in data
    assert "10.0.0.2.80 > 10.0.0.1.40000: Flags [.], ack 11, win 65535, length 0" in ack
    assert data.split()[-2:] == ["ESTABLISHED", "ESTABLISHED"]


def test_states_stand_below_each_other():
    columns = {line.rindex("ESTABLISHED") for line in lines([DATA, ACK, DATA | {"seq": 10**12}])}
    assert len(columns) == 1


def test_a_repetition_stands_in_brackets():
    assert lines([SYN | {"step_repeat": True}])[0].endswith("(open 1/3)")


def test_anomalies_stand_at_their_frame():
    troubles = [
        {"frame": 2, "kind": "retransmission", "severity": "warning"},
        {"frame": 2, "kind": "zero-window", "severity": "warning"},
        {"frame": None, "kind": "clock-step", "severity": "warning"},
    ]
    first, second = lines([DATA, DATA], troubles)
    assert "!" not in first
    assert second.endswith("! retransmission, zero-window")


def test_the_connections_number_and_the_frames_can_be_left_out():
    assert lines([DATA | {"flow": 12}])[0].split()[:2] == ["1", "12"]
    assert lines([DATA], frame_numbers=False, several_flows=False)[0].startswith("13:30:00.5")


def test_colour_only_where_wished():
    assert "\x1b" not in lines([SYN])[0]
    assert "\x1b[36mSYN_SENT" in lines([SYN], color=True)[0]


def test_a_connection_as_text():
    frame = made.frame("packets", [SYN, DATA], [1, 2])
    row = made.frame("flows", [made.flow()]).loc[0]
    head, *rest = flow_text(0, row, frame).splitlines()
    assert head == "flow 0: 10.0.0.1:40000 > 10.0.0.2:80, handshake complete, close orderly, now TIME_WAIT / CLOSED"
    assert len(rest) == 2
