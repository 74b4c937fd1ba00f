"""The prediction losses of Eq. 19 from the Gram blocks of clips and the basis that whitens them."""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.ops.koopman.basis import Basis, Blocks, basis_of, compress
from bodvcl.ops.koopman.small import diag, eye_like
from bodvcl.ops.koopman.spec import KoopmanSpec


def least_squares_losses(blocks: Blocks, basis: Basis, width: int, spec: KoopmanSpec) -> Tensor:
    """In-sample error, orthogonality excess, leave-one-out and forecast error (B, 4), in closed form.

    Args:
        blocks: of clips with features of ``width``.
        basis: that of these blocks.
    """
    w, count = basis.w, blocks.pair_count
    we = w @ basis.einv
    residual = basis.dropped + basis.mu[:, None, None] * (we @ w.mT)
    mse = _total(residual, blocks.d) / (count.clamp_min(1) * width)

    hat = we @ w.mT
    if spec.ridge == 0 or spec.rank > 0:
        hat = torch.where((basis.keep.sum(-1) < count)[:, None, None], basis.dropped, hat)
    top = _columns(hat, blocks.d)
    held = diag(hat).square()
    usable = (blocks.pairs > 0) & (diag(hat) > 1e-13 * diag(hat).amax(-1, keepdim=True))
    each = torch.where(usable, top / torch.where(usable, held, 1.0), 0.0)
    return _together(mse, _orthogonality_excess(blocks.d, basis, width), each, blocks, width)


def total_least_squares_losses(
    blocks: Blocks, small: Blocks, lift: Tensor, basis: Basis, width: int, spec: KoopmanSpec
) -> Tensor:
    """The same (B, 4) for total least squares: the held-out errors are those of T - 1 refits, one per pair.

    A closed form does not exist, because every pair turns the space that the others are projected on.

    Args:
        blocks: of clips with features of ``width``.
        small, lift: these blocks compressed, and the basis of the space.
        basis: that of the compressed blocks.
    """
    w = lift @ basis.w
    residual = torch.diag_embed(blocks.pairs) - w @ basis.einv @ w.mT @ blocks.b
    mse = _total(residual, blocks.d) / (blocks.pair_count.clamp_min(1) * width)
    return _together(
        mse, _orthogonality_excess(small.d, basis, width), _refitted(blocks, spec), blocks, width
    )


def _refitted(blocks: Blocks, spec: KoopmanSpec) -> Tensor:
    """``|x_{t+1} - K_t x_t|^2`` (B, n) with K_t fitted by total least squares to the pairs other than t."""
    batch, n = blocks.pairs.shape
    others = (blocks.pairs[:, None] * (1 - eye_like(blocks.b))).reshape(batch * n, n)
    kept = others[:, :, None] * others[:, None, :]
    repeated = (x[:, None].expand(-1, n, -1, -1).flatten(0, 1) for x in (blocks.b, blocks.c, blocks.d))
    b, c, d = (x * kept for x in repeated)
    small, lift = compress(Blocks(b, c, d, b[..., :0], others, others.sum(-1)), spec.rank)
    basis = basis_of(small, spec)
    w = lift @ basis.w
    column = blocks.b.mT.reshape(batch * n, n, 1)
    fitted = (w @ (basis.einv @ (w.mT @ column))).reshape(batch, n, n).mT
    return _columns(torch.diag_embed(blocks.pairs) - fitted, blocks.d)


def _columns(mix: Tensor, d: Tensor) -> Tensor:
    """Squared norms (B, n) of the columns of ``Ff mix``."""
    return (mix * (d @ mix)).sum(-2)


def _total(mix: Tensor, d: Tensor) -> Tensor:
    """Squared norm (B,) of ``Ff mix``."""
    return (mix * (d @ mix)).sum((-2, -1))


def _orthogonality_excess(d: Tensor, basis: Basis, width: int) -> Tensor:
    """``|K'K - I|^2`` less its floor (B,), from D in the coordinates of the basis."""
    a = basis.w.mT @ d @ basis.w @ basis.einv @ basis.energy @ basis.einv
    return (a * a.mT).sum((-2, -1)) - 2 * diag(a).sum(-1) + basis.keep.sum(-1).clamp_max(width)


def _together(mse: Tensor, orth: Tensor, each: Tensor, blocks: Blocks, width: int) -> Tensor:
    """(B, 4) from the held-out errors ``each`` (B, n)."""
    loo = each.sum(-1) / (blocks.pair_count.clamp_min(1) * width)
    n = each.shape[-1]
    last = (blocks.pairs * torch.arange(1, n + 1, device=each.device)).argmax(-1, keepdim=True)
    return torch.stack([mse, orth, loo, each.gather(-1, last)[:, 0] / width], -1)
