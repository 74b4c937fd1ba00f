"""The hard mask: spectral projectors by Newton's sign iteration, and their derivatives.

The projector P of A on the disk has ``A P = P A`` and ``P P = P``. Its derivative lives between the ranges
of P and of ``I - P``, where it solves a Sylvester equation whose two sides have their spectra inside and
outside of the disk (``docs/koopman.md``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bodvcl.ops.koopman.small import diag, eye_like, inverse
from bodvcl.ops.transforms import Folded, outer_tangents, primals, wanted

NEWTON_STEPS = 24
SMITH_STEPS = 30
NUDGES = (1.02, 0.98, 1.05)
IDEMPOTENT = 1e-8
"""These four are those of ``csrc/spectral.h``: a test compares them."""


def _norm1inf(x: Tensor) -> Tensor:
    """Geometric mean of the 1-norm and the infinity norm (..., 1, 1)."""
    a = x.abs()
    return (a.sum(-2).amax(-1) * a.sum(-1).amax(-1)).sqrt()[..., None, None]


def _newton_projector(a: Tensor, keep: Tensor, xi: Tensor) -> tuple[Tensor, Tensor]:
    """Projector on |lambda - 1| < xi within the kept space, and its relative idempotency residual.

    By Newton's sign iteration on the Cayley transform.
    """
    eye = eye_like(a)
    k2 = keep[..., :, None] * keep[..., None, :]
    w = (a - eye) / xi[:, None, None]
    x = torch.linalg.solve_ex(w - eye, w + eye)[0]
    x = x * k2 + torch.diag_embed(1 - keep)
    for _ in range(NEWTON_STEPS):
        inv = inverse(x)
        scale = (_norm1inf(inv) / _norm1inf(x)).sqrt()
        new = 0.5 * (scale * x + inv / scale)
        moved = (new - x).abs().amax((-2, -1)) / new.abs().amax((-2, -1))
        x = new
        if not x.is_cuda and not bool((moved > 1e-15 * x.shape[-1]).any()):
            break
    p = 0.5 * (eye - x) * k2
    modes = diag(p).sum(-1).round()[:, None, None]
    p = torch.where(modes == 0, torch.zeros_like(p), p)
    p = torch.where(modes == keep.sum(-1)[:, None, None], torch.diag_embed(keep), p)
    residual = (p @ p - p).norm(dim=(-2, -1)) / p.norm(dim=(-2, -1)).clamp_min(1)
    return p, residual.nan_to_num(nan=torch.inf)


@torch.library.custom_op("bodvcl::spectral_projector", mutates_args=())
def spectral_projector(a: Tensor, keep: Tensor, xi: float) -> tuple[Tensor, Tensor, Tensor]:
    """Projector of a (B, n, n) float64 on its eigenvalues with |lambda - 1| < xi, in the space kept (B, n).

    Where the iteration does not converge, because an eigenvalue lies on the circle, xi is moved by +2, -2 or
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
    """Y with ``inside Y - Y outside = rhs`` (B, n, n), by Smith's doubling iteration.

    The spectrum of ``inside`` lies inside the unit disk, that of ``outside`` outside of it.
    """
    u, v = inside, inverse(outside)
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
        y: Tensor = disk_sylvester(inside.contiguous(), outside.contiguous(), rhs.contiguous())
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0], inputs[1], output)
        ctx.save_for_forward(inputs[0], inputs[1], output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inside, outside, y = ctx.saved_tensors
        w = _solve(inside.mT, outside.mT, grad)
        return -w @ y.mT, y.mT @ w, w

    @staticmethod
    def jvp(ctx: Any, inside_t: Tensor, outside_t: Tensor, rhs_t: Tensor) -> Tensor:
        with outer_tangents():
            inside, outside, y = primals(*ctx.saved_tensors)
            return _solve(inside, outside, rhs_t - inside_t @ y + y @ outside_t)


def _solve(inside: Tensor, outside: Tensor, rhs: Tensor) -> Tensor:
    """`disk_sylvester` as the compiler needs it, or as eager mode does."""
    run = _Sylvester.forward if torch.compiler.is_compiling() else _Sylvester.apply
    y: Tensor = run(inside, outside, rhs)
    return y


class _Projector(Folded):
    """`spectral_projector` in eager mode."""

    outputs = (0, 0, 0)

    @staticmethod
    def forward(a: Tensor, keep: Tensor, xi: float) -> tuple[Tensor, Tensor, Tensor]:
        p, residual, radius = spectral_projector(a.contiguous(), keep, xi)
        return p, residual, radius

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        a, keep, _ = inputs
        p, residual, radius = output
        ctx.save_for_backward(a, keep, p, radius)
        ctx.save_for_forward(a, keep, p, radius)
        ctx.mark_non_differentiable(residual, radius)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: object) -> tuple[Tensor, None, None]:
        inside, outside, p, radius = _disk_sides(*ctx.saved_tensors)
        return _across(inside.mT, outside.mT, p.mT, grad / radius), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: object) -> tuple[Tensor, None, None]:
        with outer_tangents():
            inside, outside, p, radius = _disk_sides(*primals(*ctx.saved_tensors))
            return _across(inside, outside, p, tangent / radius), None, None


def _disk_sides(a: Tensor, keep: Tensor, p: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The parts of a inside and outside of the disk, scaled to the unit disk; the projector; the radius."""
    eye = eye_like(a)
    radius = radius[:, None, None]
    w = (a - eye) / radius
    rest = torch.diag_embed(1 - keep)
    return w @ p, w @ (eye - p - rest) + 2 * (p + rest), p, radius


def _across(inside: Tensor, outside: Tensor, p: Tensor, change: Tensor) -> Tensor:
    """Frechet derivative of the projector: two Sylvester equations between the range of P and of I - P.

    With every matrix transposed it is the adjoint.
    """
    q = eye_like(p) - p
    y12 = _solve(inside, outside, p @ change @ q)
    y21 = _solve(inside.mT, outside.mT, p.mT @ change.mT @ q.mT)
    return y12 + y21.mT


disk_sylvester.register_autograd(_Sylvester.backward, setup_context=_Sylvester.setup_context)
spectral_projector.register_autograd(_Projector.backward, setup_context=_Projector.setup_context)


def project(a: Tensor, keep: Tensor, xi: float) -> tuple[Tensor, Tensor, Tensor]:
    """`spectral_projector` with its derivatives, in eager mode and under the compiler."""
    run = _Projector.apply if wanted(a) else spectral_projector
    p, residual, radius = run(a.contiguous(), keep, xi)
    return p, residual, radius
