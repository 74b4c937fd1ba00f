"""The verb ``doctor``: is this machine fit for a training, and if not, what is to be done?"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from bodvcl.cli.console import run_verb
from bodvcl.config.command_line import Flag, argument, parse
from bodvcl.config.schema import STRICT
from bodvcl.doctor.checks import NAMES, Node, run_checks
from bodvcl.doctor.outcome import RANKS, Finding, Outcome, failed
from bodvcl.doctor.place import alone, several_ranks, this_host
from bodvcl.doctor.report import as_json, is_fit, last_line, show_finding, unfit_hosts
from bodvcl.errors import ConfigError
from bodvcl.runs.folder import RUNS
from bodvcl.system.folders import expand
from bodvcl.text.words import suggestion

if TYPE_CHECKING:
    from bodvcl.engine.ranks import World

_WIDTH = max(map(len, NAMES))
_PATIENCE = 60.0  # seconds that other machines may need longer


@dataclass
class DoctorOptions:
    """Check in seconds whether this machine is fit for a training. Exit code 0: fit, 1: a check failed.

    Started once for each rank, as a training is, the ranks also compare their clocks and software, and all of
    them exit with the joint result.
    """

    __pydantic_config__ = STRICT

    run_dir: Annotated[Path, argument(metavar="DIR")] = RUNS
    """Folder that a training will write to; nothing is left there."""
    data: Annotated[str | None, argument(metavar="DATA")] = None
    """Data of the training: read a little of it. None: not looked at."""
    gpus: Annotated[int, Field(ge=0, le=1024)] | None = None
    """How many GPUs this machine must have. None: any number."""
    only: Annotated[tuple[str, ...], argument(metavar="CHECK ...")] = field(default_factory=tuple)
    """Names of the checks to run. Default: all."""
    seconds: Annotated[float, Field(gt=0, le=86400)] = 120.0
    """Time limit of all checks together; one check gets a quarter of it at most."""
    strict: Flag = False
    """Warnings count as failures."""
    json: Flag = False
    """Print one JSON object (docs/doctor.md)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("doctor", lambda: _doctor(parse(DoctorOptions, arguments, prog="bodvcl doctor")))


def _doctor(options: DoctorOptions) -> int:
    names = _wanted(options.only)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # its stack traces; the errors are told here
    try:
        world = several_ranks()
    except (ImportError, OSError):  # of PyTorch: the check finds out why
        world = None
    local_size = 1 if world is None else world.local_size
    node = Node(expand(options.run_dir), options.data, options.gpus, local_size, options.seconds)
    first_here = world is None or world.local_rank == 0  # one process looks at a machine, the others compare
    findings = []
    for finding in run_checks(node, names if first_here else ()):
        findings.append(finding)
        if world is None or world.rank == 0:
            _show(options, finding)
    if world is not None:
        with _ended_by_signals():
            return _together(options, world, findings)
    if RANKS in names:
        outcome = alone(os.environ)
        findings.append(_of_ranks(outcome, 0.0))
        _show(options, findings[-1])
    return _conclude(options, findings, 1)


def _together(options: DoctorOptions, world: World, own: list[Finding]) -> int:
    """Compare with the other ranks; returns the joint exit code."""
    from bodvcl.doctor.ranks import judge_ranks, meet

    began = time.monotonic()
    try:
        meeting = meet(world.rank, world.size, options.seconds + _PATIENCE)
        members = meeting.bring(own)
        if members is None:
            return meeting.conclude(None)
    except (RuntimeError, ValueError) as error:
        missed = _of_ranks(_not_met(error), 0.0)
        if world.rank == 0:
            _show(options, missed)
            return _conclude(options, [*own, missed], world.size)
        for finding in [*own, missed]:  # which rank 0 does not learn
            if finding.remedy:
                _show(options, finding, finding.host)
        return 1
    others = [finding for member in members[1:] for finding in member.findings]
    for finding in others:
        if finding.remedy:
            _show(options, finding, finding.host)
    joint = _of_ranks(judge_ranks(members), round(time.monotonic() - began, 3))
    _show(options, joint)
    code = _conclude(options, [*own, *others, joint], world.size)
    with contextlib.suppress(RuntimeError):  # a rank that ended early has its own exit code
        meeting.conclude(code)
    return code


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Signals end this process at once: Python's handlers wait until a call that waits for others returns."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _of_ranks(outcome: Outcome, seconds: float) -> Finding:
    return Finding(RANKS, outcome.verdict, outcome.seen, outcome.remedy, seconds, this_host())


def _not_met(error: Exception) -> Outcome:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    return failed(
        f"the ranks cannot meet at {address}: {reason}",
        "start one process for each rank (srun, torchrun); all must reach MASTER_ADDR, MASTER_PORT be "
        "free there",
    )


def _show(options: DoctorOptions, finding: Finding, host: str = "") -> None:
    if not options.json:
        show_finding(finding, _WIDTH, host)


def _conclude(options: DoctorOptions, findings: Sequence[Finding], ranks: int) -> int:
    if options.json:
        print(json.dumps(as_json(findings, ranks, options.strict), indent=2))
    else:
        print(last_line(findings, options.strict))
        if "SLURM_JOB_ID" in os.environ and (hosts := unfit_hosts(findings)):
            print(f"mend it, or leave it out: sbatch --exclude={','.join(hosts)}")
    return 0 if is_fit(findings, options.strict) else 1


def _wanted(only: Sequence[str]) -> Sequence[str]:
    for name in only:
        if name not in NAMES:
            raise ConfigError(
                f"--only {name}: no such check{suggestion(name, NAMES)}; expected some of {', '.join(NAMES)}"
            )
    return only or NAMES
