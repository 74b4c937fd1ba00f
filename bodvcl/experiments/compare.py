"""``python -m bodvcl.experiments.compare``: does the method learn more of both semantics than the plain one?

Every cell is a whole ``bodvcl train`` on a built-in data set whose semantics are correlated in training and
independent in the probe. Written are a table (mean and spread over seeds, difference to the plain method
with its 95% interval) and a plot; finished runs are not repeated, interrupted ones go on.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bodvcl.cli.console import run_verb
from bodvcl.config.command_line import parse
from bodvcl.config.parse import parse_config
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.data.sets import BuiltInSettings, open_dataset
from bodvcl.data.workers.process import available_cores
from bodvcl.errors import ConfigError, UserError
from bodvcl.experiments.compare_report import Cell, Ending, costs, markdown, plot, summarise, tables
from bodvcl.experiments.variants import DATA, GROUPS
from bodvcl.runs.folder import write_atomically
from bodvcl.text.progress import progress_bar
from bodvcl.text.tables import show

_SECONDS_TO_SAVE = 20
"""What a training that is stopped gets to save its state."""


@dataclass
class Options:
    """Compare the plain method, + L_pred and + BOD-VCL on built-in data, or search for settings.

    What follows ` -- ` goes to every `bodvcl train`: ... compare --seeds 3 -- --model.width 8"""

    __pydantic_config__ = STRICT

    out: UserPath = Path("runs/compare")
    """Folder of the runs and of the results. Finished runs that are already there are not repeated."""
    group: Literal["comparison", "search"] = "comparison"
    """comparison: plain, + L_pred, + BOD-VCL and plain at equal compute.
    search: BOD-VCL with one thing changed at a time."""
    data: tuple[Literal["shapes", "digits"], ...] = ("shapes", "digits")
    """Built-in data sets."""
    methods: tuple[Literal["simclr", "byol", "moco", "swav"], ...] = ("simclr", "byol")
    """Contrastive methods."""
    variants: tuple[str, ...] | None = None
    """Variants of the group, the first to be trained first: --variants plain "+ BOD-VCL". None: all."""
    seeds: Annotated[int, Field(ge=1)] = 5
    """Repetitions, each with its own weights, order and augmentation."""
    epochs: Annotated[int, Field(ge=1)] = 12
    """Passes over the training videos."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Runs at a time, one thread each (another OMP_NUM_THREADS holds) and, unless --workers follows ` -- `,
    without decoding processes. None: one per core."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """After so many minutes start no run, stop those under way, and report what is finished; the same command
    goes on later. None: until all runs are finished."""


@dataclass(frozen=True)
class Task:
    """One training: where it is kept and the options that make it."""

    cell: Cell
    seed: int
    folder: Path
    arguments: tuple[str, ...]


class RunFailed(UserError):
    """A training of the comparison ended with an error."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, then write table and plot; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)

    def experiment() -> int:
        options = parse(Options, arguments[:end], prog="python -m bodvcl.experiments.compare")
        until = None if options.minutes is None else time.monotonic() + 60 * options.minutes
        tasks = list(plan(options, arguments[end + 1 :]))
        try:
            train_missing(tasks, options.workers or available_cores(), until)
        except RunFailed:
            if any(_finished(task) for task in tasks):
                report(options, tasks)
            raise
        report(options, tasks)
        return 0

    return run_verb("experiments.compare", experiment)


def plan(options: Options, extra: Sequence[str] = ()) -> Iterator[Task]:
    """Every training of the comparison: all of one seed before the next seed, and of a seed all of one
    variant before the next variant. ``extra``: further options of every ``bodvcl train``.

    Raises:
        ConfigError: a variant that the group does not have.
    """
    group = GROUPS[options.group]
    names = tuple(group) if options.variants is None else options.variants
    if unknown := [name for name in names if name not in group]:
        raise ConfigError(f"--variants {unknown[0]!r}: {options.group} has " + ", ".join(map(repr, group)))
    for seed in range(options.seeds):
        for name in names:
            variant = group[name]
            words = "".join(c if c.isalnum() else "-" for c in name).strip("-")
            for data in options.data:
                for method in options.methods:
                    arguments = [*DATA[data], "--method", method, "--seed", str(seed), "--workers", "0"]
                    arguments += ["--epochs", str(options.epochs)]
                    arguments += [*extra, *variant.options]
                    folder = options.out / data / method / words / str(seed)
                    yield Task(Cell(data, method, name), seed, folder, tuple(arguments))


