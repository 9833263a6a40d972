"""The decode kernel: a batch of raw records in, the rows of its segments out."""

from __future__ import annotations

from typing import Any

from analyzer.decode.icmp import is_icmp, quoted_segment
from analyzer.decode.ip import TCP, ipv4, ipv6
from analyzer.decode.link import ETHERTYPE_IPV4, network_header
from analyzer.decode.segment import Skipped
from analyzer.decode.tcp import DECODED, tcp
from analyzer.kernel import kernel

_NOT_TCP = int(Skipped.NOT_TCP)
_ICMP_ERROR = int(Skipped.ICMP_ERROR)


@kernel
def decode(records: Any, segments: Any, sacks: Any, skipped: Any) -> int:
    """Decode a batch.

    Parameters
    ----------
    records : Records
        The batch, n records.
    segments : array of SEGMENT, (>= n,)
        Takes a row for each TCP segment, and for each that an ICMP error quotes (``quoted``).
    sacks : uint32 array, (>= n, 8)
        Takes the edges of SACK blocks, left and right by turns.
    skipped : int64 array, (len(Skipped),)
        Counts the records that are no segment, by reason.

    Returns
    -------
    int
        The rows filled.
    """
    data = records.data
    filled = 0
    for i in range(len(records.offset)):
        segment = segments[filled]
        start = records.offset[i]
        end = start + records.captured[i]
        wire_end = start + records.wire[i]
        link = records.links[records.interface[i]]
        offset, ethertype = network_header(link, data, start, end, segment)
        if offset < 0:
            skipped[-1 - offset] += 1
            continue
        if ethertype == ETHERTYPE_IPV4:
            offset, protocol, length = ipv4(data, offset, end, wire_end, segment)
        else:
            offset, protocol, length = ipv6(data, offset, end, wire_end, segment)
        if offset < 0:
            skipped[-1 - offset] += 1
            continue
        segment.quoted = 0
        if protocol == TCP:
            # Padding behind the datagram is never part of it: neither of the payload nor of the options.
            verdict = tcp(data, offset, min(end, offset + length), length, segment, sacks[filled])
            if verdict != DECODED:
                skipped[verdict] += 1
                continue
        elif is_icmp(protocol) and quoted_segment(data, offset, min(end, offset + length), protocol, segment):
            skipped[_ICMP_ERROR] += 1
        else:
            skipped[_NOT_TCP] += 1
            continue
        segment.time_ns = records.time_ns[i]
        segment.frame = records.frame[i]
        segment.file = records.file[i]
        segment.file_frame = records.file_frame[i]
        segment.interface = records.interface[i]
        filled += 1
    return filled
