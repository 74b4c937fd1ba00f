"""Counts where the host reads a tensor: on a GPU, each such place would let the device run dry."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READING_METHODS = {
    f"Tensor.{name}"
    for name in (
        "item", "tolist", "numpy", "cpu", "nonzero", "unique", "masked_select",
        "__bool__", "__int__", "__float__", "__index__", "__iter__", "__contains__",
    )
} - {"Tensor.__iter__"}  # fmt: skip
"""Methods of a tensor that need its numbers on the host; iterating needs only its shape."""

READING_OPS = {
    "_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim",
    "unique_consecutive", "linalg_eig", "linalg_eigvals", "_linalg_eigvals", "_linalg_eigh", "_linalg_svd",
    "linalg_lstsq", "_linalg_check_errors",
}  # fmt: skip
"""Operators that wait for a GPU: the size of a result depends on numbers, or errors are checked."""


class HostReads:
    """While :meth:`counting`, lists where numbers are read; :meth:`allowed` leaves a part out."""

    def __init__(self) -> None:
        self.places: list[str] = []
        self._counts = False

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        with _Methods(self), _Operators(self), self._set(True):
            yield

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        with self._set(False):
            yield

    def read(self, name: str) -> None:
        if self._counts:
            ours = [f for f in traceback.extract_stack() if "/bodvcl/" in f.filename]
            where = f"{ours[-1].filename.split('/bodvcl/')[-1]}:{ours[-1].lineno}" if ours else "a test"
            self.places.append(f"{name} at {where}")

    @contextlib.contextmanager
    def _set(self, counts: bool) -> Iterator[None]:
        before, self._counts = self._counts, counts
        try:
            yield
        finally:
            self._counts = before


class _Methods(TorchFunctionMode):
    def __init__(self, reads: HostReads) -> None:
        super().__init__()
        self._reads = reads

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__qualname__", str(func)).replace("TensorBase", "Tensor")
        if name in READING_METHODS:
            self._reads.read(name)
        elif name == "Tensor.to" and "cpu" in args[1:] and not kwargs.get("non_blocking"):
            self._reads.read("Tensor.to, blocking,")
        return func(*args, **kwargs)


class _Operators(TorchDispatchMode):
    def __init__(self, reads: HostReads) -> None:
        super().__init__()
        self._reads = reads

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else str(func)
        chosen = name.startswith("index") and _by_mask(args)
        if name in READING_OPS or chosen:
            self._reads.read(f"aten::{name}")
        return func(*args, **(kwargs or {}))


def _by_mask(args: Any) -> bool:
    """Whether rows are chosen by a mask, so that their number depends on it."""
    places = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(isinstance(p, torch.Tensor) and p.dtype in (torch.bool, torch.uint8) for p in places)
