"""Parameters as vectors: linear algebra and autograd for the solvers."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from bodvcl.bilevel.problem import Params


def leaves(params: Params) -> Params:
    """The same values as new leaves of a graph, for differentiation; the storage is shared."""
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def gradient(value: Tensor, at: Params, *, twice: bool = False) -> Params:
    """Gradient of a scalar, without the names that it does not depend on.

    Args:
        value: a scalar.
        at: leaves of its graph, by name.
        twice: keep the graph of the gradient, so that it can be differentiated.
    """
    found = torch.autograd.grad(value, list(at.values()), create_graph=twice, allow_unused=True)
    return {name: g for name, g in zip(at, found) if g is not None}


def filled(partial: Params, like: Params) -> Params:
    """``partial``, with zeros for the names of ``like`` that are missing."""
    return {name: partial[name] if name in partial else torch.zeros_like(p) for name, p in like.items()}


def only(tensors: Params, names: Collection[str]) -> Params:
    """The tensors with one of these names."""
    return {name: t for name, t in tensors.items() if name in names}


def moved(params: Params, direction: Params, step: Tensor | float) -> Params:
    """``params + step * direction``, without a graph; names that ``direction`` lacks do not change."""
    return {
        name: p.detach() + step * direction[name] if name in direction else p.detach()
        for name, p in params.items()
    }


def difference(a: Params, b: Params, factor: Tensor | float) -> Params:
    """``factor * (a - b)``."""
    return {name: factor * (a[name] - b[name]) for name in a}


def norm(tensors: Params) -> Tensor:
    """Euclidean norm of all entries, a scalar."""
    return get_total_norm([t.detach() for t in tensors.values()])


def dot(a: Params, b: Params) -> Tensor:
    """Sum of the products of all entries, a scalar."""
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()
