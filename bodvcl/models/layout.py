"""Size and memory layout of a module."""

from __future__ import annotations

import torch
from torch import nn


def parameter_count(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def memory_layout(fast: bool) -> torch.memory_format:
    """Memory layout of clips and 3D kernels.

    Args:
        fast: True: channels-last; False (the reference route): PyTorch's default.
    """
    return torch.channels_last_3d if fast else torch.contiguous_format
