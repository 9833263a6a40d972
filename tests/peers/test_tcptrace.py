"""tcptrace's figures out of our frames, against what the installed tcptrace prints of the same captures."""

from __future__ import annotations

import csv
import ipaddress
import math
import pathlib
import re
import shutil
import subprocess
from typing import Any

import pytest

import analyzer
from analyzer.peers import tcptrace
from tests import recordings
from tests.capture import conformance

needs_tcptrace = pytest.mark.skipif(shutil.which("tcptrace") is None, reason="tcptrace is not installed")

COUNTS = {
    "total packets", "ack pkts sent", "pure acks sent", "unique bytes sent", "actual data pkts", "actual data bytes",
    "rexmt data pkts", "rexmt data bytes", "zwnd probe pkts", "zwnd probe bytes", "outoforder pkts", "zero win adv",
    "RTT samples", "post-loss acks", "ambiguous acks", "segs cum acked",
    "hardware dups", "resets sent",
}  # fmt: skip
TIMES = {"RTT min", "RTT max", "RTT avg", "RTT from 3WHS"}
_PAIR = re.compile(r"\s+(?P<name>[\w#/ -]+?):\s+(?P<a>\S+)(?: \w+)?\s+(?P=name):\s+(?P<b>\S+)")

Figures = dict[str, float]


def plain(address: str) -> str:
    """The address as we write it: tcptrace prints all zeros of an IPv6 address but those of empty groups."""
    return str(ipaddress.ip_address(address))


def printed(path: pathlib.Path) -> list[dict[tuple[str, str], Figures]]:
    """Each connection as the installed tcptrace prints it: the figures of both its ends."""
    done = subprocess.run(
        ["tcptrace", "-nlr", str(path)], capture_output=True, text=True, errors="replace", check=False
    )
    found: list[dict[tuple[str, str], Figures]] = []
    hosts: list[tuple[str, str]] = []
    for line in done.stdout.splitlines():
        if match := re.match(r"\s+host \w+:\s+(.*):(\d+)$", line):
            host = (plain(match[1]), match[2])
            hosts = [host] if len(hosts) != 1 else [*hosts, host]
            if len(hosts) == 2:
                found.append({host: dict.fromkeys(["hardware dups", "resets sent"], 0.0) for host in hosts})
        elif found and (match := _PAIR.match(line)):
            for host, value in zip(hosts, (match["a"], match["b"]), strict=True):
                if match["name"] in COUNTS | TIMES:
                    found[-1].setdefault(host, {})[match["name"]] = float(value)
    return found


def ours(path: pathlib.Path) -> list[dict[tuple[str, str], Figures]]:
    """The same out of our frames."""
    analysis = analyzer.read(path)
    table = tcptrace.figures(analysis.packets)
    found = []
    for flow in analysis.flows.itertuples():
        ends: dict[tuple[str, str], Figures] = {}
        for end in ("client", "server"):
            place = (str(getattr(flow, end)), str(getattr(flow, f"{end}_port")))
            row: dict[str, Any] = table.loc[(flow.Index, end)].to_dict()
            ends[place] = {name.replace("_", " "): value for name, value in row.items()}
        found.append(ends)
    return found


def differences(mine: dict[Any, Figures], theirs: dict[Any, Figures]) -> list[str]:
    """Where the figures differ. Times are printed to the tenth of a millisecond, cut off rather than rounded."""
    found = []
    for place, figures in theirs.items():
        for name, value in figures.items():
            own = 0.0 if math.isnan(mine[place][name]) else mine[place][name]
            if abs(own - value) > (0.1 if name in TIMES else 0):
                found.append(f"{place[0]}:{place[1]} {name}: ours {own}, tcptrace {value}")
    return found


def of_the_same_packets(mine: list[dict[Any, Figures]], theirs: dict[Any, Figures]) -> list[dict[Any, Figures]]:
    """Our connections with the same ends and as many packets each way."""
    ends = [connection for connection in mine if set(connection) == set(theirs)]
    return [it for it in ends if all(it[place]["total packets"] == theirs[place]["total packets"] for place in it)]


def compared(path: pathlib.Path, theirs: list[dict[Any, Figures]]) -> tuple[list[str], int, int]:
    """Where they differ, how many connections were compared, and how many tcptrace makes of other packets than we."""
    mine = ours(path)
    found: list[str] = []
    others = 0
    for connection in theirs:
        same = of_the_same_packets(mine, connection)
        others += not same
        if same:
            found += min((differences(it, connection) for it in same), key=len)
    return found, len(theirs) - others, others


@needs_tcptrace
@pytest.mark.parametrize("name", recordings.NAMES)
def test_our_own_captures(name):
    path = recordings.capture(name)
    theirs = printed(path)
    found, _, others = compared(path, theirs)
    assert found == []
    assert others == 0


DIFFERENT = {
    # tcptrace takes the first fragment for the whole segment, and leaves the others out.
    "socks5-http-302-frag.pcap": "fragments",
    # A TCP header below 20 octets, or longer than the segment: tcptrace counts with what is left of the length.
    "input.pcap": "header lengths",
    "tcp-malformed.pcap": "header lengths",
}
GROUPED = {
    # tcptrace begins another connection with a SYN beyond the window after a FIN or RST (also the same one again), or with a
    # second SYN that has another number; we with each new ISN.
    "fin_retransmission.pcap", "half_open_reconnect", "rst-inject-rae.pcap",
    "tls_multiple_synack_different_seq.pcapng", "wrong_ack_in_syn_sent",
}  # fmt: skip


@needs_tcptrace
def test_the_shared_captures():
    """The same packets give the same figures; where they do not, it is said why."""
    different, grouped = {}, {}
    count = total = 0
    for path in conformance.captures():
        theirs = printed(path)
        if theirs:
            found, same, others = compared(path, theirs)
            count, total = count + same, total + same + others
            if found:
                different[name_of(path)] = found
            if others:
                grouped[name_of(path)] = others
    assert {name: found for name, found in different.items() if name not in {*DIFFERENT, *GROUPED}} == {}
    assert set(grouped) == GROUPED
    assert count >= 0.98 * total
    assert count > 900


def name_of(path: pathlib.Path) -> str:
    """A capture's name; a recorded scenario's is its folder's."""
    return path.parent.name if path.name in ("client.pcap", "server.pcap", "wire.pcap", "any.pcap") else path.name


def expected() -> dict[str, list[dict[Any, Figures]]]:
    """What tcptrace printed elsewhere, capture by capture."""
    conformance.captures()
    found: dict[str, list[dict[Any, Figures]]] = {}
    with (conformance.FOLDER / "expected" / "tcptrace_expected.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            ends = {}
            for way, host in (("a2b", "a"), ("b2a", "b")):
                cells = {name: row.get(f"{way} {name}", "") for name in COUNTS | TIMES}
                place = (plain(row[f"host_{host}"]), row[f"port_{host}"])
                ends[place] = {name: float(cell) for name, cell in cells.items() if cell}
            found.setdefault(row["pcap"], []).append(ends)
    return found


def test_the_printed_figures_of_others():
    """tcptrace's own captures, and what it prints of them: also where it is not installed."""
    for name, theirs in expected().items():
        found, same, others = compared(conformance.FOLDER / "captures" / name, theirs)
        assert found == []
        assert (same, others) == (len(theirs), 0)


def test_an_empty_capture(tmp_path):
    path = tmp_path / "empty.pcap"
    path.write_bytes(recordings.capture("reset").read_bytes()[:24])
    assert len(tcptrace.figures(analyzer.read(path).packets)) == 0
