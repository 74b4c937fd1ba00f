"""What the input of a Koopman operation may look like, and what is said when it does not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bodvcl.ops.checks import capturing
from bodvcl.ops.transforms import concrete


def check_number(name: str, value: float, expected: str, *, zero: bool, below: float = math.inf) -> None:
    """``value`` is positive (with ``zero``: or 0) and less than ``below``, else ValueError."""
    if not ((value > 0 or (zero and value == 0)) and value < below):
        raise ValueError(f"{name} is {value}; expected {expected}")


def check_features(features: Tensor, frame_mask: Tensor | None, check_finite: bool) -> None:
    """Features are ``(..., T, M)`` floating point with T >= 3 and M >= 1; a frame mask is bool ``(..., T)``.

    Raises:
        TypeError: features are not a floating-point tensor.
        ValueError: a shape, a dtype or a device does not fit; with ``check_finite`` also for a NaN or an
            infinity in a valid frame.
    """
    if not isinstance(features, Tensor) or not features.is_floating_point():
        kind = features.dtype if isinstance(features, Tensor) else type(features).__name__
        raise TypeError(f"features must be a floating-point tensor (..., T, M), got {kind}")
    shape = tuple(features.shape)
    if features.ndim < 2:
        raise ValueError(f"features must be (..., T, M): frames and width at least; got the shape {shape}")
    if shape[-2] < 3:
        raise ValueError(
            f"features have {shape[-2]} frame(s) per clip, at least 3 are needed: two pairs of consecutive "
            "frames, one to fit the operator and one to say how well it predicts. Got the shape "
            f"{shape}, read as (..., T, M)"
        )
    if shape[-1] < 1:
        raise ValueError(f"features have width 0: {shape}, read as (..., T, M)")
    if frame_mask is not None:
        if frame_mask.dtype != torch.bool or frame_mask.shape != features.shape[:-1]:
            raise ValueError(
                f"frame_mask must be bool of shape {shape[:-1]}, True for valid frames; "
                f"got {frame_mask.dtype} of shape {tuple(frame_mask.shape)}"
            )
        if frame_mask.device != features.device:
            raise ValueError(
                f"frame_mask is on {frame_mask.device}, features are on {features.device}: move one of them"
            )
    if check_finite and not capturing(features):
        _check_finite(features, frame_mask)


def _check_finite(features: Tensor, frame_mask: Tensor | None) -> None:
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
