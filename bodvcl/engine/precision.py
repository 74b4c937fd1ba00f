"""The arithmetic of a run: what was asked for, what the machine has, and what both come to."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bodvcl.config import TrainConfig
from bodvcl.errors import ConfigError


@dataclass(frozen=True)
class Arithmetic:
    """How the backbone computes in the upper level.

    Attributes:
        name: "fp32", "tf32", "bf16" or "fp16".
        autocast: dtype to cast to; None: none.
    """

    name: str
    autocast: torch.dtype | None = None

    @property
    def scaled(self) -> bool:
        """Whether the loss must be scaled so that gradients do not vanish."""
        return self.autocast == torch.float16


def pick_arithmetic(precision: str, fast: bool, device: torch.device) -> Arithmetic:
    """What ``--precision`` comes to on a device.

    Args:
        precision: "auto", "fp32", "tf32", "bf16" or "fp16".
        fast: the reference route never leaves fp32 by itself.
        device: where it runs.

    Raises:
        ConfigError: the device cannot; the message names what it can.
    """
    has_bf16, has_tf32 = _has_bf16(device), _has_tf32(device)
    if precision == "auto":
        precision = "bf16" if fast and has_bf16 else "fp32"
    if precision == "tf32" and not has_tf32:
        where = "this GPU has" if device.type == "cuda" else "a CPU has"
        raise ConfigError(f"--precision tf32: {where} no TF32 arithmetic; use --precision fp32")
    if precision == "bf16" and device.type == "cuda" and not has_bf16:
        raise ConfigError(
            "--precision bf16: this GPU has no bfloat16 arithmetic; use --precision fp16 or fp32"
        )
    return Arithmetic(precision, {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision))


def set_float32(arithmetic: Arithmetic) -> None:
    """Let float32 products and convolutions on a GPU round to TF32, or forbid it.

    PyTorch lets convolutions do so by default. Here only ``--precision tf32`` does: the lower level and the
    differences of its gradients are float32 even where the upper level is not.
    """
    how = "tf32" if arithmetic.name == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = how
    torch.backends.cudnn.conv.fp32_precision = how


def check_differences(config: TrainConfig, arithmetic: Arithmetic) -> None:
    """Refuse finite differences of gradients that are rounded to ten bits.

    Raises:
        ConfigError: ``tf32`` together with a solver that takes differences.
    """
    if arithmetic.name == "tf32" and config.decouple != "none" and config.bilevel.solver.startswith("fd"):
        raise ConfigError(
            f"--precision tf32 with --bilevel.solver {config.bilevel.solver}: a difference of gradients "
            "rounded to TF32 is noise; use --precision bf16 (the lower level stays float32), "
            "or --bilevel.solver first_order"
        )


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.mkldnn.is_available() and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
