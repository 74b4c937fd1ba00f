r"""The lower loss at one point: its value, its gradient, and products with its second derivatives.

A product takes a direction u over the leaves that look ahead, h, and returns for every leaf x

.. math:: \frac{\partial}{\partial x} \langle \nabla_h L_{pred}, u \rangle ,

that is H u for the leaves that look ahead, and the mixed derivative for the others.
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
        value: a scalar, detached.
        gradient: detached, without leaves that the loss does not depend on.
        product: with the second derivatives there; it holds what it needs until it is dropped.
    """

    value: Tensor
    gradient: Params
    product: Product


Curvature = Callable[[LowerLoss, Params], Point]
"""One way to get a :class:`Point`."""


def slope_only(lower: LowerLoss, point: Params) -> Point:
    """No products: second derivatives count as zero."""
    return Point(*_value_and_gradient(lower, point), lambda u: {})


def one_sided(fd_scale: float) -> Curvature:
    r"""A forward difference that reuses the gradient. A product costs 1 forward and 1 backward pass.

    .. math:: H u \approx (\nabla L(\theta + \epsilon u) - \nabla L(\theta)) / \epsilon, \quad
              \epsilon = \mathrm{fd\_scale} \, \|\theta\| / \|u\|

    with the norms over the leaves that u moves. Where u is 0, so is the product.
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
    r"""A central difference, as :func:`one_sided`. A product costs 2 forward and 2 backward passes.

    .. math:: H u \approx (\nabla L(\theta + \epsilon u) - \nabla L(\theta - \epsilon u)) / 2 \epsilon
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
    """Exact products by reverse mode through the gradient, whose graph is kept. A product costs 1 double
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
    """As :func:`kept_graph`, but the graph is built for each product anew and dropped after it. A product
    costs 1 forward, 1 backward and 1 double backward pass."""
    return Point(*_value_and_gradient(lower, point), lambda u: kept_graph(lower, point).product(u))


def _value_and_gradient(lower: LowerLoss, point: Params) -> tuple[Tensor, Params]:
    at = leaves(point)
    value = lower(at, False)
    return value.detach(), gradient(value, at)


def _difference_step(fd_scale: float, point: Params, u: Params) -> tuple[Tensor, Tensor]:
    """epsilon and its inverse; both 0 where there is no direction. Without waiting for the device."""
    length = norm(u)
    moves = length > 0
    epsilon = torch.where(moves, fd_scale * norm(only(point, u)) / length, 0)
    return epsilon, torch.where(epsilon > 0, 1 / epsilon, 0)
