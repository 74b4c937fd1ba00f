"""Every way to ask PyTorch for a derivative, as functions that the tests of the operations share.

``f`` maps a tensor to a tensor, ``loss`` a tensor to a number; u is a tangent of x, w a cotangent of f(x).
Functions that take a batch map over its first dimension, which ``f`` works on one by one as well as at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

Function = Callable[[Tensor], Tensor]


@contextmanager
def naming(way: str) -> Iterator[None]:
    """An assertion that fails inside says of which way to a derivative."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{way}: {error}") from error


def random_like(x: Tensor, seed: int = 3) -> Tensor:
    """Normal numbers in the shape of x."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(x.shape, dtype=torch.float64, generator=g).to(x)


def slope(f: Function, x: Tensor, u: Tensor, h: float = 1e-6) -> Tensor:
    """Central difference of f at x along u."""
    return (f(x + h * u) - f(x - h * u)) / (2 * h)


def plain_gradient(f: Function, x: Tensor, w: Tensor) -> Tensor:
    """``J'w`` by autograd without a transform."""
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(f(leaf), leaf, w)[0]


def _along(jacobian: Tensor, u: Tensor) -> Tensor:
    return jacobian.flatten(-u.dim()) @ u.flatten()


def _back(jacobian: Tensor, w: Tensor) -> Tensor:
    return torch.tensordot(w, jacobian, w.dim())


def dual(f: Function, x: Tensor, u: Tensor) -> Tensor:
    """``Ju`` by a dual number, without torch.func."""
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(f(forward_ad.make_dual(x, u))).tangent
    assert tangent is not None
    return tangent


FORWARD: dict[str, Callable[[Function, Tensor, Tensor], Tensor]] = {
    "jvp": lambda f, x, u: jvp(f, (x,), (u,))[1],
    "jacfwd": lambda f, x, u: _along(jacfwd(f)(x), u),
    "dual": dual,
    "dual of a tensor that requires a gradient": lambda f, x, u: dual(f, x.clone().requires_grad_(), u),
    "vmap over tangents": lambda f, x, u: vmap(lambda t: jvp(f, (x,), (t,))[1])(torch.stack((-2 * u, u)))[1],
    "vmap(jvp)": lambda f, x, u: vmap(lambda a, b: jvp(f, (a,), (b,))[1])(x, u),
    "jvp(vmap)": lambda f, x, u: jvp(vmap(f), (x,), (u,))[1],
    "jacfwd(vmap)": lambda f, x, u: _along(jacfwd(vmap(f))(x), u),
    "vmap(jacfwd)": lambda f, x, u: vmap(lambda a, b: _along(jacfwd(f)(a), b))(x, u),
    "jvp(vmap(vmap))": lambda f, x, u: jvp(vmap(vmap(f)), (x[:, None],), (u[:, None],))[1][:, 0],
}
"""Ways to ``Ju``."""

REVERSE: dict[str, Callable[[Function, Tensor, Tensor], Tensor]] = {
    "grad": lambda f, x, w: grad(lambda a: (f(a) * w).sum())(x),
    "vjp": lambda f, x, w: vjp(f, x)[1](w)[0],
    "jacrev": lambda f, x, w: _back(jacrev(f)(x), w),
    "vmap over cotangents": lambda f, x, w: vmap(vjp(f, x)[1])(torch.stack((-2 * w, w)))[0][1],
    "vmap(grad)": lambda f, x, w: vmap(grad(lambda a, b: (f(a) * b).sum()))(x, w),
    "grad(vmap)": lambda f, x, w: grad(lambda a: (vmap(f)(a) * w).sum())(x),
    "grad(vmap over dimension 1)": lambda f, x, w: grad(lambda a: (vmap(f, in_dims=1)(a) * w).sum())(
        x.movedim(0, 1)
    ).movedim(1, 0),
    "jacrev(vmap)": lambda f, x, w: _back(jacrev(vmap(f))(x), w),
    "vmap(jacrev)": lambda f, x, w: vmap(lambda a, b: _back(jacrev(f)(a), b))(x, w),
    "autograd of vmap": lambda f, x, w: plain_gradient(vmap(f), x, w),
}
"""Ways to ``J'w``."""


def _dual_of_gradient(loss: Function, x: Tensor, u: Tensor) -> Tensor:
    def gradient(y: Tensor) -> Tensor:
        return torch.autograd.grad(loss(y), y, create_graph=True)[0]

    return dual(gradient, x.clone().requires_grad_(), u)


def _gradient_of_dual(loss: Function, x: Tensor, u: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(dual(loss, leaf, u), leaf)[0]


def _gradient_twice(loss: Function, x: Tensor, u: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    first = torch.autograd.grad(loss(leaf), leaf, create_graph=True)[0]
    return torch.autograd.grad(first, leaf, u)[0]


SECOND: dict[str, Callable[[Function, Tensor, Tensor], Tensor]] = {
    "jvp(grad)": lambda f, x, u: jvp(grad(f), (x,), (u,))[1],
    "grad(jvp)": lambda f, x, u: grad(lambda a: jvp(f, (a,), (u,))[1])(x),
    "grad(grad)": lambda f, x, u: grad(lambda a: (grad(f)(a) * u).sum())(x),
    "jvp(jacrev)": lambda f, x, u: jvp(jacrev(f), (x,), (u,))[1],
    "jacfwd(jacfwd)": lambda f, x, u: _along(jacfwd(jacfwd(f))(x), u),
    "hessian": lambda f, x, u: _along(hessian(f)(x), u),
    "vmap(hvp)": lambda f, x, u: vmap(lambda b: jvp(grad(f), (x,), (b,))[1])(torch.stack((-2 * u, u)))[1],
    "dual of the gradient": _dual_of_gradient,
    "gradient of the dual": _gradient_of_dual,
    "gradient twice": _gradient_twice,
}
"""Ways to the Hessian times u."""
