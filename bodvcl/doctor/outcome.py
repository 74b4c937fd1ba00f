"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "skipped", "warning", "failed"]
RANKS = "ranks"
"""Name of the check that all ranks of a job do together, after the others."""
VERDICTS: tuple[Verdict, ...] = ("skipped", "ok", "warning", "failed")
"""From the least to the worst."""


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        verdict: "failed": a training would fail or be wrong; "warning": it would be slow or is at risk.
        seen: one line, with figures and units.
        remedy: one line that says what to do; empty where nothing has to be done.
    """

    verdict: Verdict
    seen: str
    remedy: str = ""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: its name.
        verdict, seen, remedy: as in :class:`Outcome`.
        seconds: how long it took.
        host: name of the machine.
    """

    check: str
    verdict: Verdict
    seen: str
    remedy: str
    seconds: float
    host: str


def ok(seen: str) -> Outcome:
    """Nothing has to be done."""
    return Outcome("ok", seen)


def skipped(seen: str) -> Outcome:
    """The check does not apply here."""
    return Outcome("skipped", seen)


def warning(seen: str, remedy: str) -> Outcome:
    """A training works, but is slow or at risk."""
    return Outcome("warning", seen, remedy)


def failed(seen: str, remedy: str) -> Outcome:
    """A training would fail, or its results would be wrong."""
    return Outcome("failed", seen, remedy)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst verdict; "ok" of none."""
    return max(verdicts, key=VERDICTS.index, default="ok")


def combined(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome of several: the worst verdict, and what was seen where something has to be done.

    Args:
        outcomes: at least one. Where nothing has to be done, all of them are told.
    """
    told = sorted(
        [outcome for outcome in outcomes if outcome.remedy] or outcomes,
        key=lambda outcome: -VERDICTS.index(outcome.verdict),
    )
    return Outcome(
        worst(outcome.verdict for outcome in outcomes),
        "; ".join(dict.fromkeys(outcome.seen for outcome in told)),
        "; ".join(dict.fromkeys(outcome.remedy for outcome in told if outcome.remedy)),
    )
