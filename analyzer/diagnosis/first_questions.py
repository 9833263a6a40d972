"""The first questions about a capture, answered from its frames: what ``analyzer read`` says on one screen.

How many connections were there, how many completed the handshake, how did they end, who is left in which state and for
how long, what went wrong, and what is to be said about the capture itself. Plain counts: every answer names a frame or
a connection to look at, and nothing is diagnosed here.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.decode.segment import SKIPPED_WORDS, Skipped
from analyzer.diagnosis.socket_verdicts import SocketVerdict, socket_verdicts
from analyzer.frames.vocabulary import ANOMALY_KINDS, EVIDENCES, SEVERITIES, STATES, count_column
from analyzer.tracker.anomalies import CATALOGUE, Kind

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.frames.capture import Capture

ABOUT_THE_CAPTURE = frozenset(
    {"segment-not-captured", "ack-of-unseen", "midstream", "one-direction", "copies", "clock-step", "truncated"}
)
"""Kinds that tell of the capture, not of the network; they are said there."""

AT_REST = frozenset({"UNKNOWN", "CLOSED", "LISTEN"})
"""States in which a connection is not left waiting for anything."""

COMMENTS_SHOWN = 3
"""Of the comments in a capture; the others are counted."""

ORDINARY = ("TIME_WAIT", "ESTABLISHED")
"""States in which healthy connections are found too; they are said last."""


_JOINED_ERROR = SKIPPED_WORDS[Skipped.ICMP_ERROR]
_ICMP_ERROR = CATALOGUE[Kind.ICMP_ERROR].name
_ONE_CAUSE = frozenset(
    CATALOGUE[kind].name for kind in (Kind.KEEP_ALIVE, Kind.WINDOW_PROBE, Kind.OUT_OF_ORDER, Kind.COPIES)
)
"""Kinds whose name says their cause."""


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """Ends of connections that are in one state when the capture ends, of one service."""

    state: str
    endpoint: str  #: client or server
    service: str  #: the server's address and port
    count: int
    longest_s: float  #: since the oldest of them entered the state
    flow: int  #: that one
    at_least: bool  #: the capture did not see them all enter it


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """Anomalies of one kind."""

    kind: str
    severity: str
    meaning: str
    count: int
    flows: int  #: connections that have it
    frame: int | None  #: the first
    flow: int | None  #: its connection


@dataclasses.dataclass(frozen=True, slots=True)
class Remark:
    """One sentence about the capture itself."""

    severity: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Answers:
    """The answers; counts of words are in the vocabularies' order, without zeros."""

    connections: int
    segments: int
    payload_bytes: int
    duration_s: float
    handshakes: dict[str, int]
    closes: dict[str, int]
    closed_by: dict[str, int]
    waiting: tuple[Waiting, ...]
    troubles: tuple[Trouble, ...]
    remarks: tuple[Remark, ...]
    sockets: tuple[SocketVerdict, ...] = ()  #: of a live session

    @property
    def completed(self) -> int:
        """Connections whose handshake was completed, crossing SYNs included."""
        return self.handshakes.get("complete", 0) + self.handshakes.get("simultaneous", 0)


def answer(
    flows: pd.DataFrame,
    transitions: pd.DataFrame,
    anomalies: pd.DataFrame,
    capture: Capture,
    local_addresses: tuple[str, ...] = (),
    sockets: pd.DataFrame | None = None,
) -> Answers:
    """Answer the first questions.

    Parameters
    ----------
    flows, transitions, anomalies : DataFrame
        The frames of one analysis.
    capture : Capture
        What was read.
    local_addresses : tuple of str
        The capturing host's addresses: where known, only its own ends are said to be waiting, as ``netstat`` would.
    sockets : DataFrame, optional
        `live_sockets` of a live session.
    """
    troubles = _troubles(flows, anomalies)
    return Answers(
        connections=len(flows),
        segments=int(flows["client_packets"].sum() + flows["server_packets"].sum()),
        payload_bytes=int(flows["client_bytes"].sum() + flows["server_bytes"].sum()),
        duration_s=capture.duration_s,
        handshakes=_words(flows["handshake"]),
        closes=_words(flows["close"]),
        closed_by=_words(flows["closed_by"]),
        waiting=_waiting(flows, transitions, capture, local_addresses),
        troubles=tuple(t for t in troubles if t.kind not in ABOUT_THE_CAPTURE),
        remarks=tuple(_remarks(capture, {t.kind: t for t in troubles}, flows)),
        sockets=() if sockets is None else socket_verdicts(sockets),
    )


