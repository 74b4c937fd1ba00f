r"""LARS: SGD whose step is scaled, tensor by tensor, to the norm of the weights (You, Gitman and Ginsburg,
2017, arXiv:1708.03888), in the form of SlowFast and apex's LARC: the rate stays outside of the momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LARS(torch.optim.SGD):
    r"""SGD with momentum on rescaled gradients.

    .. math::
        \lambda = \eta \frac{|w|}{|g| + \beta |w| + \epsilon}, \quad
        g' = \lambda (g + \beta w), \quad u \leftarrow \mu u + g', \quad
        w \leftarrow w - lr \, (g' + \mu u)

    (without Nesterov: ``w - lr u``), with beta the weight decay. Where w is 0, lambda is 1; where g is 0, so
    is g'. A group with ``adapt=False`` (biases and normalisation layers, by convention) is trained by
    plain SGD with the group's weight decay. :meth:`step` overwrites ``p.grad`` with g'.

    Args:
        params: parameters or groups, as for every optimiser of PyTorch.
        lr: learning rate.
        momentum: mu.
        weight_decay: beta.
        trust: eta.
        eps: epsilon.
        nesterov: look ahead, as SlowFast does.
        fused: the fused SGD of PyTorch for the second half.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
        eps: float = 1e-8,
        *,
        nesterov: bool = True,
        fused: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov,
            fused=fused,
            foreach=not fused,
        )
        self.trust, self.eps = trust, eps
        for group in self.param_groups:
            group.setdefault("adapt", True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step; ``closure``, where given, is evaluated first, with gradients enabled."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        decays = [group["weight_decay"] for group in self.param_groups]
        try:
            for group in self.param_groups:
                if group["adapt"]:
                    self._rescale(group)
                    group["weight_decay"] = 0.0
            super().step()
        finally:
            for group, decay in zip(self.param_groups, decays):
                group["weight_decay"] = decay
        return loss

    def _rescale(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        grads, decay = [p.grad for p in params], group["weight_decay"]
        weight_norm = torch.stack(torch._foreach_norm(params))
        grad_norm = torch.stack(torch._foreach_norm(grads))
        rate = self.trust * weight_norm / (grad_norm + decay * weight_norm + self.eps)
        rate = torch.where(weight_norm > 0, rate, 1.0) * (grad_norm > 0)
        if decay:
            torch._foreach_add_(grads, params, alpha=decay)
        torch._foreach_mul_(grads, list(rate.unbind()))
