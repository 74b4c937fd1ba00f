"""A problem whose upper loss is scaled, for gradients in float16.

Every solver's gradient is linear in the upper loss: scaled by s it gives s times the gradient, also where a
difference of lower gradients is taken, whose direction and length do not depend on s.
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
        losses: the last losses that were scaled, as they were before: ``upper`` and perhaps ``lower``.
    """

    def __init__(self, problem: BilevelProblem, scale: Callable[[Tensor], Tensor]) -> None:
        self._problem, self._scale = problem, scale
        self.head = problem.head
        self.losses: dict[str, Tensor] = {}

    def features(self, params: Params) -> Tensor:
        """As the problem's own."""
        return self._problem.features(params)

    def lower(self, params: Params, features: Tensor | None = None, *, twice: bool = False) -> Tensor:
        """As the problem's own: float32 needs no scale."""
        return self._problem.lower(params, features, twice=twice)

    def upper(self, params: Params, features: Tensor | None = None) -> Tensor:
        """Scaled."""
        upper = self._problem.upper(params, features)
        self.losses = {"upper": upper.detach()}
        return self._scale(upper)

    def both(self, params: Params) -> tuple[Tensor, Tensor]:
        """Both scaled."""
        lower, upper = self._problem.both(params)
        self.losses = {"lower": lower.detach(), "upper": upper.detach()}
        return self._scale(lower), self._scale(upper)
