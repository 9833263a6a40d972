"""The rules of the join: what a socket and a flow say together, and why.

``frames/verdicts.py`` names the verdicts; here is what decides them, for one socket and one end of a flow at a time.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from analyzer.frames.verdicts import Verdict
from analyzer.host.ends import RACE_S, FlowEnd, absent

UNREAD_S = 1.0
"""Data that lies unread for longer than this is worth a word."""

TIME_WAIT_OVER_S = 59.0
"""From here on TIME_WAIT, 60 s in Linux, may be over: its timer is coarse."""

ASKED = [
    "state", "address", "port", "peer_address", "peer_port", "inode", "cookie", "receive_queue", "send_queue",
    "accept_queue", "accept_limit", "timer", "retransmits", "pid", "process", "user", "last_data_received",
]  # fmt: skip
"""The columns of `sockets` that the rules look at."""

ENDED = frozenset({"CLOSED", "LISTEN", "UNKNOWN"})
"""States of an end that need no socket, or are not its own."""

_BEFORE = "before the capture began, or not past it"
_CLOSING = frozenset({"FIN_WAIT_1", "CLOSING", "LAST_ACK"})


@dataclasses.dataclass(slots=True)
class Said:
    """A verdict with its reason, and the frame that it rests on."""

    verdict: Verdict
    reason: str
    frame: int | None = None
    at: float | None = None


def captured(
    row: dict[Any, Any], flow: FlowEnd, listener: dict[Any, Any] | None, full_peer: dict[Any, Any] | None, now: float
) -> Said:
    """Judge a socket of which the capture saw packets.

    listener: who listens for this end; full_peer: who listens for the peer, if it is on this host and its queue is full.
    """
    state = str(row["state"])
    if state == "SYN_RCVD":
        return _half_open(row, flow, listener, now)
    if state == "SYN_SENT":
        return _opening(row, flow, full_peer, now)
    if _is_unaccepted(row):
        return _not_accepted(state, flow, listener, now)
    if state == "CLOSE_WAIT":
        return _close_wait(row, flow, now)
    if state in _CLOSING and (flow.since(_sent_fin(state))[0] is None or flow.state == state):
        return _fin_sent(row, flow, now)
    if state == "FIN_WAIT_2" and flow.state == "FIN_WAIT_2":
        return _fin_acknowledged(flow, now)
    waits = _waiting(row, flow, now) if flow.state == state else None
    if waits is not None:
        return waits
    if flow.state == state:
        return Said(Verdict.AGREES, f"both say {state}", *flow.since(state))
    if flow.state == "UNKNOWN":
        return untold(state)
    return _differing(state, flow, now)


def not_captured(row: dict[Any, Any], listener: dict[Any, Any] | None, now: float) -> Said:
    """Judge a socket of which the capture saw no packet: by the rules that the kernel's word alone is enough for."""
    state, unseen = str(row["state"]), FlowEnd(-1, "", None)
    if state == "SYN_RCVD":
        return _half_open(row, unseen, listener, now)
    if _is_unaccepted(row):
        return _not_accepted(state, unseen, listener, now)
    if state == "CLOSE_WAIT":
        return _close_wait(row, unseen, now)
    if state in _CLOSING:
        return _fin_sent(row, unseen, now)
    if state == "FIN_WAIT_2":
        return _fin_acknowledged(unseen, now)
    waits = _waiting(row, unseen, now) if state == "ESTABLISHED" else None
    return waits or quiet(state)


def _half_open(row: dict[Any, Any], flow: FlowEnd, listener: dict[Any, Any] | None, now: float) -> Said:
    if flow.third_ack is None:
        frame, at = flow.since("SYN_RCVD")
        sent = f"the SYN-ACK is frame {frame}, {_since(at, now)}" if frame else "the capture did not see the SYN-ACK"
        full = f"; {_full(listener)}" if listener is not None and excess(listener) > 0 else ""
        text = f"kernel says SYN_RCVD: {sent}{_again(row)}, and no ACK of it came{full}"
        return Said(Verdict.THIRD_ACK_MISSING, text, frame, at)
    frame, at = flow.since("ESTABLISHED")
    frame = flow.third_ack if frame is None else frame
    came = f"kernel says SYN_RCVD, and the third ACK was seen: frame {frame}, {_since(at, now)}"
    if listener is not None and excess(listener) > 0:
        return Said(Verdict.ACCEPT_QUEUE_FULL, f"{came}; {_full(listener)}", frame, at)
    if at is not None and now - at < RACE_S:
        return Said(Verdict.JUST_CHANGED, came, frame, at)
    room = f"; the accept queue has room: {_queue(listener)}" if listener else "; no listener is visible"
    return Said(
        Verdict.THIRD_ACK_IGNORED, f"{came}{room}: a firewall, TCP_DEFER_ACCEPT, or a queue full until now", frame, at
    )


