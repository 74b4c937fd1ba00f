"""The tensors that a rank's optimiser changes: whole parameters, and its own parts of those that are cut."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from bodvcl.bilevel.problem import Params
from bodvcl.ops.cut import own_part
from bodvcl.ops.distributed import sum_over_ranks


class Trained:
    """The trained parameters of a learner as the optimiser of this rank sees them: plain tensors.

    An optimiser works number by number, so each rank can change its own part as if there was no other. Only
    LARS and LAMB also need the norms of whole tensors (:mod:`bodvcl.optim.norms`).

    Args:
        params: parameters by name. Some may be cut over the ranks (``DTensor``, as FSDP makes them).
        apart: parameters whose modules pass by themselves and collect gradients in ``.grad``, by name.

    Attributes:
        own: by name, in the same order: the parameter itself, or this rank's part, with the same storage.
        cut: the parameters that are cut.
        apart: those that collect their gradients.
        solved: the others, which a solver differentiates.
    """

    def __init__(self, params: Mapping[str, nn.Parameter], apart: Collection[str] = ()) -> None:
        self.cut = {name: p for name, p in params.items() if own_part(p) is not p}
        self.apart = {name: p for name, p in params.items() if name in apart}
        self.solved = {name: p for name, p in params.items() if name not in apart}
        self.own = {name: nn.Parameter(own_part(p)) if name in self.cut else p for name, p in params.items()}

    def take(self, gradient: Params) -> None:
        """Set the gradients.

        Args:
            gradient: gradient in :attr:`solved`. The others have collected theirs.
        """
        for name, p in self.own.items():
            if name in self.cut:
                p.grad = _taken(self.cut[name], p)
            elif name in self.solved:
                p.grad = gradient[name]

    def forget(self) -> None:
        """Drop the gradients that :attr:`apart` have collected."""
        for p in self.apart.values():
            p.grad = None

    def norm(self) -> Tensor:
        """Euclidean norm of the whole gradient, a scalar, the same on every rank."""
        whole = get_total_norm(_gradients(p for name, p in self.own.items() if name not in self.cut))
        if not self.cut:
            return whole
        own = get_total_norm(_gradients(self.own[name] for name in self.cut))
        square = sum_over_ranks(own.double().square()) + whole.double().square()
        return square.sqrt().to(whole.dtype)


def _taken(parameter: nn.Parameter, own: Tensor) -> Tensor:
    """This rank's part of a gradient that FSDP has summed; the parameter keeps none."""
    gradient, parameter.grad = parameter.grad, None
    return torch.zeros_like(own) if gradient is None else own_part(gradient)


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]
