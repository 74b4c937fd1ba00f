"""LARS: SGD whose step is scaled to the norm of the weights, tensor by tensor (You, Gitman and Ginsburg,
2017, arXiv:1708.03888). As in SlowFast and in apex's LARC, the learning rate is outside of the momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch

from bodvcl.optim.norms import Norms, norms


class LARS(torch.optim.SGD):
    r"""SGD with momentum on rescaled gradients.

    .. math::
        \lambda = \eta \frac{|w|}{|g| + \beta |w| + \epsilon}, \quad
        g' = \lambda (g + \beta w), \quad u \leftarrow \mu u + g', \quad
        w \leftarrow w - lr \, (g' + \mu u)

    Without Nesterov's form: ``w - lr u``. Where w is 0, lambda is 1. Where g is 0, g' is 0. A group with
    ``adapt=False`` (usually biases and normalisation layers) is trained by plain SGD with the weight decay of
    the group. :meth:`step` overwrites ``p.grad`` with g'.

    Args:
        params: parameters or groups, as for every optimiser of PyTorch.
        lr: learning rate.
        momentum: mu, in [0, 1).
        weight_decay: beta, 0 or more.
        trust: eta, positive.
        eps: epsilon, positive.
        nesterov: use Nesterov's form, as SlowFast does.
        fused: use PyTorch's fused SGD for the update.
        norms: norms of whole tensors.
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
        norms: Norms = norms,
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
        self.trust, self.eps, self.norms = trust, eps, norms
        for group in self.param_groups:
            group.setdefault("adapt", True)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the parameters.

        Args:
            closure: evaluated first, with gradients enabled; None: use the present gradients.

        Returns:
            The value of ``closure``.
        """
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
        grads, decay = [p.grad for p in params if p.grad is not None], group["weight_decay"]
        weight_norm, grad_norm = self.norms(params, params), self.norms(grads, params)
        rate = self.trust * weight_norm / (grad_norm + decay * weight_norm + self.eps)
        rate = torch.where(weight_norm > 0, rate, 1.0) * (grad_norm > 0)
        if decay:
            torch._foreach_add_(grads, params, alpha=decay)
        torch._foreach_mul_(grads, list(rate.unbind()))
