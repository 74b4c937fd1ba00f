"""The compiled libraries: what was built, what was loaded, and why not.

``_C.so`` holds the operator schemas (namespace ``bodvcl_native``) and the CPU kernels; ``_C_cuda.so`` the
CUDA kernels. Importing this module tries to load both and never raises: `STATUS` holds the outcome of each,
and every public operation has a route in plain PyTorch. ``BODVCL_NATIVE=0`` in the environment switches both
off.
"""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bodvcl._supported import held_back
from bodvcl.ops.cards import visible_cards, why_not_cards
from bodvcl.ops.load_errors import explain_load_error

DIRECTORY = Path(__file__).parent.parent
NAMESPACE = "bodvcl_native"
TOO_OLD = "this processor is older than x86-64-v2 (no SSE4.2 or POPCNT), which the CPU kernels need"


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
        elif why := held_back("torch"):
            status[name] = State("skipped", why)
        elif name == "_C_cuda" and status["_C"].state != "loaded":
            status[name] = State(
                "skipped", f"_C, which holds the schemas, is not loaded: {status['_C'].reason}"
            )
        elif name == "_C_cuda" and (mismatch := _cuda_mismatch(build)):
            status[name] = State("skipped", mismatch)
        else:
            status[name] = _load_one(path)
    return status


def _load_one(path: Path) -> State:
    try:
        torch.ops.load_library(path)
        runs_here = path.stem != "_C" or cpu_isa(path) or os.environ.get("BODVCL_CPU_ISA")
    except (OSError, RuntimeError) as error:
        linker = error.__cause__ or error  # PyTorch raises an error of its own from that of the linker
        return State("failed", explain_load_error(str(linker)))
    except AttributeError as error:
        return State("failed", f"built from other sources than the Python files, build it again: {error}")
    return State("loaded", "") if runs_here else State("skipped", TOO_OLD)


def cpu_isa(library: Path = DIRECTORY / "_C.so") -> str:
    """Instruction set of the CPU kernels that this processor runs: "baseline", "avx2" or "avx512".

    The best one, or the one that ``BODVCL_CPU_ISA`` names; "" where this processor can run none, or not it.

    Raises:
        OSError: the library cannot be loaded.
        AttributeError: it cannot answer.
    """
    ask = ctypes.CDLL(str(library)).bodvcl_cpu_isa
    ask.restype = ctypes.c_char_p
    said: bytes = ask()
    return said.decode()


BUILD: dict[str, Any] = read_build()
STATUS: dict[str, State] = load()


def cpu_available() -> bool:
    """Whether the native CPU operators can be called."""
    return STATUS["_C"].state == "loaded"


def cuda_available() -> bool:
    """Whether the native CUDA operators can be called: loaded, and built for every visible device."""
    return not why_not("cuda")


def why_not(device_type: str) -> str:
    """Why the native operators cannot serve ``device_type``; an empty string where they can."""
    if device_type == "cpu":
        return STATUS["_C"].reason
    if device_type == "cuda":
        if STATUS["_C_cuda"].state != "loaded":
            return STATUS["_C_cuda"].reason
        return _unserved_card() if torch.cuda.is_available() else "no CUDA device is visible"
    return f"no native operators for device type {device_type!r}"


def _unserved_card() -> str:
    return why_not_cards(BUILD.get("cuda_archs", ()), visible_cards())


# As `torch.compiler.assume_constant_result` does, which would import the whole compiler here.
setattr(_unserved_card, "_dynamo_marked_constant", True)  # noqa: B010
