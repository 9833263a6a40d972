"""The schema of every frame, once.

The names, meanings and dtypes below are the public contract. Whoever builds a frame takes its columns from here, the
store and the tests hold frames against it, and the tables of ``docs/frames.md`` are printed from it
(``python -m analyzer.frames.schema``). Adding a column is fine; changing one is a breaking change.

Times are ``datetime64[ns, UTC]``, durations float64 seconds, "no value" is NA, NaN or NaT, never 0 or -1. Frame
numbers are Wireshark's ``frame.number``. A categorical column with a vocabulary has exactly its words, in its order (an open
one has more behind them); the others have the categories that the capture gave them (addresses, flag letters, paths), as ``str``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyzer.frames import vocabulary as words
from analyzer.frames.declared import NUMBERS, TIME, Column, Schema
from analyzer.frames.host_schema import HOST_SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

_FRAME = Column("frame", "int64", "frame", "the record's number in the capture, from 1", "frame.number")
_BIN = Column("time", TIME, "UTC", "start of the bin")
_ROW = Column("", "int64", "", "row number, from 0")


def _both(name: str, dtype: str, unit: str, meaning: str, source: str = "") -> tuple[Column, Column]:
    """Two columns, one for each end."""
    ends = (("client", "the client"), ("server", "the server"))
    first, second = (Column(f"{end}_{name}", dtype, unit, meaning.format(end=said), source) for end, said in ends)
    return first, second


PACKETS = Schema(
    "One row per TCP segment",
    _FRAME,
    (
        Column("time", TIME, "UTC", "capture time"),
        Column("flow", "int32", "flow", "the connection (one incarnation), from 0 in order of first segment"),
        Column("stream", "int32", "stream", "Wireshark's number of the conversation", "tcp.stream"),
        Column(
            "outgoing", "boolean", "", "sent by the capturing host; NA where the capture does not tell", "sll.pkttype"
        ),
        Column("ip_id", "UInt16", "", "IPv4 identification; NA for IPv6", "ip.id"),
        Column("ttl", "uint8", "hops", "time to live, hop limit", "ip.ttl, ipv6.hlim"),
        Column("vlan", "UInt16", "", "innermost VLAN; NA without a tag", "vlan.id"),
        Column("truncated", "bool", "", "the capture cut the packet (snap length)"),
        Column("from_client", "bool", "", "direction"),
        Column("src", "category", "address", "sender", "ip.src, ipv6.src"),
        Column("sport", "uint16", "port", "sender's port", "tcp.srcport"),
        Column("dst", "category", "address", "receiver", "ip.dst, ipv6.dst"),
        Column("dport", "uint16", "port", "receiver's port", "tcp.dstport"),
        Column("flags", "category", "", "tcpdump's letters: `S`, `S.`, `.`, `P.`, `F.`, `R`, `SEW`; `none`", "tcpdump"),
        Column("flag_bits", "uint16", "bits", "the twelve bits as on the wire", "tcp.flags"),
        Column("seq", "int64", "octets", "relative to the sender's ISN; 64-bit, does not wrap", "tcp.seq"),
        Column("ack", "Int64", "octets", "relative to the peer's ISN; NA without the ACK flag", "tcp.ack"),
        Column("raw_seq", "uint32", "", "as on the wire", "tcp.seq_raw"),
        Column("raw_ack", "uint32", "", "as on the wire", "tcp.ack_raw"),
        Column("length", "int32", "octets", "payload, from the IP header", "tcp.len"),
        Column("window", "int64", "octets", "scaled by this end's own scale where its SYN was seen", "tcp.window_size"),
        Column("raw_window", "uint16", "", "as on the wire", "tcp.window_size_value"),
        Column("tsval", "UInt32", "", "timestamps option", "RFC 7323, tcp.options.timestamp.tsval"),
        Column("tsecr", "UInt32", "", "timestamps option, echo", "RFC 7323, tcp.options.timestamp.tsecr"),
        *(
            column._replace(vocabulary=words.STATES)
            for column in _both("state", "category", "", "state of {end} after this packet", "RFC 9293 3.3.2")
        ),
        *_both("proven", "bool", "", "shown by what {end} itself sent; else assumed"),
        Column("step", "category", "", "part in the handshake or the close", "", words.STEPS),
        Column("step_repeat", "bool", "", "a repetition of that step"),
        Column(
            "analysis", "uint32", "bits", "Wireshark's verdicts; `analyzer.analysis_names(mask)`", "tcp.analysis.flags"
        ),
        Column("rtt", "float64", "s", "round trip that this ACK ends", "tcp.analysis.ack_rtt"),
        Column("acks_frame", "Int64", "frame", "the segment that this ACK acknowledges", "tcp.analysis.acks_frame"),
        Column("bytes_in_flight", "Int64", "octets", "sent and not acknowledged", "tcp.analysis.bytes_in_flight"),
        Column(
            "interface",
            "category",
            "",
            "where it was seen: pcapng's name, or SLL2's interface index",
            "frame.interface_name",
        ),
        Column("copy_of", "Int64", "frame", "first sight of the same packet, which is seen again here"),
        Column("tunnel", "category", "", "the innermost tunnel around it; NA without", "", words.TUNNELS),
    ),
)

MERGED: tuple[Column, ...] = (
    Column("file", "category", "", "the file that the record is from"),
    Column("file_frame", "int64", "frame", "the record's number in that file, from 1"),
)
"""What `packets` has besides, at its end, when several files were read as one."""

PROCESS = Column(
    "process", "UInt32", "process id", "who sent or got it on the capturing host; NA where it is not said", "pcapng"
)
"""What `packets` has as its last column when the capture names processes (macOS's tcpdump writes them)."""

OPTIONS = Schema(
    "One row per segment that carries options other than timestamps",
    _FRAME,
    (
        Column("mss", "UInt16", "octets", "maximum segment size", "RFC 9293 3.7.1"),
        Column("wscale", "UInt8", "bits", "window scale's shift, as on the wire", "RFC 7323 2.2"),
        Column("sack_permitted", "bool", "", "the option is there", "RFC 2018 2"),
        Column("sack", NUMBERS, "octets", "blocks as left, right, left, right; relative; NA without", "RFC 2018 3"),
        Column("fast_open", "bool", "", "the option is there, with or without a cookie", "RFC 7413 4.1.1"),
        Column("mptcp", "bool", "", "the option is there", "RFC 8684 3"),
        Column("md5", "bool", "", "the option is there", "RFC 2385 3"),
        Column("ao", "bool", "", "the option is there", "RFC 5925 2.2"),
        Column("user_timeout", "UInt32", "s", "as sent; NA without", "RFC 5482 3"),
    ),
)

FLOWS = Schema(
    "One row per connection incarnation",
    Column("flow", "int64", "flow", "numbered from 0 in order of first segment"),
    (
        Column("client", "category", "address", "the end that opened, by `role_evidence`"),
        Column("client_port", "uint16", "port", ""),
        Column("server", "category", "address", "the other end"),
        Column("server_port", "uint16", "port", ""),
        Column("role_evidence", "category", "", "what decided the roles, once", "", words.ROLE_EVIDENCES),
        Column("start", TIME, "UTC", "first segment"),
        Column("end", TIME, "UTC", "last segment"),
        Column("duration", "float64", "s", "first segment to last"),
        *_both("packets", "int32", "segments", "sent by {end}, all of them"),
        *_both("bytes", "int64", "octets", "payload sent by {end}, each octet once"),
        *_both("retransmitted", "int32", "segments", "with payload, sent again by {end}"),
        *_both("retransmitted_bytes", "int64", "octets", "payload sent again by {end}"),
        Column("handshake", "category", "", "how far it came", "", words.HANDSHAKES),
        Column("syn_attempts", "int32", "segments", "SYNs, the first included"),
        Column("synack_attempts", "int32", "segments", "SYN-ACKs, the first included"),
        Column("open_1", "UInt32", "frame", "the SYN that was answered, else the last"),
        Column("open_2", "UInt32", "frame", "the SYN-ACK"),
        Column("open_3", "UInt32", "frame", "the ACK of the SYN-ACK"),
        *_both("isn", "UInt32", "", "initial sequence number of {end}", "RFC 9293 3.4.1"),
        Column("syn_rtt", "float64", "s", "last SYN before the SYN-ACK, to it"),
        Column("handshake_ack_rtt", "float64", "s", "SYN-ACK to its ACK"),
        Column("irtt", "float64", "s", "both together", "tcp.analysis.initial_rtt"),
        *_both("mss", "UInt16", "octets", "offered by {end}", "RFC 9293 3.7.1"),
        *_both("wscale", "UInt8", "bits", "offered by {end}", "RFC 7323 2.2"),
        Column("sack", "boolean", "", "both offered it; NA where a SYN was not seen", "RFC 2018"),
        Column("timestamps", "boolean", "", "both offered them; NA where a SYN was not seen", "RFC 7323 3"),
        Column("ecn", "boolean", "", "agreed; NA where a SYN was not seen", "RFC 3168 6.1.1"),
        Column("accurate_ecn", "boolean", "", "agreed in its accurate form (then `ecn` too)", "RFC 9768 3.1"),
        Column("fast_open", "boolean", "", "asked for or used; NA where the SYN was not seen", "RFC 7413"),
        Column("mptcp", "boolean", "", "both offered it; NA where a SYN was not seen", "RFC 8684"),
        Column("close", "category", "", "how it ended", "", words.CLOSES),
        Column("closed_by", "category", "", "who sent the first FIN, or the RST; NA while open", "", words.ENDPOINTS),
        Column("close_1", "UInt32", "frame", "the first FIN"),
        Column("close_2", "UInt32", "frame", "its ACK"),
        Column("close_3", "UInt32", "frame", "the other FIN"),
        Column("close_4", "UInt32", "frame", "its ACK"),
        *(
            column._replace(vocabulary=words.STATES)
            for column in _both("state", "category", "", "last state of {end}, timers included", "RFC 9293 3.3.2")
        ),
        *_both("path", "category", "", "states of {end} in order: `CLOSED>SYN_SENT>...`"),
        Column("completeness", "uint8", "bits", "1 SYN, 2 SYN-ACK, 4 ACK, 8 data, 16 FIN, 32 RST", "tcp.completeness"),
        Column("conn_state", "category", "", "Zeek's word", "Zeek conn.log", words.CONN_STATES),
        Column("history", "category", "", "Zeek's letters: in upper case the `originator`'s", "Zeek conn.log"),
        Column(
            "originator",
            "category",
            "",
            "the end that Zeek takes for the client",
            "Zeek conn.log id.orig_h",
            words.ENDPOINTS,
        ),
        Column("rtt_min", "float64", "s", "over the connection's round trips"),
        Column("rtt_median", "float64", "s", "over the connection's round trips"),
        Column("rtt_max", "float64", "s", "over the connection's round trips"),
        Column("reused_from", "Int32", "flow", "the earlier incarnation on the same addresses and ports"),
        Column(
            "nat_of", "Int32", "flow", "the same connection on the other side of an address translation, seen first"
        ),
        *(Column(words.count_column(kind), "uint32", "anomalies", f"of kind `{kind}`") for kind in words.ANOMALY_KINDS),
    ),
)

TRANSITIONS = Schema(
    "One row per state change of one endpoint",
    _ROW,
    (
        Column("time", TIME, "UTC", "of the segment, or when the timer ended"),
        Column("frame", "UInt32", "frame", "the segment that brought it; NA for a timer"),
        Column("flow", "int32", "flow", ""),
        Column("endpoint", "category", "", "", "", words.ENDPOINTS),
        Column("address", "category", "address", "of that end"),
        Column("port", "uint16", "port", "of that end"),
        Column("old", "category", "", "state before", "RFC 9293 3.3.2", words.STATES),
        Column("new", "category", "", "state after", "RFC 9293 3.3.2", words.STATES),
        Column("event", "category", "", "the state table's event", "RFC 9293 3.10", words.EVENTS),
        Column("evidence", "category", "", "what is known at the end of the capture", "", words.EVIDENCES),
        Column("proven_by", "UInt32", "frame", "the segment that proved it"),
        Column("refuted_by", "UInt32", "frame", "the segment that refuted it"),
    ),
)

ANOMALIES = Schema(
    "One row per thing that went wrong",
    _ROW,
    (
        Column("frame", "UInt32", "frame", "where it shows; NA where no segment does"),
        Column("time", TIME, "UTC", ""),
        Column("flow", "Int32", "flow", "NA for the capture as a whole"),
        Column("endpoint", "category", "", "whose it is; NA for both", "", words.ENDPOINTS),
        Column("kind", "category", "", "the catalogue's name", "", words.ANOMALY_KINDS),
        Column("severity", "category", "", "", "", words.SEVERITIES),
        Column("related_frame", "UInt32", "frame", "the other segment that it is about"),
        Column(
            "detail",
            "category",
            "",
            "what more there is to say; of an ICMP error which it is, who sent it, what it did",
            "docs/icmp.md",
            words.DETAILS,
            open=True,
        ),
        Column(
            "cause", "category", "", "why it came again; NA for kinds that have none", "docs/causes.md", words.CAUSES
        ),
        Column("evidence", "category", "", "what shows the cause", "docs/causes.md", words.CAUSE_EVIDENCES),
        Column("evidence_frame", "UInt32", "frame", "the segment that shows it, where one does"),
        Column(
            "waited", "float64", "s", "since the last sending or acknowledgement of something new, as its sender has it"
        ),
        Column("rto", "float64", "s", "its sender's retransmission time-out by then, estimated", "RFC 6298"),
        Column("duplicate_acks", "UInt32", "acks", "that its sender had seen by then", "RFC 5681"),
        Column("sacked", "Int64", "octets", "behind it, that its sender knew to have arrived", "RFC 2018"),
    ),
)

FINDINGS = Schema(
    "One row per diagnosis",
    _ROW,
    (
        Column("symptom", "category", "", "the symptom catalogue's name"),
        Column("severity", "category", "", "", "", words.SEVERITIES),
        Column("subject", "str", "", "host, service or flow"),
        Column("count", "int64", "cases", ""),
        Column("since", TIME, "UTC", "first case"),
        Column("until", TIME, "UTC", "last case"),
        Column("cause", "str", "", "what the packets support"),
        Column("evidence", "list<item: string>[pyarrow]", "", "frames and flows: `frame 12`, `flow 3`"),
        Column("confidence", "float64", "0..1", "how sure"),
        Column("advice", "str", "", "what to do"),
    ),
)

COUNTED_STATES: tuple[str, ...] = tuple(state for state in words.STATES if state not in ("UNKNOWN", "CLOSED"))

STATE_COUNTS = Schema(
    "One row per bin of time: how many sockets are in each state at its start",
    _BIN,
    tuple(
        Column(state, "int64", "sockets", f"in {state.replace('_', '-')}", "RFC 9293 3.3.2") for state in COUNTED_STATES
    ),
)

SCHEMAS: Mapping[str, Schema] = {
    "packets": PACKETS,
    "options": OPTIONS,
    "flows": FLOWS,
    "transitions": TRANSITIONS,
    "anomalies": ANOMALIES,
    "findings": FINDINGS,
    "state_counts": STATE_COUNTS,
    **HOST_SCHEMAS,
}


def column(frame_name: str, name: str) -> Column:
    """Return the column's declaration; KeyError where the frame has none of that name."""
    for candidate in (*SCHEMAS[frame_name].columns, *((*MERGED, PROCESS) if frame_name == "packets" else ())):
        if candidate.name == name:
            return candidate
    raise KeyError(f"{frame_name} has no column {name}")


def empty(frame_name: str) -> pd.DataFrame:
    """Return the frame with no rows: all columns, with their dtypes.

    Parameters
    ----------
    frame_name : str
        A key of ``SCHEMAS``.
    """
    import pandas as pd

    schema = SCHEMAS[frame_name]
    index = pd.Index([], dtype=pandas_dtype(schema.index), name=schema.index.name or None)
    data = {column.name: pd.Series([], index, pandas_dtype(column)) for column in schema.columns}
    return pd.DataFrame(data, index=index)


def check(frame_name: str, frame: pd.DataFrame) -> None:
    """Hold a frame against its schema: columns, their order and dtypes, vocabularies, the index.

    Raises
    ------
    TypeError
        Naming every difference.
    """
    schema = SCHEMAS[frame_name]
    wanted = [column.name for column in schema.columns]
    found = list(frame.columns)
    if frame_name == "packets":
        for more in ([merged.name for merged in MERGED], [PROCESS.name]):
            wanted += more if set(more) <= set(found) else []
    wrong = [f"column {name} is missing" for name in wanted if name not in found]
    wrong += [f"column {name} is not in the schema" for name in found if name not in wanted]
    if not wrong and found != wanted:
        wrong.append(f"columns are in another order: {found}")
    for name in found:
        if name in wanted:
            wrong += _differences(column(frame_name, name), frame[name])
    if ("" if frame.index.name is None else frame.index.name) != schema.index.name:
        wrong.append(f"the index is called {frame.index.name!r}, not {schema.index.name!r}")
    if str(frame.index.dtype) != schema.index.dtype:
        wrong.append(f"the index is {frame.index.dtype}, not {schema.index.dtype}")
    if wrong:
        raise TypeError(f"{frame_name}: " + "; ".join(wrong))


def _differences(wanted: Column, series: Any) -> list[str]:
    if str(series.dtype) != wanted.dtype:
        return [f"{wanted.name} is {series.dtype}, not {wanted.dtype}"]
    if wanted.dtype != "category":
        return []
    if series.cat.ordered:
        return [f"{wanted.name} is an ordered categorical"]
    known = series.cat.categories[: len(wanted.vocabulary)] if wanted.open else series.cat.categories
    if wanted.vocabulary and tuple(known) != wanted.vocabulary:
        return [f"{wanted.name} has the categories {list(series.cat.categories)}, not {list(wanted.vocabulary)}"]
    if series.cat.categories.dtype != "str":
        return [f"{wanted.name} has categories of {series.cat.categories.dtype}, not str"]
    return []


def pandas_dtype(column: Column) -> Any:
    """Return the column's dtype as pandas takes it; a categorical without a vocabulary has no categories yet."""
    import pandas as pd

    if column.dtype == "category":
        return pd.CategoricalDtype(pd.Index(list(column.vocabulary), dtype="str"))
    if column.dtype.endswith("[pyarrow]"):
        import pyarrow as pa

        return pd.ArrowDtype(pa.list_(pa.int64() if "int64" in column.dtype else pa.string()))
    return column.dtype


def markdown() -> str:
    """Print all tables as Markdown: the contents of ``docs/frames.md``."""
    lines = [
        "# The frames",
        "",
        "Printed from `analyzer/frames/schema.py` by `python -m analyzer.frames.schema`; change it there.",
        "",
        'Times are UTC, durations seconds, "no value" is NA, NaN or NaT. Words of a categorical are listed below.',
    ]
    for name, schema in SCHEMAS.items():
        index = f"index `{schema.index.name}` ({schema.index.meaning})" if schema.index.name else "index: row number"
        lines += ["", f"## `{name}`", "", f"{schema.title}; {index}.", "", *_table(schema.columns)]
        if name == "packets":
            lines += ["", "When several files were read as one, at the end:", "", *_table(MERGED)]
            lines += [
                "",
                "When the capture names processes (`Capture.processes`), as the last:",
                "",
                *_table((PROCESS,)),
            ]
        for column in schema.columns:
            if column.vocabulary:
                more = ", and what the capture gave" if column.open else ""
                lines += ["", f"`{column.name}`: " + ", ".join(f"`{word}`" for word in column.vocabulary) + f"{more}."]
    lines += ["", "Bits of `packets.analysis`, from bit 0: " + ", ".join(f"`{w}`" for w in words.ANALYSIS_NAMES) + "."]
    return "\n".join(lines) + "\n"


def _table(columns: tuple[Column, ...]) -> list[str]:
    rows = [f"| `{c.name}` | {c.dtype} | {c.unit} | {c.meaning} | {c.source} |" for c in columns]
    return ["| column | dtype | unit | meaning | source |", "| --- | --- | --- | --- | --- |", *rows]


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201  # a command
