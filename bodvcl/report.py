"""``python -m bodvcl.report RUN_DIR``: rebuild the report of a run from what is in its folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bodvcl.console import run_verb


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report and print its path; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bodvcl report", description="Rebuild report.html of a run.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of the run")
    arguments = parser.parse_args(argv)

    def report() -> int:
        from bodvcl.viz.report import write_report

        print(write_report(arguments.run_dir))
        return 0

    return run_verb("report", report)


if __name__ == "__main__":
    sys.exit(main())
