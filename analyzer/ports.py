"""Ports, as they are asked for."""

from __future__ import annotations


def asked_port(port: int | None) -> int | None:
    """Return it, or None where none is asked for.

    Raises
    ------
    ValueError
        There is no such port: of nothing that is one it would be a silent no.
    """
    if port is not None and port not in range(65536):
        raise ValueError(f"port={port!r}: it is a number from 0 to 65535")
    return port
