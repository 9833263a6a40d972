"""A decoded segment: one row of scratch, between decode and the replay; and why records give none.

Its fields stand together as they are used, in cache lines of 64 octets: a batch of segments is larger than the processor's
caches, so that a step pays for the lines that it touches.
"""

from __future__ import annotations

import enum

import numpy as np

SEGMENT = np.dtype(
    [
        # One cache line: the segment itself, and whose it is. The replay needs this and the next one.
        ("time_ns", np.int64),
        ("frame", np.int64),
        ("seq", np.uint32),
        ("ack", np.uint32),
        ("tsval", np.uint32),
        ("tsecr", np.uint32),
        ("length", np.int32),  # payload bytes, from the IP header
        ("seglen", np.int32),  # what Wireshark takes for that: not beyond the frame's end, -1 where it does not know
        ("pair", np.int32),  # flows: which pair of addresses and ports
        ("untagged", np.int32),  # flows: the same pair without VLAN
        ("flags", np.uint16),  # the twelve bits as on the wire
        ("window", np.uint16),
        ("options", np.uint16),  # OPTION_ bits
        ("ip_id", np.uint16),
        ("raw_checksum", np.uint16),  # TCP's, as on the wire
        ("side", np.uint8),  # flows: 0 where the source is the pair's first end
        (
            "quoted",
            np.uint8,
        ),  # 1: no segment, but one that an ICMP error quotes; then only this of it and its key are set
        ("checksum", np.uint8),  # checksum.WHICH and IP_WRONG
        ("overlapping", np.uint8),  # put together from fragments that overlap
        ("truncated", np.uint8),
        ("header_trouble", np.uint8),  # HEADER_
        # A second one: what the search for copies and the replay found out.
        ("relative_seq", np.int64),
        ("relative_ack", np.int64),
        ("scaled_window", np.int64),
        ("copy_of", np.int64),  # frame of the first sight of the same packet, 0: this is it
        ("flow", np.int32),
        ("stream", np.int32),
        ("source", np.int32),  # flows: numbers of the addresses
        ("destination", np.int32),
        ("copy_pair", np.int32),  # the pair of the first sight
        ("sport", np.uint16),
        ("dport", np.uint16),
        ("from_client", np.uint8),
        ("client_state", np.int8),
        ("server_state", np.int8),
        ("client_proven", np.uint8),
        ("server_proven", np.uint8),
        ("step", np.int8),
        ("step_repeat", np.uint8),
        ("another_stream", np.uint8),  # flows: 1 where its SYN opened a stream on the ports of an earlier one
        # A third: where it was seen, and what few segments have.
        ("copy_row", np.int64),  # the row of the first sight; -1: this one has none
        ("tunnel_key", np.uint64),  # the way through tunnels to the segment, 0 without: part of the flow's key
        ("file_frame", np.uint32),
        ("vlan_key", np.int32),  # the whole stack of tags, -1 without one: part of the flow's key
        ("interface", np.int32),  # capture interface and, for SLL2, the kernel's: see interface_key
        ("ifindex", np.int32),  # SLL2's interface index, -1 where none
        ("file", np.int32),
        ("mss", np.int32),  # -1: no such option
        ("user_timeout", np.int32),  # -1: no such option
        ("reporter", np.int32),  # flows: number of the address of an ICMP error's sender
        ("mtu", np.uint32),  # that the error tells; 0: none
        ("vlan", np.int16),  # the innermost tag, -1 without one
        ("mptcp", np.uint16),  # bit i: MPTCP subtype i was there
        ("wscale", np.int8),  # -1: no such option
        ("sack_blocks", np.uint8),
        ("tunnel", np.uint8),  # layers.Layer of the innermost tunnel, 0 without
        ("version", np.uint8),  # 4 or 6
        ("ttl", np.uint8),
        ("outgoing", np.int8),  # 1, 0, -1 unknown
        ("loopback", np.uint8),  # cooked captures: on the loopback interface
        ("header", np.uint8),  # octets of the TCP header, by itself
        # A fourth: on the way from the record to the segment and to its pair.
        ("src_hi", np.uint64),  # addresses as big-endian numbers; IPv4 lies in src_lo's low 32 bits
        ("src_lo", np.uint64),
        ("dst_hi", np.uint64),
        ("dst_lo", np.uint64),
        ("reporter_hi", np.uint64),  # who sent an ICMP error
        ("reporter_lo", np.uint64),
        ("fragment_id", np.uint32),
        ("fragment_offset", np.uint16),  # octets, in IPv4 and IPv6 below 65536
        ("protocol", np.uint8),  # of IP: what a fragmented datagram carries
        ("fragment_more", np.uint8),
        ("padded", np.uint8),  # 802.11: the header is padded
        (
            "unsummed",
            np.uint8,
        ),  # its checksum does not tell: the card was to cut it up, or another destination was summed
        ("icmp_version", np.uint8),  # 4: ICMP, 6: ICMPv6
        ("icmp_type", np.uint8),
        ("icmp_code", np.uint8),
        ("reporter_version", np.uint8),
    ],
    align=True,
)

