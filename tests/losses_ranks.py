"""Two ranks over gloo train with `DistributedDataParallel`. ``python losses_ranks.py RANK FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import bodvcl

RANKS, CLIPS, FRAMES = 2, 12, 6


def batch() -> tuple[Tensor, Tensor]:
    """Inputs ``(12, 6, 5)`` and ids in which both clips of most videos are on different ranks."""
    g = torch.Generator().manual_seed(0)
    return torch.randn(CLIPS, FRAMES, 5, generator=g, dtype=torch.float64), torch.arange(CLIPS) % 5


def compute(rank: int, ranks: int, compiled: bool = False) -> dict[str, Tensor]:
    """Averages over ranks of the losses, and the encoder's gradient."""
    x, ids = (part.chunk(ranks)[rank] for part in batch())
    torch.manual_seed(1)
    encoder: nn.Module = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 8)).double()
    weights = list(encoder.parameters())
    if ranks > 1:
        encoder = DistributedDataParallel(encoder)
    loss_fn: nn.Module = bodvcl.DecoupledInfoNCE()
    losses = (torch.compile(loss_fn, backend="aot_eager") if compiled else loss_fn)(encoder(x), ids)
    torch.stack(list(losses.values())).sum().backward()
    out = {name: loss.detach().clone() for name, loss in losses.items()}
    if ranks > 1:
        for value in out.values():
            dist.all_reduce(value)
            value /= ranks
    return out | {f"gradient {i}": weight.grad for i, weight in enumerate(weights)}


def main(rank: str, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=int(rank), world_size=RANKS)
    out = {compiled: compute(int(rank), RANKS, compiled) for compiled in (False, True)}
    torch.save(out, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
