"""Can every GPU run the code of the build, and is its memory free?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bodvcl.doctor.outcome import Outcome, combined, failed, ok, skipped, warning
from bodvcl.ops.cards import serves
from bodvcl.text.words import counted

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


def as_cmake_names(architectures: Iterable[str]) -> list[str]:
    """Names of PyTorch ("sm_90", "compute_90") as CMake writes them ("90-real", "90-virtual")."""
    found = []
    for name in architectures:
        kind, _, number = name.partition("_")
        found.append(f"{number}-{'virtual' if kind == 'compute' else 'real'}")
    return found


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
            f"{counted(len(gpus), 'GPU')} visible, {expected} expected",
            "compare nvidia-smi, CUDA_VISIBLE_DEVICES and what the job asked for; drain a node that lost one",
        )
    if not gpus:
        return skipped("no GPU visible: trains on the CPU")
    judged = [_judge(gpu, of_torch, of_build) for gpu in gpus]
    bad = [outcome for outcome in judged if outcome.remedy]
    return combined(bad) if bad else ok(_listed(gpus))


def _judge(gpu: Gpu, of_torch: Sequence[str], of_build: Sequence[str]) -> Outcome:
    number = "".join(map(str, gpu.capability))
    who = f"GPU {gpu.number} ({gpu.name}, sm_{number})"
    if not serves(as_cmake_names(of_torch), gpu.capability):
        return failed(
            f"{who}: PyTorch has code for {', '.join(of_torch)} only", "install a PyTorch for this GPU"
        )
    if of_build and not serves(of_build, gpu.capability):
        return warning(
            f"{who}: the native library has code for {', '.join(of_build)} only",
            f"build it with CMAKE_CUDA_ARCHITECTURES={number}-real; training works without it, slower",
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


def check_gpus(expected: int | None) -> Outcome:
    """The check ``gpus``. ``expected``: how many there must be; None: any number."""
    import torch

    from bodvcl.ops import native

    return judge_gpus(find_gpus(), expected, torch.cuda.get_arch_list(), native.BUILD.get("cuda_archs", []))
