"""Compiles the backbone with torch.compile."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import torch

from bodvcl.errors import ConfigError
from bodvcl.models.encoder import VideoEncoder


def compile_backbone(encoder: VideoEncoder, device: torch.device) -> None:
    """Compile the backbone's forward and backward passes, in place; names of the weights do not change.

    The compiler runs in the first steps, once for each arithmetic of the two levels.

    Raises:
        ConfigError: there is no compiler for this device.
    """
    why = _missing(device)
    if why is not None:
        raise ConfigError(f"--compile: {why}; or leave --compile out")
    encoder.backbone.compile()


def _missing(device: torch.device) -> str | None:
    if device.type == "cuda":
        if find_spec("triton") is None:
            return "torch.compile needs Triton for a GPU: install triton"
        if torch.cuda.get_device_capability(device) < (7, 0):
            return "Triton needs a GPU of compute capability 7.0 or more"
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None and shutil.which("clang++") is None:
        return f"torch.compile needs a C++ compiler and {compiler} is not on the PATH: install g++"
    return None
