"""The interface between a bi-level solver and the losses of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Params = dict[str, Tensor]
"""Parameters, or one tensor per parameter, by the parameter's name."""


class BilevelProblem(Protocol):
    """The losses of both levels for one batch, as pure functions of the parameters.

    Every call sees the same clips and random draws. BatchNorm buffers advance at the first call only. A
    parameter that a loss does not use has gradient zero, such as that of a predictor in L_pred.

    Attributes:
        head: names of the projector's parameters: with ``scope="head"`` only these look ahead.
    """

    head: frozenset[str]

    def features(self, params: Params) -> Tensor:
        """``(N, T, D)``, features of the backbone."""

    def lower(self, params: Params, features: Tensor | None = None, *, twice: bool = False) -> Tensor:
        """L_pred, a scalar.

        Args:
            params: parameters of both levels.
            features: features of the backbone to start from; None: compute them.
            twice: use operators that can be differentiated twice.
        """

    def upper(self, params: Params, features: Tensor | None = None) -> Tensor:
        """The contrastive loss, summed over streams, a scalar; arguments as in :meth:`lower`."""

    def both(self, params: Params) -> tuple[Tensor, Tensor]:
        """(lower, upper) from one forward pass."""


@dataclass(frozen=True)
class Step:
    """The result of a solver.

    Attributes:
        gradient: gradient by name, with the shapes of the parameters.
        lower: L_pred at theta, a detached scalar; None: the solver does not compute it.
        upper: the contrastive loss where the solver evaluates it, a detached scalar.
        inner_step_norm: ``|theta* - theta| / |theta|`` over the parameters that look ahead, a scalar; None:
            the solver does not look ahead.
        hessian_share: ``|u - v| / |v|`` over the parameters that look ahead, with their gradient u and the
            upper gradient v at theta*; for one inner step it is ``gamma |Hv| / |v|``. A scalar; with several
            ranks, H is that of the clips of this rank. None: the solver does not use H.
    """

    gradient: Params
    lower: Tensor | None
    upper: Tensor
    inner_step_norm: Tensor | None = None
    hessian_share: Tensor | None = None
