"""Eqs. 18 to 21 as the paper writes them: pseudo-inverse, M x M eigenvectors and their inverse.

Slow and obvious. Features are ``(..., T, M)`` as everywhere in this package; the formulas work on ``F``,
``(..., M, T)``, one frame per column, in float64. Derivatives are those of ``pinv``, ``svd`` and ``eig``
under autograd, and undefined where these are: at repeated singular values or eigenvalues and, for ``pinv``,
where singular values are cut off.
"""

from __future__ import annotations

import torch
from torch import Tensor

NOTHING = 1e-10
"""Eigenvalues below this are those of directions that K does not contain."""


def snapshots(features: Tensor, frame_mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The past and the future frames, and which of them are valid.

    Columns of invalid pairs are zero: they then neither fit nor cost anything.

    Args:
        features: ``(..., T, M)``.
        frame_mask: bool ``(..., T)``, False for padding; None: every frame is valid.

    Returns:
        Fb and Ff ``(..., M, T-1)``, valid pairs ``(..., T-1)`` and valid frames ``(..., T)``, all float64.
    """
    if frame_mask is None:
        frame_mask = torch.ones(features.shape[:-1], device=features.device)
    frames = frame_mask.to(torch.float64)
    f = torch.where(frames[..., None] > 0, features.double(), 0.0).mT
    pairs = frames[..., :-1] * frames[..., 1:]
    return f[..., :-1] * pairs[..., None, :], f[..., 1:] * pairs[..., None, :], pairs, frames


def pseudo_inverse(
    past: Tensor, pairs: Tensor, rtol: float = 1e-7, ridge: float = 0.0, rank: int | None = None
) -> Tensor:
    """Pseudo-inverse of Fb ``(..., T-1, M)``, truncated, or with the ridge mu = ridge tr(Fb'Fb) / pairs."""
    return _pseudo_inverse(past, _mu(past, pairs, ridge), rtol, rank)


def _mu(past: Tensor, pairs: Tensor, ridge: float) -> Tensor | None:
    """The ridge mu ``(...)``; None for none."""
    if ridge == 0:
        return None
    return ridge * past.square().sum((-2, -1)) / pairs.sum(-1).clamp_min(1)


def _pseudo_inverse(past: Tensor, mu: Tensor | None, rtol: float, rank: int | None) -> Tensor:
    if rank is not None:
        mu = torch.zeros_like(past[..., 0, 0]) if mu is None else mu
        u, s, vh = torch.linalg.svd(past, full_matrices=False)
        kept = torch.arange(s.shape[-1], device=s.device) < rank
        kept = kept & ((mu[..., None] > 0) | (s > rtol * s[..., :1])) & (s > 0)
        inverse = torch.where(kept, s / torch.where(kept, s.square() + mu[..., None], 1.0), 0.0)
        cut: Tensor = vh.mT @ (inverse[..., None] * u.mT)
        return cut
    if mu is None:
        truncated: Tensor = torch.linalg.pinv(past, rtol=rtol)
        return truncated
    eye = torch.eye(past.shape[-1], dtype=past.dtype, device=past.device)
    diagonal = torch.where(mu > 0, mu, 1.0)[..., None, None]
    regularised: Tensor = torch.linalg.inv(past.mT @ past + diagonal * eye) @ past.mT
    return regularised


def kept_directions(
    past: Tensor, pairs: Tensor, rtol: float = 1e-7, ridge: float = 0.0, rank: int | None = None
) -> Tensor:
    """Number ``(...)`` of directions that the pseudo-inverse of Fb keeps; float64, without gradient."""
    s: Tensor = torch.linalg.svdvals(past.detach())
    by_rtol = (s > rtol * s[..., :1]).sum(-1).double()
    count = pairs.sum(-1) * (s[..., 0] > 0) if ridge > 0 else by_rtol
    return count if rank is None else count.clamp_max(rank)


def koopman_operator(
    features: Tensor,
    rtol: float = 1e-7,
    ridge: float = 0.0,
    rank: int | None = None,
    frame_mask: Tensor | None = None,
) -> Tensor:
    """K = Ff Fb^+  ``(..., M, M)``, which takes a frame to the next (Eq. 18)."""
    past, future, pairs, _ = snapshots(features, frame_mask)
    return future @ pseudo_inverse(past, pairs, rtol, ridge, rank)


def mask_of(eigenvalues: Tensor, xi: float) -> Tensor:
    """True for static eigenvalues: ``|lambda - 1| < xi``; what K does not contain never counts."""
    return ((eigenvalues - 1).abs() < xi) & (eigenvalues.abs() > NOTHING)


def static_modes(
    k: Tensor, kept: Tensor, xi: float = 0.1, mask: str = "hard", smooth_power: int = 8
) -> Tensor:
    """Static eigenvalues ``(...)`` of K ``(..., M, M)`` of rank ``kept (...)``; float64, without gradient.

    Their number with the hard mask; with the smooth one the sum of their weights.
    """
    eigenvalues: Tensor = torch.linalg.eigvals(k.detach())
    if mask == "hard":
        return mask_of(eigenvalues, xi).sum(-1).double()
    weights = (((1 + eigenvalues) / 2) ** smooth_power).real
    return weights.sum(-1) - 0.5**smooth_power * (k.shape[-1] - kept)


def spectral_parts(
    k: Tensor,
    xi: float = 0.1,
    mask: str = "hard",
    smooth_power: int = 8,
    weights: str = "eigenvalue",
) -> tuple[Tensor, Tensor]:
    """Static and dynamic part of K ``(..., M, M)``: ``Phi L_inv Phi^-1`` and ``Phi L_var Phi^-1`` (Eq. 21).

    weights="projector" puts 1 in place of every eigenvalue: the parts then add up to I in place of K.
    mask="smooth" weighs every eigenvalue by ``((1 + lambda) / 2) ** smooth_power``, a polynomial in K.
    """
    eye = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
    if mask == "smooth":
        low_pass: Tensor = torch.linalg.matrix_power((eye + k) / 2, smooth_power)
        return (low_pass, eye - low_pass) if weights == "projector" else (k @ low_pass, k - k @ low_pass)
    eigenvalues, phi = torch.linalg.eig(k)
    phi_inverse = torch.linalg.inv(phi)
    static = mask_of(eigenvalues, xi)
    if weights == "projector":
        part = (phi * static[..., None, :].to(phi.dtype) @ phi_inverse).real
        return part, eye - part
    inv = torch.where(static, eigenvalues, 0.0)
    var = torch.where(static, 0.0, eigenvalues)
    return (phi * inv[..., None, :] @ phi_inverse).real, (phi * var[..., None, :] @ phi_inverse).real


def koopman_split(
    features: Tensor,
    xi: float = 0.1,
    mask: str = "hard",
    smooth_power: int = 8,
    weights: str = "eigenvalue",
    rtol: float = 1e-7,
    ridge: float = 0.0,
    rank: int | None = None,
    pool: str = "mean",
    frame_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Z_A and Z_M (Eq. 21), float64: ``(..., M)`` of the mean frame, or ``(..., T, M)`` of every frame.

    The defaults are the paper's. Streams of invalid frames are zero. With ``pool="std"``, ``(..., M)``, the
    static stream is the mean over the frames of their static parts, and the dynamic stream is the standard
    deviation over the frames of their dynamic parts.
    """
    k = koopman_operator(features, rtol, ridge, rank, frame_mask)
    k_static, k_dynamic = spectral_parts(k, xi, mask, smooth_power, weights)
    _, _, _, frames = snapshots(features, frame_mask)
    x = torch.where(frames[..., None] > 0, features.double(), 0.0).mT
    if pool == "mean":
        x = x.sum(-1, keepdim=True) / frames.sum(-1).clamp_min(1)[..., None, None]
        return (k_static @ x)[..., 0], (k_dynamic @ x)[..., 0]
    static, dynamic = ((k_part @ x).mT * frames[..., None] for k_part in (k_static, k_dynamic))
    if pool == "std":
        count = frames.sum(-1).clamp_min(1)[..., None]
        return static.sum(-2) / count, standard_deviation(dynamic, frames, count)
    return static, dynamic


def standard_deviation(x: Tensor, frames: Tensor, count: Tensor) -> Tensor:
    """``sqrt(mean_t (x_t - mean_t x_t)^2)`` ``(..., M)`` of ``(..., T, M)``, over the valid frames.

    Args:
        x: ``(..., T, M)``, zero in frames that are not valid.
        frames: ``(..., T)``, 1 for valid frames, else 0.
        count: ``(..., 1)``, the number of valid frames.
    """
    deviation = (x - (x.sum(-2) / count)[..., None, :]) * frames[..., None]
    return (deviation.square().sum(-2) / count).sqrt()


def prediction_mse(k: Tensor, past: Tensor, future: Tensor, pairs: Tensor) -> Tensor:
    """``|Ff - K Fb|^2 / (M n)``, the first term of Eq. 19: ``(...)``."""
    return (future - k @ past).square().sum((-2, -1)) / (past.shape[-2] * pairs.sum(-1).clamp_min(1))


def orthogonality(k: Tensor) -> Tensor:
    """``|K'K - I|_F^2``, the second term of Eq. 19, with its floor of M - rank(K): ``(...)``."""
    eye = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
    return (k.mT @ k - eye).square().sum((-2, -1))


def orthogonality_excess(k: Tensor, kept: Tensor) -> Tensor:
    """`orthogonality` less its floor, for K ``(..., M, M)`` of rank ``kept (...)``."""
    return orthogonality(k) - (k.shape[-1] - kept).clamp_min(0)


def held_out_errors(
    features: Tensor,
    rtol: float = 1e-7,
    ridge: float = 0.0,
    rank: int | None = None,
    frame_mask: Tensor | None = None,
) -> Tensor:
    """``|x_{t+1} - K_t x_t|^2`` with K_t fitted without the pair t, one fit after the other: ``(..., T-1)``.

    With a ridge, mu is that of the whole clip. Where directions are dropped, the kept principal components of
    the past frames are found once, from all pairs, and the regression on them (without ridge) is refitted; a
    pair that this regression cannot do without contributes 0.
    """
    past, future, pairs, _ = snapshots(features, frame_mask)
    mu = _mu(past, pairs, ridge)
    may_drop = ridge == 0 or rank is not None
    if may_drop:
        dropped = _kept_count(past, rtol, rank) < pairs.sum(-1)
        scores = _kept_scores(torch.where(dropped[..., None, None], past, _stand_in(past)), rtol, rank)
    out = []
    for t in range(past.shape[-1]):
        others = pairs.clone()
        others[..., t] = 0
        others = others[..., None, :]
        fit = _pseudo_inverse(past * others, mu, rtol, None)
        error = future[..., t] - ((future * others) @ fit @ past[..., t, None])[..., 0]
        if may_drop:
            fit = torch.linalg.pinv(scores * others, rtol=1e-7)
            regressed = future[..., t] - ((future * others) @ fit @ scores[..., t, None])[..., 0]
            needed = 1 - scores[..., t].square().sum(-1) < 1e-12
            regressed = torch.where(needed[..., None], 0.0, regressed)
            error = torch.where(dropped[..., None], regressed, error)
        out.append(error.square().sum(-1) * pairs[..., t])
    return torch.stack(out, -1)


def _kept(s: Tensor, rtol: float, rank: int | None) -> Tensor:
    """Which of the singular values ``(..., n)`` of Fb are kept."""
    return (s > rtol * s[..., :1]) & (torch.arange(s.shape[-1], device=s.device) < (rank or s.shape[-1]))


def _kept_count(past: Tensor, rtol: float, rank: int | None) -> Tensor:
    return _kept(torch.linalg.svdvals(past.detach()), rtol, rank).sum(-1)


def _kept_scores(past: Tensor, rtol: float, rank: int | None) -> Tensor:
    """Right singular vectors of Fb that are kept, as rows ``(..., r, T-1)``; zero rows for the others."""
    _, s, vh = torch.linalg.svd(past, full_matrices=False)
    return torch.where(_kept(s, rtol, rank)[..., None], vh, 0.0)


def _stand_in(past: Tensor) -> Tensor:
    """A matrix with distinct singular values for clips that drop nothing.

    Their scores are not used; this keeps an undefined derivative of them out of the gradient.
    """
    size = min(past.shape[-2:])
    diagonal = torch.arange(size, 0, -1, dtype=past.dtype, device=past.device)
    out = torch.zeros(past.shape[-2:], dtype=past.dtype, device=past.device)
    out[:size, :size] = torch.diag(diagonal)
    return out


def leave_one_out(errors: Tensor, pairs: Tensor, width: int) -> Tensor:
    """Mean ``(...)`` of the held-out errors ``(..., T-1)`` of the valid pairs, per feature."""
    return errors.sum(-1) / (width * pairs.sum(-1).clamp_min(1))


def forecast(errors: Tensor, pairs: Tensor, width: int) -> Tensor:
    """Held-out error ``(...)`` of the last valid pair, per feature."""
    last = (pairs * torch.arange(1, pairs.shape[-1] + 1, device=pairs.device)).argmax(-1, keepdim=True)
    return errors.gather(-1, last)[..., 0] / width


def official_split(features: Tensor, xi: float = 0.1, rtol: float = 1e-4) -> tuple[Tensor, Tensor]:
    """The split of the authors' published code, for comparison only: another function than Eq. 21.

    It estimates K from frames of unit length and applies it to the frames as they are. It replaces the
    eigenvectors by the orthogonal factor of their QR decomposition, which spans the same space but holds no
    eigenvectors: the result depends on the order in which LAPACK returns the eigenvalues, and the two parts
    do not add up to K mean(F). It takes ``|lambda - 1| <= xi``.
    """
    features = features.double()
    k = koopman_operator(torch.nn.functional.normalize(features, dim=-1), rtol)
    eigenvalues, phi = torch.linalg.eig(k)
    q, _ = torch.linalg.qr(phi)
    static = (eigenvalues - 1).abs() <= xi
    x = features.mean(-2).to(q.dtype)[..., None]
    parts = (torch.where(m, eigenvalues, 0.0)[..., :, None] * (q.mH @ x) for m in (static, ~static))
    z_a, z_m = ((q @ part)[..., 0].real for part in parts)
    return z_a, z_m
