"""ICMP and ICMPv6 errors, and what each does to the connection whose segment it quotes: one table.

RFC 1122 section 4.2.3.9 has *hard* errors, which should end a connection, and *soft* ones, which must not: the routes may
mend. RFC 5461 tells what became of that: most hosts take a soft error for the end of an attempt that is not answered
yet, and RFC 5927 that no error should end a connection that is established. Linux does both (``tcp_v4_err``,
``tcp_v6_err``): any error ends an attempt in SYN_SENT, none ends a connection. So that is what is assumed here; a host
that holds to RFC 1122 sends its SYN again, and refutes it. An error is obeyed only if the number that it quotes is in
flight, from SND.UNA to SND.NXT (RFC 5927 section 4.1): else it is stale, or forged.
"""

from __future__ import annotations

import enum
import functools
from typing import NamedTuple

import numpy as np


class Effect(enum.IntEnum):
    """What an error did to the connection; EFFECT_WORDS has the text."""

    SOFT = 0
    ENDS_ATTEMPT = 1
    DROPS_REQUEST = 2
    PATH_MTU = 3
    PATH_MTU_AGAIN = 4
    IGNORED = 5
    REROUTED = 6
    NOT_IN_FLIGHT = 7
    OVER = 8


EFFECT_WORDS: dict[Effect, str] = {
    Effect.SOFT: "a soft error, nothing changes",
    Effect.ENDS_ATTEMPT: "the attempt ends",
    Effect.DROPS_REQUEST: "the request is dropped",
    Effect.PATH_MTU: "the segment was too big",
    Effect.PATH_MTU_AGAIN: "still too big, earlier errors were not heeded",
    Effect.IGNORED: "ignored",
    Effect.REROUTED: "another way is shown, nothing else changes",
    Effect.NOT_IN_FLIGHT: "ignored: the quoted number is not in flight (stale, or forged)",
    Effect.OVER: "ignored: the connection was over",
}


class Origin(enum.IntEnum):
    """Who sent an error."""

    ROUTER = 0
    PEER = 1
    ITSELF = 2  #: the host that the quoted segment is from: it found no way out


ORIGIN_WORDS: dict[Origin, str] = {Origin.ROUTER: "router", Origin.PEER: "the peer", Origin.ITSELF: "the host itself"}


class Class(enum.Enum):
    """What RFC 1122 section 4.2.3.9, or the RFC that defines the error, makes of it."""

    HARD = "hard"
    SOFT = "soft"
    TOO_BIG = "path MTU"
    QUENCH = "ignored"
    REDIRECT = "redirect"
    UNSAID = "-"


class Error(NamedTuple):
    """One kind of error."""

    version: int  #: 4: ICMP, 6: ICMPv6
    type: int
    code: int | None  #: None: every code that has no row of its own
    name: str
    source: str
    kind: Class
    errno: str  #: Linux's, for connect(); empty: it ignores the error
    request: bool = False  #: Linux drops a request in SYN_RCVD


_H, _S, _U = Class.HARD, Class.SOFT, Class.UNSAID

