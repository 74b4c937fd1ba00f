"""What a bi-level solver needs of a batch, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Params = dict[str, Tensor]
"""Parameters, or one tensor per parameter, by name."""


class BilevelProblem(Protocol):
    """Both levels' losses of one batch as pure functions of the parameters.

    Every call sees the same clips and random draws; BatchNorm buffers advance only at the first call. A
    parameter that a loss does not use, such as a predictor's in L_pred, has gradient zero.

    Attributes:
        head: names of the parameters that ``scope="head"`` looks ahead with: the projector.
    """

    head: frozenset[str]

    def features(self, params: Params) -> Tensor:
        """``(N, T, D)`` of the backbone alone."""

    def lower(self, params: Params, features: Tensor | None = None, *, twice: bool = False) -> Tensor:
        """L_pred, a scalar.

        Args:
            params: of both levels.
            features: evaluate only the head, from these.
            twice: by a route that can be differentiated twice.
        """

    def upper(self, params: Params, features: Tensor | None = None) -> Tensor:
        """The contrastive loss summed over streams, a scalar; ``features`` as in :meth:`lower`."""

    def both(self, params: Params) -> tuple[Tensor, Tensor]:
        """(lower, upper) from one forward pass."""


@dataclass(frozen=True)
class Step:
    """What a solver returns.

    Attributes:
        gradient: same keys and shapes as the parameters.
        lower, upper: the losses, detached, scalars; lower at theta, upper where the solver evaluates it. None
            where the solver does not need one.
        inner_step_norm: ``|theta* - theta| / |theta|`` over the parameters that look ahead, a scalar; None
            without a look-ahead.
        hessian_share: ``|u - v| / |v|`` over the parameters that look ahead, u their gradient and v the
            upper gradient at theta*: for one inner step ``gamma |Hv| / |v|``. A scalar; with several ranks H
            is that of this rank's clips. None where H is not used.
    """

    gradient: Params
    lower: Tensor | None
    upper: Tensor
    inner_step_norm: Tensor | None = None
    hessian_share: Tensor | None = None
