"""Device and precision from what the user asked for and what the machine has."""

from __future__ import annotations

import torch

from bodvcl.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """``auto`` is the first CUDA device where there is one, else the CPU.

    Raises:
        ConfigError: not a device PyTorch knows, or one this machine lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: expected auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}: PyTorch sees {torch.cuda.device_count()} CUDA devices here; use --device auto"
        )
    return device


def use_bf16(precision: str, fast: bool, device: torch.device) -> bool:
    """Whether the upper level's backbone runs in bfloat16.

    Args:
        precision: "auto", "fp32" or "bf16".
        fast: the reference route never picks bfloat16 by itself.
        device: where it runs.

    Raises:
        ConfigError: bf16 was asked for on a CUDA device without it.
    """
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.backends.mkldnn.is_available() and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
    if precision == "bf16" and device.type == "cuda" and not has:
        raise ConfigError("--precision bf16: this GPU has no bfloat16 arithmetic; use --precision fp32")
    return precision == "bf16" or (precision == "auto" and fast and has)
