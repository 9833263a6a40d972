"""tcpdump's printed text read back: the same analysis as of the capture, however it was printed, wrapped and quoted."""

from __future__ import annotations

import codecs
import gzip
import html
import lzma
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analyzer
from analyzer.decode.printed_packets import Names, packets, timed
from analyzer.decode.tcpdump_text import parse
from analyzer.decode.text_source import open_source
from analyzer.errors import CaptureError
from analyzer.peers import tcpdump
from tests.recordings import CAPTURES, capture

pytestmark = pytest.mark.kernels

ROOT = pathlib.Path(__file__).parents[2]
SEED = ROOT.parent / "shared" / "seed"
needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")

PACKETS = [
    "flags",
    "seq",
    "ack",
    "length",
    "window",
    "src",
    "sport",
    "dst",
    "dport",
    "client_state",
    "server_state",
    "step",
]
FLOWS = ["client", "client_port", "server", "server_port", "handshake", "close", "client_state", "server_state", "client_bytes", "server_bytes"]  # fmt: skip

SESSION = """\
14:12:45.104687 IP localhost.39870 > localhost.9502: Flags [S], seq 2927179378, win 32792, options [mss 16396,sackOK,TS val 255474104 ecr 0,nop,wscale 3], length 0
14:12:45.104701 IP localhost.9502 > localhost.39870: Flags [S.], seq 1721825043, ack 2927179379, win 32768, options [mss 16396,sackOK,TS val 255474104 ecr 255474104,nop,wscale 3], length 0
14:12:45.104711 IP localhost.39870 > localhost.9502: Flags [.], ack 1, win 4099, options [nop,nop,TS val 255474104 ecr 255474104], length 0
14:13:01.415407 IP localhost.39870 > localhost.9502: Flags [P.], seq 1:8, ack 1, win 4099, options [nop,nop,TS val 255478182 ecr 255474104], length 7
14:13:01.415432 IP localhost.9502 > localhost.39870: Flags [.], ack 8, win 4096, options [nop,nop,TS val 255478182 ecr 255478182], length 0
"""

#: The lines of segments do not tell that a checksum is wrong, nor what ICMP says; a tunnel takes two lines; tcpdump prints no
#: number of a segment without data: nothing says where it stands behind a loss, nor that it is a probe one octet back.
UNTOLD = {
    "wrong-checksum",
    "rejected",
    "unreachable",
    "copies-in-a-tunnel",
    "copies-and-losses",
    "kept-alive",
    "window-closed",
}
TOLD = [path for path in sorted(CAPTURES.glob("*/*.pcap")) if path.parent.name not in UNTOLD]


