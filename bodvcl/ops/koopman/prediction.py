"""L_pred (Eq. 19) from the losses of the clips, with a backward pass of one launch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bodvcl.ops.constants import constant
from bodvcl.ops.transforms import active

MSE, ORTHOGONALITY, LOO, FORECAST = range(4)
"""Columns of the losses of clips."""

_COLUMN = {"train": MSE, "loo": LOO, "forecast": FORECAST}


def predicted(losses: Tensor, mode: str, nu: float, reduction: str, dtype: torch.dtype) -> Tensor:
    """The error of a mode plus nu times the orthogonality excess, over clips.

    Args:
        losses: (B, 4) float64.
        mode: "train", "loo" or "forecast".
        nu: weight of the orthogonality excess.
        reduction: "mean" or "sum" over the clips, or "none".
        dtype: of the result.

    Returns:
        a scalar, or (B,) with "none"; differentiable as often as ``losses`` are.
    """
    plain = torch.compiler.is_compiling() or active() or not losses.requires_grad
    reduce = _predicted if plain else _Predicted.apply
    return reduce(losses, _COLUMN[mode], nu, reduction, dtype)


def _predicted(losses: Tensor, column: int, nu: float, reduction: str, dtype: torch.dtype) -> Tensor:
    each = losses[:, column] + nu * losses[:, ORTHOGONALITY]
    return (each.mean() if reduction == "mean" else each.sum() if reduction == "sum" else each).to(dtype)


class _Predicted(torch.autograd.Function):
    """`_predicted`, whose gradient is a constant for each clip and column."""

    @staticmethod
    def forward(
        ctx: Any, losses: Tensor, column: int, nu: float, reduction: str, dtype: torch.dtype
    ) -> Tensor:
        ctx.clips = len(losses)
        ctx.options = column, nu, reduction
        return _predicted(losses, column, nu, reduction, dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        column, nu, reduction = ctx.options
        weights = [0.0] * 4
        weights[ORTHOGONALITY] = nu
        weights[column] = 1.0
        zero, rows = (
            constant(tuple(row), torch.float64, grad.device).expand(ctx.clips, 4)
            for row in ([0.0] * 4, weights)
        )
        share = 1 / ctx.clips if reduction == "mean" else 1.0
        grad = grad[:, None] if reduction == "none" else grad
        return torch.addcmul(zero, rows, grad, value=share), None, None, None, None
