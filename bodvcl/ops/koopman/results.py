"""What the Koopman operations return, and how it is read off what a route returns.

Diagnostics are computed when they are read: on a GPU each of them is a launch, and most calls read none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.koopman.prediction import FORECAST, LOO, MSE, ORTHOGONALITY, predicted


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
        static, dynamic: ``(..., M)`` (pool "mean" or "std") or ``(..., T, M)`` ("none"), in the features'
            dtype; differentiable.
        stats: ``(..., 5)`` float64, the numbers that the properties are read off.
        reduced: ``(..., T-1, T-1)`` float64, the operator in whitened coordinates; zero in dropped
            directions.
    """

    static: Tensor
    dynamic: Tensor
    stats: Tensor
    reduced: Tensor

    @property
    def static_modes(self) -> Tensor:
        """``(...)`` float64, number of static eigenvalues.

        An integer with the hard mask, the trace of the mask with the smooth one.
        """
        return self.stats[..., 0]

    @property
    def dynamic_modes(self) -> Tensor:
        """``(...)`` float64, ``rank - static_modes``."""
        return self.rank - self.static_modes

    @property
    def rank(self) -> Tensor:
        """``(...)`` float64, number of directions kept in the inverse."""
        return self.stats[..., 1]

    @property
    def residual(self) -> Tensor:
        """``(...)`` float64, ``|PP - P| / max(1, |P|)`` of the hard mask's projector P, else 0."""
        return self.stats[..., 2]

    @property
    def xi_used(self) -> Tensor:
        """``(...)`` float64, the radius used; 0 for the smooth mask.

        It is xi, or xi moved by at most 5 % where an eigenvalue lies on the circle.
        """
        return self.stats[..., 3]

    @property
    def nonfinite(self) -> Tensor:
        """``(...)`` bool, True where the clip holds a NaN or an infinity."""
        return self.stats[..., 4] > 0

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
        each: ``(..., 4)`` float64, the losses of every clip, that the properties are read off.
    """

    pred: Tensor
    each: Tensor

    @property
    def mse(self) -> Tensor:
        """``(...)``, ``|Ff - K Fb|^2 / (M n)``, the in-sample error over n pairs."""
        return self._part(MSE)

    @property
    def orth_excess(self) -> Tensor:
        """``(...)``, ``|K'K - I|_F^2`` less ``max(M - rank, 0)``, which no K of that rank can avoid."""
        return self._part(ORTHOGONALITY)

    @property
    def loo(self) -> Tensor:
        """``(...)``, leave-one-out error: every pair predicted by the operator fitted to the other pairs."""
        return self._part(LOO)

    @property
    def forecast(self) -> Tensor:
        """``(...)``, the last pair predicted by the operator fitted to the other pairs."""
        return self._part(FORECAST)

    def _part(self, column: int) -> Tensor:
        return self.each[..., column].to(self.pred.dtype)


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
    rows = raw.static, raw.dynamic, raw.stats.detach(), raw.reduced.detach()
    return KoopmanSplit(*(led(x, lead) for x in rows))


def to_losses(
    raw: KoopmanRaw, lead: torch.Size, dtype: torch.dtype, mode: str, nu: float, reduction: str
) -> KoopmanLosses:
    """The losses of clips with leading dimensions ``lead``, for features of ``dtype``."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    pred = predicted(raw.losses, mode, nu, reduction, wide)
    return KoopmanLosses(led(pred, lead) if reduction == "none" else pred, led(raw.losses, lead))


def led(x: Tensor, lead: torch.Size) -> Tensor:
    """``x (B, ...)`` with the leading dimensions ``lead`` in place of B."""
    return x if len(lead) == 1 else x.reshape(lead + x.shape[1:])
