"""The analyzer's states against the kernel's own, on every recording of ``captures/``: the same path, at the same time.

The kernel's path is ``states.csv``: the tracepoint ``sock:inet_sock_set_state``. Some things it does not show, or shows
at another time; `kernel_steps` makes of it what really happened, and nothing else is forgiven:

* TIME_WAIT. A full socket that becomes a minisocket is written FIN_WAIT_2>CLOSED or CLOSING>CLOSED. What the minisocket
  was stands in ``sockets.csv``: TIME_WAIT (then the step led there), FIN_WAIT_2 (then there was no step: after close()
  the minisocket takes over on entering FIN_WAIT_2), or nothing (it answered data with an RST, and was CLOSED).
  After close() the row comes too early; the step's time is then that of the peer: of its FIN (LAST_ACK), or its CLOSED.
* SYN_RCVD. The request is no full socket: LISTEN>SYN_RCVD is written at the third segment, together with ESTABLISHED.
  The step really came between the client's SYN_SENT and that row. A request that dies leaves no row.
* LISTEN. The listener is another socket, which stays; its rows (remote port 0) are left out. The tracker presumes a
  listener at the first SYN: a step to LISTEN is asked for where a child of the listener follows and where the SYN was
  never answered, and not allowed elsewhere (a refused SYN refutes it).
* What happens after the last packet: a timer's doing that no packet shows (only in ``unanswered-syn``, which
  ``test_captures.py`` holds). And what happened before the first (``midstream``): that state is entered from UNKNOWN.

Times agree within 5 ms at the capturing host, and at the far one too except where the wire between them is slow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import pandas as pd
import pytest

import analyzer
from tests import recordings
from tests.recordings import FILTERED, NAMES, Change, Endpoint

TOLERANCE_NS = 5_000_000
SLOW_WIRE_NS = {
    "simultaneous-close": 20_000_000,
    "closed-in-syn-rcvd": 20_000_000,
}  # one way; the capture is the client's
# Ends of connections and steps that are compared: fewer would mean that something was left out.
COMPARED = {
    "close-wait": (6, 21),
    "closed-by-server": (2, 10),
    "closed-in-syn-rcvd": (2, 9),
    "deferred-accept": (2, 10),
    "half-close": (2, 10),
    "life-of-a-connection": (2, 10),
    "lost-by-the-capture": (2, 10),
    "many-connections": (114, 444),
    "midstream": (2, 8),
    "offload": (2, 10),
    "path-mtu": (4, 20),
    "refused": (3, 6),
    "rejected": (10, 20),
    "reset": (2, 6),
    "simultaneous-close": (2, 10),
    "syn-lost": (2, 10),
    "unanswered-syn": (1, 1),
    "unreachable": (10, 20),
    "unreachable-for-a-while": (2, 10),
    "wrong-checksum": (2, 10),
}
each = pytest.mark.parametrize("name", [name for name in NAMES if name not in FILTERED])


@dataclass(frozen=True)
class Step:
    """A state change and the time within which it came (kernel) or at which it is said to have come (analyzer)."""

    old: str
    new: str
    earliest_ns: int
    latest_ns: int

    def __str__(self) -> str:
        return f"{self.old}>{self.new}"


@cache
def kernel_steps(name: str) -> dict[Endpoint, list[Step]]:
    """What each end of each connection went through, as far as the capture reaches."""
    lives, left = recordings.lives(name), recordings.left(name)
    packets = recordings.segments(name)
    first_ns, last_ns = packets[0].time_ns, packets[-1].time_ns
    found = {}
    for endpoint, life in lives.items():
        peer = lives.get(recordings.mirror(endpoint), [])
        slack_ns = TOLERANCE_NS + (SLOW_WIRE_NS.get(name, 0) if life[0].host == "server" else 0)
        steps: list[Step] = []
        for change in life:
            step = _step(change, endpoint, peer, left, slack_ns)
            if step is None or change.time_ns > last_ns + TOLERANCE_NS:
                continue
            if change.time_ns < first_ns - TOLERANCE_NS:
                steps = [Step("UNKNOWN", step.new, first_ns - slack_ns, first_ns + slack_ns)]
            else:
                steps.append(step)
        found[endpoint] = steps
    return found


def _step(
    change: Change, endpoint: Endpoint, peer: list[Change], left: dict[Endpoint, str], slack_ns: int
) -> Step | None:
    """One row of the tracepoint as what it means; None where the minisocket only took the state over."""
    step = Step(change.old, change.new, change.time_ns - slack_ns, change.time_ns + slack_ns)
    if change.new == "SYN_RCVD":
        (asked_ns,) = (other.time_ns for other in peer if other.new == "SYN_SENT")
        return replace(step, earliest_ns=asked_ns - slack_ns)
    if change.new == "CLOSED" and change.old in ("FIN_WAIT_2", "CLOSING"):
        remains = left.get(endpoint, "CLOSED")
        if remains == change.old:
            return None
        assert remains in ("TIME_WAIT", "CLOSED")
        step = replace(step, new=remains)
        if change.old == "FIN_WAIT_2":
            cause = "LAST_ACK" if remains == "TIME_WAIT" else "CLOSED"
            (then_ns,) = (other.time_ns for other in peer if other.new == cause)
            step = replace(step, earliest_ns=then_ns - slack_ns, latest_ns=then_ns + slack_ns)
    return step


@cache
def read(name: str) -> analyzer.Analysis:
    return analyzer.read(str(recordings.capture(name)))


@cache
def analyzer_steps(name: str) -> dict[Endpoint, list[Step]]:
    """The transitions that were not refuted, by endpoint; every end of every flow has an entry, be it empty."""
    analysis = read(name)
    ends: dict[tuple[int, str], Endpoint] = {}
    for flow in analysis.flows.itertuples():
        client = (str(flow.client), int(flow.client_port), str(flow.server), int(flow.server_port))
        ends[int(flow.Index), "client"] = client
        ends[int(flow.Index), "server"] = recordings.mirror(client)
    assert len(set(ends.values())) == len(ends), "no four-tuple is used twice in these recordings"
    found: dict[Endpoint, list[Step]] = {endpoint: [] for endpoint in ends.values()}
    for row in analysis.transitions.itertuples():
        endpoint = ends[int(row.flow), str(row.endpoint)]
        assert (str(row.address), int(row.port)) == endpoint[:2]
        assert row.evidence in ("proven", "assumed", "refuted")
        if row.evidence != "refuted":
            time_ns = pd.Timestamp(row.time).as_unit("ns").value
            found[endpoint].append(Step(str(row.old), str(row.new), time_ns, time_ns))
    return found


def with_presumed_listener(kernel: dict[Endpoint, list[Step]]) -> dict[Endpoint, list[Step]]:
    """The same with the tracker's step to LISTEN, at the client's SYN, where it is due."""
    found = dict(kernel)
    for client, path in kernel.items():
        server = recordings.mirror(client)
        if str(path[0]) == "CLOSED>SYN_SENT" and (server in kernel or len(path) == 1):
            found[server] = [replace(path[0], old="UNKNOWN", new="LISTEN"), *kernel.get(server, [])]
    return found


def differences(kernel: dict[Endpoint, list[Step]], ours: dict[Endpoint, list[Step]]) -> list[str]:
    """Where the two disagree, a line each; none if they agree."""
    kernel = with_presumed_listener(kernel)
    found = [f"{endpoint}: not in the capture" for endpoint in kernel.keys() - ours.keys()]
    for endpoint, steps in ours.items():
        want = kernel.get(endpoint, [])
        path, wanted = " ".join(map(str, steps)), " ".join(map(str, want))
        if path != wanted:
            found.append(f"{endpoint}: {path or 'nothing'} instead of {wanted or 'nothing'}")
            continue
        for step, bounds in zip(steps, want, strict=True):
            if not bounds.earliest_ns <= step.earliest_ns <= bounds.latest_ns:
                off_ns = max(bounds.earliest_ns - step.earliest_ns, step.earliest_ns - bounds.latest_ns)
                found.append(f"{endpoint}: {step} {off_ns / 1e6:.3f} ms out of bounds")
    return found


@each
def test_every_end_is_compared(name):
    steps = kernel_steps(name)
    assert (len(steps), sum(len(path) for path in steps.values())) == COMPARED[name]


@each
@pytest.mark.kernels
def test_transitions_are_the_kernels(name):
    assert differences(kernel_steps(name), analyzer_steps(name)) == []


@each
@pytest.mark.kernels
def test_only_connections_of_the_capture_are_reported(name):
    senders = {segment.sender for segment in recordings.segments(name)}
    assert set(analyzer_steps(name)) == senders | {recordings.mirror(sender) for sender in senders}


@each
@pytest.mark.kernels
def test_roles_are_the_kernels(name):
    lives = recordings.lives(name)
    clients = {endpoint for endpoint, life in lives.items() if life[0].old == "CLOSED"}
    flows = read(name).flows
    assert {
        (str(f.client), int(f.client_port), str(f.server), int(f.server_port)) for f in flows.itertuples()
    } == clients


@each
@pytest.mark.kernels
def test_last_states_are_the_kernels(name):
    """``flows.client_state`` and ``server_state`` at the end of the capture: what ``netstat -nat`` would have shown."""
    last = {endpoint: path[-1].new for endpoint, path in kernel_steps(name).items()}
    for flow in read(name).flows.itertuples():
        client = (str(flow.client), int(flow.client_port), str(flow.server), int(flow.server_port))
        assert flow.client_state == last[client]
        server = recordings.mirror(client)
        if server in last:
            assert flow.server_state == last[server]
        else:
            assert flow.server_state in WITHOUT_A_SOCKET[name]


# The server's end where it has no socket of its own: it says itself that nobody listens (as iptables may say in its name),
# something on the way says that it cannot be reached, or nobody says anything.
WITHOUT_A_SOCKET = {
    "many-connections": {"CLOSED"},
    "refused": {"CLOSED"},
    "rejected": {"CLOSED", "UNKNOWN"},
    "unanswered-syn": {"LISTEN"},
    "unreachable": {"UNKNOWN"},
}


def _mimic(name: str) -> dict[Endpoint, list[Step]]:
    """A perfect analyzer: the kernel's own steps, each in the middle of its time."""
    found: dict[Endpoint, list[Step]] = {}
    for endpoint, path in with_presumed_listener(kernel_steps(name)).items():
        times_ns = [(step.earliest_ns + step.latest_ns) // 2 for step in path]
        found[endpoint] = [replace(s, earliest_ns=t, latest_ns=t) for s, t in zip(path, times_ns, strict=True)]
        found.setdefault(recordings.mirror(endpoint), [])
    return found


@each
def test_comparison_accepts_what_is_right(name):
    assert differences(kernel_steps(name), _mimic(name)) == []


@each
def test_comparison_finds_every_single_fault(name):
    """A step missing, doubled, to another state, too late or too early, in any place; an end missing: all are found."""
    right = _mimic(name)
    faults = 0
    for endpoint, path in right.items():
        for index, step in enumerate(path):
            late = replace(step, earliest_ns=step.earliest_ns + 2 * 10**9)
            early = replace(step, earliest_ns=step.earliest_ns - 2 * 10**9)
            other = replace(step, new="CLOSING" if step.new != "CLOSING" else "CLOSED")
            for others in ([], [step, step], [other], [late], [early]):
                broken = {**right, endpoint: [*path[:index], *others, *path[index + 1 :]]}
                assert differences(kernel_steps(name), broken), f"{step} as {others} went unnoticed"
                faults += 1
        if path:
            assert differences(kernel_steps(name), {end: steps for end, steps in right.items() if end != endpoint})
    assert faults >= 5 * COMPARED[name][1]
