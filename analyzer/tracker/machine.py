"""Moving an end through the table, and what becomes of a move: proven, refuted.

``move`` is the only function that changes a state forwards, and it knows nothing but the table; ``refute`` takes one of its
moves back. A move that an end makes by being *sent* something is assumed; its row in the log stays within reach
(``END.*_row``) until ``prove`` or ``refute``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.kernel import part, seldom
from analyzer.tracker.marks import Evidence
from analyzer.tracker.states import LEFT_STATE, LISTEN, NEXT_STATE, STAY, UNKNOWN, Event

PROVEN, ASSUMED, REFUTED = int(Evidence.PROVEN), int(Evidence.ASSUMED), int(Evidence.REFUTED)
_SEND_RST = int(Event.SEND_RST)  # the last of the SEND_ events
NO_ROW = -1
_PATH_STEPS = 16


@seldom
def move(end: Any, event: int, evidence: int, time_ns: int, frame: int, flow: int, log: Any) -> int:
    """Let an event happen to an end; returns the row written, or NO_ROW if the table says that the end stays."""
    new = NEXT_STATE[end.state, event]
    if new == STAY:
        return NO_ROW
    left = LEFT_STATE[end.state, event]
    if left == new:  # no move, but it is known now
        end.state, end.proven = new, evidence == PROVEN
        return NO_ROW
    at = log.counts[0]
    log.counts[0] = at + 1
    row = log.transitions[at]
    row.time_ns = time_ns
    row.flow = flow
    row.frame = frame
    row.proven_by = frame if evidence == PROVEN else 0
    row.refuted_by = 0
    row.endpoint = end.endpoint
    row.old = left
    row.new = new
    row.event = event
    row.evidence = evidence
    if end.path_length == 0 and not (left == UNKNOWN and new == LISTEN):
        _lengthen(end, left)
    _lengthen(end, new)
    end.state = new
    end.proven = evidence == PROVEN
    end.deadline_ns = 0
    if evidence == PROVEN:
        # It was in the state that it left. Only that its FIN was acknowledged nothing can show.
        prove(end, end.syn_row, frame, log)
        prove(end, end.established_row, frame, log)
        prove(end, end.fin_row, frame, log)
        end.ended_row = NO_ROW
    if event <= _SEND_RST:  # what it does itself settles what was assumed of it before
        end.established_row = end.fin_row = end.fin_acked_row = end.ended_row = end.syn_row = NO_ROW
    return at


@part
def _lengthen(end: Any, state: int) -> None:
    if end.path_length < _PATH_STEPS:
        end.path = (end.path << np.uint64(4)) | np.uint64(state + 1)
    if end.path_length < 255:
        end.path_length += 1


@part
def _shorten(end: Any) -> None:
    if end.path_length <= _PATH_STEPS:
        end.path = end.path >> np.uint64(4)
    end.path_length -= 1


@part
def is_assumed(row: int, log: Any) -> bool:
    """Whether the row exists and is neither proven nor refuted."""
    return row != NO_ROW and log.transitions[row].evidence == ASSUMED


@seldom
def prove(end: Any, row: int, frame: int, log: Any) -> None:
    """Mark an assumed move as proven by a segment that the end itself sent."""
    if is_assumed(row, log):
        log.transitions[row].evidence = PROVEN
        log.transitions[row].proven_by = frame
        if log.transitions[row].new == end.state:
            end.proven = 1


@seldom
def refute(end: Any, row: int, frame: int, log: Any) -> bool:
    """Take an assumed move back, and with it what was built on it; the end is again in the state before.

    Returns False, and nothing changes, if the row is not an assumed one.
    """
    if not is_assumed(row, log):
        return False
    back = log.transitions[row].old
    _strike(end, end.syn_row, row, frame, log)
    _strike(end, end.established_row, row, frame, log)
    _strike(end, end.fin_row, row, frame, log)
    _strike(end, end.fin_acked_row, row, frame, log)
    _strike(end, end.ended_row, row, frame, log)
    if end.syn_row >= row:
        end.syn_row = NO_ROW
    if end.established_row >= row:
        end.established_row = NO_ROW
    if end.fin_row >= row:
        end.fin_row = NO_ROW
    if end.fin_acked_row >= row:
        end.fin_acked_row = NO_ROW
    if end.ended_row >= row:
        end.ended_row = NO_ROW
    if back == UNKNOWN and end.path_length == 1:  # it has not moved at all
        end.path, end.path_length = 0, 0
    end.state = back
    end.proven = back != UNKNOWN  # what it sent shows that it never left
    end.deadline_ns = 0
    return True


@seldom
def _strike(end: Any, candidate: int, first: int, frame: int, log: Any) -> None:
    if candidate >= first and log.transitions[candidate].evidence != REFUTED:
        log.transitions[candidate].evidence = REFUTED
        log.transitions[candidate].refuted_by = frame
        log.transitions[candidate].proven_by = 0
        _shorten(end)
