"""LAMB as a single fused kernel, from NVIDIA apex with its CUDA extensions.

The package ``apex`` on PyPI is another project. NVIDIA apex is built from its repository, or comes with
NVIDIA's containers. The check does not import it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch


class Usable(NamedTuple):
    """Whether something can be used here.

    Attributes:
        yes: whether it can be used.
        reason: the reason, in words.
    """

    yes: bool
    reason: str


def apex_lamb_usable() -> Usable:
    """Whether ``apex.optimizers.FusedLAMB`` would run: NVIDIA apex, its extensions and a CUDA device."""
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
    """apex's FusedLAMB, with the arithmetic of :class:`bodvcl.optim.lamb.LAMB`.

    Args:
        groups: parameter groups; those with a weight decay are adapted.
        lr: learning rate.
    """
    from apex.optimizers import FusedLAMB

    optimizer: torch.optim.Optimizer = FusedLAMB(
        [{k: v for k, v in group.items() if k != "adapt"} for group in groups],
        lr=lr,
        eps=1e-6,
        max_grad_norm=1e30,
        set_grad_none=False,
    )
    return optimizer