ERRORS: tuple[Error, ...] = (
    Error(4, 3, 0, "net unreachable", "RFC 792", _S, "ENETUNREACH", True),
    Error(4, 3, 1, "host unreachable", "RFC 792", _S, "EHOSTUNREACH", True),
    Error(4, 3, 2, "protocol unreachable", "RFC 792", _H, "ENOPROTOOPT"),
    Error(4, 3, 3, "port unreachable", "RFC 792", _H, "ECONNREFUSED"),
    Error(4, 3, 4, "fragmentation needed and DF set", "RFC 792, RFC 1191", Class.TOO_BIG, "EMSGSIZE"),
    Error(4, 3, 5, "source route failed", "RFC 792", _S, "EOPNOTSUPP"),
    Error(4, 3, 6, "destination network unknown", "RFC 1122", _U, "ENETUNREACH"),
    Error(4, 3, 7, "destination host unknown", "RFC 1122", _U, "EHOSTDOWN"),
    Error(4, 3, 8, "source host isolated", "RFC 1122", _U, "ENONET"),
    Error(4, 3, 9, "network administratively prohibited", "RFC 1122", _U, "ENETUNREACH"),
    Error(4, 3, 10, "host administratively prohibited", "RFC 1122", _U, "EHOSTUNREACH"),
    Error(4, 3, 11, "network unreachable for type of service", "RFC 1122", _U, "ENETUNREACH"),
    Error(4, 3, 12, "host unreachable for type of service", "RFC 1122", _U, "EHOSTUNREACH"),
    Error(4, 3, 13, "communication administratively prohibited", "RFC 1812", _U, "EHOSTUNREACH"),
    Error(4, 3, 14, "host precedence violation", "RFC 1812", _U, "EHOSTUNREACH"),
    Error(4, 3, 15, "precedence cutoff in effect", "RFC 1812", _U, "EHOSTUNREACH"),
    Error(4, 3, None, "destination unreachable", "RFC 792", _U, ""),
    Error(4, 4, None, "source quench", "RFC 792, RFC 6633", Class.QUENCH, ""),
    Error(4, 5, 0, "redirect for the network", "RFC 792", Class.REDIRECT, ""),
    Error(4, 5, 1, "redirect for the host", "RFC 792", Class.REDIRECT, ""),
    Error(4, 5, 2, "redirect for the type of service and network", "RFC 792", Class.REDIRECT, ""),
    Error(4, 5, 3, "redirect for the type of service and host", "RFC 792", Class.REDIRECT, ""),
    Error(4, 5, None, "redirect", "RFC 792", Class.REDIRECT, ""),
    Error(4, 11, 0, "time to live exceeded in transit", "RFC 792", _S, "EHOSTUNREACH", True),
    Error(4, 11, 1, "fragment reassembly time exceeded", "RFC 792", _S, ""),
    Error(4, 11, None, "time exceeded", "RFC 792", _S, "EHOSTUNREACH", True),
    Error(4, 12, 0, "parameter problem", "RFC 792", _S, "EPROTO", True),
    Error(4, 12, 1, "parameter problem: required option missing", "RFC 1122", _S, "EPROTO", True),
    Error(4, 12, 2, "parameter problem: bad length", "RFC 1812", _S, "EPROTO", True),
    Error(4, 12, None, "parameter problem", "RFC 792", _S, "EPROTO", True),
    Error(6, 1, 0, "no route to destination", "RFC 4443", _S, "ENETUNREACH"),
    Error(6, 1, 1, "communication administratively prohibited", "RFC 4443", _H, "EACCES", True),
    Error(6, 1, 2, "beyond scope of source address", "RFC 4443", _U, "EHOSTUNREACH"),
    Error(6, 1, 3, "address unreachable", "RFC 4443", _S, "EHOSTUNREACH"),
    Error(6, 1, 4, "port unreachable", "RFC 4443", _H, "ECONNREFUSED", True),
    Error(6, 1, 5, "source address failed ingress/egress policy", "RFC 4443", _U, "EACCES", True),
    Error(6, 1, 6, "reject route to destination", "RFC 4443", _U, "EACCES", True),
    Error(6, 1, 7, "error in source routing header", "RFC 6554", _U, "EPROTO", True),
    Error(6, 1, 8, "headers too long", "RFC 8883", _U, "EPROTO", True),
    Error(6, 1, None, "destination unreachable", "RFC 4443", _U, "EPROTO", True),
    Error(6, 2, None, "packet too big", "RFC 4443, RFC 8201", Class.TOO_BIG, "EMSGSIZE"),
    Error(6, 3, 0, "hop limit exceeded in transit", "RFC 4443", _S, "EHOSTUNREACH"),
    Error(6, 3, 1, "fragment reassembly time exceeded", "RFC 4443", _S, "EHOSTUNREACH"),
    Error(6, 3, None, "time exceeded", "RFC 4443", _S, "EHOSTUNREACH"),
    Error(6, 4, 0, "parameter problem: erroneous header field", "RFC 4443", _S, "EPROTO", True),
    Error(6, 4, 1, "parameter problem: unrecognized next header", "RFC 4443", _S, "EPROTO", True),
    Error(6, 4, 2, "parameter problem: unrecognized IPv6 option", "RFC 4443", _S, "EPROTO", True),
    Error(6, 4, 3, "parameter problem: incomplete header chain in the first fragment", "RFC 7112", _S, "EPROTO", True),
    Error(6, 4, None, "parameter problem", "RFC 4443", _S, "EPROTO", True),
)

LEAST_MTU_6 = 1280
"""No link that carries IPv6 has less (RFC 8200 section 5): who tells less is not believed (RFC 8201 section 4)."""


