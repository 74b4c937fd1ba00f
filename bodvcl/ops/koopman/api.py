"""Koopman estimation and spectral split of per-frame features (Eqs. 18-21), fused and differentiable.

Features are ``(..., T, M)``: T frames, width M, any leading dimensions, float64/32/16 or bfloat16, contiguous
or not. Everything small is done in float64 from one T x T Gram matrix; outputs come back in the features'
dtype. The algebra is derived in ``docs/koopman.md``.

Defined edge cases: an all-zero clip gives zeros and a zero gradient; identical frames give ``static =
mean(F)``, ``dynamic = 0`` and a finite gradient; a NaN or infinity makes that clip's outputs NaN, sets its
``nonfinite`` flag and touches no other clip; an empty batch works.

Derivatives: forward and reverse mode, ``torch.func`` and ``torch.func.vmap`` on every route; a second
derivative on the PyTorch route. What a route cannot do raises RuntimeError.
"""

from __future__ import annotations

import functools
import warnings
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.koopman.backend import KoopmanRequest, choose_koopman
from bodvcl.ops.koopman.eager import KoopmanRaw, KoopmanSpec, factors, koopman
from bodvcl.ops.koopman.guard import GuardCounts, guard_counts, guarded
from bodvcl.ops.koopman.native import koopman_native
from bodvcl.ops.transforms import EAGER_ONLY, active, concrete, needs_eager
from bodvcl.reference import koopman as reference

__all__ = [
    "GuardCounts",
    "KoopmanLosses",
    "KoopmanOperator",
    "KoopmanSplit",
    "KoopmanWarning",
    "guard_counts",
    "koopman_operator",
    "koopman_prediction_loss",
    "koopman_split",
    "koopman_split_and_loss",
]

Backend = Literal["auto", "cuda", "cpu", "torch", "reference"]
Mask = Literal["hard", "smooth"]
Weights = Literal["eigenvalue", "projector"]
Estimator = Literal["ls", "tls"]
Pool = Literal["mean", "none"]
Mode = Literal["train", "loo", "forecast"]
Reduction = Literal["mean", "sum", "none"]

RTOL = {torch.float64: 1e-7, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 1e-2}
RTOL_FLOOR = 1e-7


class KoopmanWarning(UserWarning):
    """The chosen mode of the prediction loss has nothing to learn from."""


