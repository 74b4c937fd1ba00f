"""The files of the test programs: a problem and its tensors go in, what both passes give comes out.

The other end is problem_file.h.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from native_koopman import Settings
from torch import Tensor

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""In the order of DType in csrc/problem.h."""


def run_program(
    command: Sequence[str | Path],
    directory: Path,
    x: Tensor,
    settings: Settings,
    grads: Sequence[Tensor],
    mask: Tensor | None = None,
    max_gain: float = 0.0,
    own: tuple[int, int, int] = (0, 0, 0),
) -> tuple[subprocess.CompletedProcess[str], list[Tensor]]:
    """Run a test program on a problem.

    Args:
        command: the program, perhaps behind an emulator; the two files become its last arguments.
        directory: for the files.
        x: features, (clips, frames, width).
        settings: of the operators.
        grads: gradients of the static stream, the dynamic stream and the losses (float64).
        mask: valid frames, (clips, frames).
        max_gain: bound of the gain guard.
        own: numbers for the program itself.

    Returns:
        The ended process, and what the operators return: static, dynamic, losses, stats, reduced, saved, the
        gradient, the gain. Empty where the program failed.
    """
    clips, frames, width = x.shape
    ints = [clips, frames, width, settings.mask, settings.smooth_log2, settings.weights, settings.rank]
    ints += [settings.pool, int(mask is not None), DTYPES.index(x.dtype), *own]
    reals = [settings.xi, settings.rtol, settings.ridge, max_gain]
    tensors = [x, *([mask] if mask is not None else []), *grads]
    parts = [np.array(ints, np.int64), np.array(reals), *(v.contiguous().view(torch.uint8) for v in tensors)]
    (directory / "in").write_bytes(b"".join(np.asarray(part).tobytes() for part in parts))
    files = [directory / "in", directory / "out"]
    done = subprocess.run([*command, *files], capture_output=True, text=True)
    if done.returncode:
        return done, []
    return done, _split(bytearray((directory / "out").read_bytes()), x, settings)


def _split(data: bytearray, x: Tensor, settings: Settings) -> list[Tensor]:
    clips, frames, width = x.shape
    n = frames - 1
    stream = (clips, frames, width) if settings.pool == 1 else (clips, width)
    saved = frames * (frames + 1) // 2 + n + n * n * (1 if settings.mask else 2) + 2
    kinds = [(stream, x.dtype), (stream, x.dtype)]
    kinds += [(shape, torch.float64) for shape in ((clips, 4), (clips, 5), (clips, n, n), (clips, saved))]
    kinds += [(x.shape, x.dtype), ((clips,), torch.float64)]
    results, at = [], 0
    for shape, dtype in kinds:
        count = int(np.prod(shape))
        results.append(torch.frombuffer(data, dtype=dtype, count=count, offset=at).reshape(shape).clone())
        at += count * dtype.itemsize
    assert at == len(data)
    return results
