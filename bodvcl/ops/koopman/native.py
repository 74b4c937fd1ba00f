"""``torch.ops.bodvcl.koopman``: the native kernels as a custom operator with fake and autograd.

One forward and one backward, both opaque to the compiler; features and gradients keep their dtype under
autocast. Eager mode calls the kernels themselves, because the layers of a custom operator take the host
longer than the kernels take a GPU; it calls them through functions that ``torch.func`` knows. There is no
second derivative: the PyTorch route has it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, get_type_hints

import torch
from torch import Tensor

from bodvcl.ops import native as _native
from bodvcl.ops.koopman.eager import koopman
from bodvcl.ops.koopman.guard import count_guarded
from bodvcl.ops.koopman.results import KoopmanRaw
from bodvcl.ops.koopman.spec import KoopmanSpec
from bodvcl.ops.transforms import (
    FirstOnly,
    Folded,
    differentiates_again,
    light,
    outer_tangents,
    primals,
    pushforward,
    traced,
    wanted,
)

FIRST_ONLY = (
    "the native Koopman operation has a first derivative only. Pass backend='torch' (or set "
    "BODVCL_BACKEND=torch) where a second derivative is needed."
)

# The options of the operators are the fields of `KoopmanSpec`, but for total least squares, which the kernels
# do not have. This is the only place that spells them; everything below passes them on as ``*options``.
FIELDS = tuple(name for name in KoopmanSpec._fields if name != "tls")
SCHEMA = ", ".join(f"{get_type_hints(KoopmanSpec)[name].__name__} {name}" for name in FIELDS)

Options = tuple[float, ...]
Six = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def op_options(spec: KoopmanSpec) -> Options:
    """The options of ``torch.ops.bodvcl.koopman`` in its order."""
    return tuple(getattr(spec, name) for name in FIELDS)


@lru_cache(64)
def _kernel_options(options: Options) -> tuple[Options, float]:
    """The options of the kernels, which know flags as 0 and 1, and the bound of the gain guard."""
    *numbers, max_gain = (int(x) if isinstance(x, bool) else x for x in options)
    return tuple(numbers), max_gain


def _require_native(features: Tensor) -> None:
    reason = _native.why_not(features.device.type)
    if reason:
        raise RuntimeError(
            f"torch.ops.bodvcl.koopman needs the native library: {reason}. "
            "bodvcl.ops.koopman works without it, on the PyTorch route."
        )


def _run_forward(features: Tensor, frame_mask: Tensor | None, *options: float) -> Six:
    """Split and losses of clips (B, T, M), by the native kernels.

    Args:
        features: any strides.
        frame_mask: bool (B, T), contiguous, or None.
        options: the fields of `KoopmanSpec` in its order, but for ``tls``.

    Returns:
        static, dynamic, losses (B, 4), stats (B, 5), reduced (B, n, n), and what the backward pass needs.
    """
    _require_native(features)
    numbers, _ = _kernel_options(options)
    out: Six = torch.ops.bodvcl_native.koopman_forward(features.contiguous(), frame_mask, *numbers)
    return out


koopman_op = torch.library.custom_op(
    "bodvcl::koopman",
    _run_forward,
    mutates_args=(),
    schema=f"(Tensor features, Tensor? frame_mask, {SCHEMA})"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


@koopman_op.register_fake
def _(features: Tensor, frame_mask: Tensor | None, *options: float) -> Six:
    spec = KoopmanSpec(*options)  # type: ignore[arg-type]  # flags travel among numbers of other types
    b, t, _ = features.shape
    stream = spec.stream_shape(features.shape)
    n = t - 1
    saved = t * (t + 1) // 2 + n + n * n * (1 if spec.smooth else 2) + 2  # saved_size in csrc/problem.h
    losses, stats, reduced, kept = (
        features.new_empty(size, dtype=torch.float64) for size in ((b, 4), (b, 5), (b, n, n), (b, saved))
    )
    return features.new_empty(stream), features.new_empty(stream), losses, stats, reduced, kept


def _run_backward(
    grad_static: Tensor,
    grad_dynamic: Tensor,
    grad_losses: Tensor,
    features: Tensor,
    frame_mask: Tensor | None,
    saved: Tensor,
    *options: float,
) -> Tensor:
    """Gradient of `_run_forward` in the features (B, T, M); counts the clips that the guard scaled."""
    numbers, max_gain = _kernel_options(options)
    grads = (g.contiguous() for g in (grad_static, grad_dynamic, grad_losses))
    grad: Tensor
    grad, gain = torch.ops.bodvcl_native.koopman_backward(
        *grads, features.contiguous(), frame_mask, saved, *numbers, max_gain
    )
    if max_gain > 0:
        count_guarded(gain, max_gain)
    return grad


koopman_backward_op = torch.library.custom_op(
    "bodvcl::koopman_backward",
    _run_backward,
    mutates_args=(),
    schema="(Tensor grad_static, Tensor grad_dynamic, Tensor grad_losses, Tensor features, "
    f"Tensor? frame_mask, Tensor saved, {SCHEMA}) -> Tensor",
)


@koopman_backward_op.register_fake
def _(
    grad_static: Tensor, grad_dynamic: Tensor, grad_losses: Tensor, features: Tensor, *rest: object
) -> Tensor:
    return torch.empty_like(features, memory_format=torch.contiguous_format)


def _forward(features: Tensor, *rest: Any) -> Six:
    """`koopman_op` for a tracer, and what is inside of it in eager mode."""
    out: Six = (koopman_op if traced(features) else _run_forward)(features, *rest)
    return out


def _backward(*args: Any) -> Tensor:
    """`koopman_backward_op` for a tracer, and what is inside of it in eager mode."""
    grad: Tensor = (koopman_backward_op if traced(args[0]) else _run_backward)(*args)
    return grad


class _Backward(FirstOnly):
    """`_backward` where its own derivative may be asked for."""

    message = FIRST_ONLY

    @staticmethod
    def forward(*args: Any) -> Tensor:
        return _backward(*args)


class _Tangent(FirstOnly):
    """Tangents of static, dynamic and losses, by the PyTorch route."""

    message = FIRST_ONLY
    outputs = (0,) * 3

    @staticmethod
    def forward(
        tangent: Tensor, features: Tensor, frame_mask: Tensor | None, *options: float
    ) -> tuple[Tensor, ...]:
        spec = KoopmanSpec(*options)  # type: ignore[arg-type]  # flags travel among numbers of other types
        return pushforward(lambda x: koopman(x, frame_mask, spec)[:3], features, tangent)


class _Forward(Folded):
    """`_forward` with a native gradient, and the tangents of the PyTorch route."""

    outputs = (0,) * 6

    @staticmethod
    def forward(*args: Any) -> Six:
        return _forward(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Six) -> None:
        features, frame_mask, *options = inputs
        ctx.save_for_backward(features, frame_mask, output[5])
        ctx.save_for_forward(features, frame_mask, output[5])
        ctx.mark_non_differentiable(*output[3:])
        ctx.set_materialize_grads(False)
        ctx.options = options

    @staticmethod
    def backward(
        ctx: Any, static: Tensor | None, dynamic: Tensor | None, losses: Tensor | None, *_: object
    ) -> tuple[Tensor | None, ...]:
        nothing = (None for _ in ctx.options)
        if static is None and dynamic is None and losses is None:
            return None, None, *nothing
        features, frame_mask, saved = ctx.saved_tensors
        again = differentiates_again() and not torch.compiler.is_compiling()
        run = _Backward.apply if again else _backward
        grads = _cotangents(static, dynamic, losses, features, KoopmanSpec(*ctx.options))
        return run(*grads, features, frame_mask, saved, *ctx.options), None, *nothing

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: object) -> tuple[Tensor | None, ...]:
        with outer_tangents():
            features, frame_mask, _saved = primals(*ctx.saved_tensors)
            return *_Tangent.apply(tangent, features, frame_mask, *ctx.options), None, None, None


def _cotangents(
    static: Tensor | None,
    dynamic: Tensor | None,
    losses: Tensor | None,
    features: Tensor,
    spec: KoopmanSpec,
) -> tuple[Tensor, Tensor, Tensor]:
    """The cotangents of static, dynamic and losses: zero, shared by the streams, where none arrived."""
    if static is None or dynamic is None:
        zero = features.new_zeros(spec.stream_shape(features.shape))
        static, dynamic = zero if static is None else static, zero if dynamic is None else dynamic
    if losses is None:
        losses = features.new_zeros((len(features), 4), dtype=torch.float64)
    return static, dynamic, losses


koopman_op.register_autograd(_Forward.backward, setup_context=_Forward.setup_context)
koopman_backward_op.register_autograd(_Backward.backward)
_light_forward = light(_Forward)


def koopman_native(features: Tensor, frame_mask: Tensor | None, spec: KoopmanSpec) -> KoopmanRaw:
    """Split and losses of clips (B, T, M) by the native kernels, with the gain guard inside."""
    run = _light_forward if wanted(features) else _forward
    static, dynamic, losses, stats, reduced, _ = run(features, frame_mask, *op_options(spec))
    return KoopmanRaw(static, dynamic, losses, stats, reduced)
