"""Lines of the screen: exactly so many cells, nothing that a name could smuggle in, ports never cut off."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from analyzer.views import panes
from analyzer.views.listed import End, Row
from analyzer.views.spans import cut, filled, left, right, width_of, without_front, wrapped

WIDE = "日本語"  # two cells each
HOSTILE = "\x1b]0;owned\x07[bold red]x[/]\u202eevil\r\n\x00\x9b31m" + WIDE


@given(st.text(), st.integers(0, 40))
def test_a_cell_is_never_wider_or_narrower_than_its_column(text, width):
    assert width_of(left(text, width)) == width_of(right(text, width)) == width
    assert width_of(cut(text, width)) <= width
    assert left(text, width).isprintable()
    assert right(text, width).isprintable()


@given(st.lists(st.tuples(st.text(), st.just(""))), st.integers(1, 60))
def test_a_line_takes_exactly_its_width(line, width):
    assert width_of("".join(text for text, _ in filled(line, width))) == width


@given(st.text(), st.integers(4, 60), st.integers(1, 4))
def test_a_text_is_broken_into_no_more_lines_than_there_are(text, width, lines):
    found = wrapped(text, width, lines)
    assert 1 <= len(found) <= lines
    assert all(width_of(line) <= width for line in found)


@given(st.text(min_size=1), st.integers(1, 30))
def test_what_loses_its_front_fits(text, width):
    assert width_of(without_front(text, width)) <= max(width, 1) + 1


def row(client: str = "10.0.0.1", server: str = "10.0.0.2", process: str = "nginx", reason: str = "") -> Row:
    ends = [
        End(it, port, "ESTABLISHED", False, "", "ESTABLISHED", process, 7)
        for it, port in ((client, 65535), (server, 65534))
    ]
    return Row(
        1, 7, *ends, 10.0, False, (1e6, 2e6), (10**9, 10**9), (10**6, 10**6), 10**5, 0.123, None, reason, False, False,
        ({}, {}),
    )  # fmt: skip


@given(st.integers(60, 200), st.text(), st.sampled_from(["10.0.0.1", "2001:db8:1111:2222:3333:4444:5555:6666"]))
def test_a_row_and_its_details_fit_and_keep_both_ports(width, process, address):
    one = row(address, address, process, HOSTILE)
    line = "".join(text for text, _ in panes.row(one, width))
    assert width_of(line) == width
    assert line.isprintable()
    if width >= 80:
        assert ":65535" in line
        assert ":65534" in line
    details = panes.details(one, width)
    assert len(details) == 5
    for spans in details:
        said = "".join(text for text, _ in spans)
        assert width_of(said) == width
        assert said.isprintable()


def test_what_a_process_calls_itself_is_text():
    said = "".join(text for text, _ in panes.details(row(process=HOSTILE), 200)[0])
    assert r"\x1b]0;owned\x07[bold red]x[/]\u202eevil\r\n\x00\x9b31m日本語 (pid 7)" in said


def test_at_80_cells_the_addresses_of_two_private_networks_lose_a_little():
    line = "".join(text for text, _ in panes.row(row("192.168.100.100", "192.168.1.10"), 80))
    assert line.startswith(" …68.100.100:65535>….168.1.10:65534 ")
    assert "ESTABLISHED~ ESTABLISHED~ nginx" in line


def test_nothing_is_known_of_a_round_trip():
    one = row()._replace(rtt_s=math.nan)
    assert "rtt -" in "".join(text for text, _ in panes.details(one, 80)[2])
