"""Command-line options of an experiment, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import tyro
from pydantic import TypeAdapter, ValidationError

from bodvcl.errors import ConfigError

Options = TypeVar("Options")


def parse_options(cls: type[Options], argv: Sequence[str], prog: str) -> Options:
    """Options of the dataclass `cls`, every range checked.

    Raises:
        ConfigError: a value out of range.
        SystemExit: after ``--help``, or for an option that there is not.
    """
    options: Any = tyro.cli(cls, args=list(argv), prog=prog)
    try:
        return TypeAdapter(cls).validate_python(asdict(options))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"--{where}: {first['msg'].lower()}, got {first['input']!r}") from None
