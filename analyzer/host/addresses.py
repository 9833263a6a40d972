"""The addresses that this host has."""

from __future__ import annotations

from analyzer.host.ends import plain


def own_addresses() -> frozenset[str]:
    """Return the addresses of all interfaces, as frames write them."""
    import psutil

    return frozenset(plain(it.address.split("%")[0]) for some in psutil.net_if_addrs().values() for it in some)
