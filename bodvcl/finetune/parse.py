"""Command line and recipes to the checked options of a fine-tuning."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from bodvcl.config.command_line import build, parse_known, read
from bodvcl.config.recipes import find_recipe, lineage, merged, naming, recipe_names
from bodvcl.config.schema import UserPath
from bodvcl.errors import ConfigError
from bodvcl.finetune.loop_options import LoopOptions, refuse_contradictions
from bodvcl.finetune.options import FinetuneOptions, contradictions

KIND = "finetune"
"""Folder in configs/ that holds the recipes."""


@dataclasses.dataclass
class _Start:
    """The options that decide which values the others start from."""

    recipe: str | None = None
    run_dir: UserPath | None = None
    resume: bool = False


Options = TypeVar("Options", bound=LoopOptions)


def parse_options(
    argv: Sequence[str], prog: str = "bodvcl finetune", description: str | None = None
) -> FinetuneOptions:
    """Options of a fine-tuning; see :func:`read_options`.

    Raises:
        ConfigError: as :func:`read_options`, or options that contradict each other.
        SystemExit: code 0 after ``--help``.
    """
    options = read_options(FinetuneOptions, KIND, argv, prog, description)
    if not options.list_recipes:
        refuse_contradictions(contradictions(options))
    return options


def read_options(
    cls: type[Options], kind: str, argv: Sequence[str], prog: str, description: str | None = None
) -> Options:
    """Options of the command line: defaults, then the recipe or, with ``--resume``, the run's own options,
    then what is given.

    Args:
        cls: the options of a verb that trains with labels; ``recipe`` is one of them.
        kind: folder in configs/ that holds its recipes.
        argv: arguments without the program's name.
        prog: name of the program in ``--help``.
        description: first lines of ``--help``.

    Raises:
        ConfigError: an unknown option or recipe, or a value out of range.
        SystemExit: code 0 after ``--help``.
    """
    start, _ = parse_known(_Start, argv, prog=prog, help=False)
    base = cls()
    if start.recipe is not None:
        base = load_recipe(cls, kind, find_recipe(start.recipe, kind))
    elif start.resume and start.run_dir is not None and (start.run_dir / "config.yaml").exists():
        base = load_recipe(cls, kind, start.run_dir / "config.yaml")
        base = dataclasses.replace(base, run_dir=start.run_dir, resume_with_other_videos=False)
    given = read(cls, argv, prog=prog, description=description, default=base)
    return build(cls, dataclasses.asdict(given), name=lambda name: f"--{name.replace('_', '-')}")


def load_recipe(cls: type[Options], kind: str, path: Path) -> Options:
    """The options that a recipe sets; the others have their defaults.

    Args:
        cls, kind: as for :func:`read_options`.
        path: the recipe.

    Raises:
        ConfigError: no such file, not YAML, an unknown key or a value out of range.
    """
    values = dataclasses.asdict(cls())
    for source, changes in lineage(path, kind):
        with naming(source):
            values = merged(values, changes)
    with naming(path):
        return build(cls, values)


def list_recipes() -> list[str]:
    """A line for each recipe: its name, and the first line of its file."""
    names = recipe_names(KIND)
    width = max(map(len, names))
    return [f"{name:<{width}}  {_about(find_recipe(name, KIND))}" for name in names]


def _about(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    if not first.startswith("# "):
        raise ConfigError(f"{path}: its first line must say in a comment what it is")
    return first[2:]
