"""The gain guard: a clip's gradient through the split is scaled down where it exceeds a bound, and counted.

Near-coalescing eigenvalues give the split a heavy-tailed gradient. The gain of a clip is
``sqrt(T) |dF| / |(g_static, g_dynamic)|``: 1 for a plain temporal mean.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.checks import capturing
from bodvcl.ops.constants import constant
from bodvcl.ops.koopman.results import KoopmanRaw
from bodvcl.ops.transforms import Folded, fold, unfold


class GuardCounts(NamedTuple):
    """What the guard has done.

    Attributes:
        clips: clips with a gradient through the split that the guard has seen.
        guarded: those of them whose gradient it scaled down.
    """

    clips: int
    guarded: int


class _Counter(NamedTuple):
    """For a device and a ``max_gain``: what gains are compared with (2, 1), and how many exceeded it (2,)."""

    bounds: Tensor
    counts: Tensor


_counters: dict[tuple[torch.device, float], _Counter] = {}
_lock = threading.Lock()


def count_guarded(gain: Tensor, max_gain: float) -> None:
    """Add a batch of gains (B,) to the counters, on their device, without waiting for it.

    A CUDA graph that was captured after a pass outside of it counts at every replay; one that was captured
    before any other pass does not count.
    """
    with _lock:
        counter = _counters.get((gain.device, max_gain))
        if counter is None:
            if capturing(gain):
                return
            bounds = constant((0.0, max_gain), torch.float64, gain.device)[:, None]
            counter = _Counter(bounds, torch.zeros(2, dtype=torch.int64, device=gain.device))
            _counters[gain.device, max_gain] = counter
        counter.counts.add_((gain > counter.bounds).sum(1))


def guard_counts(reset: bool = False) -> GuardCounts:
    """How many clips' gradients the guard has seen and scaled since the start or the last reset.

    Only backward passes with ``max_gain`` set are counted. Waits for the device.

    Args:
        reset: start counting anew.
    """
    with _lock:
        rows = [counter.counts.tolist() for counter in _counters.values()]
        if reset:
            for counter in _counters.values():
                counter.counts.zero_()
    return GuardCounts(int(sum(r[0] for r in rows)), int(sum(r[1] for r in rows)))


@torch.library.custom_op("bodvcl::koopman_guard", mutates_args=())
def koopman_guard(grad_features: Tensor, squared_cotangent: Tensor, max_gain: float) -> Tensor:
    """Factor (B,) that brings the gain of each clip's gradient (B, T, M) down to max_gain.

    Counts the clips for `guard_counts`.

    Args:
        squared_cotangent: float64 (B,), squared norm of the gradients of both streams.
    """
    grown = (grad_features.shape[1] * grad_features.double().square().sum((1, 2))).sqrt()
    gain = torch.where(squared_cotangent > 0, grown / squared_cotangent.clamp_min(1e-300).sqrt(), 0.0)
    count_guarded(gain, max_gain)
    scale = torch.where(gain > max_gain, max_gain / gain.clamp_min(max_gain), 1.0)
    return scale.to(grad_features.dtype)


@koopman_guard.register_fake
def _(grad_features: Tensor, squared_cotangent: Tensor, max_gain: float) -> Tensor:
    return grad_features.new_empty(grad_features.shape[0])


@koopman_guard.register_vmap
def _(
    info: Any,
    in_dims: tuple[int | None, ...],
    grad_features: Tensor,
    squared_cotangent: Tensor,
    max_gain: float,
) -> tuple[Tensor, int]:
    size = info.batch_size
    both = [fold(x, dim, size) for x, dim in zip((grad_features, squared_cotangent), in_dims)]
    return unfold(koopman_guard(*both, max_gain), size), 0


class _Head(Folded):
    """Identity on the features; its backward scales their gradient by what the tail measured."""

    outputs = (0, 0)

    @staticmethod
    def forward(features: Tensor, max_gain: float) -> tuple[Tensor, Tensor]:
        return features.view_as(features), features.new_zeros(features.shape[0], dtype=torch.float64)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.max_gain = inputs[1]
        ctx.clips = inputs[0].shape[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor, squared_cotangent: Tensor) -> tuple[Tensor, None]:
        scale = koopman_guard(grad.detach(), squared_cotangent.detach(), ctx.max_gain)
        return grad * scale[:, None, None], None


class _EagerHead(_Head):
    """With a rule for forward mode, which the compiler does not take."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> tuple[Tensor, Tensor]:
        return tangent.view_as(tangent), tangent.new_zeros(ctx.clips, dtype=torch.float64)


class _Tail(Folded):
    """Identity on both streams; its backward sends their squared cotangent to the head, as a gradient."""

    outputs = (0, 0)

    @staticmethod
    def forward(static: Tensor, dynamic: Tensor, wire: Tensor) -> tuple[Tensor, Tensor]:
        return static.view_as(static), dynamic.view_as(dynamic)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, static: Tensor, dynamic: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        both = [g.detach().double().square().flatten(1).sum(1) for g in (static, dynamic)]
        return static, dynamic, both[0] + both[1]


class _EagerTail(_Tail):
    """With a rule for forward mode, which the compiler does not take."""

    @staticmethod
    def jvp(ctx: Any, static: Tensor, dynamic: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        return static.view_as(static), dynamic.view_as(dynamic)


def guarded(core: Callable[[Tensor], KoopmanRaw], features: Tensor, max_gain: float) -> KoopmanRaw:
    """``core(features)`` with the guard around it. The factor is a constant in a second derivative.

    Tangents of forward mode are not scaled; the tangent of a gradient is scaled as that gradient.
    """
    head, tail = (_Head, _Tail) if torch.compiler.is_compiling() else (_EagerHead, _EagerTail)
    shown, wire = head.apply(features, max_gain)
    raw = core(shown)
    static, dynamic = tail.apply(raw.static, raw.dynamic, wire)
    return raw._replace(static=static, dynamic=dynamic)
