"""The verb ``sweep``: many runs from one file, and the table of their results."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.config.command_line import Flag, Positional, argument, parse
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.errors import ConfigError

if TYPE_CHECKING:
    from bodvcl.sweep.plan import Plan


@dataclass
class SweepOptions:
    """Run all combinations of a sweep file and make a table of the results.

    Runs that have finished are not repeated, interrupted ones go on. Options after ` -- ` go to every run:
    bodvcl sweep nu --small -- --epochs 12"""

    __pydantic_config__ = STRICT

    file: Annotated[Positional[str | None], argument(metavar="FILE")] = None
    """A sweep file (.yaml), or the name of one of the package: nu, ablations/nu, transfer/severe."""
    list: Flag = False
    """Show the sweep files of the package, and end."""
    small: Flag = False
    """The small size: what the file says under `small`, on built-in data that a CPU can train on."""
    out: UserPath | None = None
    """Folder of the runs and the table. None: runs/NAME, with -small for the small size."""
    seeds: Annotated[int, Field(ge=1)] | None = None
    """Repetitions of each combination. None: as the file says."""
    only: Annotated[tuple[str, ...], argument(metavar="NAME [NAME ...]")] = ()
    """Only the rows with these labels or names."""
    data: Annotated[tuple[str, ...], argument(metavar="NAME:FOLDER [NAME:FOLDER ...]")] = ()
    """Data sets that the file names in braces, such as ucf101:/datasets/UCF101.
    Without it a data set is looked for in datasets/NAME."""
    checkpoints: Annotated[tuple[UserPath, ...], argument(metavar="RUN [RUN ...]")] = ()
    """Runs that the sweep starts from, if the file asks for them."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Runs at a time. None: one per GPU; without a GPU one per core, each with one thread."""
    dry_run: Flag = False
    """Show the runs with their commands, and end."""
    report: Flag = False
    """Run nothing; make the table of what has finished."""
    slurm: Flag = False
    """Run nothing here; write sweep.sbatch, a Slurm array with one task per run."""
    sbatch: Annotated[tuple[str, ...], argument(metavar="NAME=VALUE [NAME=VALUE ...]")] = ()
    """Options of sbatch for --slurm without their dashes: time=48:00:00 partition=gpu."""
    submit: Flag = False
    """With --slurm: submit the script, too."""
    task: Annotated[int, Field(ge=0)] | None = None
    """Run this run alone, in this process; a Slurm array calls it. Also under torchrun."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sweep; returns the exit code: 1 if a run failed."""
    arguments = [*(sys.argv[1:] if argv is None else argv)]
    return run_verb("sweep", lambda: _sweep(arguments))


def _sweep(arguments: Sequence[str]) -> int:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, extra = parse(SweepOptions, arguments[:end], prog="bodvcl sweep"), arguments[end + 1 :]
    if options.list:
        return _list()
    _refuse_contradictions(options)
    with uninterrupted():
        from bodvcl.sweep.file import read_sweep
        from bodvcl.sweep.find import find_sweep
        from bodvcl.sweep.names import of_its_rows
        from bodvcl.sweep.plan import Wanted, make_plan

    assert options.file is not None
    path = find_sweep(options.file)
    sweep = read_sweep(path, options.small)
    if options.small:
        sweep = of_its_rows(sweep)
    if options.seeds is not None:
        sweep = dataclasses.replace(sweep, seeds=options.seeds)
    out = options.out or Path("runs") / (path.stem + ("-small" if options.small else ""))
    plan = make_plan(sweep, Wanted(out, options.only, options.data, options.checkpoints, extra))
    if options.dry_run:
        return _show(plan)
    if options.task is not None:
        from bodvcl.sweep.task import pick_chain, run_here

        return run_here(pick_chain(plan, options.task))
    if options.slurm:
        return _write_script(options, extra, plan, out)
    with uninterrupted():
        from bodvcl.runs.folder import create_folder
        from bodvcl.sweep.local import run_missing
        from bodvcl.sweep.report import report

    create_folder(out, "--out")
    failures = [] if options.report else run_missing(plan, options.workers)
    found = report(sweep, plan, out)
    if not found.entries and not failures:
        raise ConfigError(f"no run has finished in {out}: run the sweep without --report")
    for line in failures:
        print(f"bodvcl sweep: failed: {line}", file=sys.stderr)
    return 1 if failures else 0


def _refuse_contradictions(options: SweepOptions) -> None:
    if options.file is None:
        raise ConfigError("missing: FILE; bodvcl sweep --list shows the files of the package")
    for path in options.checkpoints:
        if not path.exists():
            raise ConfigError(f"--checkpoints: {path}: no such file or folder")
    modes = [
        name
        for name, asked in (
            ("--dry-run", options.dry_run),
            ("--report", options.report),
            ("--slurm", options.slurm),
            ("--task", options.task is not None),
        )
        if asked
    ]
    if len(modes) > 1:
        raise ConfigError(f"{' and '.join(modes)} contradict each other; give one of them")
    if not options.slurm and (options.sbatch or options.submit):
        raise ConfigError(f"{'--sbatch' if options.sbatch else '--submit'} needs --slurm")


def _list() -> int:
    from bodvcl.sweep.file import read_sweep
    from bodvcl.sweep.find import packaged

    files = packaged()
    width = max(map(len, files), default=0)
    for name, path in files.items():
        print(f"{name:<{width}}  {read_sweep(path).title}")
    return 0


def _show(plan: Plan) -> int:
    from bodvcl.sweep.axes import named
    from bodvcl.sweep.job import is_finished
    from bodvcl.text.words import counted

    for number, chain in enumerate(plan.chains):
        for job in chain:
            done = " (finished)" if is_finished(job) else ""
            name = f"{number}: {named(job.cell)}, seed {job.seed}" if not job.step else f"   then {job.step}"
            print(f"{name}{done}\n     {shlex.join([job.module, *job.words])}")
    print(counted(len(plan.chains), "run"))
    for line in plan.left_out:
        print(f"left out: {line}")
    return 0


def _write_script(options: SweepOptions, extra: Sequence[str], plan: Plan, out: Path) -> int:
    from bodvcl.runs.folder import create_folder, write_atomically
    from bodvcl.sweep.slurm import batch_script, submit

    create_folder(out, "--out")
    words = [str(options.file), "--out", str(out), *(["--small"] if options.small else [])]
    words += [] if options.seeds is None else ["--seeds", str(options.seeds)]
    for name in ("only", "data", "checkpoints"):
        values = getattr(options, name)
        words += [f"--{name}", *map(str, values)] if values else []
    command = [sys.executable, "-m", "bodvcl", "sweep", *words]
    script = out / "sweep.sbatch"
    text = batch_script(command, extra, len(plan.chains), out, Path.cwd(), options.sbatch)
    write_atomically(script, text.encode())
    print(f"{len(plan.chains)} tasks are in\n  {script}")
    if options.submit:
        print(submit(script))
    else:
        print(f"submit them:\n  sbatch {shlex.quote(str(script))}")
    after = shlex.join(["bodvcl", "sweep", *words, "--report", *(["--", *extra] if extra else [])])
    print(f"the table, when they have finished:\n  {after}")
    return 0
