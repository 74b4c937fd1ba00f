"""The hash by which the weights of an encoder are known."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_hash(encoder: nn.Module) -> str:
    """SHA-256, in hexadecimal, of all parameters and statistics with their names, types and shapes.

    It depends neither on the device nor on the file that they came from.
    """
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
