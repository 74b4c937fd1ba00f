"""The public functions: the split (Eq. 21), the prediction loss (Eq. 19), and both at once."""

from __future__ import annotations

from typing import Literal, overload

from torch import Tensor

from bodvcl.ops.checks import one_of
from bodvcl.ops.koopman.checks import check_features, check_number
from bodvcl.ops.koopman.results import KoopmanLosses, KoopmanSplit, to_losses, to_split
from bodvcl.ops.koopman.route import make_call, run
from bodvcl.ops.koopman.spec import (
    MODES,
    REDUCTIONS,
    RIDGE,
    Backend,
    Estimator,
    Mask,
    Mode,
    Pool,
    Reduction,
    Weights,
    make_spec,
)
from bodvcl.ops.koopman.vacuous import warn_if_vacuous


def koopman_split(
    features: Tensor,
    xi: float = 0.1,
    *,
    mask: Mask = "smooth",
    smooth_power: int = 8,
    weights: Weights = "eigenvalue",
    rtol: float | None = None,
    ridge: float = RIDGE,
    rank: int | None = None,
    estimator: Estimator = "ls",
    max_gain: float | None = None,
    pool: Pool = "mean",
    frame_mask: Tensor | None = None,
    check_finite: bool = False,
    backend: Backend = "auto",
) -> KoopmanSplit:
    """Split every clip into what stays and what moves, by the eigenvalues of its Koopman operator (Eq. 21).

    The paper's split is ``koopman_split(features, mask="hard", ridge=0)``.

    Args:
        features: ``(..., T, M)``, T >= 3 frames of width M, any float dtype.
        xi: radius of the disk around 1 that holds the static eigenvalues, in (0, 1]; used by the hard mask.
        mask: "smooth" weighs an eigenvalue by ``((1 + lambda) / 2) ** smooth_power``; it cannot empty the
            static stream. "hard" is the paper's ``|lambda - 1| < xi``.
        smooth_power: exponent of the smooth mask, a power of two.
        weights: "eigenvalue", Eq. 21 as written: ``static + dynamic = K mean(F)``; "projector", modes with
            weight 1 in place of their eigenvalue: ``static + dynamic = mean(F)``.
        rtol: singular values of the past frames below rtol times the largest are dropped, in (0, 1). Used
            only with ``ridge=0``. None: 1e-7 for float64, 1e-4 for float32, 1e-2 for float16 and bfloat16.
            Values below 1e-7 are raised to 1e-7, the smallest that a float64 Gram matrix resolves.
        ridge: ``ridge * trace(B) / pairs`` is added to the diagonal of B = Fb'Fb, so that the scale of the
            features does not matter. 0: truncate by ``rtol`` instead, the pseudo-inverse of Eq. 18.
        rank: keep at most that many directions, 1 to min(T - 1, M). None: all.
        estimator: "ls", least squares, Eq. 18. "tls", total-least-squares DMD: noise in the past frames
            biases least squares towards small eigenvalues; here past and future frames are first projected on
            the ``rank`` leading eigenvectors of Fb'Fb + Ff'Ff, which treats the noise in both alike. Needs
            ``rank``; runs on the PyTorch route.
        max_gain: scale down the gradient of a clip whose gain exceeds this, where the gain is
            ``sqrt(T) |dF| / |(g_static, g_dynamic)|``, 1 for a plain mean. Counted by `guard_counts`.
            Tangents of forward mode are not scaled. None: off, the gradient is the derivative.
        pool: "mean" splits mean(F), outputs ``(..., M)``; "none" splits every frame, outputs ``(..., T, M)``.
            "std" splits every frame, outputs ``(..., M)``: the mean over time of the static parts, and the
            standard deviation over time of the dynamic parts, ``sqrt(mean_t (d_t - mean_t d_t)^2)``. That
            does not depend on the phase of an oscillation. For a still clip it is 0, and so is its gradient.
        frame_mask: bool ``(..., T)``, False for padding; a pair counts when both of its frames are valid.
            None: every frame is valid.
        check_finite: raise for NaN or infinity, with the number of clips; waits for the device, and looks at
            nothing while a CUDA graph is captured. False: such a clip gives NaN.
        backend: "auto" takes the fastest that can serve the call; or one by name: "cuda", "cpu" (native, once
            differentiable), "torch" (twice), "reference" (the paper's formulas).

    Returns:
        the two streams in the features' dtype, and diagnostics.

    Raises:
        TypeError: features are not a floating-point tensor.
        ValueError: an argument is out of range, or shapes or devices do not fit.
        bodvcl.ops.backend.BackendError: the backend named cannot serve the call.
    """
    check_features(features, frame_mask, check_finite)
    spec = make_spec(
        features,
        xi=xi,
        mask=mask,
        smooth_power=smooth_power,
        weights=weights,
        rtol=rtol,
        ridge=ridge,
        rank=rank,
        estimator=estimator,
        max_gain=max_gain,
        pool=pool,
    )
    call = make_call(features, frame_mask, spec, backend)
    return to_split(run(call, split=True, losses=False), call.lead)


def _check_loss(mode: str, nu: float, reduction: str) -> None:
    one_of("mode", mode, MODES)
    one_of("reduction", reduction, REDUCTIONS)
    check_number("nu", nu, "0 or a positive number", zero=True)


