"""Errors that a user can mend. The command line prints them in one line and exits with code 2."""

from __future__ import annotations


class UserError(Exception):
    """What was wrong, what was expected, how to fix it: the message is all that the user sees."""


class DataError(UserError):
    """No usable video, or a list of videos that cannot be read."""


class ConfigError(UserError):
    """An option that does not exist, is out of range, or contradicts another."""


class CheckpointError(UserError):
    """A checkpoint that cannot be written or read, or that belongs to another configuration."""
