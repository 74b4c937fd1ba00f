"""The T x T algebra of the Koopman split in plain PyTorch: any device, twice differentiable, compilable.

Per clip, with frames as columns, ``F`` (M x T), ``Fb = F[:, :-1]``, ``Ff = F[:, 1:]`` and ``n = T - 1``::

    B = Fb'Fb    C = Fb'Ff    D = Ff'Ff    R = Fb' mean(F)        all read off the Gram matrix F'F, in float64
    N = B^+ (truncated) or (B + mu I)^-1 (ridge),  K = Ff N Fb'                                     (Eq. 18)
    f(K) = Ff W m(S) W' Fb'   for f(x) = x m(x), any W with W W' = N and S = W'C W                  (Eq. 21)

**How the gradient is kept exact.** ``eigh`` cannot be differentiated at repeated eigenvalues, and every
static or padded clip has some. So the eigenvectors V of B are taken once, as constants, and the *change* of B
enters through ``dB = B - B.detach()``, whose value is zero and whose derivative is that of B:

* in the constant basis, the kept subspace turns by ``Y``, the Riccati solution to second order. Only gaps
  between a kept and a dropped eigenvalue appear;
* ``W = V (I + Y) / s`` is a constant times a matrix near the identity, and ``E = W'(B + mu)W`` has the value
  I, so ``E^-1 = I - dE + dE^2`` is exact to second order.

Values are therefore those of the plain eigenbasis formulas, first and second derivatives are exact, and no
ill-conditioned matrix is ever inverted. A third derivative raises.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.transforms import Folded, outer_tangents, primals, wanted

NEWTON_STEPS = 24
SMITH_STEPS = 24
NUDGES = (1.02, 0.98, 1.05)
IDEMPOTENT = 1e-8


class KoopmanSpec(NamedTuple):
    """Every choice that the algebra needs, as plain numbers."""

    xi: float
    smooth: bool
    smooth_log2: int
    projector: bool
    rtol: float
    ridge: float
    rank: int
    per_frame: bool
    tls: bool


class KoopmanRaw(NamedTuple):
    """What every backend returns for a batch of clips (B, T, M)."""

    static: Tensor
    dynamic: Tensor
    losses: Tensor
    stats: Tensor
    reduced: Tensor


class _Blocks(NamedTuple):
    """The blocks of the Gram matrix, float64; ``pairs`` (B, n) marks the valid pairs."""

    b: Tensor
    c: Tensor
    d: Tensor
    r: Tensor
    pairs: Tensor
    count: Tensor


class _Basis(NamedTuple):
    """Whitening of B: N = w einv w', kept (B, n), energy = w'B w, dropped = projector on what was cut off."""

    w: Tensor
    einv: Tensor
    energy: Tensor
    dropped: Tensor
    keep: Tensor
    mu: Tensor


def _diag(x: Tensor) -> Tensor:
    return torch.diagonal(x, dim1=-2, dim2=-1)


def _eye_like(x: Tensor) -> Tensor:
    return torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)


def _inverse(x: Tensor) -> Tensor:
    return torch.linalg.inv_ex(x)[0]


def _norm1inf(x: Tensor) -> Tensor:
    a = x.abs()
    return (a.sum(-2).amax(-1) * a.sum(-1).amax(-1)).sqrt()[..., None, None]


# ----------------------------------------------------------------------------- spectral projector (hard mask)


def _newton_projector(a: Tensor, keep: Tensor, xi: Tensor) -> tuple[Tensor, Tensor]:
    """Projector on |lambda - 1| < xi within the kept space, by Newton's sign iteration on the Cayley
    transform.
    """
    eye = _eye_like(a)
    k2 = keep[..., :, None] * keep[..., None, :]
    w = (a - eye) / xi[:, None, None]
    x = torch.linalg.solve_ex(w - eye, w + eye)[0]
    x = x * k2 + torch.diag_embed(1 - keep)
    for _ in range(NEWTON_STEPS):
        inv = _inverse(x)
        scale = (_norm1inf(inv) / _norm1inf(x)).sqrt()
        new = 0.5 * (scale * x + inv / scale)
        moved = (new - x).abs().amax((-2, -1)) / new.abs().amax((-2, -1))
        x = new
        if not x.is_cuda and not bool((moved > 1e-15 * x.shape[-1]).any()):
            break
    p = 0.5 * (eye - x) * k2
    modes = _diag(p).sum(-1).round()[:, None, None]
    p = torch.where(modes == 0, torch.zeros_like(p), p)
    p = torch.where(modes == keep.sum(-1)[:, None, None], torch.diag_embed(keep), p)
    residual = (p @ p - p).norm(dim=(-2, -1)) / p.norm(dim=(-2, -1)).clamp_min(1)
    return p, residual.nan_to_num(nan=torch.inf)


@torch.library.custom_op("bodvcl::spectral_projector", mutates_args=())
def spectral_projector(a: Tensor, keep: Tensor, xi: float) -> tuple[Tensor, Tensor, Tensor]:
    """Projector of a (B, n, n) float64 on its eigenvalues with |lambda - 1| < xi, in the space kept (B, n).

    Where the iteration does not converge, because an eigenvalue lies on the circle, xi is nudged by +2, -2,
    +5 %.

    Returns:
        projector (B, n, n); relative idempotency residual (B,); the xi used (B,).
    """
    radius = torch.full(a.shape[:1], xi, dtype=a.dtype, device=a.device)
    p, residual = _newton_projector(a, keep, radius)
    for factor in NUDGES:
        if not a.shape[0] or not bool((residual > IDEMPOTENT).any()):
            break
        retry = torch.full_like(radius, xi * factor)
        p_new, res_new = _newton_projector(a, keep, retry)
        better = (residual > IDEMPOTENT) & (res_new < residual)
        p = torch.where(better[:, None, None], p_new, p)
        residual = torch.where(better, res_new, residual)
        radius = torch.where(better, retry, radius)
    return p.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0), residual, radius


@spectral_projector.register_fake
def _(a: Tensor, keep: Tensor, xi: float) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(a), a.new_empty(a.shape[0]), a.new_empty(a.shape[0])


@torch.library.custom_op("bodvcl::disk_sylvester", mutates_args=())
def disk_sylvester(inside: Tensor, outside: Tensor, rhs: Tensor) -> Tensor:
    """Y with ``inside Y - Y outside = rhs`` (B, n, n), spectra inside and outside the unit disk: Smith
    doubling.
    """
    u, v = inside, _inverse(outside)
    y = -rhs @ v
    for _ in range(SMITH_STEPS):
        y = y + u @ y @ v
        u, v = u @ u, v @ v
        if not y.is_cuda and not bool((u.norm(dim=(-2, -1)) * v.norm(dim=(-2, -1)) > 1e-18).any()):
            break
    return y


@disk_sylvester.register_fake
def _(inside: Tensor, outside: Tensor, rhs: Tensor) -> Tensor:
    return torch.empty_like(rhs)


class _Sylvester(Folded):
    """`disk_sylvester` in eager mode."""

    @staticmethod
    def forward(inside: Tensor, outside: Tensor, rhs: Tensor) -> Tensor:
        return disk_sylvester(inside.contiguous(), outside.contiguous(), rhs.contiguous())

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(inputs[0], inputs[1], output)
        ctx.save_for_forward(inputs[0], inputs[1], output)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inside, outside, y = ctx.saved_tensors
        w = _solve(inside.mT, outside.mT, grad)
        return -w @ y.mT, y.mT @ w, w

    @staticmethod
    def jvp(ctx, inside_t: Tensor, outside_t: Tensor, rhs_t: Tensor) -> Tensor:
        with outer_tangents():
            inside, outside, y = primals(*ctx.saved_tensors)
            return _solve(inside, outside, rhs_t - inside_t @ y + y @ outside_t)


def _solve(inside: Tensor, outside: Tensor, rhs: Tensor) -> Tensor:
    """`disk_sylvester`, which see, by the way that eager mode or the compiler needs."""
    if torch.compiler.is_compiling():
        return disk_sylvester(inside.contiguous(), outside.contiguous(), rhs.contiguous())
    return _Sylvester.apply(inside, outside, rhs)


class _Projector(Folded):
    """`spectral_projector` in eager mode."""

    outputs = (0, 0, 0)

    @staticmethod
    def forward(a: Tensor, keep: Tensor, xi: float) -> tuple[Tensor, Tensor, Tensor]:
        return spectral_projector(a.contiguous(), keep, xi)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        a, keep, _ = inputs
        p, residual, radius = output
        ctx.save_for_backward(a, keep, p, radius)
        ctx.save_for_forward(a, keep, p, radius)
        ctx.mark_non_differentiable(residual, radius)

    @staticmethod
    def backward(ctx, grad: Tensor, *_: object) -> tuple[Tensor, None, None]:
        inside, outside, p, radius = _disk_sides(*ctx.saved_tensors)
        return _across(inside.mT, outside.mT, p.mT, grad / radius), None, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, *_: object) -> tuple[Tensor, None, None]:
        with outer_tangents():
            inside, outside, p, radius = _disk_sides(*primals(*ctx.saved_tensors))
            return _across(inside, outside, p, tangent / radius), None, None


def _disk_sides(a: Tensor, keep: Tensor, p: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What lies inside and outside of the disk, scaled to the unit disk; the projector, the radius."""
    eye = _eye_like(a)
    radius = radius[:, None, None]
    w = (a - eye) / radius
    rest = torch.diag_embed(1 - keep)
    return w @ p, w @ (eye - p - rest) + 2 * (p + rest), p, radius


