"""``python -m bodvcl.report RUN_DIR``: rebuild the report of a run from what is in its folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.system.folders import expand


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report and print its path; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("report", lambda: _report(arguments))


def _report(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bodvcl report", description="Rebuild report.html of a run.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of the run")
    given = parser.parse_args(arguments)
    with uninterrupted():
        from bodvcl.viz.report import write_report

    print(write_report(expand(given.run_dir)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
