"""Wireshark's tcp.completeness: what of a connection was seen, of both directions together."""

from __future__ import annotations

from typing import Any

from analyzer.decode.segment import ACK, FIN, RST, SYN
from analyzer.kernel import part


@part
def note_completeness(segment: Any, flow: Any) -> None:
    """Wireshark's tcp.completeness: 1 SYN, 2 SYN-ACK, 4 ACK, 8 data, 16 FIN, 32 RST, of both directions together."""
    flags = segment.flags
    bits = 0
    if segment.length > 0:
        bits = 8
    elif flags & (SYN | ACK) == ACK:
        bits = 4
    if flags & (SYN | ACK) == SYN | ACK:
        bits |= 2
    if flags & (FIN | ACK) == FIN | ACK:
        bits |= 16
    if flags & RST:
        bits |= 32
    if flow.first_frame != segment.frame:
        flow.completeness |= bits
    elif flags & (SYN | ACK) == SYN:
        flow.completeness |= bits | 1
    else:
        flow.first_bits = bits  # Wireshark counts it when it reads the packet a second time, and shows it later still
