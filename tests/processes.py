"""Starts the processes of a distributed run, as ``torchrun`` would. As a program: one process of a run in
which rank 1 fails at its second step. ``python processes.py OPTIONS``."""

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


def start(options: Sequence[str], *, failing: bool = False) -> Running:
    """``SIZE`` processes of ``bodvcl train`` on the CPU that train together."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)
    program = [__file__] if failing else ["-m", "bodvcl.train"]
    common = os.environ | {
        "WORLD_SIZE": str(SIZE),
        "LOCAL_WORLD_SIZE": str(SIZE),
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
        for rank in range(SIZE)
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


def _fail_at_the_second_step(options: Sequence[str]) -> int:
    from bodvcl.cli.train import main
    from bodvcl.engine.loop import Trainer
    from bodvcl.errors import DataError

    step = Trainer._train_step

    def fails(self, *arguments):
        if self.ranks.rank == 1 and self.step == 1:
            raise DataError("the disk went away")
        return step(self, *arguments)

    Trainer._train_step = fails
    return main(options)


if __name__ == "__main__":
    sys.exit(_fail_at_the_second_step(sys.argv[1:]))
