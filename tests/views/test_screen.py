"""The live screen, driven: recorded captures and real sockets, at 80x24 and larger, read back from its SVG export."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from pathlib import Path

import pytest

pytest.importorskip("textual", reason="the live screen needs Textual: pip install textual")

import analyzer
from analyzer.host.addresses import own_addresses
from analyzer.views import listed as listing
from analyzer.views import screen as screens
from analyzer.views.board import Board
from analyzer.views.screen import LiveScreen
from tests.views.drive import driven, on_screen, press, recorded, until
from tests.views.test_board import close_wait_sockets

pytestmark = pytest.mark.kernels

CAPTURES = Path(__file__).parents[2] / "captures"
MANY = CAPTURES / "many-connections" / "eth.pcap"
BARS = "[ ▁▂▃▄▅▆▇█]+"
SIZES = [(80, 24), (120, 40)]
needs_root = pytest.mark.skipif(
    not hasattr(socket, "AF_PACKET") or os.geteuid() != 0, reason="sniffing needs Linux and root"
)


@pytest.fixture
def utc(monkeypatch):
    """The newest anomalies stand there with local times."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("size", SIZES)
def test_every_part_is_there_and_fits(size, utc):
    with recorded(MANY) as shown:

        async def drive(pilot):
            shown.to(3.0)
            seen = await press(pilot)
            lines = seen.split("\n")
            assert len(lines) == size[1]
            assert all(len(line) <= size[0] for line in lines)
            assert re.match(r" analyzer  eth0 :9502  540 packets +\d+/s +0 dropped by the kernel", lines[0])
            assert re.search(r"ESTABLISHED +12 ", seen)
            assert re.search(r"CLOSE_WAIT +6 ", seen)
            assert re.search(r"60 by trouble▼ +client +server +process +rate +rtt", seen)
            assert "16:13:17 refused flow 56 client: answered with RST" in seen
            assert "refused: the connection attempt was refused: answered with RST (frame 513)" in seen
            assert "q quit  / filter  s sort  r reverse  Enter open  p pause  e ended  ? help" in lines[-1]
            assert seen.count("CLOSED~") >= 6

        driven(shown.app, size, drive)


@pytest.mark.parametrize("size", SIZES)
def test_a_state_that_changes_is_marked_for_a_moment(size):
    """life-of-a-connection: the client's FIN at 0.6007 s, the server's at 0.8011."""
    with recorded(CAPTURES / "life-of-a-connection" / "any.pcap") as shown:
        marked = []

        def styles() -> dict[str, str]:
            line = shown.app.query_one("#list", screens.Lines)._lines[0]
            return {text.strip(): style for text, style in line}

        async def drive(pilot):
            for seconds in (0.0, 0.1, 0.62, 0.7, 1.0, 9.0):
                shown.to(seconds)
                row = re.search(r"39990 *> *127\S+ +(\S+) +(\S+)", await press(pilot))
                marked.append((*row.groups(), styles()[row.group(1)], styles()[row.group(2)]))

        driven(shown.app, size, drive)
    assert marked == [
        ("SYN_SENT", "LISTEN~", "opening", "over"),
        ("ESTABLISHED", "ESTABLISHED~", "change", "change"),
        ("FIN_WAIT_1", "CLOSE_WAIT~", "change", "change"),
        ("FIN_WAIT_2~", "CLOSE_WAIT", "change", "change"),
        ("TIME_WAIT", "CLOSED~", "change", "change"),
        ("TIME_WAIT", "CLOSED~", "over", "over"),
    ]


def test_the_kernels_counts_and_words_stand_beside_and_names_are_harmless():
    with recorded(CAPTURES / "close-wait" / "any.pcap", close_wait_sockets, ("127.0.0.1",)) as shown:

        async def drive(pilot):
            shown.to(2.0)
            seen = await press(pilot)
            assert re.search(rf"CLOSE_WAIT +3 {BARS}3", seen)
            assert re.search(rf"FIN_WAIT_2 +3 {BARS}3", seen)
            assert "\x1b" not in seen
            assert r"a\x1b[31m\nb (pid 123)" in seen
            assert "server 127.0.0.1:9502 CLOSE_WAIT kernel CLOSE_WAIT" in seen
            assert "program-has-not-closed: kernel says CLOSE_WAIT: the peer's FIN is frame" in seen
            assert "[31m" not in re.sub(r"\\x1b\[31m", "", seen)

        driven(shown.app, (100, 30), drive)


