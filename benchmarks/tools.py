"""What is run: our own processes and the peers, each as the command line that is measured."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
OURS_ENVIRONMENT = {"PYTHONPATH": str(ROOT)}

TSHARK_FIELDS = (
    "frame.time_epoch",
    *("ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", "tcp.stream"),
    *("tcp.seq", "tcp.ack", "tcp.len", "tcp.flags", "tcp.window_size", "tcp.analysis.flags"),
)


def _script(name: str, path: str, *options: str) -> list[str]:
    return [sys.executable, str(HERE / name), path, *options]


def _command() -> list[str]:
    """Find the installed command beside this Python, else run the package."""
    installed = pathlib.Path(sys.executable).with_name("analyzer")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "analyzer"]


PEERS: dict[str, Callable[[str], list[str]]] = {
    "tshark": lambda path: ["tshark", "-n", "-r", path, "-T", "fields", *(w for f in TSHARK_FIELDS for w in ("-e", f))],
    "tcptrace": lambda path: ["tcptrace", "-n", path],
    "nfstream": lambda path: _script("nfstream_flows.py", path),
}

OURS: dict[str, Callable[[str], list[str]]] = {
    "analyzer": lambda path: _script("analyse.py", path, "--json"),
    "analyzer, bytes held": lambda path: _script("analyse.py", path, "--memory", "--json"),
    "analyzer read": lambda path: [*_command(), "read", path],
    "analyzer read, empty kernel cache": lambda path: [*_command(), "read", path],
    "analyzer --help": lambda _: [*_command(), "--help"],
    "import analyzer": lambda _: [sys.executable, "-c", "import analyzer"],
}


def missing(peer: str) -> str:
    """Say why a peer cannot be run, or give an empty text."""
    if peer == "nfstream":
        there = importlib.util.find_spec("nfstream") is not None
        return "" if there else "nfstream is not installed in this environment (pip install nfstream)"
    return "" if shutil.which(peer) else f"{peer} is not installed (apt install {peer})"


def sources() -> str:
    """Hash analyzer's sources: a change during a run compiles the kernels anew and spoils the figures."""
    digest = hashlib.sha256()
    for source in sorted((ROOT / "analyzer").rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Collect the versions of what is run, of what is there."""
    found = {}
    for package in ("numba", "numpy", "pandas", "nfstream"):
        if importlib.util.find_spec(package) is not None:
            found[package] = importlib.metadata.version(package)
    for tool, option in (("tshark", "--version"), ("tcptrace", "-version")):
        if shutil.which(tool):
            said = subprocess.run([tool, option], capture_output=True, text=True, check=False)
            words = f"{said.stdout} {said.stderr}".split()
            found[tool] = next((word for word in words if word[0].isdigit() and "." in word), "?").rstrip(".")
    return found
