"""Socket totals and counters beside what sar and nstat print at the same time."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys
import threading

import pandas as pd
import pytest

import analyzer
from analyzer import cli
from analyzer.frames import schema
from analyzer.frames.kernel_counters import CATALOGUE, as_markdown
from analyzer.host import sockstat
from analyzer.views.sockets import SAR, SockstatLines
from tests.host import stage as stages

ROOT = pathlib.Path(__file__).parents[2]
WHY_NOT = stages.usable()
needs_namespace = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


def needs(tool: str):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


@pytest.fixture
def stage():
    made = stages.Stage()
    try:
        yield made
    finally:
        made.remove()


def command(stage, *words: str, **how) -> subprocess.CompletedProcess[str]:
    with stage.inside():
        return subprocess.run(
            [sys.executable, "-m", "analyzer", *words], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False, **how
        )  # fmt: skip


SAR_NAMES = {
    "totsck": "sockets_used", "tcpsck": "tcp", "udpsck": "udp", "rawsck": "raw", "ip-frag": "fragments",
    "tcp-tw": "time_wait", "tcp6sck": "tcp6", "udp6sck": "udp6", "raw6sck": "raw6", "ip6-frag": "fragments6",
}  # fmt: skip
"""sar's heads and our columns."""


@pytest.mark.root
@needs_namespace
@needs("sar")
def test_the_same_figures_as_sar(stage):
    stages.play_all_states(stage)
    told: list[str] = []
    sar = threading.Thread(
        target=lambda: told.append(stage.tool("sar", "-n", "SOCK,SOCK6", "1", "2", S_TIME_FORMAT="ISO"))
    )
    sar.start()
    done = command(stage, "sockstat", "1", "2", "--json")
    sar.join()
    rows = json.loads(done.stdout)
    assert len(rows) == 2
    heads: list[str] = []
    lines = 0
    for line in told[0].splitlines():
        words = line.split()
        if "totsck" in words or "tcp6sck" in words:
            heads = [word for word in words if word in SAR_NAMES]
        elif heads and re.match(r"\d\d:\d\d:\d\d", line):
            lines += 1
            figures = {SAR_NAMES[head]: int(word) for head, word in zip(heads, words[-len(heads) :], strict=True)}
            for row in rows:
                # all sockets of the namespace are counted, those of the asking tools too: a few more or less
                assert row["sockets_used"] == pytest.approx(figures.pop("sockets_used", row["sockets_used"]), abs=4)
                figures.setdefault("sockets_used", row["sockets_used"])
                assert {name: row[name] for name in figures} == figures
    assert lines == 4  # two seconds of each
    assert rows[0]["tcp"] > 20
    assert rows[0]["time_wait"] >= 1
    assert rows[0]["established"] == ask_established(stage)


def ask_established(stage) -> int:
    with stage.inside():
        counts = analyzer.socket_states().set_index("state")["sockets"]
    return int(counts.get("ESTABLISHED", 0) + counts.get("CLOSE_WAIT", 0))


@pytest.mark.root
@needs_namespace
@needs("nstat")
def test_the_same_totals_as_nstat(stage):
    stages.play_all_states(stage)
    for _ in range(5):  # retransmissions go on meanwhile
        with stage.inside():
            before = analyzer.counters()
        told = json.loads(stage.tool("nstat", "-azsj"))["kernel"]
        with stage.inside():
            if analyzer.counters().equals(before):
                break
    ours = {row.group + row.counter: row.total for row in before.itertuples()}
    assert ours == {name: told[name] for name in ours}
    assert set(ours) == {counter.kernel_name for counter in CATALOGUE} & set(told)
    assert ours["TcpActiveOpens"] > 10
    schema.check("counters", before)


@pytest.mark.root
@needs_namespace
def test_counters_that_move_are_explained(stage):
    """A full accept queue: further handshakes are dropped, and the line under the totals says so."""
    with stage.inside():
        busy = stage.listener(port=7001, backlog=0)
        first = sockstat.read()
        for _ in range(4):
            stage.client(busy.getsockname(), wait=False)
        stage.until(lambda: sockstat.read().counters["TcpExtListenOverflows"] > first.counters["TcpExtListenOverflows"])
        last = sockstat.read()
    row = sockstat.rows([(first, last)]).iloc[0]
    assert row["ActiveOpens"] * row["interval"] == pytest.approx(4)
    assert row["ListenDrops"] >= row["ListenOverflows"] > 0
    done = command(stage, "sockstat", "--totals")
    assert re.search(r"ListenOverflows +\d+  accept queue full", done.stdout)
    assert "ActiveOpens" in done.stdout
    assert done.returncode == 0