class KoopmanSplit(NamedTuple):
    """Static and dynamic parts of clips, and what the operator looked like. ``...`` are the leading
    dimensions.

    static, dynamic: ``(..., M)`` (pool="mean") or ``(..., T, M)``, in the features' dtype; differentiable.
    static_modes: ``(...)`` float64, eigenvalues counted as static: an integer (hard), a trace (smooth).
    dynamic_modes: ``rank - static_modes``.
    rank: ``(...)`` float64, directions kept in the inverse.
    residual: ``(...)`` float64, ``|PP - P| / max(1, |P|)`` of the hard mask's projector; 0 for the smooth
        mask.
    xi_used: ``(...)`` float64, radius used: xi, or nudged by at most 5 % where an eigenvalue lies on the
        circle; 0 for the smooth mask.
    nonfinite: ``(...)`` bool, the clip holds a NaN or an infinity.
    reduced: ``(..., T-1, T-1)`` float64, the operator in whitened coordinates; zero in dropped directions.
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
        """``(..., T-1)`` complex128, largest modulus first; the last ``T-1-rank`` belong to dropped
        directions.
        """
        return _sorted_eigenvalues(self.reduced)

    def distance(self) -> Tensor:
        """``(...)`` float64: smallest ``| |lambda - 1| - xi_used |`` over the kept eigenvalues; inf at rank
        0.

        How far the split is from a jump. With the smooth mask, which has no circle, the distance to 1.
        """
        eig = self.eigenvalues()
        off = ((eig - 1).abs() - self.xi_used[..., None]).abs()
        kept = torch.arange(eig.shape[-1], device=eig.device) < self.rank[..., None]
        return torch.where(kept | off.isnan(), off, torch.inf).amin(-1)


class KoopmanLosses(NamedTuple):
    """Prediction losses (Eq. 19). ``pred`` is reduced as asked; the others are per clip ``(...)``.

    pred: the chosen mode plus nu times ``orth_excess``.
    mse: ``|Ff - K Fb|^2 / (M n)``, in sample. loo: every pair predicted by the operator fitted to the others.
    forecast: the last pair predicted by the operator fitted to the others.
    orth_excess: ``|K'K - I|_F^2`` less ``max(M - rank, 0)``, which no K of that rank can avoid.
    Float64 for float64 features, else float32.
    """

    pred: Tensor
    mse: Tensor
    orth_excess: Tensor
    loo: Tensor
    forecast: Tensor


def _sorted_eigenvalues(reduced: Tensor) -> Tensor:
    bad = ~torch.isfinite(reduced).flatten(-2).all(-1)
    clean = torch.where(bad[..., None, None], 0.0, reduced)
    eig = torch.linalg.eigvals(clean.cpu()).to(reduced.device)
    order = eig.abs().argsort(dim=-1, descending=True, stable=True)
    return torch.where(bad[..., None], torch.nan, eig.gather(-1, order))


# ------------------------------------------------------------ checking the input


def _one_of(name: str, value: str, allowed: type) -> None:
    choices = allowed.__args__  # type: ignore[attr-defined]
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}")


def _check_features(features: Tensor, frame_mask: Tensor | None, check_finite: bool) -> None:
    if not isinstance(features, Tensor) or not features.is_floating_point():
        kind = features.dtype if isinstance(features, Tensor) else type(features).__name__
        raise TypeError(f"features must be a floating-point tensor (..., T, M), got {kind}")
    if features.ndim < 2:
        raise ValueError(
            f"features must be (..., T, M): frames and width at least; got the shape {tuple(features.shape)}"
        )
    if features.shape[-2] < 3:
        raise ValueError(
            f"features have {features.shape[-2]} frame(s) per clip, at least 3 are needed: two pairs of "
            f"consecutive frames, one to fit the operator and one to say how well it predicts. Got the shape "
            f"{tuple(features.shape)}, read as (..., T, M)"
        )
    if features.shape[-1] < 1:
        raise ValueError(f"features have width 0: {tuple(features.shape)}, read as (..., T, M)")
    if frame_mask is not None:
        if frame_mask.dtype != torch.bool or frame_mask.shape != features.shape[:-1]:
            raise ValueError(
                f"frame_mask must be bool of shape {tuple(features.shape[:-1])}, True for valid frames; "
                f"got {frame_mask.dtype} of shape {tuple(frame_mask.shape)}"
            )
        if frame_mask.device != features.device:
            raise ValueError(
                f"frame_mask is on {frame_mask.device}, features are on {features.device}: move one of them"
            )
    if check_finite:
        bad = ~torch.isfinite(features.detach())
        if frame_mask is not None:
            bad = bad & frame_mask[..., None]
        bad = concrete(bad.flatten(-2).any(-1))
        clips = int(bad.sum())
        if clips:
            raise ValueError(
                f"{clips} of {bad.numel()} clips hold a NaN or an infinity; "
                "find out where it comes from, or pass check_finite=False to get NaN for those clips alone"
            )


def _check_estimation(features: Tensor, rtol: float | None, ridge: float, rank: int | None) -> float:
    if rtol is not None and not 0 < rtol < 1:
        raise ValueError(f"rtol is {rtol}; expected a number in (0, 1), or None for the default of the dtype")
    if not 0 <= ridge < float("inf"):
        raise ValueError(f"ridge is {ridge}; expected 0 (truncated inverse) or a positive number")
    most = min(features.shape[-2] - 1, features.shape[-1])
    if rank is not None and not 1 <= rank <= most:
        raise ValueError(
            f"rank is {rank}; expected 1 to {most}, the smaller of T - 1 and the width M, or None to keep all"
        )
    return max(RTOL.get(features.dtype, RTOL_FLOOR) if rtol is None else rtol, RTOL_FLOOR)


def _smooth_log2(power: int) -> int:
    if power < 1 or power & (power - 1):
        raise ValueError(f"smooth_power is {power}; expected a power of two: 1, 2, 4, 8, ...")
    return power.bit_length() - 1


class _Call(NamedTuple):
    """A checked call: clips (B, T, M), mask (B, T), leading shape, numbers, backend."""

    features: Tensor
    valid: Tensor | None
    lead: torch.Size
    spec: KoopmanSpec
    backend: str


def _prepare(
    features: Tensor,
    frame_mask: Tensor | None,
    backend: str,
    check_finite: bool,
    *,
    rtol: float | None,
    ridge: float,
    rank: int | None,
    xi: float = 0.1,
    mask: str = "smooth",
    smooth_power: int = 1,
    weights: str = "eigenvalue",
    estimator: str = "ls",
    max_gain: float | None = None,
    pool: str = "mean",
) -> _Call:
    _check_features(features, frame_mask, check_finite)
    rtol = _check_estimation(features, rtol, ridge, rank)
    for name, value, allowed in (
        ("mask", mask, Mask),
        ("weights", weights, Weights),
        ("estimator", estimator, Estimator),
        ("pool", pool, Pool),
    ):
        _one_of(name, value, allowed)
    if mask == "hard" and not 0 < xi <= 1:
        raise ValueError(
            f"xi is {xi}; the hard mask needs a radius in (0, 1]: beyond 1 the disk around 1 would hold the "
            "eigenvalue 0 of everything that the clip does not contain"
        )
    if estimator == "tls" and rank is None:
        raise ValueError("estimator='tls' needs a rank: it projects on that many leading directions")
    if max_gain is not None and not max_gain > 0:
        raise ValueError(f"max_gain is {max_gain}; expected a positive number, or None for no guard")
    t, m = features.shape[-2:]
    request = KoopmanRequest(features.device.type, features.dtype, t, m, estimator)
    spec = KoopmanSpec(
        xi=float(xi),
        smooth=mask == "smooth",
        smooth_log2=_smooth_log2(smooth_power),
        projector=weights == "projector",
        rtol=rtol,
        ridge=float(ridge),
        rank=rank or 0,
        per_frame=pool == "none",
        tls=estimator == "tls",
    )
    valid = None if frame_mask is None else frame_mask.reshape(-1, t).contiguous()
    lead = features.shape[:-2]
    clips = features.reshape(lead.numel(), t, m)
    return _Call(clips, valid, lead, spec, choose_koopman(backend, request))


def _run(call: _Call, max_gain: float, *, split: bool, losses: bool) -> KoopmanRaw:
    """One pass over the clips with the chosen backend; the gain guard acts on the split's gradient alone."""
    if needs_eager():
        return _run_eagerly(call, max_gain, split=split, losses=losses)
    if call.backend in ("cpu", "cuda"):
        return koopman_native(call.features, call.valid, call.spec, max_gain if split else 0.0)
    route = reference.koopman if call.backend == "reference" else koopman
    core = functools.partial(route, valid=call.valid, spec=call.spec)
    guard = split and max_gain > 0 and (call.features.requires_grad or active())
    if not guard:
        return core(call.features, split=split, losses=losses)
    raw = guarded(functools.partial(core, losses=False), call.features, max_gain)
    return raw._replace(losses=core(call.features, split=False).losses) if losses else raw


