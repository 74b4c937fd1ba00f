"""The verb ``figures``: the paper's figures of any runs, side by side."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.config.command_line import parse
from bodvcl.figures.options import FigureOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the figures and print the path of their page; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("figures", lambda: _figures(arguments))


def _figures(arguments: Sequence[str]) -> int:
    options = parse(FigureOptions, arguments, prog="bodvcl figures")
    with uninterrupted():
        from bodvcl.figures.make import make_figures

    print(make_figures(options, shlex.join(["bodvcl", "figures", *_without_figures(arguments)])))
    return 0


def _without_figures(arguments: Sequence[str]) -> list[str]:
    """The arguments without ``--figures`` and its values: the page names one figure at a time."""
    kept, dropping = [], False
    for argument in arguments:
        if argument.startswith("--"):
            dropping = argument.partition("=")[0] == "--figures"
        if not dropping:
            kept.append(argument)
    return kept
