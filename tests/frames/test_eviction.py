"""Hours of running: what is let go of and what is left are together what a session without a limit has, and memory is flat."""

from __future__ import annotations

import contextlib
import tracemalloc

import pandas as pd
import pytest

import analyzer
from analyzer.decode.text_source import open_source
from analyzer.frames import eviction, parted, schema
from analyzer.frames.archive import Archive
from analyzer.frames.build import frames_so_far
from analyzer.frames.compiling import load_for_session
from analyzer.frames.news import Reader
from analyzer.frames.tracking import Tracking
from analyzer.session import LiveSession
from analyzer.settings import Settings
from tests import segments
from tests.frames import rounds

pytestmark = [pytest.mark.kernels]
FRAMES = ("packets", "options", "flows", "transitions", "anomalies")
QUIET = {"batch_records": 100, "buffer_bytes": 1 << 26, "closed_s": 20.0, "snapshot_s": 0.0}  # batches of one size


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    path = tmp_path_factory.mktemp("rounds") / "rounds.pcap"
    path.write_bytes(rounds.capture(6, 200.0))
    return path


@pytest.fixture
def few(monkeypatch):
    """So few packets may stay that a small capture reaches the limit."""
    monkeypatch.setattr(eviction, "_FEWEST", 150)
    monkeypatch.setattr(parted, "MOST_LOCAL", 60)  # each round has others


def session(path, folder=None, **limits) -> LiveSession:
    settings = Settings(**{**QUIET, **limits})
    archive = None if folder is None else Archive(folder)
    return LiveSession(open_source(path, settings=settings), settings, live=True, archive=archive)


