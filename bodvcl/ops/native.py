"""The compiled libraries: what was built, what was loaded, and why not.

``_C.so`` holds the operator schemas (namespace ``bodvcl_native``) and the CPU kernels; ``_C_cuda.so`` the
CUDA kernels. Importing this module tries to load both and never raises: `STATUS` holds the outcome of each,
and every public operation has a route in plain PyTorch. ``BODVCL_NATIVE=0`` in the environment switches both
off.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

DIRECTORY = Path(__file__).parent.parent
NAMESPACE = "bodvcl_native"


class State(NamedTuple):
    """Outcome of loading one library.

    Attributes:
        state: ``loaded``, ``disabled``, ``not built``, ``skipped`` or ``failed``.
        reason: why it is not loaded; empty when it is.
    """

    state: str
    reason: str


def read_build(directory: Path = DIRECTORY) -> dict[str, Any]:
    """Contents of ``build.json``; an empty dictionary where the file is missing or unreadable."""
    try:
        build = json.loads((directory / "build.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return build if isinstance(build, dict) else {}


def _cuda_mismatch(build: dict[str, Any]) -> str | None:
    """Why the CUDA library cannot serve this PyTorch; None where it can."""
    if torch.version.cuda is None:
        return "this PyTorch was built without CUDA"
    built, running = build.get("cuda_compiler", "").split(".")[0], torch.version.cuda.split(".")[0]
    if built and built != running:
        return f"built with CUDA {build['cuda_compiler']}, this PyTorch uses CUDA {torch.version.cuda}"
    return None


def load(directory: Path = DIRECTORY) -> dict[str, State]:
    """Load the libraries in ``directory`` and return ``{library: State}``; never raises."""
    build = read_build(directory)
    status: dict[str, State] = {}
    for name in ("_C", "_C_cuda"):
        path = directory / f"{name}.so"
        if os.environ.get("BODVCL_NATIVE", "1") == "0":
            status[name] = State("disabled", "BODVCL_NATIVE=0")
        elif not path.exists():
            reason = (
                build.get("reasons", {}).get(name) or f"{path} does not exist (pip install -e . builds it)"
            )
            status[name] = State("not built", reason)
        elif name == "_C_cuda" and status["_C"].state != "loaded":
            status[name] = State(
                "skipped", f"_C, which holds the schemas, is not loaded: {status['_C'].reason}"
            )
        elif name == "_C_cuda" and (mismatch := _cuda_mismatch(build)):
            status[name] = State("skipped", mismatch)
        else:
            try:
                torch.ops.load_library(path)
                status[name] = State("loaded", "")
            except (OSError, RuntimeError) as e:
                status[name] = State("failed", str(e))
    return status


BUILD: dict[str, Any] = read_build()
STATUS: dict[str, State] = load()


def cpu_available() -> bool:
    """Whether the native CPU operators can be called."""
    return STATUS["_C"].state == "loaded"


def cuda_available() -> bool:
    """Whether the native CUDA operators can be called: the library is loaded and a device is visible."""
    return STATUS["_C_cuda"].state == "loaded" and torch.cuda.is_available()


def why_not(device_type: str) -> str:
    """Why the native operators cannot serve ``device_type``; an empty string where they can."""
    if device_type == "cpu":
        return STATUS["_C"].reason
    if device_type == "cuda":
        if STATUS["_C_cuda"].state == "loaded" and not torch.cuda.is_available():
            return "no CUDA device is visible"
        return STATUS["_C_cuda"].reason
    return f"no native operators for device type {device_type!r}"
