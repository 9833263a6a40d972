"""How good a capture is: what ``Analysis.capture`` says of itself, and what the tracker makes of what is wrong with it."""

from __future__ import annotations

import pytest

import analyzer
from tests import recordings, wire
from tests.wire import record

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 80)
MS = 10**6


def segment(sender, seq, ack, flags, payload=b"", sum_is="right", version=4):
    (source, sport), (target, dport) = (CLIENT, SERVER) if sender == "C" else (SERVER, CLIENT)
    if version == 6:
        source, target = f"fd00::{source[-1]}", f"fd00::{target[-1]}"
    data = wire.tcp(sport, dport, seq, ack, flags, payload=payload, ends=(source, target), sum_is=sum_is,
                    options=wire.mss(1460) if "S" in flags else b"")  # fmt: skip
    return wire.ip(source, target, data)[1]


def read(tmp_path, datagrams, gaps_ns=None, settings=None):
    """Datagrams a millisecond apart, or these."""
    now, records = 1_700_000_000 * 10**9, []
    for number, data in enumerate(datagrams):
        records.append(record(now, data))
        now += gaps_ns[number] if gaps_ns else MS
    path = tmp_path / "made.pcap"
    path.write_bytes(wire.pcap(records, 101))
    return analyzer.read(path, settings=settings)


def opened(**more):
    return [
        segment("C", 100, 0, "S", **more),
        segment("S", 500, 101, "S.", **more),
        segment("C", 101, 501, ".", **more),
    ]


def kinds(analysis):
    return [str(kind) for kind in analysis.anomalies["kind"]]


# -------------------------------------------------------------------------------------------------------- checksums


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("flags", ["F.", "R", "R.", "P.", "S"])
def test_a_segment_with_a_wrong_checksum_is_named_and_moves_nobody(tmp_path, flags, version):
    bad = segment("C", 101, 501, flags, b"x" * (flags == "P."), sum_is="wrong", version=version)
    found = read(tmp_path, [*opened(version=version), bad, segment("S", 501, 101, "P.", b"y", version=version)])
    assert kinds(found) == ["bad-checksum"]
    assert (len(found.packets), len(found.flows), found.capture.checksums_wrong) == (5, 1, 1)
    assert found.packets["client_state"].iloc[-1] == found.packets["server_state"].iloc[-1] == "ESTABLISHED"
    assert found.flows["client_bytes"].iloc[0] == 0
    assert (found.flows["close"] == "still open").all()


def test_without_checksums_it_counts_like_any_other(tmp_path):
    packets = [*opened(), segment("C", 101, 501, "R", sum_is="wrong")]
    found = read(tmp_path, packets, settings=analyzer.Settings(checksums=False))
    assert kinds(found) == ["reset"]
    assert found.capture.checksums_wrong == 0


@pytest.mark.parametrize("sum_is", ["partial", "left", "wrong"])
def test_a_host_that_leaves_checksums_to_its_card_is_not_ignored(tmp_path, sum_is):
    """Be it the pseudo-header's sum, nothing, or something that nobody knows: all that it sends is so.

    Complaint: "packets with bad checksum silently ignored (offload)" (zeek#5294, #1939, #5277).
    """
    talk = [segment("C", 101, 501, "P.", b"hello", sum_is), segment("S", 501, 106, "."), segment("C", 106, 501, "F.", b"", sum_is),
            segment("S", 501, 107, "F."), segment("C", 107, 502, ".", b"", sum_is)]  # fmt: skip
    start = [
        segment("C", 100, 0, "S", b"", sum_is),
        segment("S", 500, 101, "S."),
        segment("C", 101, 501, ".", b"", sum_is),
    ]
    found = read(tmp_path, start + talk)
    assert kinds(found) == []
    assert found.flows["close"].tolist() == ["orderly"]
    assert (found.capture.checksums_left, found.capture.checksums_wrong) == (5, 0)


def test_a_wrong_one_before_its_host_has_shown_right_ones_is_named_in_the_end(tmp_path):
    found = read(tmp_path, [segment("C", 100, 0, "S", sum_is="wrong"), *opened()])
    assert kinds(found) == ["bad-checksum", "syn-retransmitted"]
    assert "taken as good" in str(found.anomalies["detail"].iloc[0])


@pytest.mark.parametrize("cut", [1, 30])
def test_what_is_cut_is_not_summed(tmp_path, cut):
    bad = segment("C", 101, 501, "P.", b"x" * 100, sum_is="wrong")
    path = tmp_path / "cut.pcap"
    records = [record(n * MS, data) for n, data in enumerate(opened())]
    path.write_bytes(wire.pcap([*records, wire.Record(9 * MS, bad[:-cut], len(bad))], 101))
    assert kinds(analyzer.read(path)) == []


def test_padding_is_not_summed(tmp_path):
    path = tmp_path / "padded.pcap"
    frames = [wire.ethernet(wire.IPV4, data) + b"\xaa" * 9 for data in opened()]
    path.write_bytes(wire.pcap([record(n * MS, data) for n, data in enumerate(frames)], 1))
    found = analyzer.read(path)
    assert (kinds(found), found.capture.checksums_left) == ([], 0)


def test_a_segment_that_the_card_cuts_up_has_none_of_its_own(tmp_path):
    large = segment("S", 501, 101, ".", b"x" * 4000, sum_is="wrong")
    found = read(tmp_path, [*opened(), large, segment("C", 101, 4501, ".")])
    assert kinds(found) == []
    assert (found.capture.super_segments, found.capture.checksums_left) == (1, 1)


# ------------------------------------------------------------------------------------------- what the capture lost


