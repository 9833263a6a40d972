"""The reasons for a segment's coming again: what its sender knew, how long it waited, what only looks like it.

The rules stand in ``causes``, in the order in which one excludes the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.decode.segment import ACK, FIN, SYN
from analyzer.flows.sequence import distance
from analyzer.kernel import part, seldom
from analyzer.tracker.causes import Cause, Evidence
from analyzer.tracker.outstanding import Sent, is_first, may_be_needless
from analyzer.tracker.recovery import (
    DUPLICATES,
    FIRST_RTO_NS,
    MOST_DOUBLINGS,
    NO_NUMBER,
    is_recovering,
    is_sacked,
    least_wait,
    round_trip,
    sacked_behind,
)

# fmt: off
_UNKNOWN, _RTO, _RTO_RECOVERY, _FAST = (int(Cause[name]) for name in ("UNKNOWN", "RTO", "RTO_RECOVERY", "FAST"))
_PROBE, _PATH_MTU, _ANSWER = int(Cause.TAIL_LOSS_PROBE), int(Cause.PATH_MTU), int(Cause.ANSWER)
_WINDOW_PROBE = int(Cause.WINDOW_PROBE)

_NO_SIGN, _FIRST_NOT_SEEN, _UNANSWERED = (int(Evidence[name]) for name in ("NO_SIGN", "FIRST_NOT_SEEN", "UNANSWERED"))
_TIMER, _DUPLICATE_ACKS = int(Evidence.TIMER), int(Evidence.DUPLICATE_ACKS)
_SACK, _IN_RECOVERY = int(Evidence.SACK), int(Evidence.IN_RECOVERY)
_ACKNOWLEDGED, _SACKED = int(Evidence.ACKNOWLEDGED), int(Evidence.SACKED)
_OLDER_TIMESTAMP, _LOWER_IP_ID = int(Evidence.OLDER_TIMESTAMP), int(Evidence.LOWER_IP_ID)
_NOTHING_TOLD, _TOO_SOON, _TOO_BIG = (int(Evidence[name]) for name in ("NOTHING_TOLD", "TOO_SOON", "TOO_BIG"))
_ASKED = int(Evidence.ASKED)
_WINDOW_CLOSED, _WINDOW_OPENED = int(Evidence.WINDOW_CLOSED), int(Evidence.WINDOW_OPENED)
# fmt: on

COPY_WITH_ID_NS = 1_000_000_000  #: as in ``flows.copies``
COPY_BARE_NS = 500_000
SOON_NS = 5_000_000  #: behind what told it, a sender repeats itself at once; RFC 8985 lets it wait a quarter of SRTT
ID_STEP = 64  #: a sender that counts its packets skips no more IDs: a super-segment has as many
_ID_HALF, _ID_MASK = 1 << 15, 0xFFFF


@part
def frame_of(row: int, sent: Sent) -> int:
    """The row's frame."""
    return row + 1 + sent.frame_ahead[row]


@part
def say(record: Any, cause: int, evidence: int, frame: Any) -> None:
    """Write the cause, what shows it and where; frame 0: nowhere."""
    record.cause, record.evidence, record.frame = cause, evidence, frame


@part
def is_older(row: int, last: int, sent: Sent) -> bool:
    """Whether it was sent before what was seen of its numbers already: that was its repetition."""
    timed = not sent.no_timestamps[row] and not sent.no_timestamps[last]
    return timed and distance(sent.tsval[row], sent.tsval[last]) < 0


@part
def count_id(me: Any, ip_id: Any) -> None:
    """Take in the IP ID of its next packet."""
    if me.ip_id >= 0:
        step = (ip_id - me.ip_id) & _ID_MASK
        if 0 < step <= ID_STEP:
            me.counted += 1
        elif step != 0:
            me.uncounted += 1
    me.ip_id = ip_id


@part
def counts_ids(me: Any) -> bool:
    """Whether its IP IDs go up by a little, mostly: a later packet has a higher one."""
    return me.counted > me.uncounted


