"""The cards: well-formed, everything of the capture escaped, no script, light and dark."""

from __future__ import annotations

import html.parser

from analyzer.analysis import Analysis
from analyzer.capture.records import Comment
from analyzer.frames import schema, store
from tests.frames import made

HOSTILE = "</td></div><script>alert('x')</script><img src=x onerror=\"alert(1)\">&amp;\x1b[2J"
VOID = {"br", "img", "meta", "link", "input", "hr"}


class Page(html.parser.HTMLParser):
    """Collects tags and text, and checks that every tag is closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attributes}
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def analysis(**capture) -> Analysis:
    frames = {name: schema.empty(name) for name in store.STORED}
    frames["flows"] = made.frame("flows", [made.flow(n_reset=1)])
    segments = [made.segment(0.1, step="open 1/3", client_proven=False), made.segment(0.2, from_client=False)]
    frames["packets"] = made.frame("packets", segments, [1, 2])
    frames["anomalies"] = made.frame("anomalies", [{"frame": 2, "flow": 0, "kind": "reset", "severity": "warning"}])
    return Analysis(frames, made.capture(**capture))


def test_the_card_says_what_the_text_says():
    page = Page(analysis()._repr_html_())
    for phrase in ("a.pcap", "1 complete", "10.0.0.1:40000 → 10.0.0.2:80", "TIME_WAIT", "reset", "frame 2"):
        assert phrase in page.text
    assert "prefers-color-scheme:dark" in page.text


def test_a_connections_card():
    page = Page(analysis().flow(0)._repr_html_())
    for phrase in ("flow 0", "open 1/3", "ESTABLISHED~", "← server", "0.100000", "reset"):
        assert phrase in page.text


def test_hostile_text_stays_text():
    comments = (Comment("a.pcap", 1, None, HOSTILE),)
    source = analysis(
        files=(HOSTILE,), formats=(HOSTILE,), link_types=("x" + HOSTILE,), skipped={HOSTILE: 2}, comments=comments
    )
    page = Page(source._repr_html_())
    assert not {"script", "img"} & set(page.tags)
    assert page.attributes <= {"class"}
    assert page.text.count("alert('x')") == 5  # file, format, link type, reason, comment
    assert "\x1b" not in page.text


def test_a_hostile_interface_and_address_in_a_connections_card():
    frames = {name: schema.empty(name) for name in store.STORED}
    frames["flows"] = made.frame("flows", [made.flow(client=HOSTILE)])
    frames["packets"] = made.frame("packets", [made.segment(src=HOSTILE, flags=HOSTILE)], [1])
    page = Page(Analysis(frames, made.capture()).flow(0)._repr_html_())
    assert not {"script", "img"} & set(page.tags)
    assert "alert('x')" in page.text


def test_nothing_at_all_makes_a_card_too():
    empty = Analysis({name: schema.empty(name) for name in store.STORED}, made.capture(first=None, last=None, files=()))
    assert "0 connections" in Page(empty._repr_html_()).text
