"""Which implementation serves a call: predicates that know the reason why not.

A predicate ``can_run_x(request, raise_error=False)`` returns whether backend x can serve a request; with
``raise_error=True`` it raises `BackendError` with the reason instead of returning False. ``backend="auto"``
walks the predicates and takes the first that fits; naming a backend calls its predicate with
``raise_error=True``, so the reason is what the caller reads. The environment variable ``BODVCL_BACKEND``
stands in for ``backend="auto"``.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import NamedTuple

import torch

from bodvcl.errors import UserError
from bodvcl.ops import native as _native

BACKENDS = ("auto", "cuda", "cpu", "torch", "reference")
NATIVE_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MAX_FRAMES = 64
MIN_WIDTH, MAX_WIDTH = 4, 1024


class BackendError(UserError, RuntimeError):
    """A named backend cannot serve the request; the message says why."""


class KoopmanRequest(NamedTuple):
    """What decides whether a backend can serve a call of the Koopman operations."""

    device: str
    dtype: torch.dtype
    frames: int
    width: int
    estimator: str = "ls"


Predicate = Callable[..., bool]


def _answer(backend: str, reason: str, raise_error: bool) -> bool:
    if reason and raise_error:
        raise BackendError(f"backend={backend!r} cannot run this: {reason}. Use backend='auto' or 'torch'.")
    return not reason


def _native_reason(device: str, request: KoopmanRequest) -> str:
    if request.device != device:
        return f"the features are on {request.device}"
    available = _native.cpu_available() if device == "cpu" else _native.cuda_available()
    if not available:
        return f"the native library is not there ({_native.why_not(device)})"
    if request.estimator != "ls":
        return f"estimator={request.estimator!r} is served by the PyTorch route only"
    if request.dtype not in NATIVE_DTYPES:
        return f"dtype {request.dtype} is not one of float64, float32, float16, bfloat16"
    if request.frames > MAX_FRAMES:
        return f"{request.frames} frames per clip, at most {MAX_FRAMES} are supported"
    if not MIN_WIDTH <= request.width <= MAX_WIDTH:
        return f"feature width {request.width} is outside {MIN_WIDTH}..{MAX_WIDTH}"
    return ""


def can_run_cpu(request: KoopmanRequest, raise_error: bool = False) -> bool:
    """Whether the native CPU operator can serve ``request``."""
    return _answer("cpu", _native_reason("cpu", request), raise_error)


def can_run_cuda(request: KoopmanRequest, raise_error: bool = False) -> bool:
    """Whether the native CUDA operator can serve ``request``."""
    return _answer("cuda", _native_reason("cuda", request), raise_error)


def can_run_torch(request: KoopmanRequest, raise_error: bool = False) -> bool:
    """Whether the PyTorch route can serve ``request``: it serves every one, on any device."""
    return _answer("torch", "", raise_error)


def can_run_reference(request: KoopmanRequest, raise_error: bool = False) -> bool:
    """Whether the paper's formulas can serve ``request``."""
    reason = "" if request.estimator == "ls" else f"estimator={request.estimator!r} is not in the paper"
    return _answer("reference", reason, raise_error)


PREDICATES: dict[str, Predicate] = {
    "cuda": can_run_cuda,
    "cpu": can_run_cpu,
    "torch": can_run_torch,
    "reference": can_run_reference,
}


def choose(backend: str, request: KoopmanRequest) -> str:
    """The backend that serves ``request``: "cuda", "cpu", "torch" or "reference".

    Names in ``BODVCL_BACKEND`` that only the contrastive operations know leave the choice to the request.

    Raises:
        ValueError: unknown backend name, here or in ``BODVCL_BACKEND``.
        BackendError: the backend was named and cannot serve the request.
    """
    source = "backend"
    if backend == "auto":
        backend, source = os.environ.get("BODVCL_BACKEND") or "auto", "BODVCL_BACKEND"
        backend = "auto" if backend in ("triton", "chunked") else backend
    if backend not in BACKENDS:
        raise ValueError(f"{source} is {backend!r}; expected one of {', '.join(BACKENDS)}")
    if backend != "auto":
        PREDICATES[backend](request, raise_error=True)
        return backend
    return next(name for name, can_run in PREDICATES.items() if can_run(request))


# ------------------------------------------------------------ contrastive

CONTRASTIVE_BACKENDS = ("auto", "triton", "chunked", "torch", "reference")
TRITON_INSTALLED = importlib.util.find_spec("triton") is not None
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TRITON_MAX_WIDTH = 256
SMALL_LOGITS = {"cpu": 2**15, "cuda": 2**17}
"""Logits (streams x queries x keys) up to which the matrix is simply written: ``bench/test_contrastive.py``.
The value for "cpu" was measured; that for "cuda" is a choice.
"""


class ContrastiveRequest(NamedTuple):
    """What decides whether a backend can serve a call of the contrastive operations, and which is best."""

    device: str
    dtype: torch.dtype
    streams: int
    queries: int
    keys: int
    width: int


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _triton_reason(request: ContrastiveRequest) -> str:
    if not TRITON_INSTALLED:
        return "triton is not installed"
    if request.device != "cuda" and not _interpreted():
        return f"the embeddings are on {request.device}"
    if request.dtype not in TRITON_DTYPES:
        return f"dtype {request.dtype} is not one of float32, float16, bfloat16"
    if request.width > TRITON_MAX_WIDTH:
        return f"width {request.width}, at most {TRITON_MAX_WIDTH} is supported"
    return ""


