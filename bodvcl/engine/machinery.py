"""What a run computes with, built once from its configuration: arithmetic, modules, solver and optimiser."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from torch import Tensor

from bodvcl.bilevel.solvers import Solver, make_solver
from bodvcl.config.passes import backbone_passes_alone, bilevel_of, differentiates_twice
from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.engine.assemble import build_learner, loss_options, norm_group, synchronises_norms
from bodvcl.engine.buckets import GradientBuckets
from bodvcl.engine.checkpoint import Changing, Shards
from bodvcl.engine.compiled import compile_step
from bodvcl.engine.learner import Learner
from bodvcl.engine.losses import PLAIN, LossFunctions, LossOptions
from bodvcl.engine.precision import Arithmetic, clip_dtype, pick_arithmetic, pick_lower, set_float32
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.ranks import Ranks
from bodvcl.engine.sharding import cut_backbones, cuts_weights
from bodvcl.engine.step import Collect
from bodvcl.engine.sync_norm import synchronise_norms
from bodvcl.engine.trained import Trained
from bodvcl.models.layout import memory_layout
from bodvcl.optim.factory import make_optimizer
from bodvcl.optim.schedule import batch_factor


@dataclass(frozen=True)
class Machinery:
    """What a run computes with.

    Attributes:
        config: configuration of the run.
        device: device of the training.
        arithmetic: arithmetic of the upper level.
        lower: the same for the lower level.
        layout: memory format of weights and clips.
        learner: the modules.
        changing: what a step changes: modules, optimiser and loss scale.
        trained: the parameters as the optimiser sees them.
        solve: the bi-level solver.
        collect: sends the gradients of a backbone that passes by itself
            (:func:`~bodvcl.engine.step.step_gradient`); None: it does not.
        losses: options of the losses.
        functions: how the losses are computed.
        shards: how the state is written where weights are cut over the ranks; None: they are not.
        factor: factor of all learning rates, from the batch size.
    """

    config: TrainConfig
    device: torch.device
    arithmetic: Arithmetic
    lower: Arithmetic
    layout: torch.memory_format
    learner: Learner
    changing: Changing
    trained: Trained
    solve: Solver
    collect: Collect | None
    losses: LossOptions
    functions: LossFunctions
    shards: Shards | None
    factor: float

    def clips(self, batch: ClipBatch) -> Tensor:
        """The clips of a batch as the encoder gets them."""
        config = self.config
        dtype = clip_dtype(bilevel_of(config), self.arithmetic, self.lower, config.fast)
        return finish(batch, config.augment, self.device, self.layout, dtype=dtype, fast=config.fast)

    def problem(self, part: ClipBatch, *, health: bool) -> BatchProblem:
        """The bi-level problem of a batch or a part of one.

        Args:
            part: clips of this rank.
            health: as for :class:`~bodvcl.engine.problem.BatchProblem`.
        """
        return BatchProblem(
            self.learner,
            self.clips(part),
            part.videos.to(self.device, non_blocking=True).repeat_interleave(self.config.clip.views),
            self.losses,
            self.arithmetic.autocast,
            lower_autocast=self.lower.autocast,
            health=health,
            functions=self.functions,
        )


def build_machinery(config: TrainConfig, device: torch.device, ranks: Ranks) -> Machinery:
    """Build what a run computes with; sets PyTorch's global flags for its arithmetic.

    Args:
        config: configuration of the run.
        device: device of the training.
        ranks: the processes that train together.

    Raises:
        ConfigError: this machine lacks the arithmetic, the optimiser or the compiler that was asked for.
    """
    bilevel = bilevel_of(config)
    arithmetic = pick_arithmetic(config.precision, config.fast, device)
    lower = pick_lower(config.lower_precision, bilevel, arithmetic, device)
    set_float32(arithmetic, lower)
    torch.backends.cudnn.benchmark = config.fast
    sharded, twice = cuts_weights(config, ranks.size), differentiates_twice(config)
    layout = memory_layout(config.fast and not sharded)  # FSDP cuts only contiguous parameters
    learner = build_learner(config).to(device).to(memory_format=layout).train()
    if ranks.size > 1 and synchronises_norms(config):
        group = ranks.neighbours(norm_group(config, ranks.world))
        synchronise_norms(learner, device.type == "cpu" or twice, group)
    if sharded:
        cut_backbones(learner, device, arithmetic.autocast)
    functions = compile_step(learner, device, fast=config.fast, twice=twice) if config.compile else PLAIN
    trained = trained_parameters(config, learner, ranks.size)
    factor = batch_factor(config.optim, config.batch_size)
    optimizer = make_optimizer(
        trained.own.values(),
        config.optim,
        config.optim.lr * factor,
        config.fast,
        [trained.own[name] for name in trained.cut],
    )
    scaler = torch.amp.GradScaler(device.type, enabled=arithmetic.scaled)
    return Machinery(
        config,
        device,
        arithmetic,
        lower,
        layout,
        learner,
        Changing(learner, optimizer, scaler),
        trained,
        make_solver(bilevel, ranks.mean),
        collecting(trained, ranks.size, sharded=sharded),
        loss_options(config),
        functions,
        Shards(trained, optimizer, learner.state_dict(), ranks) if sharded else None,
        factor,
    )


def trained_parameters(config: TrainConfig, learner: Learner, ranks: int) -> Trained:
    """The trained parameters. With several ranks the backbone passes by itself where it can."""
    alone = ranks > 1 and backbone_passes_alone(config)
    return Trained(learner.trainable(), learner.backbone_names() if alone else ())


def collecting(trained: Trained, ranks: int, *, sharded: bool = False) -> Collect | None:
    """What sends the gradients of parameters that collect their own; None: there are none.

    Args:
        trained: the trained parameters.
        ranks: number of ranks.
        sharded: FSDP's own hooks send them.
    """
    if not trained.apart:
        return None
    if sharded:
        return lambda parts: contextlib.nullcontext()
    return GradientBuckets(trained.apart, ranks).sent