def error(version: int, kind: int, code: int) -> Error:
    """Return the row of an error; KeyError for a type that is none."""
    row = next((row for row in ERRORS if row[:3] == (version, kind, code)), None)
    row = row or next((row for row in ERRORS if row[:3] == (version, kind, None)), None)
    if row is None:
        raise KeyError((version, kind))
    return row


@functools.cache
def name(version: int, kind: int, code: int) -> str:
    """Name an error as its RFC does, with its numbers: ``ICMP port unreachable (3/3)``."""
    return f"ICMP{'v6' if version == 6 else ''} {error(version, kind, code).name} ({kind}/{code})"


# Bits of RULES.
ENDS_ATTEMPT, DROPS_REQUEST, TOO_BIG, IGNORED, REDIRECT, NOBODY_LISTENS = 1, 2, 4, 8, 16, 32
_NOBODY_LISTENS = ("ECONNREFUSED", "ENOPROTOOPT")  # what the host itself says of a port or a protocol


def _rule(row: Error) -> int:
    if row.kind is Class.TOO_BIG:
        return TOO_BIG
    if row.kind is Class.REDIRECT:
        return REDIRECT
    if not row.errno:
        return IGNORED
    nobody = NOBODY_LISTENS if row.errno in _NOBODY_LISTENS else 0
    return ENDS_ATTEMPT | nobody | (DROPS_REQUEST if row.request else 0)


def rules() -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Return ERRORS as bits: [ICMP or ICMPv6, type, code]."""
    table = np.zeros((2, 16, 256), np.uint8)
    for row in sorted(ERRORS, key=lambda row: row.code is not None):  # those of every code first
        table[int(row.version == 6), row.type, slice(None) if row.code is None else row.code] = _rule(row)
    return table


RULES = rules()


def as_markdown() -> str:
    """Write the table as docs/icmp.md has it."""
    lines = [
        "# ICMP errors and TCP",
        "",
        "Generated from `analyzer/tracker/icmp.py`.",
        "",
        "*Class* is RFC 1122's (section 4.2.3.9), or that of the RFC which defines the error: a hard one should end the",
        "connection, a soft one must not; `-` where none says. *SYN_SENT* and *SYN_RCVD* say what Linux does, which is what is",
        "assumed of an end until it shows otherwise: the attempt ends with this error of `connect()`, the request (not yet a",
        "socket) is dropped. In every other state an error changes nothing; Linux tells it only if the connection times out.",
        "",
        "| ICMP | type | code | name | source | class | SYN_SENT | SYN_RCVD |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in ERRORS:
        rule = _rule(row)
        cells = (
            "ICMPv6" if row.version == 6 else "ICMP",
            str(row.type),
            "any other" if row.code is None else str(row.code),
            row.name,
            row.source,
            row.kind.value,
            f"CLOSED, `{row.errno}`" if rule & ENDS_ATTEMPT else "stays",
            "CLOSED" if rule & DROPS_REQUEST else "stays",
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "What an error did stands in `anomalies.detail`, behind its name and its sender:",
        "",
        *(f"- *{words}*: {_EFFECT_RULES[effect]}" for effect, words in EFFECT_WORDS.items()),
    ]
    return "\n".join(lines)


_EFFECT_RULES: dict[Effect, str] = {
    Effect.SOFT: "the connection goes on; in SYN_RCVD, so does the request",
    Effect.ENDS_ATTEMPT: "SYN_SENT (or SYN_RCVD of crossing SYNs) to CLOSED, assumed; refuted if the end goes on",
    Effect.DROPS_REQUEST: "SYN_RCVD to CLOSED, assumed; refuted if the end goes on",
    Effect.PATH_MTU: "the largest packet for this way is told, if the router knows it (RFC 1191, RFC 8201)",
    Effect.PATH_MTU_AGAIN: "the same number was sent again 200 ms or more after the first such error (RFC 2923: a black hole)",
    Effect.IGNORED: "source quench (RFC 6633), codes that nobody knows, IPv6 MTUs below 1280 (RFC 8201)",
    Effect.REROUTED: "the router knows a better first hop",
    Effect.NOT_IN_FLIGHT: "the quoted number is not within SND.UNA and SND.NXT (RFC 5927 section 4.1); a keep-alive's is not",
    Effect.OVER: "the end was CLOSED or in TIME_WAIT",
}


if __name__ == "__main__":
    print(as_markdown())  # noqa: T201
