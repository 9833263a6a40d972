"""A recording of real kernels read by the analyzer: its frames line by line, its ends' paths against the kernel's own."""

from __future__ import annotations

import csv
import difflib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analyzer
from tests.capture import conformance
from tests.recordings import CAPTURES

SLACK_NS = 60_000_000  #: the far end's last step follows the last frame: some milliseconds on the way
NAMES = {"CLOSE": "CLOSED", "SYN_RECV": "SYN_RCVD", "FIN_WAIT1": "FIN_WAIT_1", "FIN_WAIT2": "FIN_WAIT_2"}


class Recorded:
    """What the analyzer made of it."""

    def __init__(self, path: Path, **reading: Any) -> None:
        self.path = path
        self.analysis = analyzer.read(path, **reading)

    def shows(self, text: str) -> Recorded:
        """Hold frames against lines: ``FRAME SENDER FLAGS | CLIENT SERVER [STEP] [! ANOMALIES]``, as ``tests.segments`` has it.

        The frames of a flow that are not written are not compared.
        """
        wanted = [" ".join(line.split()) for line in text.strip().splitlines()]
        found = [self._said(int(line.split()[0])) for line in wanted]
        if found != wanted:
            raise AssertionError("- wanted, + found\n" + "\n".join(difflib.ndiff(wanted, found)))
        return self

    def _said(self, frame: int) -> str:
        rows = self.analysis.anomalies
        kinds = sorted(str(kind) for kind in rows.loc[rows["frame"] == frame, "kind"])
        row = self.analysis.packets.loc[frame]
        states = " ".join(row[f"{end}_state"] + ("" if row[f"{end}_proven"] else "~") for end in ("client", "server"))
        step = "" if pd.isna(row["step"]) else f" ({row['step']})" if row["step_repeat"] else f" {row['step']}"
        troubles = f" ! {', '.join(kinds)}" if kinds else ""
        sender = "C>S" if row["from_client"] else "S>C"
        return f"{frame} {sender} {row['flags']} | {states}{step}{troubles}"

    def kinds(self) -> list[tuple[int, str]]:
        """All anomalies: (frame, kind)."""
        rows = self.analysis.anomalies
        return sorted((int(frame), str(kind)) for frame, kind in zip(rows["frame"], rows["kind"], strict=True))

    def ends(self, flow: int = 0, **values: object) -> Recorded:
        """Hold a flow's row against these values; None for NA."""
        row = self.analysis.flows.loc[flow]
        found = {name: None if pd.isna(row[name]) else row[name] for name in values}
        if found != values:
            raise AssertionError(f"{found}, not {values}")
        return self

    # ------------------------------------------------------------------------------------------- the kernel's own word

    def as_the_kernel(self) -> Recorded:
        """Hold the paths of both ends of each pair, one connection after the other, against the kernel's state changes."""
        last_ns = int(self.analysis.packets["time"].max().value)
        truth = kernel_paths(self.path.parent, last_ns + SLACK_NS)
        ours: dict[tuple[str, int, str, int], list[str]] = defaultdict(list)
        for flow in self.analysis.flows.itertuples():
            client = (str(flow.client), int(flow.client_port), str(flow.server), int(flow.server_port))
            for endpoint, path in ((client, flow.client_path), ((*client[2:], *client[:2]), flow.server_path)):
                ours[endpoint] += [] if pd.isna(path) else path.split(">")
        found = {str(end): _plain(path) for end, path in ours.items() if end in truth}
        wanted = {str(end): _plain(path) for end, path in truth.items() if end in ours}
        if found != wanted or not found:
            raise AssertionError(f"{found}, not {wanted}")
        return self


def _plain(path: list[str]) -> str:
    """Without the listener, which is another socket, and with one CLOSED between two lives."""
    kept = [state for state in path if state not in ("LISTEN", "UNKNOWN")]
    kept = [state for at, state in enumerate(kept) if at == 0 or kept[at - 1] != state]
    return ">".join(kept[1:] if kept[:2] == ["CLOSED", "SYN_RCVD"] else kept).replace("CLOSED>SYN_RCVD", "SYN_RCVD")


def kernel_paths(folder: Path, until_ns: int) -> dict[tuple[str, int, str, int], list[str]]:
    """The kernel's states of each end, up to a moment, from the recording's ``full_states.csv``."""
    found: dict[tuple[str, int, str, int], list[str]] = {}
    with (folder / "full_states.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            seconds, _, fraction = row["time"].partition(".")
            end = (row["local_addr"], int(row["local_port"]), row["remote_addr"], int(row["remote_port"]))
            if int(seconds) * 10**9 + int(fraction.ljust(9, "0")) > until_ns or not end[3] or row["old"] == row["new"]:
                continue
            old, new = (NAMES.get(row[which], row[which]) for which in ("old", "new"))
            found.setdefault(end, [old]).append(new)
    return found


def scenario(name: str, capture: str = "client") -> Recorded:
    """A shared kernel scenario, where it is there."""
    path = conformance.FOLDER / "kernel" / name / f"{capture}.pcap"
    if not path.is_file():
        pytest.skip(f"no conformance captures here: {conformance.FOLDER.parent.name}/{conformance.FOLDER.name}")
    return Recorded(path)


def own(name: str) -> Recorded:
    """A recording of ours; ``test_captures_states`` holds its ends' paths against the kernel's."""
    (path,) = (CAPTURES / name).glob("*.pcap")
    return Recorded(path)
