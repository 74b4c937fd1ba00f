"""The modules that a training step changes: encoder, objective and momentum encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from bodvcl.config.schema import ModelConfig
from bodvcl.models.encoder import VideoEncoder, initial_encoder
from bodvcl.models.momentum import momentum_at, momentum_copy, shuffled_over_ranks
from bodvcl.models.strict import strict_twin
from bodvcl.objectives.base import Objective
from bodvcl.objectives.queue import KeyQueue
from bodvcl.optim.ema import ema_update

Result = TypeVar("Result")


class Learner(nn.Module):
    """The modules of a run. A checkpoint holds their ``state_dict``.

    ``learner(compute)`` is ``compute(learner)``. So :func:`torch.func.functional_call` can run any
    computation of the learner with other parameters or buffers.

    Args:
        encoder: maps clips to per-frame embeddings.
        objective: the losses. If it has a momentum, the learner keeps a momentum encoder.
        shuffle: seed of the permutations with which the momentum encoder's clips are sent to random processes
            (shuffle-BN). Use it where batch normalisation has the statistics of one process. None: they stay.

    Attributes:
        target: the momentum encoder (Eq. 3), with batch statistics of its own; None: the objective has no
            momentum.
        step: number of the present step, from 0: a permutation is a function of seed and step.
    """

    def __init__(self, encoder: VideoEncoder, objective: Objective, shuffle: int | None = None) -> None:
        super().__init__()
        self.encoder, self.objective, self.shuffle = encoder, objective, shuffle
        self.target = None if objective.momentum is None else momentum_copy(encoder)
        self.step = 0
        self._twin: list[nn.Module] = []

    def forward(self, compute: Callable[[Learner], Result]) -> Result:
        """``compute(self)``."""
        return compute(self)

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that the optimiser changes, by name: ``encoder.*``, then ``objective.*``."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def backbone_names(self) -> frozenset[str]:
        """Names of the backbone's parameters among :meth:`trainable`."""
        return frozenset(name for name in self.trainable() if name.startswith("encoder.backbone."))

    def after_step(self, keys: Sequence[Mapping[str, Tensor]], progress: float, taken: Tensor) -> None:
        """Update the momentum encoder and the state of the objective after a step of the optimiser.

        Args:
            keys: :attr:`BatchProblem.keys` of each part of the batch.
            progress: share of the run that is done after this step, in [0, 1].
            taken: bool scalar on the learner's device; where it is False, the step was left out and nothing
                changes.
        """
        if self.target is not None and self.objective.momentum is not None:
            ema_update(self.target, self.encoder, momentum_at(self.objective.momentum, progress), taken)
        self.objective.after_step(keys, progress, taken)

    def targets(self, clips: Tensor) -> Tensor:
        """Per-frame embeddings ``(N, T, M)`` of the momentum encoder.

        Args:
            clips: ``(N, 3, L, H, W)``.

        Raises:
            ValueError: the objective has no momentum encoder.
        """
        if self.target is None:
            raise ValueError(f"{type(self.objective).__name__} has no momentum encoder")
        if self.shuffle is not None:
            return shuffled_over_ranks(self.target, clips, self.shuffle, self.step)
        embeddings: Tensor = self.target(clips)
        return embeddings

    def strict_encoder(self) -> nn.Module:
        """The encoder's :func:`~bodvcl.models.strict.strict_twin`, made at the first call."""
        if not self._twin:
            self._twin.append(strict_twin(self.encoder))
        return self._twin[0]

    def pass_buffers(self) -> dict[str, Tensor]:
        """The buffers that a pass may change, by name: all except those of the queue."""
        queues = [f"{name}." for name, m in self.named_modules() if isinstance(m, KeyQueue)]
        return {n: b for n, b in self.named_buffers() if not n.startswith(tuple(queues))}


def untrained_encoder(model: ModelConfig, seed: int) -> VideoEncoder:
    """The encoder before the first step, a function of the seed and of ``model.weights``. It seeds PyTorch's
    global generator."""
    torch.manual_seed(seed)
    return initial_encoder(model)