def _across(inside: Tensor, outside: Tensor, p: Tensor, change: Tensor) -> Tensor:
    """Frechet derivative of the projector: two Sylvester equations between the range of P and of I - P.

    With every matrix transposed it is the adjoint.
    """
    q = _eye_like(p) - p
    y12 = _solve(inside, outside, p @ change @ q)
    y21 = _solve(inside.mT, outside.mT, p.mT @ change.mT @ q.mT)
    return y12 + y21.mT


disk_sylvester.register_autograd(_Sylvester.backward, setup_context=_Sylvester.setup_context)
spectral_projector.register_autograd(_Projector.backward, setup_context=_Projector.setup_context)


# --------------------------------------------------------------------------------------------- Gram and basis


def _gram_blocks(features: Tensor, valid: Tensor | None, per_frame: bool) -> _Blocks:
    """features (B, T, M) float64, already zero in invalid frames."""
    gram = features @ features.mT
    batch, t = features.shape[:2]
    if valid is None:
        pairs = torch.ones(batch, t - 1, dtype=features.dtype, device=features.device)
        weight = torch.full((batch, t), 1 / t, dtype=features.dtype, device=features.device)
    else:
        ok = valid.to(features.dtype)
        pairs = ok[:, :-1] * ok[:, 1:]
        weight = ok / ok.sum(-1, keepdim=True).clamp_min(1)
    k2 = pairs[:, :, None] * pairs[:, None, :]
    past = gram[:, :-1] * pairs[:, :, None]
    right = past if per_frame else past @ weight[:, :, None]
    b, c, d = gram[:, :-1, :-1] * k2, gram[:, :-1, 1:] * k2, gram[:, 1:, 1:] * k2
    return _Blocks(b, c, d, right, pairs, pairs.sum(-1))


