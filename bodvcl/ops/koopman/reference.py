"""The paper's formulas as a backend: `bodvcl.reference.koopman` in the form that the operations expect."""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.ops.koopman.results import KoopmanRaw
from bodvcl.ops.koopman.spec import POOLS, KoopmanSpec
from bodvcl.reference import koopman as paper


def koopman(
    features: Tensor, frame_mask: Tensor | None, spec: KoopmanSpec, *, split: bool = True, losses: bool = True
) -> KoopmanRaw:
    """Split and losses of clips (B, T, M) by the paper's formulas, in float64.

    What is not asked for (``split``, ``losses``) is zero; a clip with a non-finite frame gives NaN.
    """
    seen = features.detach()
    if frame_mask is not None:
        seen = torch.where(frame_mask[..., None], seen, 0.0)
    finite = torch.isfinite(seen).all(-1).all(-1)
    clean = features.nan_to_num(0.0, 0.0, 0.0) * finite[:, None, None]
    rank = spec.rank or None
    past, future, pairs, _ = paper.snapshots(clean, frame_mask)
    inverse = paper.pseudo_inverse(past, pairs, spec.rtol, spec.ridge, rank)
    k = future @ inverse
    kept = paper.kept_directions(past, pairs, spec.rtol, spec.ridge, rank)

    modes = radius = torch.zeros_like(kept)
    static = dynamic = clean.new_zeros(spec.stream_shape(clean.shape), dtype=torch.float64)
    if split:
        mask, power = ("smooth" if spec.smooth else "hard"), 2**spec.smooth_log2
        static, dynamic = paper.koopman_split(
            clean,
            spec.xi,
            mask,
            power,
            "projector" if spec.projector else "eigenvalue",
            spec.rtol,
            spec.ridge,
            rank,
            POOLS[spec.pool],
            frame_mask,
        )
        modes = paper.static_modes(k, kept, spec.xi, mask, power)
        radius = radius if spec.smooth else torch.full_like(modes, spec.xi)
    values = torch.zeros_like(kept)[:, None].expand(-1, 4)
    if losses:
        errors = paper.held_out_errors(clean, spec.rtol, spec.ridge, rank, frame_mask)
        values = torch.stack(
            [
                paper.prediction_mse(k, past, future, pairs),
                paper.orthogonality_excess(k, kept),
                paper.leave_one_out(errors, pairs, clean.shape[-1]),
                paper.forecast(errors, pairs, clean.shape[-1]),
            ],
            -1,
        )

    stain = torch.where(finite, 1.0, torch.nan).to(torch.float64)
    wide = stain.view(-1, *[1] * (static.ndim - 1))
    stats = torch.stack([modes, kept, torch.zeros_like(modes), radius], -1) * stain[:, None]
    return KoopmanRaw(
        (static * wide).to(features.dtype),
        (dynamic * wide).to(features.dtype),
        values * stain[:, None],
        torch.cat([stats, (~finite).double()[:, None]], -1),
        (inverse @ future).detach() * stain[:, None, None],
    )
