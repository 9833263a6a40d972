"""The state machine: one table, four things that may happen to a move.

A sender moves by what it sends: that is proven. A receiver moves by what it is sent, at once: that is assumed, until
something that it sends proves it, or refutes it: then the end is again where it was, and the row says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.icmp import Effect
from analyzer.tracker.marks import Evidence
from analyzer.tracker.states import TRANSITIONS, Event, State
from tests.reference.connection import Change, End
from tests.reference.segment import Segment

if TYPE_CHECKING:
    from tests.reference.causes import Why

OPEN_QUESTIONS = ("syn_taken", "established", "fin_taken", "fin_acked", "ended")
SENDING = {Event.SEND_SYN, Event.SEND_SYN_ACK, Event.SEND_DATA, Event.SEND_FIN, Event.SEND_RST}
TABLE = {(row.old, row.event): row for row in TRANSITIONS}


@dataclass
class Anomaly:
    time_ns: int
    frame: int | None
    flow: int | None  #: None: of the capture
    endpoint: int | None  #: None: both or neither
    kind: Kind
    detail: Detail = Detail.NONE
    related_frame: int | None = None
    error: Segment | None = None  #: what an ICMP error quotes
    effect: Effect | None = None  #: and what it did
    why: Why | None = None  #: it came again


@dataclass
class Log:
    """What the tracker writes besides the packets' own columns."""

    changes: list[Change] = field(default_factory=list)
    anomalies: list[Anomaly] = field(default_factory=list)

    def withdraw(self, anomaly: Anomaly) -> None:
        """Take back what turned out to say nothing."""
        self.anomalies = [one for one in self.anomalies if one is not anomaly]

    def note(
        self, segment: Segment, flow: int, kind: Kind, endpoint: int | None, detail: Detail = Detail.NONE,
        related: int | None = None,
    ) -> None:  # fmt: skip
        """Write an anomaly of this segment."""
        self.anomalies.append(Anomaly(segment.time_ns, segment.frame, flow, endpoint, kind, detail, related))

    def move(
        self, end: End, event: Event, evidence: Evidence, flow: int, time_ns: int, frame: int | None = None
    ) -> Change | None:
        """Let an event happen to an end: the row written, or None if the table says that the end stays."""
        row = TABLE.get((end.state, event))
        if row is None:
            return None
        old, new = end.state if row.was is None else row.was, row.new
        proven = evidence is Evidence.PROVEN
        if old is new:  # it was there all the time
            end.state, end.proven = new, proven
            return None
        change = Change(
            len(self.changes),
            time_ns,
            frame,
            flow,
            end.endpoint,
            old,
            event,
            new,
            evidence,
            frame if proven else None,
        )
        self.changes.append(change)
        if not end.path and not (old is State.UNKNOWN and new is State.LISTEN):
            end.path.append(old)
        end.path.append(new)
        end.state, end.proven, end.deadline_ns = new, proven, None
        if proven:  # it was in the state that it left; only that its FIN was acknowledged nothing can show
            for before in (end.syn_taken, end.established, end.fin_taken):
                prove(end, before, frame)
            end.ended = None
        if event in SENDING:  # what it does itself settles what was assumed of it before
            for name in OPEN_QUESTIONS:
                setattr(end, name, None)
        return change


def is_assumed(change: Change | None) -> bool:
    """Whether there is such a move and it is neither proven nor refuted."""
    return change is not None and change.evidence is Evidence.ASSUMED


def prove(end: End, change: Change | None, frame: int) -> None:
    """A segment that the end itself sent shows that an assumed move was made."""
    if change is not None and is_assumed(change):
        change.evidence, change.proven_by = Evidence.PROVEN, frame
        if change.new is end.state:
            end.proven = True


def refute(end: End, change: Change | None, frame: int) -> bool:
    """Take an assumed move back, and what was built on it; False, and nothing happens, if it is not an assumed one."""
    if change is None or not is_assumed(change):
        return False
    for name in OPEN_QUESTIONS:
        later = getattr(end, name)
        if later is not None and later.number >= change.number:
            strike(end, later, frame)
            setattr(end, name, None)
    if end.path == [State.UNKNOWN]:
        end.path.clear()  # it has not moved at all
    # what it sent shows that it never left
    end.state, end.proven, end.deadline_ns = change.old, change.old is not State.UNKNOWN, None
    return True


def strike(end: End, change: Change, frame: int) -> None:
    if change.evidence is not Evidence.REFUTED:
        change.evidence, change.proven_by, change.refuted_by = Evidence.REFUTED, None, frame
        end.path.pop()
