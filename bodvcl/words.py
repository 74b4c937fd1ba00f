"""Numbers and paths in sentences."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """``number`` of what ``noun`` (singular, with an s in the plural) names: 1 video, 1,234 videos."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(path: str) -> str:
    """A path as text on one line, also where its bytes are no text or it has line ends in it."""
    return "".join(c if c.isprintable() else _shown(c) for c in path)


def _shown(char: str) -> str:
    """A byte that is no text as the replacement character, a line end and the like escaped."""
    return "\N{REPLACEMENT CHARACTER}" if "\udc80" <= char <= "\udcff" else ascii(char)[1:-1]
