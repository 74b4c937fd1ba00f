"""SimCLR of lightly becomes BOD-VCL: python lightly_loop.py, and python lightly_loop.py --before for SimCLR.

The lines that change are marked with "before" and "after": the embeddings keep their time axis, and another
loss takes them. The projection head is lightly's, applied to every frame.
"""

from __future__ import annotations

import argparse

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from moving_shapes import random_batch
from own_loop import Encoder
from torch import Tensor, nn

import bodvcl


class SimCLR(nn.Module):
    """lightly's SimCLR model: clips ``(N, 3, T, H, W)`` to one embedding per frame ``(N, T, 32)``."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Encoder().backbone  # any backbone that keeps time
        self.projection_head = SimCLRProjectionHead(input_dim=16, hidden_dim=64, output_dim=32)

    def forward(self, clips: Tensor) -> Tensor:
        frames = self.backbone(clips).mean((3, 4)).transpose(1, 2)
        embeddings: Tensor = self.projection_head(frames.flatten(0, 1))
        return embeddings.view(*frames.shape[:2], -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40, help="training steps")
    parser.add_argument("--videos", type=int, default=16, help="videos per step, two clips of each")
    parser.add_argument("--before", action="store_true", help="lightly's own SimCLR loss")
    options = parser.parse_args()

    torch.manual_seed(0)
    model = SimCLR()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    simclr = NTXentLoss(temperature=0.1)
    decoupled = bodvcl.DecoupledInfoNCE(temperature=0.1)
    for step in range(options.steps):
        clips, video_ids = random_batch(options.videos)
        z = model(clips)
        if options.before:
            z0, z1 = z.mean(1).unflatten(0, (-1, 2)).unbind(1)  # before: one vector per clip
            loss = simclr(z0, z1)  #                              before: one loss
        else:
            losses = decoupled(z, video_ids)  #                   after: one vector per frame
            loss = losses["static"] + 0.3 * losses["dynamic"] + losses["prediction"]  # after: three losses
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0 or step == options.steps - 1:
            print(f"step {step:4d}  loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
