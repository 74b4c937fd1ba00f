"""Batch normalisation over the clips of several ranks."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bodvcl.ops.distributed import sum_over_ranks


class RankBatchNorm(_BatchNorm):
    """Batch normalisation with the statistics of several ranks, in plain PyTorch operations.

    It works on any device and can be differentiated twice. ``torch.nn.SyncBatchNorm`` can do neither, but
    saves fewer activations. Parameters and buffers are those of any BatchNorm.

    Attributes:
        process_group: the ranks. None: all.
    """

    process_group: dist.ProcessGroup | None = None

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected at least two dimensions, got {x.dim()}")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        others = [d for d in range(x.dim()) if d != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        count = wide.new_full((1,), x.numel() / x.shape[1])
        sums = sum_over_ranks(torch.cat([wide.sum(others), count]), self.process_group)
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = wide - mean.view(shape)
        var = sum_over_ranks(centred.square().sum(others), self.process_group) / total
        self._advance(mean.detach(), var.detach() * total / (total - 1))
        out = centred * torch.rsqrt(var + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)

    def _advance(self, mean: Tensor, var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:
            share = 1.0 / self.num_batches_tracked.item()
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(var.to(self.running_var.dtype), share)


def synchronise_norms(module: nn.Module, plain: bool, group: dist.ProcessGroup | None = None) -> None:
    """Replace every BatchNorm inside a module by one with the statistics of several ranks, in place.

    Args:
        module: its children are replaced, at any depth; names and values stay the same.
        plain: True: use :class:`RankBatchNorm`; False: use ``torch.nn.SyncBatchNorm``.
        group: the ranks, of which this is one. None: all.
    """
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            made = (RankBatchNorm if plain else nn.SyncBatchNorm)(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            made.train(child.training)
            made.process_group = group
            for kind in ("_parameters", "_buffers"):
                getattr(made, kind).update(getattr(child, kind))
            setattr(module, name, made)
        else:
            synchronise_norms(child, plain, group)
