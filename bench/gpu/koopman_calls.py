"""Small calls of every Koopman kernel, for compute-sanitizer; ``--large``: for Nsight Compute."""

from __future__ import annotations

import sys

import torch

from bodvcl.ops.koopman import koopman_split_and_loss

SMALL = [(5, t, m) for t, m in ((8, 128), (8, 37), (16, 33), (24, 20), (40, 12), (64, 8))]
LARGE = [(512, 8, 128), (512, 16, 128), (512, 32, 128)]


def call(clips: int, frames: int, width: int, mask: str, ridge: float, pool: str) -> None:
    """Forward and backward once."""
    still = torch.randn(clips, 1, width, device="cuda")
    x = (still + 0.3 * torch.randn(clips, frames, width, device="cuda").cumsum(1)).requires_grad_()
    split, losses = koopman_split_and_loss(
        x, mask=mask, ridge=ridge, pool=pool, max_gain=10.0, backend="cuda"
    )
    (split.static.sum() - split.dynamic.sum() + losses.pred).backward()
    torch.cuda.synchronize()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def main() -> None:
    """Every size with either mask, with and without a ridge; small ones also with a deviation over time."""
    large = "--large" in sys.argv
    for clips, frames, width in LARGE if large else SMALL:
        for mask in ("smooth", "hard"):
            for ridge in (0.01, 0.0):
                for pool in ("mean",) if large else ("mean", "std"):
                    call(clips, frames, width, mask, ridge, pool)
                    what = f"{mask} mask, ridge {ridge}, {pool}"
                    print(f"{clips} clips of {frames} frames of width {width}, {what}", flush=True)


if __name__ == "__main__":
    main()
