"""The tracker against the kernel, in trials by a wire that loses, delays, doubles and reorders: recorded now, and as committed.

Each trial is captured at the client, at the server, and on the wire between. Of each capture, each end's path of states must
be the kernel's, and each state's time within what such a capture can show (``Witnessed.bounds``). What it cannot show stands
in the trial's row, with the reason (``Trial.hidden``).

LISTEN is the listener, another socket: it is in neither path. CLOSED is in one where an end comes to it, and once between two
connections of the same ports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import analyzer
from analyzer.settings import Settings
from captures.recorder.trials import TRIALS, TRIALS_FOLDER, Trial
from tests import recordings
from tests.kernel import live
from tests.kernel.witnessed import CAPTURES, Witnessed
from tests.recordings import Endpoint, mirror
from tests.twins import differences

pytestmark = pytest.mark.kernels
COMMITTED = recordings.CAPTURES / TRIALS_FOLDER
TRIAL = {trial.name: trial for trial in TRIALS}
TIMERS = ("GIVE_UP", "TIMEOUT_2MSL")
each = pytest.mark.parametrize("name", TRIAL)


class Told(NamedTuple):
    """The analyzer says that an end came into a state."""

    name: str
    time_ns: int
    by_timer: bool = False


Paths = dict[Endpoint, list[Told]]


@pytest.fixture(scope="session")
def recorder(request, tmp_path_factory) -> Iterator[live.Recorder]:
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        folder = folder.parent  # which all workers have
    wanted = {
        item.callspec.params["name"]
        for item in request.session.items
        if "recorder" in getattr(item, "fixturenames", ())
    }
    recording = live.Recorder(folder / "kernel-trials", [name for name in TRIAL if name in wanted])
    yield recording
    recording.close()


@pytest.fixture(scope="session")
def may_record() -> None:
    reason = live.why_not()
    if reason:
        pytest.skip(reason)


# ------------------------------------------------------------------------------------------------------- comparison


def told(path: Path, trial: Trial) -> Paths:
    """The states that were not refuted, of each end."""
    analysis = analyzer.read(path, settings=Settings(**dict(trial.settings)))
    clients = {
        int(flow.Index): (str(flow.client), int(flow.client_port), str(flow.server), int(flow.server_port))
        for flow in analysis.flows.itertuples()
    }
    steps = []
    for row in analysis.transitions.itertuples():
        if row.evidence != "refuted" and row.new not in ("LISTEN", "UNKNOWN"):
            end = clients[int(row.flow)] if row.endpoint == "client" else mirror(clients[int(row.flow)])
            steps.append((row.time.value, int(row.flow), end, str(row.old), str(row.new), row.event in TIMERS))
    found: Paths = defaultdict(list)
    for time_ns, _, end, old, new, by_timer in sorted(steps, key=lambda step: step[:2]):
        before = found[end][-1].name if found[end] else "CLOSED"
        if old in ("CLOSED", "LISTEN", "UNKNOWN") and before != "CLOSED":
            found[end].append(Told("CLOSED", time_ns))
        if new != before:
            found[end].append(Told(new, time_ns, by_timer))
    return found


def compared(trial: Trial, witnessed: Witnessed, capture: str, ours: Paths) -> Iterator[str]:
    """Where an analysis and the kernel disagree, a line each."""
    for stranger in set(ours) - set(witnessed.ends.values()):
        yield f"{capture}.pcap: {stranger} took part in nothing"
    for end, endpoint in witnessed.ends.items():
        hidden = [one for one in trial.hidden if capture in one.captures.split() and end == one.end]
        kernel, path = witnessed.paths.get(endpoint, []), ours.get(endpoint, [])
        went, wanted = " ".join(state.name for state in path), " ".join(state.name for state in kernel)
        (wanted,) = [one.told for one in hidden if one.told is not None] or [wanted]
        if went != wanted:
            yield f"{capture}.pcap: {end} {went or 'nothing'} instead of {wanted or 'nothing'}"
            continue
        if any(one.told is not None for one in hidden):
            continue
        latest_ns, before_ns = 0, 0
        for state, said in zip(kernel, path, strict=True):
            earliest_ns, not_after_ns = witnessed.bounds(end, state, capture)
            latest_ns = max(latest_ns, not_after_ns)  # and not before the state before it
            if said.by_timer:  # a timer is never early; how late depends on the machine
                earliest_ns = before_ns + round(max(dict(trial.settings).values()) * 1e9)
            before_ns = earliest_ns
            if state.name in " ".join(one.untimed for one in hidden):
                latest_ns = max(latest_ns, said.time_ns)
            elif not earliest_ns <= said.time_ns <= latest_ns:
                off_ns = max(earliest_ns - said.time_ns, said.time_ns - latest_ns)
                yield f"{capture}.pcap: {end} {state.name} {off_ns / 1e6:.3f} ms out of bounds"


def held(trial: Trial, folder: Path) -> list[str]:
    witnessed = Witnessed(folder)
    return [
        line
        for capture in CAPTURES
        for line in compared(trial, witnessed, capture, told(folder / f"{capture}.pcap", trial))
    ]


@each
@pytest.mark.root
def test_states_are_the_kernels(name, may_record, recorder):
    assert held(TRIAL[name], recorder.trial(name)) == []


@each
def test_states_are_the_kernels_as_committed(name):
    assert held(TRIAL[name], COMMITTED / name) == []


@each
def test_the_twin_says_the_same(name):
    for capture in CAPTURES:
        assert differences(COMMITTED / name / f"{capture}.pcap") == []


# ------------------------------------------------------------------------------------------------------- the trials


def test_there_is_a_recording_of_each_trial_and_no_other():
    assert len(TRIAL) == len(TRIALS)
    assert {path.name for path in COMMITTED.iterdir()} == set(TRIAL)


@each
def test_the_readme_is_the_trials(name):
    assert (COMMITTED / name / "README").read_text(encoding="ascii") == TRIAL[name].readme


@each
def test_the_kernels_paths_are_those_that_the_trial_means(name):
    witnessed = Witnessed(COMMITTED / name)
    for side in ("client", "server"):
        ends = [endpoint for end, endpoint in sorted(witnessed.ends.items()) if end.startswith(side)]
        assert [" ".join(state.name for state in witnessed.paths.get(end, [])) for end in ends] == TRIAL[name].meant(
            side
        )


@each
def test_the_wire_did_something_to_what_the_trial_says(name):
    """Of each kind of segment that is lost, so many did not come; of each that is doubled, they came twice."""
    sent = Witnessed(COMMITTED / name).sent
    faults = TRIAL[name].faults
    lost = sum(fault.last - fault.first + 1 for fault in faults if not fault.later_s)
    doubled = sum(fault.last - fault.first + 1 for fault in faults if len(fault.later_s) == 2)
    assert sum(len(one.came_ns) > 1 for one in sent) == doubled
    if "wire cut" not in TRIAL[name].programs:
        assert sum(not one.came_ns for one in sent) == lost


def test_what_is_hidden_is_hidden():
    """A row that says that packets show another path than the kernel's says what it is, of an end and captures that exist."""
    for trial in TRIALS:
        for hidden in trial.hidden:
            side = hidden.end.removesuffix("2")
            path = trial.meant(side)[hidden.end.endswith("2")]
            assert set(hidden.captures.split()) <= set(CAPTURES)
            assert hidden.why
            assert (hidden.told is None) == bool(hidden.untimed)
            assert hidden.told != path
            assert set(hidden.untimed.split()) <= set(path.split())


