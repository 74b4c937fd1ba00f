"""Norms of whole tensors, for optimisers that scale a step by them, also where ranks hold only parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from bodvcl.ops.distributed import sum_over_ranks

Norms = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""Norm of each tensor, ``(n,)``, from the tensors and the parameters that they belong to."""


def norms(tensors: Sequence[Tensor], params: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of each tensor, ``(n,)``, where every rank holds all of them."""
    return torch.stack(torch._foreach_norm(list(tensors)))


class NormsOverRanks:
    """As :func:`norms`, where ranks hold parts of some parameters: one sum over the ranks for all tensors.

    Args:
        cut: the parameters of which this rank holds a part.
    """

    def __init__(self, cut: Iterable[Tensor]) -> None:
        self._cut = {id(p) for p in cut}

    def __call__(self, tensors: Sequence[Tensor], params: Sequence[Tensor]) -> Tensor:
        own = norms(tensors, params)
        whole = sum_over_ranks(own.double().square()).sqrt().to(own.dtype)
        chosen = (id(p) in self._cut for p in params)
        return torch.stack([w if cut else o for cut, w, o in zip(chosen, whole.unbind(), own.unbind())])
