"""Public operations on tensors. Each chooses its backend itself and can say why it does not take another.

Names are imported when they are first used, so that one operation does not load what only another needs.
The folders and modules below can also be imported by themselves: ``bodvcl.ops.koopman``,
``bodvcl.ops.contrastive``, ``bodvcl.ops.augment``, ``bodvcl.ops.sinkhorn``, ``bodvcl.ops.distributed``.

Every error names the argument, what it is and what was expected, with the remedy where there is one. The
docstrings say which is a TypeError and which a ValueError; a backend that is named and cannot serve a call is
a `BackendError`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bodvcl.ops.augment import (
        AugmentParams,
        MixParams,
        augment_clips,
        blur_radius,
        mix_scenes,
        resize_box,
    )
    from bodvcl.ops.backend import BackendError
    from bodvcl.ops.contrastive import (
        InfoNCEParts,
        InfoNCEStats,
        info_nce,
        info_nce_parts,
        merge,
        negative_cosine,
    )
    from bodvcl.ops.distributed import gather, info_nce_gathered, sum_over_ranks, world_size
    from bodvcl.ops.koopman import (
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
    from bodvcl.ops.sinkhorn import sinkhorn_knopp, swapped_prediction

__all__ = [
    "AugmentParams",
    "BackendError",
    "GuardCounts",
    "InfoNCEParts",
    "InfoNCEStats",
    "KoopmanLosses",
    "KoopmanOperator",
    "KoopmanSplit",
    "KoopmanWarning",
    "MixParams",
    "augment_clips",
    "blur_radius",
    "gather",
    "guard_counts",
    "info_nce",
    "info_nce_gathered",
    "info_nce_parts",
    "koopman_operator",
    "koopman_prediction_loss",
    "koopman_split",
    "koopman_split_and_loss",
    "merge",
    "mix_scenes",
    "negative_cosine",
    "resize_box",
    "sinkhorn_knopp",
    "sum_over_ranks",
    "swapped_prediction",
    "world_size",
]

_PUBLIC = {
    "augment": "AugmentParams MixParams augment_clips blur_radius mix_scenes resize_box",
    "backend": "BackendError",
    "contrastive": "InfoNCEParts InfoNCEStats info_nce info_nce_parts merge negative_cosine",
    "distributed": "gather info_nce_gathered sum_over_ranks world_size",
    "koopman": "GuardCounts KoopmanLosses KoopmanOperator KoopmanSplit KoopmanWarning guard_counts "
    "koopman_operator koopman_prediction_loss koopman_split koopman_split_and_loss",
    "sinkhorn": "sinkhorn_knopp swapped_prediction",
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names.split()}


if not TYPE_CHECKING:  # a type checker would take every name for an attribute

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
