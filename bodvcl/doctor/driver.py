"""Do the NVIDIA driver and PyTorch's CUDA fit each other?"""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

from bodvcl.doctor.outcome import Outcome, failed, ok, skipped

MINIMUM = {12: 525, 13: 580}
"""Major version of CUDA to the first driver branch that runs all of its minor versions (NVIDIA, "CUDA
Compatibility", minor version compatibility, table 1)."""

_CONTAINER = "in a container, start it with --gpus all (Docker), --nv (Apptainer) or the GPU resource (Kubernetes)"


@dataclass(frozen=True)
class Driver:
    """What there is of a driver.

    Attributes:
        kernel: version of the kernel module, such as "580.65.06"; "" without one.
        cuda: newest CUDA that ``libcuda`` serves, 1000 x major + 10 x minor; 0: it cannot be loaded.
        trouble: why ``libcuda`` cannot be loaded, or does not start; "" if it does.
        devices: number of device files of GPUs.
    """

    kernel: str
    cuda: int
    trouble: str
    devices: int


def find_driver(root: Path = Path("/")) -> Driver:
    """The driver of this machine.

    Args:
        root: where ``proc`` and ``dev`` are.
    """
    try:
        text = (root / "proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    version = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", text)
    devices = [path for path in root.glob("dev/nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    cuda, trouble = _libcuda()
    return Driver(version.group(1) if version else "", cuda, trouble, len(devices))


def _libcuda() -> tuple[int, str]:
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return 0, str(error)
    number = ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(number))
    code = library.cuInit(0)
    if code == 0:
        return number.value, ""
    text = ctypes.c_char_p()
    library.cuGetErrorString(code, ctypes.byref(text))
    return number.value, f"CUDA error {code} ({(text.value or b'unknown').decode()})"


def judge_driver(driver: Driver, torch_cuda: str | None) -> Outcome:
    """Whether a driver serves a PyTorch that was built with ``torch_cuda`` ("13.0"; None: without CUDA)."""
    there = bool(driver.kernel or driver.cuda or driver.devices)
    built = f"PyTorch is built for CUDA {torch_cuda}" if torch_cuda else "PyTorch is built without CUDA"
    if not there:
        return skipped(f"no NVIDIA driver; {built}: trains on the CPU")
    name = f"driver {driver.kernel or 'of unknown version'}"
    if torch_cuda is None:
        return failed(
            f"{name}, but {built}: trains on the CPU", "install PyTorch for CUDA (pytorch.org/get-started)"
        )
    if not driver.cuda:
        return failed(f"{name}, but libcuda.so.1 cannot be loaded ({driver.trouble})", _CONTAINER)
    serves = f"serves CUDA {driver.cuda // 1000}.{driver.cuda % 1000 // 10}"
    major = int(torch_cuda.split(".")[0])
    if driver.cuda // 1000 < major:
        return failed(
            f"{name} {serves}, {built}",
            f"install driver {MINIMUM.get(major, 'of CUDA ' + str(major))} or newer, or PyTorch for CUDA "
            f"{driver.cuda // 1000}",
        )
    if driver.trouble:
        return failed(f"{name} {serves}, but does not start: {driver.trouble}", _why_not_started(driver))
    return ok(f"{name} {serves}, {built}")


def _why_not_started(driver: Driver) -> str:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU: unset it"
    if driver.devices == 0:
        return f"there is no /dev/nvidia0: load the kernel module; {_CONTAINER}"
    return "compare nvidia-smi; after an update of the driver, restart the node"


def check_driver() -> Outcome:
    """The check ``driver``."""
    import torch

    return judge_driver(find_driver(), torch.version.cuda)
