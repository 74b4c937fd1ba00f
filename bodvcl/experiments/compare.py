"""``python -m bodvcl.experiments.compare``: does the method learn more of both semantics than the plain one?

Every cell is a whole ``bodvcl train`` on a built-in data set whose semantics are correlated in training and
independent in the probe. The results are a table (mean and spread over seeds, difference to the plain method
with its 95% interval) and a plot. Finished runs are not repeated, interrupted ones continue.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodvcl.cli.console import run_verb
from bodvcl.config.command_line import parse
from bodvcl.experiments.compare_plan import CompareOptions, plan
from bodvcl.experiments.trained_table import trained_table


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, then write table and plot; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)

    def experiment() -> int:
        options = parse(CompareOptions, arguments[:end], prog="python -m bodvcl.experiments.compare")
        tasks = list(plan(options, arguments[end + 1 :]))
        trained_table(tasks, options.out, options.group, options.workers, options.minutes)
        return 0

    return run_verb("experiments.compare", experiment)


if __name__ == "__main__":
    sys.exit(main())
