"""Numbers, paths and names in sentences."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

_LONGEST = 60
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``counted(1, "video")`` is 1 video; 1,234 gives 1,234 videos."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(path: str) -> str:
    """A path or a name as text on one line; undecodable bytes and line ends are replaced."""
    return "".join(_shown(c) if unicodedata.category(c) in _UNPRINTABLE else c for c in path)


def _shown(char: str) -> str:
    """A replacement for one character: U+FFFD for an undecodable byte, else an escape such as \\n."""
    return "\N{REPLACEMENT CHARACTER}" if "\udc80" <= char <= "\udcff" else ascii(char)[1:-1]


def plain(name: str) -> str:
    """A foreign name for use in a sentence: on one line, at most 60 characters.

    It is quoted if it could be confused with the words around it.
    """
    text = printable(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}...")
    clear = text and text == text.strip() and not set(text) & set(",;:'\"\\")
    return text if clear else f"'{text}'"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to ``name``, whatever the case. None: no name is similar."""
    names = {other.strip().casefold(): other for other in known}
    near = difflib.get_close_matches(name.strip().casefold(), names, n=1)
    return names[near[0]] if near else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)`` if a known name is similar, otherwise an empty string."""
    near = nearest(name, known)
    return "" if near is None else f" (did you mean {plain(near)}?)"
