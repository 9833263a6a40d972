"""The schemas of what this host's kernel says: sockets, counts of their states, socket totals, counters.

The columns of ``sockets`` that come out of ``struct tcp_info`` name its field as their source: the reader
(``host/sock_diag.py``) fills each from there, in the unit that stands here. The counters' names are the kernel's own;
what each means stands in the catalogue, ``kernel_counters.py``.
"""

from __future__ import annotations

from analyzer.frames import vocabulary as words
from analyzer.frames.declared import NUMBERS, TIME, Column, Schema
from analyzer.frames.kernel_counters import CATALOGUE, GROUPS
from analyzer.frames.verdicts import NAMES as VERDICTS

FAMILIES = ("ipv4", "ipv6")
"""As the socket was opened: an ipv6 socket may talk IPv4, its addresses are then ``::ffff:a.b.c.d``."""

TIMERS = ("on", "keepalive", "timewait", "persist")
"""``ss -o``'s words for idiag_timer 1 to 4; netstat calls the last one ``probe``. NA: none runs."""

SHUTDOWNS = ("receive", "send", "both")
"""What shutdown() or close() has closed: ``sk_shutdown`` 1, 2, 3 (include/net/sock.h)."""

CONGESTION_STATES = ("Open", "Disorder", "CWR", "Recovery", "Loss")
"""``enum tcp_ca_state`` (include/uapi/linux/tcp.h)."""

_ROW = Column("", "int64", "", "row number, from 0")

