"""What a check found, and the table of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

PASSED, FAILED, NOT_CHECKED = "passed", "FAILED", "not checked"


class Outcome(NamedTuple):
    """One check of one thing.

    Attributes:
        subject: a file or an environment.
        check: name of the check.
        state: `PASSED`, `FAILED` or `NOT_CHECKED`. What was not checked is never counted as passed.
        reason: one line for all but `PASSED`.
        seconds: wall time.
    """

    subject: str
    check: str
    state: str
    reason: str = ""
    seconds: float = 0.0


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each subject, a column for each check."""
    checks = list(dict.fromkeys(o.check for o in outcomes))
    cells = {(o.subject, o.check): _cell(o) for o in outcomes}
    subjects = list(dict.fromkeys(o.subject for o in outcomes))
    lines = [["", *checks], *([s, *(cells.get((s, c), "-") for c in checks)] for s in subjects)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cell(outcome: Outcome) -> str:
    return f"{outcome.state} {outcome.seconds:.0f} s" if outcome.seconds >= 0.5 else outcome.state
