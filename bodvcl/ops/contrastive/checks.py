"""Checks of the arguments of the contrastive operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bodvcl.ops.checks import check_device, check_positive, described

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_pair(
    op: str, query: Tensor, keys: Tensor, names: tuple[str, str] = ("query", "keys"), length: str = "K"
) -> None:
    """``query (H, N, D)`` and ``keys (H, K, D)`` fit: rank, streams, width, dtype, device."""
    first, second = names
    for name, x in ((first, query), (second, keys)):
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise TypeError(f"{op}: {name} is {described(x)}; expected a floating-point tensor")
    if query.dim() != 3 or keys.dim() != 3 or query.shape[::2] != keys.shape[::2]:
        raise ValueError(
            f"{op}: {first} is {tuple(query.shape)} and {second} {tuple(keys.shape)}; expected (H, N, D) and "
            f"(H, {length}, D)"
        )
    if query.shape[2] == 0:
        raise ValueError(f"{op}: {first} is {tuple(query.shape)}; expected a width D of at least 1")
    if query.dtype != keys.dtype:
        raise ValueError(
            f"{op}: {second} is {keys.dtype}; expected {query.dtype}, as {first}. Convert one of them"
        )
    check_device(op, second, keys, first, query)


def check_ids(op: str, query: Tensor, keys: Tensor, ids: dict[str, Tensor | None]) -> None:
    """Ids ``query_*`` are N integers, ``key_*`` K, on the device of the query; clip ids come in pairs."""
    if (ids["query_clip"] is None) != (ids["key_clip"] is None):
        missing = "query_clip" if ids["query_clip"] is None else "key_clip"
        raise ValueError(f"{op}: {missing} is None; expected both query_clip and key_clip, or neither")
    for name, values in ids.items():
        if values is None:
            continue
        count = query.shape[1] if name.startswith("query") else keys.shape[1]
        if not isinstance(values, Tensor) or values.dtype not in INTEGERS or values.shape != (count,):
            raise ValueError(f"{op}: {name} is {described(values)}; expected {count} integers")
        check_device(op, name, values, "query", query)


def as_scale(op: str, temperature: float | Tensor, query: Tensor) -> tuple[Tensor, Tensor | None]:
    """One over the temperature per stream ``(H,)`` in the accumulation type, and a temperature to be checked.

    A number is checked here; the values of a tensor are to be checked along with those of the input. Where
    they are not positive, the scale is NaN. It is differentiable if the tensor is.
    """
    streams, wide = query.shape[0], torch.promote_types(query.dtype, torch.float32)
    if isinstance(temperature, Tensor):
        if not temperature.is_floating_point() or temperature.shape not in ((), (1,), (streams,)):
            raise ValueError(
                f"{op}: temperature is {described(temperature)}; expected a number, or a floating-point "
                f"tensor of 1 or of {streams}, one for each stream"
            )
        check_device(op, "temperature", temperature, "query", query)
        tau = temperature.to(wide).expand(streams)
        return torch.where(tau > 0, 1 / tau, torch.nan), tau.detach()
    check_positive(op, "temperature", temperature)
    tau = torch.full((streams,), float(temperature), dtype=wide, device=query.device)
    return tau.reciprocal_(), None


def stream_names(op: str, names: Sequence[str] | None, streams: int) -> str:
    """Names of the streams in one string, as an operator's schema can hold it."""
    if names is None:
        return ",".join(map(str, range(streams)))
    if len(names) != streams:
        raise ValueError(f"{op}: streams is {list(names)}; expected {streams} names, one for each stream")
    return ",".join(names)