def can_run_triton(request: ContrastiveRequest, raise_error: bool = False) -> bool:
    """Whether the fused Triton kernels can serve ``request``."""
    return _answer("triton", _triton_reason(request), raise_error)


def choose_contrastive(backend: str, request: ContrastiveRequest) -> str:
    """The route that serves ``request``: "triton", "chunked" or "torch".

    "reference" is the eager route "torch", which writes the matrix as the formula has it. Names in
    ``BODVCL_BACKEND`` that only other operations know leave the choice to the size.

    Raises:
        ValueError: unknown backend name, here or in ``BODVCL_BACKEND``.
        BackendError: the backend was named and cannot serve the request.
    """
    source, known = "backend", CONTRASTIVE_BACKENDS
    if backend == "auto":
        backend, source = os.environ.get("BODVCL_BACKEND") or "auto", "BODVCL_BACKEND"
        known = (*CONTRASTIVE_BACKENDS, *BACKENDS)
    if backend not in known:
        raise ValueError(f"{source} is {backend!r}; expected one of {', '.join(dict.fromkeys(known))}")
    if backend == "triton":
        can_run_triton(request, raise_error=True)
    if backend in ("triton", "chunked", "torch"):
        return backend
    if backend == "reference":
        return "torch"
    if request.streams * request.queries * request.keys <= SMALL_LOGITS.get(request.device, 0):
        return "torch"
    return "triton" if request.device == "cuda" and can_run_triton(request) else "chunked"


def _contrastive_report(device: str) -> dict[str, str]:
    request = ContrastiveRequest(device, torch.float32, streams=2, queries=1024, keys=1024, width=128)
    row = {"backend": choose_contrastive("auto", request)}
    if row["backend"] != "triton":
        row["triton"] = _triton_reason(request) or "BODVCL_BACKEND names another"
    return row


# ------------------------------------------------------------ augmentation

AUGMENT_BACKENDS = ("auto", "triton", "torch", "reference")
AUGMENT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
AUGMENT_MAX_RADIUS = 24
"""Widest blur of the fused kernel: it leaves 16 x 16 pixels of a tile of 64 x 64."""


class AugmentRequest(NamedTuple):
    """What decides whether a backend can augment a batch of clips."""

    device: str
    dtype: torch.dtype
    radius: int


def _augment_triton_reason(request: AugmentRequest) -> str:
    if not TRITON_INSTALLED:
        return "triton is not installed"
    if request.device != "cuda" and not _interpreted():
        return f"the clips are on {request.device}"
    if request.dtype not in AUGMENT_DTYPES:
        return f"dtype {request.dtype} is not one of float32, float16, bfloat16"
    if request.radius > AUGMENT_MAX_RADIUS:
        return f"a blur of {request.radius} pixels to each side, at most {AUGMENT_MAX_RADIUS} are supported"
    return ""


def can_augment_triton(request: AugmentRequest, raise_error: bool = False) -> bool:
    """Whether the fused augmentation kernel can serve ``request``."""
    return _answer("triton", _augment_triton_reason(request), raise_error)


def choose_augment(backend: str, request: AugmentRequest) -> str:
    """The route that augments: "triton", "torch" or "reference".

    Names in ``BODVCL_BACKEND`` that only other operations know leave the choice to the request.

    Raises:
        ValueError: unknown backend name, here or in ``BODVCL_BACKEND``.
        BackendError: the backend was named and cannot serve the request.
    """
    source, known = "backend", AUGMENT_BACKENDS
    if backend == "auto":
        backend, source = os.environ.get("BODVCL_BACKEND") or "auto", "BODVCL_BACKEND"
        known = tuple(dict.fromkeys((*AUGMENT_BACKENDS, *CONTRASTIVE_BACKENDS, *BACKENDS)))
    if backend not in known:
        raise ValueError(f"{source} is {backend!r}; expected one of {', '.join(known)}")
    if backend == "triton":
        can_augment_triton(request, raise_error=True)
    if backend in ("triton", "torch", "reference"):
        return backend
    return "triton" if request.device == "cuda" and can_augment_triton(request) else "torch"


def _augment_report(device: str) -> dict[str, str]:
    request = AugmentRequest(device, torch.float32, radius=6)
    row = {"backend": choose_augment("auto", request)}
    if row["backend"] != "triton":
        row["triton"] = _augment_triton_reason(request) or "BODVCL_BACKEND names another"
    return row


def report() -> dict[str, dict[str, dict[str, str]]]:
    """For each operation and each device type here, the backend that would run and why the others would not.

    Returns ``{operation: {device: {"backend": name, other backend: reason}}}``.
    """
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    out: dict[str, dict[str, dict[str, str]]] = {"koopman": {}, "contrastive": {}, "augment": {}}
    for device in devices:
        request = KoopmanRequest(device, torch.float32, frames=8, width=128)
        row = {"backend": choose("auto", request)}
        for name in ("cuda", "cpu"):
            if name != row["backend"]:
                row[name] = _native_reason(name, request)
        out["koopman"][device] = row
        out["contrastive"][device] = _contrastive_report(device)
        out["augment"][device] = _augment_report(device)
    return out
