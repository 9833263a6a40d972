"""What came of the replay, as the rows of the frames: plain values column by column, None for NA, times in nanoseconds."""

from __future__ import annotations

import ipaddress
import statistics
from collections import Counter
from typing import Any, NamedTuple

from analyzer.decode.layers import TUNNEL_WORDS
from analyzer.decode.segment import SKIPPED_WORDS
from analyzer.tracker.anomalies import CATALOGUE, DETAIL_WORDS, Detail, Kind
from analyzer.tracker.causes import CATALOGUE as CAUSES
from analyzer.tracker.causes import EVIDENCE_WORDS as CAUSE_EVIDENCE_WORDS
from analyzer.tracker.marks import (
    CLOSE_WORDS,
    ENDPOINT_WORDS,
    EVIDENCE_WORDS,
    HANDSHAKE_WORDS,
    ROLE_WORDS,
    STEP_WORDS,
)
from analyzer.tracker.quality import Measure
from tests.reference import icmp
from tests.reference.connection import Change, End, Flow
from tests.reference.copies import translated
from tests.reference.machine import Anomaly
from tests.reference.replay import OptionRow, PacketRow, Replay
from tests.reference.verdicts import Verdict, bits

Row = dict[str, Any]
PATH_STEPS = 16
FLAG_LETTERS = "FSRP.UEWe"  #: tcpdump's


def address(version: int, number: int) -> str:
    return str(ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number))


def flag_letters(bits: int) -> str:
    return "".join(letter for bit, letter in enumerate(FLAG_LETTERS) if bits & 1 << bit) or "none"


class Shown(NamedTuple):
    """As which connection a flow is shown: one that a forged SYN opened as the one that it was aimed at."""

    flow: Flow
    number: int
    turned: bool  #: its client is the other's server

    def endpoint(self, endpoint: int) -> int:
        return 1 - endpoint if self.turned else endpoint


def shown_as(flows: list[Flow]) -> list[Shown]:
    shown: list[Shown] = []
    for flow in flows:
        if flow.forged:
            aim = shown[flow.earlier.number]
            shown.append(aim._replace(turned=aim.turned ^ (flow.client_side != flow.earlier.client_side)))
        else:
            shown.append(Shown(flow, len({one.number for one in shown}), turned=False))
    return shown


def seconds(begin_ns: int | None, end_ns: int | None) -> float | None:
    return (end_ns - begin_ns) / 1e9 if begin_ns and end_ns else None


# ------------------------------------------------------------------------------------------------- packets, options


def packets(replay: Replay, shown: list[Shown], interfaces: list[str | None], files: list[str]) -> list[Row]:
    """interfaces: the names of the capture's interfaces, None for one without."""
    indexed = any(row.segment.ifindex is not None for row in replay.packets)
    several = len(interfaces) > 1 or any(interfaces)
    rows = []
    for it in replay.packets:
        row = packet(it, shown[it.flow.number])
        if indexed:
            row["interface"] = None if it.segment.ifindex is None else str(it.segment.ifindex)
        elif several:
            number = it.segment.record.interface
            row["interface"] = interfaces[number] or f"interface {number}"
        if len(files) > 1:
            row["file"], row["file_frame"] = files[it.segment.record.file], it.segment.record.file_frame
        rows.append(row)
    return rows


def packet(row: PacketRow, shown: Shown) -> Row:
    segment = row.segment
    client, server = shown.endpoint(0), shown.endpoint(1)
    tsval, tsecr = segment.options.timestamps or (None, None)
    return {
        "frame": segment.frame,
        "time": segment.time_ns,
        "flow": shown.number,
        "stream": row.stream,
        "outgoing": segment.outgoing,
        "ip_id": segment.ip_id,
        "ttl": segment.ttl,
        "vlan": segment.tags[-1] if segment.tags else None,
        "truncated": segment.truncated,
        "from_client": row.from_client ^ shown.turned,
        "src": address(segment.version, segment.source),
        "sport": segment.sport,
        "dst": address(segment.version, segment.destination),
        "dport": segment.dport,
        "flags": flag_letters(segment.flags),
        "flag_bits": segment.flags,
        "seq": row.seq,
        "ack": row.ack,
        "raw_seq": segment.seq,
        "raw_ack": segment.ack,
        "length": segment.length,
        "window": row.window,
        "raw_window": segment.window,
        "tsval": tsval,
        "tsecr": tsecr,
        "client_state": row.states[client].name,
        "server_state": row.states[server].name,
        "client_proven": row.proven[client],
        "server_proven": row.proven[server],
        "step": None if row.step is None else STEP_WORDS[row.step],
        "step_repeat": row.step_repeat,
        **verdict(row.verdict),
        "interface": None,
        "tunnel": None if segment.tunnel is None else TUNNEL_WORDS[segment.tunnel],
        "copy_of": row.copy_of,
    }


