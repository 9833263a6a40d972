"""The documentation names what there is: commands, options, exit codes, columns, verbs; and what it shows, runs."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess

import click
import pytest

import analyzer
from analyzer import cli, kernel
from analyzer.frames import schema, vocabulary
from analyzer.views.terminal import FORMATS

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FRAMES = (ROOT / "docs" / "frames.md").read_text(encoding="utf-8")


def test_the_readme_begins_with_the_two_commands():
    first, second = [line.split("#")[0].strip() for line in README.splitlines()[1:3]]
    assert (first, second) == ("make demo", "make test")


@pytest.mark.parametrize("name", cli.commands.commands)
def test_every_command_is_shown(name):
    assert f"analyzer {name} " in README


@pytest.mark.parametrize("line", re.findall(r"^(?:\$ |tcpdump .*\| )?analyzer (.+)$", README, re.MULTILINE))
def test_every_example_parses(line):
    import shlex

    name, *words = shlex.split(line, comments=True)
    command = cli.commands.commands[name]
    command.make_context(name, words, obj=None)
    unknown = [word for word in words if word.startswith("--") and not any(word in p.opts for p in command.params)]
    assert unknown == []


def test_every_option_has_help():
    for command in cli.commands.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help or parameter.name == "color", f"{command.name} {parameter.name}"


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 130])
def test_every_exit_code_is_documented(code):
    assert re.search(rf"^\| {code} \|", README, re.MULTILINE)


def test_where_compiled_kernels_lie_is_documented(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    folder = kernel.cache_folder.__wrapped__().parent
    assert f"`~/{folder.relative_to(pathlib.Path.home())}`" in README
    assert "`NUMBA_CACHE_DIR`" in README


def test_every_format_is_documented():
    assert all(f"`{form}`" in README for form in FORMATS)


def test_every_column_and_word_is_documented():
    for declared in schema.SCHEMAS.values():
        for column in declared.columns:
            assert f"| `{column.name}` | {column.dtype} |" in FRAMES
            assert all(f"`{word}`" in FRAMES for word in column.vocabulary)
    assert all(f"`{name}`" in FRAMES for name in vocabulary.ANALYSIS_NAMES)


def test_every_attribute_that_the_readme_shows_is_there():
    for name in re.findall(r"\banalysis\.(\w+)", README):
        assert hasattr(analyzer.Analysis, name) or name in (analyzer.Analysis.__doc__ or ""), name
    for name in re.findall(r"\banalyzer\.([a-z]\w+)\(", README):
        assert name in analyzer.__all__


def test_make_alone_lists_every_verb_with_a_line():
    makefile = (ROOT / "Makefile").read_text()
    verbs = next(line for line in makefile.splitlines() if line.startswith(".PHONY:")).split()[1:]
    listed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    shown = {line.split()[1]: line.split(maxsplit=2)[2] for line in listed.splitlines()}
    assert set(shown) == set(verbs)
    assert all(len(said.split()) >= 3 for said in shown.values())


def test_the_notebooks_end_with_checks():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in notebooks:
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        assert "assert" in "".join(cells[-1]["source"]), path.name


def test_nothing_committed_names_a_machine():
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".ipynb", "") and path.is_file() and path.name != "test_docs.py":
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not re.search(r"/(home|Users)/\w|/work/", text), name


@pytest.mark.parametrize("table", ["states", "anomalies", "icmp"])
def test_tables_are_printed_from_the_code(table):
    import importlib

    printed = importlib.import_module(f"analyzer.tracker.{table}").as_markdown()
    assert (ROOT / "docs" / f"{table}.md").read_text(encoding="utf-8") == printed + "\n"


def test_the_figure_of_the_states_is_drawn_from_the_table():
    from analyzer.views import state_figure

    assert (ROOT / "docs" / "states.svg").read_text(encoding="utf-8") == state_figure.as_svg() + "\n"


@pytest.mark.kernels
def test_the_page_of_the_live_screen_is_what_the_screen_shows():
    pytest.importorskip("textual", reason="the live screen needs Textual: pip install textual")
    from analyzer.views import screen_page

    assert (ROOT / "docs" / "screen.md").read_text(encoding="utf-8") == screen_page.page() + "\n", "make docs"


def test_the_picture_of_the_live_screen_asks_nobody_for_anything():
    picture = (ROOT / "docs" / "screen.svg").read_text(encoding="utf-8")
    assert "CLOSE_WAIT" in picture
    assert re.findall(r"https?://(?!www\.w3\.org/)\S+", picture) == [
        "https://www.textualize.io"
    ]  # who draws, in a comment