_run_eagerly = torch.compiler.disable(_run, reason=EAGER_ONLY)


def _to_split(raw: KoopmanRaw, call: _Call) -> KoopmanSplit:
    stats = raw.stats.detach().reshape(*call.lead, 5)
    modes, rank, residual, xi_used, flag = stats.unbind(-1)
    n = call.features.shape[1] - 1
    out = (call.features.shape[1:]) if call.spec.per_frame else (call.features.shape[2],)
    return KoopmanSplit(
        raw.static.reshape(*call.lead, *out),
        raw.dynamic.reshape(*call.lead, *out),
        modes,
        rank - modes,
        rank,
        residual,
        xi_used,
        flag > 0,
        raw.reduced.detach().reshape(*call.lead, n, n),
    )


# ------------------------------------------------------------ public


def koopman_split(
    features: Tensor,
    xi: float = 0.1,
    *,
    mask: Mask = "hard",
    smooth_power: int = 8,
    weights: Weights = "eigenvalue",
    rtol: float | None = None,
    ridge: float = 0.0,
    rank: int | None = None,
    estimator: Estimator = "ls",
    max_gain: float | None = None,
    pool: Pool = "mean",
    frame_mask: Tensor | None = None,
    check_finite: bool = False,
    backend: Backend = "auto",
) -> KoopmanSplit:
    """Split every clip into what stays and what moves, by the eigenvalues of its Koopman operator (Eq. 21).

    Args:
        features: (..., T, M), T >= 3 frames of width M.
        xi: radius of the disk around 1 whose eigenvalues are static, in (0, 1]; hard mask only.
        mask: "hard", the paper's ``|lambda - 1| < xi``; "smooth", ``((1 + lambda) / 2) ** smooth_power``.
        smooth_power: exponent of the smooth mask, a power of two.
        weights: "eigenvalue", Eq. 21 as written: ``static + dynamic = K mean(F)``; "projector", modes with
            weight 1 in place of their eigenvalue: ``static + dynamic = mean(F)``.
        rtol: singular values of the past frames below rtol times the largest are dropped. None: 1e-7 for
            float64, 1e-4 for float32, 1e-2 for float16 and bfloat16. Values below 1e-7 are raised to 1e-7,
            the smallest that a float64 Gram matrix resolves. Not used with a ridge.
        ridge: add ``ridge * trace(B) / pairs`` to B = Fb'Fb instead of truncating; scale-free.
        rank: keep at most that many directions, 1 to min(T - 1, M).
        estimator: "ls", least squares, Eq. 18. "tls", total-least-squares DMD: noise in the past frames
            biases least squares towards small eigenvalues; here past and future frames are first projected on
            the ``rank`` leading eigenvectors of Fb'Fb + Ff'Ff, which treats the noise in both alike. Needs
            ``rank``.
        max_gain: scale down the gradient of a clip whose gain exceeds this, where the gain is
            ``sqrt(T) |dF| / |(g_static, g_dynamic)|``, 1 for a plain mean. Counted by `guard_counts`.
            Tangents of forward mode are not scaled.
        pool: "mean" splits mean(F), outputs (..., M); "none" splits every frame, outputs (..., T, M).
        frame_mask: bool (..., T), False for padding; a pair counts when both of its frames are valid.
        check_finite: raise for NaN or infinity, with the number of clips; waits for the device.
        backend: "auto", or one by name: "cuda", "cpu" (native, once differentiable), "torch" (twice),
            "reference".

    Raises:
        TypeError: features are not a floating-point tensor.
        ValueError: an argument is out of range or shapes or devices do not fit.
        bodvcl.ops.backend.BackendError: the backend named cannot serve the call.
    """
    call = _prepare(
        features,
        frame_mask,
        backend,
        check_finite,
        rtol=rtol,
        ridge=ridge,
        rank=rank,
        xi=xi,
        mask=mask,
        smooth_power=smooth_power,
        weights=weights,
        estimator=estimator,
        max_gain=max_gain,
        pool=pool,
    )
    return _to_split(_run(call, max_gain or 0.0, split=True, losses=False), call)