def printed(path: pathlib.Path, *words: str) -> str:
    environment = {**os.environ, "TZ": "UTC"}
    done = subprocess.run(
        ["tcpdump", "-r", str(path), *words], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout


def read(text: str, folder: pathlib.Path) -> analyzer.Analysis:
    path = folder / "session.txt"
    path.write_text(text, encoding="utf-8")
    return analyzer.read(path)


def rows(frame, columns: list[str]) -> list[tuple]:
    return list(frame[columns].astype(object).fillna("-").itertuples(index=False, name=None))


def assert_twins(text: analyzer.Analysis, whole: analyzer.Analysis) -> None:
    assert rows(text.packets, PACKETS) == rows(whole.packets, PACKETS)
    assert rows(text.flows, FLOWS) == rows(whole.flows, FLOWS)


@needs_tcpdump
@pytest.mark.parametrize(
    "words",
    [
        "",
        "-nn",
        "-nn -tt",
        "-nn -tttt -S",
        "-nn -v",
        "-vv",
        "-nn -e -tttt",
        "-nn -ttt",
        "-nn -ttttt",
        "-nn -t -S",
        "-nn -X",
    ],
)
@pytest.mark.parametrize("path", TOLD, ids=lambda path: path.parent.name)
def test_a_printed_recording_reads_like_the_recording(path, words, tmp_path):
    whole = analyzer.read(path)
    text = read(printed(path, *words.split()), tmp_path)
    if words != "-nn -t -S":  # without times, timers cannot run out
        assert_twins(text, whole)
    else:
        assert rows(text.packets, ["flags", "seq", "ack", "length"]) == rows(
            whole.packets, ["flags", "seq", "ack", "length"]
        )
    if {"-tt", "-tttt"} & set(words.split()):
        assert text.packets["time"].dt.floor("us").tolist() == whole.packets["time"].dt.floor("us").tolist()


@needs_tcpdump
def test_distances_that_begin_with_something_else(tmp_path):
    """-ttt counts from the line before, whatever that is of: the first segment is then not at nought."""
    path = next(path for path in TOLD if path.parent.name == "many-connections")
    lines = printed(path, "-nn", "-ttt").splitlines()
    lines[0] = lines[0].replace("00:00:00.000000", "00:00:00.000007")
    text = read(
        " 00:00:00.000000 ARP, Request who-has 10.95.2.2 tell 10.95.2.1, length 28\n" + "\n".join(lines), tmp_path
    )
    whole = analyzer.read(path)
    assert_twins(text, whole)
    assert text.packets["time"].diff().iloc[1:].tolist() == whole.packets["time"].diff().iloc[1:].tolist()


def test_text_without_a_segment_is_told_so(tmp_path):
    quiet = "22:30:19.726670 IP 10.77.0.1.39332 > 10.77.0.2.9502: tcp 0\n" * 3
    with pytest.raises(CaptureError, match="-q leaves out too much"):
        read(quiet, tmp_path)


def wrapped(text: str, at: int, quote: str, words: bool) -> str:
    lines = []
    for line in text.splitlines():
        rest = line
        while len(rest) > at:
            cut = rest.rfind(" ", 0, at) if words else at
            lines.append(quote + rest[:cut])
            rest = rest[cut:].lstrip() if words else rest[cut:]
        lines.append(quote + rest)
    return "\n".join(lines)


@needs_tcpdump
@pytest.mark.parametrize("width", [60, 72, 80, 132])
@pytest.mark.parametrize("quote", ["", "> ", "> > ", "| "])
def test_wrapped_by_a_mail_client(width, quote, tmp_path):
    path = capture("life-of-a-connection")
    text = wrapped(printed(path, "-nn", "-tttt"), width, quote, words=True)
    assert_twins(read(text, tmp_path), analyzer.read(path))


@needs_tcpdump
@pytest.mark.parametrize("width", [80, 100, 132])
def test_wrapped_by_a_terminal(width, tmp_path):
    path = capture("reset")
    text = wrapped(printed(path, "-nn"), width, "", words=False)
    assert_twins(read(text, tmp_path), analyzer.read(path))


@needs_tcpdump
def test_among_prompts_and_prose(tmp_path):
    path = capture("closed-by-server")
    lines = printed(path, "-nn").splitlines()
    text = "\r\n".join([
        "Hi all, it hangs:", "[root@web ~]# tcpdump -nn -i any port 9502",
        "tcpdump: verbose output suppressed, use -v[v]... for full protocol decode",
        "listening on any, link-type LINUX_SLL2 (Linux cooked v2), snapshot length 262144 bytes",
        *lines[:3], "^C", "16:12:59.9 is when it began: 10.0.0.1 > 10.0.0.2", "", *lines[3:],
        "14 packets captured", lines[0], "see the SYN above?", lines[0][:60], lines[3].partition(" ")[2],
    ])  # fmt: skip
    assert_twins(read(text, tmp_path), analyzer.read(path))


def test_the_session_of_the_seed():
    files = sorted(SEED.glob("*.txt")) if SEED.is_dir() else []
    if not files:
        pytest.skip("no seed lies beside the project")
    analysis = analyzer.read(files[0])
    assert rows(analysis.packets, ["flags", "seq", "ack", "length", "client_state", "server_state", "step"]) == [
        ("S", 0, "-", 0, "SYN_SENT", "LISTEN", "open 1/3"),
        ("S.", 0, 1, 0, "ESTABLISHED", "SYN_RCVD", "open 2/3"),
        (".", 1, 1, 0, "ESTABLISHED", "ESTABLISHED", "open 3/3"),
        ("P.", 1, 1, 7, "ESTABLISHED", "ESTABLISHED", "-"),
        (".", 1, 8, 0, "ESTABLISHED", "ESTABLISHED", "-"),
        ("P.", 1, 8, 18, "ESTABLISHED", "ESTABLISHED", "-"),
        (".", 8, 19, 0, "ESTABLISHED", "ESTABLISHED", "-"),
    ]
    assert analysis.packets["raw_seq"].tolist()[:4] == [2927179378, 1721825043, 2927179379, 2927179379]
    assert rows(
        analysis.flows, ["client", "client_port", "server_port", "handshake", "client_bytes", "server_bytes"]
    ) == [("127.0.0.1", 39870, 9502, "complete", 7, 18)]


# ------------------------------------------------------------------------------------------------------------ details


def lines_of(text: str):
    return list(parse(text.splitlines()))


def made(text: str) -> list[str]:
    """The packets made of a text, printed again."""
    names, printer = Names(), tcpdump.Printer()
    link = 276 if any(line.direction for line in lines_of(text)) else 101
    return [
        printer.line(packet.data, packet.wire, packet.time_ns, link) or ""
        for packet in packets(timed(lines_of(text)), names)
    ]


def test_what_is_printed_again_is_what_was_printed():
    strip = re.compile(r"^\S+ ", re.MULTILINE)
    expected = strip.sub("", SESSION.replace("localhost", "127.0.0.1")).splitlines()
    assert [strip.sub("", line) for line in made(SESSION)] == expected


OPTION_LINES = [
    "mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7",
    "nop,nop,sack 1 {1461:2921}",
    "nop,nop,TS val 4294967295 ecr 7,nop,nop,sack 2 {5:9}{11:14}",
    "mss 1460,nop,nop,tfo  cookie 0011223344556677,nop,nop,nop,nop",
    "unknown-253 0x11223344,nop,nop",
    "mss 1460,eol",
]


@pytest.mark.parametrize("options", OPTION_LINES)
def test_options_are_written_and_read_again(options):
    line = f"1.000000 IP 10.0.0.1.5 > 10.0.0.2.80: Flags [.], ack 4000000009, win 5, options [{options}], length 0"
    text = line.replace("1.000000", "1700000000.000000")
    if options.endswith("eol"):
        assert f"options [{options}" in made(text)[0]
    else:
        assert made(text) == [text]


@pytest.mark.parametrize("printed_absolute", [False, True])
def test_a_session_from_its_middle(printed_absolute):
    base, other = (4_294_967_290, 70_000) if printed_absolute else (0, 0)

    def number(value: int) -> int:
        return value % 2**32

    text = "\n".join([
        f"1700000000.000000 IP 10.0.0.1.5 > 10.0.0.2.80: Flags [P.], seq {number(base + 1)}:{number(base + 8)}, ack {other + 1}, win 5, length 7",
        f"1700000000.000001 IP 10.0.0.2.80 > 10.0.0.1.5: Flags [.], ack {number(base + 8)}, win 5, length 0",
        f"1700000000.000002 IP 10.0.0.2.80 > 10.0.0.1.5: Flags [P.], seq {other + 1}:{other + 19}, ack {number(base + 8)}, win 5, length 18",
        f"1700000000.000003 IP 10.0.0.1.5 > 10.0.0.2.80: Flags [.], ack {other + 19}, win 5, length 0",
    ])  # fmt: skip
    again = made(text)
    assert ", seq 0:18, " not in again[2]
    assert again[1].endswith("Flags [.], ack 7, win 5, length 0")  # tcpdump counts from the first number that it sees
    assert again[2].endswith("seq 1:19, ack 7, win 5, length 18")
    assert again[3].endswith("ack 19, win 5, length 0")


def test_before_2009():
    text = """\
09:30:00.000000 IP 10.0.0.1.1025 > 10.0.0.2.www: S 100:100(0) win 5840 <mss 1460,sackOK,timestamp 5 0,nop,wscale 2> (DF)
09:30:00.000100 IP 10.0.0.2.www > 10.0.0.1.1025: S 900:900(0) ack 101 win 5792 <mss 1460> (DF)
09:30:00.000200 IP 10.0.0.1.1025 > 10.0.0.2.www: . ack 1 win 1460
09:30:00.000300 IP 10.0.0.1.1025 > 10.0.0.2.www: P 1:11(10) ack 1 win 1460
"""
    assert [line.partition("Flags ")[2] for line in made(text)] == [
        "[S], seq 100, win 5840, options [mss 1460,sackOK,TS val 5 ecr 0,nop,wscale 2], length 0",
        "[S.], seq 900, ack 101, win 5792, options [mss 1460], length 0",
        "[.], ack 1, win 1460, length 0",
        "[P.], seq 1:11, ack 1, win 1460, length 10",
    ]


def test_names_have_addresses_and_are_kept(tmp_path):
    text = SESSION.replace("localhost.9502", "db.example.net.postgresql").replace("localhost", "ip-10-0-0-1.ec2")
    analysis = read(text, tmp_path)
    assert analysis.flows[["client", "server", "server_port"]].astype(str).to_numpy().tolist() == [
        ["0.0.0.1", "0.0.0.2", "5432"]
    ]
    names = Names()
    list(packets(timed(lines_of(text)), names))
    assert names.known == {"0.0.0.1": ("ip-10-0-0-1.ec2",), "0.0.0.2": ("db.example.net",)}


def test_times_of_day_go_on_past_midnight():
    text = SESSION.replace("14:12:45", "23:59:59").replace("14:13:01", "00:00:03")
    times = [time_ns for _, time_ns in timed(lines_of(text))]
    assert times == sorted(times)
    assert (times[-1] - times[0]) // 10**9 == 4


def test_a_segment_quoted_by_an_icmp_error_is_nobodys():
    text = """\
10:00:00.000000 IP (tos 0xc0, ttl 64, id 1, offset 0, flags [none], proto ICMP (1), length 88)
    10.0.0.9 > 10.0.0.1: ICMP host 10.0.0.2 unreachable, length 68
\tIP (tos 0x0, ttl 63, id 2, offset 0, flags [DF], proto TCP (6), length 60)
    10.0.0.1.5 > 10.0.0.2.80: Flags [S], cksum 0x0000 (incorrect -> 0x1111), seq 1, win 5, length 0
"""
    assert lines_of(text) == []


ENCODINGS = {
    "PowerShell": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "big-endian": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-8 with BOM": lambda text: text.encode("utf-8-sig"),
    "HTML": lambda text: html.escape(text).encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "PowerShell in gzip": lambda text: gzip.compress(text.encode("utf-16")),
}


@pytest.mark.parametrize("encoded", ENCODINGS.values(), ids=ENCODINGS)
def test_text_however_it_was_kept(encoded, tmp_path):
    plain = read(SESSION, tmp_path)
    path = tmp_path / "kept"
    path.write_bytes(encoded(SESSION))
    kept = analyzer.read(path)
    assert len(plain.packets) == 5
    for name in ("packets", "flows", "transitions", "anomalies"):
        pd.testing.assert_frame_equal(getattr(plain, name), getattr(kept, name))
    assert kept.capture.whole
    command = [sys.executable, "-m", "analyzer", "packets", "--format", "tcpdump", "-"]
    piped = subprocess.run(command, input=path.read_bytes(), cwd=ROOT, capture_output=True, check=True).stdout
    assert piped.decode().splitlines() == list(tcpdump.lines(open_source(path)))


def test_html_of_before_2009_and_quoted():
    text = "&gt; 16:00:01.000000 IP 10.0.0.1.5 &gt; 10.0.0.2.80: S 1:1(0) win 5&nbsp;&lt;mss 1460,nop&gt;\n"
    (line,) = lines_of(text)
    assert (line.destination, line.options) == ("10.0.0.2", "mss 1460,nop")


def test_compressed_text_that_breaks_off_is_damage(tmp_path):
    path = tmp_path / "cut.txt.gz"
    random.seed(1)
    noise = "".join(f"{random.random()}\n" for _ in range(20_000))
    path.write_bytes(gzip.compress((SESSION + noise).encode())[:-1000])
    analysis = analyzer.read(path)
    assert len(analysis.packets) == len(read(SESSION, tmp_path).packets)
    assert [damage.what for damage in analysis.capture.damage] == ["the gzip stream breaks off"]


NO_TEXT_OF_TCPDUMPS = {
    "words in gzip": gzip.compress(b"no segment"),
    "zeros in gzip": gzip.compress(bytes(600)),
    "UTF-16": codecs.BOM_UTF16_LE + b"x",
}


# named: gzip writes the second it was made into its header, and xdist's workers have to agree on the names
@pytest.mark.parametrize("content", NO_TEXT_OF_TCPDUMPS.values(), ids=NO_TEXT_OF_TCPDUMPS)
def test_compressed_or_wide_and_no_text_of_tcpdumps(content, tmp_path):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match="neither pcap nor pcapng"):
        analyzer.read(path)


