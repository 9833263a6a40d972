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

    record_limit_bytes: int = 16 * 1024 * 1024
    """A record that claims more bytes than this is damage, not a packet (libpcap: MAXIMUM_SNAPLEN is 262,144)."""

    batch_records: int = 65536
    """Records in one batch: large enough to forget the call and the threads' taking turns, small enough for the cache."""

    buffer_bytes: int = 4 * 1024 * 1024
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
