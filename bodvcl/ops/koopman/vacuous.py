"""The warning about a prediction loss that is 0 whatever the features are."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from bodvcl.ops.koopman.results import KoopmanRaw
from bodvcl.ops.koopman.spec import KoopmanSpec
from bodvcl.ops.transforms import concrete

_warned: set[str] = set()


class KoopmanWarning(UserWarning):
    """The chosen mode of the prediction loss has nothing to learn from."""


def warn_if_vacuous(
    features: Tensor, frame_mask: Tensor | None, spec: KoopmanSpec, raw: KoopmanRaw, mode: str
) -> None:
    """Warn, once in a process, where ``mode="train"`` fits every pair of clips (B, T, M) exactly."""
    n, m = features.shape[1] - 1, features.shape[2]
    could_be = mode == "train" and spec.ridge == 0 and n <= m and spec.rank in (0, n)
    if not could_be or "train" in _warned or torch.compiler.is_compiling() or not features.shape[0]:
        return
    pairs = n if frame_mask is None else (frame_mask[:, 1:] & frame_mask[:, :-1]).sum(-1)
    if bool(concrete(raw.stats[:, 1] == pairs).all()):
        _warned.add("train")
        warnings.warn(
            f"mode='train' is vacuous here: {n} pairs of frames of width {m} are fitted exactly, so the "
            "prediction error is 0 and only the orthogonality term is left. Use mode='loo' or 'forecast', or "
            "ridge > 0.",
            KoopmanWarning,
            stacklevel=3,
        )
