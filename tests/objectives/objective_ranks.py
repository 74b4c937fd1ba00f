"""Two ranks over gloo, each method by itself: ``python objective_ranks.py RANK FOLDER``.

The network is linear, or normalises with fixed statistics, so that a row's embedding depends on no other row.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from networks import clips, ids, network
from torch import Tensor, nn

from bodvcl.models.momentum import shuffled_over_ranks
from bodvcl.objectives import dualvar
from bodvcl.objectives.base import ClipObjective, ObjectiveInput
from bodvcl.objectives.byol import BYOL
from bodvcl.objectives.moco import MoCo
from bodvcl.objectives.simclr import SimCLR
from bodvcl.objectives.swav import SwAV

RANKS, VIDEOS, VIEWS, WIDTH, DIM = 2, 6, 3, 7, 5
STREAMS = ("static", "dynamic")
EMPTY = {"static": [1, 5, 6], "dynamic": [2, 12, 13, 14]}
"""Rows of the whole batch whose stream is empty: not the same number on both ranks."""


def stream_objectives() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    made = {
        "simclr": SimCLR(0.2),
        "moco": MoCo(STREAMS, DIM, 0.2, 48, 0.99),
        "byol": BYOL(STREAMS, DIM, 6, 0.99),
        "swav": SwAV(STREAMS, DIM, 0.2, 4, 0.1, 3, 0.0),
    }
    g = torch.Generator().manual_seed(2)
    made["moco"].queue.keys.copy_(torch.randn(2, 48, DIM, generator=g))
    return {name: objective.double().eval() for name, objective in made.items()}


def share(rank: int, ranks: int, rows: int) -> slice:
    return slice(rank * rows // ranks, (rank + 1) * rows // ranks)


def average(values: list[Tensor], ranks: int) -> list[Tensor]:
    for value in values:
        if ranks > 1:
            dist.all_reduce(value)
            value /= ranks
    return values


def streams_of(method: str, objective: nn.Module, rank: int, ranks: int) -> dict[str, Tensor]:
    """Losses and gradients averaged over ranks, and the state after two steps."""
    g = torch.Generator().manual_seed(1)
    rows = VIDEOS * VIEWS
    x = torch.randn(2, rows, WIDTH, generator=g, dtype=torch.float64)
    weight = torch.randn(WIDTH, DIM, generator=g, dtype=torch.float64).requires_grad_()
    slow = torch.randn(WIDTH, DIM, generator=g, dtype=torch.float64)
    for row, name in enumerate(STREAMS):
        x[row, EMPTY[name]] = 0
    mine = share(rank, ranks, rows)
    out = {}
    for step in range(2):
        z, targets = x[:, mine] @ weight, x[:, mine] @ slow
        batch = ObjectiveInput(
            dict(zip(STREAMS, z)),
            torch.arange(VIDEOS).repeat_interleave(VIEWS)[mine],
            VIEWS,
            dict(zip(STREAMS, targets)),
        )
        losses = torch.stack(list(objective(batch).values()))
        trained = [weight, *objective.parameters()]
        grads = torch.autograd.grad(losses.sum(), trained, materialize_grads=True)
        losses, *grads = average([losses.detach(), *(grad.contiguous() for grad in grads)], ranks)
        with torch.no_grad():
            for p, grad in zip(trained, grads):
                p -= 0.1 * grad
        objective.after_step([batch.targets], (step + 1) / 4, torch.tensor(True))
        out |= {f"{method} loss {step}": losses}
        out |= {f"{method} grad {step} {n}": grad for n, grad in enumerate(grads)}
    return out | {f"{method} {name}": t for name, t in objective.state_dict().items()}


def clips_of(method: str, rank: int, ranks: int) -> dict[str, Tensor]:
    encoder, objective = network(method)
    assert isinstance(objective, ClipObjective)
    x, videos = clips(VIEWS, VIDEOS), ids(VIEWS, VIDEOS)
    order = torch.rand(VIDEOS, 4, generator=torch.Generator().manual_seed(3)).argsort(-1)
    own = dualvar.random_order
    dualvar.random_order = lambda *_: order[share(rank, ranks, VIDEOS)]
    mine = share(rank, ranks, len(x))
    losses = objective(encoder, x[mine], videos[mine], VIEWS)[0]
    dualvar.random_order = own
    trained = [*encoder.parameters(), *objective.parameters()]
    grads = torch.autograd.grad(sum(losses.values()), trained, materialize_grads=True)
    values = average(
        [torch.stack(list(losses.values())).detach(), *(grad.contiguous() for grad in grads)], ranks
    )
    objective.after_step([], 0.1, torch.tensor(True))
    out = {f"{method} {n}": value for n, value in enumerate(values)}
    return out | {f"{method} {name}": t.clone() for name, t in objective.named_buffers()}


def compute(rank: int, ranks: int) -> dict[str, Tensor]:
    out = {}
    for name, objective in stream_objectives().items():
        out |= streams_of(name, objective, rank, ranks)
    for method in ("dualvar", "hdc"):
        out |= clips_of(method, rank, ranks)
    return out


def shuffled(rank: int) -> dict[str, Tensor]:
    """What one rank's encoder sees when clips are dealt at random, and what comes back."""
    rows = torch.arange(rank * 8, rank * 8 + 8, dtype=torch.float32)[:, None]
    seen: list[Tensor] = []

    def encode(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return 2 * x

    out = {"back": shuffled_over_ranks(encode, rows, 0, 5), "seen": seen[0][:, 0]}
    clips = torch.randn(8, 3, 2, 4, 5).contiguous(memory_format=torch.channels_last_3d)
    back = shuffled_over_ranks(encode, clips, 0, 6)
    out |= {"clips": clips, "clips back": back, "seen clips": seen[1]}
    assert seen[1].is_contiguous(memory_format=torch.channels_last_3d)
    for dtype in (torch.bfloat16, torch.float16):
        narrow = clips.to(dtype)
        assert torch.equal(shuffled_over_ranks(lambda x: 2 * x, narrow, 0, 6), 2 * narrow)
    return out


def main(rank: str, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=int(rank), world_size=RANKS)
    out = compute(int(rank), RANKS) | shuffled(int(rank))
    torch.save(out, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
