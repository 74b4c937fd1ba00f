"""The verb ``info``: versions, what was built and loaded, and which backend each operator would use here."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bodvcl
from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.config.command_line import Flag, parse

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


@dataclass
class InfoOptions:
    """Versions, what was built and loaded, and which backend each operator would use here."""

    json: Flag = False
    """Print everything as one JSON object."""
    brief: Flag = False
    """Print one line: which operators are native."""


def collect() -> dict[str, Any]:
    """Everything that ``info`` prints, as JSON types.

    Where a missing package hides an entry, the entry is a text that says so.
    """
    return {
        "bodvcl": bodvcl.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu": _or_why_not(_cpu),
        "gpu": _or_why_not(_gpus),
        "build": _or_why_not(_build),
        "libraries": _or_why_not(_libraries),
        "operators": _or_why_not(_operators),
        "decoders": _or_why_not(_decoders),
        "optimisers": _or_why_not(_optimisers),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("info", lambda: _info(arguments))


def _info(arguments: Sequence[str]) -> int:
    options = parse(InfoOptions, arguments, prog="bodvcl info")
    with uninterrupted():
        found = brief() if options.brief else collect()
    if isinstance(found, str):
        print(found)
    elif options.json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    return 0


def brief() -> str:
    """One line: which operators are native here, or why not."""
    from bodvcl.ops import native as _native

    if _native.cpu_available():
        return "bodvcl: native operators loaded"
    why = _native.why_not("cpu").splitlines()
    more = " (all of it: bodvcl info)" if len(why) > 1 else ""
    return f"bodvcl: the PyTorch path is used; no native operators: {why[0].rstrip(':')}{more}"


def _print(report: dict[str, Any]) -> None:
    print(f"bodvcl {report['bodvcl']}, Python {report['python']}, {report['platform']}")
    for title, names, lines in (
        ("packages", ("packages",), _packages_in_words),
        ("hardware", ("cpu", "gpu"), _hardware_in_words),
        ("native libraries", ("libraries", "build"), _libraries_in_words),
        ("operators: the backend each would use here", ("operators",), _operators_in_words),
        ("decoders", ("decoders",), _aligned),
        ("optimisers", ("optimisers",), _aligned),
    ):
        print(f"\n{title}")
        found = [report[name] for name in names]
        unknown = [part for part in found if isinstance(part, str)]
        for line in unknown[:1] or lines(*found):
            print(f"  {line}")


def _packages_in_words(packages: dict[str, str | None]) -> list[str]:
    return [f"{name:<20} {version or 'not installed'}" for name, version in packages.items()]


def _hardware_in_words(cpu: dict[str, Any], gpus: list[str]) -> list[str]:
    first = f"CPU: {cpu['model']}, {cpu['threads']} threads, {cpu['capability']}"
    return [first, *(f"GPU: {line}" for line in gpus)]


def _libraries_in_words(libraries: dict[str, dict[str, str]], build: dict[str, Any]) -> list[str]:
    lines = []
    for name, entry in libraries.items():
        used = f" (kernels for {entry['instructions']})" if entry.get("instructions") else ""
        lines.append(f"{name:<10} {entry['state']}{used}{': ' + entry['reason'] if entry['reason'] else ''}")
    return lines + [f"  {key}: {value}" for key, value in build.items()]


def _operators_in_words(operators: dict[str, dict[str, dict[str, str]]]) -> list[str]:
    lines = []
    for name, devices in operators.items():
        for device, entry in devices.items():
            lines.append(f"{name} on {device}: {entry['backend']}")
            lines += [f"  not {other}: {why}" for other, why in entry.items() if other != "backend"]
    return lines


def _aligned(entries: dict[str, str]) -> list[str]:
    width = max(map(len, entries))
    return [f"{name:<{width}} {text}" for name, text in entries.items()]


def _or_why_not(tell: Callable[[], Any]) -> Any:
    try:
        return tell()
    except ImportError as error:
        return f"unknown: {error}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return processor_name(lines, platform.machine())


def processor_name(lines: Sequence[str], machine: str) -> str:
    """The first processor that /proc/cpuinfo lists.

    Args:
        lines: of /proc/cpuinfo. 64-bit ARM processors have numbers there and no name: implementer 0x41, part
            0xd4f is ARM's Neoverse V2.
        machine: such as x86_64, where they tell nothing.
    """
    parts = (line.partition(":") for line in reversed(lines))
    said = {name.strip(): value.strip() for name, _, value in parts}
    numbers = [f"{name} {said[f'CPU {name}']}" for name in ("implementer", "part") if f"CPU {name}" in said]
    return said.get("model name") or (f"{machine} ({', '.join(numbers)})" if numbers else machine)


def _cpu() -> dict[str, Any]:
    import torch

    return {
        "model": _processor(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def _build() -> dict[str, Any]:
    from bodvcl.ops import native as _native

    other = _another_build(_native.BUILD, os.environ.get("BODVCL_BUILD", ""))
    return {**_native.BUILD, **({"BODVCL_BUILD": other} if other else {})}


def _another_build(build: Mapping[str, Any], asked: str) -> str:
    """What to do where the environment asks for another build than the installed one; "" where not."""
    if not asked or asked.lower() == build.get("mode", asked.lower()):
        return ""
    return (
        f"{asked} in the environment, but this build is of BODVCL_BUILD={build['mode']}. pip reuses a wheel "
        "that it built of an sdist before, whatever BODVCL_BUILD says: pip install --force-reinstall "
        "--no-deps --no-cache-dir builds anew"
    )


def _libraries() -> dict[str, dict[str, str]]:
    from bodvcl.ops import native as _native

    found = {name: status._asdict() for name, status in _native.STATUS.items()}
    if _native.cpu_available():
        found["_C"]["instructions"] = _native.cpu_isa()
    return found


def _operators() -> dict[str, dict[str, dict[str, str]]]:
    """For each operation and device type here, the backend that would run and why the others would not."""
    import torch

    from bodvcl.ops.augment.backend import explain_augment
    from bodvcl.ops.contrastive.backend import explain_contrastive
    from bodvcl.ops.koopman.backend import explain_koopman

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    operations = {
        "koopman": explain_koopman,
        "contrastive": explain_contrastive,
        "augment": explain_augment,
    }
    return {name: {device: explain(device) for device in devices} for name, explain in operations.items()}


def _optimisers() -> dict[str, str]:
    from bodvcl.optim.apex import apex_lamb_usable

    return {
        "sgd, lars, adamw": "fused kernels of PyTorch",
        "lamb": f"kernels of PyTorch; apex: {apex_lamb_usable().reason}",
    }


def _gpus() -> list[str]:
    import torch

    from bodvcl.system.driver import find_driver, why_no_gpu

    if not torch.cuda.is_available():
        return [f"none: {why_no_gpu(find_driver(), torch.version.cuda)}"]
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [f"{d.name}, compute capability {d.major}.{d.minor}" for d in devices]


def _decoders() -> dict[str, str]:
    """Decoder to its version, or why it cannot be used here."""
    return {name: _or_why_not(tell) for name, tell in _DECODERS.items()}


def _pyav() -> str:
    import av

    return f"{av.__version__} with libavcodec {'.'.join(str(n) for n in av.library_versions['libavcodec'])}"


def _dali() -> str:
    import torch

    from bodvcl.data.sources.source_choice import can_run_dali

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    able, why_not = can_run_dali((), device)
    return "usable" if able else why_not


def _torchcodec() -> str:
    from bodvcl.data.sources.source_choice import can_run_torchcodec

    able, why_not = can_run_torchcodec(())
    return "usable" if able else why_not


_DECODERS: dict[str, Callable[[], str]] = {"PyAV": _pyav, "DALI": _dali, "TorchCodec": _torchcodec}
