"""Floating-point operations of a step, and the peak of the device."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from bodvcl.config.passes import Passes
from bodvcl.config.schema import ClipConfig, ModelConfig
from bodvcl.models.encoder import build_encoder

_PEAKS = {
    "B200": (2250e12, 1125e12, 80e12),
    "H200": (989e12, 494e12, 67e12),
    "H100 PCIe": (756e12, 378e12, 51e12),
    "H100": (989e12, 494e12, 67e12),
    "A100": (312e12, 156e12, 19.5e12),
    "L40S": (362e12, 183e12, 91.6e12),
    "A10": (125e12, 62.5e12, 31.2e12),
    "L4": (121e12, 60e12, 30.3e12),
    "V100": (125e12, 15.7e12, 15.7e12),
    "T4": (65e12, 8.1e12, 8.1e12),
}
"""Dense floating-point operations per second from the data sheets: 16 bit, TF32, and float32. The keys are
parts of the device's name; the first that fits counts."""


def forward_flops(model: ModelConfig, clip: ClipConfig) -> int:
    """Floating-point operations of a forward pass of backbone and projector on one clip.

    A multiplication and an addition are two operations. They are counted from shapes; nothing is computed.
    """
    with torch.device("meta"):
        encoder = build_encoder(model).eval()
        clips = torch.empty(1, 3, clip.frames, clip.size, clip.size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(clips)
    return int(counter.get_total_flops())


def step_flops(forward: int, passes: Passes) -> int:
    """Operations per clip and step.

    Args:
        forward: operations of one forward pass on a clip.
        passes: passes of the backbone per step; a backward pass counts as two forward passes.
    """
    return forward * (passes.forward + 2 * passes.backward)


def peak_flops(device_name: str, arithmetic: str) -> float | None:
    """Peak of a device in operations per second; None: not known.

    Args:
        device_name: name that PyTorch gives.
        arithmetic: "fp32", "tf32", "bf16" or "fp16".
    """
    column = {"tf32": 1, "fp32": 2}.get(arithmetic, 0)
    words = device_name.replace("-", " ").split()
    for name, peaks in _PEAKS.items():
        if all(word in words for word in name.split()):
            return peaks[column]
    return None


def peak_of(device: torch.device, arithmetic: str) -> float | None:
    """As :func:`peak_flops`, for a device; None for a CPU."""
    if device.type != "cuda":
        return None
    return peak_flops(torch.cuda.get_device_name(device), arithmetic)
