"""The house's order: data flows one way, a module is one noun, importing the package loads nothing heavy."""

from __future__ import annotations

import ast
import io
import pathlib
import re
import subprocess
import sys
import tokenize

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "analyzer"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in MODULES]

ORDER = (
    "errors", "settings", "ports", "kernel", "capture", "decode", "flows", "tracker", "frames", "host", "peers", "diagnosis",
    "views", "fleet", "analysis", "reading", "session", "start", "command_words", "request", "host_commands", "live_options",
    "live_lines", "peer_commands", "cli", "__main__",
)  # fmt: skip
"""A module imports its own room, and what stands left of it."""

LINES = 450
DRAWERS = {"util", "utils", "helper", "helpers", "common", "misc", "tools", "base", "core", "lib", "shared"}

WRAPS_AT_32_BITS = {
    "flows/sequence.py": "sequence arithmetic: the place that knows",
    "decode/checksum.py": "sums of octets: halves of 64 bits, no sequence number",
    "flows/key.py": "mixing a hash: halves of 64 bits, no sequence number",
}
"""The modules that may write 2**32 in any of its spellings; all others go through sequence arithmetic."""

SPELLINGS = re.compile(r"^(0x_?ffff_?ffff|0x_?1_?0000_?0000|4_?294_?967_?29[56])$", re.IGNORECASE)

each = pytest.mark.parametrize("path", MODULES, ids=NAMES)


def room(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: pathlib.Path) -> set[str]:
    """The rooms that a module imports, also inside functions and for types only."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "analyzer" and len(parts) > 1:
                rooms.add(parts[1])
    return rooms


@each
def test_imports_run_leftwards(path):
    mine = room(path)
    if mine == "__init__":
        pytest.skip("the public names, loaded when they are used")
    assert mine in ORDER, f"{mine} has no place in the order"
    allowed = set(ORDER[: ORDER.index(mine) + 1]) | {"__version__"}
    assert imported(path) <= allowed


def test_the_rule_sees_imports_inside_functions():
    rooms = set.union(*(imported(path) for path in MODULES))
    assert {"frames", "views", "capture", "diagnosis"} <= rooms
    late = "def f():\n    from analyzer.views import text\n"
    assert any(isinstance(node, ast.ImportFrom) for node in ast.walk(ast.parse(late)))


@each
def test_a_module_is_one_noun_of_bounded_length(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES
    words = set(path.stem.lower().split("_")) | {part.lower() for part in path.relative_to(PACKAGE).parts[:-1]}
    assert not words & DRAWERS, "named like a drawer"


@each
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def wraps(source: str) -> list[int]:
    """The lines on which 2**32 stands, in any spelling."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant):
            pair = (node.left.value, node.right.value)
            if (isinstance(node.op, ast.Pow) and pair == (2, 32)) or (
                isinstance(node.op, ast.LShift) and pair == (1, 32)
            ):
                lines.append(node.lineno)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines += [token.start[0] for token in tokens if token.type == tokenize.NUMBER and SPELLINGS.match(token.string)]
    return sorted(lines)


def test_the_search_for_wrapping_finds_each_spelling():
    assert wraps("a % 2**32\nb & 0xFFFFFFFF\nc & 0xffff_ffff\n1 << 32\n4294967296\n4_294_967_295\n") == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    assert wraps("x << 31\n0xFFFF\n'2**32'\n# 1 << 32\n") == []


@each
def test_only_sequence_arithmetic_knows_where_numbers_wrap(path):
    name = path.relative_to(PACKAGE).as_posix()
    if name not in WRAPS_AT_32_BITS:
        assert wraps(path.read_text(encoding="utf-8")) == []


def test_the_list_of_exceptions_is_not_longer_than_needed():
    for name in WRAPS_AT_32_BITS:
        assert wraps((PACKAGE / name).read_text(encoding="utf-8")), f"{name} needs no exception"


@pytest.mark.parametrize(
    "code",
    ["import analyzer", "import analyzer.cli", "import analyzer.__main__", "import analyzer; dir(analyzer)"],
)
def test_importing_loads_nothing_heavy(code):
    heavy = {"numpy", "pandas", "scapy", "numba", "pyarrow", "pyshark", "rich", "psutil", "pyroute2", "textual"}
    script = f"{code}\nimport sys\nprint(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_help_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "analyzer", "read", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    modules = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "click" in modules
    assert not modules & {
        "numpy",
        "pandas",
        "scapy",
        "numba",
        "pyarrow",
        "pyshark",
        "rich",
        "psutil",
        "pyroute2",
        "textual",
    }
