"""Koopman estimation and spectral split of per-frame features (Eqs. 18-21), fused and differentiable.

Features are ``(..., T, M)``: T frames, width M, any leading dimensions, float64/32/16 or bfloat16, contiguous
or not. Everything small is done in float64 from one T x T Gram matrix; outputs come back in the features'
dtype. The algebra is derived in ``docs/koopman.md``.

Defined edge cases: an all-zero clip gives zeros and a zero gradient; identical frames give, without a ridge,
``static = mean(F)`` and ``dynamic = 0``, and always a finite gradient; a NaN or infinity makes that clip's
outputs NaN, sets its ``nonfinite`` flag and touches no other clip; an empty batch works.

Derivatives: forward and reverse mode, ``torch.func`` and ``torch.func.vmap`` on every route; a second
derivative on the PyTorch route. What a route cannot do raises RuntimeError.

Defaults are those of training: a smooth mask, a ridge of 0.01, the leave-one-out error. The paper's own
choices are ``mask="hard", ridge=0, mode="train"``. Training also scales every frame to unit length before the
split and sets ``max_gain=1``. These two stay with the caller: the first changes the features, and with the
second the gradient is not the derivative.
"""

from __future__ import annotations

from bodvcl.ops.koopman.api import koopman_prediction_loss, koopman_split, koopman_split_and_loss
from bodvcl.ops.koopman.guard import GuardCounts, guard_counts
from bodvcl.ops.koopman.operator import KoopmanOperator, koopman_operator
from bodvcl.ops.koopman.results import KoopmanLosses, KoopmanSplit
from bodvcl.ops.koopman.vacuous import KoopmanWarning

__all__ = [
    "GuardCounts",
    "KoopmanLosses",
    "KoopmanOperator",
    "KoopmanSplit",
    "KoopmanWarning",
    "guard_counts",
    "koopman_operator",
    "koopman_prediction_loss",
    "koopman_split",
    "koopman_split_and_loss",
]
