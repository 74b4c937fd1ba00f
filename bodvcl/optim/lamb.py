"""LAMB: Adam whose step is scaled to the norm of the weights, tensor by tensor (You et al., 2020,
arXiv:1904.00962, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

from bodvcl.optim.norms import Norms, norms


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
        norms: norms of whole tensors.

    A step is left out on the device where the attribute ``found_inf``, a float scalar, is not 0
    (:func:`bodvcl.optim.guarded.step_unless`).
    """

    _step_supports_amp_scaling = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        norms: Norms = norms,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "adapt": True,
            "step": torch.zeros((), dtype=torch.float64),
        }
        super().__init__(params, defaults)
        self.norms = norms

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
                self._step_group(group, params)
        return loss

    def _step_group(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Blend with ``taken``, 1 or 0, so that a step that is left out changes nothing."""
        beta1, beta2 = group["betas"]
        one = params[0].new_ones(())
        found = getattr(self, "found_inf", None)
        taken = one if found is None else (found == 0).to(one.dtype)
        # as many steps as were taken, on the device of the parameters and with a tensor of its own
        step = group["step"] = torch.as_tensor(group["step"], dtype=torch.float64).to(one.device) + taken
        corrections = [(1 - beta ** step.clamp_min(1)).to(one.dtype) for beta in (beta1, beta2)]
        for p in params:
            if not self.state[p]:
                self.state[p] = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        grads = [p.grad for p in params if p.grad is not None]
        if found is not None:
            grads = [torch.where(taken > 0, g, 0) for g in grads]  # NaN times 0 would be NaN
        mean = [self.state[p]["exp_avg"] for p in params]
        square = [self.state[p]["exp_avg_sq"] for p in params]
        torch._foreach_mul_(mean, one - (1 - beta1) * taken)
        torch._foreach_add_(mean, grads, alpha=1 - beta1)
        torch._foreach_mul_(square, one - (1 - beta2) * taken)
        torch._foreach_addcmul_(square, grads, grads, 1 - beta2)

        root = torch._foreach_sqrt(square)
        torch._foreach_div_(root, corrections[1].sqrt())
        torch._foreach_add_(root, group["eps"])
        update = torch._foreach_div(mean, corrections[0])
        torch._foreach_div_(update, root)
        if group["weight_decay"]:
            torch._foreach_add_(update, params, alpha=group["weight_decay"])
        if group["adapt"]:
            weight_norm, update_norm = self.norms(params, params), self.norms(update, params)
            ratio = torch.where((weight_norm > 0) & (update_norm > 0), weight_norm / update_norm, 1.0)
            torch._foreach_mul_(update, list(ratio.unbind()))
        torch._foreach_mul_(update, taken)
        torch._foreach_add_(params, update, alpha=-group["lr"])
