"""One segment on its way between two ends, with its numbers made relative: what every rule is asked about."""

from __future__ import annotations

from dataclasses import dataclass, field

from analyzer.tracker.anomalies import Detail, Kind
from analyzer.tracker.marks import Evidence, Step
from analyzer.tracker.states import Event, State
from tests.reference.connection import Change, End, Flow
from tests.reference.machine import Log
from tests.reference.segment import Segment

#: A packet's part in the handshake or the close, and whether it is a repetition of it.
Mark = tuple[Step, bool] | None


@dataclass
class Arrival:
    segment: Segment
    flow: Flow
    me: End  #: who sent it
    you: End  #: whom it is sent to
    seq: int
    ack: int | None  #: None without the flag
    window: int  #: scaled
    log: Log
    durations_ns: dict[State, int]  #: of the timers
    heard: int | None = field(init=False)  #: the acknowledgement, if it counts

    def __post_init__(self) -> None:
        self.heard = self.ack if self.ack is not None and self.is_acceptable(self.ack) else None

    def is_acceptable(self, ack: int) -> bool:
        """Whether the peer may have sent all that this acknowledges.

        That is: it was seen to, or the capture missed it, but it is within the window that this end advertised. A SYN
        acknowledges what was seen.
        """
        me, you = self.me, self.you
        if ack < 0:
            return False
        if ack <= max(you.next, 1) or you.packets == 0:
            return True
        return not self.segment.is_syn_ack and (me.window_right == 0 or ack <= me.window_right + 1)

    @property
    def frame(self) -> int:
        return self.segment.frame

    @property
    def time_ns(self) -> int:
        return self.segment.time_ns

    def proven(self, end: End, event: Event) -> Change | None:
        return self.log.move(end, event, Evidence.PROVEN, self.flow.number, self.time_ns, self.frame)

    def assumed(self, end: End, event: Event) -> Change | None:
        return self.log.move(end, event, Evidence.ASSUMED, self.flow.number, self.time_ns, self.frame)

    def note(
        self, kind: Kind, detail: Detail = Detail.NONE, related: int | None = None, end: End | None = None
    ) -> None:
        """Write an anomaly, of the sender unless it is said whose."""
        self.log.note(self.segment, self.flow.number, kind, (end or self.me).endpoint, detail, related)
