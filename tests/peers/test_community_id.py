"""Community IDs, against the specification's own and the installed tshark's."""

from __future__ import annotations

import ipaddress
import pathlib
import shutil
import subprocess

import pandas as pd
import pytest

import analyzer
from analyzer.peers.community_id import community_id, of_flows
from tests.frames import made

CAPTURES = pathlib.Path(__file__).parents[2] / "captures"


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def test_the_specifications_example_from_both_ends():
    """Of the baseline that comes with https://github.com/corelight/community-id-spec."""
    here, there = (packed("128.232.110.120"), 34855), (packed("66.35.250.204"), 80)
    assert community_id(*here, *there) == community_id(*there, *here) == "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
    assert community_id(*here, *there, seed=1) != community_id(*here, *there)


def test_the_port_decides_between_the_same_addresses_and_names_have_none():
    one = made.flow(client="127.0.0.1", client_port=40000, server="127.0.0.1", server_port=80)
    other = made.flow(client="127.0.0.1", client_port=80, server="127.0.0.1", server_port=40000)
    ids = of_flows(made.frame("flows", [one, other, made.flow(client="www.example.org")]))
    assert (ids.name, ids.index.tolist()) == ("community_id", [0, 1, 2])
    assert ids[0] == ids[1]
    assert pd.isna(ids[2])
    assert len(of_flows(made.frame("flows", []))) == 0


@pytest.mark.kernels
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("name", ["many-connections/eth.pcap", "copies-in-a-vlan/any.pcap", "reset/any.pcap"])
def test_what_tshark_calls_them(name):
    path = CAPTURES / name
    command = ["tshark", "-n", "-r", str(path), "-Y", "tcp && !icmp && !icmpv6", "--enable-protocol", "communityid"]
    fields = ["-T", "fields", "-e", "frame.number", "-e", "communityid"]
    said = subprocess.run([*command, *fields], capture_output=True, text=True, check=True).stdout
    theirs = dict(line.split("\t") for line in said.splitlines())
    if not any(theirs.values()):
        pytest.skip("this tshark has no Community ID plugin")
    analysis = analyzer.read(path)
    ours = analysis.packets["flow"].map(analysis.community_id())
    assert {str(frame): one for frame, one in ours.items()} == theirs
    assert ours.nunique() == len(set(theirs.values())) > 0
