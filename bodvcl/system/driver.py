"""The NVIDIA driver of this machine, asked without PyTorch and without starting CUDA."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

LIBRARY = "libcuda.so.1"
KERNEL_MODULE = Path("/proc/driver/nvidia/version")


class Driver(NamedTuple):
    """What the driver says of itself.

    Attributes:
        release: of the kernel module, such as "580.65.06"; "" where it does not say.
        cuda: newest CUDA (major, minor) that ``libcuda`` serves; None where the library cannot be asked.
        problem: why ``libcuda`` cannot be asked; "" where it can.
    """

    release: str
    cuda: tuple[int, int] | None
    problem: str = ""


def find_driver(library: str = LIBRARY, kernel_module: Path = KERNEL_MODULE) -> Driver | None:
    """The driver of this machine; None where there is neither a kernel module nor a library.

    Args:
        library: name or path of the driver's library.
        kernel_module: file in which the kernel module names its release.
    """
    try:
        said = kernel_module.read_text(encoding="utf-8", errors="replace")
    except OSError:
        said = ""
    found = re.search(r"Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", said)
    release = found.group(1) if found else ""
    try:
        cuda = _served_cuda(library)
    except OSError as error:
        return Driver(release, None, str(error)) if said else None
    except (AttributeError, ValueError) as error:
        return Driver(release, None, str(error))
    return Driver(release, cuda)


def why_no_gpu(driver: Driver | None, built: str | None, environment: Mapping[str, str] | None = None) -> str:
    """One line that says why PyTorch sees no GPU, for a PyTorch that sees none.

    Args:
        driver: `find_driver()`.
        built: ``torch.version.cuda``: "13.0", or None for a PyTorch without CUDA.
        environment: environment variables; None: those of this process.
    """
    if built is None:
        there = "" if driver is None else f"; this machine has an {_name(driver)}"
        return f"PyTorch was built without CUDA{there}"
    needs = f"PyTorch was built for CUDA {built}"
    if driver is None:
        return f"no NVIDIA driver ({LIBRARY} is not found); {needs}"
    if driver.cuda is None:
        return f"the {_name(driver)} cannot be asked ({driver.problem}); {needs}"
    serves = ".".join(map(str, driver.cuda))
    major = int(built.split(".")[0])
    if driver.cuda[0] < major:
        return (
            f"the {_name(driver)} is too old: it serves CUDA up to {serves}, {needs}; install a driver "
            f"for CUDA {major}, or a PyTorch built for an older CUDA"
        )
    visible = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    hidden = "no GPU is visible" if visible is None else f"CUDA_VISIBLE_DEVICES={visible!r} shows none"
    return f"{hidden}; the {_name(driver)} serves CUDA {serves}, {needs}"


def hides_all(visible: str | None) -> bool:
    """Whether a value of CUDA_VISIBLE_DEVICES hides all GPUs. None: the variable is not set.

    CUDA reads up to the first entry that names no GPU (CUDA C++ Programming Guide, environment variables):
    "-1", or "NoDevFiles" of Slurm in a job without GPUs.
    """
    return visible is not None and re.match(r"\s*(\d|GPU-|MIG-)", visible) is None


def _name(driver: Driver) -> str:
    return f"NVIDIA driver {driver.release}".rstrip()


def _served_cuda(library: str) -> tuple[int, int]:
    """Newest CUDA that the driver's library serves.

    Raises:
        OSError: the library is missing or cannot be loaded.
        AttributeError: it is not a driver.
        ValueError: it refuses to answer, as the stub of the CUDA toolkit does.
    """
    version = ctypes.c_int()
    status = ctypes.CDLL(library).cuDriverGetVersion(ctypes.byref(version))
    if status != 0:
        raise ValueError(f"cuDriverGetVersion of {library} fails with error {status}")
    return version.value // 1000, version.value % 1000 // 10
