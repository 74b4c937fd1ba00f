"""Findings as text and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

import bodvcl
from bodvcl.doctor.outcome import RANKS, Finding, Verdict, worst
from bodvcl.system.commit import code_commit
from bodvcl.text.tables import output_width
from bodvcl.text.words import counted, printable

SCHEMA = 1
"""Number of the form of the JSON; raised when a field changes its meaning or goes."""

_STYLES: dict[Verdict, str] = {"ok": "green", "skipped": "dim", "warning": "yellow", "failed": "bold red"}


def show_finding(finding: Finding, width: int, host: str = "") -> None:
    """Print a finding: verdict, check, what was seen, and in a second line what to do.

    Args:
        finding: to print.
        width: characters of the longest name.
        host: put in front; "": nothing.
    """
    line = Text(no_wrap=True, overflow="ignore")
    line.append(f"{host}: " if host else "")
    line.append(f"{finding.verdict:<7}", _STYLES[finding.verdict])
    line.append(f"  {finding.check:<{width}}  {printable(finding.seen)}")
    console = Console(width=output_width(), highlight=False, markup=False, emoji=False)
    console.print(line, soft_wrap=True)
    if finding.remedy:
        console.print(Text(f"{'':<9}{'':<{width}}  -> {printable(finding.remedy)}"), soft_wrap=True)
    sys.stdout.flush()


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """The worst verdict of all findings; "ok" where nothing has to be done."""
    return worst(["ok", *(finding.verdict for finding in findings)])


def is_fit(findings: Sequence[Finding], strict: bool) -> bool:
    """Whether a training can start. ``strict``: warnings count as failures."""
    return verdict_of(findings) == "ok" or (verdict_of(findings) == "warning" and not strict)


def last_line(findings: Sequence[Finding], strict: bool) -> str:
    """The result in one line; the machines are named where several took part."""
    bad = [finding for finding in findings if finding.verdict == "failed"]
    doubtful = [finding for finding in findings if finding.verdict == "warning"]
    warnings = counted(len(doubtful), "warning")
    if is_fit(findings, strict):
        return f"fit for training{', ' + warnings if doubtful else ''}"
    several = len({finding.host for finding in findings}) > 1
    names = ", ".join(
        check + (f" on {' and '.join(hosts)}" if several and hosts else "") for check, hosts in _by_check(bad)
    )
    failures = (
        f"{counted(len(bad), 'check')} failed: {names}" if bad else f"{warnings}, not allowed by --strict"
    )
    return f"not fit for training, {failures}"


def _by_check(findings: Sequence[Finding]) -> list[tuple[str, list[str]]]:
    """Each check with the machines where it was found; those of ``ranks`` are in its text."""
    hosts: dict[str, list[str]] = {}
    for finding in findings:
        hosts.setdefault(finding.check, []).extend([] if finding.check == RANKS else [finding.host])
    return list(hosts.items())


def unfit_hosts(findings: Sequence[Finding]) -> list[str]:
    """Machines with a failed check, in the order of their ranks. What only a comparison shows blames none."""
    return list(dict.fromkeys(f.host for f in findings if f.verdict == "failed" and f.check != RANKS))


def as_json(findings: Sequence[Finding], ranks: int, strict: bool) -> dict[str, Any]:
    """The result as JSON types.

    Args:
        findings: of all machines.
        ranks: number of processes that took part.
        strict: whether warnings count as failures.
    """
    return {
        "schema": SCHEMA,
        "bodvcl": bodvcl.__version__,
        "commit": code_commit(),
        "fit": is_fit(findings, strict),
        "verdict": verdict_of(findings),
        "ranks": ranks,
        "unfit_hosts": unfit_hosts(findings),
        "findings": [asdict(finding) for finding in findings],
    }
