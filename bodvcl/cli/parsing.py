"""The options of a verb that trains, which each of its processes parses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from bodvcl.errors import ConfigError, UserError

Options = TypeVar("Options")


def parsed_by_all(parse: Callable[[], Options]) -> Options:
    """The options of the command line. Where they are wrong, all processes find it, and only the first says
    so."""
    try:
        return parse()
    except UserError:
        from bodvcl.engine.ranks import world_from_environment  # heavy, and only needed here

        try:
            rank = world_from_environment().rank
        except ConfigError:  # without a rank, this process reports it
            rank = 0
        if rank == 0:
            raise
        time.sleep(10)  # the first reports it, and the launcher then ends the others
        raise SystemExit(2) from None
