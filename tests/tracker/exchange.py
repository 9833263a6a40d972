"""An exchange played to the analyzer, line by line held against what is expected of it."""

from __future__ import annotations

import difflib
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

import analyzer
from analyzer.frames import schema
from tests.segments import START_NS, Line, Rendering, parse


class Played:
    """What the analyzer made of an exchange."""

    def __init__(self, lines: list[Line], analysis: analyzer.Analysis) -> None:
        self.lines = lines
        self.analysis = analysis

    def flow(self, number: int = 0) -> dict[str, Any]:
        """The flow's row; None for NA."""
        row = self.analysis.flows.loc[number]
        return {name: None if pd.isna(value) else value for name, value in row.items()}

    def ends(
        self, client_path: str | None = None, server_path: str | None = None, flow: int = 0, **values: object
    ) -> Played:
        """Hold the flow's row against these paths and values."""
        if client_path is not None:
            values["client_path"] = client_path
        if server_path is not None:
            values["server_path"] = server_path
        row = self.flow(flow)
        _same([f"{name}: {row[name]}" for name in values], [f"{name}: {values[name]}" for name in values])
        return self

    def changes(self, endpoint: str, flow: int = 0) -> list[str]:
        """The endpoint's transitions: ``FRAME OLD>NEW EVIDENCE FRAME``; the timer's frame is ``-``."""
        rows = self.analysis.transitions
        rows = rows[(rows["flow"] == flow) & (rows["endpoint"] == endpoint)]
        texts = []
        for row in rows.itertuples():
            shown = row.refuted_by if row.evidence == "refuted" else row.proven_by
            text = f"{'-' if pd.isna(row.frame) else row.frame} {row.old}>{row.new} {row.evidence}"
            texts.append(text if pd.isna(shown) else f"{text} {shown}")
        return texts

    def kinds(self) -> list[tuple[int, str]]:
        """All anomalies: (frame, kind)."""
        rows = self.analysis.anomalies
        return sorted((int(frame), str(kind)) for frame, kind in zip(rows["frame"], rows["kind"], strict=True))

    def state(self, endpoint: str, time_s: float, flow: int = 0) -> str:
        """The endpoint's state at a moment, by the transitions that stand at the end of the capture."""
        return self._state(endpoint, round(time_s * 1e9), flow)

    def _state(self, endpoint: str, time_ns: int, flow: int) -> str:
        rows = self.analysis.transitions
        rows = rows[(rows["flow"] == flow) & (rows["endpoint"] == endpoint) & (rows["evidence"] != "refuted")]
        rows = rows[rows["time"] <= pd.Timestamp(START_NS + time_ns, unit="ns", tz="UTC")]
        return str(rows["new"].iloc[-1]) if len(rows) else "UNKNOWN"

    # ------------------------------------------------------------------------------------------ line by line

    def compare(self) -> None:
        """Hold each line's numbers and expectations against the packets, transitions and anomalies."""
        found, wanted = [], []
        for line in self.lines:
            if line.expected is not None:
                said = self._said(line)
                found.append(f"{line.number} {line.text} | {said}")
                wanted.append(f"{line.number} {line.text} | {_adopt(line.expected, said)}")
        _same(found, wanted)

    def numbers(self) -> None:
        """Hold the relative numbers and lengths against those of the lines."""
        columns = ["seq", "ack", "length"]
        found = [
            f"{frame} seq {seq} ack {ack} length {length}"
            for frame, seq, ack, length in self.analysis.packets[columns].itertuples()
        ]
        wanted = [
            f"{x.number} seq {x.whole('seq')} ack {x.words.get('ack', '<NA>')} length {x.whole('len')}"
            for x in self.lines
            if x.is_segment
        ]
        _same(found, wanted)

    def schemas(self) -> None:
        """Hold the frames against their schema."""
        for name, frame in self.analysis.frames.items():
            schema.check(name, frame)

    def chains(self) -> None:
        """Hold the transitions against the flows: what was not refuted is a chain, its states the path, the last the state."""
        rows = self.analysis.transitions
        rows = rows[rows["evidence"] != "refuted"]
        for number, row in self.analysis.flows.iterrows():
            for end in ("client", "server"):
                mine = rows[(rows["flow"] == number) & (rows["endpoint"] == end)]
                steps = list(zip(mine["old"], mine["new"], strict=True))
                chain = [steps[0][0], *(new for _, new in steps)] if steps else []
                # a listener is another socket, which never left: it takes over where the end before it has closed
                olds = [
                    "CLOSED" if step == ("LISTEN", "SYN_RCVD") and old == "CLOSED" else step[0]
                    for step, old in zip(steps, chain, strict=False)
                ]
                _same(olds, chain[:-1])
                if steps:
                    path = ">".join(chain[1:] if chain[:2] == ["UNKNOWN", "LISTEN"] else chain)
                    _same([row[f"{end}_path"], row[f"{end}_state"]], [path, chain[-1]])

    def _said(self, line: Line) -> str:
        kinds = sorted(kind for frame, kind in self.kinds() if frame == line.number)
        troubles = f" ! {', '.join(kinds)}" if kinds else ""
        if not line.is_segment:
            flow = int((line.expected or "")[1:].split()[0]) if (line.expected or "").startswith("#") else 0
            states = [self._state(endpoint, line.time_ns, flow) for endpoint in ("client", "server")]
            return f"#{flow} {' '.join(states)}{troubles}"
        row = self.analysis.packets.loc[line.number]
        states = [row[f"{end}_state"] + ("" if row[f"{end}_proven"] else "~") for end in ("client", "server")]
        step = "" if pd.isna(row["step"]) else f" ({row['step']})" if row["step_repeat"] else f" {row['step']}"
        return f"#{row['flow']} {' '.join(states)}{step}{troubles}"


