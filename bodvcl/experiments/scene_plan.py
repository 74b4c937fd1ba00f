"""What the experiment on scenes trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bodvcl.compare.plan import Task, task_folder
from bodvcl.compare.summary import Cell
from bodvcl.compare.variants import PLAIN
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.errors import ConfigError

_PLAIN = ("--decouple", "none")
_BOD = ("--koopman.dynamic", "mean")
_STD = ("--koopman.dynamic", "std")
_PARTS = (*_STD, "--koopman.static", "part", "--objective.dynamic-weight", "1")
_MIX = ("--augment.mix", "1")
_NO_MIX = ("--augment.mix", "0")

OURS = "std, mix"
SUPERVISED = ("supervised", "supervised, mix")

VARIANTS: dict[str, tuple[str, ...]] = {
    PLAIN: (*_PLAIN, *_NO_MIX),
    OURS: (*_STD, *_MIX),
    "plain, mix": (*_PLAIN, *_MIX),
    "BOD-VCL": (*_BOD, *_NO_MIX),
    "BOD-VCL, mix": (*_BOD, *_MIX),
    "std": (*_STD, *_NO_MIX),
    "parts, mix": (*_PARTS, *_MIX),
    SUPERVISED[0]: (*_PLAIN, *_NO_MIX),
    SUPERVISED[1]: (*_PLAIN, *_MIX),
}
"""Name to options of ``bodvcl train``: the plain method, BOD-VCL with the streams of the paper, and with the
mean of the frames beside a deviation over time (std), each without and with mixed scenes; with the static
parts and equal weights beside that deviation (parts); and the same network trained with the labels."""

KNOB = (PLAIN, OURS)
"""Variants that are also trained with less of the scene."""


@dataclass
class SceneOptions:
    """Train the plain method and BOD-VCL on videos whose scene gives them away, with two controls.

    Options after ` -- ` go to every `bodvcl train`: ... scene --seeds 3 -- --scenes.camera moving"""

    __pydantic_config__ = STRICT

    out: UserPath = Path("runs/scene")
    """Folder of the runs and of the results. Runs that are already finished there are not repeated."""
    methods: Annotated[tuple[Literal["simclr", "byol", "moco", "swav"], ...], Field(min_length=1)] = (
        "simclr",
    )
    """Contrastive methods."""
    variants: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Variants, in the order of training: --variants plain "std, mix". None: all."""
    scenes: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = (0.0, 0.5)
    """Shares of the scene, below 1, with which plain and "std, mix" are trained as well.
    0 is the control without a scene."""
    seeds: Annotated[int, Field(ge=1)] = 5
    """Repetitions, each with its own weights, order and augmentation."""
    epochs: Annotated[int, Field(ge=1)] = 24
    """Passes over the training videos."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Runs at a time, each with one thread (unless OMP_NUM_THREADS is set) and without decoding processes
    (unless --workers follows ` -- `). None: one per core."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Time limit in minutes. Then running trainings are stopped and the finished ones are reported; the same
    command continues later. None: no limit."""


def data_name(share: float) -> str:
    """Name of the data with this share of the scene."""
    return f"scenes {share:g}"


def plan_scene(options: SceneOptions, extra: Sequence[str] = ()) -> Iterator[Task]:
    """Every training of the experiment, ordered by seed, then by variant.

    Args:
        options: what to train.
        extra: further options of every ``bodvcl train``.

    Raises:
        ConfigError: a variant that does not exist.
    """
    names = tuple(VARIANTS) if options.variants is None else options.variants
    if unknown := [name for name in names if name not in VARIANTS]:
        raise ConfigError(f"--variants {unknown[0]!r}: expected some of " + ", ".join(map(repr, VARIANTS)))
    for seed in range(options.seeds):
        for name in names:
            for share in (1.0, *(options.scenes if name in KNOB else ())):
                for method in options.methods:
                    cell = Cell(data_name(share), method, name)
                    arguments = ["--data", "scenes", "--decode.keep", "1", "--scenes.scene", f"{share:g}"]
                    arguments += ["--method", method, "--seed", str(seed), "--workers", "0"]
                    arguments += ["--epochs", str(options.epochs), *extra, *VARIANTS[name]]
                    module = "bodvcl.experiments.supervised" if name in SUPERVISED else "bodvcl.train"
                    folder = task_folder(options.out, cell, seed)
                    yield Task(cell=cell, seed=seed, folder=folder, arguments=tuple(arguments), module=module)
