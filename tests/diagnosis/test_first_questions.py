"""The first questions, asked of frames made by hand whose answers can be counted on fingers."""

from __future__ import annotations

import pandas as pd
import pytest

from analyzer.capture.records import Damage
from analyzer.diagnosis.first_questions import answer, socket_name
from analyzer.frames import schema
from tests.frames import made


def ask(flows=(), transitions=(), anomalies=(), local=(), **capture):
    return answer(
        made.frame("flows", list(flows)),
        made.frame("transitions", list(transitions)),
        made.frame("anomalies", list(anomalies)),
        made.capture(**capture),
        local,
    )


def test_an_icmp_error_that_was_joined_is_not_skipped():
    found = ask(skipped={"ICMP error quoting a TCP segment": 1, "not TCP": 3})
    assert [remark.text for remark in found.remarks] == [
        "3 records skipped: not TCP",
        "1 ICMP error joined to its connection: icmp-error",
    ]
    stray = ask(skipped={"ICMP error quoting a segment of a connection that is not here": 2})
    assert [remark.text for remark in stray.remarks] == [
        "2 records skipped: ICMP error quoting a segment of a connection that is not here"
    ]


def test_how_many_and_how_they_opened_and_ended():
    found = ask([made.flow(), made.flow(handshake="simultaneous"), made.flow(handshake="refused", close="reset")])
    assert (found.connections, found.completed) == (3, 2)
    assert found.handshakes == {"complete": 1, "refused": 1, "simultaneous": 1}
    assert list(found.handshakes) == ["complete", "refused", "simultaneous"]
    assert found.closes == {"orderly": 2, "reset": 1}
    assert found.closed_by == {"client": 3}
    assert (found.segments, found.payload_bytes, found.duration_s) == (27, 6300, 60.0)


def test_who_is_left_in_which_state_and_for_how_long():
    flows = [
        made.flow(client_state="FIN_WAIT_2", server_state="CLOSE_WAIT"),
        made.flow(client_state="FIN_WAIT_2", server_state="CLOSE_WAIT"),
        made.flow(client_state="CLOSED", server_state="CLOSED"),
        made.flow(client_state="TIME_WAIT", server_port=81),
    ]
    transitions = [
        made.transition(30, "ESTABLISHED", "CLOSE_WAIT", flow=0, end="server"),
        made.transition(20, "ESTABLISHED", "CLOSE_WAIT", flow=1, end="server"),
        made.transition(50, "CLOSE_WAIT", "LAST_ACK", flow=1, end="server", evidence="refuted"),
        made.transition(45, "FIN_WAIT_2", "TIME_WAIT", flow=3),
    ]
    waiting = ask(flows, transitions).waiting
    assert [(w.state, w.endpoint, w.service, w.count, w.longest_s, w.flow, w.at_least) for w in waiting] == [
        ("FIN_WAIT_2", "client", "10.0.0.2:80", 2, 60.0, 0, True),  # no change recorded: since its first segment
        ("CLOSE_WAIT", "server", "10.0.0.2:80", 2, 40.0, 1, False),
        ("TIME_WAIT", "client", "10.0.0.2:81", 1, 15.0, 3, False),
    ]


def test_who_was_in_a_state_before_the_capture_was_in_it_at_least_so_long():
    flows = [made.flow(client_state="ESTABLISHED"), made.flow(client_state="ESTABLISHED", server_port=81)]
    transitions = [
        made.transition(10, "UNKNOWN", "ESTABLISHED", flow=0),
        made.transition(20, "UNKNOWN", "SYN_RCVD", flow=1),
        made.transition(20, "SYN_RCVD", "ESTABLISHED", flow=1),
    ]
    found = ask(flows, transitions)
    assert [(w.longest_s, w.at_least) for w in found.waiting] == [(50.0, True), (40.0, False)]


def test_of_a_capture_that_tells_the_local_addresses_only_local_ends_wait():
    flows = [made.flow(client_state="FIN_WAIT_2", server_state="CLOSE_WAIT")]
    assert [w.state for w in ask(flows, local=("10.0.0.2",)).waiting] == ["CLOSE_WAIT"]


