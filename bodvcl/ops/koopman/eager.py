"""The PyTorch route of the Koopman split: any device, twice differentiable, compilable.

Per clip, with frames as columns, ``F`` (M x T), ``Fb = F[:, :-1]``, ``Ff = F[:, 1:]`` and ``n = T - 1``::

    B = Fb'Fb    C = Fb'Ff    D = Ff'Ff    R = Fb' mean(F)        all read off the Gram matrix F'F, in float64
    N = B^+ (truncated) or (B + mu I)^-1 (ridge),  K = Ff N Fb'                                     (Eq. 18)
    f(K) = Ff W m(S) W' Fb'   for f(x) = x m(x), any W with W W' = N and S = W'C W                  (Eq. 21)
"""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.ops.koopman.basis import basis_of, clean_features, compress, gram_blocks
from bodvcl.ops.koopman.losses import least_squares_losses, total_least_squares_losses
from bodvcl.ops.koopman.projector import project
from bodvcl.ops.koopman.results import KoopmanRaw
from bodvcl.ops.koopman.small import diag, eye_like, inverse
from bodvcl.ops.koopman.spec import NO_SPREAD, KoopmanSpec


def koopman(
    features: Tensor,
    frame_mask: Tensor | None,
    spec: KoopmanSpec,
    *,
    split: bool = True,
    losses: bool = True,
) -> KoopmanRaw:
    """Split and losses of clips (B, T, M) in any float dtype, on any device.

    What is not asked for (``split``, ``losses``) is zero. A clip with a non-finite frame gives NaN in all of
    its outputs and its gradient, and touches no other clip.

    Args:
        frame_mask: bool (B, T), False for padding, or None.
    """
    clean, finite = clean_features(features, frame_mask)
    poison = torch.where(finite, 1.0, torch.nan).to(clean.dtype)
    blocks = gram_blocks(clean, frame_mask, spec.per_frame)
    small, lift = compress(blocks, spec.rank) if spec.tls else (blocks, None)
    basis = basis_of(small, spec)
    s = basis.einv @ (basis.w.mT @ small.c @ basis.w)
    modes = residual = radius = torch.zeros_like(blocks.pair_count)
    static = dynamic = clean.new_zeros(spec.stream_shape(clean.shape))
    if split:
        weights, modes, residual, radius = _mask_weights(s, basis.keep, spec)
        out = basis.w if lift is None else lift @ basis.w
        c = basis.einv @ (basis.w.mT @ small.r)
        static, dynamic = _streams(clean, frame_mask, spec, out, weights, c)
    values = torch.zeros_like(clean[:, 0, :1]).expand(-1, 4)
    if losses:
        width = features.shape[-1]
        if lift is None:
            values = least_squares_losses(blocks, basis, width, spec)
        else:
            values = total_least_squares_losses(blocks, small, lift, basis, width, spec)

    stats = torch.stack([modes, basis.keep.sum(-1), residual, radius], -1) * poison[:, None]
    stats = torch.cat([stats, (~finite).to(stats.dtype)[:, None]], -1)
    stain = poison.view(-1, *[1] * (static.ndim - 1))
    return KoopmanRaw(
        (static * stain).to(features.dtype),
        (dynamic * stain).to(features.dtype),
        values * poison[:, None],
        stats,
        s.detach() * poison[:, None, None],
    )


def factors(features: Tensor, frame_mask: Tensor | None, spec: KoopmanSpec) -> tuple[Tensor, Tensor, Tensor]:
    """K = left right' of clips (B, T, M): left, right (B, M, n) float64 and the directions kept (B, n)."""
    clean, finite = clean_features(features, frame_mask)
    blocks = gram_blocks(clean, frame_mask, spec.per_frame)
    small, lift = compress(blocks, spec.rank) if spec.tls else (blocks, None)
    basis = basis_of(small, spec)
    w = basis.w if lift is None else lift @ basis.w
    stain = torch.where(finite, 1.0, torch.nan).to(w.dtype)[:, None, None]
    return clean[:, 1:].mT @ w * stain, clean[:, :-1].mT @ (w @ basis.einv) * stain, basis.keep


def _mask_weights(s: Tensor, keep: Tensor, spec: KoopmanSpec) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """m(S), or g(S) = (m(S) - m(0)) S^-1 for projector weights; static modes, residual and xi used (B,)."""
    eye = eye_like(s)
    if not spec.smooth:
        p, residual, radius = project(s, keep, spec.xi)
        weights = inverse(s @ p + eye - p) @ p if spec.projector else p
        return weights, diag(p.detach()).sum(-1).round(), residual, radius
    power, series = 0.5 * (eye + s), 0.5 * eye
    half = 0.5
    for _ in range(spec.smooth_log2):
        series = series @ (power + half * eye)
        power = power @ power
        half = half * half
    none = torch.zeros_like(keep[:, 0])
    inside = keep[:, :, None] * keep[:, None, :]
    return (series if spec.projector else power) * inside, (diag(power.detach()) * keep).sum(-1), none, none


def _streams(
    clean: Tensor, frame_mask: Tensor | None, spec: KoopmanSpec, out: Tensor, weights: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    """Z_A and Z_M, float64: one combination of the later frames per output (Eq. 21)."""
    part = weights @ c
    static = (out @ part).mT @ clean[:, 1:]
    if spec.projector:
        mean = clean if spec.per_frame else _mean_frame(clean, frame_mask)
        if spec.smooth:
            static = static + 2.0 ** -(2**spec.smooth_log2) * mean
        dynamic = mean - static
    else:
        dynamic = (out @ (c - part)).mT @ clean[:, 1:]
    if not spec.per_frame:
        return static[:, 0], dynamic[:, 0]
    if frame_mask is not None:
        static, dynamic = static * frame_mask[:, :, None], dynamic * frame_mask[:, :, None]
    if not spec.spread:
        return static, dynamic
    return _mean_frame(static, frame_mask)[:, 0], _spread(dynamic, clean, frame_mask)


def _spread(dynamic: Tensor, clean: Tensor, frame_mask: Tensor | None) -> Tensor:
    """Standard deviation over time (B, M) of the dynamic parts (B, T, M) of clips; the gradient of 0 is 0."""
    deviation = dynamic - _mean_frame(dynamic, frame_mask)
    if frame_mask is not None:
        deviation = deviation * frame_mask[:, :, None]
    variance = _mean_frame(deviation.square(), frame_mask)[:, 0]
    size = _mean_frame(clean.detach().square(), frame_mask)[:, 0]
    some = ~(variance <= NO_SPREAD * size)
    return torch.where(some, torch.where(some, variance, 1.0).sqrt(), 0.0)


def _mean_frame(clean: Tensor, frame_mask: Tensor | None) -> Tensor:
    count = clean.shape[1] if frame_mask is None else frame_mask.sum(-1).clamp_min(1)[:, None, None]
    return clean.sum(1, keepdim=True) / count