# ---------------------------------------------------------------------------------------------- the comparison itself


@cache
def witnessed_and_mimicked(name: str) -> tuple[Witnessed, dict[str, Paths]]:
    """A perfect analyzer: the kernel's own states, or what is told instead."""
    witnessed = Witnessed(COMMITTED / name)
    mimicked: dict[str, Paths] = {}
    for capture in CAPTURES:
        mimicked[capture] = {}
        for end, endpoint in witnessed.ends.items():
            path = [Told(state.name, state.time_ns) for state in witnessed.paths.get(endpoint, [])]
            for hidden in TRIAL[name].hidden:
                if hidden.told is not None and capture in hidden.captures.split() and end == hidden.end:
                    path = [Told(state, 0) for state in hidden.told.split()]
            mimicked[capture][endpoint] = path
    return witnessed, mimicked


@each
def test_comparison_finds_every_single_fault(name):
    """What is right is accepted; a state missing, doubled, another, too late or too early, in any place, is not."""
    trial = TRIAL[name]
    witnessed, mimicked = witnessed_and_mimicked(name)
    for capture, right in mimicked.items():
        assert list(compared(trial, witnessed, capture, right)) == []
        for end, endpoint in witnessed.ends.items():
            hidden = [one for one in trial.hidden if capture in one.captures.split() and end == one.end]
            for at, state in enumerate(right[endpoint]):
                wrong = [[], [state, state], [state._replace(name="LISTEN")]]
                if not any(one.told is not None or state.name in one.untimed.split() for one in hidden):
                    wrong += [[state._replace(time_ns=state.time_ns + ns)] for ns in (-5 * 10**9, 5 * 10**9)]
                for others in wrong:
                    path = [*right[endpoint][:at], *others, *right[endpoint][at + 1 :]]
                    assert list(compared(trial, witnessed, capture, {**right, endpoint: path})), (capture, end, others)
