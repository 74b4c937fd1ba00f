"""Helpers of the native tests: settings, random clips, the operators as a differentiable function."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from bodvcl.ops.koopman.eager import koopman
from bodvcl.ops.koopman.results import KoopmanRaw
from bodvcl.ops.koopman.spec import KoopmanSpec


@dataclass(frozen=True)
class Settings:
    """Arguments of the native operators, in their order."""

    xi: float = 0.3
    mask: int = 0
    smooth_log2: int = 3
    weights: int = 0
    rtol: float = 1e-6
    ridge: float = 0.0
    rank: int = 0
    pool: int = 0

    def spec(self) -> KoopmanSpec:
        return KoopmanSpec(
            self.xi,
            self.mask == 1,
            self.smooth_log2,
            self.weights == 1,
            self.rtol,
            self.ridge,
            self.rank,
            self.pool,
        )


def forward(x: Tensor, settings: Settings, frame_mask: Tensor | None = None) -> tuple[Tensor, ...]:
    return torch.ops.bodvcl_native.koopman_forward(x, frame_mask, *astuple(settings))


def backward(
    grads: tuple[Tensor, Tensor, Tensor],
    x: Tensor,
    saved: Tensor,
    settings: Settings,
    frame_mask: Tensor | None = None,
    max_gain: float = 0.0,
) -> tuple[Tensor, Tensor]:
    op = torch.ops.bodvcl_native.koopman_backward
    return op(*grads, x, frame_mask, saved, *astuple(settings), max_gain)


class Native(torch.autograd.Function):
    """(static, dynamic, losses) of the native operators, with their gradient."""

    @staticmethod
    def forward(ctx, x, settings, frame_mask):
        static, dynamic, losses, _, _, saved = forward(x.detach().contiguous(), settings, frame_mask)
        ctx.save_for_backward(x, saved)
        ctx.settings, ctx.frame_mask = settings, frame_mask
        return static, dynamic, losses

    @staticmethod
    def backward(ctx, *grads):
        x, saved = ctx.saved_tensors
        grads = tuple(g.contiguous() for g in grads)
        return backward(grads, x.contiguous(), saved, ctx.settings, ctx.frame_mask)[0], None, None


def reference(x: Tensor, settings: Settings, frame_mask: Tensor | None = None) -> KoopmanRaw:
    return koopman(x, frame_mask, settings.spec())


def walk(clips: int, frames: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Clips that drift around a still part, as features of a video do."""
    g = torch.Generator().manual_seed(seed)
    still = torch.randn(clips, 1, width, generator=g, dtype=torch.float64)
    steps = torch.randn(clips, frames, width, generator=g, dtype=torch.float64)
    return (still + 0.3 * steps.cumsum(1)).to(dtype)


def cotangents(outputs: tuple[Tensor, ...], seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    a, b, c = (torch.randn(x.shape, generator=g, dtype=torch.float64).to(x.dtype) for x in outputs[:3])
    return a, b, c


def worst(got: Tensor, want: Tensor, floor: float = 1e-10) -> float:
    """Largest relative error over the clips, by norm; errors below ``floor`` times 1 count as none."""
    if not got.numel():
        return 0.0
    got, want = (v.detach().double().reshape(v.shape[0], -1) for v in (got, want))
    return float(((got - want).norm(dim=1) / want.norm(dim=1).clamp_min(floor)).max())
