"""What the operations need to know of ``torch.func`` and of forward-mode derivatives.

An operator of ``torch.library`` is opaque to both: ``torch.func.grad`` refuses it and a forward-mode tangent
is lost in it without a word. In eager mode every such operator is therefore called through a `Folded`
function, which has a vmap rule and says itself what its derivatives are; the compiler takes the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

EAGER_ONLY = "torch.func transforms and forward-mode derivatives of this operation run in eager mode"


def active() -> bool:
    """Whether a transform of ``torch.func`` runs or a level of ``torch.autograd.forward_ad`` is open."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def needs_eager() -> bool:
    """Whether the compiler traces a transform, whose rules live in eager mode alone."""
    return torch.compiler.is_compiling() and active()


def wanted(*tensors: Tensor) -> bool:
    """Whether eager mode may ask for a derivative in the tensors, or map over them; the compiler does not."""
    return not torch.compiler.is_compiling() and (active() or any(x.requires_grad for x in tensors))


class _Holder:
    """Carries a tensor out of a function."""

    value: Tensor


class _Peek(torch.autograd.Function):
    """Keeps the plain tensor under all transforms; gives nothing."""

    @staticmethod
    def forward(x: Tensor, holder: _Holder) -> Tensor:
        holder.value = x
        return x.new_empty(0)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info, in_dims, x: Tensor, holder: _Holder) -> tuple[Tensor, None]:
        return _Peek.apply(x, holder), None


def concrete(x: Tensor) -> Tensor:
    """x without transforms, to read values from: dimensions that ``torch.func.vmap`` took are there again."""
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return x.detach()
    holder = _Holder()
    _Peek.apply(x.detach(), holder)
    return holder.value


def pushforward(function: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor, tangent: Tensor) -> tuple:
    """Directional derivative of ``function`` at x, as the transpose of its pullback: reverse mode twice.

    For a ``jvp`` rule, where a second level of forward mode cannot be opened.
    """
    x = x.detach()
    out, pull = torch.func.vjp(function, x)
    _, push = torch.func.vjp(lambda *grads: pull(grads)[0], *(torch.zeros_like(o) for o in out))
    return push(tangent)


def outer_tangents() -> AbstractContextManager:
    """Inside of a ``jvp`` rule, where PyTorch stops forward mode: let the levels outside of it see it too.

    Without this, the forward-mode derivative of a forward-mode derivative is that of a constant. What the
    rule reads must be `primals`.
    """
    return forward_ad._set_fwd_grad_enabled(True)


def primals(*tensors: Tensor | None) -> tuple:
    """The tensors without their tangents of the innermost level."""
    return tuple(None if x is None else forward_ad.unpack_dual(x).primal for x in tensors)


def fold(x: Tensor, dim: int | None, size: int, at: int = 0) -> Tensor:
    """x with its mapped dimension (None: repeated) merged into dimension ``at``, as the slower index."""
    x = x.unsqueeze(at).expand(*x.shape[:at], size, *x.shape[at:]) if dim is None else x.movedim(dim, at)
    return x.flatten(at, at + 1).contiguous()


def unfold(x: Tensor, size: int, at: int = 0) -> Tensor:
    """The inverse of `fold`; the mapped dimension is ``at``."""
    return x.unflatten(at, (size, x.shape[at] // size))


class Folded(torch.autograd.Function):
    """A function of tensors that share one dimension, clips or streams, into which vmap is folded.

    inputs: for every argument, where that dimension is; None for an argument that does not have it. Empty:
        the first of every tensor.
    outputs: the same for every result.
    A mapped argument without that dimension makes vmap a loop.
    """

    inputs: ClassVar[tuple[int | None, ...]] = ()
    outputs: ClassVar[tuple[int, ...]] = (0,)

    @classmethod
    def vmap(cls, info, in_dims: Sequence[int | None], *args: object) -> tuple:
        size = info.batch_size
        where = cls.inputs or (0,) * len(args)
        if any(dim is not None and at is None for dim, at in zip(in_dims, where)):
            return cls._loop(size, in_dims, args)
        folded = [
            fold(x, dim, size, at) if isinstance(x, Tensor) and at is not None else x
            for x, dim, at in zip(args, in_dims, where)
        ]
        out = cls.apply(*folded)
        if isinstance(out, tuple):
            return tuple(unfold(x, size, at) for x, at in zip(out, cls.outputs)), cls.outputs
        return unfold(out, size, cls.outputs[0]), cls.outputs[0]

    @classmethod
    def _loop(cls, size: int, in_dims: Sequence[int | None], args: Sequence) -> tuple:
        """The results for one mapped index after the other, stacked."""
        picked = [
            [x if dim is None else x.select(dim, i) for x, dim in zip(args, in_dims)] for i in range(size)
        ]
        each = [cls.apply(*one) for one in picked]
        if isinstance(each[0], tuple):
            return tuple(torch.stack(column) for column in zip(*each)), (0,) * len(each[0])
        return torch.stack(each), 0


class FirstOnly(Folded):
    """A function without derivatives, because it is one itself: asking for one raises ``message``."""

    message: ClassVar[str]

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @classmethod
    def backward(cls, ctx, *grads: Tensor) -> None:
        raise RuntimeError(cls.message)

    @classmethod
    def jvp(cls, ctx, *tangents: Tensor) -> None:
        raise RuntimeError(cls.message)