@pytest.mark.root
@needs_namespace
def test_lines_as_sar_prints_them_with_what_moved_below(stage):
    """Four clients at a full queue: their SYNs are sent again each second."""
    with stage.inside():
        busy = stage.listener(port=7001, backlog=0)
        for _ in range(6):
            stage.client(busy.getsockname(), wait=False)
    done = command(stage, "sockstat", "1.5", "2")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0].split() == ["time", *SAR.values()]
    assert len([line for line in lines if re.match(r"\d\d:\d\d:\d\d ", line)]) == 2
    assert lines[-1].startswith("Average:")
    assert re.search(r"\d\.\d\d/s TCPSynRetrans +SYN and SYN-ACK sent again", done.stdout)


@linux
def test_rates_are_increases_a_second():
    first = sockstat.read()
    later = first._replace(
        monotonic_s=first.monotonic_s + 2.0,
        counters=first.counters | {"TcpActiveOpens": first.counters["TcpActiveOpens"] + 7, "TcpOutRsts": 0},
    )
    backwards = first._replace(counters=first.counters | {"TcpOutRsts": 5})
    row = sockstat.rows([(backwards, later)]).iloc[0]
    assert (row["ActiveOpens"], row["RetransSegs"]) == (3.5, 0.0)
    assert pd.isna(row["OutRsts"])
    assert row["interval"] == 2.0


@linux
@pytest.mark.parametrize(("columns", "left_out"), [(160, 0), (130, 0), (120, 0), (104, 0), (100, 1), (80, 4), (60, 6)])
def test_lines_fit_the_terminal_and_stand_under_their_heads(columns, left_out):
    """The fewest that do first: TCP's own totals and rates stay."""
    first = sockstat.read()
    moved = {name: count + 1234 for name, count in first.counters.items()}
    row = sockstat.rows([(first, first._replace(monotonic_s=first.monotonic_s + 1.0, counters=moved))])
    writer = SockstatLines(width=columns)
    lines = [*writer.of(row), *writer.of(row), *writer.average()]
    assert max(map(len, lines)) <= columns
    heads, figures, average = lines[0], lines[1], lines[-1]
    assert len(heads.split()) == len(SAR) + 1 - left_out
    ends = [match.end() for match in re.finditer(r"\S+", heads)][1:]
    for line in (figures, average):
        assert [match.end() for match in re.finditer(r"\S+", line)][1:] == ends
    assert {"tcpsck", "tcp-tw", "estab", "active/s", "passive/s", "retrans/s"} <= set(heads.split())


@linux
def test_the_frame_keeps_the_schema_and_the_clock():
    frame = analyzer.sockstat(0.05, 3)
    schema.check("sockstat", frame)
    assert len(frame) == 3
    assert frame["interval"].sum() == pytest.approx(0.15, abs=0.1)
    with pytest.raises(ValueError, match="above 0"):
        analyzer.sockstat(0)


@linux
@pytest.mark.parametrize("form", ["csv", "ndjson", "json", "parquet"])
def test_every_format_carries_the_same(capfd, tmp_path, form):
    target = tmp_path / f"rows.{form}"
    assert cli.main(["sockstat", "0.05", "3", "-o", str(target)]) == 0
    names = [column.name for column in schema.SCHEMAS["sockstat"].columns]
    if form == "csv":
        frame = pd.read_csv(target)
    elif form == "parquet":
        frame = pd.read_parquet(target)
    else:
        frame = pd.read_json(target, lines=form == "ndjson")
    assert list(frame.columns) == names
    assert len(frame) == 3
    assert capfd.readouterr().err == ""


@linux
def test_endless_output_needs_a_format_that_is_written_as_it_comes(capfd):
    assert cli.main(["sockstat", "1", "--json"]) == 2
    assert "ndjson" in capfd.readouterr().err


@linux
def test_an_interrupt_ends_with_the_average():
    import signal
    import time

    running = subprocess.Popen(
        [sys.executable, "-m", "analyzer", "sockstat", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )  # fmt: skip
    assert running.stdout.readline().startswith("time")
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 0, err
    assert out.splitlines()[-1].startswith("Average:")


def test_elsewhere_than_on_linux():
    with pytest.raises(analyzer.HostError, match="/proc/net/sockstat"):
        sockstat.read("/nonexistent")


def test_the_catalogue_is_documented_and_words_are_few():
    assert (ROOT / "docs" / "counters.md").read_text(encoding="utf-8") == as_markdown() + "\n"
    assert len({counter.kernel_name for counter in CATALOGUE}) == len(CATALOGUE)
    for counter in CATALOGUE:
        assert 2 <= len(counter.meaning.split()) <= 20, counter.name
        assert counter.source.split()[0].endswith(".c")


@linux
def test_this_kernel_has_what_the_catalogue_names():
    """All came by 6.14; a kernel that is older lacks some, and they are NA then."""
    known = {counter.kernel_name for counter in CATALOGUE} & set(sockstat.read().counters)
    assert len(known) >= 0.8 * len(CATALOGUE)
