"""Record the captures of this folder: real sockets, a real kernel, the real tcpdump. Needs root.

    python captures/record.py                       all of them
    python captures/record.py half-close refused    only these
    python captures/record.py --into DIR            somewhere else than beside this file

Each scenario of ``recorder/scenarios.py`` makes one folder:

``any.pcap``, ``lo.pcap`` or ``eth.pcap``
    what ``tcpdump -i any``, ``-i lo`` or ``-i eth0`` wrote; where there are two hosts, at the client's.
``states.csv``
    the kernel's own state changes meanwhile, from the tracepoint ``sock:inet_sock_set_state``
    (``recorder/tracepoint.py`` says what it does not show).
``sockets.csv``
    the sockets that existed at the end, as ``netstat -nat`` reads them from ``/proc/net/tcp``; TIME_WAIT, which the
    tracepoint does not show, stands there.
``README``
    three lines that say what was done.

Those of ``recorder/passages.py`` are captured at a host that packets pass through, ``any.pcap``, and at both ends,
``client.pcap`` and ``server.pcap``; with how often the ends retransmitted, ``retransmitted.csv``, and a ``README`` of
three lines.

Everything happens in network namespaces that are gone afterwards, also after an error.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recorder.network import RecordingError
from recorder.passages import PASSAGES, record_passage
from recorder.scenarios import SCENARIOS
from recorder.stage import record

if TYPE_CHECKING:
    from types import FrameType

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description="Record the captures of this folder (as root).")
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios; all by default")
    parser.add_argument("--into", type=Path, default=HERE, metavar="DIR", help="folder to write to")
    options = parser.parse_args()
    known = [one.name for one in (*SCENARIOS, *PASSAGES)]
    unknown = set(options.names) - set(known)
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if os.geteuid() != 0:
        print("record.py: namespaces, tcpdump and the tracepoint need root: sudo make captures", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _leave)
    recordings = [(one.name, functools.partial(record, one)) for one in SCENARIOS]
    recordings += [(one.name, functools.partial(record_passage, one)) for one in PASSAGES]
    for name, play in recordings:
        if not options.names or name in options.names:
            try:
                report = play(options.into)
            except (RecordingError, OSError) as error:
                print(f"record.py: {name}: {error}", file=sys.stderr)
                return 1
            except KeyboardInterrupt:
                return 130
            print(f"{name:22}{report}")
    return 0


def _leave(number: int, _: FrameType | None) -> None:
    """End with an exception, so that namespaces and the rest are taken away."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
