"""Errors that a user can fix. The command line prints them in one line and exits with code 2."""

from __future__ import annotations


class UserError(Exception):
    """An error that the user can fix. Its message says what is wrong, what was expected and how to fix it."""


class DataError(UserError):
    """No usable video, or a list of videos that cannot be read."""


class ConfigError(UserError):
    """An unknown option, a value out of range, or options that contradict each other."""


class CheckpointError(UserError):
    """A checkpoint that cannot be written or read, or that another configuration wrote."""
