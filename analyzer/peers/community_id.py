"""Corelight's Community ID: one text that names a connection in Zeek, Suricata, Wireshark and elsewhere.

Version 1 (https://github.com/corelight/community-id-spec): the SHA-1 of the seed, both addresses, the protocol, an octet of
zero and both ports, in network byte order; the end whose address, then port, is lower stands first, so both directions
give the same. It goes by addresses and ports alone: connections that use them one after the other have the same, and VLANs
and tunnels do not matter.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_TCP = 6


def community_id(source: bytes, source_port: int, destination: bytes, destination_port: int, seed: int = 0) -> str:
    """Return the Community ID of a TCP connection between these ends; addresses as on the wire."""
    first, second = sorted([(source, source_port), (destination, destination_port)])
    hashed = struct.pack("!H", seed) + first[0] + second[0] + struct.pack("!BxHH", _TCP, first[1], second[1])
    return "1:" + base64.b64encode(hashlib.sha1(hashed, usedforsecurity=False).digest()).decode()


def of_flows(flows: pd.DataFrame, seed: int = 0) -> pd.Series[str]:
    """Return the Community ID of each connection of `flows`; NA where an end has a name instead of an address."""
    import pandas as pd

    client, server = (_packed(flows[end]) for end in ("client", "server"))
    ports = (flows[f"{end}_port"].tolist() for end in ("client", "server"))
    found = [
        None if here is None or there is None else community_id(here, its_port, there, other_port, seed)
        for here, there, its_port, other_port in zip(client, server, *ports, strict=True)
    ]
    return pd.Series(found, index=flows.index, dtype="str", name="community_id")


def _packed(ends: Any) -> list[bytes | None]:
    """The octets of each address, looked at once however often it occurs."""
    known: list[bytes | None] = []
    for address in ends.cat.categories:
        try:
            known.append(ipaddress.ip_address(address).packed)
        except ValueError:
            known.append(None)
    return [known[code] for code in ends.cat.codes]
