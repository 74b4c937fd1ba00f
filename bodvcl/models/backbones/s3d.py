"""S3D and S3D-G (Xie et al., ECCV 2018, arXiv:1712.04851): torchvision's S3D without temporal strides."""

from __future__ import annotations

import itertools
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.video import S3D
from torchvision.models.video.s3d import SepInceptionBlock3D

from bodvcl.models.backbones.base import Backbone
from bodvcl.models.backbones.temporal import remove_temporal_strides

_DEPTHS = (4, 7, 13, 16)
"""Number of torchvision's modules up to the end of each depth: before the last three poolings, and at the
end."""


class SeparableInception(Backbone):
    """S3D, or S3D-G with a gate after each branch of every Inception block; ``dim`` 1024.

    Parameter names are those of torchvision, without the classifier. The running statistics of batch
    normalisation have a momentum of 0.1 (torchvision: 0.001, too slow for a short run); eps is torchvision's.
    The initial convolutions keep the scale of the features. With PyTorch's default, the features of an
    untrained network in evaluation mode vanish (1e-10).

    Args:
        name: ``s3d`` or ``s3d_g``.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, 1024)
        network = S3D(norm_layer=partial(nn.BatchNorm3d, eps=1e-3))
        self.features: nn.Sequential = remove_temporal_strides(network.features)
        for module in self.features.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if name == "s3d_g":
            for block in self.features:
                if isinstance(block, SepInceptionBlock3D):
                    _gate_branches(block)

    def parts(self) -> list[list[nn.Module]]:
        return [list(self.features)[start:end] for start, end in itertools.pairwise((0, *_DEPTHS))]

    def maps(self, clips: Tensor) -> list[Tensor]:
        x = clips
        maps: list[Tensor] = []
        for count, module in enumerate(self.features, start=1):
            x = module(x)
            if count in _DEPTHS:
                maps.append(x)
        return maps


class Gate(nn.Module):
    """Self-gating: ``x * sigmoid(W mean(x) + b)``, channel by channel, with the mean over time and space.

    Args:
        channels: C of the input ``(N, C, T, h, w)``.
        per_frame: take the mean over space only, so that frames do not exchange information.
    """

    def __init__(self, channels: int, per_frame: bool = False) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)
        self.per_frame = per_frame

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((-2, -1) if self.per_frame else (-3, -2, -1), keepdim=True)
        return x * torch.sigmoid(self.fc(mean.transpose(1, -1))).transpose(1, -1)


def _gate_branches(block: SepInceptionBlock3D) -> None:
    for branch in (block.branch0, block.branch1, block.branch2, block.branch3):
        convolutions = [m for m in branch.modules() if isinstance(m, nn.Conv3d)]
        branch.append(Gate(convolutions[-1].out_channels))
