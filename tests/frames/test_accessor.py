"""df.tcp on the frames of the schema, and not on others."""

from __future__ import annotations

import pandas as pd
import pytest

import analyzer.frames.accessor  # noqa: F401  # registers df.tcp
from analyzer.frames import schema
from tests.frames import made


@pytest.fixture
def packets():
    rows = [
        made.segment(flow=0, step="open 1/3", client_state="SYN_SENT", server_state="LISTEN"),
        made.segment(flow=0),
        made.segment(flow=1, step="simultaneous open 1/3"),
        made.segment(flow=1, step="close 2+3/4", client_state="CLOSE_WAIT"),
        made.segment(flow=1, step="reset", client_state="CLOSED", server_state="CLOSED"),
    ]
    return made.frame("packets", rows, [1, 2, 3, 4, 5])


@pytest.fixture
def flows():
    rows = [made.flow(), made.flow(handshake="refused", close="reset"), made.flow(close="still open")]
    return made.frame("flows", rows)


def test_its_repr_says_what_can_be_asked(packets, flows):
    assert repr(packets.tcp) == (
        "df.tcp of `packets`, 5 segments of 2 connections. Ask it: flow(n), handshakes, closes, in_state(state), states"
    )
    assert repr(flows.head(1).tcp).startswith("df.tcp of `flows`, 1 connection. Ask it: flow(n), handshakes")
    assert repr(made.frame("anomalies", []).tcp) == (
        "df.tcp of `anomalies`, 0 anomalies of 0 connections. Ask it: flow(n)"
    )


def test_questions_to_packets(packets):
    assert list(packets.tcp.flow(1).index) == [3, 4, 5]
    assert list(packets.tcp.flow(0, 1).index) == [1, 2, 3, 4, 5]
    assert list(packets.tcp.handshakes.index) == [1, 3]
    assert list(packets.tcp.closes.index) == [4, 5]
    assert list(packets.tcp.in_state("listen", "CLOSE-WAIT").index) == [1, 4]
    assert packets.tcp.states.loc["SYN_SENT", "LISTEN"] == 1
    assert packets.tcp.states.to_numpy().sum() == 5


def test_questions_to_flows(flows):
    assert list(flows.tcp.handshakes.index) == [0, 2]
    assert list(flows.tcp.closes.index) == [0, 1]
    assert list(flows.tcp.flow(2).index) == [2]
    assert flows.tcp.states.loc["TIME_WAIT", "CLOSED"] == 3


def test_questions_to_the_others():
    transitions = made.frame("transitions", made.life(0))
    assert list(transitions.tcp.in_state("TIME_WAIT")["old"]) == ["FIN_WAIT_2"]
    anomalies = made.frame("anomalies", [{"flow": 4, "kind": "reset", "severity": "note"}, {"kind": "clock-step"}])
    assert len(anomalies.tcp.flow(4)) == 1
    with pytest.raises(AttributeError, match="for packets and flows, not for anomalies"):
        anomalies.tcp.states  # noqa: B018


def test_a_part_of_a_frame_will_do(packets):
    assert len(packets.query("flow == 1")[["flow", "step", "client_state", "server_state"]].tcp.handshakes) == 1


def test_not_a_state(packets):
    with pytest.raises(ValueError, match=r"not a TCP state: HALF_OPEN"):
        packets.tcp.in_state("half-open")


@pytest.mark.parametrize("frame", [pd.DataFrame({"a": [1]}), schema.empty("options"), schema.empty("state_counts")])
def test_other_frames_have_no_tcp(frame):
    with pytest.raises(AttributeError, match="needs a frame of"):
        frame.tcp  # noqa: B018
    assert not hasattr(frame, "tcp")