@overload
def koopman_prediction_loss(
    features: Tensor,
    mode: Mode = ...,
    nu: float = ...,
    *,
    rtol: float | None = ...,
    ridge: float = ...,
    rank: int | None = ...,
    estimator: Estimator = ...,
    frame_mask: Tensor | None = ...,
    reduction: Reduction = ...,
    return_parts: Literal[False] = ...,
    check_finite: bool = ...,
    backend: Backend = ...,
) -> Tensor: ...


@overload
def koopman_prediction_loss(
    features: Tensor,
    mode: Mode = ...,
    nu: float = ...,
    *,
    rtol: float | None = ...,
    ridge: float = ...,
    rank: int | None = ...,
    estimator: Estimator = ...,
    frame_mask: Tensor | None = ...,
    reduction: Reduction = ...,
    return_parts: Literal[True],
    check_finite: bool = ...,
    backend: Backend = ...,
) -> tuple[Tensor, KoopmanLosses]: ...


def koopman_prediction_loss(
    features: Tensor,
    mode: Mode = "loo",
    nu: float = 1e-4,
    *,
    rtol: float | None = None,
    ridge: float = RIDGE,
    rank: int | None = None,
    estimator: Estimator = "ls",
    frame_mask: Tensor | None = None,
    reduction: Reduction = "mean",
    return_parts: bool = False,
    check_finite: bool = False,
    backend: Backend = "auto",
) -> Tensor | tuple[Tensor, KoopmanLosses]:
    """L_pred of Eq. 19: prediction error plus nu times the excess of ``|K'K - I|^2`` over its floor.

    The paper's loss is ``koopman_prediction_loss(features, mode="train", ridge=0)``.

    Args:
        features: ``(..., T, M)``, T >= 3 frames of width M, any float dtype.
        mode: "loo", every pair predicted by the operator fitted to the other pairs; "forecast", the same for
            the last pair alone; "train", the paper's in-sample error. That is exactly 0 where T - 1
            independent frames are fitted exactly and there is no ridge (a `KoopmanWarning` says so once).
        nu: weight of the orthogonality term, 0 or more.
        rtol, ridge, rank, estimator, frame_mask, check_finite, backend: as in `koopman_split`. The held-out
            fits of "ls" are in closed form, with the ridge of the whole clip; those of "tls" are T - 1 refits
            of each clip, each with its own projection and ridge.
        reduction: "mean" or "sum" over the clips; "none" returns ``(...)``.
        return_parts: also return the `KoopmanLosses`, whose parts are per clip.

    Returns:
        the loss, float64 for float64 features, else float32; with ``return_parts`` also its parts.

    Raises:
        TypeError: features are not a floating-point tensor.
        ValueError: an argument is out of range, or shapes or devices do not fit.
        bodvcl.ops.backend.BackendError: the backend named cannot serve the call.
    """
    _check_loss(mode, nu, reduction)
    check_features(features, frame_mask, check_finite)
    spec = make_spec(features, rtol=rtol, ridge=ridge, rank=rank, estimator=estimator)
    call = make_call(features, frame_mask, spec, backend)
    raw = run(call, split=False, losses=True)
    warn_if_vacuous(call.features, call.frame_mask, spec, raw, mode)
    losses = to_losses(raw, call.lead, features.dtype, mode, nu, reduction)
    return (losses.pred, losses) if return_parts else losses.pred


def koopman_split_and_loss(
    features: Tensor,
    xi: float = 0.1,
    *,
    mode: Mode = "loo",
    nu: float = 1e-4,
    mask: Mask = "smooth",
    smooth_power: int = 8,
    weights: Weights = "eigenvalue",
    rtol: float | None = None,
    ridge: float = RIDGE,
    rank: int | None = None,
    estimator: Estimator = "ls",
    max_gain: float | None = None,
    pool: Pool = "mean",
    frame_mask: Tensor | None = None,
    reduction: Reduction = "mean",
    check_finite: bool = False,
    backend: Backend = "auto",
) -> tuple[KoopmanSplit, KoopmanLosses]:
    """`koopman_split` and `koopman_prediction_loss` from one Gram matrix: the form for a training step.

    Args:
        features: ``(..., T, M)``, T >= 3 frames of width M, any float dtype.
        mode, nu, reduction: as in `koopman_prediction_loss`.
        xi, mask, smooth_power, weights, max_gain, pool: as in `koopman_split`; ``max_gain`` bounds the
            gradient of the split alone.
        rtol, ridge, rank, estimator, frame_mask, check_finite, backend: as in both.

    Returns:
        the split, and the losses.

    Raises:
        TypeError: features are not a floating-point tensor.
        ValueError: an argument is out of range, or shapes or devices do not fit.
        bodvcl.ops.backend.BackendError: the backend named cannot serve the call.
    """
    _check_loss(mode, nu, reduction)
    check_features(features, frame_mask, check_finite)
    spec = make_spec(
        features,
        xi=xi,
        mask=mask,
        smooth_power=smooth_power,
        weights=weights,
        rtol=rtol,
        ridge=ridge,
        rank=rank,
        estimator=estimator,
        max_gain=max_gain,
        pool=pool,
    )
    call = make_call(features, frame_mask, spec, backend)
    raw = run(call, split=True, losses=True)
    warn_if_vacuous(call.features, call.frame_mask, spec, raw, mode)
    losses = to_losses(raw, call.lead, features.dtype, mode, nu, reduction)
    return to_split(raw, call.lead), losses
