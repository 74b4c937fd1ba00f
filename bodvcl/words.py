"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """``number`` of what ``noun`` (singular, with an s in the plural) names: 1 video, 1,234 videos."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
