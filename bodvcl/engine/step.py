"""The gradient of one step: the mean over the parts of a batch and over the ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bodvcl.bilevel.problem import BilevelProblem, Params, Step
from bodvcl.engine.apart import BackboneApart
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.ranks import Ranks
from bodvcl.engine.scaled import ScaledProblem
from bodvcl.models.streams import SplitOutput

Solve = Callable[[Params, BilevelProblem], Step]

_VALUES = "values for the log"


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
    problems: Iterable[tuple[float, BatchProblem]],
    ranks: Ranks,
    scale: Callable[[Tensor], Tensor] | None,
    told: Mapping[str, float] | None = None,
    *,
    apart: bool = False,
) -> StepGradient:
    """Solve the bi-level problem of each part and average the gradients.

    Args:
        solve: the bi-level solver.
        params: parameters of the learner, by name; with ``apart`` without those of the backbone.
        problems: for each part, its share of this rank's videos and its problem.
        ranks: the processes to average over, in one all-reduce.
        scale: scales the loss, and so the gradient that is returned; None: no scaling.
        told: numbers of this rank by name, whose means over the ranks are among the values. None: nothing.
        apart: the backbone passes by itself, with its own parameters, which collect their gradients in
            ``.grad`` (:class:`~bodvcl.engine.apart.BackboneApart`).
    """
    gradient: Params = {}
    values: dict[str, Tensor] = {}
    keys: list[Mapping[str, Tensor]] = []
    streams: list[tuple[float, SplitOutput]] = []
    for share, problem in problems:
        passed = BackboneApart(problem, params) if apart else None
        step = (
            _solve(solve, params, problem, scale)
            if passed is None
            else _solve(solve, passed.params, passed, scale)
        )
        found = problem.log | {"loss": step.upper}
        optional = {
            "loss_pred": step.lower,
            "inner_step_norm": step.inner_step_norm,
            "hessian_share": step.hessian_share,
        }
        found |= {name: value for name, value in optional.items() if value is not None}
        values = _add(values, {name: v.detach().double() for name, v in found.items()}, share)
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
