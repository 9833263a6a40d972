"""The schema is what the frames have, what the documentation prints, and what the contract says."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import analyzer
from analyzer.decode.layers import FORMATS
from analyzer.frames import schema, vocabulary
from analyzer.frames.capture import LINK_NAMES
from analyzer.tracker.states import State
from tests.frames import made

ROOT = pathlib.Path(__file__).parents[2]
CONTRACT_PACKETS = """time flow stream outgoing ip_id ttl vlan truncated from_client src sport dst dport flags flag_bits
seq ack raw_seq raw_ack length window raw_window tsval tsecr client_state server_state client_proven server_proven step
step_repeat analysis rtt acks_frame bytes_in_flight interface copy_of"""


@pytest.mark.parametrize("name", schema.SCHEMAS)
def test_an_empty_frame_keeps_the_schema(name):
    empty = schema.empty(name)
    schema.check(name, empty)
    assert len(empty) == 0
    assert list(empty.columns) == [column.name for column in schema.SCHEMAS[name].columns]


def test_packets_has_the_columns_of_the_contract_in_order():
    contract = CONTRACT_PACKETS.split()
    names = [column.name for column in schema.PACKETS.columns]
    assert names[: len(contract)] == contract
    assert names[len(contract) :] == ["tunnel"]  # adding a column is fine


def test_no_column_is_declared_twice_and_all_have_a_dtype_that_pandas_knows():
    for declared in schema.SCHEMAS.values():
        names = [column.name for column in declared.columns]
        assert len(names) == len(set(names))
        for column in declared.columns:
            assert str(pd.api.types.pandas_dtype(schema.pandas_dtype(column))) == column.dtype


def test_check_names_every_difference():
    frame = made.frame("anomalies", [{"kind": "reset", "severity": "warning"}])
    wrong = frame.drop(columns="detail").assign(extra=1, flow=frame["flow"].fillna(0).astype("int64"))
    with pytest.raises(
        TypeError, match=r"detail is missing; column extra is not in the schema; .*flow is int64, not Int32"
    ):
        schema.check("anomalies", wrong)


def test_check_refuses_another_vocabulary_order_and_another_index():
    frame = made.frame("flows", [made.flow()])
    turned = frame.assign(close=frame["close"].cat.reorder_categories(vocabulary.CLOSES[::-1]))
    with pytest.raises(TypeError, match="close has the categories"):
        schema.check("flows", turned)
    with pytest.raises(TypeError, match="index is called 'number'"):
        schema.check("flows", frame.rename_axis("number"))
    with pytest.raises(TypeError, match="another order"):
        schema.check("flows", frame[frame.columns[::-1]])


def test_several_files_add_two_columns():
    frame = made.frame("packets", [made.segment()])
    both = frame.assign(file=pd.Categorical(["a.pcap"]), file_frame=np.int64(1))
    schema.check("packets", both)
    with pytest.raises(TypeError, match="file is not in the schema"):
        schema.check("packets", frame.assign(file=pd.Categorical(["a.pcap"])))


def test_vocabularies_are_the_trackers():
    assert vocabulary.STATES.index("TIME_WAIT") == State.TIME_WAIT == 11
    assert len(set(vocabulary.ANOMALY_KINDS)) == len(vocabulary.ANOMALY_KINDS)
    counted = [column.name for column in schema.FLOWS.columns if column.name.startswith("n_")]
    assert counted == ["n_" + kind.replace("-", "_") for kind in vocabulary.ANOMALY_KINDS]


def test_analysis_names_are_the_bits_in_order():
    assert analyzer.analysis_names(0) == ()
    every = analyzer.analysis_names((1 << len(vocabulary.ANALYSIS_NAMES)) - 1)
    assert every == vocabulary.ANALYSIS_NAMES
    assert analyzer.analysis_names(np.uint32(1 << 4)) == ("reused_ports",)


def test_the_documentation_is_printed_from_the_schema():
    printed = subprocess.run(
        [sys.executable, "-m", "analyzer.frames.schema"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert printed == (ROOT / "docs" / "frames.md").read_text(), "make docs"


def test_every_link_type_that_is_decoded_has_tcpdumps_name():
    assert {link for row in FORMATS for link in row.links} <= set(LINK_NAMES)
