"""The anomaly catalogue: every kind that the tracker names, with its rule, its source and what may fool it."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Kind(enum.IntEnum):
    """Codes of the kinds; CATALOGUE says what each means."""

    SYN_UNANSWERED = 0
    SYN_RETRANSMITTED = 1
    SYNACK_RETRANSMITTED = 2
    SYNACK_ISN_CHANGED = 3
    HANDSHAKE_ACK_IGNORED = 4
    REFUSED = 5
    RESET = 6
    RESET_UNACCEPTABLE = 7
    FIN_RETRANSMITTED = 8
    FIN_ACK_LOST = 9
    HALF_OPEN = 10
    PORT_REUSED = 11
    RETRANSMISSION = 12
    OUT_OF_ORDER = 13
    SEGMENT_NOT_CAPTURED = 14
    ACK_OF_UNSEEN = 15
    DUPLICATE_ACK = 16
    ZERO_WINDOW = 17
    WINDOW_FULL = 18
    WINDOW_PROBE = 19
    KEEP_ALIVE = 20
    KEEP_ALIVE_UNANSWERED = 21
    BAD_CHECKSUM = 22
    OVERLAPPING_FRAGMENTS = 23
    ICMP_ERROR = 24
    CHALLENGE_ACK = 25
    FORGED_SEGMENT = 26
    MIDSTREAM = 27
    ONE_DIRECTION = 28
    COPIES = 29
    CLOCK_STEP = 30
    TRUNCATED = 31


WITHDRAWN = 255  #: of a row that turned out to say nothing: it does not come into the frame


class Entry(NamedTuple):
    """One kind of the catalogue."""

    name: str
    severity: str  #: note, warning, error
    meaning: str
    rule: str
    source: str
    fooled_by: str


CATALOGUE: dict[Kind, Entry] = {
    Kind.SYN_UNANSWERED: Entry("syn-unanswered", "error", "a connection attempt that got no answer at all", "SYN seen, nothing from the other end to the end of the capture, a second later at the earliest; one row, at the last SYN", "RFC 9293 3.8.3", "a capture that ends too soon, or sees one direction only"),
    Kind.SYN_RETRANSMITTED: Entry("syn-retransmitted", "warning", "the SYN came again", "same ISN as an earlier SYN of the flow", "RFC 9293 3.8.1", "copies of one packet on several interfaces"),
    Kind.SYNACK_RETRANSMITTED: Entry("synack-retransmitted", "warning", "the SYN-ACK came again", "same ISN as an earlier SYN-ACK of the flow", "RFC 9293 3.8.1", "copies"),
    Kind.SYNACK_ISN_CHANGED: Entry("synack-isn-changed", "warning", "a SYN-ACK with another ISN than the one before", "SYN-ACK whose sequence number differs from the flow's first", "RFC 9293 3.4.1", "SYN cookies of a load balancer"),
    Kind.HANDSHAKE_ACK_IGNORED: Entry("handshake-ack-ignored", "error", "the third segment was seen, but its receiver goes on as if it had not come", "SYN-ACK repeated at least one round trip after the acknowledgement", "RFC 9293 3.10.7.4; Linux: accept queue full, deferred accept", "the acknowledgement was lost behind the capture point"),
    Kind.REFUSED: Entry("refused", "error", "the connection attempt was refused", "acceptable RST, or an ICMP error that ends the attempt (docs/icmp.md), in SYN_SENT", "RFC 9293 3.10.7.3, RFC 5461", "a firewall that answers in the host's name"),
    Kind.RESET: Entry("reset", "warning", "an acceptable RST ended the connection", "RST at RCV.NXT of its receiver (in the window, in SYN_RCVD)", "RFC 9293 3.10.7.4, RFC 5961", "a forged RST with the right number"),
    Kind.RESET_UNACCEPTABLE: Entry("reset-unacceptable", "note", "an RST that its receiver must not obey", "RST that is not at RCV.NXT", "RFC 5961 section 3.2", "data that the capture lost"),
    Kind.FIN_RETRANSMITTED: Entry("fin-retransmitted", "warning", "the FIN came again", "FIN at the number of the flow's earlier FIN", "RFC 9293 3.8.1", "copies"),
    Kind.FIN_ACK_LOST: Entry("fin-ack-lost", "warning", "the acknowledgement of a FIN was seen, and the FIN came again all the same", "FIN repeated at least one round trip after its acknowledgement", "RFC 9293 3.10.7.4", "an acknowledgement on its way"),
    Kind.HALF_OPEN: Entry("half-open", "error", "one end has lost the connection and the other has not", "a new SYN to a living end is answered in the old numbers", "RFC 9293 3.5.1", "a forged SYN"),
    Kind.PORT_REUSED: Entry("port-reused", "note", "a new connection on the addresses and ports of an earlier one", "SYN with another ISN on a known pair", "RFC 6191", "a forged SYN"),
    Kind.RETRANSMISSION: Entry("retransmission", "warning", "data that was sent before", "payload below the highest number sent that was seen before, or that fills a hole and was not late by the evidence of docs/causes.md; why it came again stands in `cause`", "RFC 9293 3.8.1, docs/causes.md", "copies that are kept (`cause` says so); keep-alives are told apart"),
    Kind.OUT_OF_ORDER: Entry("out-of-order", "note", "a segment that arrived behind a later one", "fills a hole, and its timestamp or IP ID is older than that of what overtook it; without these: within a round trip of that (3 ms where it is unknown), or nothing had told the sender of a loss", "RFC 4737, docs/causes.md", "without timestamps and counted IP IDs: a time-out just then"),
    Kind.SEGMENT_NOT_CAPTURED: Entry("segment-not-captured", "warning", "something before this segment is missing here", "sequence number beyond the next expected", "Wireshark tcp.analysis.lost_segment", "reordering: the missing part comes behind"),
    Kind.ACK_OF_UNSEEN: Entry("ack-of-unseen", "warning", "an acknowledgement of data that was never seen: the capture lost it", "acknowledges beyond the highest number seen, or a gap that nothing filled; withdrawn if the data comes within a round trip (3 ms at least): then the capture only has the two directions in another order", "Wireshark tcp.analysis.ack_lost_segment", "one direction captured late"),
    Kind.DUPLICATE_ACK: Entry("duplicate-ack", "note", "the same acknowledgement again, while data is outstanding", "no payload, same acknowledgement and window, the other end has unacknowledged data", "RFC 5681 section 2", "copies"),
    Kind.ZERO_WINDOW: Entry("zero-window", "warning", "the receiver has no room left", "window 0, no SYN, FIN, RST", "RFC 9293 3.8.6.1", ""),
    Kind.WINDOW_FULL: Entry("window-full", "note", "the sender has filled the receiver's window", "payload ends at the right edge of the advertised window", "Wireshark tcp.analysis.window_full", "an unknown window scale"),
    Kind.WINDOW_PROBE: Entry("window-probe", "note", "one byte or none sent into a closed window", "while the other end's window is 0: one byte at SND.NXT or again, or none at SND.NXT - 1", "RFC 9293 3.8.6.1", ""),
    Kind.KEEP_ALIVE: Entry("keep-alive", "note", "a keep-alive probe", "no or one byte at SND.NXT - 1, all before it acknowledged, and the other end's window is open", "RFC 9293 3.8.4", "a retransmission of a last single byte"),
    Kind.KEEP_ALIVE_UNANSWERED: Entry("keep-alive-unanswered", "error", "keep-alive probes without an answer", "a probe follows a probe and nothing came between", "RFC 9293 3.8.4", "one direction only"),
    Kind.BAD_CHECKSUM: Entry("bad-checksum", "warning", "the TCP checksum is wrong: the receiver ignores the segment, and so does the tracker", "computed where the whole segment was captured; right too is what a network card was left to finish: the pseudo-header's sum, zero, a segment larger than the receiver's MSS, and all wrong ones of a host that are not outnumbered by right ones", "RFC 9293 3.1, RFC 1071", "a card that computes them only for some segments"),
    Kind.OVERLAPPING_FRAGMENTS: Entry("overlapping-fragments", "warning", "IP fragments that overlap", "offsets", "RFC 5722", ""),
    Kind.ICMP_ERROR: Entry("icmp-error", "warning", "an ICMP error quotes a segment of this connection", "the quoted addresses and ports; which error, who sent it and what it did stands in the detail, the quoted segment is the related frame", "docs/icmp.md", "a forged ICMP message; an error seen on several interfaces"),
    Kind.CHALLENGE_ACK: Entry("challenge-ack", "note", "a living end asks whether a SYN or an RST was meant", "an acknowledgement in the old numbers that answers a SYN or an unacceptable RST", "RFC 5961", ""),
    Kind.FORGED_SEGMENT: Entry("forged-segment", "error", "a segment that the real sender did not send", "the sender goes on in numbers that the segment contradicts", "RFC 5961", ""),
    Kind.MIDSTREAM: Entry("midstream", "note", "the capture begins within this connection", "the first segment is no SYN and no SYN-ACK", "", "a filtered capture"),
    Kind.ONE_DIRECTION: Entry("one-direction", "note", "only one direction of this connection was captured", "one end acknowledges what the other end was never seen to send", "", "asymmetric routes"),
    Kind.COPIES: Entry("copies", "note", "packets of this connection were captured more than once", "identical, at another interface, direction, VLAN, tunnel or TTL, or at once at the same one; one row a connection, at its first copy; packets.copy_of names each", "RFC 6864", "segments without IP ID that a sender repeats by two ways within milliseconds"),
    Kind.CLOCK_STEP: Entry("clock-step", "warning", "time goes backwards: the clock was set", "a record more than 100 ms earlier than the one before it of its file and interface; of no connection, the first 1000", "", ""),
    Kind.TRUNCATED: Entry("truncated", "note", "packets cut by the snap length", "fewer bytes captured than the IP header says", "", ""),
}  # fmt: skip


class Detail(enum.IntEnum):
    """What more there is to say of an anomaly; DETAIL_WORDS has the text."""

    NONE = 0
    SPURIOUS = 1
    FILLS_HOLE = 2
    SEEN_BEFORE = 3
    BY_RST = 4
    BY_ICMP = 5
    NOT_AT_RCV_NXT = 6
    ACK_NOT_OF_SYN = 7
    AFTER_CLOSE = 8
    EARLIER_ALIVE = 9
    EARLIER_TIME_WAIT = 10
    NO_RIGHT_ONE = 11


DETAIL_WORDS: dict[Detail, str] = {
    Detail.NONE: "",
    Detail.SPURIOUS: "all of it was acknowledged before",
    Detail.FILLS_HOLE: "fills a hole: the first sending was lost before the capture point",
    Detail.SEEN_BEFORE: "the first sending was seen",
    Detail.BY_RST: "answered with RST",
    Detail.BY_ICMP: "answered with an ICMP error",
    Detail.NOT_AT_RCV_NXT: "its number is not the next one expected",
    Detail.ACK_NOT_OF_SYN: "it does not acknowledge the SYN",
    Detail.AFTER_CLOSE: "the earlier connection was closed",
    Detail.EARLIER_ALIVE: "the earlier connection was not seen to end",
    Detail.EARLIER_TIME_WAIT: "the earlier connection was in TIME_WAIT",
    Detail.NO_RIGHT_ONE: "its sender had hardly shown right ones before: taken as good",
}


def as_markdown() -> str:
    """Write the catalogue as docs/anomalies.md has it."""
    lines = [
        "# The anomaly catalogue",
        "",
        "Generated from `analyzer/tracker/anomalies.py`.",
        "",
        "| kind | severity | meaning | rule | source | what may fool it |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in CATALOGUE.values()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())  # noqa: T201
