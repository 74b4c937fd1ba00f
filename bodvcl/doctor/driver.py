"""Do the NVIDIA driver and PyTorch's CUDA fit each other?"""

from __future__ import annotations

import os

from bodvcl.doctor.outcome import Outcome, failed, ok, skipped
from bodvcl.system.driver import Driver, find_driver, hides_all, why_no_gpu

MINIMUM = {12: 525, 13: 580}
"""Major version of CUDA to the first branch of drivers that serves all of its minor versions (NVIDIA, "CUDA
Compatibility", minor version compatibility, table 1)."""

_CONTAINER = "start the container with --gpus all (Docker), --nv (Apptainer) or nvidia.com/gpu (Kubernetes)"


def judge_driver(driver: Driver | None, torch_cuda: str | None, trouble: str) -> Outcome:
    """Whether a driver serves a PyTorch.

    Args:
        driver: of this machine; None: there is none.
        torch_cuda: CUDA that PyTorch was built for, "13.0"; None: built without.
        trouble: why CUDA does not start; "" if it does.
    """
    if driver is None:
        return skipped(f"{why_no_gpu(None, torch_cuda)}: trains on the CPU")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hides_all(visible):
        return skipped(f"CUDA_VISIBLE_DEVICES={visible!r} hides all GPUs: trains on the CPU")
    if torch_cuda is None:
        return failed(
            why_no_gpu(driver, None),
            "install PyTorch for CUDA (pytorch.org/get-started), or train on the CPU",
        )
    if driver.cuda is None:
        return failed(why_no_gpu(driver, torch_cuda), f"in a container: {_CONTAINER}")
    major = int(torch_cuda.split(".")[0])
    if driver.cuda[0] < major:
        newer = f"driver {MINIMUM[major]} or newer" if major in MINIMUM else "a newer driver"
        return failed(
            why_no_gpu(driver, torch_cuda).partition(";")[0],
            f"install {newer}, or a PyTorch for CUDA {driver.cuda[0]}",
        )
    if trouble:
        return failed(
            f"NVIDIA driver {driver.release}: CUDA does not start: {trouble}",
            f"compare nvidia-smi; restart the node after a new driver; in a container: {_CONTAINER}",
        )
    serves = ".".join(map(str, driver.cuda))
    return ok(f"NVIDIA driver {driver.release} serves CUDA {serves}, PyTorch was built for CUDA {torch_cuda}")


def check_driver() -> Outcome:
    """The check ``driver``."""
    import torch

    driver = find_driver()
    return judge_driver(driver, torch.version.cuda, "" if driver is None else _why_cuda_does_not_start())


def _why_cuda_does_not_start() -> str:
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return (str(error).splitlines() or ["no reason given"])[0]
    return ""
