"""Zeek's words, held against what Zeek's manual says of each (conn.log: conn_state, history) and what its source does."""

from __future__ import annotations

import pytest

from analyzer.settings import Settings
from analyzer.tracker import zeek_history, zeek_ports
from tests.reference import zeek as reference
from tests.segments import PORTS
from tests.tracker.exchange import Played, play

OPEN = """
0.00 C>S S seq=0
0.01 S>C S. seq=0 ack=1
0.02 C>S . seq=1 ack=1
"""
ASK = """
0.10 C>S P. seq=1 ack=1 len=5
0.11 S>C . seq=1 ack=6
0.12 S>C P. seq=1 ack=6 len=7
0.13 C>S . seq=6 ack=8
"""
CLOSE = """
0.20 C>S F. seq=6 ack=8
0.21 S>C F. seq=8 ack=7
0.22 C>S . seq=7 ack=9
"""

MANUAL = {
    "attempt": ("0.00 C>S S seq=0\n1.00 C>S S seq=0", "S0", "S"),
    "rejected": ("0.00 C>S S seq=0\n0.01 S>C R. seq=0 ack=1", "REJ", "Sr"),
    "established": (OPEN, "S1", "ShA"),
    "normal": (OPEN + ASK + CLOSE, "SF", "ShADadFf"),
    "half closed by the originator": (OPEN + ASK + "0.20 C>S F. seq=6 ack=8\n0.21 S>C . seq=8 ack=7", "S2", "ShADadF"),
    "half closed by the responder": (OPEN + ASK + "0.20 S>C F. seq=8 ack=6\n0.21 C>S . seq=6 ack=9", "S3", "ShADadf"),
    "aborted by the originator": (OPEN + ASK + "0.20 C>S R. seq=6 ack=8", "RSTO", "ShADadR"),
    "aborted by the responder": (OPEN + ASK + "0.20 S>C R. seq=8 ack=6", "RSTR", "ShADadr"),
    "aborted attempt": ("0.00 C>S S seq=0\n0.01 C>S R seq=1", "RSTOS0", "SR"),
    "half-open scan": ("0.00 C>S S seq=0\n0.01 C>S F. seq=1 ack=1", "SH", "SF"),
    "answer and abort only": ("0.00 S>C S. seq=0 ack=1\n0.01 S>C R. seq=1 ack=1", "RSTRH", "^hr"),
    "answer and close only": ("0.00 S>C S. seq=0 ack=1\n0.01 S>C F. seq=1 ack=1", "SHR", "^hf"),
    "answer only": ("0.00 S>C S. seq=0 ack=1", "OTH", "^h"),
    "midstream": ("0.00 C>S P. seq=5 ack=9 len=3\n0.01 S>C . seq=9 ack=8", "OTH", "Da"),
    "SYN missed": ("0.00 S>C S. seq=0 ack=1\n0.01 C>S . seq=1 ack=1", "S1", "^hA"),
    "FIN, then RST of the same end": (OPEN + "0.10 C>S F. seq=1 ack=1\n0.11 C>S R seq=2", "RSTO", "ShAFR"),
    "FIN, RST, FIN": (
        OPEN + "0.10 C>S F. seq=1 ack=1\n0.11 C>S R. seq=2 ack=1\n0.12 S>C F. seq=1 ack=2",
        "SF",
        "ShAFRf",
    ),
    "RST answers a FIN exchange": (OPEN + ASK + CLOSE + "0.3 C>S R seq=7", "SF", "ShADadFfR"),
}


def words(played: Played, flow: int = 0) -> tuple[str, str]:
    row = played.flow(flow)
    return row["conn_state"], row["history"]


@pytest.mark.parametrize("name", MANUAL)
def test_each_word_of_the_manual(name):
    exchange, conn_state, history = MANUAL[name]
    assert words(play(exchange, numbers=False)) == (conn_state, history)


