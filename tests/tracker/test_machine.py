"""The replay has no transition of its own: each state and event is held against the literal, and each row is reached."""

from __future__ import annotations

import ast
import pathlib
import tempfile

import numba
import numpy as np
import pytest

from analyzer.flows.connection import END
from analyzer.tracker import log as logs
from analyzer.tracker import machine
from analyzer.tracker.marks import Evidence
from analyzer.tracker.states import TRANSITIONS, Event, State
from tests import twins
from tests.reference.connection import End
from tests.reference.machine import Log
from tests.segments import Rendering, parse
from tests.tracker import starts

TRACKER = pathlib.Path(machine.__file__).parent
ROWS = {(row.old, row.event): row for row in TRANSITIONS}
PAIRS = [(state, event) for state in State for event in Event if event is not Event.NONE]


# ------------------------------------------------------------------------------------------------- every pair, walked


@numba.njit
def moved(ends, event, evidence, log):
    return machine.move(ends[0], event, evidence, 7, 3, 0, log)


@numba.njit
def taken_back(ends, row, log):
    return machine.refute(ends[0], row, 4, log)


def an_end(state: State) -> np.ndarray:
    ends = np.zeros(1, END)
    ends["state"] = state
    for name in ("syn_row", "established_row", "fin_row", "fin_acked_row", "ended_row"):
        ends[name] = machine.NO_ROW
    return ends


@pytest.mark.kernels
@pytest.mark.parametrize("evidence", [Evidence.PROVEN, Evidence.ASSUMED])
def test_every_pair_moves_as_the_literal_says(evidence):
    """The compiled machine and its twin, from every state, by every event: to the row's state, or nowhere."""
    for state, event in PAIRS:
        row = ROWS.get((state, event))
        ends, log = an_end(state), logs.new_log()
        twin, twins_log = End(0, state), Log()
        at = moved(ends, event, evidence, log)
        change = twins_log.move(twin, event, evidence, 0, 7, 3)
        stays = row is None or row.left is row.new
        assert State(ends[0]["state"]) is twin.state is (state if row is None else row.new), (state, event)
        assert log.counts[0] == len(twins_log.changes) == (not stays), (state, event)
        assert (at == machine.NO_ROW) == (change is None) == stays
        if not stays:
            written = log.transitions[0]
            assert (State(written["old"]), Event(written["event"]), State(written["new"])) == (row.left, event, row.new)
            assert (change.old, change.event, change.new) == (row.left, event, row.new)
            assert bool(ends[0]["proven"]) == (evidence is Evidence.PROVEN)


@pytest.mark.kernels
def test_every_assumed_move_can_be_taken_back():
    """The end is again in the state that the row left; a proven one stays."""
    for state, event in PAIRS:
        for evidence in (Evidence.ASSUMED, Evidence.PROVEN):
            ends, log = an_end(state), logs.new_log()
            at = moved(ends, event, evidence, log)
            if at == machine.NO_ROW:
                continue
            ends["ended_row"] = at
            taken = taken_back(ends, at, log)
            assert taken == (evidence is Evidence.ASSUMED)
            assert State(ends[0]["state"]) is (ROWS[state, event].left if taken else ROWS[state, event].new)
            assert log.transitions[0]["evidence"] == (Evidence.REFUTED if taken else Evidence.PROVEN)


MOVES = {"machine.py": {"move", "refute"}, "replay.py": {"_new_flow"}}
"""The functions that may say which state an end is in: by a row of the literal, back, and UNKNOWN to begin with."""