def test_octets_that_were_acknowledged_and_never_seen_are_the_captures_loss(tmp_path):
    """The first 3,000 of 4,000; the receiver has them all."""
    found = read(tmp_path, [*opened(), segment("S", 3501, 101, ".", b"x" * 1000), segment("C", 101, 4501, ".")])
    assert kinds(found) == ["segment-not-captured", "ack-of-unseen"]
    assert (found.capture.lost_bytes, found.capture.lost_segments) == (3000, 3)
    assert not found.answers().troubles
    assert "3,000 bytes acknowledged that the capture never saw: it lost at least 3 packets" in found.summary()


def test_a_loss_on_the_network_is_not_the_captures(tmp_path):
    late = segment("S", 501, 101, ".", b"x" * 1000)
    packets = [*opened(), segment("S", 1501, 101, ".", b"x" * 1000), segment("C", 101, 501, "."), late]
    found = read(tmp_path, [*packets, segment("C", 101, 2501, ".")], gaps_ns=[MS] * 4 + [250 * MS, MS, MS])
    assert found.capture.lost_bytes == 0
    assert kinds(found) == ["segment-not-captured", "duplicate-ack", "retransmission"]


@pytest.mark.parametrize("length", [0, 1, 700])
def test_a_segment_right_behind_its_acknowledgement_was_not_lost(tmp_path, length):
    """Also a FIN, and one octet, which looks like a keep-alive."""
    text = b"x" * length
    flags, end = ("P.", 101 + length) if length else ("F.", 102)
    found = read(tmp_path, [*opened(), segment("S", 501, end, "."), segment("C", 101, 501, flags, text)])
    assert kinds(found) == []
    assert (found.capture.swapped, found.capture.lost_bytes) == (1, 0)
    assert found.flows["client_bytes"].iloc[0] == length
    if not length:
        row = found.flows.iloc[0]
        assert (row["client_state"], row["server_state"]) == ("FIN_WAIT_2", "CLOSE_WAIT")
        assert (row["close_1"], row["close_2"]) == (5, 4)


def test_a_whole_connection_whose_directions_are_swapped_ends_as_it_did(tmp_path):
    talk = [segment("C", 101, 501, "P.", b"hello"), segment("S", 501, 106, "."), segment("C", 106, 501, "F."),
            segment("S", 501, 107, "F."), segment("C", 107, 502, ".")]  # fmt: skip
    syn, syn_ack, ack = opened()
    found = read(tmp_path, [syn_ack, syn, talk[1], ack, talk[0], talk[4], talk[2], talk[3]], gaps_ns=[1000] * 8)
    row = found.flows.iloc[0]
    assert (row["client"], row["open_1"], row["open_2"], row["handshake"]) == (CLIENT[0], 2, 1, "complete")
    assert (row["client_state"], row["server_state"]) == ("TIME_WAIT", "CLOSED")
    assert found.capture.lost_bytes == 0
    assert not {"retransmission", "ack-of-unseen"} & set(kinds(found))


# ----------------------------------------------------------------------------------------------------------- clock


def test_a_clock_that_was_set_back_is_named_at_the_first_packet_after_it(tmp_path):
    packets = [*opened(), segment("C", 101, 501, "P.", b"x"), segment("S", 501, 102, ".")]
    found = read(tmp_path, packets, gaps_ns=[MS, MS, -3600 * 1000 * MS, -50 * MS, MS])
    (row,) = found.anomalies.itertuples()
    assert (row.kind, row.frame, str(row.flow)) == ("clock-step", 4, "<NA>")
    assert (found.capture.clock_steps, found.capture.disordered) == (1, 1)
    assert "1 place in which time goes backwards (first at frame 4)" in found.summary()
    assert found.flows["handshake"].tolist() == ["complete"]


# ------------------------------------------------------------------------------------------------------ recordings


def recorded(name):
    return analyzer.read(recordings.capture(name))


def test_offload_as_recorded():
    found = recorded("offload")
    assert (len(found.anomalies), found.capture.super_segments, found.capture.checksums_wrong) == (0, 3, 0)
    assert found.capture.checksums_left == len(found.packets) - 1  # TIME_WAIT's last ACK comes from no socket


def test_a_wrong_checksum_as_recorded():
    found = recorded("wrong-checksum")
    (row,) = found.anomalies.itertuples()
    assert (row.kind, found.packets["flags"].loc[row.frame]) == ("bad-checksum", "R")


def test_what_a_capture_lost_as_recorded():
    found = recorded("lost-by-the-capture")
    assert kinds(found) == ["ack-of-unseen", "ack-of-unseen"]
    assert (found.capture.lost_bytes, found.capture.lost_segments) == (200, 2)
    assert not found.answers().troubles


def test_one_direction_as_recorded():
    """What was not seen is known from the acknowledgements; nothing is said to be lost."""
    found = recorded("one-direction")
    row = found.flows.iloc[0]
    assert kinds(found) == ["one-direction"]
    assert (found.capture.one_direction, found.capture.lost_bytes) == (1, 0)
    assert (row["client_packets"], row["server_bytes"]) == (0, len("Server: hello\r\nServer: quit\r\n"))


def test_a_filter_as_recorded():
    found = recorded("only-syn-fin-rst")
    assert found.capture.filtered == ("only segments with SYN, FIN or RST",)
    assert not found.answers().troubles
    assert "lost" not in found.summary()


def test_an_ordinary_capture_does_not_look_filtered():
    assert recorded("life-of-a-connection").capture.filtered == ()
    assert recorded("refused").capture.filtered == ("only TCP port 9502",)