TCP_INFO: tuple[Column, ...] = (
    Column("congestion_state", "category", "", "", "tcpi_ca_state", CONGESTION_STATES),
    Column("timeouts", "Int64", "timeouts", "retransmission timeouts in a row, unanswered", "tcpi_retransmits"),
    Column("probes", "Int64", "probes", "window and keep-alive probes without an answer", "tcpi_probes"),
    Column("backoff", "Int64", "doublings", "of the timer", "tcpi_backoff"),
    Column("timestamps", "boolean", "", "agreed", "tcpi_options 1, RFC 7323"),
    Column("sack", "boolean", "", "agreed", "tcpi_options 2, RFC 2018"),
    Column("window_scaling", "boolean", "", "agreed", "tcpi_options 4, RFC 7323"),
    Column("ecn", "boolean", "", "agreed", "tcpi_options 8, RFC 3168"),
    Column("ecn_seen", "boolean", "", "a packet with ECT came", "tcpi_options 16, RFC 3168"),
    Column("syn_data", "boolean", "", "the SYN's data was acknowledged (fast open)", "tcpi_options 32, RFC 7413"),
    Column("send_wscale", "Int64", "bits", "the peer's window scale", "tcpi_snd_wscale"),
    Column("receive_wscale", "Int64", "bits", "our window scale", "tcpi_rcv_wscale"),
    Column("rto", "float64", "s", "retransmission timeout", "tcpi_rto"),
    Column("ato", "float64", "s", "delayed ACK's timeout", "tcpi_ato"),
    Column("send_mss", "Int64", "octets", "", "tcpi_snd_mss"),
    Column("receive_mss", "Int64", "octets", "guessed from what came", "tcpi_rcv_mss"),
    Column("advertised_mss", "Int64", "octets", "", "tcpi_advmss"),
    Column("path_mtu", "Int64", "octets", "", "tcpi_pmtu"),
    Column("unacked", "Int64", "segments", "sent and not acknowledged", "tcpi_unacked"),
    Column("sacked", "Int64", "segments", "of them, acknowledged by SACK", "tcpi_sacked"),
    Column("lost", "Int64", "segments", "of them, taken for lost", "tcpi_lost"),
    Column("retransmitting", "Int64", "segments", "of them, retransmitted", "tcpi_retrans"),
    Column("retransmitted", "Int64", "segments", "over the connection's life", "tcpi_total_retrans"),
    Column("last_data_sent", "float64", "s", "ago", "tcpi_last_data_sent"),
    Column("last_data_received", "float64", "s", "ago", "tcpi_last_data_recv"),
    Column("last_ack_received", "float64", "s", "ago", "tcpi_last_ack_recv"),
    Column("rtt", "float64", "s", "smoothed round trip", "tcpi_rtt, RFC 6298"),
    Column("rtt_variation", "float64", "s", "its mean deviation", "tcpi_rttvar, RFC 6298"),
    Column("rtt_min", "float64", "s", "over the last minutes (tcp_min_rtt_wlen)", "tcpi_min_rtt"),
    Column("receive_rtt", "float64", "s", "as the receiver sees it", "tcpi_rcv_rtt"),
    Column("receive_space", "Int64", "octets", "what the program reads in a round trip", "tcpi_rcv_space"),
    Column("receive_ssthresh", "Int64", "octets", "limit of the window offered", "tcpi_rcv_ssthresh"),
    Column("cwnd", "Int64", "segments", "congestion window", "tcpi_snd_cwnd, RFC 5681"),
    Column("ssthresh", "Int64", "segments", "NA: not set yet", "tcpi_snd_ssthresh, RFC 5681"),
    Column("send_window", "Int64", "octets", "offered by the peer, scaled", "tcpi_snd_wnd"),
    Column("reordering", "Int64", "segments", "reordering that is expected", "tcpi_reordering"),
    Column("reorder_events", "Int64", "events", "reordering seen", "tcpi_reord_seen"),
    Column("out_of_order", "Int64", "segments", "received out of order", "tcpi_rcv_ooopack"),
    Column("duplicates_reported", "Int64", "segments", "by the peer's DSACK", "tcpi_dsack_dups, RFC 2883"),
    Column("pacing_rate", "Int64", "octets/s", "NA: not limited", "tcpi_pacing_rate"),
    Column("max_pacing_rate", "Int64", "octets/s", "SO_MAX_PACING_RATE; NA: not limited", "tcpi_max_pacing_rate"),
    Column("delivery_rate", "Int64", "octets/s", "last measured goodput", "tcpi_delivery_rate"),
    Column("app_limited", "boolean", "", "it was the program that sent no more", "tcpi_delivery_rate_app_limited"),
    Column("bytes_sent", "Int64", "octets", "retransmissions included", "tcpi_bytes_sent"),
    Column("bytes_acked", "Int64", "octets", "", "tcpi_bytes_acked"),
    Column("bytes_retransmitted", "Int64", "octets", "", "tcpi_bytes_retrans"),
    Column("bytes_received", "Int64", "octets", "", "tcpi_bytes_received"),
    Column("bytes_not_sent", "Int64", "octets", "in the send queue, never sent yet", "tcpi_notsent_bytes"),
    Column("segments_out", "Int64", "segments", "", "tcpi_segs_out"),
    Column("segments_in", "Int64", "segments", "", "tcpi_segs_in"),
    Column("data_segments_out", "Int64", "segments", "", "tcpi_data_segs_out"),
    Column("data_segments_in", "Int64", "segments", "", "tcpi_data_segs_in"),
    Column("delivered", "Int64", "segments", "", "tcpi_delivered"),
    Column("delivered_ce", "Int64", "segments", "with the congestion mark", "tcpi_delivered_ce, RFC 3168"),
    Column("busy", "float64", "s", "had something to send", "tcpi_busy_time"),
    Column("window_limited", "float64", "s", "of it, held up by the peer's window", "tcpi_rwnd_limited"),
    Column("buffer_limited", "float64", "s", "of it, held up by our send buffer", "tcpi_sndbuf_limited"),
)

