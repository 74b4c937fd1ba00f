"""``torch.ops.bodvcl.koopman``: the native kernels as a custom operator with fake and autograd.

One forward and one backward, both opaque to the compiler; features and gradients keep their dtype under
autocast.
In eager mode they are called through functions that ``torch.func`` knows. There is no second derivative: the
PyTorch route has it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.ops import native as _native
from bodvcl.ops.koopman.eager import KoopmanRaw, KoopmanSpec, koopman
from bodvcl.ops.koopman.guard import count_guarded
from bodvcl.ops.transforms import FirstOnly, Folded, outer_tangents, primals, pushforward, wanted

FIRST_ONLY = (
    "the native Koopman operation has a first derivative only. Pass backend='torch' (or set "
    "BODVCL_BACKEND=torch) where a second derivative is needed."
)


def _require_native(features: Tensor) -> None:
    reason = _native.why_not(features.device.type)
    if reason:
        raise RuntimeError(
            f"torch.ops.bodvcl.koopman needs the native library: {reason}. "
            "bodvcl.ops.koopman works without it, on the PyTorch route."
        )


def _saved_width(t: int, mask: int) -> int:
    """Float64 numbers per clip that the kernels keep for the backward: Gram, eigenbasis, projector if any."""
    n = t - 1
    return t * (t + 1) // 2 + n + n * n * (1 if mask == 1 else 2) + 2


@torch.library.custom_op("bodvcl::koopman", mutates_args=())
def koopman_op(
    features: Tensor,
    frame_mask: Tensor | None,
    xi: float,
    mask: int,
    smooth_log2: int,
    weights: int,
    rtol: float,
    ridge: float,
    rank: int,
    pool: int,
    max_gain: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Split and losses of clips (B, T, M): static, dynamic, losses (B, 4), stats (B, 5), reduced (B, n, n),
    saved.

    mask: 0 hard, 1 smooth; weights: 0 eigenvalue, 1 projector; pool: 0 mean, 1 per frame; 0 for rank and
    max_gain: none. What they mean is said in `bodvcl.ops.koopman`, which calls this.
    """
    _require_native(features)
    return torch.ops.bodvcl_native.koopman_forward(
        features.contiguous(), frame_mask, xi, mask, smooth_log2, weights, rtol, ridge, rank, pool
    )


@koopman_op.register_fake
def _(
    features: Tensor,
    frame_mask: Tensor | None,
    xi: float,
    mask: int,
    smooth_log2: int,
    weights: int,
    rtol: float,
    ridge: float,
    rank: int,
    pool: int,
    max_gain: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    b, t, m = features.shape
    stream = (b, m) if pool == 0 else (b, t, m)
    sizes = ((b, 4), (b, 5), (b, t - 1, t - 1), (b, _saved_width(t, mask)))
    small = [features.new_empty(size, dtype=torch.float64) for size in sizes]
    return features.new_empty(stream), features.new_empty(stream), *small


@torch.library.custom_op("bodvcl::koopman_backward", mutates_args=())
def koopman_backward_op(
    grad_static: Tensor,
    grad_dynamic: Tensor,
    grad_losses: Tensor,
    features: Tensor,
    frame_mask: Tensor | None,
    saved: Tensor,
    xi: float,
    mask: int,
    smooth_log2: int,
    weights: int,
    rtol: float,
    ridge: float,
    rank: int,
    pool: int,
    max_gain: float,
) -> Tensor:
    """Gradient of ``bodvcl::koopman`` with respect to the features (B, T, M); counts the clips it guarded."""
    grad, gain = torch.ops.bodvcl_native.koopman_backward(
        grad_static.contiguous(),
        grad_dynamic.contiguous(),
        grad_losses.contiguous(),
        features.contiguous(),
        frame_mask,
        saved,
        xi,
        mask,
        smooth_log2,
        weights,
        rtol,
        ridge,
        rank,
        pool,
        max_gain,
    )
    if max_gain > 0:
        count_guarded(gain, max_gain)
    return grad


@koopman_backward_op.register_fake
def _(
    grad_static: Tensor, grad_dynamic: Tensor, grad_losses: Tensor, features: Tensor, *rest: object
) -> Tensor:
    return torch.empty_like(features, memory_format=torch.contiguous_format)


class _Backward(FirstOnly):
    """`koopman_backward_op` in eager mode."""

    message = FIRST_ONLY

    @staticmethod
    def forward(*args: object) -> Tensor:
        return koopman_backward_op(*args)


class _Tangent(FirstOnly):
    """Tangents of static, dynamic and losses, by the PyTorch route."""

    message = FIRST_ONLY
    outputs = (0,) * 3

    @staticmethod
    def forward(tangent: Tensor, features: Tensor, frame_mask: Tensor | None, *numbers: float) -> tuple:
        spec = _spec(*numbers)
        return pushforward(lambda x: koopman(x, frame_mask, spec)[:3], features, tangent)


class _Forward(Folded):
    """`koopman_op` in eager mode: a native gradient, and the tangents of the PyTorch route."""

    outputs = (0,) * 6

    @staticmethod
    def forward(*args: object) -> tuple[Tensor, ...]:
        return koopman_op(*args)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        features, frame_mask, *numbers = inputs
        ctx.save_for_backward(features, frame_mask, output[5])
        ctx.save_for_forward(features, frame_mask, output[5])
        ctx.mark_non_differentiable(*output[3:])
        ctx.numbers = numbers

    @staticmethod
    def backward(ctx, static: Tensor, dynamic: Tensor, losses: Tensor, *_: object) -> tuple:
        backward = koopman_backward_op if torch.compiler.is_compiling() else _Backward.apply
        grad = backward(static, dynamic, losses, *ctx.saved_tensors, *ctx.numbers)
        return grad, None, *(None for _ in ctx.numbers)

    @staticmethod
    def jvp(ctx, tangent: Tensor, *_: object) -> tuple:
        with outer_tangents():
            features, frame_mask, _ = primals(*ctx.saved_tensors)
            return *_Tangent.apply(tangent, features, frame_mask, *ctx.numbers), None, None, None


koopman_op.register_autograd(_Forward.backward, setup_context=_Forward.setup_context)
koopman_backward_op.register_autograd(_Backward.backward)


def _spec(
    xi: float,
    mask: int,
    smooth_log2: int,
    weights: int,
    rtol: float,
    ridge: float,
    rank: int,
    pool: int,
    max_gain: float,
) -> KoopmanSpec:
    """The choices behind the numbers of the operator; the gain guard is none of the algebra's."""
    return KoopmanSpec(xi, bool(mask), smooth_log2, bool(weights), rtol, ridge, rank, bool(pool), tls=False)


def koopman_native(features: Tensor, valid: Tensor | None, spec: KoopmanSpec, max_gain: float) -> KoopmanRaw:
    """Split and losses of clips (B, T, M) by the native kernels, with the gain guard inside."""
    run = _Forward.apply if wanted(features) else koopman_op
    out = run(
        features,
        valid,
        spec.xi,
        int(spec.smooth),
        spec.smooth_log2,
        int(spec.projector),
        spec.rtol,
        spec.ridge,
        spec.rank,
        int(spec.per_frame),
        max_gain,
    )
    return KoopmanRaw(*out[:5])