@part
def is_copy(me: Any, you: Any, row: int, last: int, sent: Sent) -> bool:
    """Whether nothing tells it from the sending before; a sender that counts its packets would give it another ID.

    Of the others only if nothing came meanwhile: then there is only a timer, and none is that short.
    """
    same = sent.seq[row] == sent.seq[last] and sent.length[row] == sent.length[last]
    same = same and sent.flag_bits[row] == sent.flag_bits[last] and sent.ack[row] == sent.ack[last]
    same = same and sent.raw_window[row] == sent.raw_window[last] and sent.no_ip_id[row] == sent.no_ip_id[last]
    same = same and sent.tsval[row] == sent.tsval[last] and sent.tsecr[row] == sent.tsecr[last]
    same = same and (sent.no_ip_id[row] or sent.ip_id[row] == sent.ip_id[last])
    last_ns = sent.time_ns[last]
    if not sent.no_ip_id[row] and counts_ids(me):
        return same and sent.time_ns[row] - last_ns < COPY_WITH_ID_NS
    unasked = you.last_ns <= last_ns and me.icmp_ns <= last_ns
    return same and unasked and sent.time_ns[row] - last_ns < COPY_BARE_NS


@seldom
def is_late(me: Any, you: Any, row: int, overtook: int, record: Any, blocks: Any, sent: Sent) -> int:
    """The evidence that a segment is its own first sending and was overtaken; 0 if it was sent again."""
    if not sent.no_timestamps[row] and not sent.no_timestamps[overtook]:
        later = distance(sent.tsval[row], sent.tsval[overtook])
        if later != 0:
            return _OLDER_TIMESTAMP if later < 0 else 0
    if counts_ids(me) and not sent.no_ip_id[row] and not sent.no_ip_id[overtook]:
        step = (np.int64(sent.ip_id[row]) - sent.ip_id[overtook]) & _ID_MASK
        if step != 0:
            return _LOWER_IP_ID if step >= _ID_HALF else 0
    behind_ns = sent.time_ns[row] - sent.time_ns[overtook]
    if behind_ns < round_trip(me, you):
        return _TOO_SOON
    if you.last_ns == 0:  # one direction only: nobody knows what the sender was told
        return 0
    told = me.duplicate_acks >= DUPLICATES or sacked_behind(me, record.end, blocks) > 0
    if told or me.una >= record.end or 10 * behind_ns >= 9 * least_wait(me):
        return 0
    return _NOTHING_TOLD


@seldom
def judge_syn(me: Any, you: Any, row: int, last: int, record: Any, sent: Sent) -> None:
    """A SYN or SYN-ACK again: only its timer repeats it where nothing came; what came may ask for it."""
    record.waited_ns = max(sent.time_ns[row] - sent.time_ns[last], 0)
    record.rto_ns = FIRST_RTO_NS << min(me.timeouts, MOST_DOUBLINGS)
    long = 10 * record.waited_ns >= 9 * FIRST_RTO_NS
    if sent.flag_bits[row] & ACK:
        soon_ns = max(me.near_ns, 0) + SOON_NS
        if you.syn_ns > sent.time_ns[last] and sent.time_ns[row] - you.syn_ns <= soon_ns:
            say(record, _ANSWER, _ASKED, you.syn_frame)
            return
    elif you.last_ns > sent.time_ns[last] and not long:
        say(record, _ANSWER, _ASKED, 0)
        return
    say(record, _RTO, _TIMER if long else _UNANSWERED, 0)
    me.timeouts = min(me.timeouts + 1, MOST_DOUBLINGS)


