"""One checked call: clips with one leading dimension, their options, and the backend that serves them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.koopman import eager, reference
from bodvcl.ops.koopman.backend import KoopmanRequest, choose_koopman
from bodvcl.ops.koopman.guard import guarded
from bodvcl.ops.koopman.native import koopman_native
from bodvcl.ops.koopman.results import KoopmanRaw
from bodvcl.ops.koopman.spec import KoopmanSpec
from bodvcl.ops.transforms import active, needs_eager


class Call(NamedTuple):
    """Clips (B, T, M), their frame mask (B, T) or None, their leading shape, options, and the backend."""

    features: Tensor
    frame_mask: Tensor | None
    lead: torch.Size
    spec: KoopmanSpec
    backend: str


def make_call(features: Tensor, frame_mask: Tensor | None, spec: KoopmanSpec, backend: str) -> Call:
    """The call for checked features ``(..., T, M)``.

    Raises:
        ValueError: unknown backend name.
        bodvcl.ops.backend.BackendError: the backend was named and cannot serve the call.
    """
    t, m = features.shape[-2:]
    estimator = "tls" if spec.tls else "ls"
    request = KoopmanRequest(features.device.type, features.dtype, t, m, estimator)
    lead = features.shape[:-2]
    return Call(
        features if len(lead) == 1 else features.reshape(lead.numel(), t, m),
        None if frame_mask is None else frame_mask.reshape(-1, t).contiguous(),
        lead,
        spec,
        choose_koopman(backend, request),
    )


def run(call: Call, *, split: bool, losses: bool) -> KoopmanRaw:
    """One pass over the clips with the chosen backend; the gain guard acts on the split's gradient alone."""
    if needs_eager():
        from bodvcl.ops.koopman.uncompiled import run_eagerly

        return run_eagerly(call, split, losses)
    return run_here(call, split, losses)


def run_here(call: Call, split: bool, losses: bool) -> KoopmanRaw:
    """`run` in the mode of the caller, eager or compiled."""
    features, frame_mask, _, spec, backend = call
    if backend in ("cpu", "cuda"):
        return koopman_native(features, frame_mask, spec if split else spec._replace(max_gain=0.0))
    route = reference.koopman if backend == "reference" else eager.koopman
    if not (split and spec.max_gain > 0 and (features.requires_grad or active())):
        return route(features, frame_mask, spec, split=split, losses=losses)
    raw = guarded(lambda x: route(x, frame_mask, spec, losses=False), features, spec.max_gain)
    if not losses:
        return raw
    return raw._replace(losses=route(features, frame_mask, spec, split=False).losses)
