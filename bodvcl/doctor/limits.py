"""Limits of this process: open files, processes, memory, cores."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Mapping
from pathlib import Path

from bodvcl.data.workers.process import available_cores
from bodvcl.doctor.outcome import Outcome, combined, failed, ok, warning
from bodvcl.doctor.place import of_each_node, slurm_number
from bodvcl.system.cgroup import free_memory, processors, smallest_limit
from bodvcl.system.memory import machine_memory
from bodvcl.text.words import counted

FEW_FILES, SOME_FILES = 256, 1024
"""Open files that a training needs at least, and with many decoding processes and ranks. A training with four
decoding processes opened 41 on a CPU."""
SOME_PROCESSES = 1024
"""Processes and threads: decoding processes, and threads of PyTorch, NCCL and the decoders of all ranks."""
_RANK = 3 * 2**30
"""Bytes of memory for each rank: PyTorch with CUDA, and its decoding processes. One on a CPU took 1.1 GB."""


def judge_open_files(soft: int) -> Outcome:
    """Whether enough files may be open. ``soft``: the limit."""
    text = f"{'unlimited' if soft == resource.RLIM_INFINITY else soft} open files"
    if 0 <= soft < SOME_FILES:
        remedy = "ulimit -n 65536; for good: nofile in limits.conf, LimitNOFILE of slurmd or containerd"
        return failed(text, remedy) if soft < FEW_FILES else warning(text, remedy)
    return ok(text)


def judge_processes(soft: int, group: int | None) -> Outcome:
    """Whether enough processes and threads may run.

    Args:
        soft: limit of the user; -1: none.
        group: limit of the container or job; None: none.
    """
    limits = [limit for limit in (soft, -1 if group is None else group) if limit >= 0]
    if not limits:
        return ok("processes unlimited")
    text = f"{min(limits)} processes and threads"
    if min(limits) < SOME_PROCESSES:
        return warning(
            text, "ulimit -u 16384; of a container: --pids-limit, podPidsLimit; of a service: TasksMax"
        )
    return ok(text)


def judge_locked_memory(soft: int, rdma: bool) -> Outcome:
    """Whether memory can be locked for RDMA.

    Args:
        soft: limit in bytes; -1: none.
        rdma: whether there is an InfiniBand or RoCE adapter.
    """
    if rdma and soft >= 0:
        return warning(
            f"{soft // 1024} KiB may be locked, and there is an RDMA adapter: NCCL may fail to use it",
            "ulimit -l unlimited; docker --ulimit memlock=-1; LimitMEMLOCK=infinity of slurmd",
        )
    return ok("memory may be locked" if rdma else "no RDMA adapter")


def check_limits(root: Path = Path("/")) -> Outcome:
    """The check ``limits``."""
    return combined(
        [
            judge_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
            judge_processes(resource.getrlimit(resource.RLIMIT_NPROC)[0], smallest_limit("pids.max", root)),
            judge_locked_memory(
                resource.getrlimit(resource.RLIMIT_MEMLOCK)[0], any(root.glob("sys/class/infiniband/*"))
            ),
        ]
    )


def judge_memory(allowed: int, free: int, ranks: int) -> Outcome:
    """Whether the memory of the machine is enough.

    Args:
        allowed: bytes that processes here may use.
        free: bytes that nothing uses.
        ranks: processes that train on this machine.
    """
    usable = min(allowed, free)
    text = f"{usable / 2**30:.1f} of {allowed / 2**30:.1f} GiB free"
    if usable < _RANK * ranks:
        return warning(
            f"{text}, about {_RANK * ranks / 2**30:.0f} GiB are needed for {counted(ranks, 'rank')}",
            "ask for more (--mem in Slurm, resources.limits.memory in Kubernetes), or end what uses it",
        )
    return ok(text)


def check_memory(ranks: int, root: Path = Path("/")) -> Outcome:
    """The check ``memory``: for ``ranks`` processes, or one for each visible GPU if there are more."""
    match = re.search(r"MemAvailable:\s*(\d+) kB", (root / "proc/meminfo").read_text(encoding="ascii"))
    allowed, within = machine_memory(root), free_memory(root)
    free = int(match[1]) * 1024 if match else allowed
    return judge_memory(allowed, free if within is None else min(free, within), max(ranks, _gpus()))


def _gpus() -> int:
    """Number of visible GPUs; 0 where PyTorch, which counts them, cannot be imported."""
    try:
        from bodvcl.doctor.together import visible_gpus
    except (ImportError, OSError):
        return 0
    return visible_gpus()


def judge_cores(cores: int, quota: float | None, threads: str, gpus: int, all_cores: int) -> Outcome:
    """Whether the cores fit what will run on them.

    Args:
        cores: those that this process, or its job on this node, may use.
        quota: processors' worth of time that the container may use; None: no limit.
        threads: the variable OMP_NUM_THREADS.
        gpus: number of GPUs.
        all_cores: cores of the machine.
    """
    text = f"{cores} of {all_cores} cores, OMP_NUM_THREADS {threads or 'not set'}"
    if threads.isdecimal() and int(threads) > cores:
        return warning(f"{text}: more threads than cores", "set OMP_NUM_THREADS=1")
    if quota is not None and quota < cores:
        return warning(
            f"{text}, but time for {quota:.1f} only: decoding processes would be throttled",
            "raise the CPU limit of the container, or give --workers",
        )
    if gpus and cores < 2 * gpus and cores < all_cores:
        return warning(
            f"{text}, for {gpus} GPUs: too few to decode",
            "ask for more (--cpus-per-task, resources.limits.cpu)",
        )
    return ok(text)


def check_cores(gpus: int, root: Path = Path("/")) -> Outcome:
    """The check ``cores``."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    all_cores = os.cpu_count() or 1
    cores = max(available_cores(), min(_cores_of_the_job(os.environ), all_cores))  # a step may have fewer
    return judge_cores(cores, processors(root), threads, gpus, all_cores)


def _cores_of_the_job(environment: Mapping[str, str]) -> int:
    """Cores of this node that Slurm gave to the job; 0: not known."""
    each = of_each_node(environment.get("SLURM_JOB_CPUS_PER_NODE", ""))
    node = slurm_number(environment, "SLURM_NODEID", 0)
    return each[node] if node < len(each) else 0
