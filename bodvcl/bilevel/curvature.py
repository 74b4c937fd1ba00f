r"""The lower loss at one point: its value, its gradient, and products with its second derivatives.

A product takes a direction u over the leaves h that look ahead. For every leaf x it returns

.. math:: \frac{\partial}{\partial x} \langle \nabla_h L_{pred}, u \rangle ,

which is H u for the leaves that look ahead, and the mixed derivative for the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bodvcl.bilevel.problem import Params
from bodvcl.bilevel.vectors import difference, gradient, leaves, moved, norm, only

LowerLoss = Callable[[Params, bool], Tensor]
Product = Callable[[Params], Params]


class Point(NamedTuple):
    """The lower loss at a point.

    Attributes:
        value: the loss, a detached scalar.
        gradient: detached gradients by name, without leaves that the loss does not depend on.
        product: product with the second derivatives at this point. It may keep a graph in memory.
    """

    value: Tensor
    gradient: Params
    product: Product


Curvature = Callable[[LowerLoss, Params], Point]
"""One way to get a :class:`Point`."""


def slope_only(lower: LowerLoss, point: Params) -> Point:
    """The value and the gradient; second derivatives count as zero."""
    return Point(*_value_and_gradient(lower, point), lambda u: {})


def one_sided(fd_scale: float) -> Curvature:
    r"""Products by forward differences that reuse the gradient. Each costs 1 forward and 1 backward pass.

    .. math:: H u \approx (\nabla L(\theta + \epsilon u) - \nabla L(\theta)) / \epsilon, \quad
              \epsilon = \mathrm{fd\_scale} \, \|\theta\| / \|u\|

    The norms are over the leaves of u. Where u is 0, the product is 0.

    Args:
        fd_scale: length of the difference step, relative to the norm of the parameters.
    """

    def at(lower: LowerLoss, point: Params) -> Point:
        value, here = _value_and_gradient(lower, point)

        def product(u: Params) -> Params:
            epsilon, inverse = _difference_step(fd_scale, point, u)
            _, there = _value_and_gradient(lower, moved(point, u, epsilon))
            return difference(there, here, inverse)

        return Point(value, here, product)

    return at


def central(fd_scale: float) -> Curvature:
    r"""Products by central differences. Each costs 2 forward and 2 backward passes.

    .. math:: H u \approx (\nabla L(\theta + \epsilon u) - \nabla L(\theta - \epsilon u)) / 2 \epsilon

    Args:
        fd_scale: as in :func:`one_sided`.
    """

    def at(lower: LowerLoss, point: Params) -> Point:
        def product(u: Params) -> Params:
            epsilon, inverse = _difference_step(fd_scale, point, u)
            _, there = _value_and_gradient(lower, moved(point, u, epsilon))
            _, opposite = _value_and_gradient(lower, moved(point, u, -epsilon))
            return difference(there, opposite, inverse / 2)

        return Point(*_value_and_gradient(lower, point), product)

    return at


def kept_graph(lower: LowerLoss, point: Params) -> Point:
    """Exact products by reverse mode through the gradient. Its graph is kept. A product costs 1 double
    backward pass."""
    at = leaves(point)
    value = lower(at, True)
    graph = gradient(value, at, twice=True)

    def product(u: Params) -> Params:
        curved = {name: t for name, t in u.items() if graph[name].requires_grad}
        if not curved:
            return {}
        found = torch.autograd.grad(
            [graph[name] for name in curved],
            list(at.values()),
            list(curved.values()),
            retain_graph=True,
            allow_unused=True,
        )
        return {name: p for name, p in zip(at, found) if p is not None}

    return Point(value.detach(), {name: g.detach() for name, g in graph.items()}, product)


def recomputed_graph(lower: LowerLoss, point: Params) -> Point:
    """As :func:`kept_graph`, but each product builds the graph again and drops it, which saves memory. A
    product costs 1 forward, 1 backward and 1 double backward pass."""
    return Point(*_value_and_gradient(lower, point), lambda u: kept_graph(lower, point).product(u))


def _value_and_gradient(lower: LowerLoss, point: Params) -> tuple[Tensor, Params]:
    at = leaves(point)
    value = lower(at, False)
    return value.detach(), gradient(value, at)


def _difference_step(fd_scale: float, point: Params, u: Params) -> tuple[Tensor, Tensor]:
    """epsilon and its inverse; both are 0 where u is 0. It does not wait for the device."""
    length = norm(u)
    moves = length > 0
    epsilon = torch.where(moves, fd_scale * norm(only(point, u)) / length, 0)
    return epsilon, torch.where(epsilon > 0, 1 / epsilon, 0)
