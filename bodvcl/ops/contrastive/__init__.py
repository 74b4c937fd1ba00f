"""Contrastive losses over several streams without writing a similarity matrix."""

from __future__ import annotations

from bodvcl.ops.contrastive.api import (
    InfoNCEParts,
    InfoNCEStats,
    info_nce,
    info_nce_parts,
    merge,
    negative_cosine,
)

__all__ = [
    "InfoNCEParts",
    "InfoNCEStats",
    "info_nce",
    "info_nce_parts",
    "merge",
    "negative_cosine",
]
