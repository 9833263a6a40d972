"""Make the benchmark's captures in ``benchmarks/data/`` (root: it makes network namespaces; all traffic stays in them).

=============  ======================================================================================================
web.pcap       115,000 short connections of every ending between two namespaces: IPv4 and 12 % IPv6, 300 client
               addresses, 0.2 % loss each way, 128 bytes of each packet, Ethernet, about 1.5 million packets
web_any.pcap   the same run seen by ``tcpdump -i any`` (LINUX_SLL2)
bulk.pcap      six long connections with full packets, whole packets kept
million.pcap   whole connections of web.pcap, in order of their first packet, until there are a million packets
big.pcap       ten clones of million.pcap under other client addresses, shifted and interleaved in time: exactly ten
               times its packets and its connections, so packets per connection are the same in both
synflood.pcap  two million SYNs from random sources (computed)
ten.pcap       the first connection of million.pcap that has ten packets
=============  ======================================================================================================

What is there already is kept. ``captures.json`` beside them says what each holds and how many packets the kernel
dropped.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import synthetic
from namespaces import CLIENT_LINK, Recorder, Wire

DATA = pathlib.Path(__file__).with_name("data")
MANIFEST = "captures.json"
SNAP_BYTES = "128"
CONNECTIONS = 115_000
MILLION = 1_000_000
CLONES = 10
FLOOD = 2_000_000
BULK_STREAM_BYTES = 65_000_000
SMALL = 20
"""``--small`` divides all sizes by this."""

Entry = dict[str, Any]


class Captures:
    """The folder of captures, and how each is made when it is missing."""

    def __init__(self, folder: pathlib.Path, divisor: int) -> None:
        self._folder, self._divisor = folder, divisor
        folder.mkdir(parents=True, exist_ok=True)
        manifest = folder / MANIFEST
        self._manifest: dict[str, Entry] = json.loads(manifest.read_text()) if manifest.exists() else {}
        self._loaded: dict[str, synthetic.Records] = {}

    def make(self) -> bool:
        """Make what is missing; returns whether the kernel dropped nothing."""
        self._need(("web", "web_any"), self._web)
        self._need(("bulk",), self._bulk)
        self._need(("million",), self._million)
        self._need(("ten",), self._ten)
        self._need(("big",), self._big)
        self._need(("synflood",), self._synflood)
        for name, entry in self._manifest.items():
            drops = entry.get("kernel_drops")
            said = "" if drops is None else f", {drops} dropped by the kernel"
            print(f"{name:9} {entry['packets']:>11,} packets {entry['bytes']:>14,} bytes{said}")
        return not any(entry.get("kernel_drops") for entry in self._manifest.values())

    def _need(self, names: tuple[str, ...], make: Callable[[dict[str, pathlib.Path]], dict[str, Entry]]) -> None:
        if all(name in self._manifest and self._path(name).exists() for name in names):
            return
        print(f"making {', '.join(names)} ...", file=sys.stderr, flush=True)
        began = time.monotonic()
        parts = {name: self._path(name).with_suffix(".part.pcap") for name in names}
        try:
            entries = make(parts)
            for name, part in parts.items():
                part.replace(self._path(name))
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
        for name, entry in entries.items():
            entry["bytes"] = self._path(name).stat().st_size
            entry["made"] = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            entry["kernel"] = platform.release()
            self._manifest[name] = entry
        (self._folder / MANIFEST).write_text(json.dumps(self._manifest, indent=1) + "\n")
        print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    def _path(self, name: str) -> pathlib.Path:
        return self._folder / f"{name}.pcap"

    def _records(self, name: str) -> synthetic.Records:
        if name not in self._loaded:
            self._loaded = {name: synthetic.load(self._path(name))}  # one at a time is enough in memory
        return self._loaded[name]

    def _web(self, paths: dict[str, pathlib.Path]) -> dict[str, Entry]:
        need_root()
        with Wire(loss=0.002) as wire:
            ethernet = Recorder(wire, CLIENT_LINK, paths["web"], "-s", SNAP_BYTES)
            cooked = Recorder(wire, "any", paths["web_any"], "-y", "LINUX_SLL2", "-s", SNAP_BYTES)
            with ethernet, cooked:
                said = wire.traffic(["web-server"], ["web-client", str(CONNECTIONS // self._divisor), "9293"])
        return {
            name: {"packets": r.recorded.packets, "kernel_drops": r.recorded.dropped, "connections": said}
            for name, r in (("web", ethernet), ("web_any", cooked))
        }

    def _bulk(self, paths: dict[str, pathlib.Path]) -> dict[str, Entry]:
        need_root()
        with Wire(loss=0.0005, rate_mbit=500) as wire, Recorder(wire, CLIENT_LINK, paths["bulk"]) as recorder:
            said = wire.traffic(["bulk-server"], ["bulk-client", str(BULK_STREAM_BYTES // self._divisor)])
        recorded = recorder.recorded
        return {"bulk": {"packets": recorded.packets, "kernel_drops": recorded.dropped, "connections": said}}

    def _million(self, paths: dict[str, pathlib.Path]) -> dict[str, Entry]:
        web = self._records("web")
        which = synthetic.whole_connections(web, MILLION // self._divisor)
        return {"million": {"packets": synthetic.write_cut(web, which, paths["million"])}}

    def _ten(self, paths: dict[str, pathlib.Path]) -> dict[str, Entry]:
        million = self._records("million")
        return {"ten": {"packets": synthetic.write_cut(million, synthetic.one_connection(million, 10), paths["ten"])}}

    def _big(self, paths: dict[str, pathlib.Path]) -> dict[str, Entry]:
        return {"big": {"packets": synthetic.write_clones(self._records("million"), CLONES, paths["big"])}}

    def _synflood(self, paths: dict[str, pathlib.Path]) -> dict[str, Entry]:
        return {"synflood": {"packets": synthetic.write_flood(paths["synflood"], FLOOD // self._divisor)}}


def need_root() -> None:
    """Stop with one line unless we may make network namespaces."""
    if os.geteuid() != 0:
        sys.exit("The captures need network namespaces: run `sudo make bench`, or this script as root.")


def main() -> None:
    """Make the captures that are missing and say what is there."""
    parser = argparse.ArgumentParser(description="Make the benchmark's captures (root).")
    parser.add_argument("--small", action="store_true", help="a twentieth of everything, in data/small, for trying out")
    arguments = parser.parse_args()
    captures = Captures(DATA / "small" if arguments.small else DATA, SMALL if arguments.small else 1)
    if not captures.make():
        sys.exit("The kernel dropped packets: remove the capture and make it again on a quieter machine.")


if __name__ == "__main__":
    main()