def _opening(row: dict[Any, Any], flow: FlowEnd, full_peer: dict[Any, Any] | None, now: float) -> Said:
    if flow.state == "SYN_SENT":
        frame, at = flow.since("SYN_SENT")
        text = f"kernel says SYN_SENT: the SYN is frame {frame}, sent {_since(at, now)}{_again(row)}, nobody answered"
        if full_peer is not None and not _near(flow, at, now):
            return Said(Verdict.ACCEPT_QUEUE_FULL, f"{text}; {_full(full_peer)}", frame, at)
        return Said(Verdict.SYN_NOT_ANSWERED, text, frame, at)
    frame, at = flow.since("ESTABLISHED")
    if frame is not None and at is not None and now - at > RACE_S:
        return Said(
            Verdict.SYN_ACK_IGNORED,
            f"kernel says SYN_SENT, and the SYN-ACK was seen: frame {frame}, {_since(at, now)}; "
            "it was dropped between the capture point and TCP (firewall, checksum)",
            frame,
            at,
        )
    return _differing("SYN_SENT", flow, now)


def _uncaptured(state: str) -> str:
    return f"kernel says {state}, no packet of it was captured ({_BEFORE})"


def _is_unaccepted(row: dict[Any, Any]) -> bool:
    """Whether no program has a file of this connection yet; without a cookie nobody told of files."""
    return row["state"] in ("ESTABLISHED", "CLOSE_WAIT") and not absent(row["cookie"]) and absent(row["inode"])


def _not_accepted(state: str, flow: FlowEnd, listener: dict[Any, Any] | None, now: float) -> Said:
    frame, at = flow.since("ESTABLISHED")
    queue = "" if listener is None else f": {_queue(listener)}"
    text = f"complete since frame {frame}, {_since(at, now)}" if frame else _uncaptured(state)
    if frame and state == "CLOSE_WAIT":
        text += ", the peer has closed meanwhile"
    return Said(Verdict.NOT_ACCEPTED, f"{text}, the program has not accepted it{queue}{_by(listener)}", frame, at)


def _close_wait(row: dict[Any, Any], flow: FlowEnd, now: float) -> Said:
    step = flow.steps.get("CLOSE_WAIT")
    if step is None:
        fin, acknowledged = f"the peer's FIN was not captured ({_BEFORE})", ""
    else:
        fin = f"the peer's FIN is frame {step.frame}, {_since(step.at, now)}"
        acknowledged = ""
        if step.proof is not None:
            acknowledged = f", acknowledged in frame {step.proof}, {_since(step.proof_at, now)}"
    return Said(
        Verdict.PROGRAM_HAS_NOT_CLOSED,
        f"kernel says CLOSE_WAIT: {fin}{acknowledged}; the program{_named(row)} has not closed",
        *flow.since("CLOSE_WAIT"),
    )


def _sent_fin(state: str) -> str:
    """Name the state that this end's own FIN brought, on the way to this one."""
    return "LAST_ACK" if state == "LAST_ACK" else "FIN_WAIT_1"


def _fin_sent(row: dict[Any, Any], flow: FlowEnd, now: float) -> Said:
    state = str(row["state"])
    frame, at = flow.since(_sent_fin(state))
    sent = f"our FIN is frame {frame}, sent {_since(at, now)}" if frame else "the capture did not see our FIN"
    text = f"kernel says {state}: {sent}{_again(row)}, not acknowledged"
    return Said(Verdict.FIN_NOT_ACKNOWLEDGED, text, frame, at)


def _fin_acknowledged(flow: FlowEnd, now: float) -> Said:
    frame, at = flow.since("FIN_WAIT_2")
    came = f"frame {frame} acknowledged our FIN {_since(at, now)}" if frame else f"our FIN is acknowledged ({_BEFORE})"
    return Said(Verdict.PEER_HAS_NOT_CLOSED, f"kernel says FIN_WAIT_2: {came}, the peer has not closed", frame, at)


def _waiting(row: dict[Any, Any], flow: FlowEnd, now: float) -> Said | None:
    """Name what an open connection waits for, if for anything."""
    if row["timer"] == "persist":
        return Said(
            Verdict.WINDOW_CLOSED,
            f"{_count(row['send_queue']):,} bytes wait here: the peer's window is closed",
            None,
            None,
        )
    if row["timer"] == "on" and _count(row["retransmits"]):
        return Said(
            Verdict.DATA_NOT_ACKNOWLEDGED,
            f"{_count(row['send_queue']):,} bytes are not acknowledged{_again(row)}",
            None,
            None,
        )
    if row["state"] == "ESTABLISHED" and _count(row["receive_queue"]):
        frame, at = flow.last_data or (None, None)
        if at is None and not absent(row["last_data_received"]):  # not captured: the kernel tells when
            at = now - float(row["last_data_received"])
        if at is not None and now - at > UNREAD_S:
            came = f"in frame {frame}, {_since(at, now)}" if frame else f"{_since(at, now)} ({_BEFORE})"
            text = f"{_count(row['receive_queue']):,} bytes wait for the program{_named(row)}; the last came {came}"
            return Said(Verdict.PROGRAM_HAS_NOT_READ, text, frame, at)
    return None


