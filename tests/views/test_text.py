"""The summary as text: what it says, that it fits, that nothing of a capture gets to the terminal unescaped."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.analysis import Analysis
from analyzer.capture.records import Comment
from analyzer.frames import schema, store
from analyzer.views import text
from tests.frames import made

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n<script>alert(1)</script>\u202egnp.exe\x9b31m"


def analysis(**capture) -> Analysis:
    frames = {name: schema.empty(name) for name in store.STORED}
    frames["flows"] = made.frame("flows", [made.flow(n_reset=1)])
    frames["anomalies"] = made.frame("anomalies", [{"frame": 3, "flow": 0, "kind": "reset", "severity": "warning"}])
    return Analysis(frames, made.capture(**capture))


def test_the_screen_answers_the_first_questions():
    said = analysis().summary()
    for phrase in (
        "a.pcap (pcap (microseconds, little-endian), EN10MB)",
        "9 TCP segments of 10 records, 2,100 bytes of payload in 60.0 s, from 2025-03-01 12:00:00 UTC",
        "handshake completed by 1 of 1",
        "10.0.0.1:40000 > 10.0.0.2:80",
        "1  TIME_WAIT  client of 10.0.0.2:80  at least 60.0 s  flow 0",  # no row says when it entered
        "warning  1  reset  in 1 connection  frame 3",
        "whole, nothing missing",
    ):
        assert phrase in said
    assert repr(analysis()) == said


@pytest.mark.parametrize("width", [60, 80, 100])
def test_it_fits_the_width(width):
    """Nothing is cut: what is too long is broken."""
    shown = analysis(files=("x" * 200,), bpf="tcp port 80 and host 10.0.0.1 " * 5)
    said = shown.summary(width=width)
    assert max(map(len, said.splitlines())) <= width
    assert "".join(said.split()) == "".join(shown.summary(width=1000).split())


def test_an_explanation_is_broken_under_itself():
    line = "  warning  1  reset  in 1 connection  frame 3  the connection was torn down by a reset"
    assert text.folded(line, 80) == [
        "  warning  1  reset  in 1 connection  frame 3  the connection was torn down by a",
        "                                               reset",
    ]
    assert text.folded(line, 60) == [
        "  warning  1  reset  in 1 connection  frame 3",
        "      the connection was torn down by a reset",
    ]
    assert text.folded("  one sentence, which has no cells", 20) == ["  one sentence,", "    which has no", "    cells"]


def test_it_fits_one_screen_however_much_there_is():
    frames = {name: schema.empty(name) for name in store.STORED}
    frames["flows"] = made.frame(
        "flows", [made.flow(server_port=port, client_state="SYN_SENT", server_state="LISTEN") for port in range(300)]
    )
    kinds = schema.column("anomalies", "kind").vocabulary
    frames["anomalies"] = made.frame("anomalies", [{"kind": kind, "severity": "note", "frame": 1} for kind in kinds])
    skipped = {f"reason {i}": i for i in range(50)}
    said = Analysis(frames, made.capture(skipped=skipped)).summary(width=160).splitlines()
    assert len(said) <= 50
    assert any("290 more groups" in line for line in said)


def test_a_day_that_printed_text_does_not_say_is_not_made_up():
    noon = {
        "first": pd.Timestamp("1970-01-01 14:12:45", tz="UTC"),
        "last": pd.Timestamp("1970-01-01 14:12:46", tz="UTC"),
    }
    dateless = analysis(printed=True, **noon).summary()
    assert "from 14:12:45, the day unknown" in dateless
    assert "1970" not in dateless
    assert "from 1970-01-01 14:12:45 UTC" in analysis(**noon).summary()


def test_how_long_nobody_was_heard():
    """Nothing in a minute is not nothing at once."""
    empty = {name: schema.empty(name) for name in store.STORED}
    at = {
        "began": pd.Timestamp("2025-03-01 12:00:00", tz="UTC"),
        "ended": pd.Timestamp("2025-03-01 12:01:00", tz="UTC"),
    }
    said = Analysis(empty, made.capture(records=0, segments=0, first=None, last=None, **at))
    lines = said.summary().splitlines()
    assert lines[1:3] == ["  0 TCP segments of 0 records", "  listened for 60.0 s, from 2025-03-01 12:00:00 UTC"]
    assert "listened for 60.0 s" in said._repr_html_()
    assert "listened" not in analysis().summary()


def test_colour_only_where_wished():
    assert "\x1b" not in analysis().summary()
    assert "\x1b[33mwarning\x1b[0m" in analysis().summary(color=True)


def test_hostile_names_are_shown_not_obeyed():
    said = analysis(files=(HOSTILE,), formats=(HOSTILE,), skipped={HOSTILE: 1}, bpf=HOSTILE).summary(width=1000)
    assert all(character.isprintable() or character == "\n" for character in said)
    assert "\\x1b[2J" in said
    assert len(said.splitlines()) == len(analysis(skipped={"x": 1}, bpf="x").summary().splitlines())


def test_what_a_capture_brings_besides_packets():
    said = analysis(
        interface_drops=5, timeless=1, names={"10.0.0.1": ("a",)}, processes={1: "a", 2: "b"}, comments_left_out=2,
        comments=(Comment("a.pcap", 3, None, "look here"), *[Comment("a.pcap", None, None, HOSTILE)] * 3),
    ).summary(width=1000)  # fmt: skip
    for phrase in (
        "error  the interface lost 5 packets while capturing",
        "note   1 record without a time of their own",
        "note   comment on frame 3: look here",
        "note   3 more comments: Analysis.capture.comments",
        "note   names of 1 address: Analysis.capture.names",
        "note   2 processes named: packets.process",
    ):
        assert phrase in said
    assert all(character.isprintable() or character == "\n" for character in said)
    assert "printed by tcpdump" in analysis(printed=True).summary()


@given(st.text())
def test_printable_is_one_printable_line(anything):
    shown = text.printable(anything)
    assert shown.isprintable()
    assert shown == anything or not anything.isprintable()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0 us"), (0.0000213, "21 us"), (0.0801, "80.1 ms"), (12.25, "12.2 s"), (150, "2 min 30 s"), (9000, "2.5 h")],
)
def test_seconds(value, shown):
    assert text.seconds(value) == shown
    assert text.seconds(float("nan")) == "-"


@pytest.mark.parametrize(
    ("octets", "shown"), [(0, "0 bytes"), (9_999, "9,999 bytes"), (10_000, "10.0 kB"), (5 * 10**9, "5.0 GB")]
)
def test_amount(octets, shown):
    assert text.amount(octets) == shown
