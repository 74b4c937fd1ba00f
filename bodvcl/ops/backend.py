"""Which implementation serves a call: what the operations share.

The module ``backend`` of each operation has a table from the names of its backends to functions. Each
function tells why its backend cannot serve a request, and returns "" where it can. ``backend="auto"`` takes
the best backend for the request. A backend that is named and cannot serve the request raises `BackendError`
with the reason. The environment variable ``BODVCL_BACKEND`` stands in for ``backend="auto"`` in every
operation.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch

from bodvcl._supported import held_back
from bodvcl.errors import UserError
from bodvcl.system.surroundings import VARIABLES

Request = TypeVar("Request")

NAMES = VARIABLES["BODVCL_BACKEND"]
"""Every name that ``BODVCL_BACKEND`` may have. No single operation has all of these backends."""

NO_TRITON = (
    held_back("triton") if importlib.util.find_spec("triton") is not None else "triton is not installed"
)
"""Why no Triton kernel can be used; "" where they can."""
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class BackendError(UserError, RuntimeError):
    """A named backend cannot serve the request; the message says why."""


def choose(
    backend: str,
    request: Request,
    why_not: Mapping[str, Callable[[Request], str]],
    best: Callable[[Request], str],
) -> str:
    """The backend that serves ``request``: ``backend``, or what stands in for "auto".

    A name in ``BODVCL_BACKEND`` that this operation does not have counts as "auto".

    Args:
        backend: "auto" or a name in ``why_not``.
        request: what decides whether a backend can serve the call.
        why_not: backend to a function that tells why it cannot serve a request, "" where it can.
        best: the backend for "auto".

    Returns:
        A name in ``why_not``.

    Raises:
        ValueError: unknown backend name, here or in ``BODVCL_BACKEND``.
        BackendError: the backend was named and cannot serve the request.
    """
    source, known = "backend", ("auto", *why_not)
    if backend == "auto":
        backend, source, known = os.environ.get("BODVCL_BACKEND") or "auto", "BODVCL_BACKEND", NAMES
    if backend not in known:
        raise ValueError(f"{source} is {backend!r}; expected one of {', '.join(known)}")
    if backend not in why_not:
        return best(request)
    reason = why_not[backend](request)
    if reason:
        raise BackendError(f"backend={backend!r} cannot run this: {reason}. Use backend='auto' or 'torch'.")
    return backend


def explain(
    request: Request,
    why_not: Mapping[str, Callable[[Request], str]],
    best: Callable[[Request], str],
    fast: Sequence[str],
) -> dict[str, str]:
    """``{"backend": the one that "auto" takes, other backend in ``fast``: why it is not taken}``."""
    row = {"backend": choose("auto", request, why_not, best)}
    for name in fast:
        if name != row["backend"]:
            row[name] = why_not[name](request) or "BODVCL_BACKEND names another"
    return row


def always(request: object) -> str:
    """Why a backend that serves every request cannot serve this one: no reason."""
    return ""


def why_not_triton(device: str, dtype: torch.dtype, inputs: str) -> str:
    """Why Triton kernels cannot serve a call, whose tensors are called ``inputs``; "" where they can."""
    if NO_TRITON:
        return NO_TRITON
    if device != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"the {inputs} are on {device}"
    if dtype not in TRITON_DTYPES:
        return f"dtype {dtype} is not one of float32, float16, bfloat16"
    return ""