def _differing(state: str, flow: FlowEnd, now: float) -> Said:
    frame, at = flow.since(flow.state)
    text = f"kernel says {state}, packets say {flow.state}" + (f" since frame {frame}" if frame else "")
    if _near(flow, at, now):
        return Said(Verdict.JUST_CHANGED, text, frame, at)
    step = flow.steps.get(flow.state)
    if step is not None and step.frame is not None and step.proof is None:
        text += "; nothing that this end sent proves it: the kernel did not take that segment (firewall, window)"
    elif state not in ENDED:
        text += "; the capture missed what came between, or it came later"
    return Said(Verdict.STATES_DIFFER, text, frame, at)


def _near(flow: FlowEnd, at: float | None, now: float) -> bool:
    return flow.changing or (at is not None and now - at < RACE_S)


def quiet(state: str) -> Said:
    """The kernel's word alone is no trouble, and the capture saw no packet."""
    return Said(Verdict.NOT_CAPTURED, f"kernel says {state}, the capture saw no packet of it")


def agrees(state: str) -> Said:
    """Both show the same, and no trouble."""
    return Said(Verdict.AGREES, f"both say {state}")


def untold(state: str) -> Said:
    """Nothing that the packets show says in which state this end is."""
    return Said(Verdict.AGREES, f"kernel says {state}, the segments seen do not tell")


def no_socket(flow: FlowEnd, now: float) -> Said:
    """Judge an end on this host that should have a socket and has none."""
    step = flow.steps.get(flow.state)
    frame, at = flow.since(flow.state)
    text = f"packets say {flow.state}" + (f" since frame {frame}, {_since(at, now)}" if frame else "")
    over = flow.state == "TIME_WAIT" and at is not None and now - at > TIME_WAIT_OVER_S
    if over or _near(flow, at, now):
        return Said(Verdict.JUST_CHANGED, f"{text}; the kernel has no socket", frame, at)
    why = "it ended it without a packet, or another namespace has it"
    if flow.end == "server" and flow.state in ("SYN_RCVD", "ESTABLISHED") and step is not None:
        if flow.state == "SYN_RCVD":
            why = "a SYN-ACK with a cookie keeps none, and a request is given up after a while"
        elif step.proof is None:
            why = "nothing proves that it took the third ACK (SYN cookies and a full accept queue keep nothing)"
    return Said(Verdict.NO_SOCKET, f"{text}, and the kernel has no socket: {why}", frame, at)


def is_ignored(flow: FlowEnd, client: FlowEnd | None, now: float) -> bool:
    """Whether this server's end leaves a SYN unanswered that its client still waits for."""
    if flow.end != "server" or flow.state != "LISTEN" or client is None:
        return False
    return client.number == flow.number and client.state == "SYN_SENT" and not _near(flow, flow.since("LISTEN")[1], now)


def turned_away(flow: FlowEnd, listener: dict[Any, Any], now: float) -> Said:
    """Judge an end of this host that leaves a SYN unanswered, where the accept queue of its listener is full."""
    frame, at = flow.since("LISTEN")
    came = f"the SYN is frame {frame}, {_since(at, now)}" if frame else "the SYN was not captured"
    return Said(Verdict.ACCEPT_QUEUE_FULL, f"{came}, and the kernel drops it; {_full(listener)}", frame, at)


def full_listener(listener: dict[Any, Any], ignored: list[Said]) -> Said:
    """Judge a socket that listens, and whose accept queue is full; ignored: what is said of the SYNs that it drops."""
    if not ignored:
        return Said(Verdict.NOT_ACCEPTED, f"listens; {_full(listener)}; whoever comes next is turned away")
    first = min(ignored, key=lambda said: said.frame or 0)
    several = f"{len(ignored):,} SYN{'s are' if len(ignored) > 1 else ' is'} not answered"
    return Said(Verdict.ACCEPT_QUEUE_FULL, f"listens; {_full(listener)}; {several}", first.frame, first.at)


def excess(listener: dict[Any, Any]) -> int:
    """How many more wait than the limit: from one on a queue is full, and SYNs are dropped (Linux, sk_acceptq_is_full)."""
    return _count(listener["accept_queue"]) - _count(listener["accept_limit"])


# ------------------------------------------------------------------------------------------------------------- in words


def _full(listener: dict[Any, Any]) -> str:
    return f"the accept queue is full: {_queue(listener)}{_by(listener)}"


def _queue(listener: dict[Any, Any]) -> str:
    return f"{listener['accept_queue']} wait, the limit is {listener['accept_limit']}"


def _since(at: float | None, now: float) -> str:
    if at is None:
        return "at an unknown time"
    return f"{max(0.0, now - at):.3g} s ago"


def _again(row: dict[Any, Any]) -> str:
    times = _count(row["retransmits"])
    return f", sent again {times} time{'s' * (times > 1)}" if times else ""


def _named(row: dict[Any, Any]) -> str:
    return f" {row['process']} (pid {row['pid']})" if isinstance(row["process"], str) else ""


def _by(listener: dict[Any, Any] | None) -> str:
    said = _named(listener) if listener is not None else ""
    return f"; it listens for{said}" if said else ""


def _count(value: Any) -> int:
    return 0 if absent(value) else int(value)
