"""The verb ``report``: rebuild the report of a run from what is in its folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.config.command_line import Positional, argument, parse
from bodvcl.config.schema import UserPath


@dataclass
class ReportOptions:
    """Build report.html again from a run folder."""

    run_dir: Annotated[Positional[UserPath], argument(metavar="RUN_DIR")]
    """Folder of the run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report and print its path; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("report", lambda: _report(arguments))


def _report(arguments: Sequence[str]) -> int:
    options = parse(ReportOptions, arguments, prog="bodvcl report")
    with uninterrupted():
        from bodvcl.viz.report import write_report

    print(write_report(options.run_dir))
    return 0
