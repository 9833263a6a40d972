"""What can go wrong, as a tree.

AnalyzerError                    everything that this package raises on purpose
├── CaptureError                 a capture that cannot be read at all (missing, unreadable, not a capture)
├── FilterError                  a capture filter that libpcap does not compile
├── PermissionDenied             sniffing without the privilege
├── InterfaceError               an interface that is missing or went away
├── HostError                    a question about this host that its system does not answer
├── MissingDependency            a package or tool that is not installed; says what to type
└── StoreError                   a saved analysis that cannot be loaded

Each message says what happened, where (file, offset, frame) and what to do next. A capture that is readable in part raises
nothing: what was readable is analysed and the damage stands in ``Analysis.capture`` (``CaptureInfo.damage``).
"""

from __future__ import annotations


class AnalyzerError(Exception):
    """The parent of all errors that this package raises on purpose."""


class CaptureError(AnalyzerError):
    """A capture cannot be read at all."""


class FilterError(AnalyzerError):
    """A capture filter does not compile."""


class PermissionDenied(AnalyzerError):
    """The system refuses to let this user sniff."""


class InterfaceError(AnalyzerError):
    """An interface does not exist or has gone away."""


class HostError(AnalyzerError):
    """The system of this host does not tell what was asked."""


class MissingDependency(AnalyzerError):
    """A package or a tool is not installed."""


class StoreError(AnalyzerError):
    """A saved analysis cannot be loaded."""
