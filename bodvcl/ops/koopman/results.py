"""What the Koopman operations return, and how it is read off what a route returns."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class KoopmanRaw(NamedTuple):
    """What every route returns for clips (B, T, M).

    Attributes:
        static, dynamic: (B, M), or (B, T, M) per frame, in the features' dtype.
        losses: (B, 4) float64: in-sample error, orthogonality excess, leave-one-out error, forecast error.
        stats: (B, 5) float64: static modes, rank, residual, xi used, 1 for a clip that is not finite.
        reduced: (B, T-1, T-1) float64, the operator in whitened coordinates.
    """

    static: Tensor
    dynamic: Tensor
    losses: Tensor
    stats: Tensor
    reduced: Tensor


class KoopmanSplit(NamedTuple):
    """Static and dynamic parts of clips, and facts about their operators.

    ``...`` are the leading dimensions of the features.

    Attributes:
        static, dynamic: ``(..., M)`` (pool="mean") or ``(..., T, M)``, in the features' dtype;
            differentiable.
        static_modes: ``(...)`` float64, number of static eigenvalues: an integer with the hard mask, the
            trace of the mask with the smooth one.
        dynamic_modes: ``(...)`` float64, ``rank - static_modes``.
        rank: ``(...)`` float64, number of directions kept in the inverse.
        residual: ``(...)`` float64, ``|PP - P| / max(1, |P|)`` of the hard mask's projector P; 0 for the
            smooth mask.
        xi_used: ``(...)`` float64, radius used: xi, or xi moved by at most 5 % where an eigenvalue lies on
            the circle; 0 for the smooth mask.
        nonfinite: ``(...)`` bool, True where the clip holds a NaN or an infinity.
        reduced: ``(..., T-1, T-1)`` float64, the operator in whitened coordinates; zero in dropped
            directions.
    """

    static: Tensor
    dynamic: Tensor
    static_modes: Tensor
    dynamic_modes: Tensor
    rank: Tensor
    residual: Tensor
    xi_used: Tensor
    nonfinite: Tensor
    reduced: Tensor

    def eigenvalues(self) -> Tensor:
        """Eigenvalues of K, ``(..., T-1)`` complex128, largest modulus first.

        The last ``T-1-rank`` belong to dropped directions.
        """
        return sorted_eigenvalues(self.reduced)

    def distance(self) -> Tensor:
        """Smallest ``| |lambda - 1| - xi_used |`` over the kept eigenvalues, ``(...)`` float64.

        How far the split is from a jump; infinite at rank 0. With the smooth mask, which has no circle, the
        distance to 1.
        """
        eig = self.eigenvalues()
        off = ((eig - 1).abs() - self.xi_used[..., None]).abs()
        kept = torch.arange(eig.shape[-1], device=eig.device) < self.rank[..., None]
        return torch.where(kept | off.isnan(), off, torch.inf).amin(-1)


class KoopmanLosses(NamedTuple):
    """Prediction losses (Eq. 19): float64 for float64 features, else float32.

    Attributes:
        pred: the error of the chosen mode plus nu times ``orth_excess``, reduced as asked.
        mse: ``(...)``, ``|Ff - K Fb|^2 / (M n)``, the in-sample error over n pairs.
        orth_excess: ``(...)``, ``|K'K - I|_F^2`` less ``max(M - rank, 0)``, which no K of that rank can
            avoid.
        loo: ``(...)``, leave-one-out error: every pair predicted by the operator fitted to the other pairs.
        forecast: ``(...)``, the last pair predicted by the operator fitted to the other pairs.
    """

    pred: Tensor
    mse: Tensor
    orth_excess: Tensor
    loo: Tensor
    forecast: Tensor


def sorted_eigenvalues(reduced: Tensor) -> Tensor:
    """Eigenvalues of ``(..., n, n)`` matrices, complex128, largest modulus first.

    NaN for a matrix that is not finite.
    """
    bad = ~torch.isfinite(reduced).flatten(-2).all(-1)
    clean = torch.where(bad[..., None, None], 0.0, reduced)
    eig = torch.linalg.eigvals(clean.cpu()).to(reduced.device)
    order = eig.abs().argsort(dim=-1, descending=True, stable=True)
    return torch.where(bad[..., None], torch.nan, eig.gather(-1, order))


def to_split(raw: KoopmanRaw, lead: torch.Size) -> KoopmanSplit:
    """The split of clips with leading dimensions ``lead``."""
    modes, rank, residual, xi_used, flag = raw.stats.detach().reshape(*lead, 5).unbind(-1)
    stream = raw.static.shape[1:]
    return KoopmanSplit(
        raw.static.reshape(*lead, *stream),
        raw.dynamic.reshape(*lead, *stream),
        modes,
        rank - modes,
        rank,
        residual,
        xi_used,
        flag > 0,
        raw.reduced.detach().reshape(*lead, *raw.reduced.shape[1:]),
    )


def to_losses(
    raw: KoopmanRaw, lead: torch.Size, dtype: torch.dtype, mode: str, nu: float, reduction: str
) -> KoopmanLosses:
    """The losses of clips with leading dimensions ``lead``, for features of ``dtype``."""
    mse, orth, loo, forecast = raw.losses.reshape(*lead, 4).unbind(-1)
    each = {"train": mse, "loo": loo, "forecast": forecast}[mode] + nu * orth
    pred = each.mean() if reduction == "mean" else each.sum() if reduction == "sum" else each.clone()
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return KoopmanLosses(*(x.to(wide) for x in (pred, mse, orth, loo, forecast)))
