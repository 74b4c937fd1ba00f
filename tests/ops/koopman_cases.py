"""Clips and helpers that the tests of the Koopman operations share."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bodvcl.ops import native as _native
from bodvcl.ops.koopman import (
    KoopmanLosses,
    KoopmanOperator,
    KoopmanSplit,
    koopman_operator,
    koopman_prediction_loss,
    koopman_split,
    koopman_split_and_loss,
)

NATIVE = pytest.param(
    "cpu",
    marks=pytest.mark.skipif(not _native.cpu_available(), reason=_native.why_not("cpu") or "native CPU"),
)
CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not _native.cuda_available(), reason=_native.why_not("cuda") or "native CUDA"),
    ],
)
FAST = ["torch", NATIVE, CUDA]
EVERY = [*FAST, "reference"]

PARTS = ("mse", "orth_excess", "loo", "forecast")


def parts_of(losses: KoopmanLosses) -> tuple[Tensor, ...]:
    """The losses of clips by kind, in the order of `PARTS`."""
    return tuple(getattr(losses, name) for name in PARTS)


def paper_split(x: Tensor, xi: float = 0.1, **options) -> KoopmanSplit:
    """`koopman_split` with the paper's mask and inverse where no other is asked for."""
    return koopman_split(x, xi, **{"mask": "hard", "ridge": 0.0, **options})


def paper_split_and_loss(x: Tensor, xi: float = 0.1, **options) -> tuple[KoopmanSplit, KoopmanLosses]:
    """`koopman_split_and_loss` with the paper's mask, inverse and error where no other is asked for."""
    return koopman_split_and_loss(x, xi, **{"mask": "hard", "ridge": 0.0, "mode": "train", **options})


def paper_loss(x: Tensor, mode: str = "train", nu: float = 1e-4, **options):
    """`koopman_prediction_loss` with the paper's inverse and error where no other is asked for."""
    return koopman_prediction_loss(x, mode, nu, **{"ridge": 0.0, **options})


def paper_operator(x: Tensor, **options) -> KoopmanOperator:
    """`koopman_operator` with the paper's inverse where no other is asked for."""
    return koopman_operator(x, **{"ridge": 0.0, **options})


def put(x: Tensor, backend: str) -> Tensor:
    """x on the device that the backend runs on."""
    return x.cuda() if backend == "cuda" else x


def orthonormal(m: int) -> Tensor:
    """A fixed float64 rotation (m, m)."""
    g = torch.Generator().manual_seed(1)
    return torch.linalg.qr(torch.randn(m, m, dtype=torch.float64, generator=g))[0]


def walk(b: int, t: int, m: int, seed: int = 0, step: float = 0.3) -> Tensor:
    """Float64 clips (b, t, m): a random frame and a random walk from it."""
    g = torch.Generator().manual_seed(seed)
    start = torch.randn(b, 1, m, dtype=torch.float64, generator=g)
    return start + step * torch.randn(b, t, m, dtype=torch.float64, generator=g).cumsum(1)


def linear(eigenvalues: list[complex], t: int, m: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A clip (t, m) whose frames follow ``x -> K x`` with these eigenvalues exactly, and K (m, m).

    Complex eigenvalues stand for conjugate pairs.
    """
    blocks = []
    for z in eigenvalues:
        if isinstance(z, complex):
            blocks.append(torch.tensor([[z.real, -z.imag], [z.imag, z.real]], dtype=torch.float64))
        else:
            blocks.append(torch.tensor([[z]], dtype=torch.float64))
    core = torch.block_diag(*blocks)
    r = core.shape[0]
    g = torch.Generator().manual_seed(seed)
    basis = torch.randn(m, r, dtype=torch.float64, generator=g)
    state = 1 + torch.rand(r, 1, dtype=torch.float64, generator=g)
    states = [state]
    for _ in range(t - 1):
        states.append(core @ states[-1])
    return (basis @ torch.cat(states, 1)).T, basis @ core @ torch.linalg.pinv(basis)


def conditioned(t: int, m: int, ratio: float, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """A clip (t, m) whose past frames have singular values from 1 down to ``ratio``, log-spaced."""
    g = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(m, t - 1, dtype=torch.float64, generator=g))[0]
    v = torch.linalg.qr(torch.randn(t - 1, t - 1, dtype=torch.float64, generator=g))[0]
    s = torch.logspace(0, math.log10(ratio), t - 1, dtype=torch.float64)
    past = (u * s) @ v.T
    last = past @ torch.randn(t - 1, 1, dtype=torch.float64, generator=g) / t
    last = last + 0.1 * ratio * torch.randn(m, 1, dtype=torch.float64, generator=g)
    return torch.cat([past, last], 1).T.to(dtype)


def close(a: Tensor, b: Tensor, tol: float = 1e-9, floor: float = 1e-11) -> None:
    """Norm-wise relative difference below tol, or absolute below floor."""
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    assert a.shape == b.shape
    off, size = (a - b).norm().item(), b.norm().item()
    assert off <= tol * size + floor, (
        f"differs by {off:.3e}, size {size:.3e}, relative {off / (size + 1e-300):.3e}"
    )


def cotangents(*outputs: Tensor, seed: int = 7) -> list[Tensor]:
    """Fixed random cotangents for outputs."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(o.shape, dtype=torch.float64, generator=g).to(o) for o in outputs]
