"""The figure of the states: every row of the literal is in it, well-formed, and no word lies on a box or on another."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from analyzer.tracker.states import TRANSITIONS, State
from analyzer.views import state_figure

SVG = "{http://www.w3.org/2000/svg}"
ROOT = ET.fromstring(state_figure.as_svg())


def words() -> list[tuple[float, float, float, str]]:
    """Left, right and baseline of each text, by the width of a monospaced letter."""
    found = []
    for text in ROOT.iter(f"{SVG}text"):
        x, y, size = float(text.get("x")), float(text.get("y")), 7.9 * len(text.text)
        left = {"middle": x - size / 2, "end": x - size}.get(text.get("text-anchor", ""), x)
        found.append((left, left + size, y, text.text))
    return found


def test_every_state_has_a_box():
    names = [text.text for text in ROOT.iter(f"{SVG}text") if text.get("class") == "name"]
    assert sorted(names) == sorted([*(state.name for state in State), "CLOSED"])


def test_every_row_is_in_it():
    arrows, lines = state_figure.arrows(), state_figure.lines()
    for row in TRANSITIONS:
        said = [line for line in lines if line.startswith(f"{row.event.name}: ")]
        if row.event in arrows.get((row.left, row.new), []):
            continue
        assert said, row
        if row.left is not row.new:
            _, _, names = said[0].partition("every state but ")
            assert (row.old.name in said[0]) != bool(names), row
    assert len(list(ROOT.iter(f"{SVG}polyline"))) == len(arrows)


def test_what_is_in_it_is_in_the_table():
    rows = {(row.left, row.event, row.new) for row in TRANSITIONS}
    for (old, new), events in state_figure.arrows().items():
        assert {(old, event, new) for event in events} <= rows
    for line in state_figure.lines():
        event, _, rest = line.partition(": ")
        if "every state but" in rest:
            without = set(re.findall(r"[A-Z_0-9]{6,}", rest.removesuffix(", to CLOSED")))
            olds = {row.old.name for row in TRANSITIONS if row.event.name == event}
            assert olds == {state.name for state in State} - without


def test_all_of_it_is_on_the_paper():
    _, _, width, height = map(float, ROOT.get("viewBox").split())
    for left, right, y, text in words():
        assert 0 < left < right < width, text
        assert 12 < y < height - 5, text


def test_no_word_lies_on_another():
    found = words()
    for number, (left, right, y, text) in enumerate(found):
        for other_left, other_right, other_y, other in found[:number]:
            assert abs(y - other_y) >= 13 or right <= other_left or other_right <= left, (text, other)
