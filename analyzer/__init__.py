"""Read packet captures; learn in which TCP state both ends of every connection are, and how that is known.

>>> import analyzer
>>> analysis = analyzer.read("captures/life-of-a-connection/any.pcap")  # doctest: +SKIP
>>> analysis.flows[["client", "server", "handshake", "close"]]  # doctest: +SKIP

The names below are the public interface. They are loaded when first used: importing this package takes a few
milliseconds and loads neither pandas, NumPy, scapy nor compiled code.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from analyzer.errors import (
    AnalyzerError,
    CaptureError,
    FilterError,
    HostError,
    InterfaceError,
    MissingDependency,
    PermissionDenied,
    StoreError,
)
from analyzer.settings import Settings

if TYPE_CHECKING:
    from analyzer.analysis import Analysis, Flow
    from analyzer.frames.vocabulary import analysis_names
    from analyzer.host.sockets import socket_states, sockets
    from analyzer.host.sockstat import counters, sockstat
    from analyzer.reading import load, read
    from analyzer.session import LiveSession
    from analyzer.start import follow, live

__version__ = "0.1.0"

__all__ = [
    "Analysis",
    "AnalyzerError",
    "CaptureError",
    "FilterError",
    "Flow",
    "HostError",
    "InterfaceError",
    "LiveSession",
    "MissingDependency",
    "PermissionDenied",
    "Settings",
    "StoreError",
    "__version__",
    "analysis_names",
    "counters",
    "follow",
    "live",
    "load",
    "read",
    "socket_states",
    "sockets",
    "sockstat",
]

_ROOMS = {
    "Analysis": "analyzer.analysis",
    "Flow": "analyzer.analysis",
    "LiveSession": "analyzer.session",
    "analysis_names": "analyzer.frames.vocabulary",
    "counters": "analyzer.host.sockstat",
    "follow": "analyzer.start",
    "live": "analyzer.start",
    "load": "analyzer.reading",
    "read": "analyzer.reading",
    "socket_states": "analyzer.host.sockets",
    "sockets": "analyzer.host.sockets",
    "sockstat": "analyzer.host.sockstat",
}


def __getattr__(name: str) -> object:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(room), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "pandas" in sys.modules:  # df.tcp is there at once for who has pandas already; else from the first read() or load()
    importlib.import_module("analyzer.frames.accessor")
