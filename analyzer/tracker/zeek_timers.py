"""When Zeek forgets a connection: its time-outs, with the defaults of init-bare.zeek and base/protocols/conn/inactivity.zeek.

Zeek's timers run with the clock of the capture. Between two segments of a connection nothing of it changes: so it suffices to
ask at each segment whether one of them has ended the connection before.
"""

from __future__ import annotations

from typing import Any

from analyzer.kernel import part
from analyzer.tracker.zeek_connection import COMPLETED, INACTIVE, INTERACTIVE, IS_OVER, RESET, SYN_ACK_SENT, SYN_SENT

_SECOND_NS = 1_000_000_000
_SYN_TIMEOUT_NS = 5 * _SECOND_NS  # tcp_SYN_timeout: the first look at a connection
SESSION_TIMER_NS = 6 * _SECOND_NS  # tcp_session_timer: the further ones
_LINGER_NS = 5 * _SECOND_NS  # tcp_connection_linger
CLOSE_DELAY_NS = 5 * _SECOND_NS  # tcp_close_delay; tcp_attempt_delay is the same
RESET_DELAY_NS = 5 * _SECOND_NS  # tcp_reset_delay
_OPENING_NS = 60 * _SECOND_NS  # udp_inactivity_timeout, which holds until the handshake is over
_IDLE_NS = 300 * _SECOND_NS  # tcp_inactivity_timeout
_INTERACTIVE_NS = 3600 * _SECOND_NS  # port_inactivity_timeouts


@part
def is_interactive(port: int) -> bool:
    """Whether Zeek waits longer for what goes to this port: FTP, SSH, Telnet, rlogin."""
    return 21 <= port <= 23 or port == 513


@part
def start_timers(connection: Any, segment: Any) -> None:
    """Start the timers that run from the first segment on."""
    connection.expire_ns = segment.time_ns + _SYN_TIMEOUT_NS


@part
def is_gone(time_ns: int, connection: Any, orig: Any, resp: Any) -> bool:
    """Whether the connection was forgotten by now, other than some time after it closed."""
    attempted = (orig.state == SYN_SENT or orig.state == SYN_ACK_SENT) and resp.state == INACTIVE
    over = connection.bits & IS_OVER
    if connection.attempt_ns != 0 and time_ns >= connection.attempt_ns:
        connection.attempt_ns = 0
        if attempted and not over:
            return True
    if connection.reset_ns != 0 and time_ns >= connection.reset_ns and not over:
        return True
    idle_ns = _OPENING_NS
    if connection.bits & COMPLETED:
        idle_ns = _INTERACTIVE_NS if connection.bits & INTERACTIVE else _IDLE_NS
    if time_ns >= connection.last_ns + idle_ns:
        return True
    if over:
        connection.expire_ns = connection.expire_again_ns = 0
        return False
    half = (orig.did_close or resp.did_close) and (
        (orig.did_close and resp.did_close)
        or orig.state == RESET
        or resp.state == RESET
        or orig.state == INACTIVE
        or resp.state == INACTIVE
    )
    doomed = half or (orig.state == INACTIVE and resp.state == INACTIVE)
    quiet_ns = connection.last_ns + _LINGER_NS
    first, second = connection.expire_ns, connection.expire_again_ns
    connection.expire_ns, connection.expire_again_ns = _next(first, time_ns), _next(second, time_ns)
    return doomed and (_fires(first, quiet_ns, time_ns) or _fires(second, quiet_ns, time_ns))


@part
def _next(timer_ns: int, now_ns: int) -> int:
    """When a timer that repeats fires next after now; 0: it is none."""
    if timer_ns == 0 or timer_ns > now_ns:
        return timer_ns
    return timer_ns + ((now_ns - timer_ns) // SESSION_TIMER_NS + 1) * SESSION_TIMER_NS


@part
def _fires(timer_ns: int, after_ns: int, now_ns: int) -> bool:
    """Whether a timer that repeats fires after a time and by now."""
    return timer_ns != 0 and max(timer_ns, _next(timer_ns, after_ns)) <= now_ns