def test_text_without_a_segment_is_refused_as_before(tmp_path):
    with pytest.raises(CaptureError, match="neither pcap nor pcapng"):
        read("Dear all,\nit hangs.\n", tmp_path)


def test_a_pipe_may_carry_text_and_a_filter():
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", "packets", "--format", "tcpdump", "-", "src port 9502"],
        input=SESSION, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [line.partition("Flags ")[2][:6] for line in done.stdout.splitlines()] == ["[S.], ", "[.], a"]


words = st.sampled_from([
    "14:12:45.104687", "1700000000.000001", "IP", "IP6", "lo", "In", "localhost.9502", "10.0.0.1.80", "::1.22", ">", "a.b.c:",
    "10.0.0.2.90:", "::2.http:", "Flags", "[S],", "[P.],", "seq", "1:8,", "4294967295:3,", "ack", "1,", "win", "65535,",
    "options", "[mss", "1460],", "[bad", "length", "0", "7", "\n", "\n\n", "> ", "(tos", "0x0,", "ttl", "64,", "9999-12-31",
    "9999999999.999999", "S", "1:1(0)", "<mss", "99999>", "sack", "1", "{5:9}", "unknown-300", "٣", "\x00", "00:00:00.000000",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=400), st.lists(words, max_size=80).map(" ".join)))
def test_any_text_gives_packets_or_none(text):
    for packet in packets(timed(lines_of(text)), Names()):
        assert 40 <= len(packet.data) <= packet.wire
        assert abs(packet.time_ns) < 2**63


pieces = st.lists(st.one_of(words, st.integers(0, 2**33).map(str)), max_size=6).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(
    time=st.sampled_from(
        ["23:59:59.999999", "9999999999.999999", "9999-12-31 23:59:59", "2024-13-41 00:00:01.5", "-00:00:01.0"]
    ),
    flags=st.text("SFRP.UEWex", min_size=1, max_size=9),
    seq=st.integers(0, 2**33),
    length=st.integers(0, 99999),
    options=pieces,
    port=st.text("0123456789abcdef-", min_size=1, max_size=8),
)
def test_any_segment_gives_a_packet_that_prints(time, flags, seq, length, options, port):
    text = (
        f"{time} IP host.{port} > ::7.{port}: Flags [{flags}], seq {seq}:{(seq + length) % 2**32}, ack {seq // 3}, "
        f"win {length}, options [{options}], length {length}\n"
    )
    for packet in packets(timed(lines_of(text * 3)), Names()):
        assert tcpdump.Printer().line(packet.data, packet.wire, packet.time_ns, 101) is not None
