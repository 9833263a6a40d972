"""Numbers in a few characters, for columns of a screen."""

from __future__ import annotations

import math


def count(value: float) -> str:
    """Write a count in four characters: ``999``, ``1.2k``, ``120k``, ``4.5M``."""
    return _scaled(value, ("", "k", "M", "G", "T"))


def rate(value: float) -> str:
    """Write a rate in four characters; nothing for less than one octet a second."""
    return "" if value < 1 else _scaled(value, ("", "k", "M", "G", "T"))


def _scaled(value: float, units: tuple[str, ...]) -> str:
    for unit in units:
        if round(value) < 1000 or unit == units[-1]:
            return f"{value:.0f}{unit}" if value >= 9.95 or not unit else f"{value:.1f}{unit}"
        value /= 1000
    return ""


def round_trip(value_s: float) -> str:
    """Write a round trip in five characters: ``13us``, ``1.2ms``, ``120ms``, ``2.5s``; nothing where it is not known."""
    if math.isnan(value_s):
        return ""
    if round(value_s * 1e6) < 1000:
        return f"{value_s * 1e6:.0f}us"
    if round(value_s * 1e3) < 1000:
        return f"{value_s * 1e3:.0f}ms" if value_s >= 0.00995 else f"{value_s * 1e3:.1f}ms"
    return f"{value_s:.0f}s" if value_s >= 9.95 else f"{value_s:.1f}s"


def age(value_s: float) -> str:
    """Write an age in four characters: ``12s``, ``3m``, ``5h``, ``9d``."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "m"), (172_800, 3600, "h")):
        if value_s < limit:
            return f"{value_s / size:.0f}{unit}"
    return f"{value_s / 86_400:.0f}d"
