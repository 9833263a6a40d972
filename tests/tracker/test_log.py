"""No segment writes more rows than there is room for: more would be written behind the end of the arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from analyzer.capture.records import Records
from analyzer.frames.tracking import Tracking
from analyzer.tracker.log import ANOMALIES_PER_SEGMENT, TRANSITIONS_PER_SEGMENT
from analyzer.tracker.outcome import ANOMALIES_PER_FLOW
from tests import wire
from tests.exchanges import exchanges

pytestmark = pytest.mark.kernels

EXAMPLES = settings(deadline=None, max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))


def batch_of(records: list[wire.Record], link: int, first: int) -> Records:
    """Records as a source hands them on, numbered from first."""
    lengths = [len(record.data) for record in records]
    frame = np.arange(first, first + len(records))
    return Records(
        data=np.frombuffer(b"".join(record.data for record in records) or b"\0", np.uint8),
        offset=np.cumsum([0, *lengths[:-1]]),
        captured=np.array(lengths, np.int32),
        wire=np.array([record.wire for record in records], np.int64),
        time_ns=np.array([record.time_ns for record in records], np.int64),
        interface=np.zeros(len(records), np.int32),
        frame=frame,
        file=np.zeros(len(records), np.int32),
        file_frame=frame,
        process=np.full(len(records), -1, np.int32),
        links=np.array([link], np.int32),
    )


@EXAMPLES
@given(exchanges(most=12))
def test_a_segment_writes_no_more_rows_than_there_is_room_for(exchange):
    link, records = exchange
    tracking = Tracking()
    transitions = anomalies = icmp = 0
    for number, record in enumerate(records, 1):
        tracking.feed(batch_of([record], link, number))
        written = tracking.log.counts - (transitions, anomalies, icmp)
        assert written[0] <= TRANSITIONS_PER_SEGMENT
        assert written[1] <= ANOMALIES_PER_SEGMENT
        assert written[2] <= 1
        assert tracking.log.counts[0] <= len(tracking.log.transitions)
        assert tracking.log.counts[1] <= len(tracking.log.anomalies)
        assert tracking.log.counts[2] <= len(tracking.log.icmp)
        transitions, anomalies, icmp = tracking.log.counts.tolist()
    conclude_has_room(tracking)


def conclude_has_room(tracking: Tracking) -> None:
    transitions, anomalies, _ = tracking.log.counts.tolist()
    flows = int(tracking.connections.counts[0])
    tracking.conclude()
    assert transitions <= tracking.log.counts[0] <= min(len(tracking.log.transitions), transitions + 2 * flows)
    assert tracking.log.counts[1] <= min(len(tracking.log.anomalies), anomalies + ANOMALIES_PER_FLOW * flows)


@pytest.mark.parametrize("start_ns", [0, -(10**15), -(2**62), 2**63 - 10**12], ids=["1970", "1969", "1823", "2262"])
def test_the_end_of_a_flood_has_room_at_any_time(start_ns):
    """Every connection's timers run out at the end, also where times are before 1970 or the timer's end beyond 2262."""
    tracking = Tracking()
    syn = wire.tcp(1, 80, 0, 0, "S")
    for batch in range(3):
        records = []
        for host in range(500):
            data = wire.ipv4(f"10.{batch}.{host // 250}.{host % 250}", "10.9.9.9", syn)
            records.append(wire.record(start_ns, data))
        late = wire.record(min(start_ns + 10**12 - 1, 2**63 - 1), wire.ipv4("10.1.1.1", "10.2.2.2", b"", protocol=17))
        tracking.feed(batch_of([*records, late], 101, 1 + batch * 501))
    conclude_has_room(tracking)
