"""What is kept of a connection for Zeek's words: Zeek's own variables, under their own names where there is one.

Sequence numbers are as on the wire (``start_seq``, ``last_seq``, ``ack_seq``) with the number of times that they wrapped,
or relative to ``start_seq`` and 64 bits wide, as in Zeek.
"""

from __future__ import annotations

import numpy as np

# The states of TCP_Endpoint.h
INACTIVE = 0  # no SYN (or other packets) seen for this side
SYN_SENT = 1
SYN_ACK_SENT = 2  # from the originator: no initial SYN
PARTIAL = 3  # data seen, but no SYN
ESTABLISHED = 4
CLOSED = 5  # FIN seen
RESET = 6  # RST seen

LINE = np.dtype(
    [
        ("last", np.uint32),  # last_seq: one past the last number that it sent
        ("ack", np.uint32),  # ack_seq: the last acknowledgement of what it sent
        ("seen", np.uint16),  # hist_seen
        ("ready", np.uint8),  # what of its segments may take the short way
    ],
    align=True,
)
"""The little that an ordinary segment touches; apart, so that it stays in the cache."""

END = np.dtype(
    [
        ("fin_seq", np.int64),
        ("delivered", np.int64),  # last_reassem_seq: what is below is delivered, or given up as a gap
        ("trimmed", np.int64),  # trim_seq: what is below is acknowledged
        ("top", np.int64),  # one past the highest text that was handed to the reassembly
        ("last_syn", np.int64),  # hist_last_SYN, FIN, RST
        ("last_fin", np.int64),
        ("last_rst", np.int64),
        ("start", np.uint32),  # start_seq
        ("retransmissions", np.uint32),  # rxmt_cnt, win0_cnt, gap_cnt, chk_cnt
        ("zero_windows", np.uint32),
        ("gaps", np.uint32),
        ("checksums", np.uint32),
        ("blocks", np.int32),  # the first block beyond a hole: its place + 1, 0 none
        ("held", np.uint16),  # how many there are
        ("seq_wraps", np.uint16),
        ("ack_wraps", np.uint16),
        ("state", np.uint8),
        ("before", np.uint8),  # prev_state
        ("did_close", np.uint8),
        ("has_fin", np.uint8),  # FIN_cnt > 0
        ("skips", np.uint8),  # skip_deliveries
        ("did_eof", np.uint8),
    ],
    align=True,
)

CONNECTION = np.dtype(
    [
        ("first", np.uint64),  # history: twelve letters of five bits
        ("second", np.uint64),  # and twelve more
        ("last_ns", np.int64),
        ("delete_ns", np.int64),  # when it is forgotten, being closed; 0 not
        ("attempt_ns", np.int64),  # AttemptTimer, 0 none
        ("reset_ns", np.int64),  # ResetTimer
        ("expire_ns", np.int64),  # ExpireTimer, and the second one that begins with a half close
        ("expire_again_ns", np.int64),
        ("long", np.int32),  # where the letters after those are + 1, 0 nowhere
        ("flow", np.int32),  # whose it is
        ("bits", np.uint16),
        ("length", np.uint8),
        ("orig_side", np.uint8),
    ],
    align=True,
)

TOLD = np.dtype(
    [
        ("first", np.uint64),  # the history, as in CONNECTION
        ("second", np.uint64),
        ("long", np.int32),
        ("length", np.uint8),
        ("conn_state", np.int8),  # place in zeek_outcome.CONN_STATES + 1; 0 none
        ("orig_side", np.uint8),
        ("finished", np.uint8),  # it was more than an attempt: nothing that comes later changes the words
    ],
    align=True,
)
"""What is left of a connection that Zeek has forgotten."""

# CONNECTION.bits
STARTED = 1
FINISHED = 2  # it was more than an attempt
ORIG_SEEN = 4  # first_packet_seen
RESP_SEEN = 8
IS_PARTIAL = 16
CLOSE_DEFERRED = 32
IS_OVER = 64  # not is_active
COMPLETED = 128  # its handshake was completed: the longer time-out
INTERACTIVE = 256  # a service that may be silent for long

SHORT = 24  # letters of a history in the row itself
LONG = 64  # and beside it; a history is no longer than both

BLOCK = np.dtype([("left", np.int64), ("right", np.int64), ("next", np.int32)], align=True)
"""Text beyond a hole."""
