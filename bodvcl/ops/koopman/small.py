"""Small batched matrices: what the algebra of the PyTorch route needs of them."""

from __future__ import annotations

import torch
from torch import Tensor


def diag(x: Tensor) -> Tensor:
    """Diagonals (..., n) of matrices (..., n, n)."""
    return torch.diagonal(x, dim1=-2, dim2=-1)


def eye_like(x: Tensor) -> Tensor:
    """The identity (n, n) in the dtype and on the device of x (..., n, n)."""
    return torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)


def inverse(x: Tensor) -> Tensor:
    """Inverse of x (..., n, n); garbage, without an error, where x is singular."""
    result: Tensor = torch.linalg.inv_ex(x)[0]
    return result
