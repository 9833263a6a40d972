"""Why a segment came again: every cause that the tracker names, with its rule, its source, its evidence, what may fool it.

A sender repeats itself for few reasons: its timer ran out (RFC 6298), a probe of the tail was due (RFC 8985), the receiver
told of a loss (RFC 5681, RFC 6675), a router of a packet too big, the peer asked again. So what is sent again is held against
what the sender can have known and how long it had waited; and what comes later shows whether there was any need for it:
a DSACK (RFC 2883), or an acknowledgement that echoes the first sending's timestamp (Eifel, RFC 3522).

The figures stand beside each cause in `anomalies`: ``waited`` (since the sending before it, or since the last acknowledgement
of something new, as the sender has it), ``rto`` (the sender's time-out by its own round trips as seen here, with Linux's least
of 200 ms, doubled for each time-out before), ``duplicate_acks`` and ``sacked`` (what the sender had been told before).
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Cause(enum.IntEnum):
    """Codes of the causes; CATALOGUE says what each means."""

    NONE = 0  #: not a kind that has one
    UNKNOWN = 1
    RTO = 2
    RTO_RECOVERY = 3
    FAST = 4
    TAIL_LOSS_PROBE = 5
    SPURIOUS = 6
    SPURIOUS_RTO = 7
    SPURIOUS_FAST = 8
    SPURIOUS_PROBE = 9
    PATH_MTU = 10
    ANSWER = 11
    WINDOW_PROBE = 12
    KEEP_ALIVE = 13
    COPY = 14
    REORDERED = 15


class Entry(NamedTuple):
    """One cause of the catalogue."""

    name: str
    meaning: str
    rule: str
    source: str
    evidence: str  #: what of the row shows it
    fooled_by: str


_NEEDLESS = "as {0}, and the receiver had it already: all of it acknowledged or SACKed before it was sent, or named by a DSACK behind it, or the first acknowledgement behind it echoes a timestamp older than its own"
_SHOWN_BY = "`evidence_frame`: the acknowledgement, DSACK or echo"

CATALOGUE: dict[Cause, Entry] = {
    Cause.UNKNOWN: Entry("unknown", "the packets do not show why", "none of the others", "", "`evidence` says what is missing", "a capture that begins late, lost packets, or sees one direction; a sender's own timers"),
    Cause.RTO: Entry("rto", "the retransmission timer ran out", "the first unacknowledged segment again, nine tenths of the estimated time-out after its last sending and the last acknowledgement of something new; or after SRTT + 4 RTTVAR, without a sign of loss (a sender with a shorter least time-out). Of SYN and FIN too; a SYN to which nothing was answered has no other cause", "RFC 6298", "`waited` against `rto`", "round trips that grow at once; a probe of the tail by a sender without SACK"),
    Cause.RTO_RECOVERY: Entry("rto-recovery", "what was outstanding when the timer ran out, sent again as acknowledgements come in", "below the highest number sent at a time-out, until that is acknowledged", "RFC 5681 section 3.1, RFC 6582", "`evidence_frame`: the time-out's retransmission", ""),
    Cause.FAST: Entry("fast", "the receiver told that it is missing: a fast retransmission, or one of the recovery that it began", "three duplicate acknowledgements, or octets behind it SACKed since its last sending; or below the highest number sent when such a recovery began, until that is acknowledged", "RFC 5681 section 3.2, RFC 6675, RFC 8985 section 6, RFC 6582", "`duplicate_acks`, `sacked`; `evidence_frame`: the newest of these acknowledgements", "duplicate acknowledgements that the network duplicated"),
    Cause.TAIL_LOSS_PROBE: Entry("tail-loss-probe", "the last segment again, to draw an acknowledgement before the timer runs out", "the tail of what was sent, once, with SACK agreed and no loss told: two round trips after the last sending, or at the time-out where that is sooner; half as long again at most. A second sending that waits half as long again as the first takes the name back: then both were time-outs", "RFC 8985 section 7", "`waited` against `rto`", "a single last segment of a sender without RFC 8985: its first time-out looks the same, unless it comes again"),
    Cause.SPURIOUS: Entry("spurious", "sent again though the receiver had it; what made the sender do it is not shown", _NEEDLESS.format("unknown"), "RFC 2883, RFC 3522", _SHOWN_BY, "an acknowledgement that was seen and lost behind the capture point"),
    Cause.SPURIOUS_RTO: Entry("spurious-rto", "the timer ran out though nothing was lost but time, or acknowledgements", _NEEDLESS.format("rto or rto-recovery"), "RFC 2883, RFC 3522, RFC 5682", _SHOWN_BY, "a packet that the network doubled"),
    Cause.SPURIOUS_FAST: Entry("spurious-fast", "reordering was taken for loss", _NEEDLESS.format("fast"), "RFC 2883, RFC 3522, RFC 4653", _SHOWN_BY, "a packet that the network doubled"),
    Cause.SPURIOUS_PROBE: Entry("spurious-tail-loss-probe", "the tail was probed, and had arrived: its acknowledgement was late or lost", _NEEDLESS.format("tail-loss-probe"), "RFC 8985 section 7.4, RFC 2883", _SHOWN_BY, ""),
    Cause.PATH_MTU: Entry("path-mtu", "a router told that the packet was too big", "an ICMP error of that kind since the last sending", "RFC 1191, RFC 8201", "`evidence_frame`: the ICMP error", ""),
    Cause.ANSWER: Entry("answer", "what came from the peer asks for it", "a SYN-ACK right behind the peer's repeated SYN; a SYN behind an answer that did not take it; data that a SYN carried and the SYN-ACK did not acknowledge; the octet of a window probe, once the window is open", "RFC 9293 section 3.10.7, RFC 7413", "`evidence_frame`: what it answers", "a timer that runs out just then"),
    Cause.WINDOW_PROBE: Entry("window-probe", "asks whether the closed window has opened", "one octet or none, while the peer's last window is 0", "RFC 9293 section 3.8.6.1; Linux probes without an octet, one number below SND.UNA, as it keeps alive", "`evidence_frame`: the first of these windows", "a keep-alive to a peer whose window happens to be closed"),
    Cause.KEEP_ALIVE: Entry("keep-alive", "asks whether the peer is still there", "no or one octet at SND.NXT - 1, all before it acknowledged, window open", "RFC 9293 section 3.8.4, RFC 1122 section 4.2.3.6", "`waited`: since the connection's last segment", ""),
    Cause.COPY: Entry("copy", "the same packet seen again: nothing was sent again", "all fields equal, the IP ID of a sender that counts too, within a second; within half a millisecond without one", "RFC 6864; flows/copies.py, which finds them before", "`related_frame`: its first sight", ""),
    Cause.REORDERED: Entry("reordered", "sent before what overtook it: nothing was sent again", "its timestamp, or the IP ID of a sender that counts, is older than that of what overtook it; else nothing had told the sender, or it comes sooner than a round trip behind that (3 ms where the handshake was not seen)", "RFC 7323 section 3, RFC 6864, RFC 4737", "`related_frame`: what overtook it", "without timestamps and counted IP IDs: a time-out that fits no round trip"),
}  # fmt: skip


class Evidence(enum.IntEnum):
    """What shows a cause; EVIDENCE_WORDS has the text."""

    NONE = 0
    TIMER = 1
    DUPLICATE_ACKS = 2
    SACK = 3
    IN_RECOVERY = 4
    ACKNOWLEDGED = 5
    SACKED = 6
    DSACK = 7
    ECHO = 8
    OLDER_TIMESTAMP = 9
    LOWER_IP_ID = 10
    NOTHING_TOLD = 11
    TOO_SOON = 12
    IDENTICAL = 13
    TOO_BIG = 14
    ASKED = 15
    WINDOW_CLOSED = 16
    IDLE = 17
    FIRST_NOT_SEEN = 18
    NO_SIGN = 19
    UNANSWERED = 20
    WINDOW_OPENED = 21


EVIDENCE_WORDS: dict[Evidence, str] = {
    Evidence.NONE: "",
    Evidence.TIMER: "the wait fits the timer",
    Evidence.DUPLICATE_ACKS: "three duplicate acknowledgements, or more",
    Evidence.SACK: "octets behind it were SACKed",
    Evidence.IN_RECOVERY: "outstanding when the recovery began",
    Evidence.ACKNOWLEDGED: "it had been acknowledged",
    Evidence.SACKED: "it had been SACKed",
    Evidence.DSACK: "a DSACK names it",
    Evidence.ECHO: "the timestamp echoed is older than its own",
    Evidence.OLDER_TIMESTAMP: "its timestamp is older than that of what overtook it",
    Evidence.LOWER_IP_ID: "its IP ID is below that of what overtook it",
    Evidence.NOTHING_TOLD: "nothing had told the sender of a loss",
    Evidence.TOO_SOON: "sooner than a round trip behind what overtook it",
    Evidence.IDENTICAL: "identical to its first sight",
    Evidence.TOO_BIG: "an ICMP error said that it was too big",
    Evidence.ASKED: "the peer's segment asks for it",
    Evidence.WINDOW_CLOSED: "the peer's window is closed",
    Evidence.IDLE: "all was acknowledged",
    Evidence.FIRST_NOT_SEEN: "the first sending is not here, or too far back",
    Evidence.NO_SIGN: "neither a timer's wait nor a sign of loss",
    Evidence.UNANSWERED: "nothing came from the peer since",
    Evidence.WINDOW_OPENED: "the peer's window has opened",
}

#: The cause, once it turns out that there was no need.
NEEDLESS: dict[Cause, Cause] = {
    Cause.UNKNOWN: Cause.SPURIOUS,
    Cause.RTO: Cause.SPURIOUS_RTO,
    Cause.RTO_RECOVERY: Cause.SPURIOUS_RTO,
    Cause.FAST: Cause.SPURIOUS_FAST,
    Cause.TAIL_LOSS_PROBE: Cause.SPURIOUS_PROBE,
}


def as_markdown() -> str:
    """Write the catalogue as docs/causes.md has it."""
    lines = [
        "# Why a segment came again",
        "",
        "Generated from `analyzer/tracker/causes.py`: the words of `anomalies.cause`, of the kinds retransmission,",
        "syn-retransmitted, synack-retransmitted, fin-retransmitted, out-of-order, window-probe, keep-alive and copies.",
        "",
        "| cause | meaning | rule | source | evidence | what may fool it |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in CATALOGUE.values()]
    lines += ["", *(line.strip() for line in (__doc__ or "").split("\n\n")[-1].split("\n") if line.strip())]
    words = ", ".join(f"*{word}*" for word in EVIDENCE_WORDS.values() if word)
    lines += ["", f"`evidence`: {words}."]
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())  # noqa: T201
