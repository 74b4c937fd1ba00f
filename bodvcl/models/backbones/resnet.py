"""torchvision's R3D-18 and R(2+1)D-18 (Tran et al., arXiv:1711.11248) without temporal strides."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.video.resnet import (
    BasicBlock,
    BasicStem,
    Conv2Plus1D,
    Conv3DSimple,
    R2Plus1dStem,
    VideoResNet,
)

from bodvcl.models.backbones.base import Backbone
from bodvcl.models.backbones.temporal import remove_temporal_strides


class ResNet18(Backbone):
    """One of the 18-layer video ResNets, or its thin version with one block per layer; ``dim`` 512.

    Parameter names are those of torchvision, without the classifier.

    Args:
        name: ``r3d_18``, ``r3d_18_thin``, ``r2plus1d_18`` or ``r2plus1d_18_thin``.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, 512)
        thin, factorised = name.endswith("_thin"), name.startswith("r2plus1d")
        blocks = [1 if thin else 2] * 4
        if factorised:
            conv = MatchedConv2Plus1D if thin else Conv2Plus1D
            network = VideoResNet(BasicBlock, [conv] * 4, blocks, R2Plus1dStem)
        else:
            network = VideoResNet(BasicBlock, [Conv3DSimple] * 4, blocks, BasicStem)
        remove_temporal_strides(network)
        self.stem, self.layer1 = network.stem, network.layer1
        self.layer2, self.layer3, self.layer4 = network.layer2, network.layer3, network.layer4

    def parts(self) -> list[list[nn.Module]]:
        return [[self.stem], [self.layer1], [self.layer2], [self.layer3], [self.layer4]]

    def maps(self, clips: Tensor) -> list[Tensor]:
        maps = [self.layer1(self.stem(clips))]
        for layer in (self.layer2, self.layer3, self.layer4):
            maps.append(layer(maps[-1]))
        return maps


class MatchedConv2Plus1D(Conv2Plus1D):  # type: ignore[misc]  # torchvision has no annotations
    """A factorised convolution with as many parameters as the 3x3x3 convolution that it replaces.

    In torchvision, the second convolution of a block has the inner width of the first, which is smaller where
    the block gets wider. The thin networks of the literature compute the inner width of each convolution
    separately (arXiv:1711.11248, section 3.5).
    """

    def __init__(
        self, in_planes: int, out_planes: int, midplanes: int, stride: int = 1, padding: int = 1
    ) -> None:
        midplanes = 27 * in_planes * out_planes // (9 * in_planes + 3 * out_planes)
        super().__init__(in_planes, out_planes, midplanes, stride, padding)
