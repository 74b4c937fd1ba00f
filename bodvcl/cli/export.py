"""The verb ``export``: a trained encoder in the format of another program."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.cli.writable import check_writable
from bodvcl.config.command_line import parse
from bodvcl.export.options import ExportOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options and export; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("export", lambda: _export(parse(ExportOptions, arguments, prog="bodvcl export")))


def _export(options: ExportOptions) -> int:
    with uninterrupted():
        from bodvcl.export.write import export, refuse_export

    refuse_export(options)
    check_writable("--out", options.out)
    print("\n".join(export(options)))
    return 0
