"""The tensors that a rank's optimiser changes: whole parameters, and its own parts of those that are cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from bodvcl.bilevel.problem import Params
from bodvcl.ops.cut import own_part
from bodvcl.ops.distributed import sum_over_ranks


class Trained:
    """The trained parameters of a learner as the optimiser of this rank sees them: plain tensors.

    AdamW and SGD work number by number, so each rank can change its own part as if there was no other.

    Args:
        params: parameters by name. Some may be cut over the ranks (``DTensor``, as FSDP makes them).

    Attributes:
        own: by name, in the same order: the parameter itself, or this rank's part, with the same storage.
        whole: the parameters that lie whole on every rank.
        cut: the others.
    """

    def __init__(self, params: Mapping[str, nn.Parameter]) -> None:
        self.cut = {name: p for name, p in params.items() if own_part(p) is not p}
        self.whole = {name: p for name, p in params.items() if name not in self.cut}
        self.own = {name: nn.Parameter(own_part(p)) if name in self.cut else p for name, p in params.items()}

    def take(self, gradient: Params) -> None:
        """Set the gradients.

        Args:
            gradient: gradient in :attr:`whole`. Those of the others are taken from where FSDP left them.
        """
        for name, p in self.own.items():
            p.grad = _taken(self.cut[name], p) if name in self.cut else gradient[name]

    def norm(self) -> Tensor:
        """Euclidean norm of the whole gradient, a scalar, the same on every rank."""
        whole = get_total_norm(_gradients(self.own[name] for name in self.whole))
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
