"""Directions of vectors: their lengths, and derivatives through the normalisation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import threshold

from bodvcl.ops.checks import capturing
from bodvcl.ops.transforms import VmapInfo, active, fold, traced, unfold

NO_DIRECTION = 1e-12
"""Vectors no longer than this have no direction."""


def _inverse_norms(
    x: Tensor, temperature: Tensor | None, normalize: bool, check: bool, name: str, streams: str
) -> Tensor:
    """Factors that bring the vectors of ``x`` to unit length.

    Args:
        x: ``(H, N, D)``, floating point.
        temperature: ``(H,)``, checked along with ``x``; None: nothing to check.
        normalize: False: every factor is 1.
        check: raise for vectors that are not finite and for temperatures that are not positive.
        name: name of ``x`` for error messages.
        streams: H names of streams, separated by commas, for error messages.

    Returns:
        ``(H, N)``, float32, or float64 for float64: 0 where a vector has no direction (its length is at most
        1e-12), NaN where it is not finite.

    Raises:
        ValueError: with ``check``, a value that is not finite or a temperature that is not positive.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    norms = torch.linalg.vector_norm(x, dim=-1, dtype=wide)
    if check and not capturing(x):
        _check_values(norms.isfinite(), temperature, name, streams.split(","))
    broken: Tensor = norms - norms  # 0, or NaN for a norm that is not finite
    if not normalize:
        return broken.add_(1)
    lengths: Tensor = threshold(norms, NO_DIRECTION, torch.inf)
    return lengths.reciprocal_().add_(broken)


inverse_norms_op = torch.library.custom_op("bodvcl::inverse_norms", _inverse_norms, mutates_args=())


def inverse_norms(
    x: Tensor, temperature: Tensor | None, normalize: bool, check: bool, name: str, streams: str
) -> Tensor:
    """`inverse_norms_op` for tracers and transforms, and what is inside of it in eager mode."""
    run = inverse_norms_op if traced(x) or active() else _inverse_norms
    factors: Tensor = run(x.detach(), temperature, normalize, check, name, streams)
    return factors


def _check_values(finite: Tensor, temperature: Tensor | None, name: str, streams: list[str]) -> None:
    bad = (~finite).sum(-1).tolist()
    if any(bad):
        where = ", ".join(
            f"{count} of {finite.shape[1]} rows of stream {stream!r}"
            for stream, count in zip(streams, bad)
            if count
        )
        raise ValueError(
            f"info_nce: {name} is not finite in {where}; expected no NaN, no infinity, and nothing too large "
            "to square. Find out where it comes from, or pass check_finite=False to get NaN for those streams"
        )
    if temperature is not None:
        for stream, value in zip(streams, temperature.tolist()):
            if not 0 < value < float("inf"):
                raise ValueError(
                    f"info_nce: temperature is {value} for stream {stream!r}; expected a positive, finite "
                    "number"
                )


@inverse_norms_op.register_fake
def _(x: Tensor, temperature: Tensor | None, normalize: bool, check: bool, name: str, streams: str) -> Tensor:
    return x.new_empty(x.shape[:2], dtype=torch.promote_types(x.dtype, torch.float32))


@inverse_norms_op.register_vmap
def _(
    info: VmapInfo,
    in_dims: tuple[int | None, ...],
    x: Tensor,
    temperature: Tensor | None,
    normalize: bool,
    check: bool,
    name: str,
    streams: str,
) -> tuple[Tensor, int]:
    size = info.batch_size
    if temperature is not None:
        temperature = fold(temperature, in_dims[1], size)
    names = ",".join([streams] * size)
    factors = inverse_norms_op(fold(x, in_dims[0], size), temperature, normalize, check, name, names)
    return unfold(factors, size), 0


def through_norm(unit: Tensor, direction: Tensor, along: Tensor, inverse: Tensor) -> Tensor:
    """Gradient in a vector from the gradient ``unit`` in its direction, whose part along it is ``along``.

    Args:
        unit: ``(H, N, D)``.
        direction: ``(H, N, D)``, unit vectors.
        along: ``(H, N)``, scalar products of the two.
        inverse: ``(H, N)``, one over the length.
    """
    return (unit - along[..., None] * direction).mul_(inverse[..., None])


def direction_change(
    tangent: Tensor, x: Tensor, inverse: Tensor, wide: torch.dtype, normalize: bool
) -> Tensor:
    """Tangent ``(H, N, D)`` of the unit vectors, or of the vectors themselves without normalisation."""
    tangent = tangent.to(wide)
    if not normalize:
        return tangent
    direction = x.to(wide) * inverse[..., None]
    return through_norm(tangent, direction, (tangent * direction).sum(-1), inverse)