SOCKETS = Schema(
    "One row per TCP socket of this host, as its kernel has it now (`ss -tanp`, `lsof -iTCP`, `netstat -nat`)",
    _ROW,
    (
        Column("time", TIME, "UTC", "when the kernel was asked"),
        Column("family", "category", "", "of the socket", "idiag_family", FAMILIES),
        Column("state", "category", "", "the kernel's; CLOSED: bound to a port, no more", "idiag_state", words.STATES),
        Column("address", "category", "address", "this end's; `0.0.0.0` and `::` are all", "idiag_src"),
        Column("port", "uint16", "port", "", "idiag_sport"),
        Column("peer_address", "category", "address", "NA for LISTEN and CLOSED", "idiag_dst"),
        Column("peer_port", "UInt16", "port", "NA for LISTEN and CLOSED", "idiag_dport"),
        Column("interface", "category", "", "bound to it; NA: to none", "idiag_if"),
        Column("only_ipv6", "boolean", "", "takes no IPv4; of ipv6 in LISTEN and CLOSED", "INET_DIAG_SKV6ONLY"),
        Column("receive_queue", "Int64", "octets", "arrived, not read by the program; NA: LISTEN", "idiag_rqueue"),
        Column("send_queue", "Int64", "octets", "written, not acknowledged by the peer; NA: LISTEN", "idiag_wqueue"),
        Column("accept_queue", "Int64", "connections", "of LISTEN: complete, not accepted yet", "idiag_rqueue"),
        Column(
            "accept_limit", "Int64", "connections", "of LISTEN: one more than these, and it is full", "idiag_wqueue"
        ),
        Column("timer", "category", "", "NA: none runs", "idiag_timer", TIMERS),
        Column("timer_left", "float64", "s", "until it fires", "idiag_expires"),
        Column("retransmits", "Int64", "segments", "without an answer so far; probes too", "idiag_retrans"),
        Column("pid", "Int64", "", "the process that holds it, the oldest of several; NA: none, or not visible"),
        Column("fd", "Int64", "", "file descriptor there"),
        Column("process", "category", "", "its name"),
        Column("user", "category", "", "the socket's owner"),
        Column("pids", NUMBERS, "", "all processes that hold it, the oldest first"),
        Column("uid", "Int64", "", "of the owner; NA without an inode", "idiag_uid"),
        Column("inode", "Int64", "", "NA: no file: not accepted yet, or the program has closed it", "idiag_inode"),
        Column("cookie", "UInt64", "", "the kernel's number of this socket", "idiag_cookie"),
        Column("shutdown", "category", "", "", "INET_DIAG_SHUTDOWN", SHUTDOWNS),
        Column("congestion_control", "category", "", "the algorithm", "INET_DIAG_CONG"),
        Column("receive_memory", "Int64", "octets", "", "SK_MEMINFO_RMEM_ALLOC"),
        Column("receive_buffer", "Int64", "octets", "SO_RCVBUF", "SK_MEMINFO_RCVBUF"),
        Column("send_memory", "Int64", "octets", "", "SK_MEMINFO_WMEM_QUEUED"),
        Column("send_buffer", "Int64", "octets", "SO_SNDBUF", "SK_MEMINFO_SNDBUF"),
        Column("backlog", "Int64", "octets", "arrived while the program held the socket", "SK_MEMINFO_BACKLOG"),
        Column("drops", "Int64", "packets", "", "SK_MEMINFO_DROPS"),
        *TCP_INFO,
    ),
)

SOCKET_STATES = Schema(
    "One row per state in which this host has sockets: what `netstat -nat` counts",
    _ROW,
    (
        Column("state", "category", "", "the order of the states is that of a life", "", words.STATES),
        Column("sockets", "int64", "sockets", "of both families"),
        Column("ipv4", "int64", "sockets", ""),
        Column("ipv6", "int64", "sockets", ""),
    ),
)

SOCKET_TOTALS: tuple[Column, ...] = (
    Column("sockets_used", "Int64", "sockets", "of all kinds", "sar totsck, sockstat `sockets: used`"),
    Column("tcp", "Int64", "sockets", "TCP over IPv4, TIME_WAIT and SYN_RCVD not included", "sar tcpsck, `TCP: inuse`"),
    Column("udp", "Int64", "sockets", "", "sar udpsck, `UDP: inuse`"),
    Column("raw", "Int64", "sockets", "", "sar rawsck, `RAW: inuse`"),
    Column("fragments", "Int64", "datagrams", "being put together", "sar ip-frag, `FRAG: inuse`"),
    Column("time_wait", "Int64", "sockets", "in TIME_WAIT, both families", "sar tcp-tw, `TCP: tw`"),
    Column("orphans", "Int64", "sockets", "closed by their program, not by the peer", "`TCP: orphan`, tcp_max_orphans"),
    Column(
        "established",
        "Int64",
        "sockets",
        "in ESTABLISHED and CLOSE_WAIT, both families",
        "/proc/net/snmp `Tcp: CurrEstab`",
    ),
    Column("tcp_allocated", "Int64", "sockets", "TCP, both families, of the whole machine", "`TCP: alloc`"),
    Column("tcp_memory", "Int64", "pages", "in TCP's buffers, of the whole machine", "`TCP: mem`, tcp_mem"),
    Column("udp_memory", "Int64", "pages", "", "`UDP: mem`"),
    Column("fragment_memory", "Int64", "octets", "", "`FRAG: memory`"),
    Column("tcp6", "Int64", "sockets", "", "sar tcp6sck, sockstat6 `TCP6: inuse`"),
    Column("udp6", "Int64", "sockets", "", "sar udp6sck, `UDP6: inuse`"),
    Column("raw6", "Int64", "sockets", "", "sar raw6sck, `RAW6: inuse`"),
    Column("fragments6", "Int64", "datagrams", "", "sar ip6-frag, `FRAG6: inuse`"),
)

