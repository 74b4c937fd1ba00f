"""The options of a Koopman operation, checked, in the one form that every route takes: `KoopmanSpec`."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from bodvcl.ops.checks import one_of
from bodvcl.ops.koopman.checks import check_number

Mask = Literal["hard", "smooth"]
Weights = Literal["eigenvalue", "projector"]
Estimator = Literal["ls", "tls"]
Pool = Literal["mean", "none", "std"]
Mode = Literal["train", "loo", "forecast"]
Reduction = Literal["mean", "sum", "none"]
Backend = Literal["auto", "cuda", "cpu", "torch", "reference"]

MASKS, WEIGHTS, ESTIMATORS, POOLS, MODES, REDUCTIONS = map(
    get_args, (Mask, Weights, Estimator, Pool, Mode, Reduction)
)
RIDGE = 0.01
"""Default ridge of every operation, which is that of training."""
RTOL = {torch.float64: 1e-7, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 1e-2}
"""Default rtol by dtype."""
NO_SPREAD = 1e-20
"""A variance over time below this share of the feature's mean square is rounding, and counts as none."""
RTOL_FLOOR = 1e-7
"""The smallest rtol that a float64 Gram matrix resolves."""


class KoopmanSpec(NamedTuple):
    """Every choice that the algebra needs, as plain numbers.

    The fields up to ``max_gain`` are the arguments of the native operator, in its order.

    Attributes:
        xi: radius of the disk around 1 that holds the static eigenvalues; hard mask only.
        smooth: smooth mask in place of the hard one.
        smooth_log2: base-2 logarithm of the smooth mask's exponent.
        projector: modes have weight 1 in place of their eigenvalue.
        rtol: relative singular value below which a direction is dropped; without a ridge only.
        ridge: share of the mean diagonal of Fb'Fb that is added to it; 0: truncation.
        rank: number of directions kept at most; 0: all.
        pool: place in `POOLS`. 0 splits the mean frame, 1 every frame; 2 splits every frame and gives the
            mean of the static parts and the standard deviation of the dynamic ones.
        max_gain: bound on the gain of a clip's gradient through the split; 0: none.
        tls: total least squares in place of least squares.
    """

    xi: float
    smooth: bool
    smooth_log2: int
    projector: bool
    rtol: float
    ridge: float
    rank: int
    pool: int
    max_gain: float = 0.0
    tls: bool = False

    @property
    def per_frame(self) -> bool:
        """Whether every frame is split, in place of the mean frame."""
        return self.pool != 0

    @property
    def spread(self) -> bool:
        """Whether the dynamic stream is a standard deviation over the frames."""
        return self.pool == 2

    def stream_shape(self, shape: torch.Size) -> tuple[int, ...]:
        """Shape of a stream for clips of shape (B, T, M)."""
        return tuple(shape) if self.pool == 1 else (shape[0], shape[2])


def make_spec(
    features: Tensor,
    *,
    rtol: float | None,
    ridge: float,
    rank: int | None,
    estimator: str,
    xi: float = 0.1,
    mask: str = "smooth",
    smooth_power: int = 1,
    weights: str = "eigenvalue",
    max_gain: float | None = None,
    pool: str = "mean",
) -> KoopmanSpec:
    """The options of the public functions, checked against features ``(..., T, M)``.

    The defaults are for operations without a split: they change no loss and no operator.

    Raises:
        ValueError: an option is unknown, out of range, or does not fit the features.
    """
    if rtol is not None:
        expected = "a number in (0, 1), or None for the default of the dtype"
        check_number("rtol", rtol, expected, zero=False, below=1.0)
    check_number("ridge", ridge, "0 (truncated inverse) or a positive number", zero=True)
    most = min(features.shape[-2] - 1, features.shape[-1])
    if rank is not None and not 1 <= rank <= most:
        raise ValueError(
            f"rank is {rank}; expected 1 to {most}, the smaller of T - 1 and the width M, or None to keep all"
        )
    one_of("mask", mask, MASKS)
    one_of("weights", weights, WEIGHTS)
    one_of("estimator", estimator, ESTIMATORS)
    one_of("pool", pool, POOLS)
    if mask == "hard" and not 0 < xi <= 1:
        raise ValueError(
            f"xi is {xi}; the hard mask needs a radius in (0, 1]: a larger disk around 1 would hold 0, the "
            "eigenvalue of every direction that the clip does not contain"
        )
    if smooth_power < 1 or smooth_power & (smooth_power - 1):
        raise ValueError(f"smooth_power is {smooth_power}; expected a power of two: 1, 2, 4, 8, ...")
    if estimator == "tls" and rank is None:
        raise ValueError("estimator='tls' needs a rank: it projects on that many leading directions")
    if max_gain is not None and not max_gain > 0:
        raise ValueError(f"max_gain is {max_gain}; expected a positive number, or None for no guard")
    default = RTOL.get(features.dtype, RTOL_FLOOR)
    return KoopmanSpec(
        xi=float(xi),
        smooth=mask == "smooth",
        smooth_log2=smooth_power.bit_length() - 1,
        projector=weights == "projector",
        rtol=max(default if rtol is None else rtol, RTOL_FLOOR),
        ridge=float(ridge),
        rank=rank or 0,
        pool=POOLS.index(pool),
        max_gain=max_gain or 0.0,
        tls=estimator == "tls",
    )