# Bits of SEGMENT.options: which options the segment carries.
OPTION_MSS = 1
OPTION_WSCALE = 2
OPTION_SACK_PERMITTED = 4
OPTION_SACK = 8
OPTION_TIMESTAMPS = 16
OPTION_FAST_OPEN = 32
OPTION_MPTCP = 64
OPTION_MD5 = 128
OPTION_AO = 256
OPTION_USER_TIMEOUT = 512
OPTION_MALFORMED = 1024
OPTION_COOKIE = 2048  # fast open with a cookie, not only the request for one
OPTION_MPTCP_KEY = 4096  # MP_CAPABLE with a key

# SEGMENT.header_trouble: what keeps Wireshark from showing what it found out.
HEADER_CUT = 1  # the snap length cut the options
HEADER_BOGUS = 2  # a length below 20
HEADER_LONG = 3  # a length beyond the segment's

#: Options that make a row of the options frame; timestamps are columns of the packets.
OPTION_ROW = (
    OPTION_MSS
    | OPTION_WSCALE
    | OPTION_SACK_PERMITTED
    | OPTION_SACK
    | OPTION_FAST_OPEN
    | OPTION_MPTCP
    | OPTION_MD5
    | OPTION_AO
    | OPTION_USER_TIMEOUT
)

# TCP's flags, RFC 9293 section 3.1 and RFC 9768 (AE)
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE = 1, 2, 4, 8, 16, 32, 64, 128, 256


class Skipped(enum.IntEnum):
    """Why a record is no segment; counted in ``Analysis.skipped`` under its words."""

    UNKNOWN_LINK = 0
    LINK_CUT = 1
    NOT_IP = 2
    IP_CUT = 3
    IP_MALFORMED = 4
    NOT_TCP = 5
    FRAGMENT = 6
    TCP_CUT = 7
    ICMP_ERROR = 8
    UNKNOWN_EXTENSION = 9
    TOO_DEEP = 10
    STRAY_ICMP_ERROR = 11


SKIPPED_WORDS: dict[Skipped, str] = {
    Skipped.UNKNOWN_LINK: "link type not understood",
    Skipped.LINK_CUT: "link header cut by the snap length",
    Skipped.NOT_IP: "not IPv4 or IPv6",
    Skipped.IP_CUT: "IP header cut by the snap length",
    Skipped.IP_MALFORMED: "IP header malformed",
    Skipped.NOT_TCP: "not TCP",
    Skipped.FRAGMENT: "IP fragment, not the last to come",
    Skipped.TCP_CUT: "TCP header cut below 20 bytes",
    Skipped.ICMP_ERROR: "ICMP error quoting a TCP segment",
    Skipped.UNKNOWN_EXTENSION: "IPv6 extension headers not understood",
    Skipped.TOO_DEEP: "formats nested too deep",
    Skipped.STRAY_ICMP_ERROR: "ICMP error quoting a segment of a connection that is not here",
}
