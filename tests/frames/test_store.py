"""What is saved comes back as it was: values, dtypes, categories and their order, the index."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analyzer
from analyzer.analysis import Analysis
from analyzer.capture.records import Comment, Damage
from analyzer.errors import StoreError
from analyzer.frames import schema, store
from analyzer.settings import Settings
from tests.frames import made


def analysis() -> Analysis:
    frames = {
        "packets": made.frame("packets", [made.segment(0.1, ack=None), made.segment(0.2, step="reset")], [3, 7]),
        "options": made.frame("options", [{"mss": 1460, "sack": [1, 9]}, {"sack_permitted": True}], [3, 7]),
        "flows": made.frame("flows", [made.flow(syn_rtt=np.nan, irtt=0.125), made.flow(client="fe80::1", sack=True)]),
        "transitions": made.frame("transitions", made.life(0)),
        "anomalies": made.frame("anomalies", [{"frame": 3, "kind": "reset", "severity": "warning"}]),
        "findings": made.frame("findings", [{"symptom": "x", "evidence": ["frame 1", "flow 0"], "confidence": 0.5}]),
    }
    frames["packets"]["src"] = frames["packets"]["src"].cat.set_categories(["zz", "10.0.0.1", "unused"])
    frames["transitions"].index = pd.RangeIndex(len(frames["transitions"]))
    settings = Settings(time_wait_s=30.0)
    capture = made.capture(
        damage=(Damage("a.pcap", 99, "cut"),), skipped={"ARP": 3}, kernel_drops=1, interface_drops=2, timeless=3,
        comments=(Comment("a.pcap", 7, None, "here"), Comment("a.pcap", None, 0, "\x1b[2J")), comments_left_out=4,
        names={"10.0.0.1": ("a", "b")}, processes={17: "curl"}, printed=True,
    )  # fmt: skip
    return Analysis(frames, capture, ("10.0.0.1",), settings)


def test_everything_comes_back(tmp_path):
    saved = analysis()
    assert saved.save(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    loaded = analyzer.load(tmp_path / "new" / "folder")
    for name, frame in saved.frames.items():
        pd.testing.assert_frame_equal(loaded.frames[name], frame, check_exact=True, check_index_type="exact")
        assert type(loaded.frames[name].index) is type(frame.index)
    assert list(loaded.packets["src"].cat.categories) == ["zz", "10.0.0.1", "unused"]
    assert (loaded.capture, loaded.local_addresses, loaded.settings) == (saved.capture, ("10.0.0.1",), saved.settings)
    assert loaded.summary() == saved.summary()


def test_empty_frames_come_back(tmp_path):
    saved = Analysis({name: schema.empty(name) for name in store.STORED}, made.capture(first=None, last=None))
    saved.save(tmp_path)
    loaded = analyzer.load(tmp_path)
    for name, frame in saved.frames.items():
        pd.testing.assert_frame_equal(loaded.frames[name], frame)
    assert loaded.capture.first is None


def test_a_loaded_frame_can_be_changed(tmp_path):
    analysis().save(tmp_path)
    packets = analyzer.load(tmp_path).packets
    packets.loc[3, "length"] = 77
    assert packets.loc[3, "length"] == 77


def test_saving_again_replaces(tmp_path):
    analysis().save(tmp_path)
    smaller = analysis().select(flow=1)
    smaller.save(tmp_path)
    assert list(analyzer.load(tmp_path).flows.index) == [1]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.none() | TEXT, st.none() | NUMBER, st.floats(allow_nan=True), NUMBER), max_size=6),
    st.randoms(),
)
def test_any_values_come_back(tmp_path_factory, rows, random):
    folder = tmp_path_factory.mktemp("any")
    frame = made.frame("packets", [made.segment(ack=ack, rtt=rtt, seq=seq) for _, ack, rtt, seq in rows])
    words = sorted({word for word, *_ in rows if word is not None} | {"spare"})
    random.shuffle(words)
    frame["interface"] = pd.Categorical([word for word, *_ in rows], categories=pd.Index(words, dtype="str"))
    saved = {name: schema.empty(name) for name in store.STORED} | {"packets": frame}
    store.save(folder, saved, made.capture(), (), Settings())
    loaded = store.load(folder).frames["packets"]
    pd.testing.assert_frame_equal(loaded, frame, check_exact=True)


def test_other_tools_read_text_and_no_sidecars(tmp_path):
    import pyarrow.dataset as ds

    analysis().save(tmp_path)
    table = ds.dataset(tmp_path / "packets").to_table()
    assert table.num_rows == 2
    assert table.column("src").to_pylist() == ["10.0.0.1", "10.0.0.1"]


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match=r"holds other things \(thesis.txt\)"):
        analysis().save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(StoreError, match="is a file"):
        analysis().save(tmp_path / "thesis.txt")


@pytest.mark.parametrize("other", ["packets/mine.txt", "packets/mine.parquet", "flows", "zoo"])
def test_nothing_is_touched_where_something_else_is(tmp_path, other):
    """Not even the earlier analysis beside it; and a session does not begin there."""
    analysis().save(tmp_path)
    if other == "flows":
        for part in (tmp_path / other).iterdir():
            part.unlink()
        (tmp_path / other).rmdir()
    (tmp_path / other).write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match=rf"holds other things \({other}\)"):
        analysis().save(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "capture.json").unlink()
    with pytest.raises(StoreError, match=rf"holds other things \({other}\)"):
        store.begin(tmp_path)


def test_a_session_begins_in_an_empty_folder_only(tmp_path):
    for folder in (tmp_path / "new" / "one", tmp_path / "new" / "one"):  # the second time its frames' folders are there
        store.begin(folder)
    analysis().save(tmp_path / "kept")
    with pytest.raises(StoreError, match="holds a saved analysis already; name a new folder"):
        store.begin(tmp_path / "kept")
    (tmp_path / "kept" / "capture.json").unlink()
    with pytest.raises(StoreError, match=r"that was cut off \(anomalies/_categories-0.parquet\)"):
        store.begin(tmp_path / "kept")
    (tmp_path / "file").write_text("no folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match=r"is a file|cannot be"):
            store.begin(folder)


def _cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _edit(path: pathlib.Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "capture.json").unlink(), "no saved analysis"),
        (lambda folder: (folder / "capture.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "capture.json").write_text("[1]"), "not of a saved analysis"),
        (lambda folder: _edit(folder / "capture.json", version=99), "version 99"),
        (lambda folder: _edit(folder / "capture.json", frames={}), "damaged"),
        (lambda folder: _edit(folder / "capture.json", settings={"no_such": 1}), "damaged"),
        (lambda folder: _cut(folder / "flows" / "part-0.parquet"), "damaged"),
        (lambda folder: (folder / "packets" / "part-0.parquet").unlink(), "damaged"),
        (lambda folder: (folder / "packets" / "_categories-0.parquet").write_bytes(b"garbage"), "damaged"),
        (
            lambda folder: (folder / "anomalies" / "part-0.parquet").write_bytes(
                (folder / "flows" / "part-0.parquet").read_bytes()
            ),
            "damaged",
        ),
    ],
)
def test_damage_is_one_message(tmp_path, damage, said):
    analysis().save(tmp_path)
    damage(tmp_path)
    with pytest.raises(StoreError, match=said):
        analyzer.load(tmp_path)


def test_what_was_saved_before_sessions_knew_when_they_began(tmp_path):
    analysis().save(tmp_path)
    described = json.loads((tmp_path / "capture.json").read_text())
    del described["capture"]["began"]
    _edit(tmp_path / "capture.json", **described)
    assert analyzer.load(tmp_path).capture.began is None


def test_nothing_there_at_all(tmp_path):
    with pytest.raises(StoreError, match="no saved analysis"):
        analyzer.load(tmp_path / "missing")
