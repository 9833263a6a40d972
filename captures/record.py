"""Record the captures of this folder: real sockets, a real kernel, the real tcpdump. Needs root.

    python captures/record.py                       all of them
    python captures/record.py half-close refused    only these
    python captures/record.py --into DIR            somewhere else than beside this file
    python captures/record.py --at-once 12          so many at the same time, each in a process and namespaces of its own

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

Those of ``recorder/recoveries.py`` are captured at both ends of a wire that loses, delays and doubles what it is told to,
``client.pcap`` and ``server.pcap``, with what the kernels counted meanwhile, ``counted.csv``.

Those of ``recorder/trials.py`` have a folder of their own, ``trials/``, where each is captured at both ends and on the wire
between, ``wire.pcap``; ``states.csv`` has every state of both ends, also those that the tracepoint does not show.

Everything happens in network namespaces that are gone afterwards, also after an error.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recorder.network import RecordingError
from recorder.passages import PASSAGES, record_passage
from recorder.recoveries import RECOVERIES, record_recovery
from recorder.scenarios import SCENARIOS
from recorder.stage import record
from recorder.trials import TRIALS, TRIALS_FOLDER, record_trial

if TYPE_CHECKING:
    from types import FrameType

HERE = Path(__file__).resolve().parent
RECORDINGS = {
    **{one.name: functools.partial(record, one) for one in SCENARIOS},
    **{one.name: functools.partial(record_passage, one) for one in PASSAGES},
    **{one.name: functools.partial(record_recovery, one) for one in RECOVERIES},
    **{f"{TRIALS_FOLDER}/{one.name}": functools.partial(record_trial, one) for one in TRIALS},
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Record the captures of this folder (as root).")
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios; all by default")
    parser.add_argument("--into", type=Path, default=HERE, metavar="DIR", help="folder to write to")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="how many at the same time (1)")
    options = parser.parse_args()
    unknown = set(options.names) - set(RECORDINGS)
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(RECORDINGS)}")
    if os.geteuid() != 0:
        print("record.py: namespaces, tcpdump and the tracepoint need root: sudo make captures", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _leave)
    _before_all_others()
    # forked, not spawned: a process that began to record undoes it when it is told to leave
    forking = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(options.at_once, forking) as pool:
        names = [name for name in RECORDINGS if not options.names or name in options.names]
        begun = {pool.submit(_play, name, options.into): name for name in names}
        try:
            failed = [_tell(begun[done], done) for done in concurrent.futures.as_completed(begun)]
        except BaseException as left:  # those that have begun tidy up, no other begins
            pool.shutdown(cancel_futures=True)
            if isinstance(left, KeyboardInterrupt):
                return 130
            raise
    return int(any(failed))


def _before_all_others() -> None:
    """Let the hosts' programs, the wire and tcpdump, which all wait most of the time, run as soon as they are wanted.

    On a busy machine they would stand still for slices of several milliseconds, between what a kernel does and its record.
    """
    with contextlib.suppress(OSError, AttributeError):  # a container that may not, or not Linux: as it comes
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def _play(name: str, into: Path) -> str:
    return RECORDINGS[name](into)


def _tell(name: str, done: concurrent.futures.Future[str]) -> bool:
    """Print what became of a recording; whether it failed."""
    try:
        print(f"{name:22}{done.result()}", flush=True)
    except (RecordingError, OSError) as error:
        print(f"record.py: {name}: {error}", file=sys.stderr, flush=True)
        return True
    return False


def _leave(number: int, _: FrameType | None) -> None:
    """End with an exception, so that namespaces and the rest are taken away."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
