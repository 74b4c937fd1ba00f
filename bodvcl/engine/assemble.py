"""From the configuration of a run to the parts of its training: each part gets the options that it uses."""

from __future__ import annotations

import dataclasses

import torch

from bodvcl.config.passes import bilevel_of
from bodvcl.config.schema import TrainConfig
from bodvcl.config.streams import dynamic_weight
from bodvcl.engine.learner import Learner, untrained_encoder
from bodvcl.engine.losses import LossOptions
from bodvcl.engine.memory import MemoryEstimate, estimate_memory
from bodvcl.engine.precision import Arithmetic, clip_dtype
from bodvcl.engine.ranks import World
from bodvcl.errors import ConfigError
from bodvcl.models.streams import stream_names
from bodvcl.objectives.build import ObjectiveOptions, build_objective


def build_learner(config: TrainConfig) -> Learner:
    """The learner before the first step, a function of the configuration and its seed."""
    encoder = untrained_encoder(config.model, config.seed)
    objective = build_objective(config.method, objective_options(config), encoder)
    shuffles = config.method == "moco" and not config.sync_norm
    return Learner(encoder, objective, shuffle=config.seed if shuffles else None)


def objective_options(config: TrainConfig) -> ObjectiveOptions:
    """What the objective is built from."""
    return ObjectiveOptions(
        streams=stream_names(config.decouple),
        tau=config.objective.tau,
        model=config.model,
        clip=config.clip,
        moco=config.moco,
        byol=config.byol,
        swav=config.swav,
        dualvar=config.dualvar,
        hdc=config.hdc,
    )


def loss_options(config: TrainConfig) -> LossOptions:
    """What the losses of a batch are computed with."""
    return LossOptions(
        views=config.clip.views,
        decouple=config.decouple,
        koopman=config.koopman,
        prediction=config.prediction,
        dynamic_weight=dynamic_weight(config.objective, config.koopman),
        lower_share=config.bilevel.lower_share,
        fast=config.fast,
    )


def synchronises_norms(config: TrainConfig) -> bool:
    """Whether batch normalisation counts the clips of all processes; ``moco`` shuffles clips instead."""
    return config.method != "moco" if config.sync_norm is None else config.sync_norm


def norm_group(config: TrainConfig, world: World) -> int:
    """Number of neighbouring ranks that share batch statistics, where ranks share them.

    Args:
        config: configuration of the run.
        world: the ranks.

    Raises:
        ConfigError: groups of this size do not divide the ranks.
    """
    named = {"all": world.size, "node": world.local_size if world.local_size > 1 else world.size}
    asked = config.sync_norm_group
    count = named[asked] if isinstance(asked, str) else asked
    if world.size > 1 and synchronises_norms(config) and world.size % count:
        fitting = [n for n in range(1, world.size + 1) if world.size % n == 0]
        raise ConfigError(
            f"--sync-norm-group {asked}: {world.size} processes cannot form groups of {count}; "
            f"expected one of {', '.join(map(str, fitting))}, or all"
        )
    return count


def step_memory(
    config: TrainConfig, upper: Arithmetic, lower: Arithmetic, world_size: int = 1
) -> MemoryEstimate:
    """Estimate of the memory that a step takes on each device.

    Args:
        config: configuration of the run.
        upper: arithmetic of the upper level.
        lower: arithmetic of the lower level.
        world_size: number of processes that share a batch.
    """
    without_weights = dataclasses.replace(config, model=dataclasses.replace(config.model, weights=None))
    with torch.device("meta"):
        learner = build_learner(without_weights).train()
    videos = -(-config.batch_size // (world_size * config.accumulate))
    clip = config.clip
    clips = videos * (clip.views + learner.objective.extra_clips)
    bilevel = bilevel_of(config)
    return estimate_memory(
        learner,
        (clips, 3, clip.frames, clip.size, clip.size),
        optimizer=config.optim.name,
        bilevel=bilevel,
        upper=upper.autocast,
        lower=lower.autocast,
        cut_over=world_size if config.shard else 1,
        clips=clip_dtype(bilevel, upper, lower, config.fast),
    )
