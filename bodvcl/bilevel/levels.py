"""Both losses as functions of the leaves in which a solver differentiates; some of the leaves look ahead.

With ``scope="all"`` the leaves are the parameters. With ``scope="head"`` the features X of the backbone are
an additional leaf. They are computed once, and the losses are functions of (X, head, objective). Only the
head looks ahead. The gradient in X goes through the backbone in one pass at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bodvcl.bilevel.problem import BilevelProblem, Params
from bodvcl.bilevel.vectors import leaves

_FEATURES = "features of the backbone"


@dataclass(frozen=True)
class Levels:
    """Both losses as functions of the leaves.

    Attributes:
        start: the leaves at theta, by name.
        ahead: names of the leaves that the inner steps may move.
        lower: L_pred as a function of the leaves; with True as second argument it can be differentiated
            twice.
        upper: the contrastive loss as a function of the leaves.
        finish: turns the gradient in the leaves into the gradient in the parameters.
    """

    start: Params
    ahead: frozenset[str]
    lower: Callable[[Params, bool], Tensor]
    upper: Callable[[Params], Tensor]
    finish: Callable[[Params], Params]


def levels_of(problem: BilevelProblem, params: Params, scope: str) -> Levels:
    """The levels of a problem at theta.

    Args:
        problem: both losses.
        params: theta.
        scope: "all" or "head".

    Raises:
        ValueError: ``scope="head"``, but the problem has no head.
    """
    if scope == "all":
        return Levels(
            start=params,
            ahead=frozenset(params),
            lower=lambda at, twice: problem.lower(at, twice=twice),
            upper=problem.upper,
            finish=lambda gradient: gradient,
        )
    if not problem.head:
        raise ValueError(
            "scope='head' looks ahead with the projector, and this model has none; use scope='all'"
        )
    roots = leaves(params)
    features = problem.features(roots)
    # In half precision, a difference of gradients would be noise.
    wide = features.detach().to(torch.promote_types(features.dtype, torch.float32))

    def parts(at: Params) -> tuple[Params, Tensor]:
        return {name: t for name, t in at.items() if name != _FEATURES}, at[_FEATURES]

    def finish(gradient: Params) -> Params:
        direct, through = parts(gradient)
        found = torch.autograd.grad(
            features, list(roots.values()), through.to(features.dtype), allow_unused=True
        )
        backbone = {name: g for name, g in zip(roots, found) if g is not None}
        return {name: t + backbone[name] if name in backbone else t for name, t in direct.items()}

    return Levels(
        start={**params, _FEATURES: wide},
        ahead=problem.head,
        lower=lambda at, twice: problem.lower(*parts(at), twice=twice),
        upper=lambda at: problem.upper(*parts(at)),
        finish=finish,
    )
