"""Everything that a training step changes apart from the optimiser: encoder, objective, momentum encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from bodvcl.config import TrainConfig
from bodvcl.models.encoder import VideoEncoder, initial_encoder
from bodvcl.objectives.simclr import SimCLR

Result = TypeVar("Result")


class Learner(nn.Module):
    """The modules of a run; its ``state_dict`` is what a checkpoint keeps of them.

    ``learner(compute)`` is ``compute(learner)``: with :func:`torch.func.functional_call` any computation of
    the learner runs with other parameters or buffers than its own.

    Args:
        encoder: clips to per-frame embeddings.
        objective: named streams to one loss per stream.
    """

    def __init__(self, encoder: VideoEncoder, objective: nn.Module) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective

    def forward(self, compute: Callable[[Learner], Result]) -> Result:
        """``compute(self)``."""
        return compute(self)

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that the optimiser moves, by name: ``encoder.*``, then ``objective.*``."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def after_step(self, keys: Sequence[Mapping[str, Tensor]], progress: float) -> None:
        """What follows the optimiser's step.

        Args:
            keys: :attr:`BatchProblem.keys` of each micro-batch of the step.
            progress: the step's place in the whole run, in [0, 1].
        """


def build_learner(config: TrainConfig) -> Learner:
    """The learner before the first step, a function of the seed."""
    encoder = untrained_encoder(config)
    return Learner(encoder, SimCLR(config.objective.tau))


def untrained_encoder(config: TrainConfig) -> VideoEncoder:
    """The encoder as it is before the first step, a function of the seed and of ``model.weights``."""
    torch.manual_seed(config.seed)
    return initial_encoder(config.model)
