r"""Both losses as functions of the leaves that a solver differentiates in, of which some look ahead.

With ``scope="all"`` the leaves are the parameters. With ``scope="head"`` the backbone's features X, computed
once, are a leaf beside them: the losses are functions of (X, head, objective), only the head looks ahead, and
the gradient in X goes through the backbone in one pass at the end.
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
    """What a look-ahead solver works on.

    Attributes:
        start: the leaves at theta, by name.
        ahead: names of the leaves that the inner steps may move.
        lower: L_pred of the leaves; the second argument asks for a twice differentiable route.
        upper: the contrastive loss of the leaves.
        finish: gradient in the leaves to gradient in the parameters.
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
        ValueError: ``scope="head"`` of a problem without a head.
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
    # A difference of gradients rounded to half precision would be noise.
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