def _same(found: list[str], wanted: list[str]) -> None:
    if found != wanted:
        raise AssertionError("- wanted, + found\n" + "\n".join(difflib.ndiff(wanted, found)))


def _adopt(expected: str, said: str) -> str:
    """The expectation in the order and spelling of what was said, its open places filled with that."""
    said_left, _, said_kinds = said.partition(" ! ")
    left, mark, kinds = expected.partition("!")
    said_flow, said_client, said_server, *said_step = said_left.split()
    flow, rest = (left.split()[0], left.split()[1:]) if left.startswith("#") else (said_flow, left.split())
    assert len(rest) >= 2, f"two states are missing: {expected}"
    client, server, *step = rest
    parts = [flow, _open(client, said_client), _open(server, said_server), *(said_step if step == ["?"] else step)]
    wanted = sorted(kind.strip() for kind in kinds.split(",") if kind.strip())
    troubles = said_kinds if wanted == ["?"] else ", ".join(wanted)
    assert bool(wanted) == bool(mark), f"! without anomalies: {expected}"
    return " ".join(parts) + (f" ! {troubles}" if troubles else "")


def _open(state: str, said: str) -> str:
    if state == "?":
        return said
    if state.endswith("?"):
        return said if said.rstrip("~") == state[:-1] else state
    return state


def play(
    text: str,
    *,
    numbers: bool = True,
    chains: bool = True,
    settings: analyzer.Settings | None = None,
    bpf: str | None = None,
    **rendering: Any,
) -> Played:
    """Render the exchange, read it, and hold each line against it.

    numbers: hold the relative numbers against the lines' too (not where a flow's base is another one than the ISN).
    chains: hold the transitions against the paths.
    """
    lines = parse(text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exchange.pcap"
        path.write_bytes(Rendering(**rendering).capture(lines))
        analysis = analyzer.read(path, settings=settings, bpf=bpf)
    played = Played(lines, analysis)
    played.compare()
    played.schemas()
    if chains:
        played.chains()
    if numbers:
        played.numbers()
    return played
