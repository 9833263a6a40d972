"""How many sockets are in each state: ``netstat -nat`` at any moment of the capture.

Each row of `transitions` takes one socket out of a state and puts it into another, so the count of a state at a moment
is the number of rows up to it that lead into the state, less the rows that lead out of it. Rows that were refuted never
happened.

LISTEN is the exception. In an operating system the listener is one socket that stays while the connections that it
begets come and go; in `transitions` every connection's server end passes through LISTEN. So it is counted once per
(address, port) that answered a SYN with a SYN-ACK, from the first such SYN on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analyzer.frames.schema import COUNTED_STATES
from analyzer.frames.vocabulary import EVENTS, EVIDENCES
from analyzer.tracker.states import Event, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    Rows = npt.NDArray[np.bool_]

BINS_LIMIT = 5_000_000
"""More bins than this are a slip of the frequency, or of the capture's clock, and would not fit into memory."""


def state_counts(
    transitions: pd.DataFrame,
    first: pd.Timestamp | None,
    last: pd.Timestamp | None,
    *,
    freq: str | pd.Timedelta = "1s",
    hosts: Iterable[str] | None = None,
    flows: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Count sockets per state over time.

    Parameters
    ----------
    transitions : DataFrame
        The frame of that name.
    first, last : Timestamp or None
        The capture's first and last time; None for an empty capture.
    freq : str or Timedelta
        Width of a bin; bins begin at its multiples, the first at or before ``first``, the last at or after ``last``.
    hosts : iterable of str, optional
        Count the ends on these addresses only; None counts both ends.
    flows : array of int, optional
        Count these flows only.

    Returns
    -------
    DataFrame
        ``STATE_COUNTS``: index `time`, one column a state; the states in force at the start of each bin.

    Raises
    ------
    ValueError
        If the frequency is not a positive duration, or gives more than ``BINS_LIMIT`` bins.
    """
    step = duration(freq)
    if first is None or last is None:
        starts = pd.DatetimeIndex([], dtype="datetime64[ns, UTC]", name="time")
    else:
        begin, end = (int(moment.as_unit("ns").value) for moment in (first, last))
        lowest, highest = begin // step, -(-end // step)
        if highest - lowest >= BINS_LIMIT:
            raise ValueError(
                f"{freq!r} makes {highest - lowest + 1:,} bins of {first} to {last}; the limit is {BINS_LIMIT:,}: "
                "choose a longer frequency"
            )
        starts = pd.DatetimeIndex(np.arange(lowest, highest + 1) * step, tz="UTC", name="time").as_unit("ns")
    return counts_at(transitions, starts, hosts=hosts, flows=flows)


def counts_at(
    transitions: pd.DataFrame,
    moments: pd.DatetimeIndex,
    *,
    hosts: Iterable[str] | None = None,
    flows: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Count sockets per state at each of these moments (ascending): rows up to and including a moment count."""
    kept = _kept(transitions, hosts, flows)
    instants = moments.as_unit("ns").asi8
    # the first moment that sees the row; those after the last moment fall into one slot too many
    slot = np.searchsorted(instants, _nanoseconds(transitions)[kept], side="left")
    old = _codes(transitions, "old")[kept]
    new = _codes(transitions, "new")[kept]
    table = np.zeros((len(instants), len(COUNTED_STATES)), np.int64)
    for column, name in enumerate(COUNTED_STATES):
        if name == State.LISTEN.name:
            changes = np.bincount(_listening_since(transitions, kept, slot), minlength=len(instants) + 1)
        else:
            changes = np.bincount(slot[new == State[name]], minlength=len(instants) + 1)
            changes -= np.bincount(slot[old == State[name]], minlength=len(instants) + 1)
        table[:, column] = np.cumsum(changes[: len(instants)])
    return pd.DataFrame(table, index=moments.rename("time"), columns=pd.Index(COUNTED_STATES, dtype="str"))


def duration(freq: str | pd.Timedelta) -> int:
    """Return a frequency ("1s", "100ms", "s") in nanoseconds."""
    try:
        step = pd.Timedelta(freq)
    except ValueError:
        try:
            step = pd.Timedelta(f"1{freq}")
        except ValueError:
            raise ValueError(f"{freq!r} is not a duration such as 1s, 100ms or 5min") from None
    if not step > pd.Timedelta(0):  # so written, NaT is refused too
        raise ValueError(f"{freq!r} is not a positive duration")
    return int(step.as_unit("ns").value)


def _kept(transitions: pd.DataFrame, hosts: Iterable[str] | None, flows: npt.ArrayLike | None) -> Rows:
    rows: Rows = _codes(transitions, "evidence") != EVIDENCES.index("refuted")
    if hosts is not None:
        wanted = set(hosts)
        known = transitions["address"].cat.categories
        named = np.fromiter((address in wanted for address in known), np.bool_, len(known))
        rows &= np.append(named, np.False_)[_codes(transitions, "address")]
    if flows is not None:
        rows &= np.isin(transitions["flow"].to_numpy(), flows)
    return rows


def _listening_since(transitions: pd.DataFrame, kept: Rows, slot: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return, for each (address, port) that answered, the slot in which it is first known to listen."""
    old = _codes(transitions, "old")[kept]
    answered = (_codes(transitions, "event")[kept] == EVENTS.index(Event.SEND_SYN_ACK.name)) & np.isin(
        old, (State.UNKNOWN, State.CLOSED, State.LISTEN)
    )
    # one number for (address, port); codes are far below 2**47
    socket = _codes(transitions, "address")[kept].astype(np.int64) << 16 | transitions["port"].to_numpy()[kept]
    presumed = (_codes(transitions, "new")[kept] == State.LISTEN) | answered
    listeners = np.unique(socket[answered])
    mine = presumed & np.isin(socket, listeners)
    first = np.full(len(listeners), np.iinfo(np.intp).max, np.intp)
    np.minimum.at(first, np.searchsorted(listeners, socket[mine]), slot[mine])
    return first


def _codes(frame: pd.DataFrame, name: str) -> npt.NDArray[Any]:
    return np.asarray(frame[name].cat.codes)


def _nanoseconds(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    return np.asarray(frame["time"].dt.as_unit("ns").astype("int64"))
