"""Optimiser and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from bodvcl.config import OptimConfig


def learning_rate(step: int, total_steps: int, peak: float, warmup: float) -> float:
    """Linear rise over the first ``warmup`` share of the steps, then a cosine to 0 at ``total_steps``.

    Args:
        step: 0 for the first step.
        total_steps: length of the schedule; later steps get 0.
        peak: highest rate.
        warmup: share of the steps in [0, 1).
    """
    rising = math.ceil(warmup * total_steps)
    if step < rising:
        return peak * (step + 1) / rising
    progress = min(1.0, (step - rising) / max(1, total_steps - rising))
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(modules: Iterable[nn.Module], config: OptimConfig, fast: bool) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum 0.9; no weight decay on biases and normalisation layers.

    Args:
        modules: whose parameters to train.
        config: name, peak learning rate, weight decay.
        fast: the fused implementation; False: one parameter after the other.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    how = {"fused": True} if fast else {"foreach": False, "fused": False}
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True, **how)
    return torch.optim.AdamW(groups, lr=config.lr, **how)
