"""The public interface is what ``__all__`` lists; this test freezes it."""

from __future__ import annotations

import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import analyzer
from analyzer import errors

ROOT = pathlib.Path(__file__).parents[1]
PUBLIC = [
    "Analysis", "AnalyzerError", "CaptureError", "FilterError", "Flow", "HostError", "InterfaceError", "LiveSession",
    "MissingDependency", "PermissionDenied", "Settings", "StoreError", "__version__", "analysis_names", "counters",
    "follow", "live", "load", "read", "socket_states", "sockets", "sockstat",
]  # fmt: skip


def test_all_is_frozen():
    assert analyzer.__all__ == PUBLIC == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_each_name_is_there_and_listed(name):
    assert getattr(analyzer, name) is not None
    assert name in dir(analyzer)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_each_name_is_documented(name):
    assert inspect.getdoc(getattr(analyzer, name))


def test_no_other_name():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        analyzer.nonsense  # noqa: B018


def test_parameters_are_keyword_only_after_the_first():
    for function in (analyzer.read, analyzer.live, analyzer.follow):
        first, *others = inspect.signature(function).parameters.values()
        assert first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert {parameter.kind for parameter in others} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_error_tree_is_public_and_drawn():
    tree = [name for name, value in vars(errors).items() if inspect.isclass(value)]
    assert set(tree) <= set(PUBLIC)
    assert all(name in (errors.__doc__ or "") for name in tree)
    assert all(issubclass(getattr(errors, name), analyzer.AnalyzerError) for name in tree)


def test_the_accessor_is_there_at_once_where_pandas_is_loaded():
    script = "import pandas, analyzer; print(hasattr(pandas.DataFrame, 'tcp'))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", analyzer.__version__)
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