def _to_losses(raw: KoopmanRaw, call: _Call, mode: str, nu: float, reduction: str) -> KoopmanLosses:
    dtype = torch.float64 if call.features.dtype == torch.float64 else torch.float32
    mse, orth, loo, forecast = raw.losses.reshape(*call.lead, 4).unbind(-1)
    each = {"train": mse, "loo": loo, "forecast": forecast}[mode] + nu * orth
    pred = {"mean": torch.Tensor.mean, "sum": torch.Tensor.sum, "none": torch.Tensor.clone}[reduction](each)
    return KoopmanLosses(*(x.to(dtype) for x in (pred, mse, orth, loo, forecast)))


_warned: set[str] = set()


def _warn_if_vacuous(raw: KoopmanRaw, call: _Call, mode: str) -> None:
    """Once: the in-sample error of an operator that can fit every pair is 0 whatever the features are."""
    n, m = call.features.shape[1] - 1, call.features.shape[2]
    could_be = mode == "train" and call.spec.ridge == 0 and n <= m and call.spec.rank in (0, n)
    if not could_be or "train" in _warned or torch.compiler.is_compiling() or not call.features.shape[0]:
        return
    pairs = n if call.valid is None else (call.valid[:, 1:] & call.valid[:, :-1]).sum(-1)
    if bool(concrete(raw.stats[:, 1] == pairs).all()):
        _warned.add("train")
        warnings.warn(
            f"mode='train' is vacuous here: {n} pairs of frames of width {m} are fitted exactly, so the "
            "prediction error is 0 and only the orthogonality term is left. Use mode='loo' or 'forecast', or "
            "ridge > 0.",
            KoopmanWarning,
            stacklevel=3,
        )


