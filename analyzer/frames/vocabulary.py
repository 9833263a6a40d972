"""The words that stand in the frames' categorical columns, in the order of their codes.

A column with a vocabulary has exactly these categories, in this order, whether the capture shows them all or not: code
i is the i-th word, "no value" is NA (code -1). The tracker owns most of them; here they become the public ones.
"""

from __future__ import annotations

from analyzer.decode.layers import TUNNEL_WORDS
from analyzer.tracker import zeek_outcome
from analyzer.tracker.anomalies import CATALOGUE, DETAIL_WORDS, Detail, Kind
from analyzer.tracker.causes import CATALOGUE as CAUSE_CATALOGUE
from analyzer.tracker.causes import EVIDENCE_WORDS as CAUSE_EVIDENCE_WORDS
from analyzer.tracker.causes import Cause
from analyzer.tracker.causes import Evidence as CauseEvidence
from analyzer.tracker.marks import (
    CLOSE_WORDS,
    ENDPOINT_WORDS,
    EVIDENCE_WORDS,
    HANDSHAKE_WORDS,
    ROLE_WORDS,
    STEP_WORDS,
)
from analyzer.tracker.states import Event, State

STATES: tuple[str, ...] = tuple(state.name for state in State)
"""RFC 9293 section 3.3.2, and the observer's UNKNOWN; code = ``State``."""

EVENTS: tuple[str, ...] = tuple(event.name for event in Event)
"""The state table's events; code = ``Event``."""

STEPS = STEP_WORDS
"""A packet's part in the handshake or the close; code = ``Step``."""

HANDSHAKES = HANDSHAKE_WORDS
"""How far the handshake came; code = ``Handshake``."""

CLOSES = CLOSE_WORDS
"""How the connection ended, as far as the capture shows; code = ``Close``."""

ROLE_EVIDENCES = ROLE_WORDS
"""What decided which end is the client; code = ``Role``."""

ENDPOINTS = ENDPOINT_WORDS

EVIDENCES = EVIDENCE_WORDS
"""What is known of a state change at the end of the capture; code = ``Evidence``."""

ANOMALY_KINDS: tuple[str, ...] = tuple(CATALOGUE[kind].name for kind in Kind)
"""The anomaly catalogue's kinds; code = ``Kind``. `flows` counts each in ``n_<kind with underscores>``."""

DETAILS: tuple[str, ...] = tuple(DETAIL_WORDS[detail] for detail in Detail if detail is not Detail.NONE)
"""What more there is to say of an anomaly; code = ``Detail`` - 1, for NONE is NA."""

CAUSES: tuple[str, ...] = tuple(CAUSE_CATALOGUE[cause].name for cause in Cause if cause is not Cause.NONE)
"""Why a segment came again; code = ``Cause`` - 1, for NONE is NA."""

CAUSE_EVIDENCES: tuple[str, ...] = tuple(
    CAUSE_EVIDENCE_WORDS[evidence] for evidence in CauseEvidence if evidence is not CauseEvidence.NONE
)
"""What shows it; code = ``causes.Evidence`` - 1."""

SEVERITIES: tuple[str, ...] = ("note", "warning", "error")

CONN_STATES = zeek_outcome.CONN_STATES
"""Zeek's conn_state, in the order of its manual (base/protocols/conn)."""

TUNNELS: tuple[str, ...] = tuple(TUNNEL_WORDS[layer] for layer in TUNNEL_WORDS)
"""What a segment may be wrapped in; see decode/layers.py."""

ANALYSIS_NAMES: tuple[str, ...] = (
    "retransmission",
    "fast_retransmission",
    "spurious_retransmission",
    "out_of_order",
    "reused_ports",
    "lost_segment",
    "ack_lost_segment",
    "window_update",
    "window_full",
    "keep_alive",
    "keep_alive_ack",
    "zero_window_probe",
    "zero_window",
    "zero_window_probe_ack",
    "duplicate_ack",
    "tfo_syn",
    "tfo_ack",
    "tfo_ignored",
)
"""Wireshark's ``tcp.analysis.*`` fields without the prefix; bit i of ``packets.analysis`` is the i-th."""


def analysis_names(mask: int) -> tuple[str, ...]:
    """Name the Wireshark verdicts that are set in a value of ``packets.analysis``.

    Parameters
    ----------
    mask : int
        The bit set of one segment.

    Returns
    -------
    tuple of str
        Names without the prefix ``tcp.analysis.``, in the order of their bits.

    Examples
    --------
    >>> analysis_names(0b1001)
    ('retransmission', 'out_of_order')
    """
    return tuple(name for bit, name in enumerate(ANALYSIS_NAMES) if int(mask) >> bit & 1)


def count_column(kind: str) -> str:
    """Name the column of `flows` that counts anomalies of this kind."""
    return "n_" + kind.replace("-", "_")
