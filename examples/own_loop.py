"""A training loop of your own, in plain PyTorch, with BOD-VCL as its loss: python own_loop.py --steps 40

The step below adds the three losses. ``bodvcl train`` takes a bi-level step instead: it looks ahead along the
gradient of the prediction loss and takes the gradient of static + dynamic from there (docs/library.md).
"""

from __future__ import annotations

import argparse

import torch
from moving_shapes import random_batch
from torch import Tensor, nn

import bodvcl


class Encoder(nn.Module):
    """Clips ``(N, 3, T, H, W)`` to one embedding per frame ``(N, T, M)``: any network that keeps time."""

    def __init__(self, width: int = 8, embedding: int = 32) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv3d(3, width, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2)),  # no stride in time
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.Conv3d(width, 2 * width, (3, 3, 3), stride=(1, 2, 2), padding=1),
            nn.BatchNorm3d(2 * width),
            nn.ReLU(),
        )
        self.projector = nn.Sequential(
            nn.Linear(2 * width, 4 * width), nn.ReLU(), nn.Linear(4 * width, embedding)
        )

    def forward(self, clips: Tensor) -> Tensor:
        frames = self.backbone(clips).mean((3, 4)).transpose(1, 2)  # pooled over space, not over time
        embeddings: Tensor = self.projector(frames)
        return embeddings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40, help="training steps")
    parser.add_argument("--videos", type=int, default=16, help="videos per step, two clips of each")
    parser.add_argument("--prediction-weight", type=float, default=1.0, help="weight of the prediction loss")
    options = parser.parse_args()

    torch.manual_seed(0)
    encoder = Encoder()
    loss_fn = bodvcl.DecoupledInfoNCE(temperature=0.1)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=2e-3)
    for step in range(options.steps):
        clips, video_ids = random_batch(options.videos)
        losses = loss_fn(encoder(clips), video_ids)
        contrast = losses["static"] + 0.3 * losses["dynamic"]
        loss = contrast + options.prediction_weight * losses["prediction"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0 or step == options.steps - 1:
            print(f"step {step:4d}  " + "  ".join(f"{name} {x.item():.4f}" for name, x in losses.items()))


if __name__ == "__main__":
    main()
