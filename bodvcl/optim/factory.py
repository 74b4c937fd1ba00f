"""The optimiser of a run, by its name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from bodvcl.config.schema import OptimConfig
from bodvcl.errors import ConfigError
from bodvcl.optim.apex import apex_lamb_usable, fused_lamb
from bodvcl.optim.lamb import LAMB
from bodvcl.optim.lars import LARS
from bodvcl.optim.norms import NormsOverRanks, norms


def make_optimizer(
    parameters: Iterable[nn.Parameter],
    config: OptimConfig,
    lr: float,
    fast: bool,
    cut: Collection[nn.Parameter] = (),
    scales: Mapping[nn.Parameter, float] | None = None,
) -> torch.optim.Optimizer:
    """SGD, LARS, AdamW or LAMB.

    One-dimensional parameters (biases and normalisation layers) have no weight decay, and LARS and LAMB do
    not adapt their step.

    Args:
        parameters: parameters to train.
        config: name and options of the optimiser.
        lr: initial learning rate.
        fast: True: fused implementations; False: one parameter after the other, where PyTorch can do that.
        cut: those that are a rank's part of a parameter, whose norm is a sum over the ranks.
        scales: factor of the learning rate of each parameter. The parameters of one factor are groups of
            their own, which have it as ``scale``. None: all have one rate.

    Raises:
        ConfigError: apex was asked for and cannot be used; the message gives the reason.
    """
    parameters = [p for p in parameters if p.requires_grad]
    groups = _groups(parameters, config.weight_decay)
    if scales is not None:
        groups = [
            {**group, "lr": lr * scale, "scale": scale}
            for scale in sorted({scales[p] for p in parameters}, reverse=True)
            for group in _groups([p for p in parameters if scales[p] == scale], config.weight_decay)
            if group["params"]
        ]
    nesterov = config.nesterov and config.momentum > 0
    foreach = None if fast else False
    of_whole = NormsOverRanks(cut) if cut else norms
    if config.name == "lars":
        lars = LARS(
            groups, lr, config.momentum, trust=config.trust, nesterov=nesterov, fused=fast, norms=of_whole
        )
        return _with_momentum(lars)
    if config.name == "lamb":
        on_gpu = any(p.is_cuda for p in parameters)
        usable = apex_lamb_usable()
        if config.fused == "apex" and not (usable.yes and on_gpu):
            raise ConfigError(
                f"--optim.fused apex: {usable.reason if not usable.yes else 'needs --device cuda'}"
            )
        wanted = config.fused == "apex" or (config.fused == "auto" and fast and config.weight_decay > 0)
        if wanted and usable.yes and on_gpu and not cut:  # apex takes norms of parts for those of the whole
            return fused_lamb(groups, lr)
        return LAMB(groups, lr, norms=of_whole)
    for group in groups:
        del group["adapt"]
    if config.name == "sgd":
        sgd = torch.optim.SGD(
            groups, lr=lr, momentum=config.momentum, nesterov=nesterov, foreach=foreach, fused=fast
        )
        return _with_momentum(sgd)
    return torch.optim.AdamW(groups, lr=lr, foreach=foreach, fused=fast)


def _groups(parameters: Collection[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Weights, and then the one-dimensional parameters, which have no weight decay."""
    weights = [p for p in parameters if p.dim() > 1]
    others = [p for p in parameters if p.dim() <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay, "adapt": True},
        {"params": others, "weight_decay": 0.0, "adapt": False},
    ]


def _with_momentum(optimizer: torch.optim.SGD) -> torch.optim.SGD:
    """The optimiser with a momentum of zero: PyTorch's fused SGD makes one in its first step and leaves it
    uninitialised where that step is left out (:func:`bodvcl.optim.guarded.step_unless`)."""
    for group in optimizer.param_groups:
        if group["momentum"]:
            for p in group["params"]:
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer
