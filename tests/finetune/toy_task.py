"""A small task for the training loop, without videos; also one process of two that train it together.
``python toy_task.py FOLDER OPTIONS-AS-JSON``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from bodvcl.config.schema import RunLog
from bodvcl.engine.ranks import Ranks, world_from_environment
from bodvcl.finetune.loop import TuningLoop, TuningOutcome
from bodvcl.finetune.loop_options import LoopOptions, TuneOptim
from bodvcl.finetune.task import ParameterGroup

STEPS, BATCH = 4, 8


class ToyTask:
    """Regression of random numbers; batches are a function of epoch and step.

    Args:
        share: (rank, ranks).
        dropout: of the hidden layer.
        scale: factor of the learning rate of the first layer; the second has 1.
        metrics: what each validation returns, in order; after the last, the mean loss counts.
    """

    def __init__(self, share=(0, 1), dropout=0.0, scale=0.5, metrics=()) -> None:
        torch.manual_seed(7)
        self.model = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3)
        )
        self.steps_per_epoch = STEPS
        self._share, self._scale = share, scale
        self._metrics = list(metrics)
        self.validated: list[bool] = []
        self.closed = False

    def groups(self):
        head = [*self.model[4].parameters()]
        rest = [*self.model[0].parameters(), *self.model[1].parameters()]
        return [ParameterGroup(1.0, head), ParameterGroup(self._scale, rest)]

    def batches(self, epoch, start_step):
        rank, ranks = self._share
        for step in range(start_step, STEPS):
            g = torch.Generator().manual_seed(1000 * epoch + step)
            x, y = torch.randn(BATCH, 6, generator=g), torch.randn(BATCH, 3, generator=g)
            yield x.chunk(ranks)[rank], y.chunk(ranks)[rank]

    def loss(self, batch) -> Tensor:
        x, y = batch
        return (self.model(x) - y).square().mean()

    def validate(self):
        self.validated.append(self.model.training)
        if self._metrics:
            return {"score": self._metrics.pop(0)}
        g = torch.Generator().manual_seed(5)
        return {"score": -float(self.model(torch.randn(9, 6, generator=g)).square().mean())}

    def close(self) -> None:
        self.closed = True


def options(**changed) -> LoopOptions:
    optim = TuneOptim(**({"lr": 0.1, "lr_per": None} | changed.pop("optim", {})))
    log = RunLog(**({"every": 1} | changed.pop("log", {})))
    return LoopOptions(**({"batch_size": BATCH, "epochs": 3, "precision": "fp32", "device": "cpu"} | changed),
                       optim=optim, log=log)  # fmt: skip


def same(saved, now, may_change):
    return ([], []) if saved == now else ([], ["something"])


def train(
    task, chosen: LoopOptions, folder: Path, ranks: Ranks | None = None, settings="a: 1"
) -> TuningOutcome:
    (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
    world = world_from_environment()
    loop = TuningLoop(task, chosen, folder, ranks or Ranks(world, torch.device("cpu")), settings, same)
    if chosen.resume:
        loop.resume()
    return loop.run()


def main(folder: str, changed: str) -> None:
    torch.set_num_threads(1)
    with Ranks(world_from_environment(), torch.device("cpu")) as ranks:
        task = ToyTask((ranks.rank, ranks.size))
        train(task, options(**yaml.safe_load(changed)), Path(folder), ranks)


if __name__ == "__main__":
    main(*sys.argv[1:])