class _NoThird(Folded):
    """Zeros like ``sym`` that can be differentiated twice; once more raises, since only terms of second order
    are kept.
    """

    @staticmethod
    def forward(sym: Tensor, derivatives: int) -> Tensor:
        return torch.zeros_like(sym)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        sym, ctx.derivatives = inputs
        ctx.save_for_backward(sym)
        ctx.save_for_forward(sym)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _NoThird.next(ctx, *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx, tangent: Tensor, _: None) -> Tensor:
        with outer_tangents():
            return _NoThird.next(ctx, *primals(*ctx.saved_tensors))

    @staticmethod
    def next(ctx, sym: Tensor) -> Tensor:
        """The derivative, or the refusal of it."""
        if ctx.derivatives == 2:
            raise RuntimeError("the Koopman operations have first and second derivatives, and no third")
        return _NoThird.apply(sym, ctx.derivatives + 1)


def _change(sym: Tensor) -> Tensor:
    """Zero, with the derivative of ``sym``."""
    change = sym - sym.detach()
    return change + _NoThird.apply(sym, 0) if wanted(sym) else change


def _turn(sym: Tensor, v: Tensor, lam: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """How the kept eigenspace of ``sym`` turns, to second order: (dB, Y) in the constant basis v."""
    change = v.mT @ _change(sym) @ v
    gap = lam[:, None, :] - lam[:, :, None]
    across = (keep[:, None, :] > keep[:, :, None]) & (gap > 1e-15 * lam.amax(-1)[:, None, None])
    inv_gap = torch.where(across, 1 / torch.where(across, gap, 1.0), 0.0)
    y = inv_gap * change
    return change, inv_gap * (change + change @ y - y @ change)


def _eigenbasis(sym: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(lam >= 0 ascending, V, usable): constant eigenbasis in which the invalid pairs come first, apart."""
    value = sym.detach()
    trace = _diag(value).sum(-1, keepdim=True)
    apart = torch.where(trace > 0, trace, 1.0)
    lam, v = torch.linalg.eigh(value - torch.diag_embed(apart * (1 - pairs)))
    return lam.clamp_min(0), v, lam > -0.5 * apart


def _largest(n: int, rank: int, device: torch.device) -> Tensor:
    return torch.arange(n, device=device) >= n - (rank or n)


def _basis(b: Tensor, pairs: Tensor, count: Tensor, spec: KoopmanSpec) -> _Basis:
    lam, v, usable = _eigenbasis(b, pairs)
    mu = spec.ridge * _diag(b).sum(-1) / count.clamp_min(1)
    if spec.ridge > 0:
        kept = usable & (lam + mu.detach()[:, None] > 0)
    else:
        kept = (lam > spec.rtol**2 * lam[:, -1:]) & (lam > 0)
    kept = kept & _largest(lam.shape[-1], spec.rank, lam.device)
    keep = kept.to(lam.dtype)
    total = lam + mu.detach()[:, None]
    scale = torch.where(kept, torch.where(kept, total, 1.0).rsqrt(), 0.0)

    change, y = _turn(b, v, lam, keep)
    moved = _eye_like(b) + y
    ss = scale[:, :, None] * scale[:, None, :]
    energy = ss * (moved.mT @ (torch.diag_embed(lam) + change) @ moved)
    e = energy + mu[:, None, None] * ss * (moved.mT @ moved)
    de = e - e.detach()
    einv = _eye_like(b) - de + de @ de
    dropped = torch.diag_embed(1 - keep) - y - y.mT - y @ y.mT + y.mT @ y
    return _Basis((v @ moved) * scale[:, None, :], einv, energy, v @ dropped @ v.mT, keep, mu)


def _tls(blocks: _Blocks, rank: int) -> tuple[_Blocks, Tensor]:
    """Blocks compressed onto the ``rank`` leading eigenvectors of B + D, and the basis of that space."""
    total = blocks.b + blocks.d
    lam, v, usable = _eigenbasis(total, blocks.pairs)
    keep = (usable & _largest(lam.shape[-1], rank, lam.device)).to(lam.dtype)
    _, y = _turn(total, v, lam, keep)
    q = (v @ (_eye_like(y) + y - 0.5 * y.mT @ y)) * keep[:, None, :]
    b, c, d = (q.mT @ x @ q for x in (blocks.b, blocks.c, blocks.d))
    return blocks._replace(b=b, c=c, d=d, r=q.mT @ blocks.r, pairs=keep, count=keep.sum(-1)), q


# ------------------------------------------------------------------------------------------- split and losses


def _mask_weights(s: Tensor, keep: Tensor, spec: KoopmanSpec) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """m(S) or, for projector weights, g(S) = (m(S) - m(0)) S^-1; static modes, residual and xi used."""
    eye = _eye_like(s)
    k2 = keep[:, :, None] * keep[:, None, :]
    if not spec.smooth:
        project = _Projector.apply if wanted(s) else spectral_projector
        p, residual, radius = project(s.contiguous(), keep, spec.xi)
        weights = _inverse(s @ p + eye - p) @ p if spec.projector else p
        return weights, _diag(p.detach()).sum(-1).round(), residual, radius
    power, series = 0.5 * (eye + s), 0.5 * eye
    half = 0.5
    for _ in range(spec.smooth_log2):
        series = series @ (power + half * eye)
        power = power @ power
        half = half * half
    none = torch.zeros_like(keep[:, 0])
    return (series if spec.projector else power) * k2, (_diag(power.detach()) * keep).sum(-1), none, none


def _losses(blocks: _Blocks, basis: _Basis, width: int, truncated_rule: bool) -> Tensor:
    """(B, 4): mse, orthogonality excess, leave-one-out, forecast. Eq. 19 and its held-out variants."""
    w, einv, keep, count = basis.w, basis.einv, basis.keep, blocks.count
    safe = count.clamp_min(1) * width
    we = w @ einv
    residual = basis.dropped + basis.mu[:, None, None] * (we @ w.mT)
    mse = (residual * (blocks.d @ residual)).sum((-2, -1)) / safe

    a = w.mT @ blocks.d @ w @ einv @ basis.energy @ einv
    rank = keep.sum(-1)
    orth = (a * a.mT).sum((-2, -1)) - 2 * _diag(a).sum(-1) + rank.clamp_max(width)

    hat = we @ w.mT
    if truncated_rule:
        hat = torch.where((rank < count)[:, None, None], basis.dropped, hat)
    top = (hat * (blocks.d @ hat)).sum(-2)
    held = _diag(hat).square()
    usable = (blocks.pairs > 0) & (_diag(hat) > 1e-13 * _diag(hat).amax(-1, keepdim=True))
    each = torch.where(usable, top / torch.where(usable, held, 1.0), 0.0)
    loo = each.sum(-1) / safe
    n = each.shape[-1]
    last = (blocks.pairs * torch.arange(1, n + 1, device=each.device)).argmax(-1, keepdim=True)
    forecast = each.gather(-1, last)[:, 0] / width
    return torch.stack([mse, orth, loo, forecast], -1)


def _clean(features: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Float64 features with zeros in invalid frames and in clips that are not finite; finite (B,)."""
    clean = features.double()
    if valid is not None:
        clean = torch.where(valid[:, :, None], clean, 0.0)
    finite = torch.isfinite(clean.detach()).all(-1).all(-1)
    return clean.nan_to_num(0.0, 0.0, 0.0) * finite[:, None, None], finite


def factors(features: Tensor, valid: Tensor | None, spec: KoopmanSpec) -> tuple[Tensor, Tensor, Tensor]:
    """K = left right' of clips (B, T, M): left, right (B, M, n) float64 and the directions kept (B, n)."""
    clean, finite = _clean(features, valid)
    blocks = _gram_blocks(clean, valid, spec.per_frame)
    small, lift = _tls(blocks, spec.rank) if spec.tls else (blocks, None)
    basis = _basis(small.b, small.pairs, small.count, spec)
    w = basis.w if lift is None else lift @ basis.w
    stain = torch.where(finite, 1.0, torch.nan).to(w.dtype)[:, None, None]
    return clean[:, 1:].mT @ w * stain, clean[:, :-1].mT @ (w @ basis.einv) * stain, basis.keep


def koopman(
    features: Tensor, valid: Tensor | None, spec: KoopmanSpec, *, split: bool = True, losses: bool = True
) -> KoopmanRaw:
    """Split and losses of clips (B, T, M) in any float dtype, any device. ``valid``: bool (B, T) or None.

    What is not asked for (``split``, ``losses``) is zero. A clip with a non-finite frame gives NaN in all of
    its outputs and its gradient, and touches no other clip.
    """
    clean, finite = _clean(features, valid)
    poison = torch.where(finite, 1.0, torch.nan).to(clean.dtype)
    blocks = _gram_blocks(clean, valid, spec.per_frame)
    small, lift = _tls(blocks, spec.rank) if spec.tls else (blocks, None)
    basis = _basis(small.b, small.pairs, small.count, spec)
    s = basis.einv @ (basis.w.mT @ small.c @ basis.w)
    modes = residual = radius = torch.zeros_like(blocks.count)
    static = dynamic = torch.zeros_like(clean if spec.per_frame else clean[:, 0])
    if split:
        weights, modes, residual, radius = _mask_weights(s, basis.keep, spec)
        out = basis.w if lift is None else lift @ basis.w
        static, dynamic = _streams(clean, valid, spec, out, weights, basis.einv @ (basis.w.mT @ small.r))
    values = torch.zeros_like(clean[:, 0, :1]).expand(-1, 4)
    if losses:
        held_out_by_drop = spec.ridge == 0 or spec.rank > 0
        values = _losses(blocks, basis, features.shape[-1], held_out_by_drop)

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


def _streams(
    clean: Tensor, valid: Tensor | None, spec: KoopmanSpec, out: Tensor, weights: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    """Z_A and Z_M, float64: one combination of the later frames per output (Eq. 21)."""
    part = weights @ c
    static = (out @ part).mT @ clean[:, 1:]
    if spec.projector:
        mean = clean if spec.per_frame else _mean_frame(clean, valid)
        if spec.smooth:
            static = static + 2.0 ** -(2**spec.smooth_log2) * mean
        dynamic = mean - static
    else:
        dynamic = (out @ (c - part)).mT @ clean[:, 1:]
    if not spec.per_frame:
        return static[:, 0], dynamic[:, 0]
    return (static, dynamic) if valid is None else (static * valid[:, :, None], dynamic * valid[:, :, None])


def _mean_frame(clean: Tensor, valid: Tensor | None) -> Tensor:
    count = clean.shape[1] if valid is None else valid.sum(-1).clamp_min(1)[:, None, None]
    return clean.sum(1, keepdim=True) / count
