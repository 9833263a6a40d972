"""Socket totals and TCP's counters, from /proc: what ``sar -n SOCK`` and ``nstat`` show.

``/proc/net/sockstat`` and ``sockstat6`` are levels, ``/proc/net/snmp`` and ``netstat`` are counters. All are of the
network namespace of the reading thread, but for TCP's memory and allocated sockets, which are the whole machine's.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from analyzer.errors import HostError
from analyzer.frames import schema
from analyzer.frames.kernel_counters import CATALOGUE

if TYPE_CHECKING:
    import pandas as pd

_PROC = "/proc/thread-self/net"

TOTALS: dict[str, tuple[str, str, str]] = {
    "sockets_used": ("sockstat", "sockets", "used"),
    "tcp": ("sockstat", "TCP", "inuse"),
    "udp": ("sockstat", "UDP", "inuse"),
    "raw": ("sockstat", "RAW", "inuse"),
    "fragments": ("sockstat", "FRAG", "inuse"),
    "time_wait": ("sockstat", "TCP", "tw"),
    "orphans": ("sockstat", "TCP", "orphan"),
    "tcp_allocated": ("sockstat", "TCP", "alloc"),
    "tcp_memory": ("sockstat", "TCP", "mem"),
    "udp_memory": ("sockstat", "UDP", "mem"),
    "fragment_memory": ("sockstat", "FRAG", "memory"),
    "tcp6": ("sockstat6", "TCP6", "inuse"),
    "udp6": ("sockstat6", "UDP6", "inuse"),
    "raw6": ("sockstat6", "RAW6", "inuse"),
    "fragments6": ("sockstat6", "FRAG6", "inuse"),
}
"""Where each total stands: file, line, word (net/ipv4/proc.c, net/ipv6/proc.c)."""


class Reading(NamedTuple):
    """What the files said at one time."""

    time_ns: int
    monotonic_s: float
    totals: dict[str, int | None]
    counters: dict[str, int]  #: by nstat's name, all that the kernel has


def read(folder: str = _PROC) -> Reading:
    """Read the files once.

    Raises
    ------
    HostError
        Where there are none: elsewhere than on Linux.
    """
    time_ns, monotonic_s = time.time_ns(), time.monotonic()
    files = {name: _levels(f"{folder}/{name}") for name in ("sockstat", "sockstat6")}
    totals = {name: files[file].get(line, {}).get(word) for name, (file, line, word) in TOTALS.items()}
    counters = _counters(f"{folder}/snmp") | _counters(f"{folder}/netstat")
    totals["established"] = counters.get("TcpCurrEstab")  # a level among the counters
    if not counters and totals["sockets_used"] is None:
        raise HostError(
            "no socket totals and counters here: they take Linux's /proc/net/sockstat and /proc/net/netstat"
        )
    return Reading(time_ns, monotonic_s, totals, counters)


def readings(interval: float = 1.0, count: int | None = None) -> Iterator[Reading]:
    """Yield a reading now, and one after each interval; they keep to the clock.

    Parameters
    ----------
    interval : float
        Seconds.
    count : int, optional
        So many intervals; for ever without.
    """
    first = read()
    yield first
    number = 0
    while count is None or number < count:
        number += 1
        time.sleep(max(0.0, first.monotonic_s + number * interval - time.monotonic()))
        yield read()


def sockstat(interval: float = 1.0, count: int = 1) -> pd.DataFrame:
    """Watch this host's sockets: totals at the end of each interval, and TCP's counters a second meanwhile.

    Parameters
    ----------
    interval : float
        Seconds.
    count : int
        How many intervals; this call takes ``count * interval`` seconds.

    Returns
    -------
    DataFrame
        One row per interval; ``docs/frames.md`` has the columns, ``docs/counters.md`` what the counters mean.

    Raises
    ------
    HostError
        Elsewhere than on Linux.
    """
    if interval <= 0 or count < 1:
        raise ValueError("an interval above 0 seconds, at least once")
    said = list(readings(interval, count))
    return rows(list(itertools.pairwise(said)))


def rows(pairs: list[tuple[Reading, Reading]]) -> pd.DataFrame:
    """Turn pairs of readings, an interval's begin and end, into rows of the frame ``sockstat``."""
    import pandas as pd

    spans = [after.monotonic_s - before.monotonic_s for before, after in pairs]
    data: dict[str, list[object]] = {
        "time": [pd.Timestamp(after.time_ns, tz="UTC") for _, after in pairs],
        "interval": list(spans),
    }
    for name in (*TOTALS, "established"):
        data[name] = [after.totals[name] for _, after in pairs]
    for counter in CATALOGUE:
        name = counter.kernel_name
        data[counter.name] = [rate(*pair, name, span) for pair, span in zip(pairs, spans, strict=True)]
    frame = pd.DataFrame({c.name: pd.Series(data[c.name], dtype=c.dtype) for c in schema.SCHEMAS["sockstat"].columns})
    schema.check("sockstat", frame)
    return frame


def rate(before: Reading, after: Reading, name: str, span_s: float) -> float | None:
    """Return a counter's increase a second; None where the kernel lacks it, or it ran backwards (a new namespace)."""
    if name not in before.counters or name not in after.counters or span_s <= 0:
        return None
    moved = after.counters[name] - before.counters[name]
    return moved / span_s if moved >= 0 else None


def counters() -> pd.DataFrame:
    """Return TCP's counters as they stand, with what each means: ``nstat -az`` explained.

    Returns
    -------
    DataFrame
        One row per counter of the catalogue that this kernel has.

    Raises
    ------
    HostError
        Elsewhere than on Linux.
    """
    import pandas as pd

    said = read().counters
    known = [counter for counter in CATALOGUE if counter.kernel_name in said]
    data = {
        "counter": [c.name for c in known],
        "group": [c.group for c in known],
        "total": [said[c.kernel_name] for c in known],
        "topic": [c.topic for c in known],
        "meaning": [c.meaning for c in known],
        "source": [c.source for c in known],
    }
    columns = schema.SCHEMAS["counters"].columns
    return pd.DataFrame({c.name: pd.Series(data[c.name], dtype=schema.pandas_dtype(c)) for c in columns})


def _levels(path: str) -> dict[str, dict[str, int]]:
    """Read ``TCP: inuse 5 orphan 0 ...``; nothing where the file is not there."""
    found: dict[str, dict[str, int]] = {}
    for line in _lines(path):
        name, *words = line.split()
        found[name.rstrip(":")] = {word: int(value) for word, value in zip(words[::2], words[1::2], strict=False)}
    return found


def _counters(path: str) -> dict[str, int]:
    """Read pairs of lines, names and values, as nstat does; the groups' names are put before."""
    found: dict[str, int] = {}
    lines = _lines(path)
    for heads, values in zip(lines[::2], lines[1::2], strict=False):
        group, *names = heads.split()
        found |= {group.rstrip(":") + name: int(value) for name, value in zip(names, values.split()[1:], strict=False)}
    return found


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return [line for line in file.read().splitlines() if line.strip()]
    except OSError:
        return []
