"""The verb ``compare``: is BOD-VCL worth it on these videos?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.config.command_line import parse
from bodvcl.errors import ConfigError

if TYPE_CHECKING:
    from bodvcl.compare.own import OwnVideos
    from bodvcl.compare.plan import CompareOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, then write table, plot and sentences; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("compare", lambda: _compare(arguments))


def _compare(arguments: Sequence[str]) -> int:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    with uninterrupted():
        from bodvcl.compare.plan import CompareOptions, plan, variants

    options, extra = parse(CompareOptions, arguments[:end], prog="bodvcl compare"), arguments[end + 1 :]
    with uninterrupted():
        from bodvcl.compare.own import own_data
        from bodvcl.compare.trained_table import trained_table

    data = own_data(options.data)
    variants(options, own=data is not None)
    own = None if data is None else _prepared(options, data, extra)
    tasks = list(plan(options, extra, own))
    if own is not None:
        from bodvcl.cli.compare_cost import cost

        print(cost(options, tasks))
    trained_table(tasks, options.out, options.group, options.workers, options.minutes)
    return 0


def _prepared(options: CompareOptions, data: str, extra: Sequence[str]) -> OwnVideos:
    """The videos, and the recipe that all trainings share: written once, and read when the command goes on.

    Raises:
        UserError: no label can be probed; videos or options that cannot be used.
    """
    from bodvcl.cli.compare_recipe import write_recipe
    from bodvcl.compare.own import OwnVideos
    from bodvcl.config.parse import load_yaml
    from bodvcl.runs.folder import create_folder

    create_folder(options.out, "--out")
    own = OwnVideos(data, options.out / "recipe.yaml")
    if not own.recipe.exists():
        write_recipe(own, extra)
    elif (other := load_yaml(own.recipe).data) != data:
        raise ConfigError(f"{own.recipe} is of a comparison on {other}: give another --out, or remove it")
    return own