def test_a_part_of_an_analysis_keeps_its_numbers():
    flows = made.frame("flows", [made.flow(client_state="ESTABLISHED")], [7])
    transitions = made.frame("transitions", [made.transition(10, "SYN_SENT", "ESTABLISHED", flow=7)])
    waiting = answer(flows, transitions, schema.empty("anomalies"), made.capture()).waiting
    assert [(w.flow, w.longest_s) for w in waiting] == [(7, 50.0)]


def test_what_went_wrong_worst_first_with_an_example():
    anomalies = [
        {"frame": 4, "flow": 0, "kind": "syn-retransmitted", "severity": "warning"},
        {"frame": 5, "flow": 0, "kind": "syn-retransmitted", "severity": "warning"},
        {"frame": 9, "flow": 1, "kind": "refused", "severity": "error"},
        {"frame": 10, "flow": 1, "kind": "duplicate-ack", "severity": "note"},
    ]
    flows = [made.flow(n_syn_retransmitted=2), made.flow(n_refused=1, n_duplicate_ack=1)]
    troubles = ask(flows, anomalies=anomalies).troubles
    assert [(t.kind, t.count, t.flows, t.frame, t.flow) for t in troubles] == [
        ("refused", 1, 1, 9, 1),
        ("syn-retransmitted", 2, 1, 4, 0),
        ("duplicate-ack", 1, 1, 10, 1),
    ]
    assert all(t.meaning for t in troubles)


def test_what_is_about_the_capture_is_said_there_and_not_blamed_on_the_network():
    anomalies = [
        {"frame": 4, "flow": 0, "kind": "midstream", "severity": "note"},
        {"frame": 5, "flow": 0, "kind": "ack-of-unseen", "severity": "warning"},
        {"frame": 6, "flow": 0, "kind": "one-direction", "severity": "note"},
    ]
    found = ask(
        [made.flow(n_midstream=1, n_one_direction=1)],
        anomalies=anomalies,
        damage=(Damage("a.pcap", 1234, "the file ends in the middle of a record"),),
        kernel_drops=17,
        truncated=2,
        copies=1,
        skipped={"ARP": 3},
        lost_bytes=5000,
        lost_segments=4,
        filtered=("only TCP port 80",),
        checksums_left=12,
        ip_checksums_wrong=1,
        super_segments=7,
        swapped=2,
    )
    assert found.troubles == ()
    said = "\n".join(f"{remark.severity}: {remark.text}" for remark in found.remarks)
    for phrase in (
        "error: a.pcap, byte 1,234: the file ends",
        "error: the kernel dropped 17 packets",
        "warning: 5,000 bytes acknowledged that the capture never saw: it lost at least 4 packets (first at frame 5)",
        "note: looks filtered: only TCP port 80",
        "note: 12 packets without a finished checksum: left to the network card",
        "note: 1 IP header with a wrong checksum",
        "note: 7 packets larger than the MSS",
        "note: 2 packets captured behind the acknowledgement",
        "1 of 1 connection began before the capture",
        "1 of 1 connection captured in one direction only",
        "2 packets cut by the snap length",
        "1 packet seen again",
        "3 records skipped: ARP",
    ):
        assert phrase in said


def test_nothing_at_all():
    found = ask(first=None, last=None)
    assert (found.connections, found.waiting, found.troubles, found.remarks) == (0, (), (), ())


def test_an_anomaly_without_a_frame():
    found = ask([made.flow()], anomalies=[{"kind": "syn-unanswered", "severity": "error"}])
    assert (found.troubles[0].frame, found.troubles[0].flow) == (None, None)


@pytest.mark.parametrize(("address", "name"), [("10.0.0.1", "10.0.0.1:80"), ("fe80::1", "[fe80::1]:80")])
def test_socket_name(address, name):
    assert socket_name(address, 80) == name


def test_many_connections_are_counted_not_looped_over():
    flows = made.frame("flows", [made.flow(client_state="SYN_SENT", server_state="UNKNOWN")])
    flows = pd.concat([flows] * 20_000, ignore_index=True).rename_axis("flow")
    schema.check("flows", flows)
    found = answer(flows, schema.empty("transitions"), schema.empty("anomalies"), made.capture())
    assert [(w.state, w.count) for w in found.waiting] == [("SYN_SENT", 20_000)]
