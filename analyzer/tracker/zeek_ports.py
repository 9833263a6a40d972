"""The ports at which Zeek expects servers: ``likely_server_ports`` as its default scripts fill it (base/protocols)."""

from __future__ import annotations

_BY_PROTOCOL = {
    "dce-rpc": (135,),
    "dnp3": (20000,),
    "dns": (53,),
    "finger": (79,),
    "ftp": (21, 2811),
    "http": (80, 81, 631, 1080, 3128, 8000, 8080, 8888),
    "imap": (143,),
    "irc": (6666, 6667, 6668, 6669),
    "krb": (88,),
    "ldap": (389, 3268),
    "modbus": (502,),
    "mqtt": (1883,),
    "mysql": (1434, 3306),
    "pop3": (110,),
    "postgresql": (5432,),
    "rdp": (3389,),
    "redis": (6379,),
    "sip": (5060,),
    "smb": (139, 445),
    "smtp": (25, 587),
    "socks": (1080,),
    "ssh": (22,),
    "ssl": (443, 563, 585, 614, 636, 989, 990, 992, 993, 995, 5223),
    "xmpp": (5222, 5269),
}

SERVER_PORTS = frozenset(port for ports in _BY_PROTOCOL.values() for port in ports)
