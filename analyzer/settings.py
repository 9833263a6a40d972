"""Every number that a user may turn, in one frozen object.

Timers are Linux's defaults (seconds), each with the sysctl or constant it comes from: ``net/ipv4/tcp*.c`` and
``Documentation/networking/ip-sysctl.rst``. They end states that no packet ends; what they write is marked ``assumed``.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

Copies = Literal["mark", "keep", "drop"]


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Timers, limits and switches of one analysis.

    Durations are in seconds, sizes in the unit that the name says.
    """

    time_wait_s: float = 60.0
    """TIME_WAIT: ``TCP_TIMEWAIT_LEN``, fixed at 60 s in Linux (2 MSL, RFC 9293 section 3.4.2)."""

    fin_wait_2_s: float = 60.0
    """An orphan in FIN_WAIT_2: ``tcp_fin_timeout``. A socket still held by its program stays there for ever."""

    syn_sent_s: float = 127.0
    """connect() gives up: ``tcp_syn_retries`` 6, so 1+2+4+8+16+32+64 s after the first SYN."""

    syn_rcvd_s: float = 63.0
    """A request is dropped: ``tcp_synack_retries`` 5, so 1+2+4+8+16+32 s after the first SYN-ACK."""

    orphan_retransmit_s: float = 102.2
    """A FIN that nobody acknowledges, its program gone: ``tcp_orphan_retries`` 0 stands for 8 doublings of 200 ms."""

    rto_max_s: float = 120.0
    """What is not acknowledged is sent again at least so often (``TCP_RTO_MAX``): who had begun to, and stops, has given up
    (``tcp_retries2`` 15: 924.6 s after the first time)."""

    record_limit_bytes: int = 16 * 1024 * 1024
    """A record that claims more bytes than this is damage, not a packet (libpcap: MAXIMUM_SNAPLEN is 262,144)."""

    batch_records: int = 24576
    """Records in one batch: large enough to forget the call and the threads' taking turns, small enough for the cache."""

    buffer_bytes: int = 2 * 1024 * 1024
    """The reused read buffer of one file."""

    copies: Copies = "mark"
    """Packets seen more than once: "mark" tracks the first sight and says in ``packets.copy_of`` what the others are,
    "drop" leaves the others out of ``packets``, "keep" does not look for them: each sight is a packet of its own."""
    checksums: bool = True
    """Compute TCP's and IPv4's checksums: some nanoseconds a packet. Without, damaged segments count like any other."""

    vlan_in_key: bool = True
    """The same addresses and ports in another VLAN are another connection; False takes them together."""

    tunnel_in_key: bool = True
    """The same addresses and ports in another tunnel are another connection; False takes them together."""

    zeek_timeouts: bool = False
    """Split flows where Zeek splits its connections: reuse, and its time-outs (an attempt after 5 s, closed after 5 s, idle
    after 5 min, ...). The rows of ``flows`` are then those of a conn.log; else each flow is one connection, however slow."""

    zeek_checksums: bool = False
    """In Zeek's words, leave out what has a wrong checksum, as Zeek does unless it is told ``-C``; a letter C or c is left."""

    snapshot_s: float = 1.0
    """Live, on Linux: how long from one snapshot of this host's sockets to the next; 0 for none. With very many sockets there
    are fewer: they take no more than a seventh of a processor."""

    socket_rows: int = 100_000
    """Live: so many rows of ``Analysis.sockets`` that hold no more are kept, the newest."""

    backlog_bytes: int = 1 << 30
    """Live: packets that came faster than they are followed wait in memory, in so much of it at most (and in no more than a
    quarter of the machine's); what comes then is the kernel's to keep, and to drop. It is taken only as it is needed."""

    live_packets: int = 1_000_000
    """Live: with so many packets in memory something is let go of (``frames/eviction.py``); about 110 octets each."""

    live_flows: int = 200_000
    """Live: and with so many flows; about 1,200 octets each."""

    closed_s: float = 60.0
    """Live: a flow that is over goes first, when it has been silent for so long: until then a port used again is known."""