def socket_name(address: str, port: int) -> str:
    """Write an address with its port as people do: ``10.0.0.1:80``, ``[fe80::1]:80``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _words(column: Any) -> dict[str, int]:
    """Count a column with a vocabulary, in its order, without zeros and NA."""
    counts = column.value_counts(sort=False)
    return {word: int(counts.get(word, 0)) for word in column.cat.categories if counts.get(word, 0)}


def _waiting(
    flows: pd.DataFrame, transitions: pd.DataFrame, capture: Capture, local_addresses: tuple[str, ...]
) -> tuple[Waiting, ...]:
    if not len(flows) or capture.end is None:
        return ()
    groups: dict[tuple[Any, ...], list[Any]] = {}
    entered, unseen = _entered_ns(flows, transitions)
    end_ns = int(capture.end.as_unit("ns").value)
    numbers = flows.index.to_numpy()
    services = flows["server"].cat.categories.tolist()  # looked up once a group: there may be as many as connections
    for side, endpoint in enumerate(("client", "server")):
        state = flows[f"{endpoint}_state"]
        rest = np.array([word in AT_REST for word in state.cat.categories] + [True])
        chosen = ~rest[state.cat.codes.to_numpy()]
        if local_addresses:
            chosen &= flows[endpoint].isin(local_addresses).to_numpy()
        rows = np.flatnonzero(chosen)
        if not len(rows):
            continue
        since, older = entered[rows, side], unseen[rows, side]
        since = np.where(since < 0, flows["start"].dt.as_unit("ns").astype("int64").to_numpy()[rows], since)
        keys = np.stack(
            [
                state.cat.codes.to_numpy()[rows].astype(np.int64),
                flows["server"].cat.codes.to_numpy()[rows].astype(np.int64),
                flows["server_port"].to_numpy()[rows].astype(np.int64),
            ]
        )
        names = state.cat.categories.tolist()
        order = np.lexsort((since, keys[2], keys[1], keys[0]))
        keys, since, older, rows = keys[:, order], since[order], older[order], rows[order]
        begins = np.flatnonzero(np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0)))
        sizes = np.diff(np.append(begins, len(rows)))
        for begin, size in zip(begins, sizes, strict=True):  # the oldest of each group stands first
            groups[(*keys[:, begin], endpoint)] = [
                names[keys[0, begin]],
                endpoint,
                socket_name(services[keys[1, begin]], int(keys[2, begin])),
                int(size),
                max(0.0, (end_ns - int(since[begin])) / 1e9),
                int(numbers[rows[begin]]),
                bool(older[begin : begin + size].any()),
            ]
    found = [Waiting(*group) for group in groups.values()]
    return tuple(sorted(found, key=lambda w: (w.state in ORDINARY, -w.count, -w.longest_s, w.flow)))


def _entered_ns(flows: pd.DataFrame, transitions: pd.DataFrame) -> tuple[Any, Any]:
    """Return (int64, bool)[flows, 2]: when each end entered its last state, -1 where no row tells; whether nobody saw it."""
    entered, unseen = np.full((len(flows), 2), -1, np.int64), np.ones((len(flows), 2), np.bool_)
    kept = transitions["evidence"].cat.codes.to_numpy() != EVIDENCES.index("refuted")
    at = flows.index.get_indexer(transitions["flow"].to_numpy()[kept])
    side = transitions["endpoint"].cat.codes.to_numpy()[kept]
    when = transitions["time"].dt.as_unit("ns").astype("int64").to_numpy()[kept]
    known = (at >= 0) & (side >= 0)
    np.maximum.at(entered, (at[known], side[known]), when[known])
    unknown = transitions["old"].cat.codes.to_numpy()[kept] == STATES.index("UNKNOWN")  # it may have been in it before
    unseen[at[known], side[known]] = unknown[known]  # the last row of each counts
    return entered, unseen


def _troubles(flows: pd.DataFrame, anomalies: pd.DataFrame) -> list[Trouble]:
    counts = _words(anomalies["kind"])
    first = anomalies.drop_duplicates("kind").set_index("kind")
    meanings = {entry.name: entry.meaning for entry in CATALOGUE.values()}
    found = []
    for kind, count in counts.items():
        row: Any = first.loc[kind]
        touched = int((flows[count_column(kind)] > 0).sum())
        found.append(
            Trouble(
                kind=kind,
                severity=str(row["severity"]),
                meaning=_icmp_meaning(anomalies) if kind == _ICMP_ERROR else _causes(anomalies, kind) + meanings[kind],
                count=count,
                flows=touched,
                frame=_whole(row["frame"]),
                flow=_whole(row["flow"]),
            )
        )
    return sorted(found, key=lambda t: (-SEVERITIES.index(t.severity), -t.count, ANOMALY_KINDS.index(t.kind)))


def _causes(anomalies: pd.DataFrame, kind: str) -> str:
    """Say why segments came again, the commonest cause first: ``14 rto, 5 fast, 2 tail-loss-probe: ``."""
    if kind in _ONE_CAUSE:
        return ""
    counts = _words(anomalies.loc[anomalies["kind"] == kind, "cause"])
    said = ", ".join(f"{count:,} {cause}" for cause, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f"{said}: " if said else ""


def _icmp_meaning(anomalies: pd.DataFrame) -> str:
    """Name the commonest of the ICMP errors, which tells more than what an ICMP error is."""
    counts: dict[str, int] = {}
    for detail, count in anomalies.loc[anomalies["kind"] == _ICMP_ERROR, "detail"].value_counts().items():
        error = str(detail).partition(" from ")[0]
        if count:
            counts[error] = counts.get(error, 0) + count
    names = sorted(counts, key=lambda name: (-counts[name], name))
    more = f" and {_counted(len(names) - 2, 'other kind')}" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more


def _remarks(capture: Capture, troubles: dict[str, Trouble], flows: pd.DataFrame) -> list[Remark]:
    """Say what the reader must know of the capture before he believes the rest."""
    remarks = [Remark("error", f"{damage}; read up to there") for damage in capture.damage]
    if capture.kernel_drops:
        remarks.append(Remark("error", f"the kernel dropped {capture.kernel_drops:,} packets while capturing"))
    if capture.interface_drops:
        remarks.append(Remark("error", f"the interface lost {capture.interface_drops:,} packets while capturing"))
    chosen = any("segment" in what for what in capture.filtered)  # then what is missing was left out, not lost
    if capture.lost_bytes and not chosen:
        lost = f"{_counted(capture.lost_bytes, 'byte')} acknowledged that the capture never saw"
        about = _counted(capture.lost_segments, "packet")
        where = _where(troubles["ack-of-unseen"]) if "ack-of-unseen" in troubles else ""
        remarks.append(Remark("warning", f"{lost}: it lost at least {about}{where}"))
    phrases = (
        ("segment-not-captured", "warning", "{n} in the sequence numbers: lost on the way here, or by the capture"),
        ("clock-step", "warning", "{n} in which time goes backwards"),
    )
    nouns = {"segment-not-captured": "gap", "clock-step": "place"}
    for kind, severity, phrase in phrases:
        if kind in troubles and not (chosen and kind == "segment-not-captured"):
            n = _counted(troubles[kind].count, nouns[kind])
            remarks.append(Remark(severity, phrase.format(n=n) + _where(troubles[kind])))
    for kind, said in (
        ("midstream", "began before the capture: no handshake to be seen"),
        ("one-direction", "captured in one direction only"),
    ):
        if kind in troubles:
            count = troubles[kind].flows or troubles[kind].count
            remarks.append(Remark("note", f"{count:,} of {_counted(len(flows), 'connection')} {said}"))
    remarks += [Remark("note", f"looks filtered: {what}") for what in capture.filtered]
    remarks += [
        Remark("note", _counted(count, noun) + said)
        for count, noun, said in (
            (capture.checksums_left, "packet", " without a finished checksum: left to the network card, not damage"),
            (capture.ip_checksums_wrong, "IP header", " with a wrong checksum"),
            (capture.super_segments, "packet", " larger than the MSS: the card cuts them up or has put them together"),
            (capture.swapped, "packet", " captured behind the acknowledgement: the directions are not in order"),
        )
        if count
    ]
    if capture.truncated:
        cut = _counted(capture.truncated, "packet")
        remarks.append(Remark("note", f"{cut} cut by the snap length; what the headers say is not affected"))
    if capture.copies:
        seen = f"{_counted(capture.copies, 'packet')} seen again, mostly on another interface: copies, which count once"
        remarks.append(Remark("note", seen))
    if twins := int(flows["nat_of"].notna().sum()):
        remarks.append(Remark("note", f"{_counted(twins, 'connection')} seen on both sides of an address translation"))
    for reason, count in sorted(capture.skipped.items(), key=lambda item: -item[1]):
        if reason == _JOINED_ERROR:  # it has no row of `packets`, but one of `anomalies`
            said = (
                f"{_counted(count, 'ICMP error')} joined to {'its connection' if count == 1 else 'their connections'}"
            )
            remarks.append(Remark("note", said + ": icmp-error"))
            continue
        remarks.append(Remark("note", f"{_counted(count, 'record')} skipped: {reason}"))
    return [*remarks, *_notes(capture)]


def _notes(capture: Capture) -> list[Remark]:
    """Say what a capture brings besides packets."""
    said = []
    if capture.printed:
        said.append("printed by tcpdump: what it prints of headers, no payload")
    if capture.timeless:
        said.append(f"{_counted(capture.timeless, 'record')} without a time of their own, taken as the previous one's")
    for comment in capture.comments[:COMMENTS_SHOWN]:
        frame = "" if comment.frame is None else f" on frame {comment.frame}"
        file = f" of {comment.file}" if len(capture.files) > 1 else ""
        said.append(f"comment{frame}{file}: {comment.text}")
    more = len(capture.comments[COMMENTS_SHOWN:]) + capture.comments_left_out
    if more:
        said.append(f"{_counted(more, 'more comment')}: Analysis.capture.comments")
    if capture.names:
        addresses = "1 address" if len(capture.names) == 1 else f"{len(capture.names):,} addresses"
        said.append(f"names of {addresses}: Analysis.capture.names")
    if capture.processes:
        processes = "1 process" if len(capture.processes) == 1 else f"{len(capture.processes):,} processes"
        said.append(f"{processes} named: packets.process, Analysis.capture.processes")
    return [Remark("note", text) for text in said]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _where(trouble: Trouble) -> str:
    return f" (first at frame {trouble.frame})" if trouble.frame is not None else ""


def _whole(value: Any) -> int | None:
    return None if str(value) in ("<NA>", "nan") else int(value)