SOCKSTAT = Schema(
    "One row per interval: socket totals at its end (`sar -n SOCK,SOCK6`), and TCP's counters a second",
    _ROW,
    (
        Column("time", TIME, "UTC", "end of the interval"),
        Column("interval", "float64", "s", "how long it was"),
        *SOCKET_TOTALS,
        *(Column(c.name, "float64", "1/s", c.meaning, c.kernel_name) for c in CATALOGUE),
    ),
)

COUNTERS = Schema(
    "One row per counter of the catalogue (docs/counters.md) that this kernel has",
    _ROW,
    (
        Column("counter", "str", "", "the kernel's name"),
        Column("group", "category", "", "", "/proc/net/snmp, /proc/net/netstat", GROUPS),
        Column("total", "Int64", "", "since the network namespace was made"),
        Column("topic", "str", "", "what it is about"),
        Column("meaning", "str", "", ""),
        Column("source", "str", "", "where the kernel counts it"),
    ),
)

JOINED = Schema(
    "One row per end of a connection on this host: the kernel's socket and the packets' flow together",
    _ROW,
    (
        Column("verdict", "category", "", "docs/verdicts.md", "", VERDICTS),
        Column("severity", "category", "", "", "", words.SEVERITIES),
        Column("address", "category", "address", "this end's; IPv4 as IPv4, also at an ipv6 socket"),
        Column("port", "uint16", "port", ""),
        Column("peer_address", "category", "address", ""),
        Column("peer_port", "uint16", "port", ""),
        Column("flow", "Int64", "flow", "NA: the capture saw no packet of it"),
        Column("endpoint", "category", "", "which end of the flow this is", "", words.ENDPOINTS),
        Column("socket", "Int64", "", "row of `sockets`; NA: the kernel has none"),
        Column("kernel_state", "category", "", "", "", words.STATES),
        Column("packet_state", "category", "", "by the segments up to the snapshot", "", words.STATES),
        Column("frame", "Int64", "frame", "the segment that the verdict rests on"),
        Column("ago", "float64", "s", "that segment, before the snapshot"),
        Column("pid", "Int64", "", ""),
        Column("process", "category", "", ""),
        Column("user", "category", "", ""),
        Column("reason", "str", "", "in words"),
    ),
)

