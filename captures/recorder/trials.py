"""Connections put to the test: what both programs do, and what a wire between them does to chosen segments.

Captured at both ends, ``client.pcap`` and ``server.pcap``, and in the middle, ``wire.pcap``, where a segment stands twice,
as it comes and as it goes, and once if it is lost. ``states.csv`` has every state of both kernels (``witness.py``).
"""

from __future__ import annotations

import contextlib
import csv
import shutil
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .network import RecordingError
from .programs import Programs
from .stage import Stage, Tcpdump
from .tracepoint import StateTrace
from .wire import Passing, Wire, slow_wire
from .witness import Step, Witness, steps

ATTEMPTS = 3  # on a busy machine a timer may run out that should not
TRIALS_FOLDER = "trials"


class Fault(NamedTuple):
    """One thing that the wire does."""

    sender: str  # client, server
    kind: str  # wire.Passing.kind
    first: int  # of its kind, from 1
    last: int
    later_s: tuple[float, ...]

    @classmethod
    def of(cls, text: str) -> Fault:
        """``client FIN 1 lost``, ``server SYN-ACK 1-2 late 0.1``, ``client ACK 3 twice 0.05``: the second one so much later."""
        sender, kind, numbers, fate, *seconds = text.split()
        first, _, last = numbers.partition("-")
        later_s = {"lost": (), "late": (*map(float, seconds),), "twice": (0.0, *map(float, seconds))}[fate]
        return cls(sender, kind, int(first), int(last or first), later_s)

    def meets(self, segment: Passing) -> bool:
        side = (self.sender == "client") == segment.to_server
        return side and self.kind == segment.kind and self.first <= segment.number <= self.last


class Hidden(NamedTuple):
    """What packets do not show of a trial, in some of its captures, and why."""

    captures: str  # client, server, wire
    end: str  # client, server, or the second connection's client2, server2
    why: str
    told: str | None = None  # the path that is told there, if it is another than the kernel's
    untimed: str = ""  # states of the kernel's that no packet dates


@dataclass(frozen=True)
class Trial:
    """A row of the table below."""

    name: str
    programs: str
    wire: str
    client: str  # the states it passes; "/" before those of a second connection
    server: str
    hidden: tuple[Hidden, ...] = ()
    settings: tuple[tuple[str, float], ...] = ()  # of the analysis: timers that the programs have set
    version: int = 4

    @property
    def faults(self) -> list[Fault]:
        return [Fault.of(text) for text in self.wire.split("; ") if text]

    @property
    def readme(self) -> str:
        return f"Two hosts, 5 ms apart.\nPrograms: {self.programs}.\nWire: {self.wire or 'carries all'}.\n"

    def meant(self, end: str) -> list[str]:
        """The paths of the client's or the server's end of each connection."""
        return [path.strip() for path in getattr(self, end).split("/")]


