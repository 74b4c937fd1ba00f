"""Public operations on tensors. Each picks its backend inside and says why another one would not do."""

from __future__ import annotations

from bodvcl.ops.koopman import (
    KoopmanLosses,
    KoopmanOperator,
    KoopmanSplit,
    KoopmanWarning,
    koopman_operator,
    koopman_prediction_loss,
    koopman_split,
    koopman_split_and_loss,
)

__all__ = [
    "KoopmanLosses",
    "KoopmanOperator",
    "KoopmanSplit",
    "KoopmanWarning",
    "koopman_operator",
    "koopman_prediction_loss",
    "koopman_split",
    "koopman_split_and_loss",
]