def verdict(found: Verdict | None) -> Row:
    if found is None or found.segment.header_trouble:
        return {"analysis": 0, "rtt": None, "acks_frame": None, "bytes_in_flight": None}
    return {
        "analysis": bits(found.flags),
        "rtt": found.rtt_ns / 1e9 if found.rtt_ns else None,
        "acks_frame": found.frame_acked or None,
        "bytes_in_flight": found.bytes_in_flight or None,
    }


def option(row: OptionRow) -> Row:
    options = row.segment.options
    return {
        "frame": row.segment.frame,
        "mss": options.mss,
        "wscale": options.wscale,
        "sack_permitted": options.sack_permitted,
        "sack": row.sack,
        "fast_open": options.fast_open,
        "mptcp": bool(options.mptcp),
        "md5": options.md5,
        "ao": options.ao,
        "user_timeout": options.user_timeout_s,
    }


# ------------------------------------------------------------------------------------------------------------ flows


def place(flow: Flow, endpoint: int) -> tuple[str, int]:
    """Address and port of an end."""
    number, port = flow.pair.places[flow.client_side if endpoint == 0 else 1 - flow.client_side]
    return address(flow.pair.version, number), port


def both(name: str, of: Any, flow: Flow) -> Row:
    return {f"{word}_{name}": of(end) for word, end in zip(ENDPOINT_WORDS, flow.ends, strict=True)}


def offered(end: End, name: str) -> int | None:
    return getattr(end.options, name) if end.opened else None


def flow_row(flow: Flow, twin: Flow | None, shown: list[Shown], kinds: Counter, trips_ns: list[int]) -> Row:
    (client, client_port), (server, server_port) = place(flow, 0), place(flow, 1)
    row: Row = {
        "flow": shown[flow.number].number,
        "client": client,
        "client_port": client_port,
        "server": server,
        "server_port": server_port,
        "role_evidence": ROLE_WORDS[flow.role],
        "start": flow.start_ns,
        "end": flow.end_ns,
        "duration": (flow.end_ns - flow.start_ns) / 1e9,
    }
    for name in ("packets", "bytes", "retransmitted", "retransmitted_bytes"):
        row |= both(name, lambda end, name=name: getattr(end, name), flow)
    row |= {
        "handshake": HANDSHAKE_WORDS[flow.handshake],
        "syn_attempts": flow.syn_attempts,
        "synack_attempts": flow.synack_attempts,
        "open_1": flow.open_1,
        "open_2": flow.open_2,
        "open_3": flow.open_3,
        **both("isn", lambda end: end.isn if end.opened else None, flow),
        "syn_rtt": seconds(flow.syn_ns, flow.synack_ns),
        "handshake_ack_rtt": seconds(flow.synack_ns, flow.ack_ns),
        "irtt": seconds(flow.syn_ns, flow.ack_ns),
        **both("mss", lambda end: offered(end, "mss"), flow),
        **both("wscale", lambda end: offered(end, "wscale"), flow),
    }
    row |= agreed(flow)
    row |= {
        "close": CLOSE_WORDS[flow.close],
        "closed_by": None if flow.closed_by is None else ENDPOINT_WORDS[flow.closed_by],
        "close_1": flow.close_1,
        "close_2": flow.close_2,
        "close_3": flow.close_3,
        "close_4": flow.close_4,
        **both("state", lambda end: end.state.name, flow),
        **both("path", path, flow),
        "completeness": flow.completeness,
        "conn_state": flow.zeek.conn_state,
        "history": flow.zeek.history or None,  # no letter yet
        "originator": ENDPOINT_WORDS[flow.zeek.orig.side != flow.client_side],
        "rtt_min": min(trips_ns) / 1e9 if trips_ns else None,
        "rtt_median": statistics.median(trips_ns) / 1e9 if trips_ns else None,
        "rtt_max": max(trips_ns) / 1e9 if trips_ns else None,
        "reused_from": shown[flow.earlier.number].number if flow.earlier else None,
        "nat_of": None if twin is None else shown[twin.number].number,
    }
    return row | {"n_" + CATALOGUE[kind].name.replace("-", "_"): kinds[kind] for kind in Kind}


def agreed(flow: Flow) -> Row:
    """What both ends offered; not known where a SYN was not seen."""
    client, server = flow.ends
    known = client.opened and server.opened

    def by_both(has: Any) -> bool | None:
        return bool(has(client.options) and has(server.options)) if known else None

    return {
        "sack": by_both(lambda options: options.sack_permitted),
        "timestamps": by_both(lambda options: options.timestamps is not None),
        "ecn": (flow.ecn_offered and flow.ecn_agreed) if known else None,
        "accurate_ecn": (flow.accurate_ecn_offered and flow.accurate_ecn_agreed) if known else None,
        "fast_open": client.fast_open if client.opened else None,
        "mptcp": by_both(lambda options: options.mptcp),
    }


