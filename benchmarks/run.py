"""The benchmark: analyzer and its peers on the same captures in one run, as ratios of whole processes.

``captures.py`` makes the captures first, where they are missing. Every figure is the median of several processes from
start to end, in alternating order, with the captures in the page cache and our kernels compiled; peers that take over a
minute run once. The goals are the project's own; they are reported and never asserted, for seconds depend on the
machine and on who else uses it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import table
import tools
from goals import FURTHER, GOALS, Goal, Key
from measure import ProcessError, Run, Series, machine, measure

DATA = pathlib.Path(__file__).with_name("data")
SLOW_S = 60.0
"""A peer that takes longer than this runs once."""
LARGE = 1_000_000
"""Packets of a capture on which memory is most of what is measured."""

# The host of a virtual machine gives it memory when that is first touched, ten times as slowly as the machine itself
# gives it again: without this, whoever ran first on fresh pages would pay for it. Some machines give free memory back to
# the host within seconds, so more than any process here takes is touched before each run on a large capture.
TOUCH_MEMORY = """
import os
left = min(8 << 30, int(0.8 * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
held = []
while left > 0:
    held.append(bytearray(b"x") * (256 << 20))
    left -= 256 << 20
"""


class Session:
    """The series of one run of the benchmark, and the captures that they are measured on."""

    def __init__(self, folder: pathlib.Path) -> None:
        manifest = folder / "captures.json"
        self.folder = folder
        self.captures: dict[str, dict[str, Any]] = json.loads(manifest.read_text())
        self.series: dict[Key, Series] = {}
        self.notes: list[str] = []
        self.started = dt.datetime.now(dt.UTC).isoformat(timespec="minutes")

    def path(self, capture: str) -> str:
        """Give the path of a capture."""
        return str(self.folder / f"{capture}.pcap")

    def warm(self, keys: list[Key]) -> None:
        """Bring the captures into the page cache, and have our kernels compiled."""
        for capture in sorted({capture for _, capture in keys}):
            with open(self.path(capture), "rb") as file:
                while file.read(1 << 24):
                    pass
        if any(tool in tools.OURS for tool, _ in keys):
            for capture in ("ten", "web_any"):
                measure(tools.OURS["analyzer"](self.path(capture)), tools.OURS_ENVIRONMENT)
            measure(tools.OURS["analyzer read"](self.path("ten")), tools.OURS_ENVIRONMENT)

    def run(self, wanted: dict[Key, int]) -> None:
        """Make all runs, round by round, every other round in reverse order."""
        keys = [key for key in wanted if not (key in self.series and self.series[key].earlier)]
        failed: set[Key] = set()
        for turn in range(max((wanted[key] for key in keys), default=0)):
            for key in keys if turn % 2 == 0 else keys[::-1]:
                tool, capture = key
                series = self.series.setdefault(key, Series(tool, capture, self.captures[capture]["packets"]))
                slow = tool in tools.PEERS and bool(series.runs) and series.wall_s > SLOW_S
                if turn >= wanted[key] or slow or key in failed:
                    continue
                try:
                    run = self._once(series)
                except ProcessError as error:
                    failed.add(key)
                    self.note(f"{tool} on {capture} failed: {error}")
                    continue
                peak = run.peak_bytes / 1e6
                said = f"{run.wall_s:8.2f} s  {run.cpu_s:8.2f} s cpu  {peak:6.0f} MB"
                print(f"{turn + 1}: {tool:36} {capture:9} {said}", file=sys.stderr, flush=True)

    def _once(self, series: Series) -> Run:
        path = self.path(series.capture)
        if series.packets > LARGE:
            measure([sys.executable, "-c", TOUCH_MEMORY], {})
        if series.tool in tools.PEERS:
            return series.add(tools.PEERS[series.tool](path))
        command, environment = tools.OURS[series.tool](path), dict(tools.OURS_ENVIRONMENT)
        if "empty kernel cache" not in series.tool:
            return series.add(command, environment)
        with tempfile.TemporaryDirectory() as empty:
            return series.add(command, {**environment, "NUMBA_CACHE_DIR": empty})

    def note(self, text: str) -> None:
        """Keep a remark for the report, and say it now."""
        self.notes.append(text)
        print(text, file=sys.stderr, flush=True)

    def check_rows(self) -> None:
        """Remark where we did not give a row for each packet: a fast answer to something else is no figure."""
        for (tool, capture), series in self.series.items():
            rows = series.said.get("rows", {}).get("packets")
            if rows is not None and rows != series.packets:
                self.note(f"{tool} on {capture} gave {rows:,} rows for {series.packets:,} packets")

    def save(self, path: pathlib.Path) -> None:
        """Write everything as JSON."""
        values = {
            "date": self.started,
            "machine": machine(),
            "versions": tools.versions(),
            "captures": self.captures,
            "series": [series.as_json() for series in self.series.values() if series.runs],
            "goals": [
                {
                    "name": goal.name,
                    "value": goal.value(self.series),
                    "limit": goal.limit,
                    "verdict": goal.verdict(self.series),
                }
                for goal in GOALS
            ],
            "notes": self.notes,
        }
        path.write_text(json.dumps(values, indent=1) + "\n")

    def reuse(self, path: pathlib.Path) -> None:
        """Take the peers' figures of an earlier run, if it was on this machine and on these very captures."""
        if not path.exists():
            sys.exit(f"{path} does not exist: run with --peers-only first.")
        earlier = json.loads(path.read_text())
        if earlier["machine"] != machine():
            self.note(f"{path.name} was measured on another machine ({earlier['machine']}): not used")
            return
        for values in earlier["series"]:
            series = Series.from_json(values)
            if earlier["captures"][series.capture] != self.captures[series.capture]:
                self.note(f"{series.tool} on {series.capture}: the capture has been made again since; not reused")
            elif series.tool in tools.PEERS:
                series.earlier = series.earlier or earlier["date"]
                self.series.setdefault((series.tool, series.capture), series)


def plan(goals: list[Goal], peers: list[str], runs: int, *, further: bool, ours: bool) -> dict[Key, int]:
    """List the runs that the goals need; with ``further`` also those that only stand in the table."""
    wanted: dict[Key, int] = {}
    for goal in goals:
        for key in goal.needs:
            wanted[key] = max(wanted.get(key, 0), runs, goal.runs if ours else 0)
    for key in FURTHER if further else ():
        wanted.setdefault(key, runs)
    for key in wanted:
        if key[0] == "analyzer, bytes held":
            wanted[key] = 1  # the same every time
    allowed = set(peers) | (set(tools.OURS) if ours else set())
    return {key: n for key, n in wanted.items() if key[0] in allowed}


def make_captures(*, small: bool) -> None:
    """Make the captures that are missing (as root); those that are there are kept."""
    script = str(pathlib.Path(__file__).with_name("captures.py"))
    if subprocess.run(
        [sys.executable, script, *(["--small"] if small else [])], stdout=sys.stderr, check=False
    ).returncode:
        sys.exit("Without whole captures there is nothing to measure on.")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Run analyzer and its peers on the same captures and print ratios.")
    parser.add_argument("-n", "--runs", type=int, help="runs of each (default 3; with --peers-only 1)")
    parser.add_argument("--only", metavar="GOAL,...", help=f"of: {', '.join(goal.name for goal in GOALS)}")
    parser.add_argument("--peers", default="tshark,tcptrace,nfstream", metavar="NAME,...", help="default: %(default)s")
    parser.add_argument("--peers-only", action="store_true", help="run the peers and keep their figures in peers.json")
    parser.add_argument("--reuse-peers", action="store_true", help="take the peers' figures from peers.json")
    parser.add_argument("--small", action="store_true", help="on the small captures of `captures.py --small`")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything measured")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the tables")
    return parser.parse_args()


def main() -> None:
    """Measure what is asked for, print the tables."""
    arguments = parse()
    names = arguments.only.split(",") if arguments.only else [goal.name for goal in GOALS]
    goals = [goal for goal in GOALS if goal.name in names]
    asked = [peer for peer in arguments.peers.split(",") if peer]
    if unknown := set(names) - {goal.name for goal in GOALS} or set(asked) - set(tools.PEERS):
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. See --help.")
    folder = DATA / "small" if arguments.small else DATA
    make_captures(small=arguments.small)
    session = Session(folder)
    if arguments.small:
        session.note("On the small captures the start of the processes is most of what is measured: a try, no figures.")
    if arguments.reuse_peers:
        session.reuse(folder / "peers.json")
    peers = []
    for peer in asked:
        if why := tools.missing(peer):
            session.note(f"{why}: skipped")
        else:
            peers.append(peer)
    ours = not arguments.peers_only
    runs = arguments.runs or (3 if ours else 1)
    wanted = plan(goals, peers, runs, further=not arguments.only, ours=ours)
    sources = tools.sources()
    try:
        session.warm(list(wanted))
        session.run(wanted)
    except ProcessError as error:
        sys.exit(f"analyzer does not run: {error}")
    finally:
        if arguments.peers_only and session.series:
            if (folder / "peers.json").exists():
                session.reuse(folder / "peers.json")  # of those that were not asked for now
            session.save(folder / "peers.json")
    if ours and tools.sources() != sources:
        session.note("The sources of analyzer changed during the run: these are not the figures of one version.")
    session.check_rows()
    if arguments.json:
        session.save(arguments.json)
    text = table.report(session.series, goals if ours else [], session.notes, session.started)
    if arguments.markdown:
        arguments.markdown.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
