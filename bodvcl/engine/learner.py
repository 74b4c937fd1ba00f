"""Everything that a training step changes apart from the optimiser: encoder, objective, momentum encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from bodvcl.config.schema import TrainConfig
from bodvcl.models.encoder import VideoEncoder, initial_encoder
from bodvcl.models.momentum import momentum_at, momentum_copy, shuffled_over_ranks
from bodvcl.models.strict import strict_twin
from bodvcl.objectives.base import Objective
from bodvcl.objectives.build import build_objective
from bodvcl.objectives.queue import KeyQueue
from bodvcl.optim.ema import ema_update

Result = TypeVar("Result")


class Learner(nn.Module):
    """The modules of a run; its ``state_dict`` is what a checkpoint keeps of them.

    ``learner(compute)`` is ``compute(learner)``: with :func:`torch.func.functional_call` any computation of
    the learner runs with other parameters or buffers than its own.

    Args:
        encoder: clips to per-frame embeddings.
        objective: losses of its streams; where it has a momentum, a slow copy of the encoder is kept.
        shuffle: deal the slow copy's clips to the processes at random (shuffle-BN): for batch normalisation
            with the statistics of one process.

    Attributes:
        target: the momentum encoder (Eq. 3), with batch statistics of its own; None where there is none.
    """

    def __init__(self, encoder: VideoEncoder, objective: Objective, shuffle: bool = False) -> None:
        super().__init__()
        self.encoder, self.objective, self.shuffle = encoder, objective, shuffle
        self.target = None if objective.momentum is None else momentum_copy(encoder)
        self._twin: list[nn.Module] = []

    def forward(self, compute: Callable[[Learner], Result]) -> Result:
        """``compute(self)``."""
        return compute(self)

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that the optimiser moves, by name: ``encoder.*``, then ``objective.*``."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def after_step(self, keys: Sequence[Mapping[str, Tensor]], progress: float) -> None:
        """What follows the optimiser's step: the momentum encoder, and what the objective remembers.

        Args:
            keys: :attr:`BatchProblem.keys` of each micro-batch of the step.
            progress: share of the run that is done with this step, in [0, 1].
        """
        if self.target is not None:
            ema_update(self.target, self.encoder, momentum_at(self.objective.momentum, progress))
        self.objective.after_step(keys, progress)

    def targets(self, clips: Tensor) -> Tensor:
        """Per-frame embeddings ``(N, T, M)`` of the momentum encoder, without gradient."""
        return shuffled_over_ranks(self.target, clips) if self.shuffle else self.target(clips)

    def strict_encoder(self) -> nn.Module:
        """The encoder's :func:`~bodvcl.models.strict.strict_twin`, made at the first call."""
        if not self._twin:
            self._twin.append(strict_twin(self.encoder))
        return self._twin[0]

    def pass_buffers(self) -> dict[str, Tensor]:
        """The buffers that a pass may change, by name: all but the queue's."""
        queues = [f"{name}." for name, m in self.named_modules() if isinstance(m, KeyQueue)]
        return {n: b for n, b in self.named_buffers() if not n.startswith(tuple(queues))}


def build_learner(config: TrainConfig) -> Learner:
    """The learner before the first step, a function of the seed."""
    encoder = untrained_encoder(config)
    shuffle = config.method == "moco" and not config.sync_norm
    return Learner(encoder, build_objective(config, encoder), shuffle)


def untrained_encoder(config: TrainConfig) -> VideoEncoder:
    """The encoder as it is before the first step, a function of the seed and of ``model.weights``."""
    torch.manual_seed(config.seed)
    return initial_encoder(config.model)
