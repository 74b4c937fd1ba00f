"""The negative cosine of V-BYOL (Eq. 4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bodvcl.ops.checks import check_valid, one_of
from bodvcl.ops.contrastive.checks import check_pair
from bodvcl.ops.contrastive.norms import NO_DIRECTION
from bodvcl.ops.contrastive.parts import REDUCTIONS, Reduction, reduced


def negative_cosine(
    prediction: Tensor,
    target: Tensor,
    *,
    valid: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""V-BYOL's loss (Eq. 4) for H streams at once: minus the cosine of a prediction and its target:

    .. math:: \ell_i = - \frac{p_i^\top z_i}{\|p_i\| \, \|z_i\|}

    Args:
        prediction: ``(H, N, D)``, floating point.
        target: ``(H, N, D)``, same dtype and device; gets no gradient.
        valid: ``(H, N)`` bool; False rows are left out. None: all rows are valid.
        reduction: "mean" over each stream's contributing rows; "sum"; "none".

    Returns:
        ``(H,)``, or ``(H, N)`` for "none"; float32, or float64 for float64. A row that is not valid, or
        where either vector is zero (no longer than 1e-12), contributes 0 and gets no gradient.

    Raises:
        TypeError: prediction or target is not a floating-point tensor.
        ValueError: shapes, dtypes or devices that do not fit; an unknown reduction.
    """
    op = "negative_cosine"
    one_of(f"{op}: reduction", reduction, REDUCTIONS)
    check_pair(op, prediction, target, names=("prediction", "target"), length="N")
    if prediction.shape != target.shape:
        raise ValueError(
            f"{op}: target is {tuple(target.shape)}; expected {tuple(prediction.shape)}, as prediction"
        )
    check_valid(op, valid, prediction, "prediction", 2)
    wide = torch.promote_types(prediction.dtype, torch.float32)
    with torch.autocast(prediction.device.type, enabled=False):
        pair = prediction.to(wide), target.detach().to(wide)
        some = torch.stack([x.detach().norm(dim=-1) for x in pair]).amin(0)
        some = ~(some <= NO_DIRECTION) if valid is None else valid & ~(some <= NO_DIRECTION)
        unit = [normalize(torch.where(some[..., None], x, 1.0), dim=-1) for x in pair]
        loss = torch.where(some, -(unit[0] * unit[1]).sum(-1), 0.0)
    return reduced(loss, some, reduction)
