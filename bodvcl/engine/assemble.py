"""From the configuration of a run to the parts of its training: each part gets the options that it uses."""

from __future__ import annotations

import dataclasses

import torch

from bodvcl.config.passes import bilevel_of
from bodvcl.config.schema import TrainConfig
from bodvcl.config.streams import dynamic_weight
from bodvcl.engine.learner import Learner, untrained_encoder
from bodvcl.engine.memory import MemoryEstimate, estimate_memory
from bodvcl.engine.precision import Arithmetic
from bodvcl.engine.problem import LossOptions
from bodvcl.models.streams import stream_names
from bodvcl.objectives.build import ObjectiveOptions, build_objective


def build_learner(config: TrainConfig) -> Learner:
    """The learner before the first step, a function of the configuration and its seed."""
    encoder = untrained_encoder(config.model, config.seed)
    objective = build_objective(config.method, objective_options(config), encoder)
    return Learner(encoder, objective, shuffle=config.method == "moco" and not config.sync_norm)


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
    return estimate_memory(
        learner,
        (clips, 3, clip.frames, clip.size, clip.size),
        optimizer=config.optim.name,
        bilevel=bilevel_of(config),
        upper=upper.autocast,
        lower=lower.autocast,
    )
