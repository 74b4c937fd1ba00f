"""What a training step sends, from 1 to 1,000 ranks: python -m bench.scale

Runs real training steps as rank 0 of so many ranks, in one process: PyTorch's fake process group makes every
collective return at once, with the right shapes and any numbers. Counted are messages, and bytes that a rank
sends with the usual algorithms: a ring for sums and gathers, one message to each rank for an exchange. So
the table says how a step grows, not how long it takes. Prints the tables of docs/scale.md.
"""

from __future__ import annotations

import argparse
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from bodvcl.bilevel.solvers import make_solver
from bodvcl.config.passes import bilevel_of
from bodvcl.config.schema import ClipConfig, ModelConfig, TrainConfig
from bodvcl.engine.assemble import build_learner, loss_options, norm_group, synchronises_norms
from bodvcl.engine.machinery import collecting, trained_parameters
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.ranks import Ranks, World
from bodvcl.engine.step import step_gradient
from bodvcl.engine.sync_norm import synchronise_norms

RANKS = (1, 8, 64, 512, 1000)
METHODS = ("simclr", "moco", "byol", "swav")
NODE = 8
"""Ranks of a machine."""
PURPOSES = {
    "allreduce_": "statistics",
    "_allgather_base_": "embeddings",
    "_reduce_scatter_base_": "embeddings",
    "alltoall_base_": "shuffle",
}
"""Collective, and what it is for where it is not for the gradient and the logged values.

statistics: batch normalisation, standardised streams, numbers of rows.
embeddings: those of all ranks, to be compared or remembered, and their gradients.
shuffle: MoCo's clips to other ranks and their keys back.
"""
_GRADIENT = ("ranks.py", "buckets.py")
"""Files of the package that send gradients."""
CPU = torch.device("cpu")


@dataclass
class Traffic:
    """What rank 0 sends in a step, by purpose.

    Attributes:
        messages: number of collectives.
        sent: bytes that this rank sends.
        held: bytes of the largest tensor that a collective makes.
    """

    messages: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    held: int = 0

    def add(self, purpose: str, sent: float, held: int) -> None:
        """Count one collective."""
        self.messages[purpose] += 1
        self.sent[purpose] += round(sent)
        self.held = max(self.held, held)


class _Counted(TorchDispatchMode):
    """Counts the collectives of ``torch.distributed`` while entered."""

    def __init__(self) -> None:
        super().__init__()
        self.traffic = Traffic()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self._count(func.overloadpacket.__name__, args)
        return func(*args, **(kwargs or {}))

    def _count(self, name: str, args: Sequence[Any]) -> None:
        tensors = [t for a in args for t in (a if isinstance(a, list) else [a]) if isinstance(t, Tensor)]
        made, ranks = tensors[0].nbytes, _group_size(args)
        others = (ranks - 1) / ranks
        sent = {
            "allreduce_": 2 * others * made,
            "_allgather_base_": others * made,
            "_reduce_scatter_base_": others * tensors[-1].nbytes,
            "alltoall_base_": others * tensors[-1].nbytes,
        }
        if name not in PURPOSES:
            raise ValueError(f"bench.scale does not know how much {name} sends; known: {', '.join(PURPOSES)}")
        gradient = any(Path(f.filename).name in _GRADIENT for f in traceback.extract_stack())
        self.traffic.add("gradient" if gradient else PURPOSES[name], sent[name], made)


def _group_size(args: Sequence[Any]) -> int:
    groups = [a for a in args if isinstance(a, torch.ScriptObject) and "ProcessGroup" in str(a._type())]
    return dist.ProcessGroup.unbox(groups[0]).size()


@contextmanager
def pretended(ranks: int) -> Iterator[World]:
    """While entered, this process is rank 0 of so many, and the collectives are those chosen for NCCL."""
    if ranks == 1:
        yield World()
        return
    dist.init_process_group("fake", rank=0, world_size=ranks, store=FakeStore())
    try:
        with patch.object(dist, "get_backend", lambda group=None: "nccl"):
            yield World(0, ranks, 0, min(ranks, NODE))
    finally:
        dist.destroy_process_group()


def step_traffic(config: TrainConfig, videos: int, ranks: int) -> Traffic:
    """What rank 0 sends in one training step.

    Args:
        config: configuration of the run; its batch size does not matter.
        videos: videos of each rank.
        ranks: number of ranks.
    """
    with pretended(ranks) as world:
        own = Ranks(world, CPU)
        learner = build_learner(config).train()
        if ranks > 1 and synchronises_norms(config):
            synchronise_norms(learner, plain=True, group=own.neighbours(norm_group(config, world)))
        clip = config.clip
        clips = torch.randn(videos * clip.views, 3, clip.frames, clip.size, clip.size)
        ids = torch.arange(videos).repeat_interleave(clip.views)
        problem = BatchProblem(learner, clips, ids, loss_options(config), None)
        solve = make_solver(bilevel_of(config), own.mean)
        trained = trained_parameters(config, learner, ranks)
        collect = collecting(trained, ranks)
        with _Counted() as counted:
            found = step_gradient(solve, {**trained.solved}, [(1.0, problem)], own, None, collect=collect)
            learner.after_step(found.keys, 0.0, torch.tensor(True))
    return counted.traffic


def scaled(traffic: Traffic, size: int, shown: int) -> Traffic:
    """The same with clips of another size: only what deals out clips depends on it."""
    factor = (shown / size) ** 2
    sent = {name: round(n * factor) if name == "shuffle" else n for name, n in traffic.sent.items()}
    return Traffic(traffic.messages, Counter(sent), traffic.held)


def table(config: TrainConfig, videos: int, all_ranks: Sequence[int], size: int) -> list[str]:
    """Lines of a Markdown table for one method."""
    purposes = ("gradient", "embeddings", "statistics", "shuffle")
    columns = " | ".join(f"{name}: messages, MB" for name in purposes)
    lines = [f"| ranks | {columns} | largest |", f"|{'---|' * (len(purposes) + 2)}"]
    for ranks in all_ranks:
        found = scaled(step_traffic(config, videos, ranks), config.clip.size, size)
        cells = [
            f"{found.messages[name]}, {found.sent[name] / 1e6:.3g}" if found.messages[name] else ""
            for name in purposes
        ]
        largest = max(purposes, key=lambda name: found.sent[name]) if found.sent else "nothing"
        lines.append(f"| {ranks} | {' | '.join(cells)} | {largest} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table for each method."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--ranks", nargs="+", type=int, default=RANKS)
    parser.add_argument("--videos", type=int, default=8, help="videos of each rank (default: 8)")
    parser.add_argument("--backbone", default="slow_r50", help="default: slow_r50")
    parser.add_argument("--size", type=int, default=224, help="height and width of a clip (default: 224)")
    options = parser.parse_args(arguments)
    model = ModelConfig(options.backbone, embed_dim=128, hidden_dim=2048)
    for method in options.methods:
        config = TrainConfig(method=method, model=model, clip=ClipConfig(frames=8, size=32))
        print(f"\n**V-{method}**, {options.videos} videos a rank\n")
        print("\n".join(table(config, options.videos, options.ranks, options.size)), flush=True)


if __name__ == "__main__":
    main()