LETTERS = {
    "a retransmission": (OPEN + "1.0 C>S P. seq=1 ack=1 len=5\n1.3 C>S P. seq=1 ack=1 len=5", "ShADT"),
    # The numbers begin behind the first segment's text: so Zeek has seen it before.
    "a SYN with data": ("0.0 C>S S seq=0 len=4\n0.1 S>C S. seq=0 ack=5\n0.2 C>S . seq=5 ack=1", "SThA"),
    "a zero window": (OPEN + "0.1 C>S P. seq=1 ack=1 len=5\n0.2 S>C . seq=1 ack=6 win=0", "ShADaw"),
    "a zero window in an RST": (OPEN + "0.1 S>C R. seq=1 ack=1 win=0", "ShAr"),
    "a gap": (OPEN + "0.1 C>S P. seq=11 ack=1 len=5\n0.2 S>C . seq=1 ack=16", "ShADaG"),
    "a gap of an end that is closed": (OPEN + "0.1 C>S F. seq=11 ack=1\n0.2 S>C . seq=1 ack=12", "ShAFaG"),
    "no gap after an RST": (OPEN + "0.1 C>S R. seq=11 ack=1\n0.2 S>C . seq=1 ack=12", "ShARa"),
    "late, no gap": (
        OPEN + "0.1 C>S P. seq=6 ack=1 len=5\n0.2 C>S P. seq=1 ack=1 len=5\n0.3 S>C . seq=1 ack=11",
        "ShADTa",
    ),
    "two holes, both filled": (
        OPEN
        + "0.1 C>S P. seq=6 ack=1 len=5\n0.2 C>S P. seq=16 ack=1 len=5\n0.3 C>S P. seq=1 ack=1 len=5\n"
        + "0.4 C>S P. seq=11 ack=1 len=5\n0.5 S>C . seq=1 ack=21",
        "ShADTa",
    ),
    "cut by the snap length": (OPEN + "0.1 C>S P. seq=1 ack=1 len=50 cap=60\n0.2 S>C . seq=1 ack=51", "ShADaG"),
    "inconsistent": (OPEN + "0.1 C>S FR seq=1", "ShAI"),
    "many flags": ("0.0 C>S SF seq=0\n0.1 S>C FR seq=1", "Qi"),
    "resets with other numbers": (OPEN + "0.1 S>C R seq=1\n0.2 S>C R seq=2\n0.3 S>C R seq=2", "ShArr"),
    "a FIN again, and another": (
        OPEN + "0.1 C>S F. seq=1 ack=1\n0.2 C>S F. seq=1 ack=1\n0.3 C>S F. seq=5 ack=1",
        "ShAFF",
    ),
}


@pytest.mark.parametrize("name", LETTERS)
def test_letters(name):
    exchange, history = LETTERS[name]
    assert words(play(exchange, numbers=False, chains=False))[1] == history


def test_the_tenth_and_the_hundredth_retransmission_have_a_letter_too():
    again = "\n".join(f"{1 + i / 10:.1f} C>S P. seq=1 ack=1 len=5" for i in range(101))
    assert words(play(OPEN + again))[1] == "ShADTTT"


def test_a_history_is_bounded():
    """Each RST with another number has a letter; a storm of them has an end."""
    storm = "\n".join(f"{1 + i / 1000:.3f} S>C R seq={i}" for i in range(200))
    conn_state, history = words(play(OPEN + storm, numbers=False, chains=False))
    assert conn_state == "RSTR"
    assert history == ("ShA" + 200 * "r")[: zeek_history.LONGEST]


def test_long_histories_are_told_apart():
    """Those of more than twelve letters, and of more than the row holds, of several flows."""
    lines = []
    for number, letters in enumerate((5, 15, 15, 40, 40, 16)):
        isn = "'" * number
        lines += [f"{number}.0 C{isn}>S{isn} S seq=0", f"{number}.1 S{isn}>C{isn} S. seq=0 ack=1"]
        lines += [f"{number}.{200 + i} S{isn}>C{isn} R seq={i}" for i in range(1, letters + 1)]
    rows = play("\n".join(lines), numbers=False, chains=False).analysis.flows["history"].tolist()
    assert rows == ["Sh" + letters * "r" for letters in (5, 15, 15, 40, 40, 16)]


# ---------------------------------------------------------------------------------------------------------- direction


def test_the_originator_is_the_one_that_zeek_takes(monkeypatch):
    """Zeek goes by the ports of servers that it knows, and else by the first segment; we know a SYN-ACK's sender."""
    flow = play("0.00 S>C S. seq=0 ack=1", numbers=False).flow()
    assert (flow["originator"], flow["history"]) == ("client", "^h")  # port 80 is a server's
    monkeypatch.setitem(PORTS, "S", 9000)
    unknown = play("0.00 S>C S. seq=0 ack=1", numbers=False).flow()
    assert (unknown["originator"], unknown["history"], unknown["conn_state"]) == ("server", "H", "OTH")


