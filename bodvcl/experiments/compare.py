"""``python -m bodvcl.experiments.compare``: does the method learn more of both semantics than the plain one?

Every cell is a whole ``bodvcl train`` on a built-in data set whose semantics are correlated in training and
independent in the probe. Written are a table (mean and spread over seeds, difference to the plain method
with its 95% interval) and a plot; finished runs are not repeated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from rich.console import Console

from bodvcl.console import run_verb
from bodvcl.data.workers import available_cores
from bodvcl.errors import ConfigError, UserError
from bodvcl.experiments.compare_report import Cell, markdown, plot, summarise
from bodvcl.experiments.options import parse_options
from bodvcl.experiments.variants import DATA, GROUPS
from bodvcl.progress import progress_bar
from bodvcl.run_dir import write_atomically


@dataclass
class Options:
    """Compare the plain method, + L_pred and + BOD-VCL on built-in data, or search for settings.

    What follows ` -- ` goes to every `bodvcl train`: ... compare --seeds 3 -- --model.width 8"""

    out: Path = Path("runs/compare")
    """Folder of the runs and of the results. Finished runs that are already there are not repeated."""
    group: Literal["comparison", "search"] = "comparison"
    """comparison: plain, + L_pred, + BOD-VCL and plain at equal compute.
    search: BOD-VCL with one thing changed at a time."""
    data: tuple[Literal["shapes", "digits"], ...] = ("shapes", "digits")
    """Built-in data sets."""
    methods: tuple[Literal["simclr", "byol", "moco", "swav"], ...] = ("simclr", "byol")
    """Contrastive methods."""
    seeds: Annotated[int, Field(ge=1)] = 5
    """Repetitions, each with its own weights, order and augmentation."""
    epochs: Annotated[int, Field(ge=1)] = 12
    """Passes over the training videos."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Runs at a time, one thread each. None: one per core."""


@dataclass(frozen=True)
class Task:
    """One training: where it is kept and the options that make it."""

    cell: Cell
    folder: Path
    arguments: tuple[str, ...]


class RunFailed(UserError):
    """A training of the comparison ended with an error."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, then write table and plot; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)

    def experiment() -> int:
        options = parse_options(Options, arguments[:end], "python -m bodvcl.experiments.compare")
        tasks = list(plan(options, arguments[end + 1 :]))
        train_missing(tasks, options.workers or available_cores())
        report(options, tasks)
        return 0

    return run_verb("experiments.compare", experiment)


def plan(options: Options, extra: Sequence[str] = ()) -> Iterator[Task]:
    """Every training of the comparison, all variants of one seed before the next seed; ``extra``: further
    options of every ``bodvcl train``."""
    for seed in range(options.seeds):
        for data in options.data:
            for method in options.methods:
                for name, variant in GROUPS[options.group].items():
                    words = "".join(c if c.isalnum() else "-" for c in name).strip("-")
                    arguments = [*DATA[data], "--method", method, "--seed", str(seed), "--workers", "0"]
                    arguments += ["--epochs", str(variant.epochs * options.epochs)]
                    arguments += [*extra, *variant.options]
                    folder = options.out / data / method / words / str(seed)
                    yield Task(Cell(data, method, name), folder, tuple(arguments))


def train_missing(tasks: Sequence[Task], workers: int) -> None:
    """Run the trainings that are not finished, several at a time.

    Raises:
        RunFailed: names the first run that failed, its command and its last line.
        ConfigError: a folder holds a run that was made with other options.
    """
    missing = [task for task in tasks if not _finished(task)]
    if not missing:
        return
    with (
        ThreadPoolExecutor(min(workers, len(missing))) as pool,
        progress_bar(total=len(missing), desc="comparison", unit="run") as bar,
    ):
        futures = [pool.submit(_train, task) for task in missing]
        try:
            for future in as_completed(futures):
                future.result()
                bar.update()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def report(options: Options, tasks: Sequence[Task]) -> None:
    """``table.md``, ``table.json`` and ``comparison.png`` in the folder; the table on the terminal."""
    accuracies: dict[Cell, list[list[dict[str, object]]]] = {}
    for task in tasks:
        rows = json.loads((task.folder / "run" / "probe.json").read_text())["rows"]
        accuracies.setdefault(task.cell, []).append(rows)
    summary = summarise(accuracies)
    text = markdown(summary)
    write_atomically(options.out / f"{options.group}.md", text.encode())
    write_atomically(
        options.out / f"{options.group}.json",
        json.dumps([asdict(line) for line in summary], indent=1).encode(),
    )
    plot(summary, options.out / f"{options.group}.png")
    Console().print(text, markup=False, highlight=False)
    print(f"{options.group}.md, .json and .png are in\n  {options.out}")


def _finished(task: Task) -> bool:
    made_with = task.folder / "arguments.json"
    if not made_with.exists():
        return False
    if json.loads(made_with.read_text()) != list(task.arguments):
        raise ConfigError(
            f"{task.folder} holds a run made with other options: choose another --out, or remove that folder"
        )
    return (task.folder / "run" / "probe.json").exists()


def _train(task: Task) -> None:
    task.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(task.folder / "arguments.json", json.dumps(task.arguments).encode())
    command = [sys.executable, "-m", "bodvcl.train", *task.arguments, "--resume", "--log.no-report"]
    command += ["--run-dir", str(task.folder / "run")]
    with open(task.folder / "log.txt", "a") as log:
        code = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}
        ).returncode
    if code:
        last = (task.folder / "log.txt").read_text().strip().splitlines()[-1:]
        raise RunFailed(f"{' '.join(command)} ended with exit code {code}: {''.join(last)}")


if __name__ == "__main__":
    sys.exit(main())
