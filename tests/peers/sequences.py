"""Segment sequences that try Wireshark's sequence analysis: a story of steps, told by two ends on one pair of ports.

A step is what one end does next (send text, repeat it, acknowledge too much, shut its window, begin anew, ...), how much and
how late. Many stories make a capture, so that one run of tshark judges them all.
"""

from __future__ import annotations

from typing import NamedTuple

import hypothesis.strategies as st

from tests import wire

START_NS = 1_700_000_000 * 10**9
ENDS = ("10.9.0.1", "10.9.0.2")
GAPS_NS = (0, 1000, 10**6, 2_999_999, 3 * 10**6, 15 * 10**6, 25 * 10**6, 10**9, -(10**6))
ISNS = ((1000, 5000), (2**32 - 3, 7), (2**32 - 2000, 2**32 - 900), (2**31 - 5, 2**31 + 3), (0, 1), (1, 0))
SIZES = (1, 2, 10, 100, 1000)
WINDOWS = (0, 1, 100, 1000, 65535)
ACTS = (
    "syn", "syn-ack", "text", "text", "text", "ack", "ack", "ack", "fin", "reset", "bare reset", "repeat", "repeat newest",
    "overlap", "again the ack", "again the ack", "keep-alive", "keep-alive with an octet", "skip", "ack ahead", "ack behind",
    "part of it", "shut", "open", "probe", "sack", "other isn", "other syn-ack", "no flags", "text without ack", "jump",
    "cookie", "request", "ack of nothing", "old text", "multipath", "add address",
)  # fmt: skip


class Step(NamedTuple):
    side: int
    act: str
    size: int
    gap_ns: int


steps = st.builds(Step, st.integers(0, 1), st.sampled_from(ACTS), st.sampled_from(SIZES), st.sampled_from(GAPS_NS))


class Story(NamedTuple):
    isns: tuple[int, int]
    opened: bool  #: begins with a handshake
    scales: tuple[int | None, int | None]
    steps: list[Step]


scale = st.sampled_from([None, 0, 3, 14, 200])
stories = st.builds(Story, st.sampled_from(ISNS), st.booleans(), st.tuples(scale, scale), st.lists(steps, max_size=40))

HANDSHAKE = [Step(0, "syn", 1, 0), Step(1, "syn-ack", 1, 10**6), Step(0, "ack", 1, 10**6)]


class End:
    """What one end has sent and acknowledged so far."""

    def __init__(self, isn: int) -> None:
        self.isn = isn
        self.next = isn
        self.acked = 0
        self.window = 1000
        self.sent: list[tuple[int, int]] = []


def told(story: Story, port: int, start_ns: int) -> list[wire.Record]:
    """The story as records."""
    ends = (End(story.isns[0]), End(story.isns[1]))
    now = start_ns
    records = []
    for step in (HANDSHAKE if story.opened else []) + story.steps:
        now += step.gap_ns
        me, you = ends[step.side], ends[1 - step.side]
        segment = act(step, me, you, story.scales[step.side])
        seq, ack, flags, text, window, options = segment
        ports = (port, 9) if step.side == 0 else (9, port)
        data = wire.tcp(*ports, seq, ack, flags, window=window, options=options, payload=b"\xff" * text)
        packet = wire.ipv4(ENDS[step.side], ENDS[1 - step.side], data)
        records.append(wire.record(now, wire.ethernet(wire.IPV4, packet)))
    return records


def act(step: Step, me: End, you: End, scale: int | None) -> tuple[int, int, str, int, int, bytes]:
    """One step: sequence number, acknowledgement, flags, octets, window, options."""
    size, seq, ack, flags, text, options = step.size, me.next, you.next, ".", 0, b""
    match step.act:
        case "syn" | "syn-ack" | "cookie" | "request" | "other isn" | "other syn-ack":
            if step.act.startswith("other"):
                me.isn += 100 * size
            seq, text = me.isn, size if step.act in ("cookie", "other isn") and size > 10 else 0
            flags, ack = ("S.", ack) if step.act.endswith("syn-ack") else ("S", 0)
            options = wire.wscale(scale) if scale is not None else b""
            if step.act in ("cookie", "request"):
                options += wire.fast_open(b"a cookie" if step.act == "cookie" else b"")
            me.next = seq + 1 + text
        case "text" | "text without ack":
            text, flags = size, "P." if step.act == "text" else "P"
            ack = ack if step.act == "text" else 0
        case "fin":
            flags, text = "F.", size if size > 10 else 0
        case "reset" | "bare reset":
            flags, ack = ("R.", ack) if step.act == "reset" else ("R", 0)
        case "repeat" if me.sent:
            seq, text = me.sent[size % len(me.sent)]
        case "repeat newest" if me.sent:
            seq, text = me.sent[-1]
        case "overlap" if me.sent:
            seq, text = me.sent[-1][0] - size, 2 * size
        case "old text":
            seq, text = me.next - size, size
        case "again the ack":
            ack = me.acked
        case "keep-alive" | "keep-alive with an octet":
            seq, text, ack = me.next - 1, int(step.act != "keep-alive"), me.acked
        case "skip":
            seq, text = me.next + size, size
        case "jump":
            seq, text = me.next + 2**31 - size, size
        case "ack ahead":
            ack = you.next + size
        case "ack behind":
            ack = you.next - size
        case "part of it" if you.sent:
            ack = you.sent[-1][0] + max(you.sent[-1][1] // 2, 1)
        case "shut" | "open":
            me.window = 0 if step.act == "shut" else WINDOWS[size % 5] or 7
            ack = me.acked
        case "probe":
            text = 1
        case "sack":
            ack = me.acked
            blocks = [(you.next - size * (i + 2), you.next - size * (i + 1)) for i in range(1 + size % 4)]
            options = wire.sack(blocks)
        case "no flags":
            flags, ack = "none", 0
        case "ack of nothing":
            flags, ack = ".", 0
        case "multipath" | "add address":
            option = bytes([0x20, 0]) if step.act == "multipath" else bytes([0x34, 1, 10, 0, 0, 1])
            options, ack = wire.option(30, option), me.acked
    seq, ack = seq % 2**32, ack % 2**32
    if text or "F" in flags:
        me.sent.append((seq, text))
        virtual = 1 if "F" in flags else 0
        if step.act in ("text", "text without ack", "fin", "skip", "jump"):
            me.next = (seq + text + virtual) % 2**32
    if "." in flags:
        me.acked = ack
    return seq, ack, flags, text, me.window, options


def capture(told_stories: list[Story]) -> bytes:
    """A pcap file of them, one after the other, each on a port of its own."""
    records = []
    for number, story in enumerate(told_stories):
        records += told(story, 20000 + number, START_NS + number * 10**12)
    return wire.pcap(records)
