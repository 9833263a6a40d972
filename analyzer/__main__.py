"""``python -m analyzer`` is the command ``analyzer``."""

from __future__ import annotations

import gc
import sys

from analyzer.cli import main


def run() -> None:
    """Run the command line and exit with its code."""
    code = main()
    # Searching what pandas and numba have made for garbage, before the process ends anyway, would take a fifth of a second.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
