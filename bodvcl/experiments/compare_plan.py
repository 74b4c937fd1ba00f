"""Which trainings the comparison consists of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bodvcl.config.schema import STRICT, UserPath
from bodvcl.errors import ConfigError
from bodvcl.experiments.compare_summary import Cell
from bodvcl.experiments.variants import DATA, GROUPS
from bodvcl.sweep.job import Job, run_folder


@dataclass
class CompareOptions:
    """Compare the plain method, + L_pred and + BOD-VCL on built-in data, or search for settings.

    Options after ` -- ` go to every `bodvcl train`: ... compare --seeds 3 -- --model.width 8"""

    __pydantic_config__ = STRICT

    out: UserPath = Path("runs/compare")
    """Folder of the runs and of the results. Runs that are already finished there are not repeated."""
    group: Literal["comparison", "search"] = "comparison"
    """comparison: plain, + L_pred, + BOD-VCL, and plain on data without correlations.
    search: BOD-VCL with one setting changed at a time."""
    data: Annotated[tuple[Literal["shapes", "digits"], ...], Field(min_length=1)] = ("shapes", "digits")
    """Built-in data sets."""
    methods: Annotated[tuple[Literal["simclr", "byol", "moco", "swav"], ...], Field(min_length=1)] = (
        "simclr",
        "byol",
    )
    """Contrastive methods."""
    variants: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Variants of the group, in the order of training: --variants plain "+ BOD-VCL". None: all."""
    seeds: Annotated[int, Field(ge=1)] = 5
    """Repetitions, each with its own weights, order and augmentation."""
    epochs: Annotated[int, Field(ge=1)] = 12
    """Passes over the training videos."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Runs at a time, each with one thread (unless OMP_NUM_THREADS is set) and without decoding processes
    (unless --workers follows ` -- `). None: one per core."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Time limit in minutes. Then running trainings are stopped and the finished ones are reported; the same
    command continues later. None: no limit."""


@dataclass(frozen=True, kw_only=True)
class Task(Job):
    """One training of the comparison."""

    cell: Cell
    seed: int


def task_folder(out: Path, cell: Cell, seed: int) -> Path:
    """Folder of a training: its names as words, and the seed."""
    return run_folder(out, (cell.data, cell.method, cell.variant), seed)


def plan(options: CompareOptions, extra: Sequence[str] = ()) -> Iterator[Task]:
    """Every training of the comparison, ordered by seed, then by variant.

    Args:
        options: what to compare.
        extra: further options of every ``bodvcl train``.

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
            for data in options.data:
                for method in options.methods:
                    arguments = [*DATA[data], "--method", method, "--seed", str(seed), "--workers", "0"]
                    arguments += ["--epochs", str(options.epochs)]
                    arguments += [*extra, *variant.options]
                    cell = Cell(data, method, name)
                    folder = task_folder(options.out, cell, seed)
                    yield Task(cell=cell, seed=seed, folder=folder, arguments=tuple(arguments))