def train_missing(tasks: Sequence[Task], workers: int, until: float | None = None) -> None:
    """Run the trainings that are not finished, several at a time.

    Args:
        tasks: all trainings of the comparison, those to start first at the front.
        workers: trainings at a time.
        until: time of ``time.monotonic`` from which on none is started and those under way are stopped.

    Raises:
        RunFailed: names the first run that failed, its command and its last line.
        ConfigError: a folder holds a run that was made with other options.
    """
    missing = [task for task in tasks if not _finished(task)]
    if not missing:
        return
    needed = {(task.cell.data, task.cell.variant): task for task in missing}
    for task in needed.values():  # once, not by every run that needs it
        config = parse_config(task.arguments)
        open_dataset(config.data, BuiltInSettings(config.shapes, config.digits), workers=config.workers)
    with (
        ThreadPoolExecutor(min(workers, len(missing))) as pool,
        progress_bar(total=len(missing), desc="comparison", unit="run") as bar,
    ):
        futures = [pool.submit(_train, task, until) for task in missing]
        try:
            for future in as_completed(futures):
                bar.update(future.result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def reported(tasks: Sequence[Task]) -> list[Task]:
    """The finished trainings that can be set side by side: in every data set and method the same seeds of
    every variant. A variant that shares no seed with those before it is left out."""
    finished: dict[tuple[str, str], dict[Cell, set[int]]] = defaultdict(lambda: defaultdict(set))
    for task in tasks:
        if _finished(task):
            finished[task.cell.data, task.cell.method][task.cell].add(task.seed)
    seeds: dict[Cell, set[int]] = {}
    for cells in finished.values():
        common = next(iter(cells.values()))
        kept = []
        for cell, own in cells.items():
            if common & own:
                common = common & own
                kept.append(cell)
        seeds |= dict.fromkeys(kept, common)
    return [task for task in tasks if task.seed in seeds.get(task.cell, ())]


def report(options: Options, tasks: Sequence[Task]) -> None:
    """The table as .md and .json, what it leaves out as .left_out.json, and a plot as .png, all named after
    the group, in the folder; the table on the terminal.

    Raises:
        ConfigError: no training is finished.
    """
    shown = reported(tasks)
    if not shown:
        raise ConfigError(
            f"no run was finished within {options.minutes:g} minutes: "
            "give the same command again, with more --minutes, to go on"
        )
    cells = {task.cell for task in shown}
    accuracies: dict[Cell, list[Any]] = {task.cell: [] for task in tasks if task.cell in cells}
    endings: dict[Cell, list[Ending]] = {cell: [] for cell in accuracies}
    for task in shown:
        accuracies[task.cell].append(_json(task.folder / "run" / "probe.json")["rows"])
        endings[task.cell].append(_ending(task.folder / "run"))
    summary, cost = summarise(accuracies), costs(endings)
    left_out = [task for task in tasks if task not in shown]
    listings = tables(summary, cost)
    more = [_left_out(left_out)] if left_out else []
    text = "\n".join([markdown(listings), *more])
    write_atomically(options.out / f"{options.group}.md", text.encode())
    write_atomically(
        options.out / f"{options.group}.json",
        json.dumps(
            {"accuracy": [asdict(line) for line in summary], "cost": [asdict(line) for line in cost]},
            indent=1,
        ).encode(),
    )
    write_atomically(
        options.out / f"{options.group}.left_out.json",
        json.dumps(
            [{**asdict(task.cell), "seed": task.seed, "finished": _finished(task)} for task in left_out],
            indent=1,
        ).encode(),
    )
    plot(summary, options.out / f"{options.group}.png")
    show(*listings, *more)
    print(f"{options.group}.md, .json and .png are in\n  {options.out}")


def _ending(run: Path) -> Ending:
    last = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    empty = [last[name] for name in ("empty_static", "empty_dynamic") if name in last]
    return Ending(_json(run / "summary.json")["seconds"], max(empty, default=None))


def _left_out(tasks: Sequence[Task]) -> str:
    """Paragraph that names the trainings that are not in the table."""
    lines = []
    reasons = {False: "Not finished", True: "Finished, but not for every variant shown"}
    for finished, why in reasons.items():
        seeds: dict[Cell, list[str]] = defaultdict(list)
        for task in tasks:
            if _finished(task) is finished:
                seeds[task.cell].append(str(task.seed))
        named = [
            f"{cell.data}, {cell.method}, {cell.variant} (seed {', '.join(numbers)})"
            for cell, numbers in seeds.items()
        ]
        if named:
            lines.append(f"{why}, and left out: {'; '.join(named)}.\n")
    return "\n".join(lines)


def _finished(task: Task) -> bool:
    made_with = task.folder / "arguments.json"
    if not made_with.exists():
        return False
    if _json(made_with) != list(task.arguments):
        raise ConfigError(
            f"{task.folder} holds a run made with other options: choose another --out, or remove that folder"
        )
    return (task.folder / "run" / "probe.json").exists()


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _train(task: Task, until: float | None) -> bool:
    """Whether the training was finished before ``until``."""
    if until is not None and time.monotonic() >= until:
        return False
    task.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(task.folder / "arguments.json", json.dumps(task.arguments).encode())
    command = [sys.executable, "-m", "bodvcl.train", *task.arguments, "--resume", "--log.no-report"]
    command += ["--run-dir", str(task.folder / "run")]
    with open(task.folder / "log.txt", "a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={"OMP_NUM_THREADS": "1", **os.environ}
        )
        try:
            code = process.wait(None if until is None else max(until - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            _stop(process)
            return False
    if code:
        last = (task.folder / "log.txt").read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise RunFailed(f"{shlex.join(command)} ended with exit code {code}: {''.join(last)}")
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_SECONDS_TO_SAVE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
