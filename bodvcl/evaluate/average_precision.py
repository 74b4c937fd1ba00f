"""Average precision of each class, where a video can have several."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray


def average_precisions(
    scores: NDArray[np.float64], targets: NDArray[np.float32] | NDArray[np.bool_]
) -> NDArray[np.float64]:
    """float64 (C,): average precision of each class; NaN: no video has it.

    Args:
        scores: (N, C) in [0, 1], higher for more likely.
        targets: (N, C), 0 or 1.
    """
    from torchmetrics.functional.classification import multilabel_average_precision  # takes a second

    wanted = torch.from_numpy(targets).long()
    there = wanted.any(0).numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No positive samples")  # such classes do not count
        found = multilabel_average_precision(
            torch.from_numpy(scores), wanted, num_labels=targets.shape[1], average="none"
        ).numpy()
    result: NDArray[np.float64] = np.where(there, found, np.nan)
    return result
