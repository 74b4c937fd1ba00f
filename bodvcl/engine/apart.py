"""A bi-level problem whose backbone passes by itself: for a solver its features are one more parameter.

So the solver, which differentiates in plain tensors, never sees the backbone's parameters. They may be cut
over the ranks: FSDP's own hooks gather them for a pass, and sum their gradients while the backward pass runs.
It serves where the backbone passes once in a step (:func:`bodvcl.config.passes.passes`).
"""

from __future__ import annotations

from torch import Tensor

from bodvcl.bilevel.problem import Params
from bodvcl.engine.problem import BatchProblem

_FEATURES = "features, passed before"


class BackboneApart:
    """A :class:`~bodvcl.bilevel.problem.BilevelProblem` that starts from features. The backbone passes here.

    Args:
        problem: the losses.
        params: parameters of the learner by name, without those of the backbone, which has its own.

    Attributes:
        head: as in the problem itself.
        params: ``params`` and the features, as leaves for a solver.
    """

    def __init__(self, problem: BatchProblem, params: Params) -> None:
        self._problem, self.head = problem, problem.head
        self._passed = problem.features(params)
        self.params: Params = {**params, _FEATURES: self._passed.detach()}

    def features(self, params: Params) -> Tensor:
        """``(N, T, D)``, the features that are among the parameters."""
        return params[_FEATURES]

    def lower(self, params: Params, features: Tensor | None = None, *, twice: bool = False) -> Tensor:
        """As in the problem itself, from the features that are given or among the parameters."""
        return self._problem.lower(*_apart(params, features), twice=twice)

    def upper(self, params: Params, features: Tensor | None = None) -> Tensor:
        """As in the problem itself; features as in :meth:`lower`."""
        return self._problem.upper(*_apart(params, features))

    def both(self, params: Params) -> tuple[Tensor, Tensor]:
        """As in the problem itself; features as in :meth:`lower`."""
        return self._problem.both(*_apart(params, None))

    def backward(self, gradient: Params, share: float) -> Params:
        """Send the gradient in the features through the backbone, whose parameters collect it in ``.grad``.

        Args:
            gradient: gradient in :attr:`params`.
            share: factor of what the backbone collects.

        Returns:
            The gradient in the other parameters, as it was.
        """
        others, through = _apart(gradient, None)
        self._passed.backward(share * through.to(self._passed.dtype))
        return others


def _apart(params: Params, features: Tensor | None) -> tuple[Params, Tensor]:
    others = {name: t for name, t in params.items() if name != _FEATURES}
    return others, params[_FEATURES] if features is None else features