def record_trial(trial: Trial, into: Path) -> str:
    """Play one and put its folder in place."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _record(trial, into)
        except RecordingError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError


def _record(trial: Trial, into: Path) -> str:
    faults = trial.faults
    met: Counter[Fault] = Counter()

    def rule(segment: Passing) -> tuple[float, ...]:
        for fault in faults:
            if fault.meets(segment):
                met[fault] += 1
                return fault.later_s
        return (0.0,)

    with contextlib.ExitStack() as cleaning:
        folder = Path(cleaning.enter_context(tempfile.TemporaryDirectory(prefix="record-")))
        witness = Witness(cleaning.enter_context((folder / "wire.pcap").open("wb")))
        wire = Wire(witness)
        wire.obey(rule)
        cleaning.callback(witness.leave)  # after the wire has ended
        hosts = cleaning.enter_context(slow_wire(0.005, wire))
        witness.attend(hosts)
        trace = cleaning.enter_context(StateTrace())
        stage = Stage(hosts, folder, cleaning)
        dumps = []
        for host in hosts:
            dumps.append(Tcpdump(host, "any", "tcp", folder / f"{host.label}.pcap"))
            cleaning.callback(dumps[-1].kill)
        programs = Programs(stage, wire, trial.version, rule)
        cleaning.callback(programs.close)
        programs.play(trial.programs)
        counts = [dump.stop(empty=True) for dump in dumps]
        found = steps(trace.changes(), witness.finish())
        for fault in faults:
            if met[fault] <= fault.last - fault.first:
                raise RecordingError(f"the wire did not meet every {fault.kind} of the {fault.sender}")
        labels = {host.address(trial.version): host.label for host in hosts}
        _check(trial, found, labels)
        _write(folder / "states.csv", found, labels)
        (folder / "README").write_text(trial.readme, encoding="ascii")
        target = into / TRIALS_FOLDER / trial.name
        target.mkdir(parents=True, exist_ok=True)
        for new in folder.iterdir():
            shutil.copyfile(new, target / new.name)
    return f"{counts[0]:4} packets at the client, {counts[1]} at the server, {len(found)} steps"


def _check(trial: Trial, found: list[Step], labels: dict[str, str]) -> None:
    """Hold the recording against what the trial meant."""
    paths: dict[str, dict[int, list[str]]] = {"client": defaultdict(list), "server": defaultdict(list)}
    for step in found:
        end = labels[step.ends[0][0]]
        client_port = step.ends[end == "server"][1]
        paths[end][client_port].append(step.new)
    for end, of_port in paths.items():
        went = [" ".join(of_port[port]) for port in sorted(of_port)]
        if went != [path for path in trial.meant(end) if path]:
            raise RecordingError(f"the {end} went {' / '.join(went)} instead of {getattr(trial, end)}")


def _write(path: Path, found: list[Step], labels: dict[str, str]) -> None:
    with path.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["since", "time", "local_addr", "local_port", "remote_addr", "remote_port", "old", "new", "host", "source"]
        )
        for step in found:
            times = (f"{ns // 10**9}.{ns % 10**9:09}" for ns in (step.since_ns, step.time_ns))
            here, there = step.ends
            writer.writerow([*times, *here, *there, step.old, step.new, labels[here[0]], step.source])


# -------------------------------------------------------------------------------------------------------------- table

OPEN = "server listens; client connects; server accepts; client is ESTABLISHED"
TWO_ASK = "server listens; client connects; client2 connects; server is SYN_RCVD; server2 is SYN_RCVD; server narrows"
GREETING = "client says 7; server hears 7; server says 7; client hears 7"
LINES = "; ".join(["client says 700"] * 5)
CLOSE = "client closes; server is CLOSE_WAIT; client is FIN_WAIT_2; server closes; server is CLOSED"
CLOSE_HEARD = "client closes; server hears end; client is FIN_WAIT_2; server closes; server is CLOSED"
CLOSE_BACK = "server closes; client is CLOSE_WAIT; server is FIN_WAIT_2; client closes; client is CLOSED"

OPENS = "SYN_SENT ESTABLISHED"
ANSWERS = "SYN_RCVD ESTABLISHED"
CLOSES_FIRST = "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT"
CLOSES_LAST = "CLOSE_WAIT LAST_ACK CLOSED"
CROSSES = "FIN_WAIT_1 CLOSING TIME_WAIT"

NOT_THE_THIRD = "the third segment did not do it, which shows only if the SYN-ACK comes again before what did"

# fmt: off
TRIALS = (
    # ------------------------------------------------------------------------------------------------------ ordinary
    Trial("closed-by-client", f"{OPEN}; {GREETING}; {CLOSE}", "",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("closed-by-server", f"{OPEN}; {GREETING}; {CLOSE_BACK}", "",
          f"{OPENS} {CLOSES_LAST}", f"{ANSWERS} {CLOSES_FIRST}"),
    Trial("closed-by-client-ipv6", f"{OPEN}; {GREETING}; {CLOSE}", "",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}", version=6),
    Trial("half-closed", f"{OPEN}; client shuts; server hears end; server says 700; client hears 700; server says 700; client hears 700; "
          "server closes; client is TIME_WAIT; server is CLOSED", "",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("data-and-fin-in-one", f"{OPEN}; client corks; client says 7; client closes; server is CLOSE_WAIT; server corks; "
          "client is FIN_WAIT_2; server hears end; server closes; client is TIME_WAIT; server is CLOSED", "",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    # ------------------------------------------------------------------------------------------------------- opening
    Trial("syn-lost", f"{OPEN}; {GREETING}; {CLOSE}", "client SYN 1 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("syn-twice", f"{OPEN}; {GREETING}; {CLOSE}", "client SYN 1 twice 0.02",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("syn-ack-lost", f"{OPEN}; {GREETING}; {CLOSE}", "server SYN-ACK 1 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("syn-ack-lost-ipv6", f"{OPEN}; {GREETING}; {CLOSE}", "server SYN-ACK 1 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}", version=6),
    Trial("syn-ack-twice", f"{OPEN}; {GREETING}; {CLOSE}", "server SYN-ACK 1 twice 0.03",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("syn-ack-late", f"{OPEN}; time passes 0.2; {GREETING}; {CLOSE}", "server SYN-ACK 1 late 1.1",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("third-ack-lost", f"server listens; client connects; server accepts; {GREETING}; {CLOSE}", "client ACK 1 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("third-ack-lost-data-follows", f"server listens; client connects; client is ESTABLISHED; time passes 0.05; client says 7; "
          f"server accepts; server hears 7; {CLOSE}", "client ACK 1 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}",
          hidden=(Hidden("client wire", "server", untimed="ESTABLISHED", why=NOT_THE_THIRD),)),
    Trial("third-ack-behind-data", f"server listens; client connects; client is ESTABLISHED; client says 7; server accepts; server hears 7; "
          f"time passes 0.1; {CLOSE}", "client ACK 1 late 0.06",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("third-ack-lost-fin-follows", "server listens; client connects; client is ESTABLISHED; client closes; server accepts; "
          "server hears end; client is FIN_WAIT_2; server closes; server is CLOSED", "client ACK 1 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}",
          hidden=(Hidden("client wire", "server", untimed="ESTABLISHED", why=NOT_THE_THIRD),)),
    Trial("data-in-third-ack", f"server listens; client connects lazily; client is ESTABLISHED; client says 7; server accepts; "
          f"server hears 7; {CLOSE}", "",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("deferred", f"server listens deferred; client connects; server accepts; {GREETING}; {CLOSE}", "",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("deferred-until-data", f"server listens deferred; client connects; client is ESTABLISHED; time passes 0.1; client says 7; "
          f"server accepts; server hears 7; {CLOSE}", "",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}",
          hidden=(Hidden("client server wire", "server", untimed="ESTABLISHED", why=NOT_THE_THIRD),)),
    Trial("accept-queue-full", f"{TWO_ASK}; client is ESTABLISHED; client2 is ESTABLISHED; server is ESTABLISHED; time passes 0.2; "
          "server accepts; server2 accepts; client2 closes; server2 is CLOSE_WAIT; client2 is FIN_WAIT_2; server2 closes; "
          f"server2 is CLOSED; {CLOSE}", "client ACK 1-2 late 0.1",
          f"{OPENS} {CLOSES_FIRST} / {OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST} / {ANSWERS} {CLOSES_LAST}"),
    Trial("accept-queue-full-aborts", f"server sets tcp_abort_on_overflow 1; {TWO_ASK}; client is ESTABLISHED; client2 is ESTABLISHED; "
          f"client2 is CLOSED; server accepts; {CLOSE}", "client ACK 1-2 late 0.1",
          f"{OPENS} {CLOSES_FIRST} / {OPENS} CLOSED", f"{ANSWERS} {CLOSES_LAST} / SYN_RCVD CLOSED"),
    Trial("syn-cookie", f"server sets tcp_syncookies 2; {OPEN}; {GREETING}; {CLOSE}", "",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}",
          hidden=(Hidden("client server wire", "server", untimed="SYN_RCVD",
                         why="the server keeps nothing of the SYN, its SYN-ACK looks like any other"),)),
    Trial("simultaneous-open", "client connects; server connects; client is ESTABLISHED; server is ESTABLISHED; "
          f"{GREETING}; {CLOSE}", "client SYN 1 late 0.1; server SYN 1 late 0.1",
          f"SYN_SENT SYN_RCVD ESTABLISHED {CLOSES_FIRST}", f"SYN_SENT SYN_RCVD ESTABLISHED {CLOSES_LAST}"),
    Trial("simultaneous-open-ipv6", "client connects; server connects; client is ESTABLISHED; server is ESTABLISHED; "
          f"{GREETING}; {CLOSE}", "client SYN 1 late 0.1; server SYN 1 late 0.1",
          f"SYN_SENT SYN_RCVD ESTABLISHED {CLOSES_FIRST}", f"SYN_SENT SYN_RCVD ESTABLISHED {CLOSES_LAST}", version=6),
    Trial("fast-open", f"both sets tcp_fastopen 519; server listens fast; client connects saying 7; server accepts; server hears 7; "
          f"server says 7; client hears 7; {CLOSE}", "",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("fast-open-syn-lost", f"both sets tcp_fastopen 519; server listens fast; client connects saying 7; server accepts; server hears 7; "
          f"{CLOSE}", "client SYN 1 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("closed-in-syn-rcvd", "both sets tcp_fastopen 519; server listens fast; client connects saying 7; server accepts; server hears 7; "
          "server says 7; server closes; client hears end; client closes; client is CLOSED; server is CLOSED", "client ACK 1-2 late 0.1",
          f"{OPENS} {CLOSES_LAST}", f"SYN_RCVD {CLOSES_FIRST} CLOSED"),
    # --------------------------------------------------------------------------------------------------- no opening
    Trial("refused", "client connects; client is CLOSED", "",
          "SYN_SENT CLOSED", ""),
    Trial("refused-ipv6", "client connects; client is CLOSED", "",
          "SYN_SENT CLOSED", "", version=6),
    Trial("refused-late", "client connects; client is CLOSED", "client SYN 1 lost",
          "SYN_SENT CLOSED", ""),
    Trial("unanswered-syn", "client sets tcp_syn_retries 1; client sets tcp_syn_linear_timeouts 0; server listens; client connects; client is CLOSED", "client SYN 1-2 lost",
          "SYN_SENT CLOSED", "",
          hidden=(Hidden("client wire", "client", told="SYN_SENT", why="it gives up in silence, after the last packet"),
                  Hidden("server", "client", told="", why="nothing has come"))),
    Trial("abandoned-syn", "server listens; client connects; client closes; client is CLOSED; server is SYN_RCVD; server is CLOSED", "client SYN 1 late 0.1",
          "SYN_SENT CLOSED", "SYN_RCVD CLOSED",
          hidden=(Hidden("client", "client", untimed="CLOSED", why="close() in SYN_SENT sends nothing"),)),
    # -------------------------------------------------------------------------------------------- reset in each state
    Trial("reset-in-syn-rcvd", "server listens; client connects; client is ESTABLISHED; client aborts; server is CLOSED", "client ACK 1 lost",
          f"{OPENS} CLOSED", "SYN_RCVD CLOSED",
          hidden=(Hidden("client wire", "server", told=f"{ANSWERS} CLOSED", why="the third segment is lost behind, the RST looks the same"),)),
    Trial("reset-by-client", f"{OPEN}; {GREETING}; client aborts; server is CLOSED", "",
          f"{OPENS} CLOSED", f"{ANSWERS} CLOSED"),
    Trial("reset-by-server", f"{OPEN}; {GREETING}; server aborts; client is CLOSED", "",
          f"{OPENS} CLOSED", f"{ANSWERS} CLOSED"),
    Trial("reset-by-client-ipv6", f"{OPEN}; {GREETING}; client aborts; server is CLOSED", "",
          f"{OPENS} CLOSED", f"{ANSWERS} CLOSED", version=6),
    Trial("reset-for-unread-data", f"{OPEN}; client says 7; time passes 0.05; server closes; client is CLOSED", "",
          f"{OPENS} CLOSED", f"{ANSWERS} CLOSED"),
    Trial("reset-in-fin-wait-1", f"{OPEN}; {GREETING}; client shuts; server aborts; client is CLOSED", "client FIN 1 lost",
          f"{OPENS} FIN_WAIT_1 CLOSED", f"{ANSWERS} CLOSED",
          hidden=(Hidden("server", "client", told=f"{OPENS} CLOSED", why="its FIN does not come"),)),
    Trial("reset-in-fin-wait-2", f"{OPEN}; client shuts; client is FIN_WAIT_2; server aborts; client is CLOSED", "",
          f"{OPENS} FIN_WAIT_1 FIN_WAIT_2 CLOSED", f"{ANSWERS} CLOSE_WAIT CLOSED"),
    Trial("reset-in-close-wait", f"{OPEN}; client shuts; client is FIN_WAIT_2; client aborts; server is CLOSED", "",
          f"{OPENS} FIN_WAIT_1 FIN_WAIT_2 CLOSED", f"{ANSWERS} CLOSE_WAIT CLOSED"),
    Trial("reset-in-closing", f"{OPEN}; client shuts; server shuts; client is CLOSING; server is FIN_WAIT_2; server aborts; client is CLOSED",
          "client FIN 1 lost",
          f"{OPENS} FIN_WAIT_1 CLOSING CLOSED", f"{ANSWERS} FIN_WAIT_1 FIN_WAIT_2 CLOSED",
          hidden=(Hidden("server", "client", told=f"{OPENS} CLOSE_WAIT CLOSED", why="its FIN does not come"),)),
    Trial("reset-in-last-ack", f"{OPEN}; client shuts; client is FIN_WAIT_2; server closes; server is LAST_ACK; time passes 0.03; client aborts; server is CLOSED",
          "server FIN 1 lost",
          f"{OPENS} FIN_WAIT_1 FIN_WAIT_2 CLOSED", f"{ANSWERS} {CLOSES_LAST}",
          hidden=(Hidden("client", "server", told=f"{ANSWERS} CLOSE_WAIT CLOSED", why="its FIN does not come"),)),
    Trial("reset-in-time-wait", f"{OPEN}; {CLOSE}; client is CLOSED", "server FIN 1 twice 0.1",
          f"{OPENS} {CLOSES_FIRST} CLOSED", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("reset-lost", f"{OPEN}; {GREETING}; client aborts; time passes 0.05; server says 7; server is CLOSED", "client RST 1 lost",
          f"{OPENS} CLOSED", f"{ANSWERS} CLOSED"),
    # ------------------------------------------------------------------------------------------------------ closing
    Trial("simultaneous-close", f"{OPEN}; {GREETING}; client closes; server closes; client is TIME_WAIT; server is TIME_WAIT",
          "client FIN 1 late 0.1; server FIN 1 late 0.1",
          f"{OPENS} {CROSSES}", f"{ANSWERS} {CROSSES}"),
    Trial("fins-cross", f"{OPEN}; {GREETING}; client closes; server closes; client is TIME_WAIT; server is TIME_WAIT",
          "client FIN 1 late 0.05",
          f"{OPENS} {CROSSES}", f"{ANSWERS} {CLOSES_FIRST}",
          hidden=(Hidden("client wire", "server", told=f"{ANSWERS} {CROSSES}",
                         why="whether the FIN or the ACK behind it comes first shows only where they come"),)),
    Trial("fins-cross-and-one-comes-again", f"{OPEN}; {GREETING}; client closes; server closes; client is TIME_WAIT; server is TIME_WAIT; time passes 0.2",
          "client FIN 1 late 0.3",
          f"{OPENS} {CROSSES}", f"{ANSWERS} {CLOSES_FIRST}",
          hidden=(Hidden("server", "client", told=f"{OPENS} {CLOSES_LAST}",
                         why="the FIN that comes first is the second one, which acknowledges the server's"),
                  Hidden("client wire", "server", untimed="FIN_WAIT_2",
                         why="which ACK said that the FIN had come shows only where they come"))),
    Trial("fin-lost", f"{OPEN}; {GREETING}; {CLOSE}", "client FIN 1 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("fin-lost-twice-ipv6", f"{OPEN}; {GREETING}; {CLOSE}", "client FIN 1-2 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}", version=6),
    Trial("both-fins-lost", f"{OPEN}; {GREETING}; {CLOSE}", "client FIN 1 lost; server FIN 1 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("fin-twice", f"{OPEN}; {GREETING}; client closes; server is CLOSE_WAIT; client is FIN_WAIT_2; time passes 0.2; server closes; server is CLOSED",
          "client FIN 1 twice 0.15",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("fin-before-data", f"{OPEN}; {GREETING}; client says 7; {CLOSE_HEARD}", "client data 2 late 0.1",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("fin-before-lost-data", f"{OPEN}; {GREETING}; client says 7; {CLOSE_HEARD}", "client data 2 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("ack-of-fin-lost", f"{OPEN}; {CLOSE}", "server ACK 1 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("last-ack-lost", f"{OPEN}; {CLOSE}", "client ACK 2 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("last-ack-lost-twice", f"{OPEN}; {CLOSE}", "client ACK 2-3 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("orphan-times-out", f"client sets tcp_fin_timeout 1; {OPEN}; client closes; client is FIN_WAIT_2; client is CLOSED; server says 7; "
          "server is CLOSED", "",
          f"{OPENS} FIN_WAIT_1 FIN_WAIT_2 CLOSED", f"{ANSWERS} CLOSE_WAIT CLOSED", settings=(("fin_wait_2_s", 1.0),)),
    Trial("orphan-is-sent-data", f"{OPEN}; client closes; client is FIN_WAIT_2; server says 7; server is CLOSED", "",
          f"{OPENS} FIN_WAIT_1 FIN_WAIT_2 CLOSED", f"{ANSWERS} CLOSE_WAIT CLOSED"),
    Trial("reused-by-client-in-time-wait", f"{OPEN}; {GREETING}; {CLOSE}; client connects; server accepts; {GREETING}; {CLOSE}", "",
          f"{OPENS} {CLOSES_FIRST} CLOSED {OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST} {ANSWERS} {CLOSES_LAST}"),
    Trial("reused-at-server-in-time-wait", f"{OPEN}; {GREETING}; {CLOSE_BACK}; client connects; server accepts; {GREETING}; {CLOSE_BACK}", "",
          f"{OPENS} {CLOSES_LAST} {OPENS} {CLOSES_LAST}", f"{ANSWERS} {CLOSES_FIRST} CLOSED {ANSWERS} {CLOSES_FIRST}"),
    Trial("reused-after-reset", f"{OPEN}; client aborts; server is CLOSED; client connects; server accepts; {GREETING}; {CLOSE}", "",
          f"{OPENS} CLOSED {OPENS} {CLOSES_FIRST}", f"{ANSWERS} CLOSED {ANSWERS} {CLOSES_LAST}"),
    # ---------------------------------------------------------------------------------------------------- between
    Trial("half-open-found-by-syn", f"{OPEN}; {GREETING}; client forgets; client connects; server is CLOSED; server accepts; {GREETING}; {CLOSE}", "",
          f"{OPENS} CLOSED {OPENS} {CLOSES_FIRST}", f"{ANSWERS} CLOSED {ANSWERS} {CLOSES_LAST}"),
    Trial("half-open-found-by-data", f"{OPEN}; {GREETING}; client forgets; server says 7; server is CLOSED", "",
          f"{OPENS} CLOSED", f"{ANSWERS} CLOSED",
          hidden=(Hidden("client", "client", untimed="CLOSED", why="it goes in silence; an RST tells when it is spoken to"),)),
    Trial("kept-alive", f"{OPEN}; client probes; time passes 1.2; {GREETING}; {CLOSE}", "",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("not-kept-alive", f"{OPEN}; {GREETING}; client probes once; wire cut; client is CLOSED; wire mended; server says 7; server is CLOSED", "",
          f"{OPENS} CLOSED", f"{ANSWERS} CLOSED"),
    Trial("patience-ends", f"{OPEN}; {GREETING}; client endures 500; wire cut; client says 7; client is CLOSED; wire mended; server says 7; "
          "server is CLOSED", "",
          f"{OPENS} CLOSED", f"{ANSWERS} CLOSED",
          hidden=(Hidden("client", "client", untimed="CLOSED", why="it goes in silence; an RST tells when it is spoken to"),)),
    Trial("window-closed", f"server listens small; client connects; server accepts; client says 6000; time passes 0.8; client shuts; server hears end; "
          f"{CLOSE}", "",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("data-lost", f"{OPEN}; {GREETING}; client says 7; server hears 7; {GREETING}; {CLOSE}", "client data 2-3 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("tail-lost", f"{OPEN}; {GREETING}; {LINES}; server hears 3500; {CLOSE}", "client data 6 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("one-of-many-lost", f"{OPEN}; {GREETING}; {LINES}; server hears 3500; {CLOSE}", "client data 2 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("data-twice", f"{OPEN}; {GREETING}; {LINES}; server hears 3500; {CLOSE}", "client data 3 twice 0.01; client data 5 twice 0.0",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("data-overtaken", f"{OPEN}; {GREETING}; {LINES}; server hears 3500; {CLOSE}", "client data 3 late 0.004",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("data-late", f"{OPEN}; {GREETING}; client says 7; server hears 7; time passes 0.1; {CLOSE}", "client data 2 late 0.4",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
    Trial("acks-lost", f"{OPEN}; {GREETING}; {LINES}; server hears 3500; {CLOSE}", "server ACK 1-2 lost",
          f"{OPENS} {CLOSES_FIRST}", f"{ANSWERS} {CLOSES_LAST}"),
)
# fmt: on
