"""Selecting by a Wireshark display filter, against what the installed tshark itself selects."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

import analyzer

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

CAPTURES = pathlib.Path(__file__).parents[2] / "captures"
MANY = CAPTURES / "many-connections" / "eth.pcap"


def selected(path: pathlib.Path, display_filter: str) -> list[int]:
    command = ["tshark", "-2", "-n", "-r", str(path), "-Y", display_filter, "-T", "fields", "-e", "frame.number"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    "display_filter", ["tcp.stream == 3", "tcp.flags.reset == 1", "ipv6 && tcp.len > 0", "tcp.analysis.flags", "udp"]
)
def test_the_segments_that_tshark_selects(display_filter):
    analysis = analyzer.read(MANY, display_filter=display_filter)
    assert list(analysis.packets.index) == selected(MANY, display_filter)
    assert set(analysis.flows.index) == set(analysis.packets["flow"])
    whole = analyzer.read(MANY)
    for column in ("flow", "seq", "client_state", "server_state"):
        assert list(analysis.packets[column]) == list(whole.packets.loc[analysis.packets.index, column])
    assert set(analysis.transitions["flow"]) <= set(analysis.flows.index)


def test_a_filter_that_tshark_does_not_know():
    with pytest.raises(analyzer.FilterError, match=r"tcp\.foo") as error:
        analyzer.read(MANY, display_filter="tcp.foo == 1")
    assert "\n" not in str(error.value)


def test_several_files_have_other_numbers_in_tshark():
    with pytest.raises(analyzer.CaptureError, match="one capture file"):
        analyzer.read([MANY, MANY], display_filter="tcp")
    with pytest.raises(analyzer.CaptureError, match="which a pipe cannot"):
        analyzer.read("-", display_filter="tcp")


def test_a_capture_cut_short_is_selected_from(tmp_path):
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(MANY.read_bytes()[:2000])
    analysis = analyzer.read(cut, display_filter="tcp.flags.syn == 1")
    assert len(analysis.packets) > 0
    assert analysis.packets["flags"].astype("str").str.contains("S").all()
