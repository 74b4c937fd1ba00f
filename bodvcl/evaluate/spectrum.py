"""Eigenvalues of clips, and the share of each mode that is static."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bodvcl.config.schema import KoopmanConfig
from bodvcl.ops.koopman import koopman_split


def clip_spectrum(embeddings: Tensor, koopman: KoopmanConfig) -> tuple[Tensor, Tensor]:
    """Eigenvalues of each clip's Koopman operator (Eq. 18) and the number of static ones.

    Args:
        embeddings: float ``(N, T, M)``.
        koopman: estimation and mask.

    Returns:
        Eigenvalues, complex128 ``(N, T - 1)``: NaN for directions that the estimate dropped and for clips
        that are not finite. Number of static modes, float64 ``(N,)``: a whole number with the hard mask, a
        trace with the smooth one.
    """
    frames = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    split = koopman_split(
        F.normalize(frames, dim=-1) if koopman.normalize else frames,
        koopman.xi,
        mask=koopman.mask,
        smooth_power=koopman.smooth_power,
        rtol=koopman.rtol,
        ridge=koopman.ridge,
        rank=koopman.rank,
    )
    values = split.eigenvalues()
    kept = torch.arange(values.shape[-1], device=values.device) < split.rank[:, None]
    return torch.where(kept, values, torch.nan), split.static_modes


def mask_value(eigenvalues: Tensor, koopman: KoopmanConfig) -> Tensor:
    """The mask ``m(lambda)``, the factor of each mode in the static stream: complex, same shape as the input.

    Hard: 1 where ``|lambda - 1| < xi``, else 0 (Eq. 21). Smooth: ``((1 + lambda) / 2) ** smooth_power``.
    """
    if koopman.mask == "hard":
        return ((eigenvalues - 1).abs() < koopman.xi).to(eigenvalues.dtype)
    return ((1 + eigenvalues) / 2).pow(koopman.smooth_power)
