"""How good the capture is: what ``Analysis.capture`` says of itself besides the files, counted from the replay and the frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.decode.segment import FIN, RST, SYN
from analyzer.tracker.quality import Measure

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    import pandas as pd

    from analyzer.capture.clock import Clock

_FIRST = 1000
_ETHERNET_MSS = 1460
_FEWEST = 3  # connections on one port, or segments with data, that make it look chosen


def quality(
    measures: npt.NDArray[np.int64],
    clock: Clock,
    packets: pd.DataFrame,
    flows: pd.DataFrame,
    skipped: dict[str, int],
) -> dict[str, Any]:
    """Count; the names are the fields of ``Capture``.

    measures: ``Connections.quality`` at the end.
    """
    gaps, lost = int(measures[Measure.LOST_GAPS]), int(measures[Measure.LOST_BYTES])
    return {
        "checksums_wrong": int(flows["n_bad_checksum"].sum()),
        "checksums_left": int(measures[Measure.LEFT_TO_CARD]),
        "ip_checksums_wrong": int(measures[Measure.IP_WRONG]),
        "super_segments": int(measures[Measure.SUPER_SEGMENTS]),
        "lost_bytes": lost,
        "lost_segments": _least_segments(lost, gaps, packets, flows) if gaps else 0,
        "swapped": int(measures[Measure.SWAPPED]),
        "clock_steps": clock.steps,
        "disordered": clock.disordered,
        "one_direction": int((flows["n_one_direction"] > 0).sum()),
        "filtered": filters(packets, flows, skipped),
    }


def _least_segments(octets: int, gaps: int, packets: pd.DataFrame, flows: pd.DataFrame) -> int:
    """How many segments so many octets were at least: one a gap, and none larger than the largest seen or offered."""
    largest = int(packets["length"].max()) if len(packets) else 0
    for name in ("client_mss", "server_mss"):
        largest = max(largest, int(flows[name].fillna(0).max()))
    return max(gaps, -(-octets // (largest or _ETHERNET_MSS)))


def filters(packets: pd.DataFrame, flows: pd.DataFrame, skipped: dict[str, int]) -> tuple[str, ...]:
    """Say what a capture looks filtered for.

    * Only SYN, FIN and RST: no other segment, though a FIN or RST stands, or acknowledges, beyond the first octet.
    * No data: no segment with payload, though sequence numbers go on.
    * Only data: no segment without payload at all, not even an acknowledgement.
    * One port: it is an end of every connection, and there is nothing but TCP.
    """
    if not len(packets):
        return ()
    found = []
    length, seq, bits = (packets[name].to_numpy() for name in ("length", "seq", "flag_bits"))
    if _all(bits, lambda some: some & (SYN | FIN | RST) != 0):
        acknowledged = packets["ack"].to_numpy(np.int64, na_value=0)
        if (np.maximum(seq, acknowledged) > 2).any():
            found.append("only segments with SYN, FIN or RST")
    elif _all(length, lambda some: some == 0):
        if (seq > 2).any():
            found.append("no segment with data, though the numbers go on")
    elif len(length) >= _FEWEST and _all(length, lambda some: some > 0):
        found.append("only segments with data")
    if len(flows) >= _FEWEST and not skipped:
        found += [f"only TCP port {port}" for port in _common_ports(flows)]
    return tuple(found)


def _all(values: npt.NDArray[Any], are: Callable[[npt.NDArray[Any]], npt.NDArray[np.bool_]]) -> bool:
    """Whether all are so; the first few tell mostly that they are not."""
    return bool(are(values[:_FIRST]).all()) and bool(are(values).all())


def _common_ports(flows: pd.DataFrame) -> list[int]:
    client, server = flows["client_port"].to_numpy(), flows["server_port"].to_numpy()
    return [
        port
        for port in dict.fromkeys((int(server[0]), int(client[0])))
        if bool(((client == port) | (server == port)).all())
    ]
