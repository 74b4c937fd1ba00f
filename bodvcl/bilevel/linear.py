r"""Solvers of :math:`(I + \gamma H) \, u = v` that use only products with H."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bodvcl.bilevel.curvature import Product
from bodvcl.bilevel.problem import Params
from bodvcl.bilevel.vectors import dot


class Solution(NamedTuple):
    """An approximate solution.

    Attributes:
        u: the solution, over the leaves that look ahead.
        mixed: the product with u, over the other leaves.
    """

    u: Params
    mixed: Params


def neumann_series(product: Product, v: Params, gamma: Tensor | float, iterations: int) -> Solution:
    r""":math:`u = \sum_{i=0}^{k} (-\gamma H)^i v` for k iterations, one product each.

    It converges where every eigenvalue of gamma H is below 1 in absolute value. ``mixed`` is summed over the
    terms below k, so that both are correct to the order :math:`\gamma^k`.
    """
    term, u = v, v
    mixed: Params = {}
    for _ in range(iterations):
        found = product(term)
        mixed = _add(mixed, _others(found, v), 1.0)
        term = {name: -gamma * found[name] if name in found else torch.zeros_like(t) for name, t in v.items()}
        u = _add(u, term, 1.0)
    return Solution(u, mixed)


def conjugate_gradients(product: Product, v: Params, gamma: Tensor | float, iterations: int) -> Solution:
    """Conjugate gradients from 0, one product per iteration.

    If I + gamma H is not positive definite along a search direction, the solution so far is returned, or v in
    the first iteration. It does not wait for the device.
    """
    u = {name: torch.zeros_like(t) for name, t in v.items()}
    mixed: Params = {}
    residual = direction = v
    squared = dot(v, v)
    positive = torch.ones_like(squared, dtype=torch.bool)
    for i in range(iterations):
        found = product(direction)
        ahead = {name: found[name] for name in v if name in found}
        image = _add(direction, ahead, gamma)
        curvature = dot(direction, image)
        positive = positive & (curvature > 0)
        alpha = torch.where(positive, squared / curvature, 1 if i == 0 else 0)
        u = _add(u, direction, alpha)
        mixed = _add(mixed, _others(found, v), alpha)
        residual = _add(residual, image, -alpha)
        before, squared = squared, dot(residual, residual)
        direction = _add(residual, direction, torch.where(positive, squared / before, 0))
    return Solution(u, mixed)


def _add(a: Params, b: Params, factor: Tensor | float) -> Params:
    """``a + factor * b``; a missing name counts as zero."""
    total = dict(a)
    for name, t in b.items():
        total[name] = total[name] + factor * t if name in total else factor * t
    return total


def _others(found: Params, v: Params) -> Params:
    return {name: t for name, t in found.items() if name not in v}