@pytest.mark.parametrize("path", sorted(TRACKER.glob("*.py")), ids=lambda path: path.name)
def test_only_the_machine_sets_a_state(path):
    """Whatever has a ``state``, Zeek's ends apart: they have another machine."""
    if path.name.startswith("zeek"):
        return
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef) or function.name in MOVES.get(path.name, ()):
            continue
        for node in ast.walk(function):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            flat = [one for target in targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
            names = {one.attr for one in flat if isinstance(one, ast.Attribute)}
            assert "state" not in names, f"{path.name}:{node.lineno}: {function.name}"


# ------------------------------------------------------------------------------------------------- every row, reached

# What leads to each state, and the client's and the server's next numbers there.
STARTS = {
    ("client", State.SYN_SENT): (starts.syn_sent, 1, 0),
    ("server", State.SYN_RCVD): (starts.synack_sent, 1, 1),
    ("client", State.ESTABLISHED): (starts.talked, 6, 8),
    ("client", State.FIN_WAIT_1): (starts.fin_wait_1, 7, 8),
    ("client", State.FIN_WAIT_2): (starts.fin_wait_2, 7, 8),
    ("client", State.CLOSE_WAIT): (starts.close_wait, 6, 9),
    ("client", State.CLOSING): (starts.closing, 7, 9),
    ("client", State.LAST_ACK): (starts.last_ack, 7, 9),
    ("client", State.TIME_WAIT): (starts.time_wait, 7, 9),
}
ICMP = {State.SYN_SENT: "S>C icmp=3/1 seq=0", State.SYN_RCVD: "C>S icmp=3/1 seq=0 by=router"}
REPEATS = "\n+0.1 C>S P. seq={mine} ack={its} len=5\n+0.3 C>S P. seq={mine} ack={its} len=5"


def by_event(event: Event, end: str, state: State) -> str | None:
    """The lines that let an event happen to an end in such a state; None where they are among ``OTHERS``."""
    start, client, server = STARTS[end, state]
    mine, its = (client, server) if end == "client" else (server, client)
    me, you = ("C", "S") if end == "client" else ("S", "C")
    lines = {
        Event.SEND_RST: f"+0.5 {me}>{you} R. seq={mine} ack={its}",
        Event.RCV_RST: f"+0.5 {you}>{me} R. seq={its} ack={mine}",
        Event.RCV_ICMP_ERROR: f"+0.005 {ICMP.get(state)}",
        Event.GIVE_UP: (REPEATS.format(mine=mine, its=its) if state in (State.ESTABLISHED, State.CLOSE_WAIT) else "")
        + "\n+900 timer",
        # the client opens once more; the server is known to have lost the connection by its answer
        Event.NEW_INCARNATION: "+0.5 C'>S' S seq=0" + ("\n+0.01 S'>C' S. seq=0 ack=1" if end == "server" else ""),
    }
    return None if event not in lines else f"{start()}\n{lines[event]}"


OTHERS = [
    "0 C>S S seq=0\n+0.1 C>S R. seq=1\n+0.1 C>S S seq=0",  # an abort, and the same SYN again
    "0 S>C S. seq=0 ack=1\n+0.1 C>S . seq=1 ack=1",  # begins with the SYN-ACK
    "0 C>S S seq=0\n+0.1 S>C R. seq=0 ack=1\n+0.1 C>S S seq=0\n+0.1 S>C S. seq=0 ack=1",  # somebody listens at last
    "0 C>S S seq=0\n+0.1 S>C S seq=0\n+0.1 C>S S. seq=0 ack=1\n+0.1 S>C S. seq=0 ack=1",  # crossing SYNs
    "0 C>S S seq=0\n+0.1 C>S S. seq=0 ack=1",  # crossing SYNs, one of them not captured
    "0 C>S P. seq=1 ack=1 len=5",  # midstream
    "0 C>S S seq=0\n+0.1 S>C P. seq=1 ack=1 len=5",  # the SYN-ACK not captured
    "0 C>S R. seq=1 ack=1",
    f"{starts.synack_sent()}\n+0.1 S>C F. seq=1 ack=1",  # closed in SYN_RCVD
    f"{starts.closing()}\n+0.01 C>S . seq=7 ack=9\n+0.01 S>C . seq=9 ack=7\n+70 timer",
    starts.time_wait(),
    starts.closed(),
]


def exchanges() -> list[str]:
    found = [*OTHERS]
    for row in TRANSITIONS:
        for end, state in STARTS:
            if state is row.old and (lines := by_event(row.event, end, state)) is not None:
                found.append(lines)
    return found


def reached(text: str, monkeypatch: pytest.MonkeyPatch) -> set[tuple[State, Event]]:
    """The pairs by which the replay of an exchange moved an end; the twin tells, which agrees with the kernels bit for bit."""
    pairs = set()
    move = Log.move

    def watched(log, end, event, evidence, flow, time_ns, frame=None):
        pairs.add((end.state, event))
        return move(log, end, event, evidence, flow, time_ns, frame)

    with monkeypatch.context() as patched, tempfile.TemporaryDirectory() as folder:
        patched.setattr(Log, "move", watched)
        path = pathlib.Path(folder, "exchange.pcap")
        path.write_bytes(Rendering().capture(parse(text)))
        twins.replayed(twins.records_of(path)[0])
    return pairs


def test_every_row_is_reached(monkeypatch):
    """What nothing reaches would be no knowledge: a row that is not among these goes."""
    found = set()
    for text in exchanges():
        found |= reached(text, monkeypatch)
    assert [f"{row.old.name} {row.event.name}" for row in TRANSITIONS if (row.old, row.event) not in found] == []


@pytest.mark.kernels
def test_the_exchanges_that_reach_the_rows_say_the_same_to_the_twin():
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(exchanges()):
            path = pathlib.Path(folder, f"{number}.pcap")
            path.write_bytes(Rendering().capture(parse(text)))
            assert twins.differences(path) == [], text
