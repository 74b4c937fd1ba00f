"""Can every GPU run the code of the build, and is its memory free?"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bodvcl.doctor.outcome import Outcome, combined, failed, ok, skipped, warning

_FREE = 0.9
"""Share of a GPU's memory that is free where nothing else uses it."""


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        number: as PyTorch counts.
        name: of the model.
        capability: compute capability: (9, 0).
        free, total: bytes of memory.
    """

    number: int
    name: str
    capability: tuple[int, int]
    free: int
    total: int


def has_code(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether a build has code for a GPU.

    Machine code runs on its own and on higher minor versions of the same major version; PTX is compiled by
    the driver for every later GPU (CUDA C++ Programming Guide, "Compute Capability").

    Args:
        capability: (8, 6).
        architectures: as CMake or PyTorch name them: "80-real", "90a", "120", "sm_90", "compute_90". Without
            "-real" a name of CMake stands for machine code and PTX.
    """
    for name in architectures:
        match = re.fullmatch(r"(sm_|compute_)?(\d+)(\d)([af]?)(-real|-virtual)?", name)
        if match is None:
            continue
        own = (int(match[2]), int(match[3]))
        if match[4]:  # features of one architecture only
            if own == capability:
                return True
            continue
        machine = match[1] != "compute_" and match[5] != "-virtual"
        portable = match[1] == "compute_" or (match[1] is None and match[5] != "-real")
        if machine and own[0] == capability[0] and own <= capability:
            return True
        if portable and own <= capability:
            return True
    return False


def judge_gpus(
    gpus: Sequence[Gpu], expected: int | None, of_torch: Sequence[str], of_build: Sequence[str]
) -> Outcome:
    """Whether the GPUs can train.

    Args:
        gpus: those that PyTorch sees.
        expected: how many there must be. None: any number.
        of_torch, of_build: architectures that PyTorch and the native library hold code for; empty: the
            library is not built for GPUs.
    """
    if expected is not None and len(gpus) < expected:
        return failed(
            f"{len(gpus)} GPUs visible, {expected} expected",
            "compare nvidia-smi, CUDA_VISIBLE_DEVICES and what the job asked for; drain the node if one is lost",
        )
    if not gpus:
        return skipped("no GPU visible: trains on the CPU")
    judged = [_judge(gpu, of_torch, of_build) for gpu in gpus]
    bad = [outcome for outcome in judged if outcome.remedy]
    return combined(bad) if bad else ok(_listed(gpus))


def _judge(gpu: Gpu, of_torch: Sequence[str], of_build: Sequence[str]) -> Outcome:
    code = f"sm_{gpu.capability[0]}{gpu.capability[1]}"
    who = f"GPU {gpu.number} ({gpu.name}, {code})"
    if not has_code(gpu.capability, of_torch):
        return failed(f"{who}: PyTorch has code for {', '.join(of_torch)} only", "install a PyTorch for this GPU")
    if of_build and not has_code(gpu.capability, of_build):
        return failed(
            f"{who}: the native library has code for {', '.join(of_build)} only",
            f"build it for this GPU (CMAKE_CUDA_ARCHITECTURES={gpu.capability[0]}{gpu.capability[1]}), or set "
            "BODVCL_BACKEND=torch",
        )
    if gpu.free < _FREE * gpu.total:
        return warning(
            f"{who}: {gpu.free / 2**30:.1f} of {gpu.total / 2**30:.1f} GiB are free",
            "another process uses it: nvidia-smi names it",
        )
    return ok(_listed([gpu]))


def _listed(gpus: Sequence[Gpu]) -> str:
    kinds = Counter((gpu.name, gpu.capability) for gpu in gpus)
    least = min(gpu.free for gpu in gpus) / 2**30
    names = ", ".join(f"{count} x {name}, sm_{c[0]}{c[1]}" for (name, c), count in kinds.items())
    return f"{names}, {least:.1f} GiB free{' or more on each' if len(gpus) > 1 else ''}"


def find_gpus() -> list[Gpu]:
    """The GPUs that PyTorch sees."""
    import torch

    found = []
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        found.append(Gpu(number, properties.name, (properties.major, properties.minor), free, total))
    return found


def expected_gpus(asked: int | None) -> int | None:
    """How many GPUs there must be: as asked for, else as many as Slurm gave to the job on this node."""
    told = os.environ.get("SLURM_GPUS_ON_NODE", "")
    return asked if asked is not None else int(told) if told.isdecimal() else None


def check_gpus(asked: int | None) -> Outcome:
    """The check ``gpus``."""
    import torch

    from bodvcl.ops import native

    return judge_gpus(
        find_gpus(), expected_gpus(asked), torch.cuda.get_arch_list(), native.BUILD.get("cuda_archs", [])
    )