LIVE_SOCKETS = Schema(
    "One row per socket of this host, and per flow that should have one, for as long as nothing of it changed: what the "
    "snapshots of a live session showed, beside the packets (`Analysis.sockets`)",
    _ROW,
    (
        Column("time", TIME, "UTC", "the first snapshot that showed it so"),
        Column("until", TIME, "UTC", "the last one"),
        Column("snapshots", "int64", "snapshots", "how many showed it so"),
        Column("verdict", "category", "", "docs/verdicts.md; NA: LISTEN, and the accept queue has room", "", VERDICTS),
        Column("severity", "category", "", "of the verdict", "", words.SEVERITIES),
        Column("kernel_state", "category", "", "NA: the kernel has no socket", "idiag_state", words.STATES),
        Column("packet_state", "category", "", "by the segments up to the snapshot; NA: no flow", "", words.STATES),
        Column("address", "category", "address", "this end's; IPv4 as IPv4, also at an ipv6 socket"),
        Column("port", "uint16", "port", ""),
        Column("peer_address", "category", "address", "NA for LISTEN"),
        Column("peer_port", "UInt16", "port", "NA for LISTEN"),
        Column("flow", "Int64", "flow", "NA: the capture saw no packet of it"),
        Column("endpoint", "category", "", "which end of the flow this is", "", words.ENDPOINTS),
        Column("frame", "Int64", "frame", "the segment that the verdict rests on"),
        Column("ago", "float64", "s", "that segment, before the last snapshot"),
        Column("receive_queue", "Int64", "octets", "arrived, not read by the program", "idiag_rqueue"),
        Column("send_queue", "Int64", "octets", "written, not acknowledged by the peer", "idiag_wqueue"),
        Column("accept_queue", "Int64", "connections", "of LISTEN: complete, not accepted yet", "idiag_rqueue"),
        Column(
            "accept_limit", "Int64", "connections", "of LISTEN: one more than these, and it is full", "idiag_wqueue"
        ),
        Column("timer", "category", "", "NA: none runs", "idiag_timer", TIMERS),
        Column("timer_left", "float64", "s", "until it fires, at the last snapshot", "idiag_expires"),
        Column("retransmits", "Int64", "segments", "without an answer so far; probes too", "idiag_retrans"),
        Column("pid", "Int64", "", "the process that holds it, the oldest of several; NA: none, or not visible"),
        Column("process", "category", "", "its name"),
        Column("user", "category", "", "the socket's owner"),
        Column("inode", "Int64", "", "NA: no file: not accepted yet, or the program has closed it", "idiag_inode"),
        Column("cookie", "UInt64", "", "the kernel's number of this socket", "idiag_cookie"),
        Column("rtt", "float64", "s", "smoothed round trip, at the last snapshot", "tcpi_rtt, RFC 6298"),
        Column("cwnd", "Int64", "segments", "congestion window, at the last snapshot", "tcpi_snd_cwnd, RFC 5681"),
        Column("retransmitted", "Int64", "segments", "over the connection's life so far", "tcpi_total_retrans"),
        Column("reason", "str", "", "in words, as of the last snapshot"),
    ),
)

_END_NOW: tuple[Column, ...] = (
    Column("state", "category", "", "by the packets, now", "RFC 9293 3.3.2", words.STATES),
    Column("proven", "bool", "", "shown by what this end itself sent; else assumed"),
    Column("packets", "int64", "segments", "sent by it"),
    Column("bytes", "int64", "octets", "payload sent, each octet once"),
    Column("retransmitted", "int64", "segments", "with payload, sent again"),
    Column("kernel_state", "category", "", "of its socket on this host; NA: it has none here", "", words.STATES),
    Column("verdict", "category", "", "docs/verdicts.md; NA: not an end of this host", "", VERDICTS),
    Column("pid", "Int64", "", "of its socket"),
    Column("process", "category", "", "its name"),
    Column("user", "category", "", ""),
    Column("receive_queue", "Int64", "octets", ""),
    Column("send_queue", "Int64", "octets", ""),
    Column("rtt", "float64", "s", "as the kernel has it"),
)

CURRENT_FLOWS = Schema(
    "One row per flow that is open, or was lately: what a live session knows of it now (`LiveSession.flows`)",
    Column("flow", "int64", "flow", ""),
    (
        Column("client", "category", "address", ""),
        Column("client_port", "uint16", "port", ""),
        Column("server", "category", "address", ""),
        Column("server_port", "uint16", "port", ""),
        Column("start", TIME, "UTC", "first segment"),
        Column("end", TIME, "UTC", "last segment so far"),
        Column("handshake", "category", "", "", "", words.HANDSHAKES),
        Column("closed_by", "category", "", "", "", words.ENDPOINTS),
        Column("irtt", "float64", "s", "SYN to third ACK; NaN: not seen", "tcp.analysis.initial_rtt"),
        Column("anomalies", "int64", "", "so far, of all kinds"),
        Column("severity", "category", "", "the worst of them; NA: none", "", words.SEVERITIES),
        *(column._replace(name=f"{end}_{column.name}") for end in words.ENDPOINTS for column in _END_NOW),
    ),
)

HOST_SCHEMAS = {
    "sockets": SOCKETS,
    "socket_states": SOCKET_STATES,
    "sockstat": SOCKSTAT,
    "counters": COUNTERS,
    "joined": JOINED,
    "live_sockets": LIVE_SOCKETS,
    "current_flows": CURRENT_FLOWS,
}
