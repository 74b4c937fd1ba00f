"""The arithmetic of a run, from the options and what the machine supports."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch

from bodvcl.config.schema import BilevelConfig
from bodvcl.errors import ConfigError


@dataclass(frozen=True)
class Arithmetic:
    """How the backbone computes in the upper level.

    Attributes:
        name: "fp32", "tf32", "bf16" or "fp16".
        autocast: dtype of autocast; None: no autocast.
    """

    name: str
    autocast: torch.dtype | None = None

    @property
    def scaled(self) -> bool:
        """Whether the loss must be scaled, so that gradients do not underflow."""
        return self.autocast == torch.float16


def pick_arithmetic(precision: str, fast: bool, device: torch.device) -> Arithmetic:
    """The arithmetic of the upper level on a device.

    Args:
        precision: "auto", "fp32", "tf32", "bf16" or "fp16".
        fast: whether "auto" may choose bf16; False (the reference route): "auto" is fp32.
        device: device of the training.

    Raises:
        ConfigError: the device does not support this arithmetic; the message names one that it supports.
    """
    has_bf16, has_tf32 = _has_bf16(device), _has_tf32(device)
    if precision == "auto":
        precision = "bf16" if fast and has_bf16 else "fp32"
    if precision == "tf32" and not has_tf32:
        raise ConfigError(f"--precision tf32: {_NO_TF32[device.type]}; use --precision fp32")
    if precision == "bf16" and device.type == "cuda" and not has_bf16:
        raise ConfigError(
            "--precision bf16: this GPU has no bfloat16 arithmetic; use --precision fp16 or fp32"
        )
    return Arithmetic(precision, {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision))


def pick_lower(
    precision: str, bilevel: BilevelConfig | None, upper: Arithmetic, device: torch.device
) -> Arithmetic:
    """The arithmetic of the passes of the lower level alone.

    Args:
        precision: "fp32", "tf32" or "upper".
        bilevel: options of the bi-level step; None: there is no lower level.
        upper: arithmetic of the upper level.
        device: device of the training.

    Raises:
        ConfigError: the device has no TF32; the solver takes finite differences, which this arithmetic would
            round to noise; the lower level would be in float16, where nothing scales its loss.
    """
    if bilevel is None:
        return upper
    if precision == "tf32" and not _has_tf32(device):
        raise ConfigError(f"--lower-precision tf32: {_NO_TF32[device.type]}; use fp32 or upper")
    chosen = {"fp32": Arithmetic("fp32"), "tf32": Arithmetic("tf32"), "upper": upper}[precision]
    if upper.name == "tf32" and chosen.name == "fp32":  # PyTorch has one TF32 switch for both levels
        chosen = upper
    if chosen.name != "fp32" and bilevel.solver.startswith("fd"):
        raise ConfigError(
            f"--bilevel.solver {bilevel.solver} takes differences of lower gradients, which {chosen.name} "
            "rounds to noise: use --lower-precision fp32 (for example with --precision bf16), or "
            "--bilevel.solver first_order"
        )
    if chosen.scaled and bilevel.solver != "single":
        raise ConfigError(
            "--lower-precision upper with --precision fp16: only the upper loss is scaled, so that gradients "
            "of the lower level would underflow; use --lower-precision fp32, or --precision bf16"
        )
    return chosen


def clip_dtype(
    bilevel: BilevelConfig | None, upper: Arithmetic, lower: Arithmetic, fast: bool
) -> torch.dtype:
    """The dtype in which the clips of a step are written: float32, or the half that every pass casts them to.

    Every backbone begins with a convolution, whose input autocast casts; objectives that take the clips
    themselves only put them in another order. So where all passes that read clips are under autocast of one
    dtype, clips of that dtype give the same bits, and half as many bytes are written and read.

    Passes that read clips: the upper level, the momentum encoder and both levels of solver "single" in the
    arithmetic of the upper level; the passes of the lower level alone in its own. With scope "head" these
    start from features.

    Args:
        bilevel: options of the bi-level step; None: there is no lower level.
        upper: arithmetic of the upper level.
        lower: arithmetic of the passes of the lower level alone.
        fast: False (the reference route): always float32.
    """
    reads = {upper.autocast}
    if bilevel is not None and bilevel.solver != "single" and bilevel.scope == "all":
        reads.add(lower.autocast)
    half = upper.autocast if fast and len(reads) == 1 else None
    return half or torch.float32


def set_float32(*used: Arithmetic) -> None:
    """Allow or forbid that float32 products and convolutions on a GPU round to TF32.

    PyTorch allows it for convolutions by default. Here it is allowed if one of the arithmetics is "tf32", and
    then for all passes in float32.
    """
    allowed = any(arithmetic.name == "tf32" for arithmetic in used)
    cudnn: Any = torch.backends.cudnn  # torch sets these attributes when it runs; its types do not know them
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*TF32 behavior", category=UserWarning)
        # The flags of old set the new ones as well. With the new ones alone PyTorch refuses to read those of
        # old, and torch.compile reads them.
        torch.backends.cuda.matmul.allow_tf32 = allowed
        cudnn.allow_tf32 = allowed
    for operation in (cudnn.conv, cudnn.rnn):  # not what they would inherit
        operation.fp32_precision = "tf32" if allowed else "ieee"


_NO_TF32 = {"cpu": "a CPU has no TF32 arithmetic", "cuda": "this GPU has no TF32 arithmetic"}


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    one_dnn = torch.backends.mkldnn.is_available()
    return bool(one_dnn) and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
