"""Three ranks over gloo sum gradients in parts. ``python bucket_ranks.py RANK FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bodvcl.engine.buckets import GradientBuckets

RANKS, STEPS = 3, 3


class Net(nn.Module):
    """Layers of two dtypes; one is not used."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.unused = nn.Linear(5, 5)
        self.first, self.second, self.third = nn.Linear(40, 50), nn.Linear(50, 60).double(), nn.Linear(60, 7)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.second(self.first(x).tanh().double()).tanh().float()
        return self.third(hidden)


def gradients(net: Net, rank: int, step: int) -> dict[str, Tensor]:
    """Gradients of one rank in one step, from two backward passes."""
    found = torch.autograd.grad(
        sum(loss(net, rank, step, part) for part in (0, 1)), [*net.parameters()], allow_unused=True
    )
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(net.named_parameters(), found)}


def loss(net: Net, rank: int, step: int, part: int) -> Tensor:
    g = torch.Generator().manual_seed(100 * step + 10 * rank + part)
    return net(torch.randn(9, 40, generator=g)).square().mean()


def run(rank: int, begin: int) -> list[dict[str, Tensor]]:
    """Means over the ranks, step by step, by an object that is made at some step."""
    net = Net()
    buckets = GradientBuckets(dict(net.named_parameters()), RANKS, size=4000)
    sent: list[int] = []
    net.first.weight.register_hook(lambda _: sent.append(len(buckets._on_the_way)))
    out = []
    for step in range(begin, STEPS):
        net.zero_grad()
        with buckets.sent(2):
            loss(net, rank, step, 0).backward()
            sent.append(len(buckets._on_the_way))  # none
            loss(net, rank, step, 1).backward()
        out.append({name: p.grad.clone() for name, p in net.named_parameters()})
        out[-1]["sent before the last gradient came"] = torch.tensor(sent[-3:])
    return out


def main(rank: str, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=int(rank), world_size=RANKS)
    torch.save({begin: run(int(rank), begin) for begin in (0, 2)}, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
