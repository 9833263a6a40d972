"""Exchanges to begin with, named after the state in which they leave the client.

The round trip is 20 ms, 10 ms of them on each side of the capture point. After ``talked`` the client has sent 5 octets, the
server 7, all acknowledged: their next numbers are 6 and 8.
"""

from __future__ import annotations


def syn_sent() -> str:
    return """
    0.000 C>S S  seq=0 mss=1460 wscale=7 sackok   | SYN_SENT LISTEN~ open 1/3
    """


def synack_sent() -> str:
    """The server is in SYN_RCVD."""
    return f"""{syn_sent()}
    0.010 S>C S. seq=0 ack=1 mss=1460 wscale=7 sackok | ESTABLISHED~ SYN_RCVD open 2/3
    """


def established() -> str:
    """Nothing has been heard of the server after the third segment."""
    return f"""{synack_sent()}
    0.020 C>S .  seq=1 ack=1           | ESTABLISHED ESTABLISHED~ open 3/3
    """


def talked() -> str:
    """Established, proven at both ends."""
    return f"""{established()}
    0.030 C>S P. seq=1 ack=1 len=5     | ESTABLISHED ESTABLISHED~
    0.040 S>C .  seq=1 ack=6           | ESTABLISHED ESTABLISHED
    0.050 S>C P. seq=1 ack=6 len=7     | ESTABLISHED ESTABLISHED
    0.060 C>S .  seq=6 ack=8           | ESTABLISHED ESTABLISHED
    """


def fin_wait_1() -> str:
    return f"""{talked()}
    1.000 C>S F. seq=6 ack=8           | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
    """


def fin_wait_2() -> str:
    return f"""{fin_wait_1()}
    1.010 S>C .  seq=8 ack=7           | FIN_WAIT_2~ CLOSE_WAIT close 2/4
    """


def fins_exchanged() -> str:
    """The server's FIN is under way to the client in FIN_WAIT_2."""
    return f"""{fin_wait_2()}
    2.000 S>C F. seq=8 ack=7           | TIME_WAIT~ LAST_ACK close 3/4
    """


def time_wait() -> str:
    return f"""{fins_exchanged()}
    2.010 C>S .  seq=7 ack=9           | TIME_WAIT CLOSED~ close 4/4
    """


def close_wait() -> str:
    return f"""{talked()}
    1.000 S>C F. seq=8 ack=6           | CLOSE_WAIT~ FIN_WAIT_1 close 1/4
    1.010 C>S .  seq=6 ack=9           | CLOSE_WAIT FIN_WAIT_2~ close 2/4
    """


def last_ack() -> str:
    return f"""{close_wait()}
    2.000 C>S F. seq=6 ack=9           | LAST_ACK TIME_WAIT~ close 3/4
    """


def closed() -> str:
    """Closed by the server, which is in TIME_WAIT."""
    return f"""{last_ack()}
    2.010 S>C .  seq=9 ack=7           | CLOSED~ TIME_WAIT close 4/4
    """


def closing() -> str:
    """The FINs cross."""
    return f"""{talked()}
    1.000 C>S F. seq=6 ack=8           | FIN_WAIT_1 CLOSE_WAIT~ close 1/4
    1.001 S>C F. seq=8 ack=6           | CLOSING~ CLOSING~ simultaneous close 3/4
    """