def _check_loss(mode: str, nu: float, reduction: str) -> None:
    _one_of("mode", mode, Mode)
    _one_of("reduction", reduction, Reduction)
    if not 0 <= nu < float("inf"):
        raise ValueError(f"nu is {nu}; expected 0 or a positive number")


def koopman_prediction_loss(
    features: Tensor,
    mode: Mode = "train",
    nu: float = 1e-4,
    *,
    rtol: float | None = None,
    ridge: float = 0.0,
    rank: int | None = None,
    frame_mask: Tensor | None = None,
    reduction: Reduction = "mean",
    return_parts: bool = False,
    check_finite: bool = False,
    backend: Backend = "auto",
) -> Tensor | tuple[Tensor, KoopmanLosses]:
    """L_pred of Eq. 19: prediction error plus nu times the excess of ``|K'K - I|^2`` over its floor.

    Args: features: (..., T, M), T >= 3 frames of width M. mode: "train", the paper's in-sample error: exactly
        0 where T - 1 independent frames are fitted exactly
            and there is no ridge (a `KoopmanWarning` says so once); "loo", every pair predicted by the
            operator fitted to the other pairs, in closed form; "forecast", the same for the last pair alone.
        nu: weight of the orthogonality term.
        reduction: over clips; "none" returns (...).
        return_parts: also return the `KoopmanLosses` per clip.

    Returns:
        the loss, float64 for float64 features, else float32; with ``return_parts`` also its parts.

    The other parameters and the errors are those of `koopman_split`. With ridge, mu is that of the whole clip
    in every held-out fit.
    """
    _check_loss(mode, nu, reduction)
    call = _prepare(features, frame_mask, backend, check_finite, rtol=rtol, ridge=ridge, rank=rank)
    raw = _run(call, 0.0, split=False, losses=True)
    _warn_if_vacuous(raw, call, mode)
    losses = _to_losses(raw, call, mode, nu, reduction)
    return (losses.pred, losses) if return_parts else losses.pred


def koopman_split_and_loss(
    features: Tensor,
    xi: float = 0.1,
    *,
    mode: Mode = "train",
    nu: float = 1e-4,
    mask: Mask = "hard",
    smooth_power: int = 8,
    weights: Weights = "eigenvalue",
    rtol: float | None = None,
    ridge: float = 0.0,
    rank: int | None = None,
    max_gain: float | None = None,
    pool: Pool = "mean",
    frame_mask: Tensor | None = None,
    reduction: Reduction = "mean",
    check_finite: bool = False,
    backend: Backend = "auto",
) -> tuple[KoopmanSplit, KoopmanLosses]:
    """`koopman_split` and `koopman_prediction_loss` from one Gram matrix: what a training step wants.

    Parameters and errors are those of the two. ``max_gain`` guards the gradient of the split alone.
    """
    _check_loss(mode, nu, reduction)
    call = _prepare(
        features,
        frame_mask,
        backend,
        check_finite,
        rtol=rtol,
        ridge=ridge,
        rank=rank,
        xi=xi,
        mask=mask,
        smooth_power=smooth_power,
        weights=weights,
        max_gain=max_gain,
        pool=pool,
    )
    raw = _run(call, max_gain or 0.0, split=True, losses=True)
    _warn_if_vacuous(raw, call, mode)
    return _to_split(raw, call), _to_losses(raw, call, mode, nu, reduction)


