"""Koopman estimation and the spectral split of per-frame features."""

from __future__ import annotations

from bodvcl.ops.koopman.api import (
    GuardCounts,
    KoopmanLosses,
    KoopmanOperator,
    KoopmanSplit,
    KoopmanWarning,
    guard_counts,
    koopman_operator,
    koopman_prediction_loss,
    koopman_split,
    koopman_split_and_loss,
)

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
