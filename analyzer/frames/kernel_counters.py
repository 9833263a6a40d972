"""The kernel's counters that explain connections: what moves each, in a few words, and where in the kernel.

``Tcp`` stands in /proc/net/snmp (RFC 4022's MIB), ``TcpExt`` in /proc/net/netstat (Linux's own; nstat prints both, the
group before the name: TcpExtListenDrops). All count since the network namespace was made and cover IPv4 and IPv6. Names
and places: net/ipv4/proc.c and the SNMP macros (``__NET_INC_STATS``) of the functions named; explained at length in
Documentation/networking/snmp_counter.rst. A kernel that lacks one (many came one by one) has no value for it.
"""

from __future__ import annotations

from typing import NamedTuple

GROUPS = ("Tcp", "TcpExt")


class Counter(NamedTuple):
    """One counter."""

    name: str  #: as the kernel spells it
    group: str  #: of ``GROUPS``
    topic: str
    meaning: str
    source: str  #: where the kernel counts it

    @property
    def kernel_name(self) -> str:
        """As nstat prints it."""
        return self.group + self.name


_TOPICS: dict[str, dict[str, tuple[tuple[str, str, str], ...]]] = {
    "open": {
        "Tcp": (
            ("ActiveOpens", "connections opened from here: a SYN sent", "tcp_output.c tcp_connect"),
            ("PassiveOpens", "connections opened to here: the third ACK taken", "tcp_minisocks.c tcp_create_openreq_child"),
            ("AttemptFails", "gone from SYN_SENT or SYN_RCVD to CLOSED: refused, reset, given up", "tcp.c tcp_done"),
        ),
        "TcpExt": (
            ("TCPSynRetrans", "SYN and SYN-ACK sent again: nobody answered, or the answer was lost", "tcp_output.c __tcp_retransmit_skb, tcp_rtx_synack"),
            ("EmbryonicRsts", "a half-open connection ended by the client's RST or a new SYN", "tcp_minisocks.c tcp_check_req"),
            ("TCPDeferAcceptDrop", "third ACK without data ignored: the listener has TCP_DEFER_ACCEPT", "tcp_minisocks.c tcp_check_req"),
            ("TCPACKSkippedSynRecv", "no SYN-ACK again to a repeated SYN: too soon (tcp_invalid_ratelimit)", "tcp_minisocks.c tcp_check_req"),
            ("TCPSYNChallenge", "a SYN for a connection that lives, answered by an ACK that asks", "tcp_input.c tcp_validate_incoming, RFC 5961 4"),
            ("TCPChallengeACK", "ACKs sent that ask whether a SYN or an RST was meant", "tcp_input.c tcp_send_challenge_ack, RFC 5961"),
            ("TCPACKSkippedChallenge", "such ACKs not sent: too many a second (tcp_challenge_ack_limit)", "tcp_input.c tcp_send_challenge_ack"),
        ),
    },
    "listen queues": {
        "TcpExt": (
            ("ListenOverflows", "accept queue full: a SYN or a third ACK was dropped; the program accepts too slowly", "tcp_input.c tcp_conn_request, tcp_ipv4.c tcp_v4_syn_recv_sock"),
            ("ListenDrops", "a listener dropped a SYN or a third ACK, for whatever reason; overflows included", "tcp_input.c tcp_listendrop"),
            ("TCPReqQFullDoCookies", "SYN queue full: answered with a SYN cookie", "tcp_input.c tcp_syn_flood_action"),
            ("TCPReqQFullDrop", "SYN queue full, cookies off: SYN dropped", "tcp_input.c tcp_syn_flood_action"),
            ("SyncookiesSent", "SYN-ACKs that carry a cookie in place of a queue entry", "syncookies.c cookie_v4_init_sequence"),
            ("SyncookiesRecv", "third ACKs whose cookie was right: connections made without the queue", "syncookies.c cookie_v4_check"),
            ("SyncookiesFailed", "ACKs to a listener whose cookie was wrong, too old, or none", "syncookies.c cookie_v4_check"),
            ("TCPMigrateReqSuccess", "half-open connections handed to another listener of the port", "inet_connection_sock.c"),
            ("TCPMigrateReqFailure", "half-open connections that no other listener of the port took", "inet_connection_sock.c"),
        ),
    },
    "fast open": {
        "TcpExt": (
            ("TCPFastOpenActive", "SYNs with data that the server took", "tcp_input.c tcp_rcv_fastopen_synack"),
            ("TCPFastOpenActiveFail", "SYNs with data that the server did not take", "tcp_input.c tcp_rcv_fastopen_synack"),
            ("TCPFastOpenPassive", "SYNs with data taken here", "tcp_fastopen.c tcp_try_fastopen"),
            ("TCPFastOpenPassiveFail", "SYNs with data whose cookie was wrong", "tcp_fastopen.c tcp_try_fastopen"),
            ("TCPFastOpenListenOverflow", "too many fast opens waiting at a listener", "tcp_fastopen.c tcp_fastopen_queue_check"),
            ("TCPFastOpenCookieReqd", "SYNs that asked for a cookie", "tcp_fastopen.c tcp_try_fastopen"),
            ("TCPFastOpenBlackhole", "fast open switched off for a while: something on the way drops it", "tcp_fastopen.c tcp_fastopen_active_disable"),
        ),
    },
    "established": {
        "Tcp": (
            ("InSegs", "segments received, bad ones too", "tcp_ipv4.c tcp_v4_rcv"),
            ("OutSegs", "segments sent, retransmissions not included", "tcp_output.c __tcp_transmit_skb"),
            ("InErrs", "segments received in error: checksum, header", "tcp_ipv4.c tcp_v4_rcv"),
            ("InCsumErrors", "of them, with a wrong checksum", "tcp_ipv4.c tcp_v4_rcv"),
        ),
        "TcpExt": (
            ("TCPKeepAlive", "keep-alive probes sent", "tcp_timer.c tcp_keepalive_timer"),
            ("TCPWinProbe", "probes sent into the peer's closed window", "tcp_output.c tcp_send_probe0"),
            ("TCPFromZeroWindowAdv", "our window opened again after it was closed", "tcp_output.c tcp_select_window"),
            ("TCPToZeroWindowAdv", "our window closed: the program does not read", "tcp_output.c tcp_select_window"),
            ("TCPWantZeroWindowAdv", "would have closed our window, but what was offered is not taken back", "tcp_output.c tcp_select_window"),
            ("DelayedACKs", "ACKs sent by the timer of the delayed ACK", "tcp_timer.c tcp_delack_timer_handler"),
        ),
    },
    "retransmission": {
        "Tcp": (
            ("RetransSegs", "segments sent again, of all kinds", "tcp_output.c __tcp_retransmit_skb"),
        ),
        "TcpExt": (
            ("TCPTimeouts", "retransmission timer fired: nothing was acknowledged in time", "tcp_timer.c tcp_retransmit_timer"),
            ("TCPFastRetrans", "sent again because later data was acknowledged", "tcp_output.c tcp_xmit_retransmit_queue"),
            ("TCPSlowStartRetrans", "sent again after a timeout, one acknowledgement at a time", "tcp_output.c tcp_xmit_retransmit_queue"),
            ("TCPLostRetransmit", "a retransmission was lost as well", "tcp_input.c tcp_mark_skb_lost"),
            ("TCPLossProbes", "tail loss probes: the last segment sent again after two round trips", "tcp_output.c tcp_send_loss_probe, RFC 8985"),
            ("TCPLossProbeRecovery", "of them, that repaired a loss", "tcp_input.c tcp_process_tlp_ack"),
            ("TCPSpuriousRTOs", "timeouts that were needless: the original was acknowledged", "tcp_input.c tcp_process_loss, RFC 5682"),
            ("TCPDSACKRecv", "the peer had a segment already (DSACK): sent again in vain", "tcp_input.c tcp_check_dsack, RFC 2883"),
            ("TCPDSACKOldSent", "we had a segment already and said so (DSACK)", "tcp_input.c tcp_dsack_set, RFC 2883"),
            ("TCPRetransFail", "a retransmission that could not be sent: no memory, no route, queue full", "tcp_output.c tcp_retransmit_skb"),
            ("TCPSpuriousRtxHostQueues", "not sent again: the first is still in this host's queues", "tcp_output.c __tcp_retransmit_skb"),
            ("TCPSACKReneging", "the peer threw away data that its SACK had acknowledged", "tcp_input.c tcp_check_sack_reneging"),
            ("TcpTimeoutRehash", "another path tried after a timeout (flow label, hash)", "tcp_timer.c tcp_write_timeout"),
        ),
    },
    "close": {
        "Tcp": (
            ("EstabResets", "gone from ESTABLISHED or CLOSE_WAIT to CLOSED: reset or aborted", "tcp.c tcp_set_state"),
            ("OutRsts", "RSTs sent: no such socket, or an abort", "tcp_ipv4.c tcp_v4_send_reset, tcp_output.c tcp_send_active_reset"),
        ),
        "TcpExt": (
            ("TCPAbortOnData", "RST: data came after the program had closed, or it closed with SO_LINGER 0", "tcp_input.c tcp_rcv_state_process, tcp.c __tcp_close"),
            ("TCPAbortOnClose", "RST: the program closed and left received data unread", "tcp.c __tcp_close, RFC 2525 2.17"),
            ("TCPAbortOnTimeout", "given up: retransmissions, probes or keep-alives without an answer", "tcp_timer.c tcp_write_err"),
            ("TCPAbortOnLinger", "FIN_WAIT_2 without a program ended at once: TCP_LINGER2 below 0", "tcp.c __tcp_close"),
            ("TCPAbortOnMemory", "closed sockets ended: too many orphans (tcp_max_orphans) or no memory", "tcp.c tcp_check_oom, tcp_timer.c tcp_out_of_resources"),
            ("TCPAbortFailed", "no memory for an RST", "tcp_output.c tcp_send_active_reset"),
            ("TCPACKSkippedFinWait2", "no ACK to an out-of-window segment in FIN_WAIT_2: too many", "tcp_minisocks.c tcp_timewait_state_process"),
        ),
    },
    "TIME_WAIT": {
        "TcpExt": (
            ("TW", "TIME_WAIT ended after its 60 s", "inet_timewait_sock.c tw_timer_handler"),
            ("TWRecycled", "TIME_WAIT ended early: the port was wanted again (tcp_tw_reuse)", "inet_hashtables.c __inet_check_established"),
            ("TWKilled", "TIME_WAIT ended at once", "inet_timewait_sock.c"),
            ("TCPTimeWaitOverflow", "no TIME_WAIT kept: too many (tcp_max_tw_buckets)", "tcp_minisocks.c tcp_time_wait"),
            ("TCPACKSkippedTimeWait", "no ACK to an out-of-window segment in TIME_WAIT: too many", "tcp_minisocks.c tcp_timewait_state_process"),
        ),
    },
    "rejected segments": {
        "TcpExt": (
            ("PAWSActive", "in SYN_SENT: an answer whose timestamp is not ours, dropped", "tcp_input.c tcp_rcv_synsent_state_process"),
            ("PAWSEstab", "timestamp older than the last: dropped as a stray of long ago", "tcp_input.c tcp_validate_incoming, RFC 7323 5"),
            ("PAWSOldAck", "of them, plain old ACKs that arrived late", "tcp_input.c tcp_validate_incoming"),
            ("PAWSTimewait", "the same in TIME_WAIT", "tcp_minisocks.c tcp_timewait_state_process"),
            ("TSEcrRejected", "echoes a timestamp that was never sent: dropped", "tcp_minisocks.c tcp_check_req"),
            ("BeyondWindow", "data beyond the window that was offered: dropped", "tcp_input.c tcp_validate_incoming"),
            ("TCPACKSkippedPAWS", "no ACK to such a segment: too many", "tcp_input.c tcp_validate_incoming"),
            ("TCPACKSkippedSeq", "no ACK to a segment outside the window: too many", "tcp_input.c tcp_validate_incoming"),
            ("OutOfWindowIcmps", "ICMP error that quotes no segment in flight: ignored", "tcp_ipv4.c tcp_v4_err, RFC 5927"),
            ("LockDroppedIcmps", "ICMP error dropped: the socket was in use", "tcp_ipv4.c tcp_v4_err"),
            ("TCPMD5NotFound", "no MD5 signature where one is due", "tcp.c tcp_inbound_md5_hash, RFC 2385"),
            ("TCPMD5Unexpected", "an MD5 signature where none is due", "tcp.c tcp_inbound_md5_hash, RFC 2385"),
            ("TCPMD5Failure", "a wrong MD5 signature", "tcp.c tcp_inbound_md5_hash, RFC 2385"),
            ("TCPMinTTLDrop", "TTL below what the program demands (IP_MINTTL)", "tcp_ipv4.c tcp_v4_rcv, RFC 5082"),
            ("IPReversePathFilter", "source address on the wrong interface: dropped (rp_filter)", "ip_input.c ip_rcv_finish_core"),
        ),
    },
    "memory": {
        "TcpExt": (
            ("TCPBacklogDrop", "arrived while the program held the socket, and no room was left", "tcp_ipv4.c tcp_add_backlog"),
            ("TCPRcvQDrop", "no room in the receive queue: dropped", "tcp_input.c tcp_data_queue"),
            ("TCPZeroWindowDrop", "data came although our window was closed: dropped", "tcp_input.c tcp_data_queue"),
            ("PruneCalled", "receive buffer over its limit: squeezed", "tcp_input.c tcp_prune_queue"),
            ("RcvPruned", "and data that had arrived was thrown away", "tcp_input.c tcp_prune_queue"),
            ("OfoPruned", "and the out-of-order queue was thrown away", "tcp_input.c tcp_prune_ofo_queue"),
            ("TCPOFODrop", "out-of-order data dropped: no room", "tcp_input.c tcp_data_queue_ofo"),
            ("TCPOFOQueue", "segments that came out of order and were kept", "tcp_input.c tcp_data_queue_ofo"),
            ("TCPMemoryPressures", "TCP as a whole went short of memory (tcp_mem)", "tcp.c tcp_enter_memory_pressure"),
            ("PFMemallocDrop", "dropped: memory kept back for emergencies", "core/filter.c sk_filter_trim_cap"),
            ("TCPWqueueTooBig", "send queue too long to split a segment", "tcp_output.c tcp_fragment"),
        ),
    },
}  # fmt: skip

CATALOGUE: tuple[Counter, ...] = tuple(
    Counter(name, group, topic, meaning, source)
    for topic, groups in _TOPICS.items()
    for group, entries in groups.items()
    for name, meaning, source in entries
)
"""All of them; a topic's stand together."""


def as_markdown() -> str:
    """Write the catalogue as docs/counters.md has it."""
    lines = [
        "# The kernel's counters",
        "",
        "Generated from `analyzer/frames/kernel_counters.py`. `analyzer sockstat` prints those that move; files without",
        "a folder are of the kernel's `net/ipv4/`.",
        "",
        "| counter | group | about | what moves it | where |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [f"| `{c.name}` | {c.group} | {c.topic} | {c.meaning} | {c.source} |" for c in CATALOGUE]
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())  # noqa: T201
