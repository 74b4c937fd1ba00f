"""Eqs. 18-21 as the paper writes them: pseudo-inverse, M x M eigenvectors and their inverse. Slow and
obvious.

Features are ``(..., T, M)`` as everywhere in this package; the formulas below work on ``F``, ``(..., M, T)``,
one frame per column. Computed in float64. Derivatives are those of ``pinv``, ``svd`` and ``eig`` under
autograd, and
undefined where these are: at repeated singular values or eigenvalues and, for ``pinv``, where truncation is
    active.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.ops.koopman.eager import KoopmanRaw, KoopmanSpec
from bodvcl.ops.transforms import concrete

NOTHING = 1e-10
"""Eigenvalues below this are those of directions that K does not contain."""


def snapshots(features: Tensor, frame_mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Past frames Fb and future frames Ff ``(..., M, T-1)``, valid pairs ``(..., T-1)``, valid frames ``(...,
    T)``.

    Columns of invalid pairs are zero: they then neither fit nor cost anything.
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


def _mu(past: Tensor, pairs: Tensor, ridge: float) -> Tensor:
    return ridge * past.square().sum((-2, -1)) / pairs.sum(-1).clamp_min(1)


def _pseudo_inverse(past: Tensor, mu: Tensor, rtol: float, rank: int | None) -> Tensor:
    if rank is not None:
        u, s, vh = torch.linalg.svd(past, full_matrices=False)
        kept = torch.arange(s.shape[-1], device=s.device) < rank
        kept = kept & ((mu[..., None] > 0) | (s > rtol * s[..., :1])) & (s > 0)
        inverse = torch.where(kept, s / torch.where(kept, s.square() + mu[..., None], 1.0), 0.0)
        return vh.mT @ (inverse[..., None] * u.mT)
    if bool(concrete(mu > 0).any()):
        eye = torch.eye(past.shape[-1], dtype=past.dtype, device=past.device)
        diagonal = torch.where(mu > 0, mu, 1.0)[..., None, None]
        return torch.linalg.inv(past.mT @ past + diagonal * eye) @ past.mT
    return torch.linalg.pinv(past, rtol=rtol)


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
        low_pass = torch.linalg.matrix_power((eye + k) / 2, smooth_power)
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
    """Z_A and Z_M (Eq. 21), float64: ``(..., M)`` of the mean frame, or ``(..., T, M)`` of every frame."""
    k = koopman_operator(features, rtol, ridge, rank, frame_mask)
    k_static, k_dynamic = spectral_parts(k, xi, mask, smooth_power, weights)
    _, _, _, frames = snapshots(features, frame_mask)
    x = torch.where(frames[..., None] > 0, features.double(), 0.0).mT
    if pool == "mean":
        x = x.sum(-1, keepdim=True) / frames.sum(-1).clamp_min(1)[..., None, None]
        return (k_static @ x)[..., 0], (k_dynamic @ x)[..., 0]
    return (k_static @ x).mT, (k_dynamic @ x).mT


def prediction_mse(k: Tensor, past: Tensor, future: Tensor, pairs: Tensor) -> Tensor:
    """``|Ff - K Fb|^2 / (M n)``, the first term of Eq. 19."""
    return (future - k @ past).square().sum((-2, -1)) / (past.shape[-2] * pairs.sum(-1).clamp_min(1))


def orthogonality(k: Tensor) -> Tensor:
    """``|K'K - I|_F^2``, the second term of Eq. 19, with its floor of M - rank(K)."""
    eye = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
    return (k.mT @ k - eye).square().sum((-2, -1))


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
    scores = _kept_scores(past, rtol, rank)
    kept = scores.detach().square().sum((-2, -1)).round()
    dropped = (kept < pairs.sum(-1)) & (ridge == 0 or rank is not None)
    out = []
    for t in range(past.shape[-1]):
        others = pairs.clone()
        others[..., t] = 0
        others = others[..., None, :]
        fit = _pseudo_inverse(past * others, mu, rtol, None)
        error = future[..., t] - ((future * others) @ fit @ past[..., t, None])[..., 0]
        if bool(concrete(dropped).any()):
            fit = torch.linalg.pinv(scores * others, rtol=1e-7)
            regressed = future[..., t] - ((future * others) @ fit @ scores[..., t, None])[..., 0]
            needed = 1 - scores[..., t].square().sum(-1) < 1e-12
            regressed = torch.where(needed[..., None], 0.0, regressed)
            error = torch.where(dropped[..., None], regressed, error)
        out.append(error.square().sum(-1) * pairs[..., t])
    return torch.stack(out, -1)