def test_filter_sort_reverse_and_ended():
    with recorded(MANY) as shown:

        async def drive(pilot):
            shown.to(3.0)
            seen = await press(pilot, "slash", *"close_wait", "enter")
            assert "6 of 60 by trouble▼ /close_wait" in seen
            assert not shown.app.query_one("#filter").has_class("asked")
            seen = await press(pilot, "slash", *" 10.95")
            assert "3 of 60" in seen, "it fits while it is typed"
            seen = await press(pilot, "escape")
            assert "60 by trouble" in seen
            seen = await press(pilot, "s")
            assert "60 by start▼" in seen
            newest = shown.app.rows[0].number
            await press(pilot, "r")
            assert (newest, shown.app.rows[0].number) == (59, 0)
            seen = await press(pilot, "S", "S")
            assert "by process▼" in seen
            assert "60 by" in seen
            seen = await press(pilot, "e")
            assert re.search(r"\d+ of 60 by", seen)
            assert not any(row.ended for row in shown.app.rows)

        driven(shown.app, (80, 24), drive)


def test_the_filters_letters_are_no_keys():
    with recorded(MANY) as shown:

        async def drive(pilot):
            shown.to(1.0)
            seen = await press(pilot, "slash", *"qserp?")
            assert "/qserp?" in seen
            assert shown.app.is_running
            assert (shown.app.selection.key, shown.app.paused) == ("trouble", False)

        driven(shown.app, (80, 24), drive)


def test_the_chosen_connection_stays_chosen_while_the_order_changes():
    with recorded(MANY) as shown:

        async def drive(pilot):
            shown.to(1.0)
            await press(pilot, "s", "down", "down", "down")
            app = shown.app
            chosen = app.rows[app._line()].number
            shown.to(2.5)
            await press(pilot)
            assert app.rows[app._line()].number == chosen
            assert app.rows[0].number > chosen, "newer ones have come before it"
            await press(pilot, "end")
            assert app.rows[app._line()].number == 0
            await press(pilot, "home")
            assert app._line() == 0
            assert app.rows[0].number == max(row.number for row in app.rows)

        driven(shown.app, (80, 24), drive)


@pytest.mark.parametrize("size", SIZES)
def test_a_connection_is_opened_and_shows_packets_states_and_anomalies(size):
    with recorded(CAPTURES / "copies-and-losses" / "any.pcap") as shown:

        async def drive(pilot):
            shown.to(40.0, step=5.0)
            await press(pilot, "s", "end", "enter")
            shown.to(40.2)
            seen = await press(pilot, "home")
            number = shown.app.asked_flow().packets["flow"].iloc[0]
            flow = analyzer.read(CAPTURES / "copies-and-losses" / "any.pcap").flow(number)
            tabs = f"packets {len(flow.packets)}  state changes {len(flow.transitions.dropna(subset='frame'))}"
            assert f"{tabs}  anomalies {len(flow.anomalies)}" in seen
            assert re.search(r"> S +.*SYN_SENT +LISTEN~ +open 1/3", seen)
            assert re.search(r"< S\. +.*ESTABLISHED~ SYN_RCVD +open 2/3", seen)
            assert all(len(line) <= size[0] for line in seen.split("\n"))
            frames = [int(frame) for frame in re.findall(r"^ *(\d+) +\d+\.\d{6} [<>]", seen, re.MULTILINE)]
            assert frames == flow.packets.index.tolist()[: len(frames)]
            assert len(frames) > 3
            assert re.search(r"^ +copies", seen, re.MULTILINE)  # a note has no mark
            seen = await press(pilot, "end")
            last = flow.packets.iloc[-1]
            assert last["client_state"] in seen.split("\n")[-2] or "copy of" in seen
            seen = await press(pilot, "tab", "home")
            assert re.search(r"client +\w+ +> SYN_SENT +frame \d+ +SEND_SYN +proven", seen)
            seen = await press(pilot, "tab", "home")
            assert re.search(r"frame \d+ +\w+ +retransmission of the (client|server)", seen)
            seen = await press(pilot, "escape")
            assert "by start" in seen

        driven(shown.app, size, drive)


