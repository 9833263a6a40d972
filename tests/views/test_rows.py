"""Frames as table, CSV, JSON, NDJSON and Parquet: every format says the same."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest

from analyzer.frames import schema
from analyzer.views import rows
from tests.frames import made


def written(name: str, frame: pd.DataFrame, form: str) -> bytes:
    out = io.BytesIO()
    rows.write(name, frame, form, out)
    return out.getvalue()


@pytest.fixture
def flows():
    two = [made.flow(), made.flow(client="fe80::1", closed_by=None, irtt=float("nan"), sack=True, start=made.at(1e-9))]
    return made.frame("flows", two)


def test_json_and_ndjson_are_the_same_rows(flows):
    array = json.loads(written("flows", flows, "json"))
    lines = [json.loads(line) for line in written("flows", flows, "ndjson").splitlines()]
    assert array == lines
    assert [row["flow"] for row in array] == [0, 1]
    assert list(array[0]) == ["flow", *(column.name for column in schema.FLOWS.columns)]
    assert (array[1]["client"], array[1]["closed_by"], array[1]["irtt"], array[1]["sack"]) == (
        "fe80::1",
        None,
        None,
        True,
    )
    assert array[1]["start"] == "2025-03-01T12:00:00.000000001Z"


def test_csv_says_the_same_as_json(flows):
    table = list(csv.DictReader(io.StringIO(written("flows", flows, "csv").decode())))
    array = json.loads(written("flows", flows, "json"))
    assert list(table[0]) == list(array[0])
    for cells, row in zip(table, array, strict=True):
        assert (cells["start"], cells["client"], int(cells["client_bytes"])) == (
            row["start"],
            row["client"],
            row["client_bytes"],
        )
        assert (cells["closed_by"] or None) == row["closed_by"]


def test_parquet_has_every_column(flows):
    again = pd.read_parquet(io.BytesIO(written("flows", flows, "parquet")))
    assert list(again.columns) == list(flows.columns)
    assert list(again.index) == [0, 1]
    assert again["client"].tolist() == flows["client"].tolist()


@pytest.mark.parametrize("name", schema.SCHEMAS)
@pytest.mark.parametrize("form", rows.FORMATS)
def test_empty_frames_in_every_format(name, form):
    text = written(name, schema.empty(name), form)
    if form == "json":
        assert json.loads(text) == []
    elif form == "ndjson":
        assert text == b""
    elif form in ("csv", "table"):
        assert len(text.splitlines()) == 1
    else:
        assert pd.read_parquet(io.BytesIO(text)).empty


def test_lists_are_lists_in_json():
    frame = made.frame("options", [{"sack": [1, 9]}, {"mss": 1460}], [3, 4])
    array = json.loads(written("options", frame, "json"))
    assert [row["sack"] for row in array] == [[1, 9], None]


def test_long_frames_are_written_in_pieces(monkeypatch, flows):
    many = flows.take([0, 1] * 5).reset_index(drop=True).rename_axis("flow")
    whole = {form: written("flows", many, form) for form in ("csv", "json", "ndjson")}
    monkeypatch.setattr(rows, "_CHUNK", 3)
    assert {form: written("flows", many, form) for form in whole} == whole
    assert len(json.loads(whole["json"])) == 10


def test_the_table_is_aligned_and_escapes():
    frame = made.frame("flows", [made.flow(), made.flow(client="\x1b[31mred\n")])
    head, *lines = written("flows", frame, "table").decode().splitlines()
    assert head.split()[:4] == ["flow", "start", "(UTC)", "client"]
    assert len(lines) == 2
    assert "\\x1b[31mred\\n" in lines[1]
    assert lines[0].index("complete") == lines[1].index("complete")


def test_the_table_of_states_keeps_their_names():
    frame = pd.DataFrame({"FIN_WAIT_2": [1]}, index=pd.DatetimeIndex([made.START], name="time"))
    assert written("state_counts", frame, "table").decode().splitlines()[0].split() == ["time", "(UTC)", "FIN_WAIT_2"]
