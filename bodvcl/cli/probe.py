"""The verb ``probe``: what can be read from the frozen features of a trained encoder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.cli.writable import check_writable
from bodvcl.config.command_line import argument, parse
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.errors import ConfigError
from bodvcl.evaluate.options import ProbeOptions


@dataclass(kw_only=True)
class ProbeCommand(ProbeOptions):
    """Probe the frozen features of a trained encoder."""

    __pydantic_config__ = STRICT

    out: Annotated[UserPath | None, argument(metavar="FILE")] = None
    """Write the scores to this file as JSON."""
    plot: Annotated[UserPath | None, argument(metavar="FILE")] = None
    """Draw R@k and the accuracy of each class into this .png or .svg file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options and probe; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("probe", lambda: _probe(parse(ProbeCommand, arguments, prog="bodvcl probe")))


def _probe(command: ProbeCommand) -> int:
    with uninterrupted():
        from bodvcl.evaluate.probe_plot import check_plot_path, probe_figure, save_plot
        from bodvcl.evaluate.probe_run import run_probe
        from bodvcl.finetune.as_encoder import load_run_or_classifier, refuse_without_run
        from bodvcl.text.tables import show

    if command.plot is not None:
        check_plot_path(command.plot)
        check_writable("--plot", command.plot)
    if command.out is not None:
        check_writable("--out", command.out)
    refuse_without_run(command)
    report = run_probe(command, open_run=load_run_or_classifier)
    show(*report.tables())
    if command.out is not None:
        report.save(command.out)
        print(f"wrote {command.out}")
    if command.plot is not None:
        figure = probe_figure(report.scores, report.against, command.against or "")
        if figure is None:
            raise ConfigError("--plot: there is nothing to draw; add retrieval or a classifier to --probe")
        save_plot(figure, command.plot)
        print(f"wrote {command.plot}")
    return 0