def test_parts_are_hidden_and_their_lines_go_to_the_list():
    with recorded(MANY) as shown:

        async def drive(pilot):
            shown.to(3.0)
            await press(pilot)
            before = len(shown.app.rows)
            seen = await press(pilot, "1", "2", "3")
            assert len(shown.app.rows) == before + 6 + 5 + 2
            assert "ESTABLISHED    12" not in seen
            await press(pilot, "1", "2", "3")
            assert len(shown.app.rows) == before

        driven(shown.app, (80, 24), drive)


def test_help_shows_keys_marks_and_troubles_and_any_size_will_do():
    with recorded(MANY) as shown:

        async def drive(pilot):
            shown.to(3.0)
            seen = await press(pilot, "question_mark")
            assert "turn the order round" in seen
            seen = await press(pilot, *["down"] * 60)
            assert "ack-of-unseen" in seen
            await press(pilot, "escape")
            for size in ((200, 60), (80, 24), (40, 12), (20, 5), (10, 2), (120, 40)):
                await pilot.resize_terminal(*size)
                seen = await press(pilot)
                assert all(len(line) <= size[0] for line in seen.split("\n"))
            assert "60 by trouble" in seen

        driven(shown.app, (80, 24), drive)


def test_rows_are_made_for_the_lines_there_are_and_no_more(monkeypatch):
    made = []
    monkeypatch.setattr(screens, "listed", lambda board, place: made.append(place) or listing.listed(board, place))
    with recorded(MANY) as shown:

        async def drive(pilot):
            shown.to(3.0)
            await press(pilot)
            made.clear()
            shown.app.draw()
            assert len(made) == len(shown.app.rows) == 8

        driven(shown.app, (80, 24), drive)


# ----------------------------------------------------------------------------------------------------- real sockets


