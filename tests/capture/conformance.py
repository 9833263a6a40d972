"""The shared captures, where they are there."""

from __future__ import annotations

import pathlib

import pytest

FOLDER = pathlib.Path(__file__).parents[2].parent / "shared" / "conformance"
_MAGICS = {"d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d", "0a0d0d0a"}


def captures() -> list[pathlib.Path]:
    """All pcap and pcapng files of the conformance folder."""
    if not FOLDER.is_dir():
        pytest.skip(f"no conformance captures here: {FOLDER.parent.name}/{FOLDER.name} lies beside the project")
    found = []
    for folder in ("captures", "kernel"):
        files = sorted(path for path in (FOLDER / folder).rglob("*") if path.is_file())
        found += [path for path in files if path.read_bytes()[:4].hex() in _MAGICS]
    assert found
    return found


def sample(link: int) -> list[pathlib.Path]:
    """The captures with this link type (of those in classic pcap), smallest first."""
    orders = {"d4": "little", "4d": "little", "a1": "big"}
    found = []
    for path in captures():
        with path.open("rb") as file:
            header = file.read(24)
        byte_order = orders.get(header[:1].hex())
        if (
            byte_order
            and int.from_bytes(header[20:22] if byte_order == "little" else header[22:24], byte_order) == link
        ):
            found.append(path)
    return sorted(found, key=lambda path: path.stat().st_size)
