"""Numbers and names in sentences."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

_LONGEST = 60
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}


def counted(number: int, noun: str) -> str:
    """``number`` of what ``noun`` (singular, with an s in the plural) names: 1 video, 1,234 videos."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def one_line(name: str) -> str:
    """A name from outside as it can be printed: line breaks and other control characters are escaped."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNPRINTABLE else c for c in name
    )


def plain(name: str) -> str:
    """A name from outside in a sentence: on one line, shortened to 60 characters, and in quotes where it
    could not be told from the words around it."""
    text = one_line(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}...")
    clear = text and text == text.strip() and not set(text) & set(",;:'\"\\")
    return text if clear else f"'{text}'"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)`` where one of the known names is near, else nothing."""
    names = {other.strip().casefold(): other for other in known}
    near = difflib.get_close_matches(name.strip().casefold(), names, n=1)
    return f" (did you mean {plain(names[near[0]])}?)" if near else ""
