"""The Koopman operator of a clip as an object to analyse: eigenvalues, modes, forecasts (Eq. 18)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.koopman.api import koopman_split
from bodvcl.ops.koopman.checks import check_features
from bodvcl.ops.koopman.eager import factors
from bodvcl.ops.koopman.results import KoopmanSplit, sorted_eigenvalues
from bodvcl.ops.koopman.route import make_call
from bodvcl.ops.koopman.spec import RIDGE, Backend, Estimator, Mask, Pool, Weights, make_spec


class _Estimation(NamedTuple):
    """Features and the options by which the operator was fitted to them."""

    features: Tensor
    frame_mask: Tensor | None
    rtol: float | None
    ridge: float
    rank: int | None
    estimator: Estimator


class KoopmanOperator(NamedTuple):
    """K = left right' of each clip in factored form (Eq. 18), float64: never larger than the features.

    ``...`` are the leading dimensions of the features.

    Attributes:
        left, right: ``(..., M, T-1)``; columns of dropped directions are zero.
        reduced: ``(..., T-1, T-1)``, ``right' left``; its non-zero eigenvalues are those of K.
        rank: ``(...)`` float64, number of directions kept.
        estimation: the features and options that `split` passes on.
    """

    left: Tensor
    right: Tensor
    reduced: Tensor
    rank: Tensor
    estimation: _Estimation

    def eigenvalues(self) -> Tensor:
        """Eigenvalues of K, ``(..., T-1)`` complex128, largest modulus first.

        The last ``T-1-rank`` belong to dropped directions.
        """
        return sorted_eigenvalues(self.reduced)

    def modes(self) -> Tensor:
        """Exact DMD modes ``(..., M, T-1)`` complex128: unit eigenvectors of K, ordered as `eigenvalues`."""
        values, vectors = torch.linalg.eig(self.reduced.nan_to_num(0.0, 0.0, 0.0).cpu())
        order = values.abs().argsort(dim=-1, descending=True, stable=True)[..., None, :]
        vectors = vectors.gather(-1, order.expand_as(vectors)).to(self.left.device)
        modes: Tensor = self.left.to(vectors.dtype) @ vectors
        size: Tensor = torch.linalg.vector_norm(modes, dim=-2, keepdim=True)
        return modes / size.clamp_min(torch.finfo(torch.float64).tiny)

    def predict(self, x: Tensor, steps: int = 1) -> Tensor:
        """``K^steps x`` for one frame x ``(..., M)`` per clip; float64 ``(..., M)``.

        Raises:
            ValueError: ``steps`` is negative.
        """
        if steps < 0:
            raise ValueError(f"steps is {steps}; expected 0 or more")
        x = x.double()
        for _ in range(steps):
            x = (self.left @ (self.right.mT @ x[..., None]))[..., 0]
        return x

    def dense(self) -> Tensor:
        """K as a matrix, ``(..., M, M)`` float64."""
        return self.left @ self.right.mT

    def split(
        self,
        xi: float = 0.1,
        *,
        mask: Mask = "smooth",
        smooth_power: int = 8,
        weights: Weights = "eigenvalue",
        max_gain: float | None = None,
        pool: Pool = "mean",
        backend: Backend = "auto",
    ) -> KoopmanSplit:
        """`koopman_split` of the same features with the same estimation; the arguments are as there."""
        features, frame_mask, rtol, ridge, rank, estimator = self.estimation
        return koopman_split(
            features,
            xi,
            mask=mask,
            smooth_power=smooth_power,
            weights=weights,
            rtol=rtol,
            ridge=ridge,
            rank=rank,
            estimator=estimator,
            max_gain=max_gain,
            pool=pool,
            frame_mask=frame_mask,
            backend=backend,
        )


def koopman_operator(
    features: Tensor,
    *,
    rtol: float | None = None,
    ridge: float = RIDGE,
    rank: int | None = None,
    estimator: Estimator = "ls",
    frame_mask: Tensor | None = None,
    check_finite: bool = False,
) -> KoopmanOperator:
    """The operator that takes a frame to the next (Eq. 18), one per clip, for analysis.

    Runs on the PyTorch route, on any device; the factors are twice differentiable. ``ridge=0`` is Eq. 18 as
    written, with the truncated pseudo-inverse.

    Args:
        features: ``(..., T, M)``, T >= 3 frames of width M, any float dtype.
        rtol, ridge, rank, estimator, frame_mask, check_finite: as in `koopman_split`.

    Returns:
        the operators of the clips, float64.

    Raises:
        TypeError: features are not a floating-point tensor.
        ValueError: an argument is out of range, or shapes or devices do not fit.
    """
    check_features(features, frame_mask, check_finite)
    spec = make_spec(features, rtol=rtol, ridge=ridge, rank=rank, estimator=estimator)
    call = make_call(features, frame_mask, spec, "torch")
    left, right, keep = factors(call.features, call.frame_mask, spec)
    n, m = call.features.shape[1] - 1, call.features.shape[2]
    return KoopmanOperator(
        left.reshape(*call.lead, m, n),
        right.reshape(*call.lead, m, n),
        (right.mT @ left).reshape(*call.lead, n, n),
        keep.sum(-1).reshape(call.lead),
        _Estimation(features, frame_mask, rtol, ridge, rank, estimator),
    )
