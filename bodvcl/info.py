"""``python -m bodvcl.info``: versions, what was built, what loaded, and which backend each operator would
use here."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import bodvcl
from bodvcl import _dispatch, _native
from bodvcl.console import run_verb
from bodvcl.optim.apex import apex_lamb_usable

PACKAGES = (
    "torch",
    "torchvision",
    "triton",
    "av",
    "numpy",
    "nvidia-dali-cuda130",
    "torchcodec",
    "scikit-learn",
)


def collect() -> dict[str, object]:
    """Everything that ``info`` prints, as JSON types."""
    return {
        "bodvcl": bodvcl.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu": {
            "model": _processor(),
            "threads": torch.get_num_threads(),
            "capability": torch.backends.cpu.get_cpu_capability(),
        },
        "gpu": _gpus(),
        "build": _native.BUILD,
        "libraries": {name: status._asdict() for name, status in _native.STATUS.items()},
        "operators": _dispatch.report(),
        "decoders": _decoders(),
        "optimisers": {
            "sgd, lars, adamw": "fused kernels of PyTorch",
            "lamb": f"kernels of PyTorch; apex: {apex_lamb_usable().reason}",
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bodvcl info", description=__doc__)
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument("--brief", action="store_true", help="one line: which operators are native")
    options = parser.parse_args(sys.argv[1:] if argv is None else argv)

    def info() -> int:
        if options.brief:
            print(brief())
        elif options.json:
            print(json.dumps(collect(), indent=2))
        else:
            _print(collect())
        return 0

    return run_verb("info", info)


def brief() -> str:
    """One line: which operators are native here, or why not."""
    if _native.cpu_available():
        return "bodvcl: native operators loaded"
    why = _native.why_not("cpu").splitlines()
    more = " (all of it: bodvcl info)" if len(why) > 1 else ""
    return f"bodvcl: the PyTorch path is used; no native operators: {why[0].rstrip(':')}{more}"


def _print(report: dict) -> None:
    print(f"bodvcl {report['bodvcl']}, Python {report['python']}, {report['platform']}")
    print("\npackages")
    for name, version in report["packages"].items():
        print(f"  {name:<20} {version or 'not installed'}")
    print("\nhardware")
    cpu = report["cpu"]
    print(f"  CPU: {cpu['model']}, {cpu['threads']} threads, {cpu['capability']}")
    for line in report["gpu"]:
        print(f"  GPU: {line}")
    print("\nnative libraries")
    for name, entry in report["libraries"].items():
        print(f"  {name:<10} {entry['state']}{': ' + entry['reason'] if entry['reason'] else ''}")
    for key, value in report["build"].items():
        print(f"    {key}: {value}")
    print("\noperators: the backend each would use here")
    for name, devices in report["operators"].items():
        for device, entry in devices.items():
            print(f"  {name} on {device}: {entry['backend']}")
            for other, why in entry.items():
                if other != "backend":
                    print(f"    not {other}: {why}")
    print("\ndecoders")
    for name, text in report["decoders"].items():
        print(f"  {name:<12} {text}")
    print("\noptimisers")
    for name, text in report["optimisers"].items():
        print(f"  {name:<18} {text}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpus() -> list[str]:
    if not torch.cuda.is_available():
        built = (
            f"PyTorch built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else "PyTorch built without CUDA"
        )
        return [f"none ({built})"]
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [f"{d.name}, compute capability {d.major}.{d.minor}" for d in devices]


def _decoders() -> dict[str, str]:
    """Decoder to its version, or why it cannot be used here."""
    import av

    from bodvcl.data.source_choice import can_run_dali, can_run_torchcodec

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ffmpeg = ".".join(str(n) for n in av.library_versions["libavcodec"])
    found = {"PyAV": f"{av.__version__} with libavcodec {ffmpeg}"}
    for name, (able, why_not) in {
        "DALI": can_run_dali((), device),
        "TorchCodec": can_run_torchcodec(()),
    }.items():
        found[name] = "usable" if able else why_not
    return found


if __name__ == "__main__":
    sys.exit(main())
