"""Only the Koopman split, on features of your own: python split_only.py --features features.npy

The file holds ``(clips, frames, width)`` numbers, such as per-frame features of any video network. Without
it two made clips are split: a constant vector plus one that turns, a constant vector plus one that decays.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import bodvcl


def made_clips(frames: int = 12, width: int = 6) -> Tensor:
    """``(2, frames, width)``: what stays is of length 2 in both; what changes is of length 1 at the start."""
    time = torch.arange(frames, dtype=torch.float64)
    stays, first, second = torch.linalg.qr(torch.randn(width, 3, dtype=torch.float64))[0].T
    turns = (time * 0.9).cos()[:, None] * first + (time * 0.9).sin()[:, None] * second
    decays = 0.6 ** time[:, None] * first
    clips: Tensor = 2 * stays + torch.stack([turns, decays])
    return clips


def saved_clips(name: str) -> Tensor:
    """``(clips, frames, width)`` from a .npy file; ``(frames, width)`` is one clip."""
    try:
        features = torch.from_numpy(np.load(name)).double()
    except (OSError, TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {name}: {error}") from error
    if features.ndim not in (2, 3) or features.shape[-2] < 3:
        raise argparse.ArgumentTypeError(
            f"{name} holds {tuple(features.shape)} numbers; expected (clips, frames, width), 3 frames or more"
        )
    return features.reshape(-1, *features.shape[-2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=saved_clips, help="a .npy file of (clips, frames, width)")
    parser.add_argument("--xi", type=float, default=0.1, help="radius of the static disk around 1")
    parser.add_argument("--plot", type=Path, help="write a picture of the first clip here")
    options = parser.parse_args()

    torch.manual_seed(0)
    features = made_clips() if options.features is None else options.features
    split = bodvcl.koopman_split(
        features,
        options.xi,
        mask="hard",  # eigenvalues closer to 1 than xi are static; for training take "smooth", the default
        weights="projector",  # static + dynamic = features
        pool="none",  # a static and a dynamic part of every frame
        ridge=0,  # the paper's pseudo-inverse
        rtol=1e-4,
    )
    for clip, values in enumerate(split.eigenvalues()):
        static, dynamic = (part[clip].norm(dim=-1).mean().item() for part in (split.static, split.dynamic))
        print(f"clip {clip}: mean length of the static part {static:.3f}, of the dynamic part {dynamic:.3f}")
        kept = values[: int(split.rank[clip])].tolist()
        print("  eigenvalues", "  ".join(f"{abs(v):.2f} at {np.angle(v, deg=True):+.0f}°" for v in kept))

    if options.plot:
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(1, 3, figsize=(10, 3), sharey=True)
        for axis, (name, part) in zip(
            axes, (("features", features), ("static", split.static), ("dynamic", split.dynamic))
        ):
            axis.plot(part[0].numpy())
            axis.set(title=name, xlabel="frame")
        figure.savefig(options.plot, bbox_inches="tight")
        print(f"wrote {options.plot}")


if __name__ == "__main__":
    main()
