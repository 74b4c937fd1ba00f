"""Grad-CAM of clips (Selvaraju et al., ICCV 2017, arXiv:1610.02391): where does an encoder look?

Let ``A`` (D, T, h, w) be a feature map of a clip and ``S`` a number that the encoder computes from it. The
weight of channel k is the mean of its gradient over all places of the clip, and the map is the positive part
of the weighted sum::

    alpha_k      = 1 / (T h w) * sum over t, i, j of dS / dA_k[t, i, j]
    M[t, i, j]   = max(0, sum over k of alpha_k A_k[t, i, j])

So there is one weight per channel and clip, and one map per frame: time is one more axis of the sum, beside
height and width. This is wrong for a number that depends only on how features change. Such an S does not
change when the same vector is added to the features of all frames, so the sum over t of its gradient is zero,
and so is every alpha_k. For it, weights are taken per frame::

    alpha_k[t]   = 1 / (h w) * sum over i, j of dS / dA_k[t, i, j]
    M[t, i, j]   = max(0, sum over k of alpha_k[t] A_k[t, i, j])

Only maps of one encoder, clip and S can be compared: the unit of M is that of S.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bodvcl.evaluate.clips import frozen, to_encoder
from bodvcl.models.backbones.base import pool_space
from bodvcl.models.encoder import VideoEncoder


class Attention(NamedTuple):
    """Where an encoder looks.

    Attributes:
        maps: float32 ``(N, L, H, W)`` on the CPU, not negative, one value per pixel of the clips. A clip
            whose map is zero everywhere has no place that raises its score.
        scores: float32 ``(N,)`` on the CPU, S of each clip.
    """

    maps: Tensor
    scores: Tensor


def attention(
    encoder: VideoEncoder,
    clips: Tensor,
    score: Callable[[Tensor], Tensor],
    *,
    depth: int = 4,
    per_frame: bool = False,
) -> Attention:
    """Grad-CAM of each clip. The encoder is frozen, in evaluation mode: clips do not influence each other.

    Args:
        encoder: on the device on which it computes.
        clips: normalised, ``(N, 3, L, H, W)``.
        score: maps the backbone's per-frame features ``(N, T, D)`` to S ``(N,)``, with a gradient; row n may
            only depend on clip n.
        depth: feature map that is looked at, 1 (shallow) to 4 (the last one).
        per_frame: weights per frame, for scores that only depend on change.
    """
    device = next(encoder.parameters()).device
    with frozen(encoder), torch.enable_grad():
        inputs = to_encoder(clips, encoder, device).detach().requires_grad_()
        maps = encoder.backbone.maps(inputs)
        values = score(pool_space(maps[-1]))
        (gradient,) = torch.autograd.grad(values.sum(), maps[depth - 1])
    cam = grad_cam(maps[depth - 1].detach().float(), gradient.float(), per_frame=per_frame)
    return Attention(on_pixels(cam, *clips.shape[2:]).cpu(), values.detach().float().cpu())


def grad_cam(features: Tensor, gradient: Tensor, *, per_frame: bool = False) -> Tensor:
    """The formula above.

    Args:
        features: A, float ``(N, D, T, h, w)``.
        gradient: dS / dA, of the same shape.
        per_frame: weights per frame in place of weights per clip.

    Returns:
        M, ``(N, T, h, w)``, not negative.
    """
    weights = gradient.mean((-2, -1) if per_frame else (-3, -2, -1), keepdim=True)
    return (weights * features).sum(1).relu()


def on_pixels(cam: Tensor, frames: int, height: int, width: int) -> Tensor:
    """Interpolate a map ``(N, T, h, w)`` linearly in time and space: ``(N, frames, height, width)``.

    Cells and pixels are areas, not points: value t of T lies at the middle of its ``frames / T`` frames, and
    so in space. Where ``T == frames``, time is not interpolated. Beyond the outermost middles, the outermost
    values are repeated.
    """
    size = (frames, height, width)
    return F.interpolate(cam[:, None], size=size, mode="trilinear", align_corners=False)[:, 0]
