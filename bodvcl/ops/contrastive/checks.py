"""What a call of the contrastive operations may look like, and what is said when it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_pair(op: str, query: Tensor, keys: Tensor, name: str = "keys", length: str = "K") -> None:
    """``query (H, N, D)`` and ``keys (H, K, D)`` fit: rank, streams, width, dtype, device."""
    for label, x in (("query", query), (name, keys)):
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"{op}: {label} must be a floating-point tensor, got {got}")
    shapes = f"{tuple(query.shape)} and {tuple(keys.shape)}"
    if query.dim() != 3 or keys.dim() != 3 or query.shape[::2] != keys.shape[::2]:
        raise ValueError(f"{op}: expected query (H, N, D) and {name} (H, {length}, D), got {shapes}")
    if query.shape[2] == 0:
        raise ValueError(f"{op}: the embeddings have width 0: {shapes}")
    if query.dtype != keys.dtype:
        raise ValueError(f"{op}: query is {query.dtype}, {name} {keys.dtype}: convert one of them")
    if query.device != keys.device:
        raise ValueError(f"{op}: query is on {query.device}, {name} on {keys.device}: move one of them")


def check_ids(op: str, query: Tensor, keys: Tensor, ids: dict[str, Tensor | None]) -> None:
    """Ids ``query_*`` are N integers, ``key_*`` K, on the device of the query; clip ids come in pairs."""
    if (ids["query_clip"] is None) != (ids["key_clip"] is None):
        raise ValueError(f"{op}: give both query_clip and key_clip, or neither")
    for name, values in ids.items():
        if values is None:
            continue
        count = query.shape[1] if name.startswith("query") else keys.shape[1]
        if not isinstance(values, Tensor) or values.dtype not in INTEGERS or values.shape != (count,):
            got = (
                f"{values.dtype} {tuple(values.shape)}"
                if isinstance(values, Tensor)
                else type(values).__name__
            )
            raise ValueError(f"{op}: {name} must be {count} integers, got {got}")
        if values.device != query.device:
            raise ValueError(f"{op}: {name} is on {values.device}, query on {query.device}: move one of them")


def check_valid(op: str, query: Tensor, valid: Tensor | None) -> None:
    """``valid`` is bool ``(H, N)`` on the device of the query."""
    if valid is None:
        return
    if valid.dtype != torch.bool or valid.shape != query.shape[:2]:
        expected = tuple(query.shape[:2])
        raise ValueError(f"{op}: valid must be bool {expected}, got {valid.dtype} {tuple(valid.shape)}")
    if valid.device != query.device:
        raise ValueError(f"{op}: valid is on {valid.device}, query on {query.device}: move one of them")


def as_temperature(op: str, temperature: float | Tensor, query: Tensor) -> Tensor:
    """Temperature per stream ``(H,)`` in the accumulation type, differentiable where it was given so.

    A number is checked here; the values of a tensor where the input's values are.
    """
    streams, wide = query.shape[0], torch.promote_types(query.dtype, torch.float32)
    if isinstance(temperature, Tensor):
        if not temperature.is_floating_point() or temperature.shape not in ((), (1,), (streams,)):
            raise ValueError(
                f"{op}: temperature must be a number or a floating-point tensor of {streams}, one a stream; "
                f"got {temperature.dtype} {tuple(temperature.shape)}"
            )
        if temperature.device != query.device:
            raise ValueError(
                f"{op}: temperature is on {temperature.device}, query on {query.device}: move one of them"
            )
        return temperature.to(wide).expand(streams)
    if not 0 < temperature < math.inf:
        raise ValueError(f"{op}: temperature must be positive and finite, got {temperature}")
    return torch.full((streams,), float(temperature), dtype=wide, device=query.device)


def stream_names(op: str, names: Sequence[str] | None, streams: int) -> str:
    """Names of the streams in one string, as an operator's schema can hold it."""
    if names is None:
        return ",".join(map(str, range(streams)))
    if len(names) != streams:
        raise ValueError(f"{op}: {len(names)} stream names for {streams} streams: {list(names)}")
    return ",".join(names)


def one_of(op: str, name: str, value: str, allowed: tuple[str, ...]) -> None:
    """``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{op}: {name} is {value!r}; expected one of {', '.join(map(repr, allowed))}")
