# The verbs of this project. `make` alone lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-bounds lint fmt docs captures bench bench-live clean

help:  ## list these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with everything in it (again only when pyproject.toml changed)

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.11 (or newer)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "python3 cannot make environments yet: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup  ## set up, then analyse a capture of this repository
	$(BIN)/analyzer read captures/life-of-a-connection/any.pcap

test: setup  ## set up, then pass the tests and run the notebooks (tshark and tcpdump, where installed, are asked too)
	@command -v tshark >/dev/null && command -v tcpdump >/dev/null \
	  || echo "tests that ask tshark or tcpdump will be skipped: apt-get install tshark tcpdump" >&2
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --nbmake tests notebooks

test-bounds: setup  ## the tests again, array bounds checked, with an empty kernel cache of their own
	@cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT && \
	  NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR="$$cache" $(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests

lint: setup  ## formatting, lint and types, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fmt: setup  ## format, and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup  ## print the tables and the figure of docs/ from the code
	$(BIN)/python -m analyzer.frames.schema > docs/frames.md
	$(BIN)/python -m analyzer.tracker.states > docs/states.md
	$(BIN)/python -m analyzer.views.state_figure > docs/states.svg
	$(BIN)/python -m analyzer.tracker.anomalies > docs/anomalies.md
	$(BIN)/python -m analyzer.tracker.icmp > docs/icmp.md
	$(BIN)/python -m analyzer.tracker.causes > docs/causes.md
	$(BIN)/python -m analyzer.frames.kernel_counters > docs/counters.md
	$(BIN)/python -m analyzer.frames.verdicts > docs/verdicts.md
	$(BIN)/python -m analyzer.views.screen_page > docs/screen.md
	$(BIN)/python -m analyzer.views.screen_page svg > docs/screen.svg

captures: setup  ## record captures/ anew (root: real kernels, real tcpdump, network namespaces)
	@test "$$(id -u)" = 0 || { echo "recording needs root: sudo make captures" >&2; exit 1; }
	@command -v tcpdump >/dev/null || { echo "tcpdump is not installed: apt-get install tcpdump" >&2; exit 1; }
	$(BIN)/python captures/record.py

bench: setup  ## measure us and the peers on the same captures, in one run
	$(BIN)/python benchmarks/run.py

bench-live: setup  ## what tcpdump and we lose at rising rates, on the same cable in turn (root)
	$(BIN)/python benchmarks/live.py

clean:  ## remove what the other verbs made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info benchmarks/data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
