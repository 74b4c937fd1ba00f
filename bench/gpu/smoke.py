"""Every kernel once, forward and backward, against the PyTorch route in float64. Writes figures.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from bodvcl.doctor.numbers import Run, off, with_gradient, worst_error
from bodvcl.ops.augment import AugmentParams, MixParams, augment_clips, mix_scenes
from bodvcl.ops.contrastive import info_nce
from bodvcl.ops.koopman import koopman_split_and_loss
from bodvcl.ops.koopman.spec import Mask, Pool

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ALLOWED = 1e-4
"""Largest relative error of float32 by norm."""


def worst(run: Run, x: Tensor, backend: str) -> float:
    """Largest error of outputs and gradient of ``run(x, backend)`` against the PyTorch route in float64."""
    return worst_error(with_gradient(run, x, backend), with_gradient(run, x.double(), "torch"))


def koopman(mask: Mask, ridge: float, pool: Pool = "mean") -> Run:
    """Split and prediction loss."""

    def run(x: Tensor, backend: str) -> tuple[Tensor, ...]:
        options = {"mask": mask, "ridge": ridge, "pool": pool, "rtol": 1e-4}
        split, losses = koopman_split_and_loss(x, **options, backend=backend)
        return split.static, split.dynamic, losses.pred[None]

    return run


def contrastive(x: Tensor, backend: str) -> tuple[Tensor, ...]:
    """InfoNCE over two streams, keys that get a gradient, four clips of every video."""
    videos = torch.arange(x.shape[1], device=x.device) // 4
    clips = torch.arange(x.shape[1], device=x.device)
    same = {"query_video": videos, "key_video": videos, "query_clip": clips, "key_clip": clips}
    return (info_nce(x, x, **same, reduction="none", backend=backend),)


def augmentation(generator: torch.Generator) -> float:
    """Error of the augmentation of two clips against the reference: pixels, as numbers of mean 0."""
    clips = torch.randint(0, 256, (2, 8, 96, 96, 3), dtype=torch.uint8, generator=generator).to(DEVICE)
    colour = torch.eye(3, 4).expand(2, 3, 4) + 0.1 * torch.randn(2, 3, 4, generator=generator)
    drawn = AugmentParams(colour.to(DEVICE), torch.tensor([False, True], device=DEVICE),
                          torch.tensor([0.0, 1.3], device=DEVICE))  # fmt: skip
    got, want = (
        augment_clips(clips, drawn, 96, 0.45, 0.225, radius=4, backend=b) for b in ("triton", "reference")
    )
    return off(got, want)


def mixing(generator: torch.Generator) -> float:
    """Error of mixed scenes against the reference."""
    clips = torch.randn(4, 3, 8, 96, 96, generator=generator).to(DEVICE)
    rows = torch.arange(4, device=DEVICE)
    share = torch.rand(4, generator=generator)
    drawn = MixParams((rows + 1) % 4, share.to(DEVICE))
    route = "triton" if DEVICE == "cuda" else "torch"
    got, want = (mix_scenes(clips, drawn, backend=b) for b in (route, "reference"))
    return off(got, want)


def checks() -> dict[str, float]:
    """Error of every kernel that is there."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    native = "cuda" if DEVICE == "cuda" else "cpu"
    for frames in (8, 13, 16, 32):
        steps = torch.randn(6, frames, 128, generator=generator).cumsum(1)
        x = (torch.randn(6, 1, 128, generator=generator) + 0.3 * steps).to(DEVICE)
        for mask, ridge in (("smooth", 0.01), ("hard", 0.0)):
            found[f"koopman T={frames} {mask}"] = worst(koopman(mask, ridge), x, native)
        found[f"koopman T={frames} std"] = worst(koopman("smooth", 0.01, "std"), x, native)
    x = torch.randn(2, 520, 128, generator=generator).to(DEVICE)
    found["InfoNCE"] = worst(contrastive, x, "triton" if DEVICE == "cuda" else "chunked")
    found["mixing"] = mixing(generator)
    if DEVICE == "cuda":
        found["augmentation"] = augmentation(generator)
    return found


def main() -> None:
    """Print every error; exit code 1 where one is too large."""
    found = checks()
    for name, error in found.items():
        print(f"{'ok ' if error <= ALLOWED else 'BAD'} {name}: {error:.1e}")
    bad = [name for name, error in found.items() if not error <= ALLOWED]
    Path(sys.argv[1], "figures.json").write_text(
        json.dumps({"largest error of float32": f"{max(found.values()):.1e}", "kernels": len(found)})
    )
    if bad:
        sys.exit(f"off by more than {ALLOWED}: {', '.join(bad)}")


if __name__ == "__main__":
    main()
