"""Can processes of this node send tensors to each other? The GPUs over NCCL, the CPU over gloo."""

from __future__ import annotations

import tempfile
import time
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist

from bodvcl.doctor.apart import ask_child, end_with_check
from bodvcl.doctor.outcome import Outcome, failed, ok, skipped

_SIZE = {"nccl": 2**24, "gloo": 2**18}
"""Numbers of float32 in an all-reduce."""
_ROUNDS = 5


def all_reduce(backend: str, size: int, seconds: float) -> Outcome:
    """Start ``size`` processes, add up a tensor over them, and check the sum.

    Args:
        backend: "nccl", process k on GPU k, or "gloo".
        size: number of processes, at least 2.
        seconds: time limit of one collective.
    """
    context = get_context("fork")
    with tempfile.TemporaryDirectory(prefix="bodvcl-doctor-") as folder:
        ours, theirs = context.Pipe(duplex=False)
        place = Path(folder, "store")
        processes = [
            context.Process(target=_one, args=(backend, rank, size, place, seconds, theirs), daemon=True)
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        theirs.close()
        said: list[tuple[int, str, float]] = []
        try:
            while len(said) < size:
                said.append(ours.recv())
                if said[-1][1]:
                    break
        except EOFError:
            missing = sorted(set(range(size)) - {rank for rank, _, _ in said})
            said.append((missing[0], "ended without a message", 0.0))
        finally:
            for process in processes:
                process.kill()
    return judge(backend, size, said)


def judge(backend: str, size: int, said: list[tuple[int, str, float]]) -> Outcome:
    """What the processes said: rank, what went wrong ("": nothing), seconds of one all-reduce."""
    wrong = [f"process {rank}: {trouble}" for rank, trouble, _ in said if trouble]
    what = f"{backend} between {size} {'GPUs' if backend == 'nccl' else 'processes'}"
    if wrong:
        return failed(f"{what}: {wrong[0]}", _REMEDIES[backend])
    bytes_sent = 2 * (size - 1) / size * 4 * _SIZE[backend]
    slowest = max(seconds for _, _, seconds in said)
    return ok(f"{what}: the sum is right, {bytes_sent / slowest / 1e9:.1f} GB/s")


_REMEDIES = {
    "nccl": "compare nvidia-smi topo -m; common causes are a small /dev/shm and a blocked peer access "
    "(NCCL_P2P_DISABLE=1 avoids it)",
    "gloo": "the host name must lead to an address of this node (/etc/hosts); GLOO_SOCKET_IFNAME names the "
    "network interface",
}


def _one(backend: str, rank: int, size: int, place: Path, seconds: float, answer: Connection) -> None:
    end_with_check()
    try:
        answer.send((rank, *_added_up(backend, rank, size, place, seconds)))
    except Exception as error:
        answer.send((rank, (str(error).strip().splitlines() or [type(error).__name__])[0], 0.0))
    time.sleep(60)  # the first to end would break the connections of the others


def _added_up(backend: str, rank: int, size: int, place: Path, seconds: float) -> tuple[str, float]:
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend,
        store=dist.FileStore(str(place), size),  # type: ignore[attr-defined]  # public, not in __all__
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=seconds),
    )
    took = float("inf")
    for _ in range(_ROUNDS):
        tensor = torch.full((_SIZE[backend],), rank + 1.0, device=device)
        _wait_for(device)
        began = time.perf_counter()
        dist.all_reduce(tensor)
        _wait_for(device)
        took = min(took, time.perf_counter() - began)
        if not bool((tensor == size * (size + 1) / 2).all()):
            return f"the sum is {tensor.unique().tolist()[:3]}, expected {size * (size + 1) / 2}", took
    return "", took


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def visible_gpus() -> int:
    """Number of GPUs, counted in another process: CUDA must not have started where others are forked."""
    return ask_child(torch.cuda.device_count)


def check_nccl(seconds: float) -> Outcome:
    """The check ``nccl``."""
    count = visible_gpus()
    if count < 2:
        return skipped("no GPU visible" if count == 0 else "one GPU visible: nothing to connect")
    return all_reduce("nccl", count, seconds)


def check_gloo(seconds: float) -> Outcome:
    """The check ``gloo``."""
    return all_reduce("gloo", 2, seconds)