@pytest.fixture
def full_listener():
    """A listener whose accept queue is full: the next SYN is dropped, and its client tries again after a second."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    first = socket.create_connection(listener.getsockname(), timeout=10)
    with listener, first:
        yield listener, first


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("size", SIZES)
def test_a_real_connection_syn_sent_established_close_wait(full_listener, size):
    listener, first = full_listener
    port = listener.getsockname()[1]
    client = socket.socket()
    client.setblocking(False)
    seen: list[str] = []
    accepted: list[socket.socket] = []

    def row(app) -> str:
        mine = client.getsockname()[1]
        return next((line for line in on_screen(app).split("\n") if f":{mine}" in line and ">" in line), "")

    with contextlib.ExitStack() as kept, analyzer.live("lo", port=port) as session:
        kept.callback(lambda: [end.close() for end in (client, *accepted)])
        app = LiveScreen(session, Board(own_addresses()), f"lo :{port}")

        async def drive(pilot):
            first.sendall(b"the first packet of a first use may have to wait for the compiler")
            await until(pilot, lambda: app.board.segments > 0, 120)
            client.connect_ex(("127.0.0.1", port))
            await until(pilot, lambda: "SYN_SENT" in row(app))
            seen.append(row(app))
            await until(pilot, lambda: re.search(rf"SYN_SENT +1 {BARS}1", on_screen(app)) is not None)
            accepted.append(listener.accept()[0])  # now there is room for the SYN that comes again
            await until(pilot, lambda: row(app).count("ESTABLISHED") == 2)
            seen.append(row(app))
            assert "change" in {style for line in app.query_one("#list", screens.Lines)._lines for _, style in line}
            accepted.append(listener.accept()[0])
            client.shutdown(socket.SHUT_WR)
            await until(pilot, lambda: "CLOSE_WAIT" in row(app))
            seen.append(row(app))
            await until(pilot, lambda: re.search(rf"CLOSE_WAIT +1 {BARS}1", on_screen(app)) is not None)
            await press(pilot, "slash", *str(client.getsockname()[1]), "enter")
            await until(pilot, lambda: "program-has-not-closed: kernel says CLOSE_WAIT" in on_screen(app))
            await press(pilot, "p")  # what happens now is seen only afterwards
            accepted[1].close()
            await pilot.pause(1.5)
            assert "paused" in on_screen(app)
            assert "CLOSE_WAIT" in row(app)
            await press(pilot, "p")
            await until(pilot, lambda: "TIME_WAIT" in row(app))
            assert "paused" not in on_screen(app)
            await press(pilot, "q")
            await until(pilot, lambda: not app.is_running)

        driven(app, size, drive)
        session.stop()
        assert session.analysis().flows["handshake"].iloc[-1] == "complete"
    assert [len(line) <= size[0] for line in seen] == [True] * 3
    assert re.search(r"SYN_SENT +LISTEN~", seen[0])
    assert re.search(r"FIN_WAIT_2~? +CLOSE_WAIT", seen[2])


@needs_root
@pytest.mark.root
def test_a_connection_without_packets_shows_what_the_kernel_says_until_some_come():
    """It was in CLOSE_WAIT before the start, and nobody sends anything; then somebody does."""
    with contextlib.ExitStack() as kept:
        listener = kept.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        ends = []
        for _ in range(3):
            client = kept.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            ends.append((client, kept.enter_context(listener.accept()[0])))
            client.shutdown(socket.SHUT_WR)
            assert ends[-1][1].recv(1) == b""  # its FIN is there
        session = kept.enter_context(analyzer.live("lo", port=port))
        app = LiveScreen(session, Board(own_addresses()), f"lo :{port}")

        async def drive(pilot):
            await until(pilot, lambda: len(app.board.slots) == 3, 120)
            seen = await press(pilot, "down", "enter")
            assert "asking" not in seen
            assert "no packet of it was seen since the start; this host's kernel says" in seen
            for words in (
                "CLOSE_WAIT",
                "FIN_WAIT_2",
                "receive queue",
                f"(pid {os.getpid()})",
                "program-has-not-closed",
            ):
                assert words in await press(pilot, "home") + await press(pilot, "end"), words
            assert re.search(r"for at least \d+\.\d s", await press(pilot, "home"))
            mine = app.opened.row.client.port
            client, server = next(pair for pair in ends if pair[0].getsockname()[1] == mine)
            server.sendall(b"late")
            assert client.recv(10) == b"late"
            await until(pilot, lambda: " packets 2 " in on_screen(app))
            assert "no packet of it" not in on_screen(app)
            assert app.opened.row.number is not None

        driven(app, (80, 24), drive)


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("size", SIZES)
def test_a_syn_that_is_sent_again_is_counted(full_listener, size):
    """The kernel says sent again; so does the screen, where it lists and in the details."""
    port = full_listener[0].getsockname()[1]
    with socket.socket() as client, analyzer.live("lo", port=port) as session:
        app = LiveScreen(session, Board(own_addresses()), f"lo :{port}")
        client.setblocking(False)

        async def drive(pilot):
            full_listener[1].sendall(b"the first packet of a first use may have to wait for the compiler")
            await until(pilot, lambda: app.board.segments > 0, 120)
            client.connect_ex(("127.0.0.1", port))
            await until(pilot, lambda: any(row.retransmitted > 1 for row in app.rows))
            mine = next(row for row in app.rows if row.retransmitted)
            assert (mine.client.port, mine.retransmitted) == (client.getsockname()[1], mine.segments[0] - 1)
            while app.selection.key != "retransmitted":
                await pilot.press("s")
            seen = await press(pilot, "home")
            assert app.rows[0].client.port == mine.client.port
            assert f"  retr {app.rows[0].retransmitted}" in seen

        driven(app, size, drive)


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("size", SIZES)
def test_an_opened_connection_marks_as_the_list_does_and_names_frames_that_are_there(full_listener, size):
    """A SYN that comes again is a warning: ``*``, as the legend has it; and the frame to see is one of the lines."""
    port = full_listener[0].getsockname()[1]
    with socket.socket() as client, analyzer.live("lo", port=port) as session:
        app = LiveScreen(session, Board(own_addresses()), f"lo :{port}")
        client.setblocking(False)

        async def drive(pilot):
            full_listener[1].sendall(b"the first packet of a first use may have to wait for the compiler")
            await until(pilot, lambda: app.board.segments > 0, 120)
            client.connect_ex(("127.0.0.1", port))
            await until(pilot, lambda: any(row.retransmitted for row in app.rows))
            while app.selection.key != "retransmitted":
                await pilot.press("s")
            await press(pilot, "home", "enter")
            await until(pilot, lambda: "syn-retransmitted" in on_screen(app))
            seen = on_screen(app)
            (first, *_) = re.findall(r"[*] syn-retransmitted.* \(see frame (\d+)\)", seen)
            assert re.search(rf"^ *{first} +0\.000000 > S ", seen, re.MULTILINE)
            assert not re.search(r"! syn-retransmitted", seen)

        driven(app, size, drive)
