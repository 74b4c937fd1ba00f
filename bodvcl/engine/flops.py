"""How much arithmetic a step needs, and what share of the device's peak that is."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

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
"""Dense floating-point operations per second of the data sheets, by part of the device's name: 16 bit, TF32,
and float32. The first name that fits counts."""


def forward_flops(model: ModelConfig, clip: ClipConfig) -> int:
    """Floating-point operations (a multiplication and an addition are two) of a forward pass of backbone and
    projector on one clip. Counted on shapes; nothing is computed."""
    with torch.device("meta"):
        encoder = build_encoder(model).eval()
        clips = torch.empty(1, 3, clip.frames, clip.size, clip.size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(clips)
    return counter.get_total_flops()


def step_flops(forward: int, passes: tuple[int, int]) -> int:
    """Operations per clip and step of (forward, backward) passes; a backward one counts as two forward."""
    return forward * (passes[0] + 2 * passes[1])


def peak_flops(device_name: str, arithmetic: str) -> float | None:
    """Peak of a device by its name and the arithmetic ("fp32", "tf32", "bf16", "fp16"); None: not known."""
    column = {"tf32": 1, "fp32": 2}.get(arithmetic, 0)
    words = device_name.replace("-", " ").split()
    for name, peaks in _PEAKS.items():
        if all(word in words for word in name.split()):
            return peaks[column]
    return None


def peak_of(device: torch.device, arithmetic: str) -> float | None:
    """Peak of a device; None for a CPU and for what is not in the table."""
    if device.type != "cuda":
        return None
    return peak_flops(torch.cuda.get_device_name(device), arithmetic)
