"""NVIDIA apex, if it is the genuine one with its CUDA extensions: its LAMB is a single fused kernel.

The package named ``apex`` on PyPI is another project; NVIDIA's is built from its repository or comes with
NVIDIA's containers. Nothing is imported to find out.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch


class Usable(NamedTuple):
    """Whether something can be used here, and the reason in words."""

    yes: bool
    reason: str


def apex_lamb_usable() -> Usable:
    """Whether ``apex.optimizers.FusedLAMB`` would run: the genuine apex, its extensions, a CUDA device."""
    spec = find_spec("apex")
    if spec is None or not spec.submodule_search_locations:
        return Usable(False, "NVIDIA apex is not installed; build it from github.com/NVIDIA/apex")
    root = Path(next(iter(spec.submodule_search_locations)))
    if not (root / "multi_tensor_apply" / "multi_tensor_apply.py").exists():
        return Usable(
            False,
            f"{root} is not NVIDIA apex but the PyPI package of that name: pip uninstall apex, "
            "then build github.com/NVIDIA/apex",
        )
    if find_spec("amp_C") is None:
        return Usable(
            False, "NVIDIA apex was installed without its CUDA extensions: build it with APEX_CUDA_EXT=1"
        )
    if not torch.cuda.is_available():
        return Usable(False, "NVIDIA apex is installed but PyTorch sees no CUDA device")
    return Usable(True, "FusedLAMB of NVIDIA apex")


def fused_lamb(groups: Iterable[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """apex's FusedLAMB with the arithmetic of :class:`bodvcl.optim.lamb.LAMB`; it adapts the groups that have
    a weight decay."""
    from apex.optimizers import FusedLAMB

    return FusedLAMB(
        [{k: v for k, v in group.items() if k != "adapt"} for group in groups],
        lr=lr,
        eps=1e-6,
        max_grad_norm=1e30,
        set_grad_none=False,
    )