def test_syn_and_syn_ack_in_reverse_order_are_flipped(monkeypatch):
    exchange = "0.0 S>C S. seq=0 ack=1\n0.0 C>S S seq=0\n0.1 C>S . seq=1 ack=1"
    assert words(play(exchange, numbers=False, chains=False)) == ("OTH", "^hSA")  # not where the port has told already
    monkeypatch.setitem(PORTS, "S", 9000)
    flow = play(exchange, numbers=False, chains=False).flow()
    assert (flow["originator"], flow["conn_state"], flow["history"]) == ("client", "S1", "Hs^A")


# --------------------------------------------------------------------------------------------------------- time, reuse


def test_a_closed_connection_takes_no_more():
    """Zeek has forgotten it after five seconds, and counts what comes then as another connection."""
    assert words(play(OPEN + ASK + CLOSE + "5.1 S>C R seq=9"))[1] == "ShADadFfr"
    assert words(play(OPEN + ASK + CLOSE + "5.3 S>C R seq=9"))[1] == "ShADadFf"


def test_the_words_are_of_the_attempt_that_succeeded():
    refused = "0.00 C>S S seq=0\n0.01 S>C R. seq=0 ack=1\n"
    again = "0.50 C>S S seq=0\n0.51 S>C S. seq=0 ack=1\n0.52 C>S . seq=1 ack=1"
    assert words(play(refused + again, numbers=False, chains=False)) == ("S1", "ShA")


SPLITS = {
    "attempts": ("0 C>S S seq=0\n1 C>S S seq=0\n3 C>S S seq=0\n7 C>S S seq=0", ["S0 S", "S0 S"]),
    "attempt answered late": (
        "0 C>S S seq=0\n7 C>S S seq=0\n7.1 S>C S. seq=0 ack=1\n7.2 C>S . seq=1 ack=1",
        ["S0 S", "S1 ShA"],
    ),
    "idle": (OPEN + ASK + "301 C>S P. seq=6 ack=8 len=5\n301.1 S>C . seq=8 ack=11", ["S1 ShADad", "OTH Da"]),
    "not idle": (OPEN + ASK + "300 C>S P. seq=6 ack=8 len=5\n300.1 S>C . seq=8 ack=11", ["S1 ShADad"]),
    "late segments": (OPEN + ASK + CLOSE + "6 S>C R seq=9", ["SF ShADadFf", "RSTRH ^r"]),
    "refused again and again": (
        "0 C>S S seq=0\n0.1 S>C R. seq=0 ack=1\n0.5 C>S S seq=0\n0.6 S>C R. seq=0 ack=1",
        ["REJ Sr", "REJ Sr"],
    ),
    "half closed and silent": (
        "0 C>S S seq=0\n1 C>S F. seq=1 ack=1\n20 C>S F. seq=1 ack=1",
        ["SH SF", "SH F"],
    ),
}


@pytest.mark.parametrize("name", SPLITS)
def test_flows_split_as_zeek_splits_its_connections(name):
    exchange, expected = SPLITS[name]
    played = play(exchange, numbers=False, chains=False, settings=Settings(zeek_timeouts=True))
    flows = played.analysis.flows
    assert [f"{row.conn_state} {row.history}" for row in flows.itertuples()] == expected
    assert len(play(exchange, numbers=False, chains=False).analysis.flows) == 1


def test_what_is_interactive_may_be_silent_for_an_hour(monkeypatch):
    monkeypatch.setitem(PORTS, "S", 22)
    exchange = OPEN + "3000 C>S P. seq=1 ack=1 len=5\n6700 C>S P. seq=6 ack=1 len=5"
    settings = Settings(zeek_timeouts=True)
    flows = play(exchange, numbers=False, chains=False, settings=settings).analysis.flows
    assert flows["history"].tolist() == ["ShAD", "D"]


def test_the_twin_knows_the_same_ports():
    assert zeek_ports.SERVER_PORTS == reference.SERVER_PORTS