@seldom
def judge(me: Any, you: Any, row: int, last: int, place: int, blocks: Any, sent: Sent, record: Any) -> None:
    """Data or FIN again. last: the row of the sending before, or of what jumped over it; -1 if it is not known."""
    time_ns, seq, end = sent.time_ns[row], record.seq, record.end
    near_ns = max(me.near_ns, 0)
    last_ns = sent.time_ns[last] if last >= 0 else np.int64(0)
    had = me.una >= end  # all of it was acknowledged
    since_ns = last_ns
    if not had and me.advanced_ns > last_ns:
        since_ns = min(me.advanced_ns + near_ns, time_ns)
    waited_ns = max(time_ns - since_ns, 0) if since_ns != 0 else np.int64(-1)
    record.waited_ns = waited_ns
    if me.srtt_ns != 0 or me.syn_frame != 0:
        record.rto_ns = least_wait(me) << min(me.timeouts, MOST_DOUBLINGS)
    record.duplicate_acks, record.sacked = me.duplicate_acks, sacked_behind(me, end, blocks)
    told_ns, told_frame = me.told_ns, me.told_frame
    if had and me.earlier_una <= seq < me.earlier_next:
        record.duplicate_acks, record.sacked = me.earlier_duplicates, me.earlier_sacked
        told_ns, told_frame = me.earlier_told_ns, me.earlier_told_frame
    told = told_ns > last_ns and (record.duplicate_acks >= DUPLICATES or record.sacked > 0)
    head = had or seq <= me.una or (me.una == NO_NUMBER and place >= 0 and is_first(me, place))
    tail = end >= me.next or me.count == 0
    # RFC 8985 section 7.3: no probe while losses are told or recovered from, none after another; never later than the time-out.
    probing = me.sack and me.duplicate_acks == 0 and me.edges == 0 and not told and not is_recovering(me)
    probing = probing and tail and me.timeouts == 0 and not me.probed and 2 * waited_ns <= 3 * least_wait(me)
    # One direction only: what the sender was told is not known, only that a second is long to anybody.
    probing = probing and you.last_ns != 0
    long = 10 * waited_ns >= 9 * (least_wait(me) if you.last_ns != 0 else FIRST_RTO_NS)
    trip_ns = me.srtt_ns + near_ns if me.srtt_ns != 0 else np.int64(0)
    cause, evidence, shown_by = _UNKNOWN, _NO_SIGN if last >= 0 else _FIRST_NOT_SEEN, np.int64(0)
    # In the order in which one excludes the next: what is told is obeyed at once, the timers run meanwhile.
    if _is_as_small_as_a_probe(row, sent) and me.closed_frame != 0:
        cause, evidence, shown_by = _WINDOW_PROBE, _WINDOW_CLOSED, np.int64(me.closed_frame)
    elif me.icmp_frame != 0 and me.icmp_ns >= last_ns:
        cause, evidence, shown_by = _PATH_MTU, _TOO_BIG, np.int64(me.icmp_frame)
    elif _rode_in_a_syn(last, sent):
        cause, evidence, shown_by = _ANSWER, _ASKED, np.int64(me.advanced_frame)
    elif _was_a_probe(me, last, sent):
        cause, evidence, shown_by = _ANSWER, _WINDOW_OPENED, np.int64(me.opened_frame)
    elif told and time_ns - told_ns <= near_ns + max(trip_ns // 4, SOON_NS):
        cause, shown_by = _FAST, np.int64(told_frame)
    elif long and probing:
        cause, evidence = _PROBE, _TIMER
        record.tail = head
    elif long and head:
        cause, evidence = _RTO, _TIMER
    elif told:
        cause, shown_by = _FAST, np.int64(told_frame)
    elif seq < me.recover and me.phase != 0 and (is_recovering(me) or last_ns < me.recovery_ns):
        cause = _FAST if me.phase == _FAST else _RTO_RECOVERY
        evidence, shown_by = _IN_RECOVERY, np.int64(me.recovery_frame)
    elif probing and trip_ns != 0 and 10 * waited_ns >= 18 * trip_ns:
        cause, evidence = _PROBE, _TIMER
    elif long:
        cause, evidence = _RTO, _TIMER
    elif head and me.duplicate_acks == 0 and trip_ns != 0 and waited_ns >= trip_ns + 4 * me.rttvar_ns:
        cause, evidence = _RTO, _UNANSWERED if you.last_ns < last_ns else _TIMER
    if cause == _FAST and shown_by == told_frame and shown_by != 0:
        evidence = _SACK if record.sacked > 0 else _DUPLICATE_ACKS
    say(record, cause, evidence, shown_by)
    if may_be_needless(record) and (had or is_sacked(me, seq, end, blocks)):
        record.needless = True
        record.evidence = _ACKNOWLEDGED if had else _SACKED
        record.frame = me.advanced_frame if had else me.told_frame
    if cause == _PROBE:
        me.probed = True
    elif cause == _RTO or (cause == _FAST and not is_recovering(me)):
        me.phase, me.recover, me.recovery_ns, me.recovery_frame = cause, me.next, time_ns, frame_of(row, sent)
        if cause == _RTO:
            me.timeouts = min(me.timeouts + 1, MOST_DOUBLINGS)


@part
def _is_as_small_as_a_probe(row: int, sent: Sent) -> bool:
    """Whether it is as small as a window probe."""
    return sent.length[row] == 1 and not sent.flag_bits[row] & FIN


@part
def _was_a_probe(me: Any, last: int, sent: Sent) -> bool:
    """Whether the sending before was an octet into a window that was closed, and now is open."""
    if last < 0 or me.closed_frame != 0 or me.opened_frame == 0:
        return False
    return _is_as_small_as_a_probe(last, sent) and me.closed_ns <= sent.time_ns[last] <= me.opened_ns


@part
def _rode_in_a_syn(last: int, sent: Sent) -> bool:
    return last >= 0 and sent.flag_bits[last] & SYN != 0
