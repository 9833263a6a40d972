"""The flows of a session as they are now say what its frames would say if it ended now."""

from __future__ import annotations

import socket
from pathlib import Path

import pandas as pd
import pytest

import analyzer
from analyzer.decode.text_source import open_source
from analyzer.frames import schema
from analyzer.frames.tracking import Tracking
from analyzer.frames.vocabulary import SEVERITIES, STATES
from analyzer.host.current_flows import FlowsNow
from analyzer.host.flow_view import flow_view
from tests.segments import Rendering, parse
from tests.test_session import needs_root, until
from tests.tracker.starts import talked

pytestmark = pytest.mark.kernels

CAPTURES = sorted((Path(__file__).parents[2] / "captures").glob("*/*.pcap"))
SAME = [
    "client_port",
    "server_port",
    "start",
    "end",
    "handshake",
    "closed_by",
    "irtt",
    "client_packets",
    "server_packets",
]
AFTER_S = 3600.0


def fed(path: Path | str) -> Tracking:
    """All of a capture, and no end of it."""
    source, tracking = open_source([str(path)]), Tracking()
    try:
        for records in source.batches():
            tracking.feed(records)
    finally:
        source.close()
    return tracking


def now(tracking: Tracking, after_s: float = 0.0) -> pd.DataFrame:
    shown = FlowsNow(tracking, tracking.last_ns + round(after_s * 1e9), lately_s=1e9)
    frame = shown.frame(schema.empty("live_sockets"))
    schema.check("current_flows", frame)
    return frame


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_they_say_what_the_end_says(path):
    found, analysis = now(fed(path)), analyzer.read(path)
    expected = analysis.flows
    assert found.index.tolist() == expected.index.tolist()
    for name in (*SAME, "client_state", "server_state"):
        pd.testing.assert_series_equal(
            found[name], expected[name], check_categorical=False, check_dtype=False, check_index_type=False
        )
    counted = analysis.anomalies.groupby("flow").size().reindex(expected.index, fill_value=0)
    assert found["anomalies"].tolist() == counted.tolist()


@needs_root
def test_a_connection_that_never_opened_is_not_complete():
    """A closed port refuses, a listener whose queue is full says nothing: only what did not happen tells it."""
    with socket.socket() as closed, socket.socket() as full, socket.create_server(("127.0.0.1", 0)) as good:
        closed.bind(("127.0.0.1", 0))
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        ports = {name: it.getsockname()[1] for name, it in (("closed", closed), ("full", full), ("good", good))}
        clients = [socket.socket() for _ in range(5)]
        filter_of = " or ".join(f"port {port}" for port in ports.values())
        with analyzer.live("lo", bpf=f"tcp and ({filter_of})") as session:
            session.ready.wait(120)
            for client, name in zip(clients, ("closed", "full", "full", "full", "good"), strict=True):
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", ports[name]))
            until(lambda: (session.analysis().flows["syn_attempts"] > 1).sum() == 2)
        found, analysis = session.flows(lately_s=3600), session.analysis()
        for client in clients:
            client.close()
    said = {
        name: found[found["server_port"] == port]["handshake"].astype("str").tolist() for name, port in ports.items()
    }
    assert said["closed"] == ["refused"]
    assert said["good"] == ["complete"]
    assert sorted(set(said["full"])) == ["complete", "syn only"]
    assert found["handshake"].tolist() == analysis.flows["handshake"].tolist()
    ignored = found[found["handshake"] == "syn only"]
    assert set(ignored["severity"]) <= set(SEVERITIES[1:])
    assert ignored["anomalies"].tolist() == [
        (analysis.anomalies["flow"] == number).sum() for number in ignored.index.tolist()
    ]


def test_an_end_that_repeats_to_nobody_has_given_up_as_at_the_end(tmp_path):
    """No timer of its own says so: what it sent last, and what the peer has acknowledged."""
    path = tmp_path / "given-up.pcap"
    path.write_bytes(
        Rendering().capture(
            parse(
                f"""{talked()}
                10.0 C>S P. seq=6 ack=8 len=5
                10.3 C>S P. seq=6 ack=8 len=5
                10.9 C>S P. seq=6 ack=8 len=5
                """
            )
        )
    )
    tracking = fed(path)
    for after_s, state in ((100.0, "ESTABLISHED"), (AFTER_S, "CLOSED")):
        assert now(tracking, after_s)["client_state"].tolist() == [state]
        view = flow_view(tracking, tracking.last_ns + round(after_s * 1e9))
        client = view.state[view.place == 0]
        assert [STATES[code] for code in client.tolist()] == [state]
        frames = tracking.snapshot()
        frames.end(tracking.last_ns + round(after_s * 1e9))
        assert STATES[int(frames.connections.ends["state"][0])] == state
