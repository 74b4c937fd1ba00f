"""What the operations need to know of ``torch.func`` and of forward-mode derivatives.

An operator of ``torch.library`` is opaque to both: ``torch.func.grad`` refuses it and a forward-mode tangent
is lost in it without a word. In eager mode every such operator is therefore called through a `Folded`
function, which has a vmap rule and says itself what its derivatives are; the compiler takes the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

EAGER_ONLY = "torch.func transforms and forward-mode derivatives of this operation run in eager mode"


class VmapInfo(Protocol):
    """What PyTorch tells a vmap rule."""

    @property
    def batch_size(self) -> int:
        """Length of the mapped dimension."""


def active() -> bool:
    """Whether a transform of ``torch.func`` runs or a level of ``torch.autograd.forward_ad`` is open."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def needs_eager() -> bool:
    """Whether the compiler traces a transform, whose rules live in eager mode alone."""
    return torch.compiler.is_compiling() and active()


def wanted(*tensors: Tensor) -> bool:
    """Whether eager mode may ask for a derivative in the tensors, or map over them; the compiler does not."""
    if torch.compiler.is_compiling():
        return False
    return active() or (torch.is_grad_enabled() and any(x.requires_grad for x in tensors))


def traced(x: Tensor) -> bool:
    """Whether a tracer sees the call, which then takes an operator; eager mode calls what is inside of it.

    An operator of ``torch.library`` takes the host longer than many a kernel takes a GPU.
    """
    if torch.compiler.is_compiling() or type(x) not in (Tensor, Parameter):
        return True
    return torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None


def differentiates_again() -> bool:
    """Within a backward pass in eager mode: whether its result may be differentiated or mapped over."""
    return torch.is_grad_enabled() or active()


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
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(
        info: VmapInfo, in_dims: tuple[int | None, ...], x: Tensor, holder: _Holder
    ) -> tuple[Tensor, None]:
        return _Peek.apply(x, holder), None


def concrete(x: Tensor) -> Tensor:
    """``x`` without transforms, to read values from, with the dimensions that ``torch.func.vmap`` hides."""
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return x.detach()
    holder = _Holder()
    _Peek.apply(x.detach(), holder)
    return holder.value


def pushforward(
    function: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor, tangent: Tensor
) -> tuple[Tensor, ...]:
    """Directional derivative of ``function`` at ``x``, as the transpose of its pullback: reverse mode twice.

    For a ``jvp`` rule, where a second level of forward mode cannot be opened.
    """
    x = x.detach()
    out, pull = torch.func.vjp(function, x)[:2]
    push = torch.func.vjp(lambda *grads: pull(grads)[0], *(torch.zeros_like(o) for o in out))[1]
    tangents: tuple[Tensor, ...] = push(tangent)
    return tangents


def outer_tangents() -> AbstractContextManager[None]:
    """Lets the outer levels of forward mode see a ``jvp`` rule, inside of which PyTorch stops forward mode.

    Without this, the forward-mode derivative of a forward-mode derivative is that of a constant. The rule
    must read its tensors through `primals`.
    """
    enabled: AbstractContextManager[None] = forward_ad._set_fwd_grad_enabled(True)
    return enabled


def primals(*tensors: Tensor | None) -> tuple[Any, ...]:
    """The tensors without their tangents of the innermost level."""
    unpack: Callable[[Tensor], forward_ad.UnpackedDualTensor] = forward_ad.unpack_dual
    return tuple(None if x is None else unpack(x).primal for x in tensors)


def fold(x: Tensor, dim: int | None, size: int, at: int = 0) -> Tensor:
    """``x`` with its mapped dimension merged into dimension ``at``, as the slower index.

    Args:
        x: tensor under vmap.
        dim: mapped dimension; None: ``x`` is not mapped, and is repeated.
        size: length of the mapped dimension.
        at: dimension of the result, counted without the mapped one.
    """
    x = x.unsqueeze(at).expand(*x.shape[:at], size, *x.shape[at:]) if dim is None else x.movedim(dim, at)
    return x.flatten(at, at + 1).contiguous()


def unfold(x: Tensor, size: int, at: int = 0) -> Tensor:
    """The inverse of `fold`: the mapped dimension is dimension ``at`` of the result."""
    return x.reshape(*x.shape[:at], size, x.shape[at] // size, *x.shape[at + 1 :])


class Folded(torch.autograd.Function):
    """A function of tensors that share one dimension, clips or streams, into which vmap is folded.

    A mapped argument without that dimension makes vmap a loop.

    Attributes:
        inputs: for each argument, where that dimension is; None for an argument that does not have it. Empty:
            the first dimension of every tensor.
        outputs: the same for each result.
    """

    inputs: ClassVar[tuple[int | None, ...]] = ()
    outputs: ClassVar[tuple[int, ...]] = (0,)

    @classmethod
    def vmap(cls, info: VmapInfo, in_dims: Sequence[int | None], *args: Any) -> tuple[Any, Any]:
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
    def _loop(cls, size: int, in_dims: Sequence[int | None], args: Sequence[Any]) -> tuple[Any, Any]:
        """The results for each mapped index, one after the other, stacked."""
        picked = [
            [x if dim is None else x.select(dim, i) for x, dim in zip(args, in_dims)] for i in range(size)
        ]
        each = [cls.apply(*one) for one in picked]
        if isinstance(each[0], tuple):
            return tuple(torch.stack(column) for column in zip(*each)), (0,) * len(each[0])
        return torch.stack(each), 0


def light(function: type[Folded]) -> Callable[..., Any]:
    """``function.apply``, quicker where no transform is active.

    ``apply`` of a function that has ``setup_context`` first binds its arguments to a signature, in Python: 10
    us of a CPU's time, more than the launch of a kernel.
    """

    class Light(torch.autograd.Function):
        """``function`` without the rules for transforms."""

        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            output = function.forward(*args)
            function.setup_context(ctx, args, output)
            return output

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return function.backward(ctx, *grads)

    return lambda *args: (function if active() else Light).apply(*args)


class FirstOnly(Folded):
    """A function that is a derivative itself and has none: asking for one raises ``message``."""

    message: ClassVar[str]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @classmethod
    def backward(cls, ctx: Any, *grads: Tensor) -> None:
        raise RuntimeError(cls.message)

    @classmethod
    def jvp(cls, ctx: Any, *tangents: Tensor) -> None:
        raise RuntimeError(cls.message)
