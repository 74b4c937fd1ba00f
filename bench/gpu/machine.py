"""What this machine is: versions, the device, and its two ceilings. Writes machine.json and figures.json."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import torch

PACKAGES = ("torch", "triton", "numpy", "torchvision", "av", "nvidia-dali-cuda130", "pytest", "pytest-xdist")


def version(package: str) -> str | None:
    """Version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def said(*command: str) -> str | None:
    """Last line that a program prints; None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    return lines[-1] if done.returncode == 0 and lines else None


def device() -> dict[str, object] | None:
    """Facts about the GPU."""
    if not torch.cuda.is_available():
        return None
    facts = torch.cuda.get_device_properties(0)
    return {
        "name": facts.name,
        "capability": f"{facts.major}.{facts.minor}",
        "multiprocessors": facts.multi_processor_count,
        "memory_gb": facts.total_memory / 1e9,
        "count": torch.cuda.device_count(),
    }


def main() -> None:
    """Write what is known into the folder that the command line names."""
    folder = Path(sys.argv[1])
    found = {
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "nvcc": said("nvcc", "--version"),
        "packages": {name: version(name) for name in PACKAGES},
        "device": device(),
    }
    (folder / "machine.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1), flush=True)
    done = subprocess.run(
        [sys.executable, "bench/ceilings.py"], stdout=subprocess.PIPE, text=True, check=True
    )
    ceilings = json.loads(done.stdout.strip().splitlines()[-1])
    (folder / "machine.json").write_text(json.dumps(found | {"ceilings": ceilings}, indent=1))
    (folder / "figures.json").write_text(json.dumps(ceilings))


if __name__ == "__main__":
    main()
