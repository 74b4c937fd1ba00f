"""The gradient of one step: the mean over the parts of a batch and over the ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from bodvcl.bilevel.problem import BilevelProblem, Params, Step
from bodvcl.engine.apart import BackboneApart
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.ranks import Ranks
from bodvcl.engine.scaled import ScaledProblem
from bodvcl.models.streams import SplitOutput

Solve = Callable[[Params, BilevelProblem], Step]

Collect = Callable[[int], AbstractContextManager[None]]

_VALUES = "values for the log"


class Parts(Protocol):
    """The parts of a batch: how many, and for each its share of this rank's videos and its problem."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[float, BatchProblem]]: ...


@dataclass(frozen=True)
class StepGradient:
    """Gradient, losses and diagnostics of a step.

    Attributes:
        gradient: mean over parts and ranks, with the memory layout of the parameters.
        values: losses and diagnostics by name: scalars, means over parts and ranks.
        keys: for each part, the embeddings of the momentum encoder, for the objective to remember.
        streams: for each part its share and, if the problem keeps them, the streams of this rank's clips.
    """

    gradient: Params
    values: dict[str, Tensor]
    keys: list[Mapping[str, Tensor]]
    streams: list[tuple[float, SplitOutput]]


def step_gradient(
    solve: Solve,
    params: Params,
    problems: Parts,
    ranks: Ranks,
    scale: Callable[[Tensor], Tensor] | None,
    told: Mapping[str, float] | None = None,
    *,
    collect: Collect | None = None,
) -> StepGradient:
    """Solve the bi-level problem of each part and average the gradients.

    Args:
        solve: the bi-level solver.
        params: parameters of the learner, by name; with ``collect`` without those of the backbone.
        problems: for each part, its share of this rank's videos and its problem.
        ranks: the processes to average over, in one all-reduce besides what ``collect`` sends.
        scale: scales the loss, and so the gradient that is returned; None: no scaling.
        told: numbers of this rank by name, whose means over the ranks are among the values. None: nothing.
        collect: the backbone passes by itself, with its own parameters, which collect their gradients in
            ``.grad`` (:class:`~bodvcl.engine.apart.BackboneApart`). It is entered with the number of parts
            and sends these gradients over the ranks. None: the backbone is one of the modules that the
            solver differentiates.
    """
    gradient: Params = {}
    values: dict[str, Tensor] = {}
    keys: list[Mapping[str, Tensor]] = []
    streams: list[tuple[float, SplitOutput]] = []
    with nullcontext() if collect is None else collect(len(problems)):
        for share, problem in problems:
            passed = None if collect is None else BackboneApart(problem, params)
            step = (
                _solve(solve, params, problem, scale)
                if passed is None
                else _solve(solve, passed.params, passed, scale)
            )
            values = _add(values, _logged(problem, step), share)
            direct = step.gradient if passed is None else passed.backward(step.gradient, share)
            gradient = _add(gradient, direct, share)
            keys.append(problem.keys)
            if problem.streams is not None:
                streams.append((share, problem.streams))
    device = next(iter(values.values())).device
    values |= {
        name: torch.full((), x, dtype=torch.float64, device=device) for name, x in (told or {}).items()
    }
    shared = ranks.mean(gradient | {_VALUES: torch.stack(list(values.values())).float()})
    if ranks.size > 1:
        values = dict(zip(values, shared[_VALUES].unbind()))
    laid_out = {name: _laid_out(shared[name], p) for name, p in params.items()}
    return StepGradient(laid_out, values, keys, streams)


def _logged(problem: BatchProblem, step: Step) -> dict[str, Tensor]:
    found = problem.log | {"loss": step.upper}
    optional = {
        "loss_pred": step.lower,
        "inner_step_norm": step.inner_step_norm,
        "hessian_share": step.hessian_share,
    }
    found |= {name: value for name, value in optional.items() if value is not None}
    return {name: value.detach().double() for name, value in found.items()}


def _solve(
    solve: Solve, params: Params, problem: BilevelProblem, scale: Callable[[Tensor], Tensor] | None
) -> Step:
    if scale is None:
        return solve(params, problem)
    scaled = ScaledProblem(problem, scale)
    step = solve(params, scaled)
    return replace(step, upper=scaled.losses["upper"], lower=scaled.losses.get("lower", step.lower))


def _add(total: Mapping[str, Tensor], part: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    if share == 1:
        return dict(part)
    if not total:
        return {name: share * t for name, t in part.items()}
    return {name: torch.add(total[name], t, alpha=share) for name, t in part.items()}


def _laid_out(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient with its parameter's strides, which a fused optimiser needs."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
