"""Starts the processes of a distributed run, as ``torchrun`` would. As a program: one process of a run in
which rank 1 has a mishap, or the network is small. ``python processes.py MISHAPS OPTIONS``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta

import torch.distributed as dist

SIZE = 2
PATIENCE = timedelta(minutes=30)
"""No test passes or fails by how long processes take: this only ends what hangs."""


class Running(list[subprocess.Popen]):
    """Processes that train together, and the store they meet at, which is open as long as this is there."""

    def __init__(self, processes: Sequence[subprocess.Popen], store: dist.TCPStore) -> None:
        super().__init__(processes)
        self.store = store


def start(
    options: Sequence[str], *, mishap: str | None = None, size: int = SIZE, verb: str = "train"
) -> Running:
    """Processes of a verb on the CPU that train together; ``train`` also with `MISHAPS`, joined by +."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)
    program = ["-m", "bodvcl", verb] if mishap is None else [__file__, mishap]
    common = os.environ | {
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, *program, *options],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    return Running(processes, store)


def finish(running: Running) -> list[tuple[int, str, str]]:
    """Exit code, standard output and standard error of every process."""
    try:
        said = [process.communicate(timeout=PATIENCE.total_seconds()) for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(running, said)]


def _fail_at_the_second_step() -> None:
    from bodvcl.engine.loop import Trainer
    from bodvcl.errors import DataError

    step = Trainer._train_step

    def fails(self, *arguments):
        if self.ranks.rank == 1 and self.step == 1:
            raise DataError("the disk went away")
        return step(self, *arguments)

    Trainer._train_step = fails


def _no_number_at_the_third_step() -> None:
    from bodvcl.engine.loop import Trainer
    from bodvcl.engine.problem import BatchProblem

    problem, upper = Trainer._problem, BatchProblem.upper

    def made(self, part):
        found = problem(self, part)
        found.spoilt = self.ranks.rank == 1 and self.step == 2
        return found

    def spoilt(self, *arguments):
        return upper(self, *arguments) * (float("nan") if self.spoilt else 1.0)

    Trainer._problem, BatchProblem.upper = made, spoilt


def _full_disk_at_the_second_save() -> None:
    """On rank 1; rank 0 writes on."""
    import resource

    from bodvcl.engine.checkpoint import Shards

    save, calls = Shards.save, [0]

    def full(self, *arguments):
        calls[0] += 1
        if calls[0] == 2 and os.environ["RANK"] == "1":
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        save(self, *arguments)

    Shards.save = full


def _count_reads() -> None:
    """Print, on rank 0, where a step reads numbers of the device; clips are finished on a CPU by reading."""
    from engine.host_reads import HostReads

    from bodvcl.engine import machinery
    from bodvcl.engine.loop import Trainer

    counter = HostReads()
    step, settle, finish = Trainer._train_step, Trainer._settle, machinery.finish

    def counted(self, *arguments):
        with counter.counting():
            step(self, *arguments)
        print("reads:", counter.places)

    def allowed(own):
        def call(*arguments, **options):
            with counter.allowed():
                return own(*arguments, **options)

        return call

    Trainer._train_step, Trainer._settle, machinery.finish = counted, allowed(settle), allowed(finish)


def small_vit() -> None:
    """From now on vit_b16 is a small network, whose widths three and four ranks do not divide."""
    from bodvcl.models.backbones.build import BACKBONES
    from bodvcl.models.backbones.vit import TubeletViT

    BACKBONES["vit_b16"] = lambda width: TubeletViT(30, 4, 2, 32)


MISHAPS = {
    "fails": _fail_at_the_second_step,
    "nan": _no_number_at_the_third_step,
    "full": _full_disk_at_the_second_save,
    "reads": _count_reads,
    "small": small_vit,
}


if __name__ == "__main__":
    from bodvcl.cli.train import main

    for name in sys.argv[1].split("+"):
        MISHAPS[name]()
    sys.exit(main(sys.argv[2:]))