def path(end: End) -> str | None:
    return ">".join(state.name for state in end.path[:PATH_STEPS]) or None


# --------------------------------------------------------------------------------------------- transitions, anomalies


def transition(change: Change, shown: Shown) -> Row:
    endpoint = shown.endpoint(change.endpoint)
    where, port = place(shown.flow, endpoint)
    return {
        "time": change.time_ns,
        "frame": change.frame,
        "flow": shown.number,
        "endpoint": ENDPOINT_WORDS[endpoint],
        "address": where,
        "port": port,
        "old": change.old.name,
        "new": change.new.name,
        "event": change.event.name,
        "evidence": EVIDENCE_WORDS[change.evidence],
        "proven_by": change.proven_by,
        "refuted_by": change.refuted_by,
    }


def detail_of(it: Anomaly, interfaces: list[str | None]) -> str | None:
    if it.error is None:
        return None if it.detail is Detail.NONE else DETAIL_WORDS[it.detail]
    interface = None
    number = it.error.record.interface
    if it.error.ifindex is not None:
        interface = f"interface {it.error.ifindex}"
    elif len(interfaces) > 1 or any(interfaces):
        interface = interfaces[number] or f"interface {number}"
    return icmp.text(it.error, it.effect, address(*it.error.icmp.reporter), interface)


def anomaly(it: Anomaly, shown: Shown | None, interfaces: list[str | None]) -> Row:
    entry = CATALOGUE[it.kind]
    return {
        "frame": it.frame,
        "time": it.time_ns,
        "flow": None if shown is None else shown.number,
        "endpoint": None if it.endpoint is None or shown is None else ENDPOINT_WORDS[shown.endpoint(it.endpoint)],
        "kind": entry.name,
        "severity": entry.severity,
        "related_frame": it.related_frame or None,
        "detail": detail_of(it, interfaces),
        **cause_of(it),
    }


def cause_of(it: Anomaly) -> Row:
    why = it.why
    if why is None:
        names = ("cause", "evidence", "evidence_frame", "waited", "rto", "duplicate_acks", "sacked")
        return dict.fromkeys(names)
    return {
        "cause": CAUSES[why.verdict].name,
        "evidence": CAUSE_EVIDENCE_WORDS[why.evidence],
        "evidence_frame": why.frame or None,
        "waited": None if why.waited_ns is None else why.waited_ns / 1e9,
        "rto": why.rto_ns / 1e9 if why.rto_ns else None,
        "duplicate_acks": why.duplicate_acks if why.told else None,
        "sacked": why.sacked if why.told else None,
    }


# -------------------------------------------------------------------------------------------------------------- all


def frames(replay: Replay, interfaces: list[str | None], files: list[str]) -> dict[str, list[Row]]:
    """All frames of a replay that is concluded."""
    shown = shown_as(replay.flows)
    kinds: dict[int, Counter] = {}
    for it in replay.log.anomalies:
        if it.flow is not None:
            kinds.setdefault(shown[it.flow].number, Counter())[it.kind] += 1
    flows = [flow for flow in replay.flows if not flow.forged]
    twins = translated(flows)
    rows = packets(replay, shown, interfaces, files)
    trips: dict[int, list[int]] = {}
    for row in rows:
        if row["rtt"] is not None:
            trips.setdefault(row["flow"], []).append(round(row["rtt"] * 1e9))
    return {
        "packets": rows,
        "options": [option(row) for row in replay.options],
        "flows": [
            flow_row(
                flow,
                twins.get(flow.number),
                shown,
                kinds.get(shown[flow.number].number, Counter()),
                trips.get(shown[flow.number].number, []),
            )
            for flow in flows
        ],
        "transitions": [transition(change, shown[change.flow]) for change in replay.log.changes],
        "anomalies": [
            anomaly(it, None if it.flow is None else shown[it.flow], interfaces) for it in replay.log.anomalies
        ],
    }


def quality(replay: Replay) -> dict[str, int]:
    """The numbers of ``Analysis.capture`` that the replay counts."""
    counts = replay.quality.counts
    return {
        "checksums_left": counts[Measure.LEFT_TO_CARD],
        "ip_checksums_wrong": counts[Measure.IP_WRONG],
        "super_segments": counts[Measure.SUPER_SEGMENTS],
        "lost_bytes": counts[Measure.LOST_BYTES],
        "swapped": counts[Measure.SWAPPED],
        "clock_steps": replay.quality.steps,
        "disordered": replay.quality.disordered,
    }


def skipped(replay: Replay) -> dict[str, int]:
    return {SKIPPED_WORDS[reason]: count for reason, count in replay.skipped.items() if count}


def local_addresses(replay: Replay) -> tuple[str, ...]:
    """The capturing host's own: on the loopback interface, or only ever on this side."""
    own = [key for key, seen in replay.local.items() if "loopback" in seen or seen == {"local"}]
    return tuple(sorted(address(*key) for key in own))
