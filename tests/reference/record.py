"""A packet as a capture file has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    data: bytes
    wire: int  #: octets on the wire: more than data has, where the snap length cut it
    time_ns: int
    link: int
    frame: int  #: from 1
    interface: int = 0
    file: int = 0
    file_frame: int = 0
