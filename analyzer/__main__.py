"""``python -m analyzer`` is the command ``analyzer``."""

from __future__ import annotations

import gc
import sys


def run() -> None:
    """Run the command line and exit with its code."""
    try:
        from analyzer.cli import main

        code = main()
    except KeyboardInterrupt:  # before ``main`` could say so, or once more while it did
        code = 130
    # Searching what pandas and numba have made for garbage, before the process ends anyway, would take a fifth of a second.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
