"""A bi-level problem whose upper loss is scaled, for gradients in float16.

The gradient of every solver is linear in the upper loss: if the loss is scaled by s, so is the gradient. This
also holds for finite differences of lower gradients, whose direction and length do not depend on s.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from bodvcl.bilevel.problem import BilevelProblem, Params


class ScaledProblem:
    """A :class:`~bodvcl.bilevel.problem.BilevelProblem` with a scaled upper loss.

    In :meth:`both`, whose losses share one backward pass, the lower one is scaled as well.

    Args:
        problem: the losses.
        scale: multiplies a loss, ``torch.amp.GradScaler.scale`` for example.

    Attributes:
        losses: the last losses before scaling: ``upper``, and ``lower`` after :meth:`both`.
    """

    def __init__(self, problem: BilevelProblem, scale: Callable[[Tensor], Tensor]) -> None:
        self._problem, self._scale = problem, scale
        self.head = problem.head
        self.losses: dict[str, Tensor] = {}

    def features(self, params: Params) -> Tensor:
        """As in the problem itself."""
        return self._problem.features(params)

    def lower(self, params: Params, features: Tensor | None = None, *, twice: bool = False) -> Tensor:
        """As in the problem itself: float32 needs no scale."""
        return self._problem.lower(params, features, twice=twice)

    def upper(self, params: Params, features: Tensor | None = None) -> Tensor:
        """The upper loss, scaled."""
        upper = self._problem.upper(params, features)
        self.losses = {"upper": upper.detach()}
        return self._scale(upper)

    def both(self, params: Params) -> tuple[Tensor, Tensor]:
        """(lower, upper), both scaled."""
        lower, upper = self._problem.both(params)
        self.losses = {"lower": lower.detach(), "upper": upper.detach()}
        return self._scale(lower), self._scale(upper)
