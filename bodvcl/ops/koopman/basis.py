"""Gram blocks of clips, and the basis that whitens them.

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

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.koopman.small import diag, eye_like
from bodvcl.ops.koopman.spec import KoopmanSpec
from bodvcl.ops.transforms import Folded, outer_tangents, primals, wanted


class Blocks(NamedTuple):
    """The blocks of the Gram matrix F'F of clips, float64.

    Attributes:
        b, c, d: Fb'Fb, Fb'Ff, Ff'Ff (B, n, n); zero in the rows and columns of invalid pairs.
        r: Fb' mean(F) (B, n, 1), or Fb'F (B, n, T) per frame.
        pairs: (B, n), 1 for a valid pair, else 0.
        pair_count: (B,), number of valid pairs.
    """

    b: Tensor
    c: Tensor
    d: Tensor
    r: Tensor
    pairs: Tensor
    pair_count: Tensor


class Basis(NamedTuple):
    """The basis that whitens B: ``N = w einv w'``.

    Attributes:
        w: (B, n, n), W; columns of dropped directions are zero.
        einv: (B, n, n), the identity with the derivative of ``(W'(B + mu)W)^-1``.
        energy: (B, n, n), W'B W.
        dropped: (B, n, n), projector on the dropped directions.
        keep: (B, n), 1 for a kept direction, else 0.
        mu: (B,), the ridge.
    """

    w: Tensor
    einv: Tensor
    energy: Tensor
    dropped: Tensor
    keep: Tensor
    mu: Tensor


def gram_blocks(features: Tensor, frame_mask: Tensor | None, per_frame: bool) -> Blocks:
    """The blocks for features (B, T, M) float64, which are zero in invalid frames."""
    gram = features @ features.mT
    batch, t = features.shape[:2]
    if frame_mask is None:
        pairs = torch.ones(batch, t - 1, dtype=features.dtype, device=features.device)
        weight = torch.full((batch, t), 1 / t, dtype=features.dtype, device=features.device)
    else:
        ok = frame_mask.to(features.dtype)
        pairs = ok[:, :-1] * ok[:, 1:]
        weight = ok / ok.sum(-1, keepdim=True).clamp_min(1)
    k2 = pairs[:, :, None] * pairs[:, None, :]
    past = gram[:, :-1] * pairs[:, :, None]
    right = past if per_frame else past @ weight[:, :, None]
    b, c, d = gram[:, :-1, :-1] * k2, gram[:, :-1, 1:] * k2, gram[:, 1:, 1:] * k2
    return Blocks(b, c, d, right, pairs, pairs.sum(-1))


class _NoThird(Folded):
    """Zeros like ``sym`` that can be differentiated twice.

    A third time raises, because only terms up to the second order are kept.
    """

    @staticmethod
    def forward(sym: Tensor, derivatives: int) -> Tensor:
        return torch.zeros_like(sym)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        sym, ctx.derivatives = inputs
        ctx.save_for_backward(sym)
        ctx.save_for_forward(sym)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _NoThird.next(ctx, *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        with outer_tangents():
            return _NoThird.next(ctx, *primals(*ctx.saved_tensors))

    @staticmethod
    def next(ctx: Any, sym: Tensor) -> Tensor:
        """The derivative, or the refusal of it."""
        if ctx.derivatives == 2:
            raise RuntimeError("the Koopman operations have first and second derivatives, and no third")
        zeros: Tensor = _NoThird.apply(sym, ctx.derivatives + 1)
        return zeros


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
    trace = diag(value).sum(-1, keepdim=True)
    apart = torch.where(trace > 0, trace, 1.0)
    lam, v = torch.linalg.eigh(value - torch.diag_embed(apart * (1 - pairs)))
    return lam.clamp_min(0), v, lam > -0.5 * apart


def _largest(n: int, rank: int, device: torch.device) -> Tensor:
    return torch.arange(n, device=device) >= n - (rank or n)


def basis_of(blocks: Blocks, spec: KoopmanSpec) -> Basis:
    """The basis that whitens B, cut by ``spec.rtol`` or ``spec.rank`` or with the ridge ``spec.ridge``."""
    b, pairs = blocks.b, blocks.pairs
    lam, v, usable = _eigenbasis(b, pairs)
    mu = spec.ridge * diag(b).sum(-1) / blocks.pair_count.clamp_min(1)
    if spec.ridge > 0:
        kept = usable & (lam + mu.detach()[:, None] > 0)
    else:
        kept = (lam > spec.rtol**2 * lam[:, -1:]) & (lam > 0)
    kept = kept & _largest(lam.shape[-1], spec.rank, lam.device)
    keep = kept.to(lam.dtype)
    total = lam + mu.detach()[:, None]
    scale = torch.where(kept, torch.where(kept, total, 1.0).rsqrt(), 0.0)

    change, y = _turn(b, v, lam, keep)
    moved = eye_like(b) + y
    ss = scale[:, :, None] * scale[:, None, :]
    energy = ss * (moved.mT @ (torch.diag_embed(lam) + change) @ moved)
    e = energy + mu[:, None, None] * ss * (moved.mT @ moved)
    de = e - e.detach()
    einv = eye_like(b) - de + de @ de
    dropped = torch.diag_embed(1 - keep) - y - y.mT - y @ y.mT + y.mT @ y
    return Basis((v @ moved) * scale[:, None, :], einv, energy, v @ dropped @ v.mT, keep, mu)


def compress(blocks: Blocks, rank: int) -> tuple[Blocks, Tensor]:
    """Blocks compressed onto the ``rank`` leading eigenvectors of B + D, and the basis of that space.

    An operator fitted to the compressed blocks is that of total least squares.

    Returns:
        the blocks; columns (B, n, n) that span the space, zero for the others.
    """
    total = blocks.b + blocks.d
    lam, v, usable = _eigenbasis(total, blocks.pairs)
    keep = (usable & _largest(lam.shape[-1], rank, lam.device)).to(lam.dtype)
    _, y = _turn(total, v, lam, keep)
    q = (v @ (eye_like(y) + y - 0.5 * y.mT @ y)) * keep[:, None, :]
    b, c, d = (q.mT @ x @ q for x in (blocks.b, blocks.c, blocks.d))
    return blocks._replace(b=b, c=c, d=d, r=q.mT @ blocks.r, pairs=keep, pair_count=keep.sum(-1)), q


def clean_features(features: Tensor, frame_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Float64 features (B, T, M), zero in invalid frames and in clips that are not finite; finite (B,)."""
    clean = features.double()
    if frame_mask is not None:
        clean = torch.where(frame_mask[:, :, None], clean, 0.0)
    finite = torch.isfinite(clean.detach()).all(-1).all(-1)
    return clean.nan_to_num(0.0, 0.0, 0.0) * finite[:, None, None], finite
