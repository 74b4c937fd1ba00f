"""The one error of these scripts."""

from __future__ import annotations


class BundleError(Exception):
    """A bundle that cannot be made. Its message says what is wrong and how to mend it."""
