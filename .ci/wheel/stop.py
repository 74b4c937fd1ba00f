"""What the user can mend: one line, exit code 2."""

from __future__ import annotations


class Stop(Exception):
    """The message says what is wrong, what was expected and how to mend it."""
