"""Contrastive losses over H streams at once, without writing a similarity matrix (Eqs. 1, 4 and 22).

``query (H, N, D)`` is compared with ``keys (H, K, D)`` stream by stream: static with static, dynamic with
dynamic. Integer ids say which keys are positives and which are excluded. The algebra is derived in
``docs/contrastive.md``.

Defined edge cases: a row that is not valid, whose vector is zero, or that has no positive contributes 0 and
gets no gradient; a zero key is ignored; a row without negatives has loss 0; empty batches work.

Derivatives: forward and reverse mode, ``torch.func`` and ``torch.func.vmap`` on every route; a second
derivative on the route "torch". What a route cannot do raises RuntimeError.
"""

from __future__ import annotations

from bodvcl.ops.contrastive.api import info_nce, info_nce_parts
from bodvcl.ops.contrastive.cosine import negative_cosine
from bodvcl.ops.contrastive.parts import InfoNCEParts, InfoNCEStats, merge

__all__ = [
    "InfoNCEParts",
    "InfoNCEStats",
    "info_nce",
    "info_nce_parts",
    "merge",
    "negative_cosine",
]
