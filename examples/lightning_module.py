"""BOD-VCL as a LightningModule: python lightning_module.py --steps 20

With several devices (``Trainer(devices=4, strategy="ddp")``) nothing changes here: the loss compares the
clips of all of them.
"""

from __future__ import annotations

import argparse

import lightning
import torch
from moving_shapes import VIDEOS, two_clips
from own_loop import Encoder
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import bodvcl


class BodVcl(lightning.LightningModule):
    """Trains an encoder of clips ``(N, 3, T, H, W)`` to per-frame embeddings ``(N, T, M)``."""

    def __init__(self, encoder: nn.Module, lr: float = 2e-3) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss_fn = bodvcl.DecoupledInfoNCE(temperature=0.1)
        self.lr = lr

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        pairs, numbers = batch
        losses = self.loss_fn(self.encoder(pairs.flatten(0, 1)), numbers.repeat_interleave(2))
        self.log_dict(losses, prog_bar=True)
        loss: Tensor = losses["static"] + 0.3 * losses["dynamic"] + losses["prediction"]
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


class MovingShapes(Dataset[tuple[Tensor, int]]):
    """Two clips of a video, and the number of the video."""

    def __len__(self) -> int:
        return VIDEOS

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return two_clips(number), number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20, help="training steps")
    parser.add_argument("--videos", type=int, default=16, help="videos per step, two clips of each")
    options = parser.parse_args()

    lightning.seed_everything(0)
    loader = DataLoader(MovingShapes(), options.videos, shuffle=True, drop_last=True)  # ranks of equal size
    trainer = lightning.Trainer(
        max_steps=options.steps, logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    trainer.fit(BodVcl(Encoder()), loader)
    print("  ".join(f"{name} {value.item():.4f}" for name, value in trainer.callback_metrics.items()))


if __name__ == "__main__":
    main()
