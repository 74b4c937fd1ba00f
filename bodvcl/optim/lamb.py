r"""LAMB: Adam whose step is scaled, tensor by tensor, to the norm of the weights (You et al., 2020,
arXiv:1904.00962, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LAMB(torch.optim.Optimizer):
    r"""Adam's direction with decoupled weight decay, in steps of the length of the weights.

    .. math::
        r = \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \beta w, \quad
        w \leftarrow w - lr \, \frac{|w|}{|r|} \, r

    Where w or r is 0 the ratio is 1. A group with ``adapt=False`` (biases and normalisation layers, by
    convention) has a ratio of 1. apex's FusedLAMB with ``max_grad_norm`` out of reach is the same and adapts
    the groups that have a weight decay.

    Args:
        params: parameters or groups, as for every optimiser of PyTorch.
        lr: learning rate.
        betas: of the running mean and mean square.
        eps: epsilon.
        weight_decay: beta.
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

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step; ``closure``, where given, is evaluated first, with gradients enabled."""
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
        grads = [p.grad for p in params]
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