def worded(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with words instead of categories: those of a whole are in another order than those of its parts."""
    words = {name: frame[name].astype("str") for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)}
    return frame.assign(**words)


def as_far_as_known(name: str, expected: pd.DataFrame, found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What packets say of each other that were not there together: medians, and a cause here and there."""
    if name == "flows":
        known = found["rtt_median"].notna()
        assert 0 < known.sum() < len(found)
        expected = expected.assign(rtt_median=expected["rtt_median"].where(known))
        guessed = [
            column for column in found if "retransmi" in column or column in ("n_out_of_order", "n_duplicate_ack")
        ]
    elif name == "anomalies":
        guessed = [column for column in found if column not in ("frame", "time", "flow", "endpoint")]
    else:
        return expected, found
    here, there = expected[guessed], found[guessed]
    different = ~((here == there).fillna(value=False) | (here.isna() & there.isna())).all(axis=1)
    assert different.mean() < 0.05  # at 300 packets kept, far fewer than anybody keeps
    return expected.drop(columns=guessed), found.drop(columns=guessed)


LIMITS = {
    "closed flows go": {"live_packets": 2500, "live_flows": 2000},
    "so many flows that those in TIME_WAIT go": {"live_packets": 100_000, "live_flows": 80},
    "packets of open flows go": {"live_packets": 600, "live_flows": 2000},
    "damaged segments name addresses": {"live_packets": 2500, "live_flows": 2000, "checksums": True},
}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.usefixtures("few")
def test_what_was_saved_and_what_is_left_are_the_whole(capture, tmp_path, limits):
    """The recordings in rounds, each round's connections from other addresses, as a session with limits and one without."""
    limits = {"checksums": False} | limits
    unlimited = session(capture, checksums=limits["checksums"])
    limited = session(capture, tmp_path / "saved", **limits)
    unlimited.wait(300)
    limited.wait(300)
    whole, left = unlimited.analysis(), limited.analysis()
    went = left.capture.let_go
    assert not whole.capture.let_go
    assert went["packets"] + len(left.packets) == len(whole.packets)
    assert went["flows"] + len(left.flows) == len(whole.flows)
    assert len(left.packets) < len(whole.packets) / 3
    assert len(left.flows) < len(whole.flows) / 3
    assert limited.counts[:4] == unlimited.counts[:4]
    saved = analyzer.load(limited.save())
    for name in FRAMES:
        schema.check(name, saved.frames[name])
        expected, found = worded(whole.frames[name]), worded(saved.frames[name])
        if limits["live_packets"] < 1000:
            expected, found = as_far_as_known(name, expected, found)
        pd.testing.assert_frame_equal(found, expected, check_index_type=False, obj=name)
    for name in ("records", "segments", "skipped", "copies", "truncated", "first", "last", "lost_segments", "let_go"):
        assert getattr(saved.capture, name) == getattr(whole.capture, name), name


OPENED = "0.000 C>S S seq=0 mss=1460\n0.010 S>C S. seq=0 ack=1\n0.020 C>S . seq=1 ack=1\n"
HOSTILE = {
    "forged SYNs": "C>S S seq={isn}\nS>C . seq=1 ack={n}\nC>S P. seq={n} ack=1 len=1\n",
    "forged resets": "C>S R. seq=1 ack={n}\nS>C P. seq={n} ack=1 len=1\n",
}
"""What somebody else says of one connection, again and again, and what disproves it."""


@pytest.mark.parametrize("again", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.usefixtures("few")
def test_one_connection_cannot_fill_the_memory(tmp_path, again):
    """Each time it gets a flow or a transition more; it goes on, and they go."""
    lines = [line for n in range(1, 1200) for line in again.format(n=n, isn=5_000_000 + n * 100_000).splitlines()]
    text = OPENED + "".join(f"{1 + at / 500:.4f} {line}\n" for at, line in enumerate(lines))
    path = tmp_path / "again.pcap"
    path.write_bytes(segments.Rendering().capture(segments.parse(text)))
    unlimited = session(path)
    limited = session(path, tmp_path / "saved", live_packets=300, live_flows=60)
    unlimited.wait(300)
    limited.wait(300)
    tracking = limited._tracking
    assert tracking.connections.counts[0] <= 60 + 100  # a batch more
    assert (tracking.log.counts[:2] <= 300 + 200).all()
    whole = unlimited.analysis()
    assert len(whole.flows) == 1
    saved = analyzer.load(limited.save())
    for name in ("packets", "flows", "transitions"):
        expected, found = worded(whole.frames[name]), worded(saved.frames[name])
        if name == "flows":
            expected, found = (frame.drop(columns="rtt_median") for frame in (expected, found))
        pd.testing.assert_frame_equal(found, expected, check_index_type=False, obj=name)
    kinds = [analysis.anomalies["kind"].value_counts().sort_index() for analysis in (whole, saved)]
    pd.testing.assert_series_equal(kinds[1], kinds[0])


@pytest.mark.usefixtures("few")
def test_news_comes_once_though_rows_go(capture):
    settings = Settings(**QUIET, live_packets=600, live_flows=80, checksums=False)
    tracking, quick, slow = Tracking(settings), Reader(), Reader()
    whole = analyzer.read(capture, settings=Settings(checksums=False))
    tracking.readers += [quick, slow]
    told: dict[int, list[pd.DataFrame]] = {0: [], 1: []}
    with contextlib.closing(open_source(capture, settings=settings)) as source:
        for at, records in enumerate(source.batches()):
            tracking.feed(records)
            told[0].append(tracking.news(source.info, quick)[0])
            if at % 5 == 0:
                told[1].append(tracking.news(source.info, slow)[0])
            if eviction.is_due(tracking):
                eviction.let_go(tracking)
    assert tracking.rows < 600
    for parts in told.values():
        news = pd.concat([packets[["time", "flow", "stream", "seq"]] for packets in parts])
        assert not news.index.duplicated().any()
        pd.testing.assert_frame_equal(news, whole.packets.loc[news.index, news.columns])
    assert sum(map(len, told[0])) == len(whole.packets)
    missed = len(whole.packets) - sum(map(len, told[1])) - (tracking.rows - slow.segments)
    assert 0 < missed < 0.2 * len(whole.packets)  # what goes before it is asked for is not told, but counted
    assert (quick.missed, slow.missed) == (0, missed)


@pytest.mark.usefixtures("few")
def test_the_rule(capture):
    """Nothing goes below the limit; then what is over and silent goes, and what is open stays."""
    settings = Settings(**QUIET, live_packets=1500, checksums=False)
    tracking = Tracking(settings)
    with contextlib.closing(open_source(capture, settings=settings)) as source:
        for records in source.batches():
            tracking.feed(records)
            if eviction.is_due(tracking):
                break
            assert not tracking.let_go
        before = analyzer.Analysis.of(frames_so_far(tracking, source.info), settings).flows
        eviction.let_go(tracking)
        after = analyzer.Analysis.of(frames_so_far(tracking, source.info), settings).flows
    gone = before[~before.index.isin(after.index)]
    over = ["CLOSED", "LISTEN", "UNKNOWN"]
    assert len(gone)
    assert gone["client_state"].isin(over).all()
    assert gone["server_state"].isin(over).all()
    silent = (before["end"].max() - before["end"]).dt.total_seconds() >= settings.closed_s
    still = before["client_state"].isin(over) & before["server_state"].isin(over) & silent
    assert sorted(gone.index) == sorted(before[still].index)
    assert tracking.let_go["open flows"] == 0


@contextlib.contextmanager
def traced():
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("few")
def test_memory_stays_flat(tmp_path):
    """Rows in use and memory allocated, over many rounds of real traffic."""
    path = tmp_path / "long.pcap"
    path.write_bytes(rounds.capture(24, 200.0))
    settings = Settings(**QUIET, live_packets=1500, live_flows=60, checksums=False)
    tracking = Tracking(settings)
    load_for_session()  # what kernels take when they are loaded is not the session's
    used: list[tuple[int, ...]] = []
    held: list[int] = []
    with contextlib.closing(open_source(path, settings=settings)) as source, traced():
        for records in source.batches():
            tracking.feed(records)
            if eviction.is_due(tracking):
                eviction.let_go(tracking)
                counts = (
                    tracking.table.counts,
                    tracking.connections.counts,
                    tracking.log.counts,
                    tracking.options.counts,
                )
                used.append(tuple(int(number) for some in counts for number in some[:2]))
                held.append(tracemalloc.get_traced_memory()[0])
    assert len(used) > 20
    assert tracking.let_go["packets"] > 30_000
    first, last = len(used) // 4, len(used) // 2
    for early, late in zip(*(map(max, zip(*some, strict=True)) for some in (used[:last], used[last:])), strict=True):
        assert late <= 1.2 * early + 20
    assert max(held[last:]) < max(held[first:last]) + 300_000  # what went would take ten times as much
    rooms = [len(rows) for rows in (*tracking.columns[:3], tracking.log.transitions, tracking.verdicts.nodes)]
    assert max(rooms) < 70_000
