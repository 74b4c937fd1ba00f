"""Which trainings the comparison consists of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bodvcl.compare.own import OwnVideos
from bodvcl.compare.summary import Cell
from bodvcl.compare.variants import DATA, GROUPS, OWN, Variant
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.errors import ConfigError
from bodvcl.sweep.job import Job, run_folder

Method = Literal["simclr", "byol", "moco", "swav"]


@dataclass
class CompareOptions:
    """Train the plain method, + L_pred and + BOD-VCL on the same labelled videos; say which reads more.

    Finished trainings are not repeated, interrupted ones go on. Options after ` -- ` go to every training:
    bodvcl compare --data FOLDER --seeds 3 -- --model.width 8"""

    __pydantic_config__ = STRICT

    out: UserPath = Path("runs/compare")
    """Folder of the runs and of the results. Runs that are already finished there are not repeated."""
    group: Literal["comparison", "search"] = "comparison"
    """comparison: plain, + L_pred, + BOD-VCL; on built-in data also plain without correlations,
    on your own videos also plain and + BOD-VCL with scenes exchanged between videos.
    search: BOD-VCL with one setting changed at a time."""
    data: Annotated[tuple[str, ...], Field(min_length=1)] = ("shapes", "digits")
    """Labelled videos: a folder of folders, one per class; a .csv list with label columns;
    a data set by name, such as ucf101:FOLDER. Or built-in data: shapes, digits, or both."""
    methods: Annotated[tuple[Literal["simclr", "byol", "moco", "swav"], ...], Field(min_length=1)] | None = (
        None
    )
    """Contrastive methods. None: simclr; on built-in data also byol."""
    variants: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Variants of the group, in the order of training: --variants plain "+ BOD-VCL". None: all."""
    seeds: Annotated[int, Field(ge=1)] = 5
    """Repetitions, each with its own weights, order and augmentation."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the training videos.
    None: 12 on built-in data; on your own videos 40% of those of the recipe videos."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Runs at a time. None: one per GPU; without a GPU one per core, each with one thread (unless
    OMP_NUM_THREADS is set) and without decoding processes (unless --workers follows ` -- `)."""
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


def variants(options: CompareOptions, *, own: bool) -> Mapping[str, Variant]:
    """The variants to train, by name.

    Raises:
        ConfigError: a variant that the group does not have.
    """
    group = OWN if own and options.group == "comparison" else GROUPS[options.group]
    names = tuple(group) if options.variants is None else options.variants
    if unknown := [name for name in names if name not in group]:
        raise ConfigError(f"--variants {unknown[0]!r}: {options.group} has " + ", ".join(map(repr, group)))
    return {name: group[name] for name in names}


def plan(options: CompareOptions, extra: Sequence[str] = (), own: OwnVideos | None = None) -> Iterator[Task]:
    """Every training of the comparison, ordered by seed, then by variant.

    Args:
        options: what to compare.
        extra: further options of every ``bodvcl train``.
        own: the videos in place of built-in data.

    Raises:
        ConfigError: a variant that the group does not have, or data that are not built in.
    """
    sources = _sources(options) if own is None else {own.name: _of_own(options, own)}
    methods = options.methods or (("simclr", "byol") if own is None else ("simclr",))
    for seed in range(options.seeds):
        for name, variant in variants(options, own=own is not None).items():
            for data, source in sources.items():
                for method in methods:
                    arguments = [*source, "--method", method, "--seed", str(seed), *extra, *variant.options]
                    cell = Cell(data, method, name)
                    folder = task_folder(options.out, cell, seed)
                    yield Task(cell=cell, seed=seed, folder=folder, arguments=tuple(arguments))


def _sources(options: CompareOptions) -> dict[str, tuple[str, ...]]:
    """Built-in data to the options of their trainings."""
    if unknown := [name for name in options.data if name not in DATA]:
        raise ConfigError(f"--data {unknown[0]}: of the built-in data there are here {', '.join(DATA)}")
    ending = ("--workers", "0", "--epochs", str(options.epochs or 12))
    return {name: (*DATA[name], *ending) for name in options.data}


def _of_own(options: CompareOptions, own: OwnVideos) -> tuple[str, ...]:
    epochs = () if options.epochs is None else ("--epochs", str(options.epochs))
    return ("--config", str(own.recipe), "--data", own.data, *epochs)