class KoopmanOperator(NamedTuple):
    """K = left right' of each clip in factored form (Eq. 18), float64: never larger than the features.

    left, right: ``(..., M, T-1)``, columns of dropped directions are zero.
    reduced: ``(..., T-1, T-1)``, ``right' left``: the non-zero eigenvalues of K.
    rank: ``(...)`` float64, directions kept.
    features, options: what `split` passes on.
    """

    left: Tensor
    right: Tensor
    reduced: Tensor
    rank: Tensor
    features: Tensor
    options: dict[str, object]

    def eigenvalues(self) -> Tensor:
        """``(..., T-1)`` complex128, largest modulus first; the last ``T-1-rank`` belong to dropped
        directions.
        """
        return _sorted_eigenvalues(self.reduced)

    def modes(self) -> Tensor:
        """Exact DMD modes ``(..., M, T-1)`` complex128: unit eigenvectors of K, in the order of
        `eigenvalues`.
        """
        values, vectors = torch.linalg.eig(self.reduced.nan_to_num(0.0, 0.0, 0.0).cpu())
        order = values.abs().argsort(dim=-1, descending=True, stable=True)[..., None, :]
        vectors = vectors.gather(-1, order.expand_as(vectors)).to(self.left.device)
        modes = self.left.to(vectors.dtype) @ vectors
        return modes / modes.norm(dim=-2, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)

    def predict(self, x: Tensor, steps: int = 1) -> Tensor:
        """``K^steps x`` for a frame x ``(..., M)`` per clip; float64."""
        if steps < 0:
            raise ValueError(f"steps is {steps}; expected 0 or more")
        x = x.double()
        for _ in range(steps):
            x = (self.left @ (self.right.mT @ x[..., None]))[..., 0]
        return x

    def dense(self) -> Tensor:
        """K as a matrix ``(..., M, M)``, float64."""
        return self.left @ self.right.mT

    def split(self, xi: float = 0.1, **options: object) -> KoopmanSplit:
        """`koopman_split` of the same features with the same estimation."""
        return koopman_split(self.features, xi, **self.options, **options)


def koopman_operator(
    features: Tensor,
    *,
    rtol: float | None = None,
    ridge: float = 0.0,
    rank: int | None = None,
    estimator: Estimator = "ls",
    frame_mask: Tensor | None = None,
    check_finite: bool = False,
) -> KoopmanOperator:
    """The operator that takes a frame to the next (Eq. 18), one per clip, for analysis.

    ``rank`` truncates, ``ridge`` regularises, ``estimator="tls"`` treats noise in past and future frames
    alike; these, the features and the errors are as in `koopman_split`. Runs on the PyTorch route, on any
    device; the factors are differentiable.
    """
    options = {"rtol": rtol, "ridge": ridge, "rank": rank, "estimator": estimator, "frame_mask": frame_mask}
    estimation = {k: options[k] for k in ("rtol", "ridge", "rank", "estimator")}
    call = _prepare(features, frame_mask, "torch", check_finite, **estimation)
    left, right, keep = factors(call.features, call.valid, call.spec)
    n, m = call.features.shape[1] - 1, call.features.shape[2]
    return KoopmanOperator(
        left.reshape(*call.lead, m, n),
        right.reshape(*call.lead, m, n),
        (right.mT @ left).reshape(*call.lead, n, n),
        keep.sum(-1).reshape(call.lead),
        features,
        options,
    )
