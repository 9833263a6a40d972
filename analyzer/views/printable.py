"""Other people's words on our screens: nothing but what prints, so that none of them moves the cursor or colours the rest.

Errors are said through this, whatever could not be imported: it imports nothing.
"""

from __future__ import annotations


def printable(text: object) -> str:
    """Return the text on one line, every character that does not print shown as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
