"""Options of a training with labels that do not depend on the task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from bodvcl.config.checks import optim_contradictions
from bodvcl.config.schema import STRICT, OptimConfig, RunLog, Seed, UserPath
from bodvcl.errors import ConfigError


@dataclass
class TuneOptim(OptimConfig):
    """Optimiser and learning-rate schedule."""

    __pydantic_config__ = STRICT

    name: Literal["adamw", "sgd", "lars", "lamb"] = "sgd"
    """sgd has momentum. adamw without weight decay is adam.
    lars and lamb are sgd and adam with steps scaled to the norm of the weights."""
    lr: Annotated[float, Field(gt=0)] = 0.01
    """Peak learning rate."""
    lr_per: Annotated[int, Field(ge=1)] | None = 64
    """Number of clips per step that `lr` and `warmup_lr` are meant for.
    With another number both are scaled in proportion. None: no scaling."""
    schedule: Literal["cosine", "steps"] = "cosine"
    """How the learning rate falls after the warm-up.
    cosine: to 0. steps: at `milestones`, to `factors` of its peak."""
    milestones: tuple[float, ...] = ()
    """Epochs after which the learning rate changes (schedule steps)."""
    factors: tuple[float, ...] = ()
    """Learning rate after each milestone, as a share of the peak (schedule steps)."""
    warmup: Annotated[float, Field(ge=0)] = 0.0
    """Length of the linear warm-up: below 1 a share of the run, from 1 on a number of epochs."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Maximum norm of the whole gradient; a longer one is scaled down. None: no limit."""


@dataclass
class LoopOptions:
    """How a network is trained with labels."""

    __pydantic_config__ = STRICT

    run_dir: UserPath | None = None
    """Folder of this run. None: a new folder in runs/."""
    resume: bool = False
    """Continue from the checkpoint in --run-dir.
    A run without a checkpoint starts from the beginning."""
    resume_with_other_videos: bool = False
    """With --resume: continue even if videos were added, removed or changed since the checkpoint."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Clips per step, over all processes."""
    epochs: Annotated[int, Field(ge=1)] = 30
    """Number of passes over the training videos."""
    validate_every: Annotated[int, Field(ge=0)] = 1
    """Number of epochs between two validations; the first and the last epoch are always validated.
    0: no validation."""
    keep: Literal["last", "best"] = "last"
    """Which weights are tested and kept: those after the last epoch, as in the papers, or those of the epoch
    with the best validation."""
    fast: bool = True
    """Use fused operators, channels-last memory and other speed-ups of this machine."""
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """Floating-point type of the network. auto: bf16 with --fast where the hardware has it, else fp32.
    Weights and losses stay in fp32."""
    sync_norm: bool = True
    """Batch normalisation over the clips of all processes."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    seed: Seed = 0
    """Seed of the new weights, the order of the videos, clips and augmentation."""
    optim: TuneOptim = field(default_factory=TuneOptim)
    log: RunLog = field(default_factory=RunLog)


def loop_contradictions(options: LoopOptions) -> Iterator[str]:
    """What the options of a training ask for and cannot have together."""
    optim = options.optim
    yield from optim_contradictions(optim)
    if options.resume and options.run_dir is None:
        yield "resume: give the folder of the run to continue with --run-dir"
    if options.keep == "best" and not options.validate_every:
        yield "keep best: without validation no epoch is the best; set --validate-every to 1 or more"
    if optim.schedule == "cosine":
        if optim.milestones or optim.factors:
            yield "optim.milestones and optim.factors: the cosine has none; add --optim.schedule steps"
        return
    if not optim.milestones or len(optim.milestones) != len(optim.factors):
        yield (
            f"optim.milestones: schedule steps needs one factor for each milestone, and one or more; got "
            f"{len(optim.milestones)} milestones and {len(optim.factors)} factors"
        )
    times = (0.0, *optim.milestones)
    if any(later <= before for before, later in pairwise(times)):
        yield f"optim.milestones: expected increasing epochs above 0, got {optim.milestones}"
    if any(not factor >= 0 for factor in optim.factors):
        yield f"optim.factors: expected shares of the peak, 0 or more, got {optim.factors}"


def refuse_contradictions(problems: Iterator[str]) -> None:
    """Raise :class:`~bodvcl.errors.ConfigError` if there are any."""
    found = list(problems)
    if found:
        raise ConfigError("; ".join(found))
