"""LAMB: Adam whose step is scaled to the norm of the weights, tensor by tensor (You et al., 2020,
arXiv:1904.00962, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor


class LAMB(torch.optim.Optimizer):
    r"""Adam's direction with decoupled weight decay; the length of a step is proportional to the weights.

    .. math::
        r = \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \beta w, \quad
        w \leftarrow w - lr \, \frac{|w|}{|r|} \, r

    Where w or r is 0, the ratio of the norms is 1. It is also 1 in a group with ``adapt=False`` (usually
    biases and normalisation layers). apex's FusedLAMB computes the same if its ``max_grad_norm`` is very
    large; it adapts the groups that have a weight decay.

    Args:
        params: parameters or groups, as for every optimiser of PyTorch.
        lr: learning rate.
        betas: decay rates of the running mean and of the running mean square.
        eps: epsilon, positive.
        weight_decay: beta, 0 or more.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "adapt": True,
            "step": 0,
        }
        super().__init__(params, defaults)

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
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                group["step"] += 1
                self._step_group(group, params)
        return loss

    def _step_group(self, group: dict[str, Any], params: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        for p in params:
            if not self.state[p]:
                self.state[p] = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        grads = [p.grad for p in params if p.grad is not None]
        mean = [self.state[p]["exp_avg"] for p in params]
        square = [self.state[p]["exp_avg_sq"] for p in params]
        torch._foreach_lerp_(mean, grads, 1 - beta1)
        torch._foreach_mul_(square, beta2)
        torch._foreach_addcmul_(square, grads, grads, 1 - beta2)

        root = torch._foreach_sqrt(square)
        torch._foreach_div_(root, (1 - beta2 ** group["step"]) ** 0.5)
        torch._foreach_add_(root, group["eps"])
        update = torch._foreach_div(mean, 1 - beta1 ** group["step"])
        torch._foreach_div_(update, root)
        if group["weight_decay"]:
            torch._foreach_add_(update, params, alpha=group["weight_decay"])
        if group["adapt"]:
            weight_norm = torch.stack(torch._foreach_norm(params))
            update_norm = torch.stack(torch._foreach_norm(update))
            ratio = torch.where((weight_norm > 0) & (update_norm > 0), weight_norm / update_norm, 1.0)
            torch._foreach_mul_(update, list(ratio.unbind()))
        torch._foreach_add_(params, update, alpha=-group["lr"])