def _kept_scores(past: Tensor, rtol: float, rank: int | None) -> Tensor:
    """Right singular vectors of Fb that are kept, as rows ``(..., r, T-1)``; zero rows for the others."""
    _, s, vh = torch.linalg.svd(past, full_matrices=False)
    kept = (s > rtol * s[..., :1]) & (torch.arange(s.shape[-1], device=s.device) < (rank or s.shape[-1]))
    return torch.where(kept[..., None], vh, 0.0)


def koopman(
    features: Tensor, valid: Tensor | None, spec: KoopmanSpec, *, split: bool = True, losses: bool = True
) -> KoopmanRaw:
    """Everything above for clips (B, T, M), in the form that the public operations expect of a backend.

    What is not asked for (``split``, ``losses``) is zero.
    """
    finite = torch.isfinite(features.detach() if valid is None else features.detach() * valid[..., None])
    finite = finite.all(-1).all(-1)
    clean = features.nan_to_num(0.0, 0.0, 0.0) * finite[:, None, None]
    rank, width = spec.rank or None, features.shape[-1]
    past, future, pairs, _ = snapshots(clean, valid)
    inverse = pseudo_inverse(past, pairs, spec.rtol, spec.ridge, rank)
    k = future @ inverse
    mask, power = ("smooth" if spec.smooth else "hard"), 2**spec.smooth_log2
    kept = _rank(past, pairs, spec)
    modes = radius = torch.zeros_like(kept)
    static = dynamic = torch.zeros_like(clean if spec.per_frame else clean[:, 0], dtype=torch.float64)
    if split:
        weights = "projector" if spec.projector else "eigenvalue"
        pool = "none" if spec.per_frame else "mean"
        static, dynamic = koopman_split(
            clean, spec.xi, mask, power, weights, spec.rtol, spec.ridge, rank, pool, valid
        )
        if spec.per_frame and valid is not None:
            static, dynamic = static * valid[..., None], dynamic * valid[..., None]
        eigenvalues = torch.linalg.eigvals(k.detach())
        if spec.smooth:
            modes = (((1 + eigenvalues) / 2) ** power).real.sum(-1) - 0.5**power * (width - kept)
        else:
            modes = mask_of(eigenvalues, spec.xi).sum(-1).double()
            radius = torch.full_like(modes, spec.xi)

    values = torch.zeros_like(kept)[:, None].expand(-1, 4)
    if losses:
        errors = held_out_errors(clean, spec.rtol, spec.ridge, rank, valid)
        last = (pairs * torch.arange(1, pairs.shape[-1] + 1, device=pairs.device)).argmax(-1, keepdim=True)
        mse = prediction_mse(k, past, future, pairs)
        excess = orthogonality(k) - (width - kept).clamp_min(0)
        loo = errors.sum(-1) / (width * pairs.sum(-1).clamp_min(1))
        values = torch.stack([mse, excess, loo, errors.gather(-1, last)[:, 0] / width], -1)

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


def _rank(past: Tensor, pairs: Tensor, spec: KoopmanSpec) -> Tensor:
    s = torch.linalg.svdvals(past.detach())
    if spec.ridge > 0:
        count = pairs.sum(-1) * (s[..., 0] > 0)
    else:
        count = (s > spec.rtol * s[..., :1]).sum(-1).double()
    return count.clamp_max(spec.rank) if spec.rank else count


def official_split(features: Tensor, xi: float = 0.1, rtol: float = 1e-4) -> tuple[Tensor, Tensor]:
    """The split of the authors' published code, for comparison only: another function than Eq. 21.

    It estimates K from frames of unit length and applies it to the frames as they are; it replaces the
    eigenvectors by the orthogonal factor of their QR decomposition, which spans the same space but holds no
    eigenvectors, so that the result depends on the order in which LAPACK returns the eigenvalues and the two
    parts do not add up to K mean(F); it takes ``|lambda - 1| <= xi``.
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
