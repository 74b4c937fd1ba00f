"""The gradient of one step: over the parts of a batch, and over the ranks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from bodvcl.bilevel.solvers import Params, Problem, Step
from bodvcl.data.clips.batch import ClipBatch, ClipParams
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.ranks import Ranks
from bodvcl.engine.scaled import ScaledProblem

Solve = Callable[[Params, Problem], Step]

_VALUES = "values for the log"


@dataclass(frozen=True)
class StepGradient:
    """What a step found out.

    Attributes:
        gradient: mean over parts and ranks, laid out in memory as the parameters are.
        values: losses and diagnostics by name, scalars, likewise.
        keys: per part, what the objective remembers of it.
    """

    gradient: Params
    values: dict[str, Tensor]
    keys: list[Mapping[str, Tensor]]


def videos_of(batch: ClipBatch, first: int, last: int, views: int) -> ClipBatch:
    """The videos ``first .. last - 1`` of a batch, with all of their clips."""
    if (first, last) == (0, len(batch.videos)):
        return batch
    rows = slice(first * views, last * views)
    params = ClipParams(*(getattr(batch.params, f.name)[rows] for f in fields(ClipParams)))
    return replace(
        batch,
        clips=batch.clips[rows],
        params=params,
        videos=batch.videos[first:last],
        frames=batch.frames[rows],
    )


def parts_of(batch: ClipBatch, count: int, views: int) -> list[ClipBatch]:
    """A batch cut into ``count`` parts of whole videos, as equal as can be; fewer where a part would have
    less than two videos."""
    videos = len(batch.videos)
    count = max(1, min(count, videos // 2))
    ends = [part * videos // count for part in range(count + 1)]
    return [videos_of(batch, first, last, views) for first, last in itertools.pairwise(ends)]


def step_gradient(
    solve: Solve,
    params: Params,
    problems: Iterable[tuple[float, BatchProblem]],
    ranks: Ranks,
    scale: Callable[[Tensor], Tensor] | None,
) -> StepGradient:
    """Solve each part's bi-level problem by itself and average.

    Args:
        solve: the bi-level solver.
        params: the learner's.
        problems: per part its share of this rank's videos, and the problem; made when it is their turn.
        ranks: to average over, in one all-reduce.
        scale: multiplies the loss; the gradient that is returned is that of the scaled loss.
    """
    gradient: Params = {}
    values: dict[str, Tensor] = {}
    keys: list[Mapping[str, Tensor]] = []
    for share, problem in problems:
        step = _solve_scaled(solve, params, problem, scale) if scale else solve(params, problem)
        found = problem.log | {"loss": step.upper}
        optional = {
            "loss_pred": step.lower,
            "inner_step_norm": step.inner_step_norm,
            "hessian_share": step.hessian_share,
        }
        found |= {name: value for name, value in optional.items() if value is not None}
        values = _add(values, {name: v.detach().double() for name, v in found.items()}, share)
        gradient = _add(gradient, step.gradient, share)
        keys.append(problem.keys)
    shared = ranks.mean(gradient | {_VALUES: torch.stack(list(values.values())).float()})
    if ranks.size > 1:
        values = dict(zip(values, shared[_VALUES].unbind()))
    return StepGradient({name: _laid_out(shared[name], p) for name, p in params.items()}, values, keys)


def _solve_scaled(
    solve: Solve, params: Params, problem: BatchProblem, scale: Callable[[Tensor], Tensor]
) -> Step:
    scaled = ScaledProblem(problem, scale)
    step = solve(params, scaled)
    return replace(step, **scaled.losses)


def _add(total: Mapping[str, Tensor], part: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    if share == 1:
        return dict(part)
    if not total:
        return {name: share * t for name, t in part.items()}
    return {name: torch.add(total[name], t, alpha=share) for name, t in part.items()}


def _laid_out(gradient: Tensor, parameter: Tensor) -> Tensor:
    """A fused optimiser walks over memory: a gradient must have its parameter's strides."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
