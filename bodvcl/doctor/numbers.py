"""Do the operators give the right numbers here? Each is compared with the paper's formulas in float64."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bodvcl.doctor.outcome import Outcome, combined, failed, ok, skipped, warning
from bodvcl.ops import native
from bodvcl.ops.augment import AugmentParams, augment_clips
from bodvcl.ops.augment.backend import explain_augment
from bodvcl.ops.contrastive import info_nce
from bodvcl.ops.contrastive.backend import explain_contrastive
from bodvcl.ops.koopman import koopman_split_and_loss
from bodvcl.ops.koopman.backend import explain_koopman
from bodvcl.reference.contrastive import info_nce_rows

ALLOWED = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest relative error by norm, of results and gradients."""

_ROWS = 320
"""Queries and keys of each of two streams: more logits than those for which the matrix is simply written."""

Run = Callable[[Tensor, Any], tuple[Tensor, ...]]
"""Maps the input and the name of a backend, of which each operation has its own, to results."""


def off(got: Tensor, want: Tensor) -> float:
    """Relative error by norm; infinite where a number is not finite."""
    got, want = got.detach().double().cpu(), want.detach().double().cpu()
    error = float((got - want).norm() / want.norm())
    return error if torch.isfinite(got).all() else float("inf")


def with_gradient(run: Run, x: Tensor, backend: str) -> tuple[Tensor, ...]:
    """The results of ``run(x, backend)``, and the gradient of a weighted sum of all of them."""
    leaf = x.clone().requires_grad_()
    outputs = run(leaf, backend)
    weights = [torch.linspace(-1, 1, o.numel(), device=o.device, dtype=o.dtype).view_as(o) for o in outputs]
    total = torch.stack([(o * w).sum().double() for o, w in zip(outputs, weights, strict=True)]).sum()
    return (*outputs, *torch.autograd.grad(total, leaf))


def worst_error(got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> float:
    """The largest error of results and gradients."""
    return max(off(a, b) for a, b in zip(got, want, strict=True))


def split_and_losses(x: Tensor, backend: Any) -> tuple[Tensor, ...]:
    """The Koopman split and the prediction loss of ``x (B, T, M)``."""
    split, losses = koopman_split_and_loss(x, backend=backend)
    return split.static, split.dynamic, losses.pred[None]


def contrastive(x: Tensor, backend: Any) -> tuple[Tensor, ...]:
    """InfoNCE of ``x (H, N, D)``, four clips of every video, a loss for each row."""
    clips = torch.arange(x.shape[1], device=x.device)
    videos = clips // 4
    if backend == "reference":
        positive = videos[:, None] == videos
        own = torch.eye(len(clips), dtype=torch.bool, device=x.device)
        return (torch.stack([info_nce_rows(z, z, positive, own) for z in x]),)
    return (
        info_nce(
            x,
            x,
            query_video=videos,
            key_video=videos,
            query_clip=clips,
            key_clip=clips,
            reduction="none",
            backend=backend,
        ),
    )


def errors(device: str) -> dict[str, tuple[float, float]]:
    """Operator and dtype to its error on a device, and the error that is allowed. The backends are those of
    "auto"."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(5, 8, 32, generator=generator, dtype=torch.float64).cumsum(1)
    features = torch.randn(5, 1, 32, generator=generator, dtype=torch.float64) + 0.3 * steps
    embeddings = torch.randn(2, _ROWS, 32, generator=generator, dtype=torch.float64)
    found = {}
    inputs: Mapping[str, tuple[Run, Tensor]] = {
        "koopman": (split_and_losses, features),
        "contrastive": (contrastive, embeddings),
    }
    for name, (run, x) in inputs.items():
        want = with_gradient(run, x, "reference")
        for dtype, allowed in ALLOWED.items():
            got = with_gradient(run, x.to(device, dtype), "auto")
            found[f"{name} {str(dtype).removeprefix('torch.')}"] = worst_error(got, want), allowed
    if device == "cuda":
        found["augment float32"] = _augmentation(device, generator), ALLOWED[torch.float32]
    return found


def _augmentation(device: str, generator: torch.Generator) -> float:
    clips = torch.randint(0, 256, (2, 8, 64, 64, 3), dtype=torch.uint8, generator=generator)
    colour = torch.eye(3, 4).expand(2, 3, 4) + 0.1 * torch.randn(2, 3, 4, generator=generator)
    drawn = AugmentParams(colour, torch.tensor([False, True]), torch.tensor([0.0, 1.3]))
    want = augment_clips(clips, drawn, 64, 0.45, 0.225, radius=4, backend="reference")
    there = AugmentParams(*(part.to(device) for part in (drawn.colour, drawn.flip, drawn.sigma)))
    return off(augment_clips(clips.to(device), there, 64, 0.45, 0.225, radius=4), want)


def judge_numbers(found: Mapping[str, tuple[float, float]], backends: str) -> Outcome:
    """Whether all errors are small.

    Args:
        found: of :func:`errors`.
        backends: which backend each operator used, for the text.
    """
    bad = {name: error for name, (error, allowed) in found.items() if not error <= allowed}
    if bad:
        listed = ", ".join(f"{name} by {error:.1e}" for name, error in bad.items())
        return failed(
            f"wrong numbers ({backends}): {listed}",
            "do not train here; BODVCL_BACKEND=torch avoids native operators, or install bodvcl again",
        )
    largest = max(error for name, (error, _) in found.items() if name.endswith("float32"))
    return ok(f"{backends}; error of float32 {largest:.0e}, gradients included")


def backends_on(device: str) -> str:
    """Which backend each operator uses on a device, in words."""
    explained = {
        "koopman": explain_koopman(device),
        "contrastive": explain_contrastive(device),
        "augment": explain_augment(device),
    }
    return ", ".join(f"{name} {entry['backend']}" for name, entry in explained.items())


def check_cpu_operators() -> Outcome:
    """The check ``operators-cpu``."""
    outcome = judge_numbers(errors("cpu"), f"{backends_on('cpu')}; {_processor()}")
    if outcome.verdict == "ok" and not native.cpu_available() and os.environ.get("BODVCL_NATIVE") != "0":
        return combined([outcome, _without_library("cpu")])
    return outcome


def check_gpu_operators() -> Outcome:
    """The check ``operators-gpu``, on the first GPU."""
    if not torch.cuda.is_available():
        return skipped("no GPU visible")
    outcome = judge_numbers(errors("cuda"), backends_on("cuda"))
    if outcome.verdict == "ok" and not native.cuda_available() and os.environ.get("BODVCL_NATIVE") != "0":
        return combined([outcome, _without_library("cuda")])
    return outcome


def _without_library(device: str) -> Outcome:
    return warning(
        f"the native library for {device} is not used: {native.why_not(device).splitlines()[0]}",
        "training works without it, slower; bodvcl info tells more, docs/wheels.md how to build it",
    )


def _processor() -> str:
    return f"native with {native.cpu_isa()}" if native.cpu_available() else "without native library"
