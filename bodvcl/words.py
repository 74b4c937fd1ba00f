"""Numbers and paths in sentences."""

from __future__ import annotations

import os


def counted(number: int, noun: str) -> str:
    """``number`` of what ``noun`` (singular, with an s in the plural) names: 1 video, 1,234 videos."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(path: str) -> str:
    """A path as text on one line, also where its bytes are no text or it has line ends in it."""
    text = os.fsencode(path).decode(errors="replace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
